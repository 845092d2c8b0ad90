"""Different elements: unique and its kin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.meta import wrap_dim
from facula.graph.reference import encode
from facula.graph.tape import LOCAL
from facula.ops.apply import apply
from facula.ops.compact import first_of_runs, places, selected
from facula.ops.pointwise import need_tensors
from facula.ops.registry import TORCH, both
from facula.ops.sorting import SORT
from facula.ops.without_values import needs_values
from facula.tensor import Tensor, adopt_array


def _unique_rows(x: np.ndarray, dim: int, consecutive: bool) -> tuple:
    moved = np.moveaxis(x, dim, 0)
    flat = np.ascontiguousarray(moved.reshape(len(moved), math.prod(moved.shape[1:])))
    if consecutive:
        new = np.ones(len(flat), bool)
        if len(flat) > 1:
            new[1:] = (flat[1:] != flat[:-1]).any(1)
        inverse = np.cumsum(new) - 1
        first = np.flatnonzero(new)
        counts = np.diff(np.append(first, len(flat)))
        rows = moved[first]
    else:
        if flat.shape[1] == 0:
            _, first, inverse, counts = (
                np.zeros(0),
                np.zeros(min(1, len(flat)), int),
                np.zeros(len(flat), int),
                np.array([len(flat)][: len(flat)]),
            )
        else:
            _, first, inverse, counts = np.unique(
                flat, axis=0, return_index=True, return_inverse=True, return_counts=True
            )
        rows = moved[first]
    return np.moveaxis(rows, 0, dim), inverse.reshape(-1), counts


def _unique_flat(x: np.ndarray, consecutive: bool) -> tuple:
    flat = x.reshape(-1)
    if consecutive:
        new = np.ones(len(flat), bool)
        new[1:] = flat[1:] != flat[:-1]
        first = np.flatnonzero(new)
        return flat[first], np.cumsum(new) - 1, np.diff(np.append(first, len(flat)))
    got = np.unique(flat, return_inverse=True, return_counts=True, equal_nan=False)
    return got[0], got[1], got[2]


def _unique_sorted(flat: Tensor, consecutive: bool, inverse: bool, count: bool) -> tuple:
    """(values, inverse, counts), the latter None if not wanted, by sorting, or of runs as they are."""
    n = flat.meta.numel
    order = None
    if consecutive and not (inverse or count):
        firsts = first_of_runs(flat._array())
        if firsts is not None:
            return adopt_array(firsts, flat.meta.dtype), None, None
    if not consecutive:
        flat, order = apply(SORT, (flat,), (0, False))
    new = TORCH["ones"](n, dtype=dt.bool_)
    if n > 1:
        new[1:] = flat[1:] != flat[:-1]  # type: ignore[index]
    mask = new._values()
    counts = adopt_array(np.diff(np.append(places(mask), n))) if count else None
    back = None
    if inverse:
        back = TORCH["cumsum"](new, 0) - 1
        if order is not None:
            back = TORCH["empty"](n, dtype=dt.int64).scatter_(0, order, back)  # type: ignore[attr-defined]
    return adopt_array(selected(flat._array(), mask), flat.meta.dtype), back, counts


def _unique(
    input: Tensor, consecutive: bool, return_inverse: bool, return_counts: bool, dim: int | None
) -> Any:
    need_tensors("unique_consecutive" if consecutive else "_unique2", input=input)
    if dim is None and input.meta.dtype.kind != "c":
        grad, LOCAL.tape.grad = LOCAL.tape.grad, False
        try:
            flat = input.detach().reshape(-1)  # type: ignore[attr-defined]
            got = _unique_sorted(flat, consecutive, return_inverse, return_counts)
        finally:
            LOCAL.tape.grad = grad
        back = [got[1].reshape(input.meta.shape)] if return_inverse else []
        all_of = (got[0], *back, *([got[2]] if return_counts else []))
        return all_of if len(all_of) > 1 else got[0]
    x = input._values()
    if dim is None:
        values, inverse, counts = _unique_flat(x, consecutive)
        inverse = inverse.reshape(x.shape)
    else:
        d = wrap_dim(dim, input.meta.ndim)
        if not x.ndim:
            x = x.reshape(1)
        if x.shape[d] and 0 in x.shape:
            raise RuntimeError(
                "unique(): self is an empty tensor with at least one dimension of size 0 that is not `dim`: "
                "There are 0 sized dimensions, and they aren't selected, so unique cannot be applied"
            )
        values, inverse, counts = _unique_rows(x, d, consecutive)
    out = [adopt_array(np.ascontiguousarray(encode(values, input.meta.dtype)), input.meta.dtype)]
    if return_inverse:
        out.append(adopt_array(np.ascontiguousarray(inverse.astype(np.int64))))
    if return_counts:
        out.append(adopt_array(np.ascontiguousarray(counts.astype(np.int64))))
    return tuple(out) if len(out) > 1 else out[0]


@both("unique")
@needs_values("aten::_unique2")
def unique(input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
           dim: int | None = None) -> Any:  # fmt: skip
    """Different elements (or slices along dim), with inverse indices and counts if asked for.

    >>> import facula as torch
    >>> torch.unique(torch.tensor([3, 1, 3]), return_counts=True)
    (tensor([1, 3]), tensor([1, 2]))
    """
    return _unique(input, False, return_inverse, return_counts, dim)


@both("unique_consecutive")
@needs_values("aten::unique_consecutive")
def unique_consecutive(input: Tensor, return_inverse: bool = False, return_counts: bool = False,
                       dim: int | None = None) -> Any:  # fmt: skip
    """Elements without those that equal their predecessor."""
    return _unique(input, True, return_inverse, return_counts, dim)


__all__ = ["unique", "unique_consecutive"]
