"""The NumPy meaning of convolution and pooling: what their native kernels must give.

Images are (N, C, *space), weights (O, C / groups, *kernel); stride, padding and dilation have one
number per space dim. A convolution here is PyTorch's: a correlation.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from facula.graph.reference import TEMPLATES

Array = np.ndarray
Sizes = tuple[int, ...]


def padded(x: Array, padding: Sizes, value: Any = 0) -> Array:
    """x with its space dims surrounded by a constant."""
    if not any(padding):
        return x
    return np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in padding]], constant_values=value)


def windows(x: Array, kernel: Sizes, stride: Sizes, dilation: Sizes, out: Sizes) -> Array:
    """A view (N, C, *kernel, *out) of the patches of padded images."""
    x = np.ascontiguousarray(x)
    inner = x.strides[2:]
    strides = (
        *x.strides[:2],
        *[s * d for s, d in zip(inner, dilation, strict=True)],
        *[s * t for s, t in zip(inner, stride, strict=True)],
    )
    return np.lib.stride_tricks.as_strided(x, (*x.shape[:2], *kernel, *out), strides)


def conv_out(size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Sizes:
    """Space dims of a convolution's result."""
    dims = zip(size, kernel, stride, padding, dilation, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in dims)


def _columns(
    x: Array, w: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int, out: Sizes
) -> Array:
    """(N, groups, C / groups * kernel, positions)."""
    kernel = w.shape[2:]
    view = windows(padded(x, padding), kernel, stride, dilation, out)
    return view.reshape(x.shape[0], groups, w.shape[1] * math.prod(kernel), math.prod(out))


def _wide(*arrays: Array) -> tuple[Array, ...]:
    return tuple(a.astype(np.float32) if a.dtype == np.float16 else a for a in arrays)


def conv(x: Array, w: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Array:
    """The result (N, O, *out) without bias."""
    x, w = _wide(x, w)
    out = conv_out(x.shape[2:], w.shape[2:], stride, padding, dilation)
    cols = _columns(x, w, stride, padding, dilation, groups, out)
    y = np.matmul(w.reshape(groups, w.shape[0] // groups, -1), cols)
    return y.reshape(x.shape[0], w.shape[0], *out)


def conv_input_grad(
    g: Array, w: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int, size: Sizes
) -> Array:
    """The gradient (N, C, *size) of the input; also the transposed convolution of g."""
    g, w = _wide(g, w)
    n, kernel, out = g.shape[0], w.shape[2:], g.shape[2:]
    per = w.shape[1]
    wg = w.reshape(groups, w.shape[0] // groups, -1).transpose(0, 2, 1)
    cols = np.matmul(wg, g.reshape(n, groups, g.shape[1] // groups, -1))
    cols = cols.reshape(n, groups * per, *kernel, *out)
    # room for windows that reach beyond the padded size
    full = [
        max(s + 2 * p, (o - 1) * t + d * (k - 1) + 1)
        for s, p, o, t, d, k in zip(size, padding, out, stride, dilation, kernel, strict=True)
    ]
    x = np.zeros((n, groups * per, *full), cols.dtype)
    for place in itertools.product(*map(range, kernel)):
        at = tuple(
            slice(i * d, i * d + (o - 1) * s + 1, s)
            for i, d, o, s in zip(place, dilation, out, stride, strict=True)
        )
        x[(slice(None), slice(None), *at)] += cols[(slice(None), slice(None), *place)]
    inner = tuple(slice(p, p + s) for p, s in zip(padding, size, strict=True))
    return x[(slice(None), slice(None), *inner)]


def conv_weight_grad(
    g: Array, x: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int, kernel: Sizes
) -> Array:
    """The gradient (O, C / groups, *kernel) of the weight."""
    g, x = _wide(g, x)
    n, o, out = g.shape[0], g.shape[1], g.shape[2:]
    view = windows(padded(x, padding), kernel, stride, dilation, out)
    cols = view.reshape(n, groups, x.shape[1] // groups * math.prod(kernel), -1)
    flat = g.reshape(n, groups, o // groups, -1)
    total = np.matmul(flat, cols.swapaxes(-1, -2)).sum(0)
    return total.reshape(o, x.shape[1] // groups, *kernel)


TEMPLATES["conv"] = conv
TEMPLATES["conv_input_grad"] = conv_input_grad
TEMPLATES["conv_weight_grad"] = conv_weight_grad


# pooling -----------------------------------------------------------------------------------------


def _lowest(d: np.dtype) -> Any:
    return -np.inf if d.kind == "f" else np.iinfo(d).min


def _padded_to(x: Array, padding: Sizes, need: list[int], value: Any) -> Array:
    """x padded in front by `padding`, behind so that windows up to `need` fit."""
    ends = [max(f - p - n, 0) for f, p, n in zip(need, padding, x.shape[2:], strict=True)]
    return np.pad(x, [(0, 0), (0, 0), *zip(padding, ends, strict=True)], constant_values=value)


def _reach(kernel: Sizes, stride: Sizes, dilation: Sizes, out: Sizes) -> list[int]:
    return [
        (o - 1) * s + d * (k - 1) + 1
        for k, s, d, o in zip(kernel, stride, dilation, out, strict=True)
    ]


def max_pool(
    x: Array, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, out: Sizes
) -> list[Array]:
    """Largest element of each window, and its row-major index in the image's space."""
    wide = _padded_to(x, padding, _reach(kernel, stride, dilation, out), _lowest(x.dtype))
    view = windows(wide, kernel, stride, dilation, out)
    flat = view.reshape(*x.shape[:2], math.prod(kernel), *out)
    best = np.argmax(flat, axis=2)
    values = np.take_along_axis(flat, best[:, :, None], 2)[:, :, 0]
    index = np.zeros(best.shape, np.int64)
    for axis, place in enumerate(np.unravel_index(best, kernel)):
        line = np.arange(out[axis]).reshape([-1 if i == axis else 1 for i in range(len(out))])
        at = line * stride[axis] - padding[axis] + place * dilation[axis]
        # where all is -inf the padding came first: the first that is inside is meant
        at = at + np.maximum(-(at // dilation[axis]), 0) * dilation[axis]
        index = index * x.shape[2 + axis] + at
    return [values, index]


def _pool_counts(
    size: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    out: Sizes,
    count_pad: bool,
    divisor: int | None,
) -> Array:
    """What each window's sum is divided by."""
    count = np.ones((1,) * len(out), np.int64)
    for axis, (n, k, s, p, o) in enumerate(zip(size, kernel, stride, padding, out, strict=True)):
        start = np.arange(o) * s - p
        end = np.minimum(start + k, n + p)
        if not count_pad:
            start, end = np.maximum(start, 0), np.minimum(end, n)
        count = count * (end - start).reshape([-1 if i == axis else 1 for i in range(len(out))])
    return np.full(out, divisor) if divisor else np.broadcast_to(count, out)


def avg_pool(
    x: Array,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    out: Sizes,
    count_pad: bool,
    divisor: int | None,
) -> Array:
    """Mean of each window; `divisor` replaces the number of elements."""
    ones = (1,) * len(kernel)
    wide = _padded_to(x, padding, _reach(kernel, stride, ones, out), 0)
    view = windows(wide, kernel, stride, ones, out)
    total = view.sum(axis=tuple(range(2, 2 + len(kernel))))
    return total / _pool_counts(
        x.shape[2:], kernel, stride, padding, out, count_pad, divisor
    ).astype(x.dtype)


def avg_pool_backward(
    g: Array,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    size: Sizes,
    count_pad: bool,
    divisor: int | None,
) -> Array:
    """The gradient of avg_pool's input, whose space dims are `size`."""
    out = g.shape[2:]
    share = g / _pool_counts(size, kernel, stride, padding, out, count_pad, divisor).astype(g.dtype)
    need = _reach(kernel, stride, (1,) * len(kernel), out)
    full = [max(f, n + 2 * p) for f, n, p in zip(need, size, padding, strict=True)]
    x = np.zeros((*g.shape[:2], *full), g.dtype)
    for place in itertools.product(*map(range, kernel)):
        at = tuple(
            slice(i, i + (o - 1) * s + 1, s) for i, o, s in zip(place, out, stride, strict=True)
        )
        x[(slice(None), slice(None), *at)] += share
    return x[
        (slice(None), slice(None), *[slice(p, p + n) for p, n in zip(padding, size, strict=True)])
    ]


def max_pool_backward(
    g: Array,
    index: Array,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    size: Sizes,
) -> Array:
    """The gradient of max_pool's input, whose space dims are `size`: g goes where maxima were."""
    n, c = g.shape[:2]
    x = np.zeros((n * c, math.prod(size)), g.dtype)
    rows = np.arange(n * c)[:, None]
    np.add.at(x, (rows, index.reshape(n * c, -1)), g.reshape(n * c, -1))
    return x.reshape(n, c, *size)


TEMPLATES["max_pool"] = max_pool
TEMPLATES["max_pool_backward"] = max_pool_backward
TEMPLATES["avg_pool"] = avg_pool
TEMPLATES["avg_pool_backward"] = avg_pool_backward


def adaptive_bounds(n: int, out: int) -> list[tuple[int, int]]:
    """Where each of `out` nearly equal windows over n elements begins and ends."""
    return [(i * n // out, -((i + 1) * n // -out)) for i in range(out)]


def adaptive_max_pool(x: Array, out: Sizes) -> list[Array]:
    """Largest element of each window and its row-major index in the image's space."""
    size = x.shape[2:]
    values = np.empty((*x.shape[:2], *out), x.dtype)
    index = np.empty(values.shape, np.int64)
    bounds = [list(enumerate(adaptive_bounds(n, o))) for n, o in zip(size, out, strict=True)]
    for windows_ in itertools.product(*bounds):
        at = tuple(i for i, _ in windows_)
        part = x[(slice(None), slice(None), *[slice(a, b) for _, (a, b) in windows_])]
        line = part.reshape(*x.shape[:2], -1)
        best = np.argmax(line, axis=2)
        nan = np.isnan(line)[..., ::-1]  # of several the last one, as in PyTorch
        best = np.where(nan.any(2), line.shape[2] - 1 - np.argmax(nan, axis=2), best)
        flat = np.zeros(best.shape, np.int64)
        for n, (_, (a, _)), place in zip(
            size, windows_, np.unravel_index(best, part.shape[2:]), strict=True
        ):
            flat = flat * n + a + place
        values[(slice(None), slice(None), *at)] = np.take_along_axis(
            x.reshape(*x.shape[:2], -1), flat[:, :, None], 2
        )[..., 0]
        index[(slice(None), slice(None), *at)] = flat
    return [values, index]


TEMPLATES["adaptive_max_pool"] = adaptive_max_pool


def adaptive_avg_pool(x: Array, out: Sizes) -> Array:
    """Mean of each window: along one dim after the other."""
    for axis, o in enumerate(out, 2):
        parts = [
            x[(slice(None),) * axis + (slice(a, b),)].mean(axis)
            for a, b in adaptive_bounds(x.shape[axis], o)
        ]
        x = np.stack(parts, axis)
    return x


def adaptive_avg_pool_backward(g: Array, size: Sizes) -> Array:
    """The gradient of adaptive_avg_pool's input, whose space dims are `size`."""
    for axis, n in enumerate(size, 2):
        lead = (slice(None),) * axis
        x = np.zeros((*g.shape[:axis], n, *g.shape[axis + 1 :]), g.dtype)
        for i, (a, b) in enumerate(adaptive_bounds(n, g.shape[axis])):
            x[(*lead, slice(a, b))] += g[(*lead, slice(i, i + 1))] / (b - a)
        g = x
    return g


TEMPLATES["adaptive_avg_pool"] = adaptive_avg_pool
TEMPLATES["adaptive_avg_pool_backward"] = adaptive_avg_pool_backward
