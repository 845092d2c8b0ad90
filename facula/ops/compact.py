"""Where elements are true: results whose size is only known when they have been counted."""

from __future__ import annotations

import numpy as np

from facula.random.scalar import i64, i64s, sampler, u8s
from facula.runtime.buffers import alloc


@sampler
def flat_places(mask: u8s, n: i64, out: i64s) -> None:
    """Indices of true elements; out has room for one more."""
    k = 0
    for i in range(n):
        out[k] = i
        k = k + mask[i]


@sampler
def row_places(mask: u8s, rows: i64, columns: i64, row: i64s, column: i64s) -> None:
    """Rows and columns of true elements; behind each is room for one more."""
    k = 0
    at = 0
    for i in range(rows):
        for j in range(columns):
            row[k] = i
            column[k] = j
            k = k + mask[at]
            at = at + 1


@sampler
def chosen(x: i64s, mask: u8s, n: i64, out: i64s) -> None:
    """Elements where mask is true; out has room for one more."""
    k = 0
    for i in range(n):
        out[k] = x[i]
        k = k + mask[i]


# by the size of an element, whose bits are only moved
_CHOSEN = {8: chosen, 4: chosen.of(x="i32s", out="i32s"), 1: chosen.of(x="u8s", out="u8s")}


@sampler
def runs(x: i64s, n: i64, out: i64s, found: i64s) -> None:
    """The first of each run of equal elements, and how many there are."""
    last = x[0]
    out[0] = last
    k = 1
    for i in range(1, n):
        now = x[i]
        out[k] = now
        if now != last:
            k = k + 1
        last = now
    found[0] = k


_RUNS = {"int64": runs, "int32": runs.of(x="i32s", out="i32s"), "float32": runs.of(x="f32s", out="f32s")}  # fmt: skip


def _bytes(x: np.ndarray) -> np.ndarray:
    mask = x if x.dtype == np.bool_ else x != 0
    return np.ascontiguousarray(mask).view(np.uint8)


def places(x: np.ndarray) -> np.ndarray:
    """Flat indices of elements that are not 0."""
    mask = _bytes(x)
    count = int(np.count_nonzero(mask))
    out = _room(count + 1)
    flat_places(mask.ctypes.data, mask.size, out.ctypes.data)
    return out[:count]


def selected(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Elements of the vector x where the vector mask is true."""
    copy = _CHOSEN.get(x.itemsize)
    if copy is None:
        return x[mask]
    x, mask = np.ascontiguousarray(x), _bytes(mask)
    count = int(np.count_nonzero(mask))
    out = np.empty(count + 1, x.dtype)
    copy(x.ctypes.data, mask.ctypes.data, mask.size, out.ctypes.data)
    return out[:count]


def first_of_runs(x: np.ndarray) -> np.ndarray | None:
    """Elements of a vector that differ from the one before; None for types that have no loop."""
    find = _RUNS.get(x.dtype.name)
    if find is None or not x.size:
        return None
    x = np.ascontiguousarray(x)
    out = np.empty(x.size + 1, x.dtype)
    found = np.zeros(1, np.int64)
    find(x.ctypes.data, x.size, out.ctypes.data, found.ctypes.data)
    k = int(found[0])
    return out[:k] if 2 * k > x.size else out[:k].copy()


def coordinates(x: np.ndarray) -> np.ndarray:
    """Coordinates of elements that are not 0: an array of (dims, elements)."""
    if not x.ndim:
        return np.zeros((0, int(np.count_nonzero(x))), np.int64)
    if x.ndim != 2:
        return np.stack(index_arrays(x)).astype(np.int64, copy=False)
    mask = _bytes(x)
    count = int(np.count_nonzero(mask))
    out = _room(2 * count + 1)
    at = out.ctypes.data
    row_places(mask.ctypes.data, *x.shape, at, at + 8 * count)
    if count:
        out[count] = mask.argmax() % x.shape[1]  # the room behind the rows was the first column's
    return out[: 2 * count].reshape(2, count)


def index_arrays(x: np.ndarray) -> tuple[np.ndarray, ...]:
    """The same, an array for each dim."""
    if x.ndim == 1:
        return (places(x),)
    if x.ndim != 2:
        return tuple(np.ascontiguousarray(i) for i in np.nonzero(x))
    mask = _bytes(x)
    count = int(np.count_nonzero(mask))
    row, column = _room(count + 1), _room(count + 1)
    row_places(mask.ctypes.data, *x.shape, row.ctypes.data, column.ctypes.data)
    return row[:count], column[:count]


def _room(n: int) -> np.ndarray:
    """Indices to be written, in memory that is used again."""
    return alloc(8 * n).numpy(np.int64, (n,))


__all__ = ["coordinates", "first_of_runs", "index_arrays", "places", "selected"]
