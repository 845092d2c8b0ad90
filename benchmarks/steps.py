"""How long each native step of a workload takes.

    python -m benchmarks.steps encoder_infer
    python -m benchmarks.steps path/to/workloads.py:gpt_train --rounds 5 --top 40

The steps of a plan are run one call at a time, which adds a microsecond or two to each. Equal kernels
with equal sizes are added up. Products are told with their GFLOP/s.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import facula
from benchmarks.networks import WORKLOADS
from facula.kernel.step import Step
from facula.runtime.plan import NativePlan as NativeRun
from facula.schedule import native_plan


class Clock:
    """Seconds and calls by what a step is."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}

    def note(self, name: str, seconds: float, work: float) -> None:
        """One more run of a step; `work` in floating point operations, 0 if not known."""
        entry = self.spent.setdefault(name, [0.0, 0, work])
        entry[0] += seconds
        entry[1] += 1

    def table(self, rounds: int, top: int) -> str:
        """The dearest steps, a line each, in milliseconds of one round."""
        rows = sorted(self.spent.items(), key=lambda item: -item[1][0])
        total = sum(entry[0] for _, entry in rows) / rounds
        lines = [f"{'ms':>9s} {'calls':>6s} {'us each':>9s} {'GFLOP/s':>8s}  step"]
        for name, (seconds, calls, work) in rows[:top]:
            speed = f"{work * calls / seconds / 1e9:8.1f}" if work else " " * 8
            lines.append(
                f"{seconds / rounds * 1e3:9.3f} {calls / rounds:6.0f} {seconds / calls * 1e6:9.1f} "
                f"{speed}  {name}"
            )
        lines.append(f"{total * 1e3:9.3f} {'':6s} all of {len(rows)} kinds")
        return "\n".join(lines)


def describe(step: Step) -> tuple[str, float]:
    """What a step is, and its floating point operations (0: not known)."""
    key, args = step.kernel.key, step.args
    kind = key.split()[0]
    if kind in ("gemm", "dot"):
        m, n, k = args[6:9]
        tiles = args[15 if kind == "gemm" else 12 :][: 6 if kind == "gemm" else 4]
        count = step.ntasks // max(1, tiles[-1] * tiles[-2])
        return f"{count}x {m}x{n}x{k} {key} blocks {tiles}", 2.0 * m * n * k * count
    text = key if len(key) < 200 else f"{key[:90]} ... {key[-100:]}"
    return f"{text} tasks {step.ntasks}", 0.0


def timed(clock: Clock) -> type:
    """A stand-in for native runs that times each step."""

    class TimedRun:
        def __init__(self, steps: Any, table: Any, n_slots: int, kinds: str) -> None:
            self.parts = [(describe(s), NativeRun([s], table, n_slots, kinds)) for s in steps]
            self.status: Any = None

        def run(self, addrs: Any, numbers: Any = ()) -> int:
            for (name, work), part in self.parts:
                start = time.perf_counter()
                code = part.run(addrs, numbers)
                clock.note(name, time.perf_counter() - start, work)
                if code:
                    self.status = part.status
                    return code
            return 0

    return TimedRun


def workload(name: str) -> Callable[..., Any]:
    """A function of (torch, mode) by its name, in this folder's file or in another."""
    path, _, name = name.rpartition(":")
    if not path:
        return WORKLOADS[name]
    source = Path(path)
    spec = importlib.util.spec_from_file_location("timed_workloads", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WORKLOADS[name]


def main() -> None:
    """The table of one workload."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("workload", help="name, or file:name")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--top", type=int, default=30)
    options = parser.parse_args()
    clock = Clock()
    # plans that come again are not run by functions written for them
    with mock.patch.multiple(native_plan, NativeRun=timed(clock), AGAIN=0):
        make = workload(options.workload)
        step = make(facula, "eager" if ":" in options.workload else lambda f: f)
        for _ in range(3):
            step()
        clock.spent.clear()
        start = time.perf_counter()
        for _ in range(options.rounds):
            step()
        whole = (time.perf_counter() - start) / options.rounds
    print(clock.table(options.rounds, options.top))
    print(f"{whole * 1e3:9.3f} {'':6s} a round, with what is outside of native steps")


if __name__ == "__main__":
    main()
