"""Many bad inputs, from creation to files: PyTorch's exception type and main sentence for each.

The table `bad_input.txt` holds what PyTorch 2.13 says; `record_bad_input.py` looks it up again.
"""

from __future__ import annotations

import ast
import re
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TABLE = Path(__file__).with_name("bad_input.txt")
LONGEST = 60  # seconds: nothing may hang


def sections() -> dict[str, list[tuple[str, str, str]]]:
    """(code, exception type, words) of the table, by section."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    lines = [x for x in TABLE.read_text().splitlines() if x and not x.startswith("#")]
    name = code = ""
    for line in lines:
        if line.startswith("["):
            name = line.strip("[]")
        elif line.startswith("    "):
            kind, _, words = line.strip().partition(":")
            found.setdefault(name, []).append((code, kind, words.strip()))
        else:
            code = line
    return found


def names(torch: Any) -> dict[str, Any]:
    """What the table's lines see."""
    import collections
    import copy
    import io
    import os
    import pickle

    return {
        "torch": torch, "nn": torch.nn, "F": torch.nn.functional, "np": np, "io": io, "os": os,
        "pickle": pickle, "copy": copy, "collections": collections, "float32": "f",
        **{n: getattr(torch.utils.data, n) for n in torch.utils.data.__all__},
    }  # fmt: skip


def run(code: str, torch: Any) -> None:
    """Runs a line; what its last expression gives is shown, so that it is evaluated."""
    code = code.removeprefix("from torch.utils.data import *; ").replace("\\n", "\n")
    tree, space = ast.parse(code), names(torch)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        tree.body[-1] = ast.Assign([ast.Name("shown", ast.Store())], last.value)
        ast.fix_missing_locations(tree)
    exec(compile(tree, "<table>", "exec"), space)
    repr(space.get("shown"))
    repr(space.get("x"))


def words_of(error: BaseException) -> str:
    """The first line, with what differs from run to run or by the form of a call left out."""
    line = (str(error).splitlines() or [""])[0].replace("facula", "torch")
    return re.sub(r" \(position \d+\)", "", line).strip()


def kind_matches(error: BaseException, kind: str) -> bool:
    """Whether `except kind` would catch the error, kind being one of PyTorch's by name."""
    return any(c.__name__.lstrip("_") == kind for c in type(error).__mro__)


def _stop(*_: Any) -> None:
    raise TimeoutError(f"took longer than {LONGEST} s")


@pytest.mark.parametrize("section", sections())
def test_bad_input(section: str):
    import facula as torch

    wrong = []
    before = signal.signal(signal.SIGALRM, _stop)
    try:
        for code, kind, words in sections()[section]:
            signal.alarm(LONGEST)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    run(code, torch)
                said = "nothing"
            except Exception as error:
                said = f"{type(error).__name__}: {words_of(error)}"
                if kind_matches(error, kind) and words in ("...", words_of(error)):
                    continue
            finally:
                signal.alarm(0)
                torch.set_printoptions(profile="default")
                torch.set_default_dtype(torch.float32)
            wrong.append(f"{code}\n    expected {kind}: {words}\n    but got {said}")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not wrong, "\n".join([f"{len(wrong)} lines", *wrong])
