"""Compares the table of values with what PyTorch gives: `python -m tests.ops.record_values`.

With `--write` the table gets PyTorch's results; lines without a result get one. Needs PyTorch.
"""

from __future__ import annotations

import sys

from tests.ops.test_values import TABLE, run, same, written


def main() -> int:
    import torch

    head, codes, results = [], [], {}
    for line in TABLE.read_text().splitlines():
        if line.startswith("#"):
            head.append(line)
        elif line.startswith("    "):
            results[codes[-1]] = line.strip()
        elif line:
            codes.append(line)
    found = {code: written(run(code, torch)) for code in codes}
    different = [c for c in codes if c not in results or not same(found[c], results[c])]
    for code in different:
        print(f"{code}\n    the table: {results.get(code)}\n    PyTorch:   {found[code]}")
    print(f"{len(different)} of {len(codes)} lines differ")
    if "--write" in sys.argv:
        lines = [line for code in codes for line in (code, f"    {found[code]}")]
        TABLE.write_text("\n".join([*head, *lines]) + "\n")
    return min(len(different), 1)


if __name__ == "__main__":
    sys.exit(main())
