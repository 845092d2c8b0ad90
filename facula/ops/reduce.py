"""Reductions: sum, mean, extremes and their indices."""

from __future__ import annotations

import builtins
import math
from collections import namedtuple
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.blame import wrong_type
from facula.graph.dtypes import dtype
from facula.graph.meta import Meta, meta_of, wrap_dim
from facula.graph.tape import Op
from facula.ops.apply import apply, apply_settled
from facula.ops.pointwise import need_tensors, opmath
from facula.ops.registry import TORCH, both, to_out, zeros_as
from facula.tensor import Tensor


def dims_of(dim: Any, ndim: int) -> tuple[int, ...]:
    """Sorted non-negative dims for `dim=`: None or () mean all."""
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, int):
        return (wrap_dim(dim, ndim),) if ndim else _check0(dim)
    if isinstance(dim, str) or not hasattr(dim, "__iter__"):
        raise wrong_type(dim, "tuple of ints")
    dims = [wrap_dim(d.__index__() if hasattr(d, "__index__") else d, ndim) for d in dim]
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"dim {builtins.max(dims)} appears multiple times in the list of dims")
    return tuple(sorted(dims)) if dims and ndim else tuple(range(ndim))


def _check0(dim: int) -> tuple[int, ...]:
    wrap_dim(dim, 0)
    return ()


def reduced(shape: tuple[int, ...], dims: tuple[int, ...], keepdim: bool) -> tuple[int, ...]:
    """The shape that is left."""
    if keepdim:
        return tuple([1 if i in dims else n for i, n in enumerate(shape)])
    return tuple([n for i, n in enumerate(shape) if i not in dims])


def expand_back(g: Tensor, m: Meta, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    """A result's gradient as a view of the input's shape."""
    if not keepdim and m.ndim:
        g = g.reshape(reduced(m.shape, dims, True))  # type: ignore[attr-defined]
    return g.expand(m.shape)  # type: ignore[attr-defined]


def sum_of_squares(g: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """Sums of squares of real primitive values along axes (kept, of size 1).

    A last dim of up to 7 is added up in the order of PyTorch's AVX2 kernel, on which initial values
    of weight and spectral norms depend: four squares are rounded and then added, what is over (or
    fewer than four) is multiplied and added at once.
    """
    n = x.shape[-1] if x.shape else 0
    if axes != (x.ndim - 1,) or not 1 < n < 8:
        return g.reduce("sum", x * x, axes)
    sizes, steps = (*x.shape[:-1], 1), (1,) * x.ndim
    columns = [g.slice(x, (*[0] * (x.ndim - 1), k), sizes, steps) for k in range(n)]
    total = columns[0] * columns[0]
    for k, column in enumerate(columns[1:], 1):
        rounded = k < 4 <= n
        total = total + column * column if rounded else g.fma(column, column, total)
    return total


def reduction(ndim: int, dim: Any, keepdim: bool, asked: dtype | None) -> tuple:
    """Parameters of a reduction called with these arguments."""
    return dims_of(dim, ndim), keepdim, asked


def _dims_and_keepdim(ndim: int, dim: Any, keepdim: bool) -> tuple:
    return dims_of(dim, ndim), keepdim


def _sum_dtype(d: dtype, asked: dtype | None) -> dtype:
    return asked or (dt.int64 if d.kind in "bui" else d)


def _sum_infer(a: Meta, dims: tuple, keepdim: bool, asked: dtype | None) -> Meta:
    return meta_of(_sum_dtype(a.dtype, asked), reduced(a.shape, dims, keepdim), a.device)


def _sum_expand(g: Any, a: Any, dims: tuple, keepdim: bool, asked: dtype | None) -> Any:
    d = _sum_dtype(a.dtype, asked)
    return g.cast(g.reduce("sum", g.cast(g.cast(a, d), opmath(d)), dims, keepdim), d)


def _sum_backward(n: Any, g: Tensor) -> Tensor:
    m = n.inst.ins[0]
    if g.meta.dtype is not m.dtype:
        g = g.to(m.dtype)  # type: ignore[attr-defined]
    return expand_back(g, m, n.params[0], n.params[1])


SUM = Op("sum", _sum_infer, _sum_expand, _sum_backward)
SUM_DIM = Op("sum", _sum_infer, _sum_expand, _sum_backward, grad_name="SumBackward1")


@both("sum")
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None,
        out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Sum of all elements, or along dims.

    >>> import facula as torch
    >>> x = torch.tensor([[1, 2], [3, 4]])
    >>> x.sum()
    tensor(10)
    >>> x.sum(0)
    tensor([4, 6])
    """
    op = SUM if dim is None else SUM_DIM
    got = apply_settled(op, input, (dim, keepdim, dtype), reduction)
    return got if out is None else to_out(got, out)


def _mean_infer(a: Meta, dims: tuple, keepdim: bool, asked: dtype | None) -> Meta:
    d = asked or a.dtype
    if d.kind not in "fc":
        what = "Input" if asked is None else "Optional"
        raise RuntimeError(
            "mean(): could not infer output dtype. "
            f"{what} dtype must be either a floating point or complex dtype. Got: {d.short}"
        )
    return meta_of(d, reduced(a.shape, dims, keepdim), a.device)


def _mean_expand(g: Any, a: Any, dims: tuple, keepdim: bool, asked: dtype | None) -> Any:
    d = asked or a.dtype
    count = math.prod([a.shape[i] for i in dims])
    total = g.reduce("sum", g.cast(g.cast(a, d), opmath(d)), dims, keepdim)
    return g.cast(total / (count if count else math.nan), d)


def _mean_backward(n: Any, g: Tensor) -> Tensor:
    m = n.inst.ins[0]
    dims = n.params[0]
    count = math.prod([m.shape[i] for i in dims])
    g = expand_back(g, m, dims, n.params[1]) / builtins.max(count, 1)
    return g if g.meta.dtype is m.dtype else g.to(m.dtype)  # type: ignore[attr-defined]


MEAN = Op("mean", _mean_infer, _mean_expand, _mean_backward)
MEAN_DIM = Op("mean", _mean_infer, _mean_expand, _mean_backward, grad_name="MeanBackward1")


@both("mean")
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None,
         out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Mean of all elements, or along dims.

    >>> import facula as torch
    >>> torch.tensor([[1.0, 2.0], [3.0, 4.0]]).mean(1, keepdim=True)
    tensor([[1.5000],
            [3.5000]])
    """
    op = MEAN if dim is None else MEAN_DIM
    got = apply_settled(op, input, (dim, keepdim, dtype), reduction)
    return got if out is None else to_out(got, out)


# extremes ---------------------------------------------------------------------------------


def _extreme_infer(name: str) -> Any:
    def infer(a: Meta, dims: tuple, keepdim: bool) -> Meta:
        if a.dtype.kind == "c":
            raise NotImplementedError(f"\"{name}\" not implemented for '{a.dtype.short}'")
        if builtins.any(a.shape[i] == 0 for i in dims):
            if len(dims) == a.ndim:
                kind = IndexError if name in ("argmax", "argmin") else RuntimeError
                raise kind(
                    f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                    "Specify the reduction dim with the 'dim' argument."
                )
            bad = next(i for i in dims if a.shape[i] == 0)
            raise IndexError(f"{name}(): Expected reduction dim {bad} to have non-zero size.")
        return meta_of(a.dtype, reduced(a.shape, dims, keepdim), a.device)

    return infer


def _extreme_expand(kind: str) -> Any:
    def expand(g: Any, a: Any, dims: tuple, keepdim: bool) -> Any:
        w = dt.uint8 if a.dtype.kind == "b" else opmath(a.dtype)
        return g.cast(g.reduce(kind, g.cast(a, w), dims, keepdim), a.dtype)

    return expand


def extreme_backward(n: Any, g: Tensor) -> Tensor:
    """Shared evenly among equal extremes; where the extreme is NaN, none equals it: NaN."""
    x, y = n.tensor(0), n.tensor(1)
    m = n.inst.ins[0]
    dims, keepdim = n.params
    g, y = expand_back(g, m, dims, keepdim), expand_back(y, m, dims, keepdim)
    return _shared(g, x == y, dims)


def _shared(g: Tensor, mask: Tensor, dims: tuple) -> Tensor:
    mask = mask.to(g.meta.dtype)
    return g * mask / mask.sum(dims, keepdim=True)


def _extreme_of_all_backward(n: Any, g: Tensor) -> Tensor:
    """Shared evenly among equal extremes, of which NaN is one."""
    x, y = n.tensor(0), n.tensor(1)
    return _shared(g, (x == y) | ((x != x) & (y != y)), n.params[0])


AMAX = Op("amax", _extreme_infer("amax"), _extreme_expand("max"), extreme_backward, saves="0 out")
AMIN = Op("amin", _extreme_infer("amin"), _extreme_expand("min"), extreme_backward, saves="0 out")
MAX_ALL = Op("max", _extreme_infer("max"), _extreme_expand("max"), _extreme_of_all_backward,
             saves="0 out", grad_name="MaxBackward1")  # fmt: skip
MIN_ALL = Op("min", _extreme_infer("min"), _extreme_expand("min"), _extreme_of_all_backward,
             saves="0 out", grad_name="MinBackward1")  # fmt: skip


@both("amax")
def amax(
    input: Tensor, dim: Any = (), keepdim: bool = False, *, out: Tensor | None = None
) -> Tensor:
    """Largest elements along dims; gradients are shared among equal ones."""
    got = apply_settled(AMAX, input, (dim, keepdim), _dims_and_keepdim)
    return got if out is None else to_out(got, out)


@both("amin")
def amin(
    input: Tensor, dim: Any = (), keepdim: bool = False, *, out: Tensor | None = None
) -> Tensor:
    """Smallest elements along dims; gradients are shared among equal ones."""
    got = apply_settled(AMIN, input, (dim, keepdim), _dims_and_keepdim)
    return got if out is None else to_out(got, out)


def _arg_infer(name: str) -> Any:
    check = _extreme_infer(name)

    def infer(a: Meta, dims: tuple, keepdim: bool) -> Meta:
        return check(a, dims, keepdim).with_dtype(dt.int64)

    return infer


def _arg_expand(kind: str) -> Any:
    def expand(g: Any, a: Any, dims: tuple, keepdim: bool) -> Any:
        w = dt.uint8 if a.dtype.kind == "b" else opmath(a.dtype)
        if not dims:
            return g.const(0, dt.int64, a.shape)
        return g.reduce("arg" + kind, g.cast(a, w), dims, keepdim)

    return expand


ARGMAX = Op("argmax", _arg_infer("argmax"), _arg_expand("max"))
ARGMIN = Op("argmin", _arg_infer("argmin"), _arg_expand("min"))


def _arg(op: Op, input: Tensor, dim: int | None, keepdim: bool, out: Tensor | None) -> Tensor:
    got = apply_settled(op, input, (dim, keepdim), _dims_and_keepdim)
    return got if out is None else to_out(got, out)


@both("argmax")
def argmax(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Tensor | None = None
) -> Tensor:
    """Index of the largest element (of the flattened input without dim).

    >>> import facula as torch
    >>> torch.tensor([[1, 5], [9, 2]]).argmax(1)
    tensor([1, 0])
    """
    return _arg(ARGMAX, input, dim, keepdim, out)


@both("argmin")
def argmin(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Tensor | None = None
) -> Tensor:
    """Index of the smallest element (of the flattened input without dim)."""
    return _arg(ARGMIN, input, dim, keepdim, out)


def _dim_infer(name: str) -> Any:
    check = _extreme_infer(name)

    def infer(a: Meta, dim: int, keepdim: bool) -> tuple[Meta, Meta]:
        m = check(a, (dim,) if a.ndim else (), keepdim)
        return m, m.with_dtype(dt.int64)

    return infer


def _dim_expand(kind: str) -> Any:
    def expand(g: Any, a: Any, dim: int, keepdim: bool) -> Any:
        dims = (dim,) if a.ndim else ()
        return _extreme_expand(kind)(g, a, dims, keepdim), _arg_expand(kind)(g, a, dims, keepdim)

    return expand


def index_backward(n: Any, g: Tensor, _: Any = None) -> Tensor:
    """Gradient of values picked along a dim by the (saved) index result."""
    m = n.inst.ins[0]
    dim, keepdim = n.params[0], n.params[1]
    index = n.tensor(0)
    if not m.ndim:
        return g
    if not keepdim:
        g, index = g.unsqueeze(dim), index.unsqueeze(dim)  # type: ignore[attr-defined]
    return zeros_as(g, m.shape).scatter(dim, index, g)


MAX_DIM = Op(
    "max", _dim_infer("max"), _dim_expand("max"), index_backward, saves="out1", materialize=False
)
MIN_DIM = Op(
    "min", _dim_infer("min"), _dim_expand("min"), index_backward, saves="out1", materialize=False
)


def return_type(name: str, *fields: str) -> Any:
    """A named-tuple type as in `torch.return_types`."""

    class Result(namedtuple(name, fields)):  # type: ignore[misc]
        __slots__ = ()

        def __repr__(self) -> str:
            parts = ",\n".join(f"{f}={v!r}" for f, v in zip(self._fields, self, strict=True))
            return f"torch.return_types.{name}(\n{parts})"

    Result.__name__ = Result.__qualname__ = name
    Result.__module__ = "torch.return_types"
    RETURN_TYPES[name] = Result
    return Result


RETURN_TYPES: dict[str, Any] = {}
_MAX, _MIN = return_type("max", "values", "indices"), return_type("min", "values", "indices")


def _extreme(name: str, all_op: Op, dim_op: Op, result: Any) -> Any:
    def function(input: Tensor, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        need_tensors(name, input=input)
        first = args[0] if args else kwargs.get("other")
        if isinstance(first, Tensor):
            if len(args) > 1:
                kinds = ", ".join(type(x).__name__ for x in (input, *args))
                raise TypeError(
                    f"{name}() received an invalid combination of arguments - got ({kinds})"
                )
            return TORCH[name + "imum"](input, first, out=out)
        dim = args[0] if args else kwargs.get("dim")
        keepdim = args[1] if len(args) > 1 else kwargs.get("keepdim", False)
        if dim is None:
            return to_out(apply(all_op, (input,), (tuple(range(input.meta.ndim)), False)), out)
        got = result(*apply(dim_op, (input,), (wrap_dim(dim, input.meta.ndim), keepdim)))
        return to_out(got, out)

    function.__name__ = function.__qualname__ = name
    function.__code__ = function.__code__.replace(co_name=name)  # what errors show
    function.__doc__ = f"{name}(input), {name}(input, dim, keepdim=False) or {name}(input, other)."
    return function


both("max")(_extreme("max", MAX_ALL, MAX_DIM, _MAX))
both("min")(_extreme("min", MIN_ALL, MIN_DIM, _MIN))


# truth ------------------------------------------------------------------------------------


def _truth_op(kind: str) -> Op:
    return Op(
        kind,
        lambda a, dims, keepdim: meta_of(
            dt.uint8 if a.dtype is dt.uint8 else dt.bool_, reduced(a.shape, dims, keepdim), a.device
        ),
        lambda g, a, dims, keepdim: g.cast(
            g.reduce(kind, g.cast(a, dt.bool_), dims, keepdim),
            dt.uint8 if a.dtype is dt.uint8 else dt.bool_,
        ),
    )


ANY, ALL = _truth_op("any"), _truth_op("all")


@both("any")
def any(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, out: Tensor | None = None
) -> Tensor:
    """Whether any element is true (non-zero), along dims.

    >>> import facula as torch
    >>> torch.tensor([[True, False], [False, False]]).any(1)
    tensor([ True, False])
    """
    got = apply_settled(ANY, input, (dim, keepdim), _truth_dims)
    return got if out is None else to_out(got, out)


@both("all")
def all(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, out: Tensor | None = None
) -> Tensor:
    """Whether all elements are true (non-zero), along dims.

    >>> import facula as torch
    >>> torch.tensor([[True, False], [True, True]]).all(1)
    tensor([False,  True])
    """
    got = apply_settled(ALL, input, (dim, keepdim), _truth_dims)
    return got if out is None else to_out(got, out)


def _truth_dims(ndim: int, dim: Any, keepdim: bool) -> tuple:
    return () if dim in ((), []) else dims_of(dim, ndim), keepdim
