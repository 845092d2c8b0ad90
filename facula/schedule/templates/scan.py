"""Running sums, products and extremes along an axis."""

from __future__ import annotations

import math
from typing import Any

from facula.graph.ir import Val
from facula.kernel.scan import Scan, plan_scan
from facula.schedule.templates.common import planned, planner, walk_of

_TYPES = frozenset("float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64".split())


@planner("scan")
def _scan(builder: Any, v: Val) -> list[Any] | None:
    """v = scan(x)."""
    (x,) = v.srcs
    kind, axis = v.arg
    if x.dtype.name not in _TYPES or not v.ndim or not v.numel:
        return None
    sizes = (math.prod(v.shape[:axis]), v.shape[axis], math.prod(v.shape[axis + 1 :]))
    got = walk_of(
        builder,
        x,
        (axis, axis + 1),
        lambda strides: sizes[2] > 1 or strides[1] == 1 or sizes[1] == 1,
    )
    if got is None:
        return None
    steps, at = got
    place = builder.memory.places[v.id]
    a, i, b = at.strides
    scan = Scan(
        sizes, x.dtype.name, kind, (at.slot, at.offset, (a, i, b)), (place.slot, place.offset)
    )
    return steps + planned(builder, lambda slot: plan_scan(scan, slot))
