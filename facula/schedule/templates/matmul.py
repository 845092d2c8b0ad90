"""Matrix products."""

from __future__ import annotations

from typing import Any

from facula.graph.ir import Val
from facula.graph.meta import contiguous_strides
from facula.kernel.matmul import Extra, Fused, Mat, plan_matmul
from facula.schedule.codegen import Place
from facula.schedule.templates.common import planned, planner

_MATMUL_TYPES = frozenset(("float32", "float64"))
_OPERAND_TYPES = _MATMUL_TYPES | {"float16", "bfloat16"}


@planner("matmul")
def _matmul(builder: Any, v: Val) -> list[Any] | None:
    return plan_product(builder, v, builder.memory.places[v.id], v.dtype.name)


def is_planned(v: Val) -> bool:
    """Whether there is code for a product of these dtypes."""
    a = v.srcs[0]
    return v.dtype.name in _MATMUL_TYPES and a.dtype.name in _OPERAND_TYPES and bool(v.numel)


def plan_product(
    builder: Any,
    v: Val,
    place: Place,
    out: str,
    epilogue: tuple[Fused, ...] = (),
    extras: tuple[Extra, ...] = (),
) -> list[Any] | None:
    """Steps that compute v, or what an epilogue makes of it, at a place, as numbers of dtype `out`.

    The place is row-major in v's shape, or has a stride for each dim of it.
    """
    a, b = v.srcs
    where_a, where_b = builder.strided(a), builder.strided(b)
    if not is_planned(v) or where_a is None or where_b is None:
        return None
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    mats = [
        Mat(slot, strides[-2], strides[-1], tuple(strides[:-2]), offset)
        for slot, offset, strides in (where_a, where_b)
    ]
    *out_batch, row, _ = place.strides or contiguous_strides(v.shape)
    c = Mat(place.slot, row, 1, tuple(out_batch), place.offset)
    return planned(
        builder,
        lambda slot: plan_matmul(
            *(m, n, k, tuple(v.shape[:-2]), *mats, c, a.dtype.name),
            epilogue=epilogue,
            extras=extras,
            workspace_slot=slot,
            out_dtype=out,
        ),
    )
