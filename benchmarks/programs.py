"""Whole programs, or single layers, beside PyTorch: eager or under torch.compile."""

from __future__ import annotations

import statistics

from benchmarks.table import Table
from benchmarks.turns import measure
from benchmarks.worker import Worker


def table(
    kind: str, names: list[str], libraries: list[str], turns: int, seconds: float, mode: str = ""
) -> Table:
    """The times of the workloads; `mode` is "" or ":compile"."""
    workers = [Worker(library + mode) for library in libraries]
    heads = [f"{w.library} ms" for w in workers]
    heads += ["ratio", "lowest", "first step s"] if len(workers) == 2 else ["first step s"]
    title = f"{kind.capitalize()}: time of PyTorch / time of facula"
    out = Table(kind, title, ["workload", *heads], "ratio").begin()
    for name in names:
        timing = measure(workers, name, turns, seconds)
        wrong = [str(s) for s in timing.first.values() if isinstance(s, str)]
        cells: list[str | float | None] = [timing.ms.get(w.library) for w in workers]
        if len(workers) == 2:
            cells += [timing.ratio, min(timing.ratios, default=None)]
        starts = [f"{s:.2f}" for s in timing.first.values() if not isinstance(s, str)]
        out.add(name, *cells, "; ".join(wrong) or " / ".join(starts))
    if ratios := list(out.values().values()):
        behind = sum(r < 1 for r in ratios)
        out.note(f"geometric mean {statistics.geometric_mean(ratios):.2f}, behind on {behind}")
    for worker in workers:
        worker.close()
    return out
