"""Scaled dot product attention and its gradients."""

from __future__ import annotations

from typing import Any

from facula.graph.ir import Val
from facula.graph.meta import contiguous_strides
from facula.kernel.attention import Attention, Mask, Rows, plan_attention, plan_attention_gradient
from facula.schedule.codegen import Place
from facula.schedule.templates.common import planned, planner, result

_TYPES = frozenset(("float32", "float64"))


def _rows(builder: Any, v: Val, steps: list[Any]) -> Rows | None:
    """An operand (B, H, T, D), or (B, H, T), with contiguous rows; copied where they are not."""
    where = builder.strided(v)
    if where is None:
        return None
    slot, offset, strides = where
    if v.ndim == 4 and v.shape[3] != 1 and strides[3] != 1:
        more, place = builder.copied(v)
        steps += more
        return _rows_at(v.shape, place)
    return Rows(slot, tuple(strides[:3]), offset)


def _rows_at(shape: tuple[int, ...], place: Place) -> Rows:
    strides = place.strides or contiguous_strides(shape)
    return Rows(place.slot, strides[:3], place.offset)  # type: ignore[arg-type]


def _out(builder: Any, v: Val, k: int, like: Val | None = None) -> Rows:
    """Where a result goes; memory of no further use where nobody reads it."""
    shape = v.arg[0][k][1]
    place = result(builder, v, k) or builder.spare(like or v)
    return _rows_at(shape, place)


def _mask(builder: Any, mask: Val, v: Val, steps: list[Any]) -> Mask | None:
    """What is added to the scores, broadcast over them."""
    q, k = (v.srcs[0], v.srcs[1]) if v.op.endswith("sdpa") else (v.srcs[1], v.srcs[2])
    if mask.dtype.kind == "b":
        more, place = builder.copied(_added(mask, v))
        steps += more
        slot, offset, strides = place.slot, place.offset, contiguous_strides(mask.shape)
    else:
        where = builder.strided(mask)
        if where is None:
            return None
        slot, offset, strides = where
    full = (*q.shape[:3], k.shape[2])
    broadcast = [
        0 if n == 1 and m != 1 else s for n, m, s in zip(mask.shape, full, strides, strict=True)
    ]
    return Mask(slot, tuple(broadcast), offset)  # type: ignore[arg-type]


def _added(mask: Val, v: Val) -> Val:
    """0 where a mask holds, -inf elsewhere."""
    g = v.g
    return g.where(
        mask, g.const(0.0, v.dtype, mask.shape), g.const(float("-inf"), v.dtype, mask.shape)
    )


def _numbers(q: Val, k: Val, v: Val, whole: Val) -> Attention | None:
    """None where the kernel does not fit."""
    causal, scale = whole.arg[1]
    b, h, t, d = q.shape
    if q.dtype.name not in _TYPES or v.shape[3] != d or not whole.numel or not k.shape[2]:
        return None
    repeat = h // k.shape[1]
    return Attention(b, h, t, k.shape[2], d, float(scale), bool(causal), repeat, q.dtype.name)


@planner("sdpa", strided=True)
def _forward(builder: Any, whole: Val) -> list[Any] | None:
    """sdpa(q, k, v[, mask]) -> result, logarithms of sums."""
    q, k, v, *mask = whole.srcs
    a = _numbers(q, k, v, whole)
    if a is None:
        return None
    steps: list[Any] = []
    operands = [_rows(builder, x, steps) for x in (q, k, v)]
    added = _mask(builder, mask[0], whole, steps) if mask else None
    if None in operands or (mask and added is None):
        return None
    out, lse = _out(builder, whole, 0), _out(builder, whole, 1)
    return steps + plan_attention(a, *operands, out, lse, added)  # type: ignore[arg-type]


@planner("sdpa_backward", strided=True)
def _backward(builder: Any, whole: Val) -> list[Any] | None:
    """sdpa_backward(g, q, k, v, out, lse[, mask]) -> gradients of q, k, v."""
    g, q, k, v, out, lse, *mask = whole.srcs
    a = _numbers(q, k, v, whole)
    if a is None:
        return None
    steps: list[Any] = []
    rows = [_rows(builder, x, steps) for x in (q, k, v, out, lse, g)]
    added = _mask(builder, mask[0], whole, steps) if mask else None
    if None in rows or (mask and added is None):
        return None
    if rows[4].strides[2] != 1 and a.t != 1:  # type: ignore[union-attr]
        return None
    *operands, dout = rows
    grads = [_out(builder, whole, i, x) for i, x in enumerate((q, k, v))]
    return steps + planned(
        builder,
        lambda slot: plan_attention_gradient(a, *operands, dout, *grads, slot, added),  # type: ignore[arg-type]
    )
