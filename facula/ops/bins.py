"""Into which bins elements fall, and how many into each.

Neighbours are counted in tables of their own, side by side: equal ones need not wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facula.random.native import in_parts
from facula.random.scalar import f64, f64s, i64, i64s, sampler

SIDE = 4  # tables; a power of two
MANY = 4096  # bins of which one table is all that the cache should hold


@sampler
def edge_places(x: f64s, place: i64s, n: i64, edges: f64s, bins: i64) -> None:
    """Of each element the bin, or `bins` where it is outside or NaN; one on an edge is in the upper.

    The edges are within half a bin of even ones.
    """
    low = edges[0]
    high = edges[bins]
    scale = bins / (high - low)
    for k in range(n):
        v = x[k]
        if v >= low and v <= high:
            at = min(int((v - low) * scale), bins - 1)
            if v < edges[at]:
                at = at - 1
            if v >= edges[at + 1]:
                at = at + 1
            place[k] = min(at, bins - 1)
        else:
            place[k] = bins


@sampler
def count_even(x: f64s, n: i64, bins: i64, low: f64, high: f64, side: i64, counts: i64s) -> None:
    """Counts elements by even bins; those outside, and NaN, are in none."""
    for k in range(n):
        v = x[k]
        if v >= low and v <= high:
            at = min(int((v - low) * bins / (high - low)), bins - 1) * side + (k & (side - 1))
            counts[at] = counts[at] + 1


@sampler
def count_places(place: i64s, n: i64, side: i64, counts: i64s) -> None:
    """counts[place] += 1, in one of `side` tables that take turns."""
    for k in range(n):
        at = place[k] * side + (k & (side - 1))
        counts[at] = counts[at] + 1


@sampler
def add_places(place: i64s, weight: f64s, n: i64, side: i64, sums: f64s) -> None:
    """sums[place] += weight, likewise."""
    for k in range(n):
        at = place[k] * side + (k & (side - 1))
        sums[at] = sums[at] + weight[k]


@sampler
def extremes(x: i64s, n: i64, out: i64s) -> None:
    """The least and the greatest of at least one number."""
    low = x[0]
    high = x[0]
    for k in range(n):
        low = min(low, x[k])
        high = high if high > x[k] else x[k]
    out[0] = low
    out[1] = high


_COUNT_EVEN = {"float64": count_even, "float32": count_even.of(x="f32s")}
_ADD_PLACES = {"float64": add_places, "float32": add_places.of(weight="f32s")}


def least_and_greatest(x: np.ndarray) -> tuple[int, int]:
    """Of at least one integer."""
    if x.dtype != np.int64:
        return int(x.min()), int(x.max())
    x, out = np.ascontiguousarray(x), np.empty(2, np.int64)
    extremes(x.ctypes.data, x.size, out.ctypes.data)
    return int(out[0]), int(out[1])


def _in_tables(n: int, size: int, count: Callable[[int, int, int, int], None]) -> np.ndarray:
    """Sums of `size` counts: count(first, how many, side, address of a table) on runs of n elements."""
    side = SIDE if size < MANY else 1
    tables: list[np.ndarray] = []

    def part(first: int, last: int) -> None:
        table = np.zeros((size, side), np.int64)
        tables.append(table)
        count(first, last - first, side, table.ctypes.data)

    if size > n:  # a table for each thread would be the most of the work
        part(0, n)
    else:
        in_parts(n, part)
    return sum(tables[1:], tables[0]).sum(1)


def counted_even(x: np.ndarray, bins: int, low: float, high: float) -> np.ndarray:
    """How many elements of a vector are in each of so many equal bins."""
    x = np.ascontiguousarray(x, None if x.dtype.name in _COUNT_EVEN else np.float64)
    count, at = _COUNT_EVEN[x.dtype.name], x.ctypes.data
    return _in_tables(
        x.size,
        bins,
        lambda first, n, side, table: count(
            at + x.itemsize * first, n, bins, low, high, side, table
        ),
    )


def counted(place: np.ndarray, size: int, weights: np.ndarray | None = None) -> np.ndarray:
    """How often each number below `size` occurs in a vector, or its weights' sum in float64."""
    place = np.ascontiguousarray(place, np.int64)
    if weights is None:
        at = place.ctypes.data
        return _in_tables(
            place.size,
            size,
            lambda first, n, side, table: count_places(at + 8 * first, n, side, table),
        )
    side = SIDE if size < MANY else 1
    kind = weights.dtype.name
    weights = np.ascontiguousarray(weights, None if kind in _ADD_PLACES else np.float64)
    sums = np.zeros((size, side))
    add = _ADD_PLACES[weights.dtype.name]
    add(place.ctypes.data, weights.ctypes.data, place.size, side, sums.ctypes.data)
    return sums.sum(1)
