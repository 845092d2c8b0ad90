"""Matrix products."""

from __future__ import annotations

import dataclasses
from typing import Any

from facula.graph.ir import Val
from facula.graph.meta import contiguous_strides
from facula.kernel.matmul import Extra, Fused, Mat, plan_matmul
from facula.schedule.codegen import Place
from facula.schedule.templates.common import planned, planner

_FLOATS = frozenset(("float32", "float64"))
_HALVES = frozenset(("float16", "bfloat16"))
_INTEGERS = frozenset(("int32", "int64"))


@planner("matmul")
def _matmul(builder: Any, v: Val) -> list[Any] | None:
    return plan_product(builder, v, builder.memory.places[v.id], v.dtype.name)


def is_planned(v: Val) -> bool:
    """Whether there is code for a product of these dtypes."""
    held, computed = v.srcs[0].dtype.name, v.dtype.name
    if computed in _INTEGERS:
        return held == computed and bool(v.numel)
    return computed in _FLOATS and held in _FLOATS | _HALVES and bool(v.numel)


def is_column(v: Val) -> bool:
    """Whether the result is a column, which is computed as the row of its transpose."""
    return v.shape[-1] == 1 and v.shape[-2] > 1


def matmul_shape(v: Val) -> tuple[int, ...]:
    """The result as its kernel sees it: (batch..., rows, columns)."""
    return (*v.shape[:-2], 1, v.shape[-2]) if is_column(v) else v.shape


def plan_product(
    builder: Any,
    v: Val,
    place: Place,
    out: str,
    epilogue: tuple[Fused, ...] = (),
    extras: tuple[Extra, ...] = (),
) -> list[Any] | None:
    """Steps that compute v, or what an epilogue makes of it, at a place, as numbers of dtype `out`.

    The place is row-major in v's shape, or has a stride for each dim of `matmul_shape`.
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
    if is_column(v):
        m, n = n, m
        mats = [
            dataclasses.replace(x, rows_stride=x.cols_stride, cols_stride=x.rows_stride)
            for x in reversed(mats)
        ]
    *out_batch, row, _ = place.strides or contiguous_strides((*v.shape[:-2], m, n))
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
