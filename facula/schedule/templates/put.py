"""Writing at given places: `put` (an index names a slice) and `scatter` (one for every element)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from facula.graph.ir import Val
from facula.graph.meta import contiguous_strides
from facula.kernel.put import Put, Walk, plan_points, plan_rows
from facula.schedule.candidates import puts_natively
from facula.schedule.codegen import Place
from facula.schedule.templates.common import grouped, planner, walk_of


def _first(builder: Any, v: Val, place: Place) -> list[Any]:
    """The old value, where it is not there already."""
    return [] if v.id in builder.skip_copy else [builder.store(v.srcs[0], place)]


@dataclass(frozen=True)
class _Indices:
    """Where indices lie, what has to be done before they are read, and how they are to be read."""

    steps: list[Any]
    walk: Walk
    wraps: bool = False
    report: int = -1


def _indices(builder: Any, v: Val, cuts: tuple[int, ...], points: bool) -> _Indices | None:
    """A put's indices, as they were given where they need only be checked.

    The kernel for points looks at them itself, if what it writes to can be thrown away; otherwise
    a pass that writes nothing goes before.
    """
    index = v.srcs[1]
    if index.op != "check" or index.id in builder.memory.places:
        at = walk_of(builder, index, cuts)
        return at and _Indices(*at)
    size, tag, wrap = index.arg
    at = walk_of(builder, index.srcs[0], cuts)
    if at is None or tag is None:
        return at and _Indices(*at)
    if points and builder.blocks[v.id].leaf < 0 and size == v.shape[v.arg[0]]:
        return _Indices(*at, wrap, builder.memory.check_number(index, tag, wrap))
    return _Indices([*at[0], builder.checked(index)], at[1], wrap)


def _numbers(v: Val, sizes: tuple[int, int, int], at: _Indices) -> Put:
    axis, mode, _ = v.arg
    return Put(sizes, v.shape[axis], v.dtype.name, v.dtype.itemsize, mode, at.wraps, at.report)


@planner("put")
def _put(builder: Any, v: Val) -> list[Any] | None:
    """x with slices replaced or combined."""
    if not puts_natively(v):
        return None
    _, index, src = v.srcs
    axis = v.arg[0]
    a, b = math.prod(v.shape[:axis]), math.prod(v.shape[axis + 1 :])
    index_at = _indices(builder, v, (), b < 4)
    src_at = walk_of(builder, src, (axis, axis + index.ndim))
    if index_at is None or src_at is None:
        return None
    place = builder.memory.places[v.id]
    put = _numbers(v, (a, index.numel, b), index_at)
    steps = _first(builder, v, place) + index_at.steps + src_at[0]
    out = Walk(place.slot, place.offset, (v.shape[axis] * b, b, 1))
    where = index_at.walk
    where = Walk(where.slot, where.offset, (0, where.strides[0], 0))
    if not index.numel:
        return steps
    plan = plan_rows if b >= 4 else plan_points
    return steps + plan(put, where, src_at[1], out)


@planner("scatter")
def _scatter(builder: Any, v: Val) -> list[Any] | None:
    """x with elements replaced or combined."""
    _, index, src = v.srcs
    if not puts_natively(v):
        return None
    axis = v.arg[0]
    shape = index.shape
    cuts = (axis, axis + 1)
    place = builder.memory.places[v.id]
    # the result's own strides, walked over the index's shape
    strides = contiguous_strides(v.shape)
    out = grouped([1 if d == axis else n for d, n in enumerate(shape)], strides, cuts)
    if out is None:
        return None
    ones = (1,) * src.ndim
    part = src.g.slice(src, (0,) * src.ndim, shape, ones)  # a source may be larger than the index
    index_at, src_at = _indices(builder, v, cuts, True), walk_of(builder, part, cuts)
    if index_at is None or src_at is None:
        return None
    steps = _first(builder, v, place) + index_at.steps + src_at[0]
    if not index.numel:
        return steps
    a, b = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    put = _numbers(v, (a, shape[axis], b), index_at)
    walk = Walk(place.slot, place.offset, (out[0], strides[axis], out[2]))
    return steps + plan_points(put, index_at.walk, src_at[1], walk)
