"""Tensors as NumPy arrays and back, for the loader's own copying.

Batches are put together with NumPy: a copy of a few rows is done before a graph could be
recorded for it. What is not a plain CPU tensor without gradients is left to the operators, which
is what None as a result means. This file alone looks at how a tensor keeps its data; arrays are
in stored form (bfloat16 as uint16), and never kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import facula
from facula.tensor import Tensor, adopt_array


def _is_plain(tensor: Any) -> bool:
    return type(tensor) is Tensor and not tensor.requires_grad and tensor.is_cpu


def peek(tensor: Any) -> np.ndarray | None:
    """The values of a plain tensor, to be read at once and not kept."""
    return tensor._array() if _is_plain(tensor) else None


def adopt(array: np.ndarray, dtype: Any) -> Tensor:
    """A tensor that owns `array`, whose elements are of `dtype`."""
    return adopt_array(array, dtype)


def _empty(shape: Sequence[int], dtype: Any) -> tuple[Tensor, np.ndarray]:
    """A new tensor, and its memory to write to."""
    tensor = facula.empty(tuple(shape), dtype=dtype)
    return tensor, tensor._array()


def take(tensor: Any, rows: np.ndarray) -> Tensor | None:
    """Rows of a tensor as a batch of its own; `rows` must be within range."""
    source = peek(tensor)
    if source is None:
        return None
    batch, memory = _empty((len(rows), *source.shape[1:]), tensor.dtype)
    if source.flags.c_contiguous:
        source.take(rows, axis=0, out=memory, mode="clip")  # "raise" would take one more copy
    else:
        memory[...] = source[rows]
    return batch


def stack(tensors: Sequence) -> Tensor | None:
    """`torch.stack(tensors)` for plain tensors of one shape and dtype."""
    if not all(map(_is_plain, tensors)):
        return None
    first = tensors[0]
    shape, dtype = first.shape, first.dtype
    if any(t.dtype is not dtype or t.shape != shape for t in tensors):
        return None
    batch, memory = _empty((len(tensors), *shape), dtype)
    if not memory.size:
        return batch
    rows = _rows_of_one_storage(tensors)
    if rows is not None:
        source = _storage_in_rows(first)
        source.take(rows, axis=0, out=memory.reshape(len(rows), -1), mode="clip")
        return batch
    for i, tensor in enumerate(tensors):
        memory[i] = tensor._array()
    return batch


def _rows_of_one_storage(tensors: Sequence) -> np.ndarray | None:
    """Row numbers, where all tensors are contiguous rows of one storage, as samples often are."""
    storage = tensors[0]._s
    if any(t._s is not storage or not t.meta.contiguous for t in tensors):
        return None
    rows, rests = np.divmod(np.array([t._off for t in tensors]), tensors[0].meta.numel)
    return None if rests.any() else rows


def _storage_in_rows(tensor: Tensor) -> np.ndarray:
    """All of a tensor's storage, as rows of the size of the tensor."""
    tensor._array()  # evaluates
    buffer, size = tensor._s.buf, tensor.meta.numel
    kind = tensor.dtype.storage
    return buffer.numpy(kind, (buffer.nbytes // (size * kind.itemsize), size))


def interleave(pieces: Sequence, places: Sequence[np.ndarray]) -> Tensor | None:
    """One tensor whose rows `places[i]` are those of `pieces[i]`; None where they don't match."""
    found = [peek(piece) for piece in pieces]
    first, dtype = found[0], pieces[0].dtype
    if any(array is None or array.shape[1:] != first.shape[1:] for array in found):
        return None
    if any(piece.dtype != dtype for piece in pieces):
        return None
    batch, memory = _empty((sum(map(len, places)), *first.shape[1:]), dtype)
    for array, place in zip(found, places, strict=True):
        memory[place] = array
    return batch
