#!/usr/bin/env python3
"""Runs the programs of the tutorials and compares what they print, character for character.

    python tests/seeds/check.py [NAME ...]

Each program here is a code block of an introduction to PyTorch found on the web, or a row of its
table of methods, with only its import lines changed: `import facula as torch`. What the text
leaves out (data, seeds) and what is printed besides stands under comments that say so. The
.txt file beside it is what PyTorch prints: see tools/record_seed_outputs.py.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import runpy
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def scripts() -> list[Path]:
    """Every program, in order."""
    return sorted(p for p in HERE.rglob("[0-9]*.py"))


def name(script: Path) -> str:
    return script.relative_to(HERE).with_suffix("").as_posix()


def output(script: Path) -> str:
    """What a program prints, run in a directory of its own."""
    out, here = io.StringIO(), os.getcwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(out):
        os.chdir(folder)
        try:
            runpy.run_path(str(script), run_name="__main__")
        finally:
            os.chdir(here)
    return out.getvalue()


def expected(script: Path) -> str:
    return script.with_suffix(".txt").read_text(encoding="utf-8")


def difference(want: str, got: str) -> str:
    lines = difflib.unified_diff(want.splitlines(), got.splitlines(), "PyTorch", "facula", "", "", 1)
    return "\n".join(lines)


def main() -> int:
    chosen = [s for s in scripts() if not sys.argv[1:] or name(s).startswith(tuple(sys.argv[1:]))]
    failed = 0
    for script in chosen:
        try:
            got = output(script)
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
        same = got == expected(script)
        failed += not same
        print(f"{'same' if same else 'DIFFERENT':10s} {name(script)}")
        if not same:
            print(difference(expected(script), got))
    print(f"{len(chosen) - failed} of {len(chosen)} programs print what PyTorch prints")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
