"""Values of operators: what PyTorch 2.13 gives for small arguments, one line for each.

The table `values.txt` holds expressions and results; `record_values.py` has PyTorch compute them.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TABLE = Path(__file__).with_name("values.txt")
CLOSE = {"rtol": 2e-5, "atol": 2e-6}  # results are written with seven digits


def rows() -> dict[str, str]:
    """The results of the table, by expression."""
    lines = [x for x in TABLE.read_text().splitlines() if x and not x.startswith("#")]
    return {code: result.strip() for code, result in zip(lines[::2], lines[1::2], strict=True)}


def names(torch: Any) -> dict[str, Any]:
    """What the expressions see."""
    t = torch.tensor
    return {
        "torch": torch, "nn": torch.nn, "F": torch.nn.functional, "np": np,
        "x": t([[-1.5, -0.5, 0.25], [0.75, 2.0, -3.0]]), "y": t([[2.0, 0.5, -1.0], [1.5, -2.0, 3.0]]),
        "p": t([[0.2, 0.5, 0.9], [0.1, 0.7, 0.3]]), "v": t([1.0, -2.0, 3.0]), "w": t([0.5, 4.0, -1.0]),
        "i": t([[6, -4, 0], [9, 5, -7]]), "j": t([[4, 3, 2], [-6, 2, 3]]), "k": t([[0, 2, 1], [1, 0, 2]]),
        "a": t([[True, False, True], [False, False, True]]), "b": t([[True, True, False], [False, True, True]]),
        "m": t([[2.0, 1.0, 0.0], [0.5, 3.0, -1.0], [0.0, 1.0, 4.0]]),
        "s": t([[4.0, 1.0, 0.5], [1.0, 3.0, -0.5], [0.5, -0.5, 2.0]]),
        "c": t([[1 + 2j, -0.5j], [3.0 + 0j, -1 - 1j]]),
        "series": torch.arange(12.0).reshape(1, 2, 6) / 4 - 1, "image": torch.arange(32.0).reshape(1, 2, 4, 4) / 8 - 2,
        "volume": torch.arange(16.0).reshape(1, 2, 2, 2, 2) / 4 - 2,
    }  # fmt: skip


def run(code: str, torch: Any) -> Any:
    """The value of an expression."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return eval(code, names(torch))


def parts(value: Any) -> list[Any]:
    """The tensors and other values that a result is made of."""
    if isinstance(value, (tuple, list)):
        return [part for x in value for part in parts(x)]
    return [value]


def written(value: Any) -> str:
    """A result as the table has it: dtype, shape and elements of each tensor."""
    texts = []
    for part in parts(value):
        if not hasattr(part, "dtype"):
            texts.append(repr(part))
            continue
        flat = part.detach().resolve_conj().reshape(-1).tolist()
        elements = " ".join(repr(x) if isinstance(x, bool) else f"{x:.7g}" for x in flat)
        shape = "x".join(map(str, part.shape))
        texts.append(f"{str(part.dtype).removeprefix('torch.')}[{shape}] {elements}".strip())
    return " | ".join(texts)


def same(got: str, want: str) -> bool:
    """Whether two results agree: numbers nearly, all else exactly."""
    mine, theirs = got.split(), want.split()
    if len(mine) != len(theirs):
        return False
    for x, y in zip(mine, theirs, strict=True):
        if x == y:
            continue
        try:
            if not np.isclose(complex(x), complex(y), **CLOSE, equal_nan=True):
                return False
        except ValueError:
            return False
    return True


@pytest.mark.parametrize("code", rows())
def test_value(code):
    import facula

    got, want = written(run(code, facula)), rows()[code]
    assert same(got, want), f"{code}\n  facula:  {got}\n  PyTorch: {want}"


def test_a_wrong_number_is_seen():
    """The comparison itself: one that lets everything pass would tell nothing."""
    assert same("float32[2] 1 0.5", "float32[2] 1 0.500001")
    for wrong in ("float32[2] 1 0.501", "float32[3] 1 0.5", "float64[2] 1 0.5", "float32[2] 1"):
        assert not same(wrong, "float32[2] 1 0.5")
