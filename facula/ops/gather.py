"""gather, scatter and what selects, adds to or copies whole rows by an index."""

from __future__ import annotations

from typing import Any

from facula.graph import dtypes as dt
from facula.graph.meta import Meta, meta_of, wrap_dim
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.bounds import need_along
from facula.ops.registry import both, check_out, check_out_types, to_out, zeros_as
from facula.ops.shape import narrow
from facula.tensor import Tensor


def _gather_infer(x: Meta, index: Meta, dim: int) -> Meta:
    if index.dtype not in (dt.int64, dt.int32) and index.numel:
        raise RuntimeError("gather(): Expected dtype int32/int64 for index")
    if not index.numel:
        return meta_of(x.dtype, index.shape, x.device)
    if max(index.ndim, 1) != max(x.ndim, 1):
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    for i in range(index.ndim):
        if i != dim and x.ndim and index.shape[i] > x.shape[i]:
            raise RuntimeError(
                f"Size does not match at dimension {i} expected index {list(index.shape)} to be no larger than "
                f"self {list(x.shape)} apart from dimension {dim}"
            )
    return meta_of(x.dtype, index.shape, x.device)


def _gather_expand(g: Any, x: Any, index: Any, dim: int) -> Any:
    if not index.numel:
        return g.const(0, x.dtype, index.shape)
    index = g.check(
        g.cast(index, dt.int64), x.shape[dim] if x.ndim else 1, ("gather", dim), wrap=False
    )
    if not x.ndim or not index.ndim:
        out = g.gather(g.reshape(x, (x.numel,)), g.reshape(index, (index.numel,)), 0)
        return g.reshape(out, index.shape)
    return g.gather(x, index, dim)


def _gather_backward(n: Any, g: Tensor) -> tuple:
    x = n.inst.ins[0]
    zeros = zeros_as(g, x.shape)
    return scatter_op(zeros, n.params[0], n.tensor(0), g, "add"), None


GATHER = Op(
    "gather", _gather_infer, _gather_expand, _gather_backward, saves="1", marks=True, shows="0"
)


@both("gather")
def gather(
    input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False, out: Tensor | None = None
) -> Tensor:
    """out[i][j] = input[index[i][j]][j] for dim 0, and alike for other dims.

    >>> import facula as torch
    >>> x = torch.tensor([[1, 2], [3, 4]])
    >>> torch.gather(x, 1, torch.tensor([[0], [1]]))
    tensor([[1],
            [4]])
    """
    dim = wrap_dim(dim, input.meta.ndim)
    need_along(index, input.meta, dim, "gather")
    got = apply(GATHER, (input, index), (dim,))
    check_out_types(got, out)
    check_out(out, input, index)
    return to_out(got, out)


def scatter_infer(x: Meta, index: Meta, src: Meta, dim: int, mode: str) -> Meta:
    """The geometry of a scatter's result; raises where dtypes or sizes do not go together."""
    if index.dtype not in (dt.int64, dt.int32) and index.numel:
        raise RuntimeError("scatter(): Expected dtype int32/int64 for index")
    if src.dtype is not x.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if index.numel and (
        max(index.ndim, 1) != max(x.ndim, 1) or max(src.ndim, 1) != max(index.ndim, 1)
    ):
        what = "self" if max(index.ndim, 1) != max(x.ndim, 1) else "src"
        raise RuntimeError(f"Index tensor must have the same number of dimensions as {what} tensor")
    for i in range(index.ndim if index.numel and x.ndim else 0):
        if (i != dim and index.shape[i] > x.shape[i]) or (
            src.ndim and index.shape[i] > src.shape[i]
        ):
            raise RuntimeError(
                f"Expected index {list(index.shape)} to be no larger than self {list(x.shape)} apart from "
                f"dimension {dim} and to be no larger size than src {list(src.shape)}"
            )
    return x.plain()


def index_and_source(g: Any, index: Any, src: Any) -> tuple[Any, Any]:
    """With at least one dim, the source no larger than the index."""
    if not index.ndim:
        index = g.reshape(index, (1,))
    if not src.ndim:
        src = g.reshape(src, (1,))
    if src.shape != index.shape:
        src = g.slice(src, [0] * src.ndim, index.shape, [1] * src.ndim)
    return index, src


def _scatter_expand(g: Any, x: Any, index: Any, src: Any, dim: int, mode: str) -> Any:
    if not index.numel:
        return x
    index = g.check(
        g.cast(index, dt.int64), x.shape[dim] if x.ndim else 1, ("gather", dim), wrap=False
    )
    if x.dtype.kind == "b" and mode == "add":
        mode = "max"
    if not x.ndim:
        x1, i1, s1 = (g.reshape(v, (v.numel,)) for v in (x, index, src))
        return g.reshape(g.scatter(x1, i1, s1, 0, mode), ())
    index, src = index_and_source(g, index, src)
    return g.scatter(x, index, src, dim, mode)


def _scatter_backward(n: Any, g: Tensor) -> tuple:
    dim, mode = n.params
    index = n.tensor(0)
    gx = gs = None
    if n.needs(0):
        gx = g
        if mode == "set":
            zero = zeros_as(g, index.meta.shape)
            gx = scatter_op(g, dim, index, zero, "set")
    if n.needs(2):
        gs = gather(g, dim, index)
        src = n.inst.ins[2]
        if tuple(src.shape) != tuple(gs.meta.shape):
            big = zeros_as(g, src.shape)
            view = big
            for i, k in enumerate(gs.meta.shape):
                view = narrow(view, i, 0, k)
            view.copy_(gs)  # type: ignore[attr-defined]
            gs = big
    return gx, None, gs


SCATTER = Op(
    "scatter",
    scatter_infer,
    _scatter_expand,
    _scatter_backward,
    saves="1",
    marks=True,
    shows="0 2",
)
SCATTER_ADD = Op(
    "scatter_add",
    scatter_infer,
    _scatter_expand,
    _scatter_backward,
    saves="1",
    marks=True,
    shows="0 2",
)


def scatter_op(x: Tensor, dim: int, index: Tensor, src: Tensor, mode: str) -> Tensor:
    """scatter with mode 'set' or 'add'."""
    dim = wrap_dim(dim, x.meta.ndim)
    need_along(index, x.meta, dim, "gather")
    return apply(SCATTER_ADD if mode == "add" else SCATTER, (x, index, src), (dim, mode))


def _select_infer(x: Meta, index: Meta, dim: int) -> Meta:
    if index.dtype not in (dt.int64, dt.int32):
        raise RuntimeError(
            f"index_select(): Expected dtype int32 or int64 for index but got: {index.dtype!r}"
        )
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    if not x.ndim:
        return x.plain()
    return meta_of(x.dtype, (*x.shape[:dim], index.numel, *x.shape[dim + 1 :]), x.device)


def _select_expand(g: Any, x: Any, index: Any, dim: int) -> Any:
    if not x.ndim:
        return x
    index = g.check(
        g.reshape(g.cast(index, dt.int64), (index.numel,)), x.shape[dim], "self", wrap=False
    )
    return g.take(x, index, dim)


def _select_backward(n: Any, g: Tensor) -> tuple:
    x = n.inst.ins[0]
    if not x.ndim:
        return g, None
    return index_add(
        zeros_as(g, x.shape),
        n.params[0],
        n.tensor(0).reshape(-1),
        g,
    ), None


INDEX_SELECT = Op(
    "index_select",
    _select_infer,
    _select_expand,
    _select_backward,
    saves="1",
    marks=True,
    shows="0",
)


@both("index_select")
def index_select(input: Tensor, dim: int, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Slices of input along dim, in the order of index.

    >>> import facula as torch
    >>> torch.index_select(torch.eye(3), 0, torch.tensor([2, 0]))
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    check_out(out, input, index)
    dim = wrap_dim(dim, input.meta.ndim)
    need_along(index, input.meta, dim, "self")
    return to_out(apply(INDEX_SELECT, (input, index), (dim,)), out, exact=True)


def _add_infer(x: Meta, index: Meta, src: Meta, dim: int, mode: str) -> Meta:
    if index.ndim > 1:
        raise IndexError(
            "index_add_(): Index is supposed to be a vector"
            if mode == "add"
            else "index_copy_(): Index should have dimension 1 or 0"
        )
    if src.dtype is not x.dtype:
        raise RuntimeError(
            f"index_add_(): self ({x.dtype.short}) and source ({src.dtype.short}) must have the same scalar type"
        )
    if x.ndim and src.ndim and src.shape[dim] != index.numel:
        raise IndexError(
            f"index_add_(): Number of indices ({index.numel}) should be equal to source.size(dim) ({src.shape[dim]}), for dim: {dim}"
        )
    want = (*x.shape[:dim], index.numel, *x.shape[dim + 1 :]) if x.ndim else ()
    if x.ndim and tuple(src.shape) != tuple(want):
        raise RuntimeError(
            f"source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape = {list(x.shape)} "
            f"source.shape = {list(src.shape)}"
        )
    return x.plain()


def _add_expand(g: Any, x: Any, index: Any, src: Any, dim: int, mode: str) -> Any:
    tag = ("copy" if mode == "set" else "gather", dim)
    index = g.check(
        g.reshape(g.cast(index, dt.int64), (index.numel,)),
        x.shape[dim] if x.ndim else 1,
        tag,
        wrap=False,
    )
    if x.dtype.kind == "b" and mode == "add":
        mode = "max"
    if not x.ndim:
        return g.reshape(
            g.put(g.reshape(x, (1,)), index, g.reshape(src, (index.numel,)), 0, mode), ()
        )
    return g.put(x, index, src, dim, mode)


def _add_backward(n: Any, g: Tensor) -> tuple:
    dim, mode = n.params
    index = n.tensor(0)
    gx = g
    if mode == "set" and n.needs(0):
        src = n.inst.ins[2]
        gx = apply(
            INDEX_COPY,
            (g, index, zeros_as(g, src.shape)),
            (dim, "set"),
        )
    return (
        gx,
        None,
        index_select(g, dim, index).reshape(n.inst.ins[2].shape) if n.needs(2) else None,
    )


INDEX_ADD = Op(
    "index_add", _add_infer, _add_expand, _add_backward, saves="1", marks=True, shows="0 2"
)
INDEX_COPY = Op(
    "index_copy", _add_infer, _add_expand, _add_backward, saves="1", marks=True, shows="0 2"
)


@both("index_add")
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1,
              out: Tensor | None = None) -> Tensor:  # fmt: skip
    """input with alpha * source added at the slices that index names."""
    source = source if type(alpha) is int and alpha == 1 else source * alpha
    dim = wrap_dim(dim, input.meta.ndim)
    need_along(index, input.meta, dim, "gather")
    return to_out(apply(INDEX_ADD, (input, index, source), (dim, "add")), out, exact=True)


@both("index_copy")
def index_copy(
    input: Tensor, dim: int, index: Tensor, source: Tensor, *, out: Tensor | None = None
) -> Tensor:
    """input with the slices that index names replaced by source's."""
    dim = wrap_dim(dim, input.meta.ndim)
    need_along(index, input.meta, dim, "copy")
    return to_out(apply(INDEX_COPY, (input, index, source), (dim, "set")), out, exact=True)
