"""Tensors as NumPy arrays and back, for the loader's own copying.

Batches are put together with NumPy: a copy of a few rows is done before a graph could be
recorded for it. What is not a plain CPU tensor without gradients is left to the operators, which
is what None as a result means. This file alone looks at how a tensor keeps its data; arrays are
in stored form (bfloat16 as uint16), and never kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from ctypes import memmove
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


# In a worker: gives memory (as bytes) that its parent can map, or None.
shared_memory: list[Callable[[int], np.ndarray | None]] = []


def _empty(shape: Sequence[int], dtype: Any) -> tuple[Tensor, np.ndarray]:
    """A new tensor, and its memory to write to."""
    shape = tuple(shape)
    memory = shared_memory[0](math.prod(shape) * dtype.itemsize) if shared_memory else None
    if memory is None:
        tensor = facula.empty(shape, dtype=dtype)
        return tensor, tensor._array()
    array = memory.view(dtype.storage).reshape(shape)
    return adopt_array(array, dtype), array


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
    """`torch.stack(tensors)` for plain contiguous tensors of one shape and dtype."""
    first = tensors[0]
    if not _is_plain(first):
        return None
    meta = first.meta
    shape, dtype = meta.shape, meta.dtype
    for tensor in tensors:
        if type(tensor) is not Tensor or tensor._rg:
            return None
        other = tensor.meta
        if other is not meta and (other.shape != shape or other.dtype is not dtype):
            return None
        if not other.contiguous or other.device is not meta.device:
            return None
    batch, _ = _empty((len(tensors), *shape), dtype)
    item = dtype.itemsize
    size = meta.numel * item
    place = batch.data_ptr()
    # One call of memmove costs less than making an array to copy from.
    for tensor in tensors if size else ():
        buffer = tensor._s.buf
        if buffer is None:
            tensor._array()  # evaluates
            buffer = tensor._s.buf
        memmove(place, buffer.addr + tensor._off * item, size)
        place += size
    return batch


def stack_arrays(arrays: Sequence[np.ndarray]) -> Tensor | None:
    """The stack of arrays of one shape and dtype."""
    first = arrays[0]
    shape, kind = first.shape, first.dtype
    if any(type(a) is not np.ndarray or a.dtype != kind or a.shape != shape for a in arrays):
        return None
    batch, memory = _empty((len(arrays), *shape), facula.as_tensor(first).dtype)
    for i, array in enumerate(arrays):
        memory[i] = array
    return batch


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
