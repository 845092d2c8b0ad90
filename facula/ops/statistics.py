"""Products, spreads, norms, logsumexp and other reductions beyond sum and mean."""

from __future__ import annotations

import builtins
import math
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.meta import Meta, meta_of, wrap_dim
from facula.graph.tape import Op
from facula.ops.apply import apply, apply_settled
from facula.ops.complexes import real_part
from facula.ops.elementwise import conj_of
from facula.ops.pointwise import need_tensors, opmath
from facula.ops.reduce import (
    SUM,
    dims_of,
    expand_back,
    extreme_backward,
    reduced,
    reduction,
    return_type,
    sum_of_squares,
)
from facula.ops.registry import NAMESPACES, TORCH, both, check_out_types, to_out
from facula.ops.without_values import known
from facula.tensor import Tensor

# prod -----------------------------------------------------------------------------------------


def _prod_infer(a: Meta, dims: tuple, keepdim: bool, asked: Any) -> Meta:
    d = asked or (dt.int64 if a.dtype.kind in "bui" else a.dtype)
    return meta_of(d, reduced(a.shape, dims, keepdim), a.device)


def _prod_expand(g: Any, a: Any, dims: tuple, keepdim: bool, asked: Any) -> Any:
    d = asked or (dt.int64 if a.dtype.kind in "bui" else a.dtype)
    x = g.cast(a, d)
    if d.kind == "b":
        return g.reduce("all", x, dims, keepdim)
    return g.cast(g.reduce("prod", g.cast(x, opmath(d)), dims, keepdim), d)


def _prod_backward(n: Any, g: Tensor) -> Tensor:
    x = n.tensor(0)
    m = n.inst.ins[0]
    dims, keepdim, _ = n.params
    if g.meta.dtype is not m.dtype:
        g = g.to(m.dtype)  # type: ignore[attr-defined]
    if not m.ndim or not m.numel:
        return g if not m.ndim else TORCH["zeros"](m.shape, dtype=m.dtype, device=m.device)
    return expand_back(g, m, dims, keepdim) * conj_of(products_without(x, dims))


def products_without(x: Tensor, dims: tuple) -> Tensor:
    """For each element the product of the others along dims."""
    if len(dims) > 1 or dims != (x.meta.ndim - 1,):
        rest = [i for i in range(x.meta.ndim) if i not in dims]
        order = [*rest, *dims]
        moved = x.permute(order)  # type: ignore[attr-defined]
        flat = moved.reshape(*[x.meta.shape[i] for i in rest], -1)
        got = products_without(flat, (flat.meta.ndim - 1,)).reshape(moved.meta.shape)
        back = [0] * len(order)
        for i, d in enumerate(order):
            back[d] = i
        return got.permute(back)
    ones = TORCH["ones_like"](x.narrow(-1, 0, 1))  # type: ignore[attr-defined]
    size = x.meta.shape[-1]
    before = TORCH["cat"]([ones, TORCH["cumprod"](x.narrow(-1, 0, size - 1), -1)], -1)  # type: ignore[attr-defined]
    tail = TORCH["flip"](x.narrow(-1, 1, size - 1), (-1,))  # type: ignore[attr-defined]
    after = TORCH["cat"]([TORCH["flip"](TORCH["cumprod"](tail, -1), (-1,)), ones], -1)
    return before * after


PROD = Op("prod", _prod_infer, _prod_expand, _prod_backward, saves="0")
PROD_DIM = Op(
    "prod", _prod_infer, _prod_expand, _prod_backward, saves="0", grad_name="ProdBackward1"
)


@both("prod")
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None,
         out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Product of all elements, or along a dim."""
    op, keepdim = (PROD, False) if dim is None else (PROD_DIM, keepdim)
    got = apply_settled(op, input, (dim, keepdim, dtype), reduction)
    return got if out is None else to_out(got, out)


# variance ---------------------------------------------------------------------------------------


def _var_infer(a: Meta, dims: tuple, keepdim: bool, correction: float) -> Meta:
    if a.dtype.kind not in "fc":
        raise RuntimeError("std and var only support floating point and complex dtypes")
    return meta_of(a.dtype.to_real(), reduced(a.shape, dims, keepdim), a.device)


def _var_expand(g: Any, a: Any, dims: tuple, keepdim: bool, correction: float) -> Any:
    from facula.ops.complexes import parts

    if a.dtype.kind == "c":
        re, im = parts(g, a)
        return _var_expand(g, re, dims, keepdim, correction) + _var_expand(
            g, im, dims, keepdim, correction
        )
    count = math.prod([a.shape[i] for i in dims])
    x = g.cast(a, opmath(a.dtype))
    gap = x - g.reduce("sum", x, dims) / (count if count else math.nan)
    free = builtins.max(count - correction, 0)
    total = g.reduce("sum", gap * gap, dims, keepdim)
    if free == 0 or count == 0:
        return g.cast(total / 0.0 if count else total + math.nan, a.dtype)
    return g.cast(total / float(free), a.dtype)


def _var_backward(n: Any, g: Tensor) -> Tensor:
    x, m = n.tensor(0), n.inst.ins[0]
    dims, keepdim, correction = n.params
    count = math.prod([m.shape[i] for i in dims])
    free = count - correction
    gap = x - x.mean(dims, keepdim=True) if dims else x - x
    scale = 2.0 / free if free > 0 else (math.inf if free == 0 else math.nan)
    return expand_back(g, m, dims, keepdim) * scale * gap


VAR = Op("var", _var_infer, _var_expand, _var_backward, saves="0")


def _std_expand(g: Any, a: Any, dims: tuple, keepdim: bool, correction: float) -> Any:
    w = opmath(a.dtype) if a.dtype.kind == "f" else a.dtype
    return g.cast(_var_expand(g, g.cast(a, w), dims, keepdim, correction).sqrt(), a.dtype.to_real())


def _std_backward(n: Any, g: Tensor) -> Tensor:
    out = n.tensor(1)
    half = TORCH["where"](out == 0, 0.0, g / (2 * out))
    return _var_backward(n, half)


STD = Op("std", _var_infer, _std_expand, _std_backward, saves="0 out")

_NO = object()


def _spread_arguments(
    name: str, input: Tensor, args: tuple, kwargs: dict
) -> tuple[tuple, bool, float]:
    """(dims, keepdim, correction) from `(unbiased)`, `(dim, unbiased, keepdim)` or keywords."""
    args = list(args)
    unbiased = kwargs.pop("unbiased", _NO)
    dim = kwargs.pop("dim", _NO)
    keepdim = kwargs.pop("keepdim", False)
    correction = kwargs.pop("correction", _NO)
    if kwargs:
        raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(kwargs))}'")
    if args and isinstance(args[0], bool):
        unbiased = args.pop(0)
    elif args:
        dim = args.pop(0)
        if args and isinstance(args[0], bool):
            unbiased = args.pop(0)
        if args:
            keepdim = args.pop(0)
    if unbiased is not _NO and correction is not _NO:
        raise TypeError(f"{name}() received an invalid combination of arguments")
    if correction is _NO or correction is None:
        correction = 1 if unbiased is _NO else int(bool(unbiased))
    dims = dims_of(None if dim is _NO else dim, input.meta.ndim)
    return dims, keepdim, correction


def _warn_dof(name: str, t: Tensor, dims: tuple, correction: float) -> None:
    count = math.prod([t.meta.shape[i] for i in dims])
    if count - correction <= 0 and t.meta.numel:
        import warnings

        warnings.warn(
            f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction "
            "factor (input numel divided by output numel).", UserWarning, stacklevel=4,
        )  # fmt: skip


def _spread(name: str, op: Op) -> None:
    def function(input: Tensor, *args: Any, out: Tensor | None = None, **kwargs: Any) -> Tensor:
        params = _spread_arguments(name, input, args, kwargs)
        _warn_dof(name, input, params[0], params[2])
        return to_out(apply(op, (input,), params), out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name}(input, dim=None, *, correction=1, keepdim=False)."
    both(name)(function)
    result = return_type(name + "_mean", name, "mean")

    def with_mean(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        params = _spread_arguments(name + "_mean", input, args, kwargs)
        _warn_dof(name + "_mean", input, params[0], params[2])
        mean = TORCH["mean"](input, params[0] or None, params[1])
        return (apply(op, (input,), params), mean)

    with_mean.__name__ = with_mean.__qualname__ = name + "_mean"
    with_mean.__doc__ = f"({name}, mean) along dims."
    TORCH[name + "_mean"] = with_mean
    del result


_spread("var", VAR)
_spread("std", STD)

# sums with a twist --------------------------------------------------------------------------------


def _lse_infer(a: Meta, dims: tuple, keepdim: bool) -> Meta:
    d = a.dtype if a.dtype.kind in "fc" else dt.default_dtype()
    return meta_of(d, reduced(a.shape, dims, keepdim), a.device)


def _lse_expand(g: Any, a: Any, dims: tuple, keepdim: bool) -> Any:
    from facula.ops.complexes import parts

    d = a.dtype if a.dtype.kind in "fc" else dt.default_dtype()
    x = g.cast(a, opmath(d))
    if not x.numel:
        return g.cast(g.reduce("sum", x.exp(), dims, keepdim).log(), d)
    re = parts(g, x)[0] if d.kind == "c" else x
    top = g.reduce("max", re, dims)
    top = g.where(top.abs().eq(math.inf), g.const(0.0, top.dtype), top)
    shift = g.cast(top, x.dtype)
    total = g.reduce("sum", (x - shift).exp(), dims).log() + shift
    return g.cast(g.reshape(total, reduced(a.shape, dims, keepdim)), d)


def _lse_backward(n: Any, g: Tensor) -> Tensor:
    x, y, m = n.tensor(0), n.tensor(1), n.inst.ins[0]
    dims, keepdim = n.params
    gap = x - expand_back(y, m, dims, keepdim)
    gap = (
        TORCH["where"](gap.isnan() if m.dtype.kind == "f" else gap != gap, -math.inf, gap)
        if False
        else gap
    )
    return expand_back(g, m, dims, keepdim) * conj_of(gap.exp())


LOGSUMEXP = Op("logsumexp", _lse_infer, _lse_expand, _lse_backward, saves="0 out")


@both("logsumexp")
def logsumexp(
    input: Tensor, dim: Any, keepdim: bool = False, *, out: Tensor | None = None
) -> Tensor:
    """log(sum(exp(input))) along dims, without overflow."""
    return to_out(apply(LOGSUMEXP, (input,), (dims_of(dim, input.meta.ndim), keepdim)), out)


NAMESPACES["special"]["logsumexp"] = logsumexp


def _without_nan(t: Tensor) -> Tensor:
    return TORCH["where"](t.isnan(), 0.0, t) if t.meta.dtype.kind in "fc" else t  # type: ignore[attr-defined]


def _nansum_expand(g: Any, a: Any, dims: tuple, keepdim: bool, asked: Any) -> Any:
    if a.dtype.kind == "f":
        a = g.where(a.isnan(), g.const(0.0, a.dtype), a)
    return SUM.expand(g, a, dims, keepdim, asked)


def _nansum_backward(n: Any, g: Tensor) -> Tensor:
    return SUM.backward(n, g) * ~n.tensor(0).isnan()  # type: ignore[misc]


NANSUM = Op("nansum", SUM.infer, _nansum_expand, _nansum_backward, saves="0")


@both("nansum")
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None,
           out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Sum, NaNs counted as 0."""
    if input.meta.dtype.kind == "c":
        raise RuntimeError("nansum does not support complex inputs")
    got = apply_settled(NANSUM, input, (dim, keepdim, dtype), reduction)
    return got if out is None else to_out(got, out)


@both("nanmean")
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None,
            out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Mean of what is not NaN."""
    if input.meta.dtype.kind not in "fc":
        raise RuntimeError(
            f"nanmean(): expected input to have floating point or complex dtype but got {input.meta.dtype.short}"
        )
    count = (~input.isnan()).sum(dim, keepdim)  # type: ignore[attr-defined]
    total = TORCH["sum"](_without_nan(input), dim, keepdim, dtype=dtype)
    return to_out(total / count, out)


@both("count_nonzero")
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """How many elements are not 0, along dims."""
    return (input != 0).sum(dim)  # type: ignore[union-attr]


# extremes -----------------------------------------------------------------------------------------


def _aminmax_infer(a: Meta, dims: tuple, keepdim: bool) -> tuple[Meta, Meta]:
    if a.dtype.kind == "c":
        raise NotImplementedError(f"\"aminmax\" not implemented for '{a.dtype.short}'")
    if builtins.any(a.shape[i] == 0 for i in dims):
        if len(dims) == a.ndim:
            raise RuntimeError(
                "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
            )
        bad = next(i for i in dims if a.shape[i] == 0)
        raise IndexError(f"aminmax: Expected reduction dim {bad} to have non-zero size.")
    m = meta_of(a.dtype, reduced(a.shape, dims, keepdim), a.device)
    return m, m


def _aminmax_expand(g: Any, a: Any, dims: tuple, keepdim: bool) -> Any:
    x = g.cast(a, dt.uint8 if a.dtype.kind == "b" else opmath(a.dtype))
    return [g.cast(g.reduce(kind, x, dims, keepdim), a.dtype) for kind in ("min", "max")]


class _OneOf:
    """A node of two extremes seen as the node of one."""

    def __init__(self, node: Any, which: int) -> None:
        self.node, self.which = node, which
        self.inst, self.params = node.inst, node.params

    def tensor(self, k: int) -> Any:
        return self.node.tensor(0 if k == 0 else 1 + self.which)


def _aminmax_backward(n: Any, lo: Tensor, hi: Tensor) -> Tensor:
    return extreme_backward(_OneOf(n, 0), lo) + extreme_backward(_OneOf(n, 1), hi)


AMINMAX = Op("aminmax", _aminmax_infer, _aminmax_expand, _aminmax_backward, saves="0 out0 out1")
_AMINMAX = return_type("aminmax", "min", "max")


@both("aminmax")
def aminmax(
    input: Tensor, *, dim: int | None = None, keepdim: bool = False, out: Any = None
) -> Any:
    """(smallest, largest) element, of all or along a dim."""
    dims = dims_of(dim, input.meta.ndim)
    got = _AMINMAX(*apply(AMINMAX, (input,), (dims, keepdim)))
    check_out_types(got, out)
    return to_out(got, out)


# norms ----------------------------------------------------------------------------------------------


def _norm_dtype(a: Meta, asked: Any) -> Any:
    return (asked or a.dtype).to_real()


def _norm_infer(a: Meta, ord: float, dims: tuple, keepdim: bool, asked: Any) -> Meta:
    if a.dtype.kind not in "fc":
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {a.dtype.short}"
        )
    if asked is not None:
        if asked.kind not in "fc" or (asked.kind == "c") != (a.dtype.kind == "c"):
            raise RuntimeError(
                f"linalg.vector_norm: dtype should be {'complex' if a.dtype.kind == 'c' else 'real'} for "
                f"{a.dtype.short} inputs, but got {asked.short}"
            )
        if dt.promote_types(asked, a.dtype) is not asked:
            raise RuntimeError(
                f"linalg.vector_norm: the dtype of the input ({a.dtype.short}) should be convertible without "
                f"narrowing to the specified dtype ({asked.short})"
            )
    if (ord < 0 or ord == math.inf) and builtins.any(a.shape[i] == 0 for i in dims):
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {ord} norm on an empty tensor because the operation does "
            "not have an identity"
        )
    return meta_of(_norm_dtype(a, asked), reduced(a.shape, dims, keepdim), a.device)


def _norm_expand(g: Any, a: Any, ord: float, dims: tuple, keepdim: bool, asked: Any) -> Any:
    d = (asked or a.dtype).to_real()
    x = g.cast(g.cast(a, opmath(asked or a.dtype)).abs(), opmath(d))
    if ord == math.inf or ord == -math.inf:
        out = g.reduce("max" if ord > 0 else "min", x, dims, keepdim)
    elif ord == 0:
        out = g.reduce("sum", g.cast(x.ne(0), x.dtype), dims, keepdim)
    elif ord == 1:
        out = g.reduce("sum", x, dims, keepdim)
    elif ord == 2:
        out = g.reshape(sum_of_squares(g, x, dims).sqrt(), reduced(a.shape, dims, keepdim))
    else:
        power = g.const(float(ord), x.dtype)
        out = g.reduce("sum", x.pow(power), dims, keepdim).pow(g.const(1.0 / ord, x.dtype))
    return g.cast(out, d)


def _norm_backward(n: Any, g: Tensor) -> Tensor:
    x, y, m = n.tensor(0), n.tensor(1), n.inst.ins[0]
    ord, dims, keepdim, _ = n.params
    where, zero = TORCH["where"], 0.0
    g, y = expand_back(g, m, dims, keepdim), expand_back(y, m, dims, keepdim)
    if g.meta.dtype.to_real() is not m.dtype.to_real():
        g, y = g.to(m.dtype.to_real()), y.to(m.dtype.to_real())  # type: ignore[attr-defined]
    if ord == 0:
        return TORCH["zeros_like"](x)
    if ord == 1:
        return TORCH["sgn"](x) * g
    if ord == 2:
        return where(y == 0, zero, x * (g / y))
    size = x.abs()
    if abs(ord) == math.inf:
        hit = (size == y) | (y.isnan() & size.isnan())
        return TORCH["sgn"](x) * where(hit, g / hit.sum(dims, keepdim=True), zero)
    if ord < 1:
        part = TORCH["sgn"](x) * size ** (ord - 1)
        part = where(size == 0, zero, part)
    else:
        part = x * size ** (ord - 2) if ord >= 2 else where(size == 0, zero, x * size ** (ord - 2))
    scale = g / y ** (ord - 1)
    return part * (where(y == 0, zero, scale))


VECTOR_NORM = Op("linalg_vector_norm", _norm_infer, _norm_expand, _norm_backward, saves="0 out")


def vector_norm(x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None,
                out: Tensor | None = None) -> Tensor:  # fmt: skip
    """(sum |x| ** ord) ** (1 / ord) along dims; ord may be 0, inf, -inf."""
    if not isinstance(ord, (int, float)):
        raise TypeError(
            f"linalg_vector_norm(): argument 'ord' (position 2) must be Number, not {type(ord).__name__}"
        )
    dims = dims_of(dim, x.meta.ndim)
    if isinstance(dim, (list, tuple)) and not dim:
        dims = tuple(range(x.meta.ndim))
    return to_out(apply(VECTOR_NORM, (x,), (float(ord), dims, keepdim, dtype)), out)


NAMESPACES["linalg"]["vector_norm"] = vector_norm


def _as_norm_input(t: Tensor) -> Tensor:
    if t.meta.dtype.kind not in "fc":
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {t.meta.dtype.short}"
        )
    return t


@both("norm")
def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Tensor | None = None,
         dtype: Any = None) -> Tensor:  # fmt: skip
    """The p-norm of the elements, along dims; "fro" and "nuc" are matrix norms.

    >>> import facula as torch
    >>> torch.norm(torch.tensor([3.0, 4.0]))
    tensor(5.)
    """
    _as_norm_input(input)
    if p == "nuc":
        if dim is None:
            return NAMESPACES["linalg"]["matrix_norm"](
                input, "nuc", keepdim=keepdim, dtype=dtype, out=out
            )
        return NAMESPACES["linalg"]["matrix_norm"](input, "nuc", dim, keepdim, dtype=dtype, out=out)
    if p == "fro" or p is None:
        p = 2
    if isinstance(p, str):
        raise RuntimeError(f"only valid string values are 'fro' and 'nuc', found {p}")
    return vector_norm(input, p, dim, keepdim, dtype=dtype, out=out)


@both("dist")
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of the difference."""
    return vector_norm(input - other, p)


@both("renorm")
def renorm(
    input: Tensor, p: float, dim: int, maxnorm: float, *, out: Tensor | None = None
) -> Tensor:
    """Slices along dim scaled down to a p-norm of at most maxnorm."""
    if input.meta.dtype.kind not in "fc":
        raise RuntimeError(
            f"renorm: Expected a floating point tensor, but got {input.meta.dtype.short}"
        )
    if input.meta.ndim < 2:
        raise RuntimeError(
            f"renorm: input needs at least 2 dimensions, got {input.meta.ndim} dimensions"
        )
    if isinstance(p, complex) or p <= 0:
        raise RuntimeError(
            "renorm: non-positive-norm not supported"
            if not isinstance(p, complex)
            else "renorm: p must be real-valued"
        )
    if isinstance(maxnorm, complex) or maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    d = wrap_dim(dim, input.meta.ndim)
    rest = [i for i in range(input.meta.ndim) if i != d]
    size = vector_norm(input, p, rest, True)
    scale = TORCH["where"](size > maxnorm, maxnorm / (size + 1e-7), 1.0)
    return to_out(input * scale, out, exact=True)


from facula.ops.registry import inplace  # noqa: E402

inplace(renorm)

# relations of variables -----------------------------------------------------------------------------


@both("cov")
def cov(input: Tensor, *, correction: int = 1, fweights: Tensor | None = None,
        aweights: Tensor | None = None) -> Tensor:  # fmt: skip
    """Covariances of variables (rows) over observations (columns)."""
    if input.meta.ndim > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {input.meta.ndim} dimensions"
        )
    if input.meta.dtype.kind == "b":
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input.reshape(1, -1) if input.meta.ndim < 2 else input  # type: ignore[attr-defined]
    n = x.meta.shape[1]
    weights = _cov_weights(x, n, fweights, aweights)
    total = weights.sum() if weights is not None else n
    if weights is not None and known(total <= 0):
        raise RuntimeError("cov(): weights sum to zero, can't be normalized")
    if x.meta.dtype.kind not in "fc":
        x = x.to(dt.default_dtype())
    mean = (
        x.mean(1, keepdim=True) if weights is None else ((x * weights).sum(1, keepdim=True) / total)
    )
    free: Any = total - correction
    if weights is not None and aweights is not None and correction:
        free = total - correction * (weights * aweights).sum() / total
    elif weights is None:
        free = builtins.max(n - correction, 0)
    if isinstance(free, Tensor):
        free = free.clamp(min=0)  # type: ignore[attr-defined]
    gap = x - mean
    right = gap if weights is None else gap * weights
    out = gap @ conj_of(right).t()
    out = out / free if not isinstance(free, (int, float)) or free else out / TORCH["zeros"](())
    return out.squeeze()


def _cov_weights(x: Tensor, n: int, fweights: Any, aweights: Any) -> Tensor | None:
    weights = None
    for name, w, kinds in (("fweights", fweights, "iu"), ("aweights", aweights, "f")):
        if w is None:
            continue
        if w.meta.ndim > 1:
            raise RuntimeError(
                f"cov(): expected {name} to have one or fewer dimensions but got {name} with {w.meta.ndim} dimensions"
            )
        if w.meta.dtype.kind not in kinds:
            raise RuntimeError(
                f"cov(): expected {name} to have {'integral' if kinds == 'iu' else 'floating point'} dtype but "
                f"got {name} with {w.meta.dtype.short} dtype"
            )
        if w.meta.numel != n:
            raise RuntimeError(
                f"cov(): expected {name} to have the same numel as there are observations in the input but got "
                f"{w.meta.numel} != {n}"
            )
        if known((w < 0).any()):
            raise RuntimeError(f"cov(): {name} cannot be negative")
        weights = w if weights is None else weights * w
    return weights


@both("corrcoef")
def corrcoef(input: Tensor) -> Tensor:
    """Correlations of variables (rows) over observations (columns)."""
    need_tensors("corrcoef", input=input)
    if input.meta.ndim > 2:
        raise RuntimeError(
            "corrcoef(): expected input to have two or fewer dimensions but got an input with "
            f"{input.meta.ndim} dimensions"
        )
    c = cov(input)
    if not c.meta.ndim:
        return c / c
    size = real_part(c.diagonal()).sqrt()  # type: ignore[attr-defined]
    c = c / size.unsqueeze(-1) / size.unsqueeze(0)
    if c.meta.dtype.kind == "c":
        return TORCH["complex"](c.real.clamp(-1, 1), c.imag.clamp(-1, 1))  # type: ignore[attr-defined]
    return c.clamp(-1, 1)
