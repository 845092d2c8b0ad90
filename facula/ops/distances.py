"""Lengths of vectors and distances between them."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.dtypes import promote_types
from facula.graph.meta import META, Meta, broadcast_shapes, contiguous_strides, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.pointwise import opmath
from facula.ops.reduce import dims_of, reduced, sum_of_squares
from facula.ops.registry import FUNCTIONAL, TORCH, functional, to_out, zeros_as
from facula.ops.without_values import on_meta
from facula.tensor import Tensor, adopt_array

# p-norms along dims ------------------------------------------------------------------------------


def p_norm_of(g: Any, x: Any, p: float, axes: tuple[int, ...]) -> Any:
    """The p-norm of primitive values along axes (kept, of size 1)."""
    if p == 2:
        return sum_of_squares(g, x, axes).sqrt()
    a = x.abs()
    if p == 0:
        return g.reduce("sum", g.cast(a.ne(0.0), x.dtype), axes)
    if p == 1:
        return g.reduce("sum", a, axes)
    if math.isinf(p):
        return g.reduce("max" if p > 0 else "min", a, axes)
    return g.reduce("sum", a.pow(p), axes).pow(1.0 / p)


def p_norm_slope(x: Tensor, norm: Tensor, g: Tensor, p: float, dims: tuple[int, ...]) -> Tensor:
    """The gradient of x for the gradient g of its norm; norm and g have the dims kept."""
    where, zero = TORCH["where"], zeros_as(x, ())
    if p == 0:
        return TORCH["zeros_like"](x)
    if p == 1:
        return g * x.sgn()  # type: ignore[attr-defined]
    if p == 2:
        return x * where(norm == 0, zero, g / norm)  # a factor for each row
    if math.isinf(p):
        hit = (x.abs() == norm).to(x.meta.dtype)  # type: ignore[attr-defined]
        return x.sgn() * hit * (g / hit.sum(dims, keepdim=True))  # type: ignore[attr-defined]
    a = x.abs()  # type: ignore[attr-defined]
    if p < 1:
        inner = where(x == 0, zero, x.sgn() * a ** (p - 1))  # type: ignore[attr-defined]
        return inner * (g * norm ** (1 - p))
    inner = x.sgn() * a ** (p - 1) if p < 2 else x * a ** (p - 2)  # type: ignore[attr-defined]
    return inner * where(norm == 0, zero, g / norm ** (p - 1))


def _norm_infer(x: Meta, p: float, dims: tuple, keepdim: bool) -> Meta:
    return meta_of(x.dtype.to_real(), reduced(x.shape, dims, keepdim), x.device)


def _norm_expand(g: Any, x: Any, p: float, dims: tuple, keepdim: bool) -> Any:
    v = g.cast(x, opmath(x.dtype))
    if v.dtype.kind == "c":
        v = v.abs()
    out = p_norm_of(g, v, p, dims) if dims else v.abs()
    return g.cast(g.reshape(out, reduced(x.shape, dims, keepdim)), x.dtype.to_real())


def _norm_backward(n: Any, g: Tensor) -> Tensor:
    p, dims, keepdim = n.params
    x, norm = n.tensor(0), n.tensor(1)
    kept = reduced(x.meta.shape, dims, True)
    if not keepdim:
        g, norm = g.reshape(kept), norm.reshape(kept)  # type: ignore[attr-defined]
    return p_norm_slope(x, norm, g, p, dims)


NORM = Op(
    "norm", _norm_infer, _norm_expand, _norm_backward, saves="0 out", grad_name="NormBackward1"
)


def p_norm(x: Tensor, p: float, dim: Any, keepdim: bool) -> Tensor:
    """The p-norm along dims."""
    return apply(NORM, (x,), (float(p), dims_of(dim, x.meta.ndim), keepdim))


def at_least(x: Tensor, low: float) -> Tensor:
    """max(x, low), whose gradient passes where x is low."""
    return TORCH["where"](
        x < low, TORCH["full"]((), low, dtype=x.meta.dtype, device=x.meta.device), x
    )


def raised(x: Tensor, low: float) -> Tensor:
    """max(x, low), where the bound counts for the value but not for the gradient."""
    return TORCH["where"](x < low, x - x.detach() + low, x)  # type: ignore[operator]


@functional("normalize")
def normalize(
    input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """input / max(its p-norm along dim, eps).

    >>> import facula as torch
    >>> torch.nn.functional.normalize(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    return to_out(input / at_least(p_norm(input, p, dim, True), eps), out)  # type: ignore[operator]


# similarities ------------------------------------------------------------------------------------


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Cosine of the angle between vectors along dim."""
    for x in (x1, x2):
        if not isinstance(x, Tensor):
            raise TypeError(f"cosine_similarity(): argument must be Tensor, not {type(x).__name__}")
    d = promote_types(x1.meta.dtype, x2.meta.dtype)
    if d.kind not in "fc":
        raise RuntimeError(
            f"expected common dtype to be floating point, yet common dtype is {d.short}"
        )
    shape = broadcast_shapes(x1.meta.shape, x2.meta.shape)
    x1, x2 = (x.to(d).expand(shape) for x in (x1, x2))  # type: ignore[attr-defined]
    unit = [x / raised(p_norm(x, 2, dim, True), eps) for x in (x1, x2)]  # type: ignore[operator]
    return (unit[0] * unit[1]).sum(dim)


TORCH["cosine_similarity"] = FUNCTIONAL["cosine_similarity"] = cosine_similarity


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dim."""
    return p_norm(x1 - x2 + eps, p, -1, keepdim)  # type: ignore[operator]


TORCH["pairwise_distance"] = FUNCTIONAL["pairwise_distance"] = pairwise_distance


# all pairs ---------------------------------------------------------------------------------------


_MANY_ROWS, _SHORT_ROW = 16, 256  # where the rows of the second lie across registers


def _cdist_infer(a: Meta, b: Meta, p: float) -> Meta:
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return meta_of(a.dtype, (*lead, a.shape[-2], b.shape[-2]), a.device)


def _cdist_expand(g: Any, a: Any, b: Any, p: float) -> Any:
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    r, m = b.shape[-2], a.shape[-1]
    shape = (*lead, a.shape[-2], r)
    if not m or not math.prod(shape):
        return g.const(0.0, a.dtype, shape)
    if r < _MANY_ROWS or m > _SHORT_ROW:
        diff = g.reshape(a, (*a.shape[:-1], 1, m)) - g.reshape(b, (*b.shape[:-2], 1, r, m))
        return g.reshape(p_norm_of(g, diff, p, (diff.ndim - 1,)), shape)
    # rows too short to be summed a register at a time: many pairs at once, from b's columns
    order = (*range(b.ndim - 2), b.ndim - 1, b.ndim - 2)
    columns = (*b.shape[:-2], 1, m, r)
    laid_out = g.as_strided(g.permute(b, order), columns, contiguous_strides(columns), 0)
    diff = g.reshape(a, (*a.shape, 1)) - laid_out
    return g.reshape(p_norm_of(g, diff, p, (diff.ndim - 2,)), shape)


def _cdist_backward(n: Any, g: Tensor) -> tuple:
    from facula.ops.pointwise import sum_to

    (p,) = n.params
    a, b, dist = n.tensor(0), n.tensor(1), n.tensor(2)
    diff = a.unsqueeze(-2) - b.unsqueeze(-3)
    slope = p_norm_slope(diff, dist.unsqueeze(-1), g.unsqueeze(-1), p, (diff.meta.ndim - 1,))  # type: ignore[attr-defined]
    ga = sum_to(slope.sum(-2), n.inst.ins[0]) if n.needs(0) else None  # type: ignore[attr-defined]
    gb = sum_to(-slope.sum(-3), n.inst.ins[1]) if n.needs(1) else None  # type: ignore[attr-defined]
    return ga, gb


CDIST = Op("cdist", _cdist_infer, _cdist_expand, _cdist_backward, saves="0 1 out")
_MM = "use_mm_for_euclid_dist"


def _euclid(a: Tensor, b: Tensor) -> Tensor:
    """Distances by one matrix product: |a|^2 - 2 a.b + |b|^2."""
    a2, b2 = (a * a).sum(-1, keepdim=True), (b * b).sum(-1, keepdim=True)
    square = a2 + b2.transpose(-2, -1) - 2 * TORCH["matmul"](a, b.transpose(-2, -1))  # type: ignore[attr-defined]
    low = zeros_as(square, ())
    return TORCH["where"](square > 0, square, low).sqrt()


def cdist(
    x1: Tensor,
    x2: Tensor,
    p: float = 2.0,
    compute_mode: str | None = "use_mm_for_euclid_dist_if_necessary",
) -> Tensor:
    """p-norm distances between all rows of x1 and of x2, batch by batch."""
    a, b = x1.meta, x2.meta
    if a.dtype.kind != "f":
        raise RuntimeError(f"cdist only supports floating-point dtypes, X1 got: {a.dtype.short}")
    if b.dtype.kind != "f":
        raise RuntimeError(f"cdist only supports floating-point dtypes, X2 got: {b.dtype.short}")
    for name, m in (("X1", a), ("X2", b)):
        if m.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {m.ndim}D")
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {a.shape[-1]} X2: {b.shape[-1]}"
        )
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    modes = {None: 0, _MM + "_if_necessary": 0, _MM: 1, "donot_" + _MM: 2}
    if compute_mode not in modes:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    many = a.shape[-2] > 25 or b.shape[-2] > 25
    if (
        p == 2
        and (modes[compute_mode] == 1 or (modes[compute_mode] == 0 and many))
        and a.numel
        and b.numel
    ):
        return _euclid(x1, x2)
    return apply(CDIST, (x1, x2), (float(p),))


TORCH["cdist"] = cdist


def pdist(input: Tensor, p: float = 2) -> Tensor:
    """Distances between all pairs of rows, as the upper triangle of cdist(input, input)."""
    m = input.meta
    if m.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {m.ndim}D")
    if m.dtype.kind != "f":
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    if m.shape[0] < 2 or not m.shape[1]:
        pairs = m.shape[0] * (m.shape[0] - 1) // 2
        return (input * 0).sum() * TORCH["zeros"](pairs, dtype=m.dtype, device=m.device)  # type: ignore[operator]
    if m.device is META:
        upper = on_meta(dt.int64, (m.shape[0] * (m.shape[0] - 1) // 2,))
    else:
        upper = adopt_array(_upper(m.shape[0]))
    # twice the distances, but no row is picked for a pair, nor has its gradient to be put back
    full = apply(CDIST, (input, input), (float(p),))
    return full.reshape(-1).index_select(0, upper)  # type: ignore[attr-defined]


@functools.lru_cache(maxsize=8)
def _upper(n: int) -> np.ndarray:
    """Flat places of the upper triangle of (n, n)."""
    return np.flatnonzero(np.triu(np.ones((n, n), bool), 1))


TORCH["pdist"] = FUNCTIONAL["pdist"] = pdist


# bilinear ----------------------------------------------------------------------------------------


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x1 @ weight[o] @ x2 + bias[o] for every output o; weight is (out, in1, in2)."""
    a, b, w = input1.meta, input2.meta, weight.meta
    if a.ndim != b.ndim:
        raise RuntimeError(f"bilinear(): input dimensions do not match: got {a.ndim} and {b.ndim}")
    for i in range(a.ndim - 1):
        if a.shape[i] != b.shape[i]:
            raise RuntimeError(
                f"bilinear(): input batch dimensions do not match at dim {i}: got {a.shape[i]} "
                f"and {b.shape[i]}"
            )
    for k, m in ((1, a), (2, b)):
        if m.shape[-1] != w.shape[k]:
            raise RuntimeError(
                f"bilinear(): input{k} size does not match weight size: got {m.shape[-1]} but "
                f"expected {w.shape[k]}"
            )
    if bias is not None and bias.meta.shape[0] != w.shape[0]:
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got {bias.meta.shape[0]} but "
            f"expected {w.shape[0]}"
        )
    out, in1, in2 = w.shape
    x1, x2 = input1.reshape(-1, in1), input2.reshape(-1, in2)  # type: ignore[attr-defined]
    inner = TORCH["mm"](x1, weight.permute(1, 0, 2).reshape(in1, out * in2))  # type: ignore[attr-defined]
    y = (inner.view(-1, out, in2) * x2.unsqueeze(1)).sum(-1, dtype=a.dtype)
    if bias is not None:
        y = y + bias
    return y.view(*a.shape[:-1], out)


TORCH["bilinear"] = FUNCTIONAL["bilinear"] = bilinear
