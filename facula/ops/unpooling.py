"""Fractional pooling, with random windows, and the inverse of max pooling."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.meta import Meta, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.pointwise import opmath
from facula.ops.pooling import MAX_BACKWARD, PICK, flat_planes, named, per_dim
from facula.ops.registry import FUNCTIONAL, TORCH
from facula.tensor import Tensor

Sizes = tuple[int, ...]


# fractional max pooling --------------------------------------------------------------------------


def _starts(sample: float, n: int, out: int, kernel: int) -> list[int]:
    """Where the windows along one dim begin."""
    if out == 1:
        return [n - kernel]
    alpha = sample.dtype.type(n - kernel) / sample.dtype.type(out - 1)  # type: ignore[attr-defined]
    first = int(sample * alpha)
    return [int((sample.dtype.type(i) + sample) * alpha) - first for i in range(out - 1)] + [
        n - kernel
    ]  # type: ignore[attr-defined]


def fractional_windows(
    x: np.ndarray, samples: np.ndarray, kernel: Sizes, out: Sizes
) -> list[np.ndarray]:
    """Largest elements of random windows, and their indices."""
    k, size = len(out), x.shape[2:]
    values = np.empty((*x.shape[:2], *out), x.dtype)
    index = np.empty(values.shape, np.int64)
    # the samples go from the last dim to the first for images, in order for volumes
    order = (1, 0) if k == 2 else tuple(range(k))
    for b, c in np.ndindex(*x.shape[:2]):
        starts = [_starts(samples[b, c, order[i]], size[i], out[i], kernel[i]) for i in range(k)]
        for at in itertools.product(*map(range, out)):
            begin = [starts[i][at[i]] for i in range(k)]
            part = x[(b, c, *[slice(s, s + n) for s, n in zip(begin, kernel, strict=True)])]
            place = np.unravel_index(int(np.argmax(part)), part.shape)
            flat = 0
            for n, s, p in zip(size, begin, place, strict=True):
                flat = flat * n + s + int(p)
            values[(b, c, *at)] = part[place]
            index[(b, c, *at)] = flat
    return [values, index]


def _fractional_infer(x: Meta, samples: Meta, kernel: Sizes, out: Sizes) -> tuple:
    m = meta_of(x.dtype, (*x.shape[: x.ndim - len(out)], *out), x.device)
    return m, m.with_dtype(dt.int64)


def _fractional_expand(g: Any, x: Any, samples: Any, kernel: Sizes, out: Sizes) -> Any:
    k, w = len(out), opmath(x.dtype)
    shape = (*x.shape[: x.ndim - k], *out)
    lead = shape[: len(shape) - k] if x.ndim == k + 2 else (1, x.shape[0])
    if not math.prod(shape):
        return g.const(0, x.dtype, shape), g.const(0, dt.int64, shape)
    wide = g.reshape(g.cast(x, w), (*lead, *x.shape[x.ndim - k :]))
    outs = [(w, (*lead, *out)), (dt.int64, (*lead, *out))]
    values, index = g.host(fractional_windows, outs, (wide, g.cast(samples, w)), (kernel, out))
    return g.cast(g.reshape(values, shape), x.dtype), g.reshape(index, shape)


def _fractional_backward(n: Any, g: Tensor, _: Any = None) -> tuple:
    k = len(n.params[1])
    return apply(MAX_BACKWARD, (g, n.tensor(0)), (tuple(n.inst.ins[0].shape), k)), None


FRACTIONAL = {
    k: Op(
        "fractional_max_pool",
        _fractional_infer,
        _fractional_expand,
        _fractional_backward,
        saves="out1",
        materialize=False,
        grad_name=f"FractionalMaxPool{k}DBackward0",
    )
    for k in (2, 3)
}


def _publish_fractional(k: int) -> None:
    name = f"fractional_max_pool{k}d"

    def with_indices(
        input: Tensor,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
        m = input.meta
        if output_size is None:
            ratio = (
                (output_ratio,) * k
                if isinstance(output_ratio, (int, float))
                else tuple(output_ratio)
            )
            if len(ratio) > k:
                raise ValueError(
                    f"{name} requires output_ratio to either be a single Int or tuple of Ints."
                )
            output_size = [int(n * r) for n, r in zip(m.shape[-k:], ratio, strict=True)]
        out, kernel = per_dim(output_size, k, "output_size"), per_dim(kernel_size, k, "kernel_size")
        _check_fractional(name, m, k, kernel, out)
        if _random_samples is None:
            batch = 1 if m.ndim == k + 1 else m.shape[0]
            _random_samples = TORCH["rand"](
                (batch, m.shape[-k - 1], k), dtype=m.dtype, device=m.device
            )
        return apply(FRACTIONAL[k], (input, _random_samples), (kernel, out))

    def values_only(
        input: Tensor,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> Tensor:
        return with_indices(input, kernel_size, output_size, output_ratio, False, _random_samples)[
            0
        ]

    def function(*args: Any, **kwargs: Any) -> Any:
        wants = kwargs.get("return_indices", args[4] if len(args) > 4 else False)
        return (with_indices if wants else values_only)(*args, **kwargs)

    doc = "Largest elements of windows at random places (Graham, 'Fractional max-pooling', 2014)."
    FUNCTIONAL[name] = named(function, name, doc)
    FUNCTIONAL[name + "_with_indices"] = named(with_indices, name + "_with_indices", doc)
    FUNCTIONAL["_" + name] = named(values_only, "_" + name, doc)


def _check_fractional(name: str, m: Meta, k: int, kernel: Sizes, out: Sizes) -> None:
    if m.ndim not in (k + 1, k + 2) or not all(m.shape[-k - 1 :]):
        raise RuntimeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but got "
            f"{list(m.shape)}"
        )
    if min(kernel) < 1:
        raise RuntimeError(f"{name}: kernel_size must be greater than zero, but got {list(kernel)}")
    if min(out) < 1:
        raise RuntimeError(f"{name}: output_size must be greater than zero, but got {list(out)}")
    for n, s, o in zip(m.shape[-k:], kernel, out, strict=True):
        if o + s - 1 > n:
            raise RuntimeError(f"{name}: pool size ({s}) too large relative to input size ({n})")


for _k in (2, 3):
    _publish_fractional(_k)


# unpooling ---------------------------------------------------------------------------------------


def _unpool_expand(g: Any, x: Any, index: Any, size: Sizes) -> Any:
    k = len(size)
    shape = (*x.shape[: x.ndim - k], *size)
    if not math.prod(shape) or not x.numel:
        return g.const(0, x.dtype, shape)
    rows = math.prod(shape[: len(shape) - k])
    checked = g.check(flat_planes(g, index, k), math.prod(size), "max index", wrap=False)
    out = g.scatter(
        g.const(0, x.dtype, (rows, math.prod(size))), checked, flat_planes(g, x, k), 1, "set"
    )
    return g.reshape(out, shape)


UNPOOL = {
    k: Op(
        "max_unpool",
        lambda x, i, size: meta_of(x.dtype, (*x.shape[: x.ndim - len(size)], *size), x.device),
        _unpool_expand,
        lambda n, g: (apply(PICK, (g, n.tensor(0)), (len(n.params[0]),)), None),
        saves="1",
        grad_name="SqueezeBackward1" if k == 1 else f"MaxUnpool{k}DBackward0",
        marks=True,
    )
    for k in (1, 2, 3)
}


def unpool_size(size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, asked: Any) -> Sizes:
    """The space dims of the result: what max pooling gives this size from, or what is asked."""
    k = len(kernel)
    default = tuple(
        (n - 1) * s + m - 2 * p for n, m, s, p in zip(size, kernel, stride, padding, strict=True)
    )
    if asked is None:
        return default
    asked = tuple(asked)
    if len(asked) == k + 2:
        asked = asked[2:]
    if len(asked) != k:
        raise ValueError(
            f"output_size should be a sequence containing {k} or {k + 2} elements, but it has a "
            f"length of '{len(asked)}'"
        )
    for d in range(k):
        low, high = default[d] - stride[d], default[d] + stride[d]
        if not low < asked[d] < high:
            raise ValueError(
                f'invalid output_size "{list(asked)}" (dim {d} must be between {low} and {high})'
            )
    return asked


def _publish_unpool(k: int) -> None:
    def function(
        input: Tensor,
        indices: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        output_size: Any = None,
    ) -> Tensor:
        kernel = per_dim(kernel_size, k, "kernel_size")
        steps = kernel if stride is None else per_dim(stride, k, "stride")
        edges = per_dim(padding, k, "padding")
        m, i = input.meta, indices.meta
        size = unpool_size(tuple(m.shape[-k:]), kernel, steps, edges, output_size)
        if i.dtype is not dt.int64:
            raise RuntimeError(f"elements in indices should be type int64 but got: {i.dtype.short}")
        if m.ndim not in (k + 1, k + 2):
            raise RuntimeError(
                f"Input to max_unpooling{k}d should be a {k + 1}d or {k + 2}d Tensor, but got a "
                f"tensor with {m.ndim} dimensions."
            )
        if tuple(i.shape) != tuple(m.shape):
            raise RuntimeError(
                "Expected shape of indices to be same as that of the input tensor "
                f"({list(m.shape)}) but got indices tensor with shape: {list(i.shape)}"
            )
        if not all(m.shape[1:]):
            raise RuntimeError(
                f"max_unpooling{k}d_forward_out_cpu(): Expected input to have non-zero size for "
                f"non-batch dimensions, but got {list(m.shape)}"
            )
        return apply(UNPOOL[k], (input, indices), (size,))

    name = f"max_unpool{k}d"
    FUNCTIONAL[name] = named(
        function, name, "Elements put back where max pooling found them; zeros elsewhere."
    )


for _k in (1, 2, 3):
    _publish_unpool(_k)
