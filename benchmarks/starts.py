"""What a program costs before its second step: import, first step (cold and warm), peak memory.

    python -m benchmarks.starts -w resnet18_train,gpt_train

Every figure is a process of its own. Cold means that no kernel is on disk yet, warm that the process before
compiled them. The peak is what the process holds at most, above what it held once the library was imported.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.table import Table
from benchmarks.worker import installed

PROGRAMS = ("resnet18_train", "gpt_train", "gpt2_infer", "lstm_train", "cnn_digits", "adam_10m")

CHILD = """
import importlib, json, sys, time
library, name, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
clock = time.perf_counter()
torch = importlib.import_module(library)
imported = time.perf_counter() - clock
from benchmarks.starts import peak
from benchmarks.worker import build
held = peak()
torch.manual_seed(0)
clock = time.perf_counter()
step = build(torch, name)
built = time.perf_counter() - clock
clock = time.perf_counter()
step()
first = time.perf_counter() - clock
for _ in range(steps):
    step()
print(json.dumps({"import": imported, "build": built, "first": first, "peak": peak() - held}))
"""


def peak() -> float:
    """The most memory this process has held, in MB."""
    try:  # getrusage's figure begins at that of the process that started this one
        told = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    except OSError:
        told = None
    if told:
        return int(told[1]) / 1024
    import resource

    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def start(library: str, name: str, cache: str, steps: int) -> dict[str, float]:
    """The figures of a fresh process."""
    environment = {**os.environ, "FACULA_CACHE": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # it would time the compilation of our source
    command = [sys.executable, "-c", CHILD, library, name, str(steps)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{library} on {name}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def table(names: list[str], libraries: list[str], steps: int = 5) -> Table:
    """A row for each program and library."""
    heads = ["program", "import s", "first cold s", "first warm s", "peak MB"]
    out = Table("starts", "Starts: each a process of its own", heads, "peak MB", " MB").begin()
    for name in names:
        for library in libraries:
            with tempfile.TemporaryDirectory() as cache:
                cold = start(library, name, cache, steps)
                warm = start(library, name, cache, steps) if library == "facula" else cold
            second: Any = warm["first"] if library == "facula" else None
            out.add(f"{name} {library}", warm["import"], cold["first"], second, warm["peak"])
    return out


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starts", description=__doc__)
    parser.add_argument("-w", "--workloads", default=",".join(PROGRAMS), help="with commas between")
    options = parser.parse_args()
    table(options.workloads.split(","), installed())


if __name__ == "__main__":
    main()
