"""Images sampled at places: weighted sums of picked pixels, and their gradients."""

from __future__ import annotations

import math
from typing import Any

from facula.graph.ir import Val
from facula.graph.meta import contiguous_strides
from facula.kernel.sample import Planes, Sample, plan_sample
from facula.schedule.codegen import Place
from facula.schedule.templates.common import contiguous, planner, result, same_layout

_TYPES = frozenset(("float32", "float64"))


def _planes(builder: Any, v: Val) -> tuple[list[Any], Planes] | None:
    """An operand (n, channels, *space) whose planes are contiguous, copied if they are not."""
    where = builder.strided(v)
    if where is None:
        return None
    slot, offset, strides = where
    if same_layout(v.shape[2:], strides[2:], contiguous_strides(v.shape[2:])):
        return [], Planes(slot, offset, (strides[0], strides[1]))
    steps, place = builder.copied(v)
    return steps, _at(v.shape, place)


def _at(shape: tuple[int, ...], place: Place) -> Planes:
    n, c = contiguous_strides(shape)[:2]
    return Planes(place.slot, place.offset, (n, c))


def _steps(builder: Any, v: Val, kind: str, x: Any, y: Any, place: Any, weight: Any) -> Any:
    """x, y, place and weight are operands; None stands for the result."""
    to = result(builder, v)
    if v.dtype.name not in _TYPES or to is None or not v.numel:
        return None
    steps: list[Any] = []
    planes: list[Planes] = []
    for u in (x, y):
        got = ([], _at(v.shape, to)) if u is None else _planes(builder, u)
        if got is None:
            return None
        steps += got[0]
        planes.append(got[1])
    lines: list[tuple[int, int]] = []
    for u in (place, weight):
        line = ([], to.slot, to.offset) if u is None else contiguous(builder, u)
        if line is None:
            return None
        steps += line[0]
        lines.append(line[1:])
    wide, thin, dims = x or v, y or v, v.arg[1][0]
    n, taps, points = place.shape
    size = math.prod(wide.shape[2:])
    full = weight is None or not v.arg[1][1]
    sample = Sample(
        n, thin.shape[1], size, points, dims, taps // dims, full, v.dtype.name, place.dtype.name
    )
    return steps + plan_sample(kind, sample, planes[0], planes[1], lines[0], lines[1])


@planner("sample")
def _gather(builder: Any, v: Val) -> list[Any] | None:
    """The samples."""
    x, place, weight = v.srcs
    return _steps(builder, v, "gather", x, None, place, weight)


@planner("sample_input_grad")
def _scatter(builder: Any, v: Val) -> list[Any] | None:
    """The gradient of the images."""
    y, place, weight = v.srcs
    return _steps(builder, v, "scatter", None, y, place, weight)


@planner("sample_weight_grad")
def _weigh(builder: Any, v: Val) -> list[Any] | None:
    """The gradient of the weights."""
    x, y, place = v.srcs
    return _steps(builder, v, "weigh", x, y, place, None)
