"""Order: sort, topk, medians, quantiles; which elements are not 0; places in what is sorted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.blame import wrong_type
from facula.graph.formats import as_columns
from facula.graph.meta import META, Meta, meta_of, wrap_dim
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.compact import coordinates, index_arrays
from facula.ops.host import host_op
from facula.ops.pointwise import need_tensors, opmath
from facula.ops.reduce import index_backward, reduced, return_type
from facula.ops.registry import TORCH, both, check_out, only_method, only_torch, to_out, zeros_as
from facula.ops.without_values import needs_values, shape_rule
from facula.tensor import Tensor, adopt_array, wrap

# sort and its kin: values and indices, the gradient goes where the index points ---------------------


def _order(x: np.ndarray, dim: int, descending: bool) -> np.ndarray:
    """Stable sorting order; NaN counts as the largest."""
    if x.dtype.kind == "b":
        x = x.astype(np.uint8)
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    if x.dtype.kind == "f":
        # negated, and NaN first
        key = np.where(np.isnan(x), -np.inf, -x)
        nan_first = np.lexsort((key, ~np.isnan(x)), axis=dim)
        return nan_first
    flipped = np.flip(x, dim)
    order = np.flip(np.argsort(flipped, axis=dim, kind="stable"), dim)
    return x.shape[dim] - 1 - order


def np_sort(x: np.ndarray, dim: int, descending: bool) -> list[np.ndarray]:
    """Sorted values and where they were."""
    if not x.ndim:
        return [x, np.zeros((), np.int64)]
    order = _order(x, dim, descending)
    return [np.take_along_axis(x, order, dim), order]


def _no_complex(name: str, a: Meta) -> None:
    if a.dtype.kind == "c":
        raise RuntimeError(f"{name}(): does not support complex input")


def _sort_infer(a: Meta, dim: int, descending: bool) -> tuple[Meta, Meta]:
    _no_complex("sort", a)
    return a.plain(), meta_of(dt.int64, a.shape, a.device)


def _sort_backward(n: Any, g: Tensor, _: Any = None) -> Tensor:
    m = n.inst.ins[0]
    if not m.ndim:
        return g
    return TORCH["scatter"](
        zeros_as(g, m.shape),
        n.params[0],
        n.tensor(0),
        g,
    )


SORT = host_op("sort", np_sort, _sort_infer, _sort_backward, saves="out1", materialize=False)
_SORT, _TOPK = return_type("sort", "values", "indices"), return_type("topk", "values", "indices")


@both("sort")
def sort(input: Tensor, *args: Any, dim: int = -1, descending: bool = False, stable: bool | None = None,
         out: Any = None) -> Any:  # fmt: skip
    """(values in order, their indices) along dim.

    >>> import facula as torch
    >>> torch.sort(torch.tensor([3, 1, 2])).indices
    tensor([1, 2, 0])
    """
    if args:
        dim = args[0]
        descending = args[1] if len(args) > 1 else descending
    d = wrap_dim(dim, input.meta.ndim)
    return to_out(_SORT(*apply(SORT, (input,), (d, bool(descending)))), out)


@both("argsort")
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False, *,
            out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Indices that put elements in order along dim.

    >>> import facula as torch
    >>> torch.argsort(torch.tensor([3, 1, 2]), descending=True)
    tensor([0, 2, 1])
    """
    return to_out(sort(input, dim, descending)[1], out)


@both("msort")
def msort(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Sorted along the first dim."""
    return to_out(sort(input, 0)[0], out, exact=True)


def np_topk(x: np.ndarray, k: int, dim: int, largest: bool) -> list[np.ndarray]:
    """The k largest (smallest) values and where they were."""
    if not x.ndim:
        x1 = x.reshape(1)
        return [x1[:k].reshape(() if k else (0,)), np.zeros(() if k else (0,), np.int64)]
    order = np.take(_order(x, dim, largest), np.arange(k), dim)
    return [np.take_along_axis(x, order, dim), order]


def _topk_infer(a: Meta, k: int, dim: int, largest: bool) -> tuple[Meta, Meta]:
    _no_complex("topk", a)
    n = a.shape[dim] if a.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError("selected index k out of range")
    shape = (*a.shape[:dim], k, *a.shape[dim + 1 :]) if a.ndim else ()
    return meta_of(a.dtype, shape, a.device), meta_of(dt.int64, shape, a.device)


def _topk_backward(n: Any, g: Tensor, _: Any = None) -> Tensor:
    m = n.inst.ins[0]
    if not m.ndim:
        return g
    return TORCH["scatter"](
        zeros_as(g, m.shape),
        n.params[1],
        n.tensor(0),
        g,
    )


TOPK = host_op("topk", np_topk, _topk_infer, _topk_backward, saves="out1", materialize=False)


@both("topk")
def topk(
    input: Tensor,
    k: int,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,
    *,
    out: Any = None,
) -> Any:
    """(the k largest or smallest values, their indices) along dim.

    >>> import facula as torch
    >>> values, indices = torch.topk(torch.tensor([1, 9, 5]), 2)
    >>> values, indices
    (tensor([9, 5]), tensor([1, 2]))
    """
    d = wrap_dim(dim, input.meta.ndim)
    if not hasattr(k, "__index__"):
        raise wrong_type(k, "int")
    return to_out(_TOPK(*apply(TOPK, (input,), (int(k), d, bool(largest)))), out)


# order statistics -----------------------------------------------------------------------------------


def _sorted(g: Any, x: Any, dim: int) -> list[Any]:
    """Values in order along dim, and where they were."""
    return g.host(np_sort, [(x.dtype, x.shape), (dt.int64, x.shape)], [x], (dim, False))


def _at(g: Any, vals: list[Any], where: Any, dim: int, shape: tuple[int, ...]) -> list[Any]:
    return [g.reshape(g.gather(v, where, dim), shape) for v in vals]


def _single(g: Any, x: Any) -> list[Any]:
    return [x, g.const(0, dt.int64)]


def _picked(x: np.ndarray, order: np.ndarray, where: np.ndarray, dim: int) -> list[np.ndarray]:
    index = np.take_along_axis(order, where, dim)
    return [np.take_along_axis(x, index, dim), index]


def np_kthvalue(x: np.ndarray, k: int, dim: int) -> list[np.ndarray]:
    """The k-th smallest and its place, that of a stable sort; dim stays, of size 1."""
    where = np.full([1 if i == dim else n for i, n in enumerate(x.shape)], k - 1)
    return _picked(x, _order(x, dim, False), where, dim)


def np_median(x: np.ndarray, dim: int, ignore_nan: bool) -> list[np.ndarray]:
    """The lower median; NaN where there is one, unless ignored."""
    n = x.shape[dim]
    nans = np.zeros([1 if i == dim else s for i, s in enumerate(x.shape)], np.int64)
    if x.dtype.kind == "f":
        nans = np.isnan(x).sum(dim, keepdims=True)
    where = np.where(nans > 0, n - nans, (n - 1) // 2)
    if ignore_nan:
        where = np.maximum(n - nans - 1, 0) // 2
    return _picked(x, _order(x, dim, False), where, dim)


def _one(g: Any, fn: Any, x: Any, dim: int, keepdim: bool, params: tuple) -> list[Any]:
    """(value, place) of one element along dim."""
    line = reduced(x.shape, (dim,), True)
    vals = g.host(fn, [(x.dtype, line), (dt.int64, line)], [x], params)
    return [g.reshape(v, reduced(x.shape, (dim,), keepdim)) for v in vals]


def _kth_expand(g: Any, x: Any, k: int, dim: int, keepdim: bool) -> list[Any]:
    if not x.ndim:
        return _single(g, x)
    return _one(g, np_kthvalue, x, dim, keepdim, (k, dim))


def _median_expand(g: Any, x: Any, dim: int, keepdim: bool, ignore_nan: bool) -> list[Any]:
    if not x.ndim:
        return _single(g, x)
    return _one(g, np_median, x, dim, keepdim, (dim, ignore_nan))


def _mode_expand(g: Any, x: Any, dim: int, keepdim: bool) -> list[Any]:
    """The smallest of the most frequent values and its last place."""
    if not x.ndim:
        return _single(g, x)
    n = x.shape[dim]
    vals = _sorted(g, x, dim)
    first = [0] * x.ndim
    second = [1 if i == dim else 0 for i in range(x.ndim)]
    short = [n - 1 if i == dim else m for i, m in enumerate(x.shape)]
    step = [1] * x.ndim
    values = vals[0]
    same = g.slice(values, second, short, step).eq(g.slice(values, first, short, step))
    same = g.pad(same, second, first, False)  # the first is not like one before it
    place = g.iota(x.shape, dim)
    start = g.scan("max", g.where(same, g.const(0, dt.int64), place), dim)
    longest = g.reduce("argmax", place - start, dim)
    return _at(g, vals, longest, dim, reduced(x.shape, (dim,), keepdim))


def _stat_infer(name: str, number: bool = False) -> Any:
    def infer(a: Meta, *params: Any) -> tuple[Meta, Meta]:
        if a.dtype.kind == "c" or (a.dtype.kind == "b" and name in ("kthvalue", "median")):
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{a.dtype.short}'")
        dim, keepdim = params[1:3] if number else params[:2]
        if a.ndim and a.shape[dim] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")
        if number and not 1 <= params[0] <= (a.shape[dim] if a.ndim else 1):
            raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {dim}")
        shape = reduced(a.shape, (dim,) if a.ndim else (), keepdim)
        return meta_of(a.dtype, shape, a.device), meta_of(dt.int64, shape, a.device)

    return infer


class _Shifted:
    """A node whose dim and keepdim come after a first parameter."""

    def __init__(self, node: Any) -> None:
        self.inst, self.tensor, self.params = node.inst, node.tensor, node.params[1:]


KTHVALUE = Op("kthvalue", _stat_infer("kthvalue", True), _kth_expand,
              lambda n, g, _=None: index_backward(_Shifted(n), g), saves="out1",
              materialize=False)  # fmt: skip
MEDIAN = Op("median", _stat_infer("median"), _median_expand, index_backward, saves="out1",
            materialize=False, grad_name="MedianBackward1")  # fmt: skip
MODE = Op(
    "mode", _stat_infer("mode"), _mode_expand, index_backward, saves="out1", materialize=False
)


@both("kthvalue")
def kthvalue(
    input: Tensor, k: int, dim: int = -1, keepdim: bool = False, *, out: Any = None
) -> Any:
    """(k-th smallest value, its index) along dim."""
    d = wrap_dim(dim, input.meta.ndim)
    check_out(out, input)
    if not hasattr(k, "__index__"):
        raise wrong_type(k, "int")
    return to_out(_KTH(*apply(KTHVALUE, (input,), (int(k), d, bool(keepdim)))), out)


_KTH, _MODE = return_type("kthvalue", "values", "indices"), return_type("mode", "values", "indices")


@both("mode")
def mode(input: Tensor, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Any:
    """(most frequent value, an index of it) along dim."""
    return to_out(
        _MODE(*apply(MODE, (input,), (wrap_dim(dim, input.meta.ndim), bool(keepdim)))), out
    )


def _median_function(name: str, ignore_nan: bool) -> None:
    result = return_type(name, "values", "indices")

    def function(
        input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Any = None
    ) -> Any:
        if dim is None:
            if not input.meta.numel:
                return to_out(
                    TORCH["full"]((), math.nan, dtype=input.meta.dtype, device=input.meta.device),
                    out,
                )
            flat = input.reshape(-1)  # type: ignore[attr-defined]
            return to_out(apply(MEDIAN, (flat,), (0, False, ignore_nan))[0], out)
        d = wrap_dim(dim, input.meta.ndim)
        return to_out(result(*apply(MEDIAN, (input,), (d, bool(keepdim), ignore_nan))), out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = "The (lower) median: of all elements, or (values, indices) along dim."
    both(name)(function)


_median_function("median", False)
_median_function("nanmedian", True)


# quantiles -------------------------------------------------------------------------------------------

_BETWEEN = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(
    name: str, input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str
) -> Tensor:
    m = input.meta
    if not m.numel:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if m.dtype not in (dt.float32, dt.float64):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if isinstance(q, Tensor):
        if q.meta.ndim > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
        if q.meta.dtype is not m.dtype:
            raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    else:
        if not hasattr(q, "__float__"):
            raise wrong_type(q, "float or Tensor")
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        q = TORCH["tensor"](float(q), dtype=m.dtype, device=m.device)
    if interpolation not in _BETWEEN:
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    if q.meta.device is not META and not ((q >= 0) & (q <= 1)).all():  # type: ignore[operator]
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    if dim is None:
        rows = input.reshape(1, -1)  # type: ignore[attr-defined]
        shape: tuple[int, ...] = (1,) * m.ndim if keepdim else ()
    else:
        d = wrap_dim(dim, m.ndim)
        rows = input.unsqueeze(0) if not m.ndim else input.movedim(d, -1)  # type: ignore[attr-defined]
        shape = reduced(m.shape, (d,) if m.ndim else (), keepdim)
        rows = rows.reshape(-1, rows.meta.shape[-1])
    got = _quantile_rows(rows, q.reshape(-1), interpolation, name == "nanquantile")  # type: ignore[attr-defined]
    return got.t().reshape((*q.meta.shape, *shape))


def _quantile_rows(rows: Tensor, q: Tensor, between: str, ignore_nan: bool) -> Tensor:
    x = sort(rows, -1)[0]
    n = rows.meta.shape[-1]
    nan = rows.isnan()  # type: ignore[attr-defined]
    if ignore_nan:
        last = (n - 1 - nan.sum(-1, keepdim=True)).clamp(min=0).to(q.meta.dtype)
        rank = q * last
    else:
        rank = (q * (n - 1)).unsqueeze(0).expand(rows.meta.shape[0], q.meta.numel)  # type: ignore[attr-defined]
        rank = TORCH["where"](nan.any(-1, keepdim=True), float(n - 1), rank)
    if between == "lower":
        return x.gather(-1, rank.floor().long())
    if between == "higher":
        return x.gather(-1, rank.ceil().long())
    if between == "nearest":
        return x.gather(-1, TORCH["round"](rank).long())
    lo, hi = rank.floor(), rank.ceil()
    weight = 0.5 if between == "midpoint" else rank - lo
    a, b = x.gather(-1, lo.long()), x.gather(-1, hi.long())
    return TORCH["lerp"](a, b, weight)


@both("quantile")
def quantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
             interpolation: str = "linear", out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Values below which a share q of the elements lies."""
    return to_out(_quantile("quantile", input, q, dim, keepdim, interpolation), out, exact=True)


@both("nanquantile")
def nanquantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
                interpolation: str = "linear", out: Tensor | None = None) -> Tensor:  # fmt: skip
    """As `quantile`, without the NaNs."""
    return to_out(_quantile("nanquantile", input, q, dim, keepdim, interpolation), out, exact=True)


# which elements -----------------------------------------------------------------------------------


@both("nonzero")
@needs_values("aten::nonzero")
def nonzero(input: Tensor, *, out: Tensor | None = None, as_tuple: bool = False) -> Any:
    """Coordinates of the elements that are not 0, as rows (or one index tensor per dim).

    >>> import facula as torch
    >>> torch.nonzero(torch.tensor([0, 3, 0, 4]))
    tensor([[1],
            [3]])
    """
    need_tensors("nonzero", input=input)
    x = input._values()
    if as_tuple:
        return tuple(adopt_array(i) for i in index_arrays(np.atleast_1d(x)))
    lines = adopt_array(coordinates(x))
    m = meta_of(dt.int64, (lines.meta.shape[1], x.ndim))
    return to_out(wrap(lines._s, as_columns(m)), out)  # as PyTorch has it: dim by dim in memory


@both("argwhere")
def argwhere(input: Tensor) -> Tensor:
    """Coordinates of the elements that are not 0, as rows."""
    return nonzero(input)


@both("nonzero_static")
@shape_rule(lambda input, *, size, **_: (dt.int64, (size, input.meta.ndim)))
def nonzero_static(
    input: Tensor, *, size: int, fill_value: int = -1, out: Tensor | None = None
) -> Tensor:
    """As `nonzero`, cut or filled to `size` rows."""
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    found = np.argwhere(input._values()).astype(np.int64)[:size]
    rows = np.full((size, input.meta.ndim), fill_value, np.int64)
    rows[: len(found)] = found
    return to_out(adopt_array(rows), out)


# searching ---------------------------------------------------------------------------------------


def _places(edges: Tensor, x: Any, out_int32: bool, right: bool, side: str | None, sorter: Tensor | None,
            out: Tensor | None, name: str) -> Tensor:  # fmt: skip
    if side is not None and side not in ("left", "right"):
        raise RuntimeError(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
        )
    if side == "left" and right:
        raise RuntimeError("torch.searchsorted(): side and right can't be set to opposites, got side of left "
                           "while right was True")  # fmt: skip
    right = right or side == "right"
    if not isinstance(x, Tensor):
        x = TORCH["tensor"](
            x,
            dtype=edges.meta.dtype if edges.meta.dtype.kind == "f" or isinstance(x, int) else None,
        )
        if edges.meta.ndim != 1:
            raise RuntimeError(
                "torch.searchsorted(): input value can be a scalar only when boundaries tensor dimension is 1"
            )
    if not edges.meta.ndim:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension"
        )
    if edges.meta.dtype.kind == "c" or x.meta.dtype.kind == "c":
        raise RuntimeError(
            "torch.searchsorted(): input tensors must be of floating or integer dtype"
        )
    if edges.meta.ndim != 1 and tuple(edges.meta.shape[:-1]) != tuple(x.meta.shape[:-1]):
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of "
            f"boundaries tensor and input value tensor must match, but we got boundaries tensor {list(edges.meta.shape)} "
            f"and input value tensor {list(x.meta.shape)}"
        )
    if x.meta.dtype is not edges.meta.dtype and name == "searchsorted":
        raise RuntimeError(
            "torch.searchsorted(): boundary tensor and input value tensor should have same dtype, but got "
            f"boundary tensor dtype {edges.meta.dtype.short} and input value tensor dtype {x.meta.dtype.short}"
        )
    if sorter is not None:
        if sorter.meta.shape != edges.meta.shape:
            raise RuntimeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got boundary tensor "
                f"{list(edges.meta.shape)}and got sorter tensor {list(sorter.meta.shape)}"
            )
        if sorter.meta.dtype is not dt.int64:
            raise RuntimeError(
                f"torch.searchsorted(): sorter must be a tensor of long dtype but got dtype {sorter.meta.dtype.short}"
            )
        known = sorter.meta.device is not META
        if (
            known
            and sorter.meta.numel
            and not bool(((sorter >= 0) & (sorter < edges.meta.shape[-1])).all())
        ):
            raise RuntimeError("torch.searchsorted(): sorter index out of range")
        edges = edges.gather(-1, sorter)  # type: ignore[attr-defined]
    want = dt.int32 if out_int32 else dt.int64
    if out is not None and out.meta.dtype is not want:
        raise RuntimeError("torch.searchsorted(): output tensor's dtype is wrong, it can only be Int(int32) or Long(int64) "
                           f"depending on whether out_int32 flag is True, but we got output tensor's dtype {out.meta.dtype.short}")  # fmt: skip
    d = dt.promote_types(edges.meta.dtype, x.meta.dtype)
    edges, x = edges.to(d), x.to(d)  # type: ignore[attr-defined]
    return to_out(apply(SEARCH, (edges, x), (bool(right),)).to(want), out)


def _search_expand(g: Any, edges: Any, x: Any, right: bool) -> Any:
    """A binary search whose steps are powers of two: all elements take the same path."""
    n = edges.shape[-1]
    work = opmath(edges.dtype)
    x = g.cast(x, work)
    rows = edges.numel // n if n else 0
    place = g.const(0, dt.int64, x.shape)
    if not n or not x.numel:
        return place
    flat = g.reshape(edges, (rows * n,))
    base = None
    if rows > 1:
        line = x.shape[-1]
        count = x.numel // line
        base = g.expand(g.reshape(g.iota((count,), 0) * n, (*x.shape[:-1], 1)), x.shape)
    step = 1 << (n.bit_length() - 1)
    while step:
        there = place + step
        index = g.binary("minimum", there, n) - 1
        if base is not None:
            index = index + base
        edge = g.cast(g.take(flat, index, 0), work)
        # not >= instead of <: as in PyTorch, everything is before NaN, and NaN before everything
        before = g.unary("not", edge > x if right else edge >= x)
        place = g.where(before & (there <= n), there, place)
        step >>= 1
    return place


SEARCH = Op("searchsorted", lambda edges, x, right: meta_of(dt.int64, x.shape, x.device),
            _search_expand)  # fmt: skip


@only_torch()
def searchsorted(sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False,
                 side: str | None = None, sorter: Tensor | None = None, out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Where elements would be inserted to keep rows in order."""
    return _places(sorted_sequence, input, out_int32, right, side, sorter, out, "searchsorted")


@only_torch()
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False,
              out: Tensor | None = None) -> Tensor:  # fmt: skip
    """The number of the bucket between boundaries that each element falls into."""
    if boundaries.meta.ndim != 1:
        raise RuntimeError(
            f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries.meta.ndim})"
        )
    return _places(boundaries, input, out_int32, right, None, None, out, "bucketize")


__all__ = ["only_method"]
