"""Planners of heavy primitives: steps for a matrix product, a convolution and their like.

A planner gets the plan's builder and the value; it returns steps, or None to leave the value to its
NumPy meaning. `builder.strided(v)` says where an operand lies, `builder.workspace(n)` gives memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.graph.ir import Val
from facula.kernel.matmul import Mat, plan_matmul

PLANNERS: dict[str, Callable[[Any, Val], list[Any] | None]] = {}

_MATMUL_TYPES = frozenset(("float32", "float64"))


def _matmul(builder: Any, v: Val) -> list[Any] | None:
    a, b = v.srcs
    if v.dtype.name not in _MATMUL_TYPES or not v.numel:
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
    plan = plan_matmul(m, n, k, batch, *mats, c, v.dtype.name)
    if plan.workspace_bytes:
        slot = builder.workspace(plan.workspace_bytes + 64)
        plan = plan_matmul(m, n, k, batch, *mats, c, v.dtype.name, workspace_slot=slot)
    return plan.steps


PLANNERS["matmul"] = _matmul
