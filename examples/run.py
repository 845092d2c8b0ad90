"""Runs the examples one after the other, and compares them with PyTorch where it is installed.

python examples/run.py [NAME ...]          # with facula
python examples/run.py --torch [NAME ...]  # each also with PyTorch: only its import lines changed
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = """
titanic ames_housing mnist_cnn char_gpt sequence_lengths
transfer_learning custom_pieces mixed_precision resume
""".split()
IMPORT = re.compile(r"^(\s*)(import|from) facula\b", re.MULTILINE)
RESULT = re.compile(r"^Result: (.*?) (\S+) in (\S+) s$", re.MULTILINE)


def for_torch(source: str) -> str:
    """The same program on PyTorch."""
    return IMPORT.sub(r"\1\2 torch", source)


def run(path: Path, show: bool, env: dict[str, str] | None = None) -> tuple[str, str, float]:
    """(what is measured, its value, seconds); stops at an example that fails."""
    paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-u", str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(env or {})},
    )
    output = ""
    assert process.stdout is not None
    for line in process.stdout:
        output += line
        if show:
            print(line, end="", flush=True)
    if process.wait():
        sys.exit(f"{path.name} failed")
    found = RESULT.search(output)
    if not found:
        sys.exit(f"{path.name} printed no result")
    return found[1], found[2], time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--torch", action="store_true", help="compare with PyTorch")
    options = parser.parse_args()
    rows = []
    for name in options.names:
        path = HERE / f"{name}.py"
        print(f"\n===== {name}: {path.read_text().splitlines()[0].strip(chr(34))}\n")
        what, value, seconds = run(path, show=True)
        row = [name, what, value, f"{seconds:.1f} s"]
        if options.torch:
            with tempfile.TemporaryDirectory() as folder:
                other = Path(folder) / path.name
                other.write_text(for_torch(path.read_text()))
                for threads in ("", "1"):
                    env = {"OMP_NUM_THREADS": threads} if threads else {}
                    _, value, seconds = run(other, show=False, env=env)
                    row += [f"{seconds:.1f} s"] if threads else [value, f"{seconds:.1f} s"]
        rows.append(row)
    head = ["example", "measured", "facula", "time"]
    head += ["PyTorch", "time", "on 1 thread"] if options.torch else []
    print("\n| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
