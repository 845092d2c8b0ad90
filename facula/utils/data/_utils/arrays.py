"""Tensors as NumPy arrays and back, for the loader's own copying.

Batches are put together with NumPy: a copy of a few rows is done before a graph could be
recorded for it. What is not a plain CPU tensor without gradients is left to the operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import facula


def peek(tensor: Any) -> np.ndarray | None:
    """The values of a plain tensor, to be read at once and not kept; None for any other."""
    if type(tensor) is not facula.Tensor or tensor.requires_grad or not tensor.is_cpu:
        return None
    try:
        return tensor.numpy()
    except TypeError:  # a dtype or layout NumPy lacks
        return None


def adopt(array: np.ndarray, dtype: Any) -> Any:
    """A tensor that owns `array`, whose elements are of `dtype`."""
    return facula.from_numpy(array)


def take(tensor: Any, rows: np.ndarray) -> Any:
    """Rows of a tensor, in a batch of its own; None where NumPy cannot serve."""
    array = peek(tensor)
    return None if array is None else adopt(array.take(rows, axis=0), tensor.dtype)


def stack(tensors: Sequence) -> Any:
    """`torch.stack(tensors)` for plain tensors of one shape and dtype; None for others."""
    first = tensors[0]
    found = [peek(tensor) for tensor in tensors]
    if any(array is None for array in found):
        return None
    shape, dtype = found[0].shape, first.dtype
    if any(a.shape != shape or t.dtype != dtype for a, t in zip(found, tensors, strict=True)):
        return None
    out = np.empty((len(found), *shape), found[0].dtype)
    for i, array in enumerate(found):
        out[i] = array
    return adopt(out, dtype)


def interleave(pieces: Sequence, places: Sequence[np.ndarray]) -> Any:
    """One tensor whose rows `places[i]` are those of `pieces[i]`; None where they don't match."""
    found = [peek(piece) for piece in pieces]
    first = found[0]
    if any(array is None or array.shape[1:] != first.shape[1:] for array in found):
        return None
    if any(piece.dtype != pieces[0].dtype for piece in pieces):
        return None
    out = np.empty((sum(map(len, places)), *first.shape[1:]), first.dtype)
    for array, place in zip(found, places, strict=True):
        out[place] = array
    return adopt(out, pieces[0].dtype)
