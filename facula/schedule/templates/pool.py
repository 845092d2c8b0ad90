"""Pooling over windows of one or two space dims."""

from __future__ import annotations

from typing import Any

from facula.graph.ir import Val
from facula.kernel.pool import (
    Pool,
    plan_avg_pool,
    plan_avg_pool_gradient,
    plan_bins_max,
    plan_bins_mean,
    plan_bins_mean_gradient,
    plan_max_pool,
    plan_max_pool_gradient,
)
from facula.schedule.templates.common import contiguous, planner, result
from facula.schedule.templates.conv import flat_image, image_at, image_of, pair

_TYPES = frozenset(("float32", "float64"))


def _pool(image: tuple[int, ...], out: tuple[int, ...], kernel: Any, stride: Any, padding: Any, dilation: Any,
          dtype: str) -> Pool:  # fmt: skip
    n, c, h, w = flat_image(image, image)[0]
    return Pool(
        n,
        c,
        h,
        w,
        pair(out, 1),
        pair(kernel, 1),
        pair(stride, 1),
        pair(padding, 0),
        pair(dilation, 1),
        dtype,
    )


@planner("max_pool", "adaptive_max_pool")
def _max(builder: Any, v: Val) -> list[Any] | None:
    """Maxima, and where they are if somebody wants to know."""
    (x,) = v.srcs
    if x.dtype.name not in _TYPES or x.ndim not in (3, 4):
        return None
    values, places = result(builder, v, 0), result(builder, v, 1)
    got = image_of(builder, x, False)
    if got is None:
        return None
    if values is None:  # only the places are asked for
        values = builder.spare(v)
    where = (places.slot, places.offset) if places else None
    plan = plan_max_pool
    if v.op == "template:max_pool":
        kernel, stride, padding, dilation, out = v.arg[1]
        pool = _pool(x.shape, out, kernel, stride, padding, dilation, x.dtype.name)
    else:
        plan, pool = plan_bins_max, _bins(x.shape, v.arg[1][0], x.dtype.name)
    return got[0] + plan(pool, got[1], image_at(v.shape, values), where)


@planner("max_pool_backward")
def _max_gradient(builder: Any, v: Val) -> list[Any] | None:
    """The gradient of the maxima's input."""
    g, index = v.srcs
    kernel, stride, padding, dilation, _ = v.arg[1]
    to, got = result(builder, v), image_of(builder, g, True)
    places = contiguous(builder, index)
    if g.dtype.name not in _TYPES or g.ndim not in (3, 4) or None in (to, got, places):
        return None
    pool = _pool(v.shape, g.shape[2:], kernel, stride, padding, dilation, g.dtype.name)
    image = image_at(v.shape, to)  # type: ignore[arg-type]
    steps = plan_max_pool_gradient(pool, image, got[1], places[1:])  # type: ignore[index]
    return [*got[0], *places[0], *steps]  # type: ignore[index]


def _bins(image: tuple[int, ...], out: tuple[int, ...], dtype: str) -> Pool:
    one = (1,) * len(out)
    return _pool(image, out, one, one, (0,) * len(out), one, dtype)


def _bin_operands(builder: Any, v: Val) -> Any:
    """(steps, where the operand lies, where the result goes); None where there is no kernel."""
    (x,) = v.srcs
    to, got = result(builder, v), image_of(builder, x, False)
    if x.dtype.name not in _TYPES or to is None or got is None:
        return None
    return *got, image_at(v.shape, to)


@planner("adaptive_avg_pool")
def _bin_means(builder: Any, v: Val) -> list[Any] | None:
    """Means of bins."""
    found = _bin_operands(builder, v)
    if found is None:
        return None
    steps, image, means = found
    pool = _bins(v.srcs[0].shape, v.arg[1][0], v.dtype.name)
    return steps + plan_bins_mean(pool, image, means)


@planner("adaptive_avg_pool_backward")
def _bin_means_gradient(builder: Any, v: Val) -> list[Any] | None:
    """The gradient of the input of bins' means."""
    found = _bin_operands(builder, v)
    if found is None:
        return None
    steps, gradient, image = found
    pool = _bins(v.shape, v.srcs[0].shape[2:], v.dtype.name)
    return steps + plan_bins_mean_gradient(pool, image, gradient)


@planner("avg_pool")
def _mean(builder: Any, v: Val) -> list[Any] | None:
    """Means."""
    (x,) = v.srcs
    kernel, stride, padding, out, count_pad, divisor = v.arg[1]
    to = result(builder, v)
    if x.dtype.name not in _TYPES or x.ndim not in (3, 4) or to is None or (divisor or 0) < 0:
        return None
    got = image_of(builder, x, False)
    if got is None:
        return None
    pool = _pool(x.shape, out, kernel, stride, padding, (1, 1), x.dtype.name)
    return got[0] + plan_avg_pool(pool, got[1], image_at(v.shape, to), count_pad, divisor or 0)


@planner("avg_pool_backward")
def _mean_gradient(builder: Any, v: Val) -> list[Any] | None:
    """The gradient of the means' input."""
    (g,) = v.srcs
    kernel, stride, padding, _, count_pad, divisor = v.arg[1]
    to = result(builder, v)
    if g.dtype.name not in _TYPES or g.ndim not in (3, 4) or to is None or (divisor or 0) < 0:
        return None
    got = image_of(builder, g, False)
    if got is None:
        return None
    pool = _pool(v.shape, g.shape[2:], kernel, stride, padding, (1, 1), g.dtype.name)
    return got[0] + plan_avg_pool_gradient(
        pool, image_at(v.shape, to), got[1], count_pad, divisor or 0
    )
