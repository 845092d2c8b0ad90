#!/usr/bin/env python3
"""Runs the scripts that compare facula with PyTorch, and ends with one line for each.

    python tools/conformance.py --scripts ../shared/conformance
    python tools/conformance.py --only rng,optims

The scripts live beside the repository, not in it; they need torch 2.13 in this environment.
Full reports go to conformance-output/.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {
    "rng": ["rng.py"],
    "surface": ["surface.py"],
    "modules": ["modules.py", "--report", "{out}/modules.tsv"],
    "optims": ["optims.py", "--report", "{out}/optims.tsv"],
    "census": [str(ROOT / "tools/census.py"), "--census", "{scripts}/../census"],
    "ops": ["ops.py", "--report", "{out}/ops.tsv"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scripts", type=Path, default=ROOT / "../shared/conformance")
    parser.add_argument("--only", help=f"of {', '.join(SCRIPTS)}, with commas between them")
    parser.add_argument("--out", type=Path, default=Path("conformance-output"))
    options = parser.parse_args()
    if not options.scripts.is_dir():
        print(f"there are no conformance scripts in {options.scripts}; give --scripts FOLDER")
        return 2
    options.out.mkdir(exist_ok=True)
    out = options.out.resolve()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    summary = {}
    for name in options.only.split(",") if options.only else SCRIPTS:
        command = [
            sys.executable,
            *(part.format(out=out, scripts=options.scripts.resolve()) for part in SCRIPTS[name]),
        ]
        print(f"== {name}", flush=True)
        done = subprocess.run(
            command, cwd=options.scripts, env=environment, capture_output=True, text=True
        )
        text = done.stdout + done.stderr
        (out / f"{name}.log").write_text(text, encoding="utf-8")
        lines = [line for line in text.splitlines() if line.strip()]
        summary[name] = lines[-1] if lines else "(printed nothing)"
        print("\n".join(lines[-12:]), flush=True)
    print()
    for name, line in summary.items():
        print(f"{name:8s} {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
