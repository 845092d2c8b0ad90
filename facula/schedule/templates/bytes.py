"""The same bytes as another type."""

from __future__ import annotations

from typing import Any

from facula.graph import dtypes as dt
from facula.graph.ir import Val
from facula.schedule.codegen import Place
from facula.schedule.templates.common import planner

_UNITS = {1: dt.uint8, 2: dt.int16, 4: dt.int32, 8: dt.int64}


@planner("bitcast")
def _bitcast(builder: Any, v: Val) -> list[Any] | None:
    """A copy in units that no number's meaning can disturb."""
    (x,) = v.srcs
    where = builder.strided(x)
    size = x.dtype.itemsize
    unit = _UNITS.get(min(size, 8))
    if where is None or unit is None or not x.numel:
        return None
    slot, offset, strides = where
    shape = x.shape
    parts = size // unit.itemsize
    if parts > 1:  # complex128: two units each
        shape, strides = (*shape, parts), (*[s * parts for s in strides], 1)
    raw = x.g.make("buffer", unit, shape, (), ("raw", v.id))
    builder.memory.places[raw.id] = Place(slot, offset * parts, strides)
    place = builder.memory.places[v.id]
    at = Place(place.slot, place.offset * v.dtype.itemsize // unit.itemsize)
    return [builder.store(raw, at)]
