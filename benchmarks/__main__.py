"""Times facula, side by side with PyTorch where that is installed.

    python -m benchmarks                        # every table, kept and drawn in bench-output/ (15 minutes)
    python -m benchmarks -t programs,compiled
    python -m benchmarks -t programs -w gpt_train,adam_10m --turns 9

Each library works in a process of its own; they take turns, and what is told is the median turn and the
median of the turns' ratios. On a shared machine quote the ratios, not the times.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import loader, operators, products, programs, recording, starts
from benchmarks.layers import LAYERS
from benchmarks.networks import WORKLOADS
from benchmarks.table import Table
from benchmarks.worker import installed


def tables(options: argparse.Namespace) -> dict[str, Callable[[], Table]]:
    """What can be measured, by name."""
    chosen = options.workloads.split(",") if options.workloads else []
    libraries = ["facula"] if options.without_torch else installed()

    def timed(kind: str, names: list[str], mode: str = "") -> Callable[[], Table]:
        names = [n for n in names if n in chosen] if chosen else names
        return lambda: programs.table(kind, names, libraries, options.turns, options.seconds, mode)

    def recorded() -> Table:
        import facula

        return recording.table(facula)

    return {
        "programs": timed("programs", list(WORKLOADS)),
        "compiled": timed("compiled", list(WORKLOADS), ":compile"),
        "layers": timed("layers", list(LAYERS)),
        "operators": lambda: operators.table(libraries, list(operators.cases()), 0.1),
        "products": lambda: products.table(products.SHAPES, libraries, options.turns, 0.05),
        "starts": lambda: starts.table(chosen or list(starts.PROGRAMS), libraries),
        "recording": recorded,
        "loader": lambda: loader.table(libraries, 20_000, 64, [0, 1, 2], 3),
    }


def main() -> None:
    """Measures, keeps and draws the chosen tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("-t", "--tables", help="names, with commas between them; default: all")
    parser.add_argument("-w", "--workloads", help="only these programs or layers")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a turn")
    parser.add_argument("--without-torch", action="store_true", help="time facula alone")
    parser.add_argument("--out", type=Path, default=Path("bench-output"))
    options = parser.parse_args()
    known = tables(options)
    names = options.tables.split(",") if options.tables else list(known)
    if unknown := set(names) - set(known):
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    asked = set(options.workloads.split(",") if options.workloads else ())
    if unknown := asked - set(WORKLOADS) - set(LAYERS):
        there = ", ".join([*WORKLOADS, *LAYERS])
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {there}")

    options.out.mkdir(parents=True, exist_ok=True)
    report = ["# Measurements\n"]
    for name in names:
        table = known[name]()
        report.append(table.markdown())
        if picture := table.draw(options.out):
            report.append(f"![{table.title}]({picture.name})\n")
        (options.out / "report.md").write_text("\n".join(report), encoding="utf-8")
    print(f"\nthe tables and their drawings are in {options.out / 'report.md'}")


if __name__ == "__main__":
    main()
