#!/usr/bin/env python3
"""Which of the PyTorch names that real programs use does facula have?

    python tools/census.py --census ../shared/census
    python tools/census.py --missing 100 --everything

Reads the census's `symbols.tsv`, `methods.tsv` and `runtime_*.txt`. A name counts as there if it
can be looked up on facula; names that PyTorch 2.13 lacks as well are left out, and so are, unless
--everything, the insides of torch.distributed and torch.cuda.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import re
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
INSIDES = re.compile(
    r"torch\.(distributed|cuda\.|backends\.cuda|_C\._(cuda|distributed)|ops\.(c10d|symm_mem)"
    r"|nn\.parallel\.(comm|scatter_gather)|testing\._internal\.distributed)"
)
RUNTIME_NOT_ON_CLASS = re.compile(r"\.[A-Z]\w*\.\w+$")  # may be an attribute of an instance


class Row(NamedTuple):
    """A symbol of the census, how often it is used, and by whom."""

    name: str
    occurrences: int
    packages: int
    users: str


def resolves(name: str, root: Any) -> bool:
    """Whether the dotted name behind `torch.` or `Tensor.` can be looked up on root."""
    parts = name.split(".")
    value = root.Tensor if parts[0] == "Tensor" else root
    path = root.__name__
    for part in parts[1:]:
        path += "." + part
        try:
            value = getattr(value, part)
        except AttributeError:
            try:
                value = importlib.import_module(path)
            except Exception:
                return False
        except Exception:
            return True  # a property that cannot be read here
    return True


def table(path: Path) -> list[Row]:
    """The rows of symbols.tsv or methods.tsv that PyTorch itself has."""
    with path.open(encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file, delimiter="\t") if r["kind"] != "missing"]
    count = {r["symbol"]: r["occurrences"] or r.get("typed_occurrences") or 0 for r in rows}
    return [Row(r["symbol"], int(count[r["symbol"]]), int(r["packages"] or 0),
                r.get("most_used_by") or "") for r in rows]  # fmt: skip


def report(title: str, rows: list[Row], root: Any, show: int) -> float:
    """Prints the shares of names and of occurrences that are there; returns the second."""
    absent = [r for r in rows if not resolves(r.name, root)]
    used = sum(r.occurrences for r in rows)
    share = 1 - sum(r.occurrences for r in absent) / used
    print(
        f"{title:24s} names {len(rows) - len(absent)}/{len(rows)}, {share:.3%} of {used} occurrences"
    )
    for r in sorted(absent, key=lambda r: (-r.packages, -r.occurrences))[:show]:
        print(f"    {r.packages:3d} packages {r.occurrences:5d} times  {r.name}  {r.users}")
    return share


def touched(folder: Path, root: Any, show: int) -> None:
    """What libraries touch while they run, from the runtime lists."""
    for path in sorted(folder.glob("runtime_*.txt")):
        names = [n.replace("torch.Tensor.", "Tensor.") for n in path.read_text().split()]
        absent = [n for n in names if not resolves(n, root)]
        unsure = [n for n in absent if RUNTIME_NOT_ON_CLASS.search(n)]
        sure = [n for n in absent if n not in unsure]
        if names:
            print(f"{path.stem:32s} {len(names) - len(absent)}/{len(names)}, "
                  f"{len(unsure)} are attributes of instances")  # fmt: skip
        for name in sure[:show]:
            print(f"    {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--census", type=Path, default=ROOT / "../shared/census")
    parser.add_argument("--candidate", default="facula", help="the module to look at")
    parser.add_argument("--missing", type=int, default=25, help="how many absent names to list")
    parser.add_argument("--everything", action="store_true", help="with distributed and cuda")
    options = parser.parse_args()
    if not options.census.is_dir():
        print(f"there is no census in {options.census}; give --census FOLDER")
        return 2
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(ROOT))
    root = importlib.import_module(options.candidate)
    symbols = table(options.census / "symbols.tsv")
    if not options.everything:
        symbols = [r for r in symbols if not INSIDES.match(r.name)]
    share = report("symbols", symbols, root, options.missing)
    report("methods of tensors", table(options.census / "methods.tsv"), root, options.missing)
    touched(options.census, root, options.missing)
    print(f"census: {share:.2%} of occurrences (wanted: 97 %)")
    return 0 if share >= 0.97 else 1


if __name__ == "__main__":
    sys.exit(main())
