"""Plays random programs of views, writes and backward passes on facula and on the NumPy model.

python tools/play_programs.py [--count 10000] [--seed 0] [--torch]

The programs of `tests/semantics`, by number: program k of a seed is the same in every run and on every
machine, so a difference that is found can be played again (`--first k --count 1`). Prints progress;
ends with 1 where anything differed, after showing each program cut down to what still differs.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.semantics.programs import KINDS, Library, Model, Player, same

LONGEST = 40  # instructions of a program


def program(seed: int, number: int) -> list[tuple[int, ...]]:
    """Program `number` of a seed: instructions of six small numbers."""
    rng = np.random.default_rng([seed, number])
    length = int(rng.integers(4, LONGEST + 1))
    return [tuple(map(int, row)) for row in rng.integers(0, 64, (length, 6))]


def difference(library: object, instructions: list) -> str | None:
    """What the library shows otherwise than the model, or None."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        want = Player(Model()).play(instructions)
        try:
            got = Player(Library(library)).play(instructions)
        except Exception:  # the model had no error here that is not expected
            return traceback.format_exc(limit=-3)
    return same(got, want)


def smaller(library: object, instructions: list) -> list:
    """The program without the instructions that the difference does not need."""
    k = len(instructions) - 1
    while k >= 0:
        less = instructions[:k] + instructions[k + 1 :]
        try:
            if difference(library, less) is not None:
                instructions = less
        except Exception:
            pass
        k -= 1
    return instructions


def report(library: object, number: int, instructions: list) -> None:
    """Shows a program that differs."""
    less = smaller(library, instructions)
    print(f"\nprogram {number} differs: {difference(library, less)}")
    for kind, *numbers in less:
        print(f"    {KINDS[kind % len(KINDS)]:20} {(kind, *numbers)},")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first program")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--torch", action="store_true", help="play PyTorch instead: tests the model"
    )
    options = parser.parse_args()
    if options.torch:
        import torch as library
    else:
        import facula as library
    wrong, start = 0, time.perf_counter()
    for k in range(options.count):
        instructions = program(options.seed, options.first + k)
        if difference(library, instructions) is not None:
            wrong += 1
            report(library, options.first + k, instructions)
        if (k + 1) % max(1, min(500, options.count // 10)) == 0 or k + 1 == options.count:
            seconds = time.perf_counter() - start
            print(f"{k + 1:6} programs, {wrong} different, {seconds:6.0f} s", flush=True)
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
