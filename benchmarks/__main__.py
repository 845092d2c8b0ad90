"""Times facula, side by side with PyTorch where that is installed.

    python -m benchmarks                   # all workloads, a table, a chart in bench-output/
    python -m benchmarks -w mlp_digits,adam_10m --turns 9
    python -m benchmarks --layers --seconds 0.1    # convolutions, pooling, ... one by one

Each library works in a process of its own; they take turns, and what is told is the median turn
and the median of the turns' ratios. On a shared machine quote the ratios, not the times.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.layers import LAYERS
from benchmarks.worker import KNOWN, Worker
from benchmarks.workloads import WORKLOADS

LIBRARIES = ("facula", "torch")


def measure(workers: list[Worker], name: str, turns: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of one workload for each library, and the ratio."""
    first = {w.library: w.ask("build", name) for w in workers}
    result: dict[str, Any] = {"first_s": first}
    able = [w for w in workers if not isinstance(first[w.library], str)]
    counts, times = {}, {w.library: [] for w in able}
    for w in able:
        w.ask("time", 3)
        counts[w.library] = max(1, round(seconds / max(float(w.ask("time", 1)), 1e-6)))
    for _ in range(turns):
        for w in able:
            count = counts[w.library]
            times[w.library].append(float(w.ask("time", count)) / count)
    result["ms"] = {name: statistics.median(t) * 1e3 for name, t in times.items()}
    if len(times) == 2:
        ratios = [theirs / ours for ours, theirs in zip(*times.values(), strict=True)]
        result["ratio"] = statistics.median(ratios)
    return result


def row(name: str, result: dict[str, Any], libraries: list[str]) -> str:
    """A line of the table."""
    cells = [f"{name:28s}"]
    for library in libraries:
        ms, first = result["ms"].get(library), result["first_s"][library]
        cells.append(f"{first:>24s}" if ms is None else f"{ms:11.3f}{first:12.2f}")
    if "ratio" in result:
        cells.append(f"{result['ratio']:8.2f}")
    return " ".join(cells)


def chart(path: Path, results: dict[str, dict[str, Any]]) -> bool:
    """Bars of the ratios; False without matplotlib, or without anything to compare with."""
    ratios = {name: r["ratio"] for name, r in results.items() if "ratio" in r}
    if not ratios or importlib.util.find_spec("matplotlib") is None:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.4 * len(ratios) + 1.2), layout="constrained")
    colours = ["#2b7a2b" if r >= 1 else "#c0261c" for r in ratios.values()]
    bars = axes.barh(list(ratios), [r - 1 for r in ratios.values()], left=1, color=colours)
    axes.bar_label(bars, [f"{r:.2f}×" for r in ratios.values()], padding=3)
    axes.axvline(1, color="black", linewidth=1)
    axes.set(xscale="log", xlabel="time of PyTorch / time of facula", title="facula and PyTorch")
    axes.set_xticks(ticks := [2.0**k for k in range(-3, 7)], [f"{t:g}×" for t in ticks])
    axes.minorticks_off()
    axes.set_xlim(min(0.5, *ratios.values()) / 1.3, max(2, *ratios.values()) * 1.3)
    axes.invert_yaxis()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("-w", "--workloads", help="names, with commas between them; default: all")
    parser.add_argument("--layers", action="store_true", help="single layers instead of programs")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a turn")
    parser.add_argument("--without-torch", action="store_true", help="time facula alone")
    parser.add_argument("--out", type=Path, default=Path("bench-output"))
    options = parser.parse_args()
    names = options.workloads.split(",") if options.workloads else list(WORKLOADS)
    if options.layers and not options.workloads:
        names = list(LAYERS)
    if unknown := set(names) - set(KNOWN):
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(KNOWN)}")
    alone = options.without_torch or importlib.util.find_spec("torch") is None

    workers = [Worker(library) for library in LIBRARIES[: 1 if alone else 2]]
    libraries = [w.library for w in workers]
    print("import: " + ", ".join(f"{w.library} {w.import_seconds:.2f} s" for w in workers))
    heads = "".join(f" {library + ' ms':>11s}{'first s':>12s}" for library in libraries)
    print(f"{'workload':28s}{heads}{'' if alone else f'{chr(32):3s}ratio'}")
    results = {}
    for name in names:
        results[name] = measure(workers, name, options.turns, options.seconds)
        print(row(name, results[name], libraries), flush=True)
    ratios = [r["ratio"] for r in results.values() if "ratio" in r]
    if ratios:
        behind = sum(r < 1 for r in ratios)
        print(f"geometric mean {statistics.geometric_mean(ratios):.2f}, behind on {behind}")
    for worker in workers:
        worker.close()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bench.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    if chart(options.out / "bench.png", results):
        print(f"drawn in {options.out / 'bench.png'}")


if __name__ == "__main__":
    main()
