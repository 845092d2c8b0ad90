"""Sorting, the largest or smallest k and medians, recorded as functions of NumPy arrays."""

from __future__ import annotations

import math
from typing import Any

from facula.graph.ir import Val
from facula.kernel.sort import Sort, plan_sort
from facula.schedule.candidates import NATIVE
from facula.schedule.templates.common import planner, result, walk_of


def _plan(
    builder: Any, v: Val, axis: int, k: int, descending: bool, pick: str = "", rank: int = 0
) -> list[Any] | None:
    (x,) = v.srcs
    if x.dtype.name not in NATIVE or not x.ndim or not x.numel or not k or x.shape[axis] >= 1 << 31:
        return None
    got = walk_of(builder, x, (axis, axis + 1))
    if got is None:
        return None
    steps, at = got
    sizes = (math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :]))
    outs = [
        None if p is None else (p.slot, p.offset)
        for p in (result(builder, v, 0), result(builder, v, 1))
    ]
    sort = Sort(sizes, x.dtype.name, k, descending, pick, rank)
    return steps + plan_sort(sort, (at.slot, at.offset, at.strides), *outs)


@planner("host:np_sort")
def _sort(builder: Any, v: Val) -> list[Any] | None:
    """np_sort(x, dim, descending) -> values, indices."""
    axis, descending = v.arg[2]
    return _plan(builder, v, axis, v.srcs[0].shape[axis] if v.srcs[0].ndim else 0, descending)


@planner("host:np_topk")
def _topk(builder: Any, v: Val) -> list[Any] | None:
    """np_topk(x, k, dim, largest) -> values, indices."""
    k, axis, largest = v.arg[2]
    return _plan(builder, v, axis, k, largest)


@planner("host:np_kthvalue")
def _kthvalue(builder: Any, v: Val) -> list[Any] | None:
    """np_kthvalue(x, k, dim) -> value, index."""
    k, axis = v.arg[2]
    return _plan(builder, v, axis, 1, False, "nth", k - 1)


@planner("host:np_median")
def _median(builder: Any, v: Val) -> list[Any] | None:
    """np_median(x, dim, ignore_nan) -> value, index."""
    axis, ignore_nan = v.arg[2]
    return _plan(builder, v, axis, 1, False, "nanmedian" if ignore_nan else "median")
