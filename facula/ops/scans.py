"""Running sums, products and extremes; integrals and differences along a dim."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.meta import Meta, meta_of, wrap_dim
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.elementwise import conj_of
from facula.ops.host import host_op
from facula.ops.pointwise import opmath
from facula.ops.reduce import return_type
from facula.ops.registry import TORCH, both, inplace, only_torch, to_out, zeros_as
from facula.ops.without_values import known
from facula.tensor import Tensor

# sums and products --------------------------------------------------------------------------------


def _scan_infer(a: Meta, dim: int, asked: Any) -> Meta:
    d = asked or (dt.int64 if a.dtype.kind in "bui" else a.dtype)
    return meta_of(d, a.shape, a.device)


def _scan_expand(kind: str) -> Any:
    def expand(g: Any, a: Any, dim: int, asked: Any) -> Any:
        d = asked or (dt.int64 if a.dtype.kind in "bui" else a.dtype)
        x = g.cast(a, d)
        if not a.ndim or not a.numel:
            return x
        if d.kind == "b":
            return g.cast(g.scan("max" if kind == "sum" else "min", g.cast(x, dt.uint8), dim), d)
        return g.cast(g.scan(kind, g.cast(x, opmath(d)), dim), d)

    return expand


def reverse_cumsum(g: Tensor, dim: int) -> Tensor:
    """Sums from each element to the end."""
    if not g.meta.ndim:
        return g
    return TORCH["flip"](cumsum(TORCH["flip"](g, (dim,)), dim), (dim,))


def _back_to(g: Tensor, m: Meta) -> Tensor:
    return g if g.meta.dtype is m.dtype else g.to(m.dtype)  # type: ignore[attr-defined]


def _cumprod_backward(n: Any, g: Tensor) -> Tensor:
    m, dim = n.inst.ins[0], n.params[0]
    x, y = n.tensor(0), n.tensor(1)
    if not m.ndim or m.numel <= 1:
        return _back_to(g, m)
    x, y = x.to(g.meta.dtype), y.to(g.meta.dtype)
    cx, cy = conj_of(x), conj_of(y)
    zero = x == 0
    if not known(zero.any()):
        return _back_to(reverse_cumsum(g * cy, dim) / cx, m)
    # with zeros: the first one gets the products that leave it out, later elements nothing
    first = zero & (cumsum(zero, dim) == 1)
    seen = cumsum(zero, dim) > 0
    before = TORCH["where"](
        seen,
        0.0,
        reverse_cumsum(TORCH["where"](seen, 0.0, g * cy), dim) / TORCH["where"](zero, 1.0, cx),
    )
    without = cumprod(TORCH["where"](first, 1.0, cx), dim)
    at_first = reverse_cumsum(TORCH["where"](seen, g * without, 0.0), dim)
    return _back_to(before + TORCH["where"](first, at_first, 0.0), m)


CUMSUM = Op("cumsum", _scan_infer, _scan_expand("sum"),
            lambda n, g: _back_to(reverse_cumsum(g, n.params[0]), n.inst.ins[0]))  # fmt: skip
CUMPROD = Op("cumprod", _scan_infer, _scan_expand("prod"), _cumprod_backward, saves="0 out")


def _dim(name: str, input: Tensor, dim: Any) -> int:
    if not isinstance(input, Tensor):
        raise TypeError(
            f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}"
        )
    if not isinstance(dim, int) or isinstance(dim, bool):
        raise TypeError(f"{name}(): argument 'dim' must be int, not {type(dim).__name__}")
    return wrap_dim(dim, input.meta.ndim)


@both("cumsum")
def cumsum(input: Tensor, dim: int, *, dtype: Any = None, out: Tensor | None = None) -> Tensor:
    """Running sums along dim.

    >>> import facula as torch
    >>> torch.cumsum(torch.tensor([1, 2, 3]), 0)
    tensor([1, 3, 6])
    """
    return to_out(apply(CUMSUM, (input,), (_dim("cumsum", input, dim), dtype)), out)


@both("cumprod")
def cumprod(input: Tensor, dim: int, *, dtype: Any = None, out: Tensor | None = None) -> Tensor:
    """Running products along dim."""
    return to_out(apply(CUMPROD, (input,), (_dim("cumprod", input, dim), dtype)), out)


def _scan_in_place(fn: Any) -> None:
    from facula.ops.inplace import write_back

    def run(self: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
        if dtype is not None and dtype is not self.meta.dtype:
            raise RuntimeError(
                f"Bad in-place call: input tensor dtype {self.meta.dtype.short} and output tensor "
                f"dtype {dtype.short} should match"
            )
        return write_back(self, fn(self, dim, dtype=self.meta.dtype))

    run.__name__ = fn.__name__ + "_"
    setattr(Tensor, run.__name__, run)


_scan_in_place(cumsum)
_scan_in_place(cumprod)

# extremes ---------------------------------------------------------------------------------------


def _extreme(name: str, kind: str) -> None:
    def infer(a: Meta, dim: int) -> tuple[Meta, Meta]:
        if a.dtype.kind == "c":
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{a.dtype.short}'")
        return a.plain(), meta_of(dt.int64, a.shape, a.device)

    def expand(g: Any, a: Any, dim: int) -> Any:
        if not a.ndim or not a.numel:
            return a, g.const(0, dt.int64, a.shape)
        x = g.cast(a, dt.uint8 if a.dtype.kind == "b" else opmath(a.dtype))
        return g.cast(g.scan(kind, x, dim), a.dtype), g.scan("arg" + kind, x, dim)

    def backward(n: Any, g: Tensor, _: Any = None) -> Tensor:
        m = n.inst.ins[0]
        if not m.ndim:
            return g
        zeros = zeros_as(g, m.shape)
        return zeros.scatter_add(n.params[0], n.tensor(0), g)

    op = Op(name, infer, expand, backward, saves="out1", materialize=False)
    result = return_type(name, "values", "indices")

    def function(input: Tensor, dim: int, *, out: Any = None) -> Any:
        return to_out(result(*apply(op, (input,), (_dim(name, input, dim),))), out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"Running {'maxima' if kind == 'max' else 'minima'} along dim, and where they are."
    )
    both(name)(function)


_extreme("cummax", "max")
_extreme("cummin", "min")


def np_logcumsumexp(x: np.ndarray, dim: int) -> np.ndarray:
    """log of running sums of exp of complex numbers, one step at a time."""
    if not x.ndim or not x.size:
        return x
    out = np.moveaxis(x.astype(np.complex128), dim, 0).copy()
    with np.errstate(all="ignore"):
        for i in range(1, len(out)):
            first = out[i - 1].real > out[i].real
            top, low = np.where(first, (out[i - 1], out[i]), (out[i], out[i - 1]))
            both = top + np.log1p(np.exp(low - top))  # the angle goes on from the larger one's
            same = np.isinf(top.real) & (top.real == low.real)
            ends = np.where(top.real < 0, low, np.log(np.exp(top) + np.exp(low)))
            out[i] = np.where(
                np.isnan(top) | np.isnan(low), complex("nan+nanj"), np.where(same, ends, both)
            )
    return np.moveaxis(out, 0, dim)


def _lcse_expand(g: Any, a: Any, dim: int) -> Any:
    if not a.ndim or not a.numel:
        return a
    return g.cast(g.scan("logaddexp", g.cast(a, opmath(a.dtype)), dim), a.dtype)


def _lcse_infer(a: Meta, dim: int) -> Meta:
    if a.dtype.kind not in "fc":
        raise RuntimeError(f"logcumsumexp does not support the dtype {a.dtype.short}")
    return a.plain()


def _lcse_backward(n: Any, g: Tensor) -> Tensor:
    """Positive and negative gradients apart, in logarithms."""
    x, y, dim = n.tensor(0), n.tensor(1), n.params[0]
    if not x.meta.ndim:
        return g
    if g.meta.dtype.kind == "c":
        # in logarithms throughout, as what is summed need not be in the range of numbers
        log = TORCH["flip"](conj_of(g).log() - y, (dim,))
        summed = apply(COMPLEX_LOGCUMSUMEXP, (log,), (dim,))
        return conj_of((TORCH["flip"](summed, (dim,)) + x).exp())

    size = g.abs().log()  # type: ignore[attr-defined]
    least = dt.finfo(g.meta.dtype).min  # finite, so that the derivative of this is not NaN

    def half(part: Tensor) -> Tensor:
        log = TORCH["where"](part, size, least) - y
        flipped = logcumsumexp(TORCH["flip"](log, (dim,)), dim)
        return (TORCH["flip"](flipped, (dim,)) + x).exp()

    return half(g > 0) - half(g < 0)  # type: ignore[operator]


LOGCUMSUMEXP = Op("logcumsumexp", _lcse_infer, _lcse_expand, _lcse_backward, saves="0 out")
COMPLEX_LOGCUMSUMEXP = host_op(
    "logcumsumexp", np_logcumsumexp, _lcse_infer, _lcse_backward, saves="0 out"
)


@both("logcumsumexp")
def logcumsumexp(input: Tensor, dim: int, *, out: Tensor | None = None) -> Tensor:
    """log of running sums of exp(input) along dim."""
    op = COMPLEX_LOGCUMSUMEXP if input.meta.dtype.kind == "c" else LOGCUMSUMEXP
    return to_out(apply(op, (input,), (_dim("logcumsumexp", input, dim),)), out, exact=True)


# integrals --------------------------------------------------------------------------------------


def _heights(y: Tensor, x: Any, dx: Any, dim: int) -> tuple[Tensor, Any, int]:
    d = wrap_dim(dim, y.meta.ndim)
    if isinstance(dx, Tensor | bool):
        raise RuntimeError("trapezoid: Currently, we only support dx as a real number.")
    n = y.meta.shape[d]
    pairs = y.narrow(d, 1, n - 1) + y.narrow(d, 0, n - 1) if n else y  # type: ignore[attr-defined]
    if x is None:
        return pairs, dx, d
    if x.meta.ndim == 0:
        raise RuntimeError(
            "trapezoid: There must be one `x` value for each sample point" if n != 1 else
            "trapezoid: `x` must have at least one dim"
        )  # fmt: skip
    if x.meta.ndim == 1 and y.meta.ndim > 1:
        if x.meta.numel != n:
            raise RuntimeError("trapezoid: There must be one `x` value for each sample point")
        steps = x.diff().reshape([-1 if i == d else 1 for i in range(y.meta.ndim)])  # type: ignore[attr-defined]
    else:
        lead = max(x.meta.ndim, y.meta.ndim)
        dd = d - y.meta.ndim
        steps = x.diff(dim=dd) if x.meta.ndim + dd >= 0 else x  # type: ignore[attr-defined]
        del lead
        if x.meta.ndim + dd >= 0 and x.meta.shape[dd] != n:
            raise RuntimeError("trapezoid: There must be one `x` value for each sample point")
        d = dd
    return pairs, steps, d


@only_torch("trapezoid", "trapz")
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """Integral along dim by the trapezoidal rule."""
    d = wrap_dim(dim, y.meta.ndim)
    if y.meta.shape[d] == 0:
        shape = [n for i, n in enumerate(y.meta.shape) if i != d]
        return zeros_as(y, shape)
    if x is None and not isinstance(dx, Tensor | bool):
        ends = y.select(d, 0) + y.select(d, -1)  # type: ignore[attr-defined]
        return (y.sum(d) - ends * 0.5) * dx  # type: ignore[attr-defined]
    pairs, steps, d = _heights(y, x, dx, dim)
    return (pairs * steps).sum(d) / 2


@only_torch()
def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1
) -> Tensor:
    """Running integral along dim by the trapezoidal rule."""
    pairs, steps, d = _heights(y, x, dx, dim)
    return cumsum(pairs * steps, d) / 2


# differences --------------------------------------------------------------------------------------


@both("diff")
def diff(input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None,
         *, out: Tensor | None = None) -> Tensor:  # fmt: skip
    """n-th differences of neighbours along dim."""
    if not input.meta.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    d = wrap_dim(dim, input.meta.ndim)
    ends = [t for t in (prepend, input, append) if t is not None]
    for t in ends:
        if t.meta.ndim != input.meta.ndim:
            raise RuntimeError("diff expects prepend or append to be the same dimension as input")
        if any(a != b for i, (a, b) in enumerate(zip(t.meta.shape, input.meta.shape)) if i != d):
            raise RuntimeError(
                "diff expects the shape of tensor to prepend or append to match that of input except "
                "along the differencing dimension; input.size"
            )
    got = TORCH["cat"](ends, d) if len(ends) > 1 else input
    if n == 0:
        return to_out(input.clone(), out)  # type: ignore[attr-defined]
    n = min(n, got.meta.shape[d])
    for _ in range(n):
        size = got.meta.shape[d]
        hi, lo = got.narrow(d, 1, size - 1), got.narrow(d, 0, size - 1)  # type: ignore[attr-defined]
        got = TORCH["logical_xor"](hi, lo) if got.meta.dtype.kind == "b" else hi - lo
    return to_out(got, out)


def _gradient_along(f: Tensor, dim: int, spacing: Any, edge_order: int) -> Tensor:
    n = f.meta.shape[dim]
    part = lambda a, k: f.narrow(dim, a, k)  # type: ignore[attr-defined]  # noqa: E731
    if isinstance(spacing, Tensor):
        x = spacing.reshape([-1 if i == dim else 1 for i in range(f.meta.ndim)])
        h = x.narrow(dim, 1, n - 1) - x.narrow(dim, 0, n - 1)
        h1, h2 = h.narrow(dim, 0, n - 2), h.narrow(dim, 1, n - 2)
        inner = (-(h2 / (h1 * (h1 + h2))) * part(0, n - 2) + (h2 - h1) / (h1 * h2) * part(1, n - 2)
                 + h1 / (h2 * (h1 + h2)) * part(2, n - 2))  # fmt: skip
        first, last = h.narrow(dim, 0, 1), h.narrow(dim, n - 2, 1)
        if edge_order == 1:
            start = (part(1, 1) - part(0, 1)) / first
            end = (part(n - 1, 1) - part(n - 2, 1)) / last
        else:
            a, b = first, h.narrow(dim, 1, 1)
            start = (-(2 * a + b) / (a * (a + b)) * part(0, 1) + (a + b) / (a * b) * part(1, 1)
                     - a / (b * (a + b)) * part(2, 1))  # fmt: skip
            a, b = h.narrow(dim, n - 3, 1), last
            end = (b / (a * (a + b)) * part(n - 3, 1) - (a + b) / (a * b) * part(n - 2, 1)
                   + (a + 2 * b) / (b * (a + b)) * part(n - 1, 1))  # fmt: skip
    else:
        h = spacing
        inner = (part(2, n - 2) - part(0, n - 2)) / (2 * h)
        if edge_order == 1:
            start = (part(1, 1) - part(0, 1)) / h
            end = (part(n - 1, 1) - part(n - 2, 1)) / h
        else:
            start = (-1.5 * part(0, 1) + 2 * part(1, 1) - 0.5 * part(2, 1)) / h
            end = (1.5 * part(n - 1, 1) - 2 * part(n - 2, 1) + 0.5 * part(n - 3, 1)) / h
    return TORCH["cat"]([start, inner, end], dim)


@only_torch()
def gradient(
    input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1
) -> tuple[Tensor, ...]:
    """Slopes along dims by central differences; `spacing` numbers or coordinates per dim."""
    dims = (
        list(range(input.meta.ndim))
        if dim is None
        else [dim]
        if isinstance(dim, int)
        else list(dim)
    )
    dims = [wrap_dim(d, input.meta.ndim) for d in dims]
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"dim {dims[0]} appears multiple times in the list of dims")
    spacing = 1 if spacing is None else spacing
    several = isinstance(spacing, (list, tuple))
    steps = list(spacing) if several else [spacing] * len(dims)
    if isinstance(spacing, Tensor) and not several:
        steps = [spacing] * len(dims)
    if several and len(steps) != len(dims):
        raise RuntimeError(
            f"torch.gradient expected spacing to be unspecified, a scalar or a list of length {len(dims)}, "
            f"but got a list of length {len(steps)}"
        )
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    for d, h in zip(dims, steps):
        if isinstance(h, Tensor) and (h.meta.ndim != 1 or h.meta.numel != input.meta.shape[d]):
            raise RuntimeError(
                "torch.gradient expected each element of `spacing` to have 1 dimension and the size of its dim, "
                f"but got a tensor of shape {list(h.meta.shape)}"
            )
        if isinstance(h, Tensor) and h.meta.device is not input.meta.device:
            raise RuntimeError(
                "torch.gradient expected each tensor to be on the same device, but got devices "
                f"{input.meta.device} and {h.meta.device}!"
            )
        if input.meta.shape[d] < edge_order + 1:
            raise RuntimeError(
                "torch.gradient expected each dimension size to be at least edge_order+1"
            )
    if input.meta.dtype is dt.uint8:
        raise RuntimeError("torch.gradient does not support uint8 input.")
    return tuple(_gradient_along(input, d, h, edge_order) for d, h in zip(dims, steps))


__all__ = ["inplace"]
