"""Writing at indices: scatter, index_fill, put, and reading there: take, isin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.meta import META, broadcast_shapes, meta_of, wrap_dim
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.bounds import need_along, need_in_range
from facula.ops.gather import (
    gather,
    index_add,
    index_and_source,
    index_copy,
    scatter_infer,
    scatter_op,
)
from facula.ops.index import masked_by_meta, put_at, put_somewhere
from facula.ops.pointwise import opmath
from facula.ops.registry import TORCH, both, check_out, inplace, only_torch, to_out, zeros_as
from facula.tensor import Tensor

# scatter ----------------------------------------------------------------------------------------

_REDUCE_WORD = {"add": "sum", "multiply": "prod"}


def _full_like_index(x: Tensor, index: Tensor, value: Any) -> Tensor:
    return TORCH["full"](index.meta.shape, value, dtype=x.meta.dtype, device=x.meta.device)


@both("scatter")
def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None,
            reduce: str | None = None, out: Tensor | None = None) -> Tensor:  # fmt: skip
    """input with src (a tensor or a number) written at input[index[i][j]][j], and alike."""
    given = value if src is None else src
    if given is None:
        raise TypeError(
            "scatter() received an invalid combination of arguments: src or value is needed"
        )
    if not isinstance(given, Tensor):
        given = _full_like_index(input, index, given)
    if reduce is not None:
        if reduce not in _REDUCE_WORD:
            raise RuntimeError("reduce argument must be either add or multiply.")
        return to_out(
            _reduced(input, dim, index, given, _REDUCE_WORD[reduce], True), out, exact=True
        )
    return to_out(scatter_op(input, dim, index, given, "set"), out, exact=True)


@both("scatter_add")
def scatter_add(
    input: Tensor, dim: int, index: Tensor, src: Tensor, *, out: Tensor | None = None
) -> Tensor:
    """input with src added at input[index[i][j]][j], and alike for other dims."""
    return to_out(scatter_op(input, dim, index, src, "add"), out, exact=True)


_MODES = {"sum": "add", "prod": "mul", "mean": "add", "amax": "max", "amin": "min"}


def _identity(d: Any, reduce: str) -> Any:
    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    low = reduce == "amax"
    if d.kind == "f":
        return -math.inf if low else math.inf
    if d.kind == "b":
        return not low
    limits = dt.iinfo(d)
    return limits.min if low else limits.max


def _reduce_infer(x: Any, index: Any, src: Any, dim: int, reduce: str, include_self: bool) -> Any:
    return scatter_infer(x, index, src, dim, "add")


def _reduce_expand(
    g: Any, x: Any, index: Any, src: Any, dim: int, reduce: str, include_self: bool
) -> Any:
    if not index.numel:
        return x
    d = x.dtype
    w = dt.uint8 if d.kind == "b" else opmath(d)
    index = g.check(
        g.cast(index, dt.int64), x.shape[dim] if x.ndim else 1, ("gather", dim), wrap=False
    )
    if not x.ndim:
        out = _reduce_values(
            g, *[g.reshape(v, (v.numel,)) for v in (x, index, src)], 0, reduce, include_self, w
        )
        return g.cast(g.reshape(out, ()), d)
    index, src = index_and_source(g, index, src)
    return g.cast(_reduce_values(g, x, index, src, dim, reduce, include_self, w), d)


def _reduce_values(
    g: Any, x: Any, index: Any, src: Any, dim: int, reduce: str, include_self: bool, w: Any
) -> Any:
    d = x.dtype
    start, values = g.cast(x, w), g.cast(src, w)
    mode = _MODES[reduce]
    if d.kind == "b":
        mode = {"add": "max", "mul": "min"}.get(mode, mode)
    if not include_self:
        start = g.scatter(start, index, g.const(_identity(d, reduce), w, index.shape), dim, "set")
    out = g.scatter(start, index, values, dim, mode)
    if reduce == "mean":
        ones = g.const(1, w, index.shape)
        base = g.const(1, w, x.shape)
        if not include_self:
            base = g.scatter(base, index, g.const(0, w, index.shape), dim, "set")
        count = g.scatter(base, index, ones, dim, "add")
        out = out / count if w.kind in "fc" else g.binary("floordiv", out, count)
    return out


def _reduce_backward(n: Any, g: Tensor) -> tuple:
    dim, reduce, include_self = n.params
    index, x, src, out = (n.tensor(k) for k in range(4))
    gx = gs = None
    where = TORCH["where"]
    small = src
    for i, k in enumerate(index.meta.shape):
        small = small.narrow(i, 0, k)
    if reduce == "sum":
        gx, gs = g, gather(g, dim, index)
    elif reduce == "mean":
        count = TORCH["ones_like"](g) if include_self else TORCH["zeros_like"](g)
        count = scatter_add(count, dim, index, TORCH["ones_like"](small))
        share = g / where(count == 0, 1.0, count)
        gx, gs = share, gather(share, dim, index)
    elif reduce in ("amax", "amin"):
        mine, theirs = (
            (x == out).to(g.meta.dtype),
            (small == gather(out, dim, index)).to(g.meta.dtype),
        )
        share = g / scatter_add(mine, dim, index, theirs)
        gx, gs = where(mine == 0, 0.0, mine * share), theirs * gather(share, dim, index)
    else:
        gx, gs = _prod_gradients(g, x, index, small, out, dim, include_self)
    if not include_self:
        gx = scatter(gx, dim, index, 0)
    if small is not src and tuple(small.meta.shape) != tuple(src.meta.shape):
        big = zeros_as(g, src.meta.shape)
        part = big
        for i, k in enumerate(gs.meta.shape):
            part = part.narrow(i, 0, k)
        part.copy_(gs)
        gs = big
    return gx, None, gs


def _prod_gradients(
    g: Tensor, x: Tensor, index: Tensor, src: Tensor, out: Tensor, dim: int, include: bool
) -> tuple:
    """Products of the others: with one zero among the factors only that one gets a gradient."""
    where = TORCH["where"]
    safe = where(x == 0, 1.0, x)
    gx = g * _reduced(safe, dim, index, src, "prod", include) / safe
    zero = src == 0
    zeros = scatter_add(TORCH["zeros_like"](x), dim, index, zero.to(x.meta.dtype))
    lone = zero & (gather(zeros, dim, index) == 1)
    safe_src = where(lone, 1.0, src)
    without = _reduced(x, dim, index, safe_src, "prod", include)
    gs = where(
        lone, gather(g * without, dim, index), gather(g * out, dim, index) / where(zero, 1.0, src)
    )
    return gx, gs


SCATTER_REDUCE = Op(
    "scatter_reduce", _reduce_infer, _reduce_expand, _reduce_backward, saves="1 0 2 out", marks=True
)


def _reduced(
    x: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, include_self: bool
) -> Tensor:
    dim = wrap_dim(dim, x.meta.ndim)
    need_along(index, x.meta, dim, "gather")
    return apply(SCATTER_REDUCE, (x, index, src), (dim, reduce, bool(include_self)))


@both("scatter_reduce")
def scatter_reduce(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *,
                   include_self: bool = True, out: Tensor | None = None) -> Tensor:  # fmt: skip
    """As `scatter_add`, with reduce "sum", "prod", "mean", "amax" or "amin"."""
    if reduce not in _MODES:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    return to_out(_reduced(input, dim, index, src, reduce, include_self), out, exact=True)


@both("index_reduce")
def index_reduce(input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *,
                 include_self: bool = True, out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Slices of source reduced ("prod", "mean", "amax", "amin") into those index names."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}."
        )
    if index.meta.ndim > 1:
        raise IndexError("index_reduce_(): Index is supposed to be a vector")
    if source.meta.dtype is not input.meta.dtype:
        raise RuntimeError("index_reduce_(): self and source expected to have the same dtype")
    d = wrap_dim(dim, input.meta.ndim)
    if not input.meta.ndim:
        wide = index.reshape(source.meta.shape)  # type: ignore[attr-defined]
    else:
        line = [-1 if i == d else 1 for i in range(source.meta.ndim)]
        wide = index.reshape(line).expand(source.meta.shape)  # type: ignore[attr-defined]
    return to_out(_reduced(input, d, wide, source, reduce, include_self), out, exact=True)


for _fn in (scatter, scatter_add, scatter_reduce, index_reduce, index_add, index_copy):
    inplace(_fn)


# index_fill, index_put ----------------------------------------------------------------------------


@both("index_fill")
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """input with a number in all slices that index names."""
    d = wrap_dim(dim, input.meta.ndim)
    if index.meta.dtype not in (dt.int64, dt.int32):
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    if index.meta.ndim > 1:
        raise RuntimeError("Index has to be a vector/scalar")
    if isinstance(value, Tensor):
        if value.meta.ndim:
            raise RuntimeError(
                "Only supports 0-dimension value tensor but got tensor with "
                f"{value.meta.ndim} dimension(s)."
            )
        fill = value.to(input.meta.dtype)  # type: ignore[attr-defined]
    else:
        if isinstance(value, complex) and input.meta.dtype.kind != "c":
            raise RuntimeError(
                "index_fill_(): Converting complex Scalar to non-complex type is not supported"
            )
        fill = TORCH["full"]((), value, dtype=input.meta.dtype, device=input.meta.device)
    n = input.meta.shape[d] if input.meta.ndim else 1
    named = TORCH["zeros"](n, dtype=dt.bool_, device=input.meta.device)
    where = index.reshape(-1)  # type: ignore[attr-defined]
    named = put_at(
        named, TORCH["ones"]((), dtype=dt.bool_, device=input.meta.device), [where], (0,), "set"
    )
    mask = named.reshape([-1 if i == d else 1 for i in range(input.meta.ndim)])  # type: ignore[attr-defined]
    return TORCH["where"](mask, fill, input)


inplace(index_fill)


@both("index_put", "_unsafe_index_put")
def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """input with values written (or added) where a tuple of index tensors points."""
    indices = tuple(slice(None) if i is None else i for i in indices)
    if values.meta.dtype is not input.meta.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {input.meta.dtype.short} for the "
            f"destination and {values.meta.dtype.short} for the source."
        )
    mode = "add" if accumulate else "set"
    if input.meta.device is META and masked_by_meta(indices):
        return put_somewhere(input, values, mode)
    flat = TORCH["arange"](input.meta.numel, device=input.meta.device).reshape(input.meta.shape)
    where = flat[indices]  # positions, in the shape of the result
    out = put_at(input.reshape(-1), values, [where], (0,), mode)  # type: ignore[attr-defined]
    return out.reshape(input.meta.shape)  # type: ignore[attr-defined]


TORCH["index_put_"] = inplace(index_put)


# flat indices --------------------------------------------------------------------------------------


@both("take")
def take(input: Tensor, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Elements at flat indices."""
    if index.meta.dtype is not dt.int64:
        raise RuntimeError(
            f"take(): Expected a long tensor for index, but got {index.meta.dtype.short}"
        )
    if not input.meta.numel and index.meta.numel:
        raise IndexError("take(): tried to take from an empty tensor")
    need_in_range(index, input.meta.numel, "take", wrap=True)
    flat = input.reshape(-1)  # type: ignore[attr-defined]
    check_out(out, input, index)
    return to_out(flat[index], out, exact=True)


@both("put")
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """input with source written (or added) at flat indices."""
    if index.meta.dtype is not dt.int64:
        raise RuntimeError(
            f"put_(): Expected a long tensor for index, but got {index.meta.dtype.short}"
        )
    if input.meta.dtype is not source.meta.dtype:
        raise RuntimeError(
            f"put_(): self and source expected to have the same dtype, but got self.dtype = {input.meta.dtype.short} "
            f"and source.dtype = {source.meta.dtype.short}"
        )
    if index.meta.numel != source.meta.numel:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{source.meta.numel}, index.numel() = {index.meta.numel}"
        )
    if not input.meta.numel and index.meta.numel:
        raise IndexError("put_(): Tried to put elements into an empty tensor")
    need_in_range(index, input.meta.numel, "take", wrap=True)
    flat = input.reshape(-1)  # type: ignore[attr-defined]
    new = put_at(
        flat, source.reshape(-1), [index.reshape(-1)], (0,), "add" if accumulate else "set"
    )  # type: ignore[attr-defined]
    return new.reshape(input.meta.shape)  # type: ignore[attr-defined]


inplace(put)


@both("take_along_dim")
def take_along_dim(
    input: Tensor, indices: Tensor, dim: int | None = None, *, out: Tensor | None = None
) -> Tensor:
    """Elements along dim at indices, both broadcast against each other."""
    if indices.meta.dtype is not dt.int64:
        raise RuntimeError(
            f"torch.take_along_dim(): dtype of indices should be Long but got {indices.meta.dtype.short}"
        )
    if dim is None:
        indices = TORCH["remainder"](indices, input.meta.numel)
        return to_out(gather(input.reshape(-1), 0, indices.reshape(-1)), out, exact=True)  # type: ignore[attr-defined]
    if input.meta.ndim != indices.meta.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input.meta.ndim} dimensions for input, and {indices.meta.ndim} dimensions for indices"
        )
    d = wrap_dim(dim, input.meta.ndim)
    indices = TORCH["remainder"](indices, input.meta.shape[d])  # as PyTorch: none is out of range
    a = [1 if i == d else n for i, n in enumerate(input.meta.shape)]
    b = [1 if i == d else n for i, n in enumerate(indices.meta.shape)]
    shape = broadcast_shapes(tuple(a), tuple(b))
    x = input.expand([input.meta.shape[d] if i == d else n for i, n in enumerate(shape)])  # type: ignore[attr-defined]
    index = indices.expand([indices.meta.shape[d] if i == d else n for i, n in enumerate(shape)])  # type: ignore[attr-defined]
    return to_out(gather(x, d, index), out, exact=True)


# membership ----------------------------------------------------------------------------------------


def np_isin(x: np.ndarray, test: np.ndarray, invert: bool) -> np.ndarray:
    """Which elements occur in test."""
    return np.isin(x, test, invert=invert)


from facula.ops.host import host_op  # noqa: E402

ISIN = host_op("isin", np_isin, lambda x, test, invert: meta_of(dt.bool_, x.shape, x.device))


@only_torch()
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False,
         out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Which elements occur in test_elements."""
    if not isinstance(elements, Tensor) and not isinstance(test_elements, Tensor):
        raise TypeError("isin() received an invalid combination of arguments")
    a = elements if isinstance(elements, Tensor) else TORCH["tensor"](elements)
    b = test_elements if isinstance(test_elements, Tensor) else TORCH["tensor"](test_elements)
    if a.meta.dtype.kind == "c" or b.meta.dtype.kind == "c":
        raise RuntimeError("Unsupported input type encountered for isin(): ComplexFloat")
    return to_out(apply(ISIN, (a, b), (invert,)), out, exact=True)
