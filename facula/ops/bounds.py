"""Indices whose values are in memory are checked when an operator is recorded, as PyTorch does.

Others are checked by the kernels that read them; the error then comes with the evaluation and names
the line that recorded the operator.
"""

from __future__ import annotations

from typing import Any

from facula.graph.bounds import report
from facula.graph.tape import Storage
from facula.tensor import Tensor, storage_array

# Larger indices are left to the kernels: looking at this many costs some 40 us, once for each value
MAX_LOOKED_AT = 1 << 16

at = tuple.__getitem__  # of a shape, without the way through Size


def need_in_range(
    index: Tensor, size: int, tag: str, dim: int | None = None, wrap: bool = False
) -> None:
    """Raises if an element of an evaluated index is not in [0, size), or [-size, size) if `wrap`.

    The least and the largest element of a storage are noted with its version, so that an index used
    again costs next to nothing. Memory that is visible outside may change unnoticed: what reads it
    is evaluated at once in any case.
    """
    try:
        s = index._s
    except AttributeError:  # no tensor: the operator says so
        return
    if s.buf is None:
        return
    try:
        version, low, high = s.span
        if version == s.version and high < size and (low >= 0 or (wrap and low >= -size)):
            return
    except AttributeError:  # never looked at
        pass
    if s.pin is None and s.meta.numel <= MAX_LOOKED_AT and index.meta.dtype.kind in "iu":
        low, high = _look(s)
        if high >= size or low < (-size if wrap else 0):
            _refuse(index, size, tag if dim is None else (tag, dim), wrap)


def _look(s: Storage) -> tuple[int, int]:
    """The least and the largest element of a storage, noted there."""
    if s.meta.dtype.kind not in "iu" or not s.meta.numel:
        low, high = 0, -1
    else:
        array = storage_array(s, s.meta)
        low, high = int(array.min()), int(array.max())
    s.span = s.version, low, high
    return low, high


def _refuse(index: Tensor, size: int, tag: Any, wrap: bool) -> None:
    """Raises for the first bad element of an index, which may be a view without any."""
    values = index._array().reshape(-1)
    bad = values[(values >= size) | (values < (-size if wrap else 0))]
    if len(bad):
        kind, text = report(tag, int(bad[0]), size)
        raise kind(text)
