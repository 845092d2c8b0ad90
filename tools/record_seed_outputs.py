#!/usr/bin/env python3
"""Writes, with PyTorch 2.13 (CPU), what the programs in tests/seeds print.

    python tools/record_seed_outputs.py            # writes the .txt files
    python tools/record_seed_outputs.py --check    # only says which of them would change

Each program runs as it stands in tests/seeds with `facula` resolving to PyTorch, the reverse of
what `facula run` does. Only the version is told without the name of the build ("2.13.0+cpu").
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def load(path: Path):
    """A file of the repository as a module, without importing facula."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    import torch

    load(ROOT / "facula/cli.py").install_alias("facula", "torch")
    torch.__version__ = torch.__version__.partition("+")[0]
    if torch.__version__ != "2.13.0":
        raise SystemExit(f"the outputs are those of PyTorch 2.13.0, this is {torch.__version__}")
    warnings.simplefilter("ignore")
    check = load(ROOT / "tests/seeds/check.py")
    changed = 0
    for script in check.scripts():
        text, target = check.output(script), script.with_suffix(".txt")
        if target.exists() and target.read_text(encoding="utf-8") == text:
            continue
        changed += 1
        print(f"{'would change' if '--check' in sys.argv else 'written'}: {check.name(script)}")
        if "--check" not in sys.argv:
            target.write_text(text, encoding="utf-8")
    print(f"{changed} of {len(check.scripts())} changed")
    return changed if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
