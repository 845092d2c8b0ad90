"""Sums of bags of a table's rows."""

from __future__ import annotations

from typing import Any

from facula.graph.ir import Val
from facula.kernel.bag import Bags, plan_bag_sum
from facula.schedule.templates.common import contiguous, planner, result

_TYPES = frozenset(("float32", "float64", "float16", "bfloat16"))


@planner("bag_sum")
def _bag_sum(builder: Any, v: Val) -> list[Any] | None:
    """The sums, and how many rows each bag has if somebody wants to know."""
    table, index, offsets, *scale = v.srcs
    to, count = result(builder, v), result(builder, v, 1)
    if table.dtype.name not in _TYPES or to is None or not v.numel or not table.numel:
        return None
    places = [contiguous(builder, u) for u in v.srcs]
    if None in places:
        return None
    steps = [s for p in places for s in p[0]]  # type: ignore[index]
    (slot, offset), *rest = [p[1:] for p in places]  # type: ignore[index]
    rows, columns = table.shape
    bags = Bags(
        offsets.numel, index.numel, rows, columns, v.arg[1][0], table.dtype.name, v.dtype.name
    )
    return steps + plan_bag_sum(
        bags,
        (slot, offset, table.shape[1]),
        rest[0],
        rest[1],
        (to.slot, to.offset),
        rest[2] if scale else None,
        (count.slot, count.offset) if count else None,
    )
