"""Three-dimensional convolutions and pooling, expanded to two-dimensional ones over depth.

A convolution reads `kernel` layers of depth for each layer of its result: they are laid side by side as
channels. Pooling is done in the layers first and then across them. What these functions take and give
is what the templates of the same names do (see ops/conv.py, ops/pooling.py).
"""

from __future__ import annotations

import functools
import operator
from typing import Any

from facula.graph import dtypes as dt

Sizes = tuple[int, ...]


def is_deep(x: Any) -> bool:
    """Whether an operand of a template is to be expanded here."""
    return x.ndim == 5 and x.dtype.name in ("float32", "float64")


def _flat_rest(arg: Any) -> tuple:
    return tuple(p[1:] if isinstance(p, tuple) else p for p in arg)


def _layers(g: Any, x: Any, axis: int, window: tuple[int, int, int, int], out: int) -> list[Any]:
    """For each tap of the window, the layers it reads; `window` is (kernel, stride, pad, dilation)."""
    k, s, p, d = window
    lo = tuple(p if i == axis else 0 for i in range(x.ndim))
    x = g.pad(x, lo, lo)
    if (more := (out - 1) * s + (k - 1) * d + 1 - x.shape[axis]) > 0:  # a window of ceil mode
        x = g.pad(x, (0,) * x.ndim, tuple(more if i == axis else 0 for i in range(x.ndim)))
    sizes = tuple(out if i == axis else n for i, n in enumerate(x.shape))
    steps = tuple(s if i == axis else 1 for i in range(x.ndim))
    return [
        g.slice(x, tuple(t * d if i == axis else 0 for i in range(x.ndim)), sizes, steps)
        for t in range(k)
    ]


def _spread(
    g: Any, parts: list[Any], axis: int, window: tuple[int, int, int, int], size: int
) -> Any:
    """The adjoint of `_layers`: the sum of the parts, each where its tap reads."""
    _, s, p, d = window
    placed = []
    for t, part in enumerate(parts):
        shape = part.shape
        if s > 1:  # zeros between
            wide = g.reshape(part, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
            hi = tuple(s - 1 if i == axis + 1 else 0 for i in range(wide.ndim))
            wide = g.pad(wide, (0,) * wide.ndim, hi)
            part = g.reshape(wide, (*shape[:axis], shape[axis] * s, *shape[axis + 1 :]))
        first = t * d - p
        if first < 0:
            part = _cut(g, part, axis, -first, max(part.shape[axis] + first, 0))
        lo = max(first, 0)
        part = _cut(g, part, axis, 0, min(part.shape[axis], max(size - lo, 0)))
        if not part.shape[axis]:
            continue
        lo_hi = [(0, 0)] * part.ndim
        lo_hi[axis] = (lo, size - lo - part.shape[axis])
        placed.append(g.pad(part, [a for a, _ in lo_hi], [b for _, b in lo_hi]))
    if not placed:
        shape = parts[0].shape
        return g.const(0, parts[0].dtype, (*shape[:axis], size, *shape[axis + 1 :]))
    return functools.reduce(operator.add, placed)


def _cut(g: Any, x: Any, axis: int, first: int, size: int) -> Any:
    starts = tuple(min(first, n) if i == axis else 0 for i, n in enumerate(x.shape))
    sizes = tuple(size if i == axis else n for i, n in enumerate(x.shape))
    return g.slice(x, starts, sizes, (1,) * x.ndim)


# convolution -------------------------------------------------------------------------------------


def _window(arg: tuple, kernel: int) -> tuple[int, int, int, int]:
    stride, padding, dilation = arg[:3]
    return kernel, stride[0], padding[0], dilation[0]


def _stacked(g: Any, x: Any, arg: tuple, kernel: int, out: int) -> Any:
    """(N * out, groups * kernel * C / groups, H, W): layers side by side as channels."""
    n, c, _, h, w = x.shape
    groups = arg[3]
    taps = []
    for layer in _layers(g, x, 2, _window(arg, kernel), out):
        split = g.reshape(layer, (n, groups, c // groups, out, h, w))
        split = g.permute(split, (0, 3, 1, 2, 4, 5))
        taps.append(g.reshape(split, (n, out, groups, 1, c // groups, h, w)))
    return g.reshape(g.cat(taps, 3), (n * out, kernel * c, h, w))


def _flat(g: Any, y: Any) -> Any:
    """(N, C, D, H, W) as (N * D, C, H, W)."""
    n, c, d, h, w = y.shape
    return g.reshape(g.permute(y, (0, 2, 1, 3, 4)), (n * d, c, h, w))


def _flat_weight(g: Any, w: Any) -> Any:
    o, c, d, h, v = w.shape
    return g.reshape(g.permute(w, (0, 2, 1, 3, 4)), (o, d * c, h, v))


def conv(g: Any, x: Any, w: Any, arg: tuple, shape: Sizes) -> Any:
    """The convolution, of the given shape."""
    n, o, d, h, v = shape
    stacked = _stacked(g, x, arg, w.shape[2], d)
    flat = (stacked, _flat_weight(g, w))
    (y,) = g.template("conv", [(x.dtype, (n * d, o, h, v))], flat, _flat_rest(arg))
    return g.permute(g.reshape(y, (n, d, o, h, v)), (0, 2, 1, 3, 4))


def conv_input_grad(g: Any, grad: Any, w: Any, arg: tuple, shape: Sizes) -> Any:
    """The gradient of the input."""
    (n, c, size, h, v), d, kernel, groups = shape, grad.shape[2], w.shape[2], arg[3]
    flat = (_flat(g, grad), _flat_weight(g, w))
    outs = [(grad.dtype, (n * d, kernel * c, h, v))]
    (y,) = g.template("conv_input_grad", outs, flat, _flat_rest(arg))
    y = g.reshape(y, (n, d, groups, kernel, c // groups, h, v))
    parts = []
    for t in range(kernel):
        part = g.reshape(_cut(g, y, 3, t, 1), (n, d, c, h, v))
        parts.append(g.permute(part, (0, 2, 1, 3, 4)))
    return _spread(g, parts, 2, _window(arg, kernel), size)


def conv_weight_grad(g: Any, grad: Any, x: Any, arg: tuple, shape: Sizes) -> Any:
    """The gradient of the weight."""
    o, c, kernel, h, v = shape
    flat = (_flat(g, grad), _stacked(g, x, arg, kernel, grad.shape[2]))
    outs = [(grad.dtype, (o, kernel * c, h, v))]
    (y,) = g.template("conv_weight_grad", outs, flat, _flat_rest(arg))
    return g.permute(g.reshape(y, (o, kernel, c, h, v)), (0, 2, 1, 3, 4))


# pooling -----------------------------------------------------------------------------------------


def max_pool(g: Any, x: Any, params: tuple) -> tuple[Any, Any]:
    """Maxima and their places; among equals the first, and a NaN wins."""
    (n, c, depth, h, w), (kernel, stride, padding, dilation, out) = x.shape, params
    flat = g.reshape(x, (n, c * depth, h, w))
    shape = (n, c * depth, *out[1:])
    values, index = g.template(
        "max_pool", [(x.dtype, shape), (dt.int64, shape)], (flat,), _flat_rest(params)
    )
    window = (kernel[0], stride[0], padding[0], dilation[0])
    sizes = (n, c, depth, *out[1:])
    values = _layers(g, g.reshape(values, sizes), 2, window, out[0])
    index = _layers(g, g.reshape(index, sizes), 2, window, out[0])
    first = g.iota((n, c, *out), 2) * stride[0] - padding[0]
    best, place = values[0], index[0] + first * (h * w)
    for t in range(1, kernel[0]):
        layer = first + t * dilation[0]
        inside = (layer >= 0) & (layer < depth)
        better = (values[t] > best) | values[t].ne(values[t]) | (layer < dilation[0])
        take = inside & better
        best = g.where(take, values[t], best)
        place = g.where(take, index[t] + layer * (h * w), place)
    return best, place


def _counts(g: Any, x: Any, window: tuple, shape: Sizes, count_pad: bool, divisor: Any) -> Any:
    """How many numbers each mean is of."""
    if divisor:
        return g.const(divisor, x, shape)
    sizes, kernel, stride, padding = window
    total = g.const(1, dt.int64, shape)
    for i, (n, k, s, p) in enumerate(zip(sizes, kernel, stride, padding, strict=True), 2):
        start = g.iota(shape, i) * s - p
        end = g.binary("minimum", start + k, n + (p if count_pad else 0))
        total = total * (end - (start if count_pad else g.binary("maximum", start, 0)))
    return g.cast(total, x)


def avg_pool(g: Any, x: Any, params: tuple) -> Any:
    """Means."""
    (n, c, depth, h, w), (kernel, stride, padding, out, count_pad, divisor) = x.shape, params
    flat = g.reshape(x, (n, c * depth, h, w))
    arg = (kernel[1:], stride[1:], padding[1:], out[1:], True, 1)
    (y,) = g.template("avg_pool", [(x.dtype, (n, c * depth, *out[1:]))], (flat,), arg)
    y = g.reshape(y, (n, c, depth, *out[1:]))
    window = (kernel[0], stride[0], padding[0], 1)
    total = functools.reduce(operator.add, _layers(g, y, 2, window, out[0]))
    sizes = ((depth, h, w), kernel, stride, padding)
    return total / _counts(g, x.dtype, sizes, (n, c, *out), count_pad, divisor)


def avg_pool_backward(g: Any, grad: Any, params: tuple) -> Any:
    """The gradient of the means' input."""
    (n, c, *out), (kernel, stride, padding, size, count_pad, divisor) = grad.shape, params
    sizes = (size, kernel, stride, padding)
    share = grad / _counts(g, grad.dtype, sizes, (n, c, *out), count_pad, divisor)
    window = (kernel[0], stride[0], padding[0], 1)
    spread = _spread(g, [share] * kernel[0], 2, window, size[0])
    flat = g.reshape(spread, (n, c * size[0], *out[1:]))
    arg = (kernel[1:], stride[1:], padding[1:], size[1:], True, 1)
    shape = (n, c * size[0], *size[1:])
    (y,) = g.template("avg_pool_backward", [(grad.dtype, shape)], (flat,), arg)
    return g.reshape(y, (n, c, *size))
