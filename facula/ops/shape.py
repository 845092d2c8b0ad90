"""Views and shape operators. A view shares memory: only its geometry is new."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any

from facula.autograd.node import grad_class
from facula.graph.blame import wrong_type
from facula.graph.dtypes import int64
from facula.graph.meta import (
    META,
    Meta,
    Size,
    contiguous_strides,
    meta,
    meta_of,
    view_strides,
    wrap_dim,
)
from facula.graph.tape import LOCAL, MAX_KNOWN, Inst, Op, next_seq
from facula.ops.apply import apply
from facula.ops.pointwise import need_tensors
from facula.ops.registry import TORCH, both, only_method, zeros_as
from facula.tensor import Tensor, view

_new = object.__new__
_ref = weakref.ref


# copying --------------------------------------------------------------------------------

COPY = Op("clone", lambda a, shape: meta_of(a.dtype, shape, a.device),
          lambda g, a, shape: g.reshape(a, shape),
          lambda n, g, *_: _shape_like(g, n.inst.ins[0]), grad_name="CloneBackward0")  # fmt: skip


def _shape_like(g: Tensor, m: Meta) -> Tensor:
    return g if g.meta.shape == m.shape else g.reshape(m.shape)  # type: ignore[attr-defined]


@both("clone")
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with a history: gradients flow back to input."""
    return apply(COPY, (input,), (tuple(input.meta.shape),))


@only_method("contiguous")
def contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    """Itself if its elements lie in row-major order, else a copy."""
    return self if self.meta.contiguous else clone(self)


# views with history ---------------------------------------------------------------------


def make_view(op: Op, t: Tensor, shape: Sequence[int], strides: tuple[int, ...], offset: int,
              params: tuple = (), args: tuple | None = None) -> Tensor:  # fmt: skip
    """A view of t that knows its derivative: `op` supplies name and backward.

    With `args`, the plain arguments that led to this geometry, `known_view` finds it again.
    """
    m = t.meta
    natural = m.dtype is t._s.meta.dtype  # else reads take the long way, as with an offset
    out_meta = meta(m.dtype, shape, strides, m.device, offset != 0 or not natural)
    if args is not None and natural:
        other = meta(m.dtype, shape, strides, m.device, offset == 0)
        pair = (out_meta, other) if offset == 0 else (other, out_meta)
        found = (*[_view_inst(op, m, x, params) for x in pair], offset - t._off)
        op.remember(m, args, found)
    return _show(op, t, out_meta, offset, params, None)


def known_view(op: Op, t: Tensor, args: tuple) -> Tensor | None:
    """The view that `make_view` made for these arguments of a tensor with t's geometry, if it did."""
    try:
        found = op.calls.get((t.meta, args))
    except TypeError:  # a list among the arguments
        return None
    if found is None or t.meta.dtype is not t._s.meta.dtype:
        return None
    offset = t._off + found[2]
    inst = found[1] if offset else found[0]
    return _show(op, t, inst.meta, offset, inst.params, inst)


def _view_inst(op: Op, m: Meta, out: Meta, params: tuple) -> Inst:
    inst = op.insts.get((m, out, params))
    if inst is None:
        inst = Inst(op, (m,), params, (out,))
        if len(op.insts) > MAX_KNOWN:
            op.insts.clear()
        op.insts[m, out, params] = inst
    return inst


def _show(op: Op, t: Tensor, m: Meta, offset: int, params: tuple, inst: Inst | None) -> Tensor:
    """A tensor of geometry m on t's storage, with its history."""
    out = _new(Tensor)
    out._s, out.meta = t._s, m
    if offset:
        out._off = offset
    base = t._base
    out._base = base = t if base is None else base
    if LOCAL.tape.grad:
        if t._rg:
            cls = op.grad_class
            if type(cls) is str:
                cls = grad_class(op)
            node = _new(cls)
            node.inst = inst or _view_inst(op, t.meta, m, params)
            node.edges = (t._g or t,)
            node.saved, node.scalars, node.seq = None, (t._off,), next_seq()
            out._rg, out._g = True, node
        views = base._views
        if views is not None and len(views) < 64:
            views.append(_ref(out))
        else:
            remember_view(base, out)
    else:
        out._made = "no_grad"
    return out


def give_history(op: Op, t: Tensor, out: Tensor, params: tuple) -> None:
    """Connects a view (or anything that shares t's values) to t's history."""
    node = _new(grad_class(op))
    node.inst = _view_inst(op, t.meta, out.meta, params)
    node.edges = (t if t._g is None else t._g,)
    node.saved, node.scalars, node.seq = None, (t._off,), next_seq()
    out._rg, out._g = True, node


def remember_view(base: Any, v: Tensor) -> None:
    """Bases know their views, so that a write to the base gives them new histories."""
    views = base._views
    if views is None:
        views = base._views = []
    elif len(views) > 64 and len(views) & (len(views) - 1) == 0:
        views[:] = [r for r in views if r() is not None]
    views.append(weakref.ref(v))


def view_op(name: str, backward: Any, grad_name: str) -> Op:
    """An operator for the autograd graph alone: views are recorded as geometry."""
    return Op(name, lambda *a: None, lambda *a: None, backward, grad_name=grad_name)


def _as_strided_backward(n: Any, g: Tensor) -> Tensor:
    base = n.inst.ins[0]
    shape, strides, offset = n.params
    if n.__dict__.get("base_meta") is not None:
        base = n.base_meta
    flat = zeros_as(g, extent(base, n.scalars[0]))
    start = n.scalars[0]
    if _overlaps(shape, strides):
        where = _positions(shape, strides, offset - start)
        flat = flat.index_add(0, where.reshape(-1), g.reshape(-1))
    else:
        region = flat.as_strided(shape, strides, offset - start)
        region.copy_(g)
    return flat.as_strided(base.shape, base.strides, 0)


def extent(m: Meta, offset: int) -> int:
    """How many elements of the storage, from its beginning on, a view needs."""
    if m.numel == 0:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(m.shape, m.strides, strict=True))


def _overlaps(shape: Sequence[int], strides: Sequence[int]) -> bool:
    dims = sorted((s, n) for n, s in zip(shape, strides, strict=True) if n > 1)
    reach = 0
    for s, n in dims:
        if s <= reach:
            return True
        reach += s * (n - 1)
    return False


def _positions(shape: Sequence[int], strides: Sequence[int], offset: int) -> Tensor:
    where = TORCH["full"](tuple(shape), offset, dtype=int64)
    for i, (n, s) in enumerate(zip(shape, strides, strict=True)):
        line = TORCH["arange"](n) * s
        where = where + line.reshape([n if j == i else 1 for j in range(len(shape))])
    return where


AS_STRIDED = view_op("as_strided", _as_strided_backward, "AsStridedBackward0")


def _reshaped(n: Any, g: Tensor) -> Tensor:
    return g.reshape(n.inst.ins[0].shape)


VIEW = view_op("view", _reshaped, "ViewBackward0")
UNSAFE_VIEW = view_op("_unsafe_view", _reshaped, "UnsafeViewBackward0")
RESHAPE_ALIAS = view_op("_reshape_alias", _reshaped, "ViewBackward0")
ALIAS = view_op("alias", lambda n, g: g, "AliasBackward0")


def unsafe_view(t: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A fresh contiguous result in another shape: no view of anything, as far as users see."""
    out = view(t, shape, contiguous_strides(shape), 0)
    out._base = None
    if t._rg and LOCAL.tape.grad:
        give_history(UNSAFE_VIEW, t, out, ())
    return out


def as_strided_history(base: Tensor, v: Tensor) -> None:
    """Makes v's history `base.as_strided(v's geometry)`."""
    if base._rg:
        give_history(AS_STRIDED, base, v, (tuple(v.meta.shape), v.meta.strides, v._off))
    else:
        v._rg, v._g = False, None


# reshaping ------------------------------------------------------------------------------


def sizes_of(args: Sequence[Any], name: str = "size") -> tuple[int, ...]:
    """Sizes given as numbers or as one sequence."""
    if len(args) == 1 and not isinstance(args[0], (int, Tensor)):
        args = args[0]
        if not isinstance(args, (tuple, list)) and (
            type(args) is str or not hasattr(args, "__iter__")
        ):
            raise TypeError(_bad_sizes(name, (args,)))
    try:
        return tuple([a if type(a) is int else a.__index__() for a in args])
    except (AttributeError, TypeError):
        raise TypeError(_bad_sizes(name, args)) from None


_SIZES = {"reshape": "shape", "permute": "dims", "repeat": "repeats", "tile": "dims"}


def _bad_sizes(name: str, args: Sequence[Any]) -> str:
    """PyTorch's words for the first of some sizes that is no whole number."""
    place, bad = next((i, a) for i, a in enumerate(args, 1) if not hasattr(type(a), "__index__"))
    kind, arg = type(bad).__name__, _SIZES.get(name, "size")
    if name == "view":
        return f"view() received an invalid combination of arguments - got ({kind})"
    if place == 1:
        return f"{name}(): argument '{arg}' (position 1) must be tuple of ints, not {kind}"
    return (
        f"{name}(): argument '{arg}' failed to unpack the object at pos {place} with error "
        f'"type must be tuple of ints,but got {kind}"'
    )


def _plain_args(shape: tuple) -> tuple | None:
    """shape, where it is made of numbers alone: what `known_view` may be asked with."""
    for n in shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape:
        if type(n) is not int:
            return None
    return shape


def infer_size(shape: Sequence[int], numel: int) -> tuple[int, ...]:
    """Fills in a -1; RuntimeError in PyTorch's words where the sizes do not fit."""
    shape = tuple(shape)
    if -1 not in shape:
        if math.prod(shape) != numel or any(n < 0 for n in shape):
            if any(n < -1 for n in shape):
                raise RuntimeError(f"invalid shape dimension {min(shape)}")
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")
        return shape
    if shape.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if any(n < -1 for n in shape):
        raise RuntimeError(f"invalid shape dimension {min(shape)}")
    known = math.prod(n for n in shape if n != -1)
    if known == 0:
        if numel == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the "
                "unspecified dimension size -1 can be any value and is ambiguous"
            )
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")
    if numel % known:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")
    return tuple(numel // known if n == -1 else n for n in shape)


@only_method("view")
def view_(self: Tensor, *shape: Any, dtype: Any = None) -> Tensor:
    """The same elements in another shape (or dtype); never copies."""
    if dtype is None and len(shape) == 1 and hasattr(shape[0], "storage"):
        dtype = shape[0]
    if dtype is not None:
        return _view_dtype(self, dtype)
    got = known_view(VIEW, self, shape)
    if got is not None:
        return got
    new = infer_size(sizes_of(shape, "view"), self.meta.numel)
    m = self.meta
    strides = contiguous_strides(new) if m.contiguous else view_strides(m.shape, m.strides, new)
    if strides is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        )
    return make_view(VIEW, self, new, strides, self._off, (), _plain_args(shape))


def _view_dtype(t: Tensor, d: Any) -> Tensor:
    m = t.meta
    if d is m.dtype:
        return make_view(ALIAS, t, m.shape, m.strides, t._off)
    a, b = m.dtype.itemsize, d.itemsize
    shape, strides, offset = list(m.shape), list(m.strides), t._off
    if a != b:
        if not shape:
            raise RuntimeError(
                f"self.dim() cannot be 0 to view {m.dtype.short} as {d.short} (different element sizes)"
            )
        if strides[-1] != 1 and shape[-1] != 1:
            raise RuntimeError(
                f"self.stride(-1) must be 1 to view {m.dtype.short} as {d.short} (different element "
                f"sizes), but got {strides[-1]}"
            )
    if a > b:
        k = a // b
        shape[-1] *= k
        strides = [s * k for s in strides[:-1]] + [1]
        offset *= k
    elif a < b:
        k = b // a
        if shape[-1] % k:
            raise RuntimeError(
                f"self.size(-1) must be divisible by {k} to view {m.dtype.short} as {d.short} "
                f"(different element sizes), but got {shape[-1]}"
            )
        if offset % k or any(s % k for s in strides[:-1]):
            raise RuntimeError(
                f"self.storage_offset() must be divisible by {k} to view {m.dtype.short} as {d.short} "
                f"(different element sizes), but got {offset}"
            )
        shape[-1] //= k
        strides = [s // k for s in strides[:-1]] + [1]
        offset //= k
    return view(t, tuple(shape), tuple(strides), offset, d)


@both("reshape")
def reshape(input: Tensor, *shape: Any, **kwargs: Any) -> Tensor:
    """The same elements in another shape; a view where that is possible."""
    if kwargs:
        shape = (kwargs.pop("shape"),)
    got = known_view(VIEW, input, shape)
    if got is not None:
        return got
    new = infer_size(sizes_of(shape, "reshape"), input.meta.numel)
    m = input.meta
    strides = contiguous_strides(new) if m.contiguous else view_strides(m.shape, m.strides, new)
    if strides is None:
        return make_view(UNSAFE_VIEW, clone(input), new, contiguous_strides(new), 0)
    return make_view(VIEW, input, new, strides, input._off, (), _plain_args(shape))


@only_method("reshape_as")
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """self in other's shape."""
    return reshape(self, other.meta.shape)


@only_method("view_as")
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """A view of self in other's shape."""
    return view_(self, other.meta.shape)


@both("flatten")
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dims start_dim..end_dim as one.

    >>> import facula as torch
    >>> torch.flatten(torch.zeros(2, 3, 4), 1).shape
    torch.Size([2, 12])
    """
    shape = input.meta.shape
    if start_dim == 0 and end_dim == -1 and len(shape) > 1:
        return reshape(input, -1) if input.meta.numel else reshape(input, 0)
    start, end = wrap_dim(start_dim, len(shape)), wrap_dim(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return reshape(input, 1)
    if start == end:
        return input
    return reshape(input, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


@both("ravel")
def ravel(input: Tensor) -> Tensor:
    """All elements in one dim."""
    return reshape(input.contiguous(), -1)  # type: ignore[attr-defined]


@both("unflatten")
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dim split into several."""
    d = wrap_dim(dim, input.meta.ndim)
    shape = input.meta.shape
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    known = math.prod(n for n in sizes if n != -1)
    if (-1 not in sizes and known != shape[d]) or (
        -1 in sizes and (known == 0 or shape[d] % known)
    ):
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} "
            f"({shape[d]}) in the input tensor"
        )
    new = [shape[d] // known if n == -1 else n for n in sizes]
    return view_(input, (*shape[:d], *new, *shape[d + 1 :]))


PERMUTE = view_op("permute", lambda n, g: permute(g, _inverse(n.params[0])), "PermuteBackward0")
TRANSPOSE = view_op(
    "transpose", lambda n, g: permute(g, _inverse(n.params[0])), "TransposeBackward0"
)
T_OP = view_op("t", lambda n, g: permute(g, _inverse(n.params[0])), "TBackward0")


def _inverse(order: Sequence[int]) -> list[int]:
    out = [0] * len(order)
    for i, d in enumerate(order):
        out[d] = i
    return out


def _permuted(op: Op, t: Tensor, order: tuple[int, ...], args: tuple) -> Tensor:
    m = t.meta
    shape, strides = [m.shape[i] for i in order], tuple([m.strides[i] for i in order])
    return make_view(op, t, shape, strides, t._off, (order,), args)


@both("permute")
def permute(input: Tensor, *dims: Any, **kwargs: Any) -> Tensor:
    """Dims in another order."""
    if kwargs:
        dims = (kwargs["dims"],)
    order = sizes_of(dims, "permute")
    got = known_view(PERMUTE, input, order)
    if got is not None:
        return got
    n = input.meta.ndim
    if len(order) != n:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length "
            f"of the desired ordering of dimensions i.e. input.dim() = {n} is not equal to len(dims) = {len(order)}"
        )
    args, order = order, tuple(wrap_dim(d, n) for d in order)
    if len(set(order)) != n:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return _permuted(PERMUTE, input, order, args)


@both("transpose", "swapaxes", "swapdims")
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dims exchanged."""
    got = known_view(TRANSPOSE, input, (dim0, dim1))
    if got is not None:
        return got
    n = input.meta.ndim
    a, b = wrap_dim(dim0, n), wrap_dim(dim1, n)
    order = list(range(n))
    if n:
        order[a], order[b] = b, a
    return _permuted(TRANSPOSE, input, tuple(order), (dim0, dim1))


@both("t")
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix."""
    got = known_view(T_OP, input, ())
    if got is not None:
        return got
    n = input.meta.ndim
    if n > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {n}D")
    return _permuted(T_OP, input, tuple(range(n))[::-1], ())


Tensor.T = property(lambda self: permute(self, tuple(range(self.meta.ndim))[::-1]))  # type: ignore[attr-defined]


def _matrix_transpose(name: str, self: Tensor) -> Tensor:
    if self.meta.ndim < 2:
        raise RuntimeError(
            f"tensor.{name} is only supported on matrices or batches of matrices. Got {self.meta.ndim}-D tensor."
        )
    return transpose(self, -2, -1)


Tensor.mT = property(lambda self: _matrix_transpose("mT", self))  # type: ignore[attr-defined]
Tensor.mH = property(lambda self: _matrix_transpose("mH", self).conj())  # type: ignore[attr-defined]
Tensor.H = property(lambda self: t(self).conj())  # type: ignore[attr-defined]

EXPAND = view_op("expand", lambda n, g: _sum_to_shape(g, n.inst.ins[0]), "ExpandBackward0")


def _sum_to_shape(g: Tensor, m: Meta) -> Tensor:
    from facula.ops.pointwise import sum_to

    return sum_to(g, m)


@only_method("expand")
def expand(self: Tensor, *sizes: Any, implicit: bool = False) -> Tensor:
    """Dims of size 1 repeated without copying."""
    got = known_view(EXPAND, self, sizes)
    if got is not None:
        return got
    target = sizes_of(sizes, "expand")
    m = self.meta
    lead = len(target) - m.ndim
    if lead < 0:
        raise RuntimeError(
            f"expand(torch.{m.dtype.short}Tensor{{{list(m.shape)}}}, size={list(target)}): the number "
            f"of sizes provided ({len(target)}) must be greater or equal to the number of dimensions "
            f"in the tensor ({m.ndim})"
        )
    shape, strides = [], []
    for i, n in enumerate(target):
        old, step = (m.shape[i - lead], m.strides[i - lead]) if i >= lead else (1, 0)
        if n == -1:
            if i < lead:
                raise RuntimeError(
                    f"The expanded size of the tensor ({n}) isn't allowed in a leading, non-existing dimension {i}"
                )
            n = old
        if old != n and old != 1:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({old}) at "
                f"non-singleton dimension {i}.  Target sizes: {list(target)}.  Tensor sizes: {list(m.shape)}"
            )
        shape.append(n)
        strides.append(step if old == n and i >= lead else 0)
    if tuple(shape) == m.shape:
        return make_view(EXPAND, self, m.shape, m.strides, self._off)
    return make_view(EXPAND, self, shape, tuple(strides), self._off, (), _plain_args(sizes))


@only_method("expand_as")
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """self expanded to other's shape."""
    need_tensors("expand_as", other=other)
    return expand(self, other.meta.shape)


@both("broadcast_to")
def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """input expanded to a shape."""
    return expand(input, size)


SQUEEZE = view_op("squeeze", lambda n, g: reshape(g, n.inst.ins[0].shape), "SqueezeBackward0")
SQUEEZE_DIM = view_op("squeeze", lambda n, g: reshape(g, n.inst.ins[0].shape), "SqueezeBackward1")
SQUEEZE_DIMS = view_op("squeeze", lambda n, g: reshape(g, n.inst.ins[0].shape), "SqueezeBackward2")
SQUEEZE_ROW = view_op("squeeze", _reshaped, "SqueezeBackward4")  # of a vector times a matrix
UNSQUEEZE = view_op("unsqueeze", lambda n, g: reshape(g, n.inst.ins[0].shape), "UnsqueezeBackward0")


@both("squeeze")
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Dims of size 1 removed."""
    m = input.meta
    op = SQUEEZE if dim is None else SQUEEZE_DIM if isinstance(dim, int) else SQUEEZE_DIMS
    if dim is None:
        gone = range(m.ndim)
    else:
        if isinstance(dim, str):
            raise wrong_type(dim, "int")
        gone = [wrap_dim(d, m.ndim) for d in ((dim,) if isinstance(dim, int) else dim)]
        if len(set(gone)) != len(gone):
            raise RuntimeError(f"dim {max(gone)} appears multiple times in the list of dims")
    keep = [i for i in range(m.ndim) if i not in gone or m.shape[i] != 1]
    return make_view(
        op, input, [m.shape[i] for i in keep], tuple([m.strides[i] for i in keep]), input._off
    )


@both("unsqueeze")
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new dim of size 1."""
    got = known_view(UNSQUEEZE, input, (dim,))
    if got is not None:
        return got
    m = input.meta
    d = wrap_dim(dim, m.ndim + 1)
    step = m.shape[d] * m.strides[d] if d < m.ndim else 1
    return make_view(UNSQUEEZE, input, (*m.shape[:d], 1, *m.shape[d:]),
                     (*m.strides[:d], step, *m.strides[d:]), input._off, (), (dim,))  # fmt: skip


@both("as_strided")
def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int],
               storage_offset: int | None = None) -> Tensor:  # fmt: skip
    """Any strided view of input's storage."""
    size, stride = tuple(size), tuple(stride)
    offset = input._off if storage_offset is None else storage_offset
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in stride):
        raise RuntimeError(
            "as_strided: Negative strides are not supported at the moment, got strides: "
            f"{list(stride)}"
        )
    if any(n < 0 for n in size):
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(size)}")
    last = (
        offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if 0 not in size else 0
    )
    have = input._s.meta.numel * input._s.meta.dtype.itemsize // input.meta.dtype.itemsize
    if (0 not in size and last >= have and input.meta.device is not META) or offset < 0:
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and "
            f"itemsize {input.meta.dtype.itemsize} requiring a storage size of "
            f"{(last + 1) * input.meta.dtype.itemsize} are out of bounds for storage of size "
            f"{have * input.meta.dtype.itemsize}"
        )
    return make_view(AS_STRIDED, input, size, stride, offset, (size, stride, offset))


# parts ------------------------------------------------------------------------------------


def _slice_backward(n: Any, g: Tensor) -> Tensor:
    """g placed in zeros of the input's shape."""
    dim, start, step, size = n.params
    return apply(EMBED, (g,), (dim, start, step, n.inst.ins[0].shape[dim]))


def _embed_infer(g: Meta, dim: int, start: int, step: int, size: int) -> Meta:
    return meta_of(g.dtype, (*g.shape[:dim], size, *g.shape[dim + 1 :]), g.device)


def _embed_expand(g: Any, x: Any, dim: int, start: int, step: int, size: int) -> Any:
    n = x.shape[dim]
    if step > 1 and n > 1:
        # spread: n groups of `step` of which the first is kept
        x = g.reshape(x, (*x.shape[: dim + 1], 1, *x.shape[dim + 1 :]))
        lo = [0] * x.ndim
        hi = [step - 1 if i == dim + 1 else 0 for i in range(x.ndim)]
        x = g.pad(x, lo, hi)
        x = g.reshape(x, (*x.shape[:dim], n * step, *x.shape[dim + 2 :]))
    m = x.shape[dim]
    if start + m > size:
        x = g.slice(
            x,
            [0] * x.ndim,
            [size - start if i == dim else k for i, k in enumerate(x.shape)],
            [1] * x.ndim,
        )
        m = size - start
    lo = [start if i == dim else 0 for i in range(x.ndim)]
    hi = [size - start - m if i == dim else 0 for i in range(x.ndim)]
    return g.pad(x, lo, hi)


EMBED = Op("slice_backward", _embed_infer, _embed_expand,
           lambda n, g: narrowed(g, n.params[0], n.params[1], n.inst.ins[0].shape[n.params[0]], n.params[2]))  # fmt: skip
SLICE = view_op("slice", _slice_backward, "SliceBackward0")
SPLIT_PART = view_op("split", _slice_backward, "SplitBackward0")
SPLIT_SIZES = view_op("split_with_sizes", _slice_backward, "SplitWithSizesBackward0")
SELECT, UNBIND = (
    view_op("select", lambda n, g: _slice_backward(n, unsqueeze(g, n.params[0])), name)
    for name in ("SelectBackward0", "UnbindBackward0")
)


def narrowed(
    t: Tensor, dim: int, start: int, count: int, step: int, op: Op | None = None
) -> Tensor:
    """A view of `count` elements of a dim, `step` apart, from `start` on."""
    op = op or SLICE
    args = (dim, start, step, count)
    got = known_view(op, t, args)
    if got is not None:
        return got
    m = t.meta
    shape = (*m.shape[:dim], count, *m.shape[dim + 1 :])
    strides = (*m.strides[:dim], m.strides[dim] * step, *m.strides[dim + 1 :])
    return make_view(op, t, shape, strides, t._off + start * m.strides[dim], args, args)


def slice_dim(t: Tensor, dim: int, start: Any, stop: Any, step: Any) -> Tensor:
    """t[..., start:stop:step, ...] on one dim."""
    if step is not None and step <= 0:
        raise ValueError("step must be greater than zero")
    start, stop, step = slice(start, stop, step).indices(t.meta.shape[dim])
    count = max(0, -(-(stop - start) // step))
    if count == t.meta.shape[dim] and step == 1:
        return make_view(SLICE, t, t.meta.shape, t.meta.strides, t._off, (dim, 0, 1, count))
    return narrowed(t, dim, start, count, step)


@both("narrow")
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`length` slices along a dim from `start`."""
    d = wrap_dim(dim, input.meta.ndim)
    if input.meta.ndim == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if isinstance(start, Tensor) and (start.meta.ndim or start.meta.dtype.kind not in "iu"):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    start = int(start)
    n = input.meta.shape[d]
    if not -n <= start <= n:
        raise IndexError(
            f"start out of range (expected to be in range of [-{n}, {n}], but got {start})"
        )
    start = start + n if start < 0 else start
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return narrowed(input, d, start, length, 1)


@both("select")
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """One slice along a dim, without that dim."""
    if type(index) is int:
        got = known_view(SELECT, input, (dim, index))
        if got is not None:
            return got
    m = input.meta
    if m.ndim == 0:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, m.ndim)
    n = m.shape[d]
    if not hasattr(index, "__index__"):
        raise wrong_type(index, "int")
    i = index.__index__()
    if not -n <= i < n:
        raise IndexError(
            f"select(): index {i} out of range for tensor of size {list(m.shape)} at dimension {d}"
        )
    args = (dim, i)
    i = i + n if i < 0 else i
    return make_view(SELECT, input, m.shape[:d] + m.shape[d + 1 :], m.strides[:d] + m.strides[d + 1 :],
                     input._off + i * m.strides[d], (d, i, 1, 1), args)  # fmt: skip


def unbound(input: Tensor, d: int, i: int) -> Tensor:
    """Slice i along dim d, as `unbind` gives it."""
    got = known_view(UNBIND, input, (d, i))
    if got is not None:
        return got
    m = input.meta
    return make_view(UNBIND, input, m.shape[:d] + m.shape[d + 1 :], m.strides[:d] + m.strides[d + 1 :],
                     input._off + i * m.strides[d], (d, i, 1, 1), (d, i))  # fmt: skip


__all__ = ["META", "Size", "meta"]
