"""Indexing: `x[...]`, `x[...] = v`, and where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.blame import wrong_type
from facula.graph.formats import AS_OPERANDS
from facula.graph.meta import META, Meta, broadcast_shapes, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply, apply_known, check_writable, overwrite, record
from facula.ops.compact import index_arrays
from facula.ops.pointwise import opmath, sum_to
from facula.ops.registry import (
    TORCH,
    only_method,
    to_out,
    zeros_as,
)
from facula.ops.shape import SELECT, known_view, make_view, select, slice_dim, unsqueeze
from facula.ops.without_values import needs_values, on_meta
from facula.tensor import Tensor, adopt_array

# advanced indexing: x[..., i, j, ...] with index tensors ------------------------------------------


def _consecutive(dims: tuple[int, ...]) -> bool:
    return dims == tuple(range(dims[0], dims[0] + len(dims)))


def _index_shape(
    shape: Sequence[int], index: tuple[int, ...], dims: tuple[int, ...]
) -> tuple[int, ...]:
    rest = [n for i, n in enumerate(shape) if i not in dims]
    at = dims[0] if _consecutive(dims) else 0
    return (*rest[:at], *index, *rest[at:])


def _broadcast_indices(metas: Sequence[Any]) -> tuple[int, ...]:
    try:
        return broadcast_shapes(*[m.shape for m in metas])
    except RuntimeError:
        shapes = ", ".join(str(list(m.shape)) for m in metas)
        raise IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
        ) from None


def _index_infer(x: Meta, *rest: Any) -> Meta:
    *index, dims = rest
    return meta_of(x.dtype, _index_shape(x.shape, _broadcast_indices(index), dims), x.device)


def _flat_index(g: Any, x: Any, index: Sequence[Any], dims: tuple[int, ...]) -> Any:
    """One index into the merged dims."""
    shape = broadcast_shapes(*[i.shape for i in index])
    flat = None
    for i, d in zip(index, dims, strict=True):
        v = g.expand(g.check(g.cast(i, dt.int64), x.shape[d], d), shape)
        flat = v if flat is None else flat * x.shape[d] + v
    return flat


def _merged(g: Any, x: Any, dims: tuple[int, ...]) -> tuple[Any, int, tuple[int, ...]]:
    """x with the indexed dims as one: (value, its place, the order of dims before merging)."""
    n = math.prod(x.shape[d] for d in dims)
    if _consecutive(dims):
        at = dims[0]
        return g.reshape(x, (*x.shape[:at], n, *x.shape[dims[-1] + 1 :])), at, tuple(range(x.ndim))
    rest = [i for i in range(x.ndim) if i not in dims]
    order = (*dims, *rest)
    return g.reshape(g.permute(x, order), (n, *[x.shape[i] for i in rest])), 0, order


def _index_expand(g: Any, x: Any, *rest: Any) -> Any:
    *index, dims = rest
    flat = _flat_index(g, x, index, dims)
    merged, at, _ = _merged(g, x, dims)
    return g.take(merged, flat, at)


def _index_backward(n: Any, g: Tensor) -> tuple:
    x = n.inst.ins[0]
    dims = n.params[0]
    index = [n.tensor(k) for k in range(len(dims))]
    gx = put_at(zeros_as(g, x.shape), g, index, dims, "add")
    return (gx, *[None] * len(index))


INDEX = {k: Op("index", _index_infer, _index_expand, _index_backward, saves=" ".join(str(i + 1) for i in range(k)),
               marks=True, shows="0")
         for k in range(1, 9)}  # fmt: skip


_INDEX_FIRST, _FIRST_DIM = INDEX[1], ((0,),)  # of x[i]


def _put_infer(x: Meta, v: Meta, *rest: Any) -> Meta:
    *index, dims, mode = rest
    shape = _index_shape(x.shape, _broadcast_indices(index), dims)
    try:
        ok = tuple(broadcast_shapes(v.shape, shape)) == tuple(shape)
    except RuntimeError:
        ok = False
    if not ok:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(v.shape)} cannot be broadcast to indexing result "
            f"of shape {list(shape)}"
        )
    if v.dtype is not x.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {x.dtype.short} for the "
            f"destination and {v.dtype.short} for the source."
        )
    return x.plain()


def _put_expand(g: Any, x: Any, v: Any, *rest: Any) -> Any:
    *index, dims, mode = rest
    flat = _flat_index(g, x, index, dims)
    merged, at, order = _merged(g, x, dims)
    v = g.expand(v, _index_shape(x.shape, flat.shape, dims))
    if x.dtype.kind == "b" and mode == "add":
        mode = "max"
    out = g.put(merged, flat, v, at, mode)
    out = g.reshape(out, [x.shape[i] for i in order])
    back = [0] * len(order)
    for i, d in enumerate(order):
        back[d] = i
    return g.permute(out, back)


def _put_backward(n: Any, g: Tensor) -> tuple:
    dims, mode = n.params
    index = [n.tensor(k) for k in range(len(dims))]
    gx = gv = None
    if n.needs(0):
        gx = g
        if mode == "set":
            zero = zeros_as(g, ())
            gx = put_at(g, zero, index, dims, "set")
    if n.needs(1):
        gv = sum_to(apply(INDEX[len(dims)], (g, *index), (dims,)), n.inst.ins[1])
    return (gx, gv, *[None] * len(index))


_INDEX_PUT = {
    k: Op("index_put", _put_infer, _put_expand, _put_backward, saves=" ".join(str(i + 2) for i in range(k)),
          grad_name="IndexPutBackward0", marks=True, shows="0 1")
    for k in range(1, 9)
}  # fmt: skip


def put_at(
    x: Tensor, value: Tensor, index: Sequence[Tensor], dims: tuple[int, ...], mode: str
) -> Tensor:
    """x with value written ('set') or added ('add') where index tensors point, along dims."""
    return apply(_INDEX_PUT[len(dims)], (x, value, *index), (dims, mode))


# parsing `x[...]` --------------------------------------------------------------------------------


def _as_index_tensor(i: Any) -> Tensor:
    if isinstance(i, np.ndarray):
        return TORCH["tensor"](i)
    if not isinstance(i, Tensor):
        i = TORCH["tensor"](i) if len(i) else TORCH["zeros"](0, dtype=dt.int64)
    return i


@needs_values("aten::nonzero")
def nonzero_tuple(mask: Tensor) -> tuple[Tensor, ...]:
    """Index tensors of the true elements, one per dim (evaluates the mask)."""
    if not isinstance(mask, Tensor):
        raise wrong_type(mask, "Tensor")
    return tuple(adopt_array(i) for i in index_arrays(mask._values()))


def masked_by_meta(indices: Sequence[Any]) -> bool:
    """Whether there is a mask on the meta device: how many elements it names is not known."""
    return any(
        isinstance(i, Tensor) and i.meta.device is META and i.meta.dtype in (dt.bool_, dt.uint8)
        for i in indices
    )


def put_somewhere(x: Tensor, value: Tensor, mode: str) -> Tensor:
    """x (on meta) with value's elements at places that only a mask's values say."""
    where = on_meta(dt.int64, (value.meta.numel,))
    flat = put_at(x.reshape(-1), value.reshape(-1), [where], (0,), mode)  # type: ignore[attr-defined]
    return flat.reshape(x.meta.shape)  # type: ignore[attr-defined]


def _is_sequence_index(index: Any) -> bool:
    return isinstance(index, list) and any(
        isinstance(i, (slice, Tensor, list, tuple)) or i is None or i is Ellipsis for i in index
    )


_ALL = slice(None)


def parse_index(t: Tensor, index: Any) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """The view that the basic indices make, and (dim, index tensor) of the others."""
    items = list(index) if isinstance(index, tuple) else [index]
    used = 0
    for i in items:
        if i is None or i is Ellipsis or isinstance(i, (bool, np.bool_)):
            continue
        if isinstance(i, Tensor) and i.meta.dtype in (dt.bool_, dt.uint8):
            used += i.meta.ndim
        elif isinstance(i, np.ndarray) and i.dtype == np.bool_:
            used += i.ndim
        else:
            used += 1
    if used > t.meta.ndim:
        raise IndexError(f"too many indices for tensor of dimension {t.meta.ndim}")
    advanced: list[tuple[int, Tensor]] = []
    dim = gone = 0
    seen_ellipsis = False
    for i in items:
        if i is Ellipsis:
            if not seen_ellipsis:
                dim += t.meta.ndim - dim - _remaining(items, i)
            seen_ellipsis = True
        elif i is None:
            t = unsqueeze(t, dim)
            dim += 1
        elif isinstance(i, (bool, np.bool_)) or _is_single_mask(i):
            t = unsqueeze(t, dim)
            advanced.append((dim, TORCH["zeros"](1 if i else 0, dtype=dt.int64)))
            dim += 1
        elif isinstance(i, slice):
            if i != _ALL or len(items) == 1:  # `:` beside other indices does nothing
                t = slice_dim(t, dim, *[_bound(x) for x in (i.start, i.stop, i.step)])
            dim += 1
        elif (
            isinstance(i, Tensor)
            and i.meta.ndim == 0
            and i.meta.dtype.kind in "iu"
            and i.meta.dtype is not dt.uint8
        ):
            advanced.append((dim, i))
            dim += 1
        elif hasattr(i, "__index__") and not isinstance(i, (Tensor, np.ndarray)):
            t = _select(t, dim, i.__index__(), gone)
            gone += 1
        else:
            dim = _advanced(t, i, dim, advanced)
    return t, advanced


def _is_single_mask(i: Any) -> bool:
    """Whether it is a mask without dims: like True or False, it adds a dim of size 1 or 0."""
    if isinstance(i, Tensor):
        return i.meta.ndim == 0 and i.meta.dtype in (dt.bool_, dt.uint8)
    return isinstance(i, np.ndarray) and i.ndim == 0 and i.dtype == np.bool_


def _remaining(items: list, mark: Any) -> int:
    """Dims that the items after the Ellipsis take."""
    after = items[next(k for k, i in enumerate(items) if i is mark) + 1 :]
    n = 0
    for i in after:
        if i is None or isinstance(i, (bool, np.bool_)) or i is Ellipsis:
            continue
        if isinstance(i, Tensor) and i.meta.dtype in (dt.bool_, dt.uint8):
            n += i.meta.ndim
        elif isinstance(i, np.ndarray) and i.dtype == np.bool_:
            n += i.ndim
        else:
            n += 1
    return n


def _bound(x: Any) -> Any:
    if x is None or isinstance(x, int):
        return x
    if isinstance(x, Tensor) or hasattr(x, "__index__"):
        return x.__index__()
    raise TypeError(
        f"slice indices must be integers or None or have an __index__ method, got {type(x).__name__}"
    )


def _select(t: Tensor, dim: int, i: int, gone: int = 0) -> Tensor:
    """t[..., i, ...]; `gone` dims before it were indexed away already."""
    n = t.meta.shape[dim]
    if not -n <= i < n:
        raise IndexError(f"index {i} is out of bounds for dimension {dim + gone} with size {n}")
    return select(t, dim, i)


def _advanced(t: Tensor, i: Any, dim: int, advanced: list) -> int:
    if isinstance(i, str):
        raise TypeError("new(): invalid data type 'str'")
    if not isinstance(i, (Tensor, np.ndarray, list, tuple, range)):
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid "
            f"indices (got {type(i).__name__})"
        )
    i = _as_index_tensor(i)
    m = i.meta
    if m.dtype in (dt.bool_, dt.uint8):
        for k, n in enumerate(m.shape):
            if n != t.meta.shape[dim + k]:
                raise IndexError(
                    f"The shape of the mask {list(m.shape)} at index {k} does not match the shape of the "
                    f"indexed tensor {list(t.meta.shape)} at index {dim + k}"
                )
        for index in nonzero_tuple(i):
            advanced.append((dim, index))
            dim += 1
        return dim
    if m.dtype.kind not in "iu":
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    advanced.append((dim, i))
    return dim + 1


@only_method("__getitem__")
def getitem(self: Tensor, key: Any, /) -> Tensor:
    """self[key]: a view for basic indices, a copy for index tensors and masks."""
    index, kind = key, type(key)
    if kind is int:
        got = known_view(SELECT, self, (0, index))
        if got is not None:
            return got
        if not self.meta.ndim:
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to "
                "convert a 0-dim tensor to a number"
            )
        return _select(self, 0, index)
    if isinstance(index, Tensor):
        m = index.meta
        inst = _INDEX_FIRST.calls.get((self.meta, m))
        if inst is not None:
            return record(_INDEX_FIRST, inst, (self, index))
        if m.dtype is dt.int64 and m.ndim and self.meta.ndim:
            return apply_known(_INDEX_FIRST, (self, index), _FIRST_DIM, self.meta, m)
        if m.dtype is dt.bool_ and m.ndim == 0:
            return getitem(self, (index.item(),))
    if kind is list and _is_sequence_index(index):
        index = tuple(index)
    view, advanced = parse_index(self, index)
    if not advanced:
        return (
            make_view(_ALIAS, self, self.meta.shape, self.meta.strides, self._off)
            if view is self
            else view
        )
    dims = tuple(d for d, _ in advanced)
    return apply(INDEX[len(dims)], (view, *[i for _, i in advanced]), (dims,))


from facula.ops.shape import ALIAS as _ALIAS  # noqa: E402


@only_method("__setitem__")
def setitem(self: Tensor, key: Any, value: Any, /) -> None:
    """self[key] = value, in place."""
    index = key
    if type(index) is list and _is_sequence_index(index):
        index = tuple(index)
    if isinstance(index, Tensor) and index.meta.dtype is dt.bool_ and index.meta.shape == self.meta.shape \
            and not isinstance(value, (list, tuple)) and (not isinstance(value, Tensor) or value.meta.ndim == 0):  # fmt: skip
        # a full mask with one value: no need to know which elements
        fill = (
            value.to(self.meta.dtype)
            if isinstance(value, Tensor)
            else TORCH["full"]((), value, dtype=self.meta.dtype, device=self.meta.device)
        )
        overwrite(self, TORCH["where"](index, fill, self), fresh=True)
        return
    if self.meta.device is META and masked_by_meta(index if type(index) is tuple else (index,)):
        if not isinstance(value, Tensor):
            value = TORCH["tensor"](value, dtype=self.meta.dtype, device=META)
        overwrite(self, put_somewhere(self, value.to(self.meta.dtype), "set"), fresh=True)  # type: ignore[attr-defined]
        return
    view, advanced = parse_index(self, index)
    if not isinstance(value, Tensor):
        if not isinstance(value, (int, float, complex, np.integer, np.bool_)):
            kind = type(value)
            room = f"{kind.__module__}." if kind.__module__ != "builtins" else ""
            raise TypeError(
                f"can't assign a {room}{kind.__name__} to a torch.{self.meta.dtype.short}Tensor"
            )
        if isinstance(value, (int, float, complex)) and not advanced:
            view.fill_(value)  # type: ignore[attr-defined]
            return
        value = TORCH["tensor"](value, dtype=self.meta.dtype, device=self.meta.device)
    if not advanced:
        while value.meta.ndim > view.meta.ndim and value.meta.shape[0] == 1:
            value = value.squeeze(0)  # type: ignore[attr-defined]
        _check_fits(value, view)
        if (
            value._s is view._s
            and value.meta is view.meta
            and value._off == view._off
            and not view._rg
        ):
            check_writable(view, False)
            view._s.version += 1  # `x[k] += y` has written it already
            return
        view.copy_(value)  # type: ignore[attr-defined]
        return
    dims = tuple(d for d, _ in advanced)
    index_tensors = [i for _, i in advanced]
    target = _index_shape(
        view.meta.shape, _broadcast_indices([i.meta for i in index_tensors]), dims
    )
    while value.meta.ndim > len(target) and value.meta.shape[0] == 1:
        value = value.squeeze(0)  # type: ignore[attr-defined]
    if value.meta.dtype is not self.meta.dtype:
        if value.meta.ndim:
            raise RuntimeError(
                f"Index put requires the source and destination dtypes match, got {self.meta.dtype.short} for "
                f"the destination and {value.meta.dtype.short} for the source."
            )
        value = value.to(self.meta.dtype)  # type: ignore[attr-defined]
    overwrite(view, put_at(view, value, index_tensors, dims, "set"), fresh=True)


def _check_fits(value: Tensor, view: Tensor) -> None:
    try:
        ok = tuple(broadcast_shapes(value.meta.shape, view.meta.shape)) == tuple(view.meta.shape)
    except RuntimeError:
        ok = False
    if not ok:
        a, b = value.meta.shape, view.meta.shape
        for i in range(1, min(len(a), len(b)) + 1):
            if a[-i] != b[-i] and a[-i] != 1:
                raise RuntimeError(
                    f"The expanded size of the tensor ({b[-i]}) must match the existing size ({a[-i]}) at "
                    f"non-singleton dimension {len(b) - i}.  Target sizes: {list(b)}.  Tensor sizes: {list(a)}"
                )
        raise RuntimeError(
            f"expand(torch.{value.meta.dtype.short}Tensor{{{list(a)}}}, size={list(b)}): the number of sizes "
            f"provided ({len(b)}) must be greater or equal to the number of dimensions in the tensor ({len(a)})"
        )


# where -----------------------------------------------------------------------------------------------


def _where_infer(c: Meta, a: Meta, b: Meta) -> Meta:
    from facula.ops.pointwise import result_type

    if c.dtype not in (dt.bool_, dt.uint8):
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {c.dtype.short}"
        )
    return meta_of(result_type((a, b)), broadcast_shapes(c.shape, a.shape, b.shape), a.device)


def _where_expand(g: Any, c: Any, a: Any, b: Any) -> Any:
    from facula.ops.pointwise import result_type

    d = result_type((meta_of(a.dtype, a.shape), meta_of(b.dtype, b.shape)))
    return g.where(g.cast(c, dt.bool_), g.cast(a, d), g.cast(b, d))


def _where_backward(n: Any, g: Tensor) -> tuple:
    c = n.tensor(0)
    zero = zeros_as(g, ())
    ga = sum_to(where(c, g, zero), n.inst.ins[1]) if n.needs(1) else None
    gb = sum_to(where(c, zero, g), n.inst.ins[2]) if n.needs(2) else None
    return None, ga, gb


WHERE = Op("where", _where_infer, _where_expand, _where_backward, saves="0", shows="1 2",
           lies=AS_OPERANDS)  # fmt: skip


def where(
    condition: Tensor, input: Any = None, other: Any = None, *, out: Tensor | None = None
) -> Any:
    """input where condition holds, else other; with the condition alone: indices where it holds.

    Shapes: all broadcast together. Dtypes of input and other are promoted.

    >>> import facula as torch
    >>> x = torch.tensor([-1.0, 2.0])
    >>> torch.where(x > 0, x, 0.0)
    tensor([0., 2.])
    """
    if input is None and other is None:
        return nonzero_tuple(condition)
    return to_out(apply(WHERE, (condition, _branch(input, other), _branch(other, input))), out)


def _branch(x: Any, other: Any) -> Tensor:
    """A branch as a tensor; numbers get the dtype they would have beside the other branch."""
    if isinstance(x, Tensor):
        return x
    if isinstance(other, Tensor) and not isinstance(x, complex):
        d = other.meta.dtype
        kind = dt.of_number(x).kind
        order = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
        target = d if order[d.kind] >= order[kind] else dt.of_number(x)
        return TORCH["full"]((), x, dtype=target)
    return TORCH["full"]((), x)


TORCH["where"] = where


@only_method("where")
def where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """self where condition holds, else other."""
    return where(condition, self, other)


__all__ = ["META", "opmath"]
