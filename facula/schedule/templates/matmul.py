"""Matrix products."""

from __future__ import annotations

from typing import Any

from facula.graph.ir import Val
from facula.kernel.matmul import Mat, plan_matmul
from facula.schedule.templates.common import planned, planner

_MATMUL_TYPES = frozenset(("float32", "float64"))
_OPERAND_TYPES = _MATMUL_TYPES | {"float16", "bfloat16"}


@planner("matmul")
def _matmul(builder: Any, v: Val) -> list[Any] | None:
    a, b = v.srcs
    if v.dtype.name not in _MATMUL_TYPES or a.dtype.name not in _OPERAND_TYPES or not v.numel:
        return None
    where_a, where_b = builder.strided(a), builder.strided(b)
    if where_a is None or where_b is None:
        return None
    place = builder.memory.places[v.id]
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    batch = tuple(v.shape[:-2])
    mats = [
        Mat(slot, strides[-2], strides[-1], tuple(strides[:-2]), offset)
        for slot, offset, strides in (where_a, where_b)
    ]
    out_batch = []
    step = m * n
    for size in reversed(batch):
        out_batch.append(step)
        step *= size
    c = Mat(place.slot, n, 1, tuple(reversed(out_batch)), place.offset)
    return planned(
        builder,
        lambda slot: plan_matmul(
            *(m, n, k, batch, *mats, c, a.dtype.name),
            workspace_slot=slot,
            out_dtype=v.dtype.name,
        ),
    )
