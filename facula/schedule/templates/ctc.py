"""Connectionist temporal classification."""

from __future__ import annotations

from typing import Any

from facula.graph.ir import Val
from facula.kernel.ctc import Ctc, plan_ctc
from facula.schedule.templates.common import contiguous, planner, result, walk_of

_TYPES = frozenset(("float32", "float64"))


@planner("ctc")
def _ctc(builder: Any, v: Val) -> list[Any] | None:
    """The losses, and the gradient if somebody wants it."""
    x, targets, *lengths = v.srcs
    loss, grad = result(builder, v), result(builder, v, 1)
    if x.dtype.name not in _TYPES or not x.numel:
        return None
    got = walk_of(builder, x, (1, 2), lambda strides: strides[2] == 1 or x.shape[2] == 1)
    rest = [contiguous(builder, u) for u in (targets, *lengths)]
    if got is None or None in rest:
        return None
    steps, at = got
    steps = [*steps, *(s for p in rest for s in p[0])]  # type: ignore[index]
    where = [p[1:] for p in rest]  # type: ignore[index]
    row = targets.shape[1] if targets.ndim == 2 else 0
    times, batch, classes = x.shape
    blank, zero = v.arg[1]
    ctc = Ctc(times, batch, classes, targets.numel, row, blank, zero, x.dtype.name)
    # nobody may want the losses: a gradient alone is left of a training step
    losses = (loss.slot, loss.offset) if loss else (builder.workspace(8 * batch), 0)
    source = (at.slot, at.offset, at.strides[0], at.strides[1])
    to = (grad.slot, grad.offset) if grad else None
    return steps + plan_ctc(ctc, source, where[0], where[1], where[2], losses, to)
