"""Joining tensors, `cat` and `stack`, and turning them around, `flip`."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.graph.blame import wrong_type
from facula.graph.formats import AS_ALL, AS_OPERANDS
from facula.graph.meta import Meta, meta_of, wrap_dim
from facula.graph.tape import LOCAL, Op
from facula.ops.apply import apply
from facula.ops.registry import TORCH, both
from facula.ops.shape import narrowed, select, sizes_of
from facula.tensor import Tensor, adopt_array

# joining ----------------------------------------------------------------------------------


def _cat_infer(*args: Any) -> Meta:
    *metas, dim = args
    from facula.graph.dtypes import promote_types

    d = metas[0].dtype
    for m in metas[1:]:
        d = promote_types(d, m.dtype)
    shape = list(metas[0].shape)
    shape[dim] = sum(m.shape[dim] for m in metas)
    return meta_of(d, shape, metas[0].device)


def _cat_expand(g: Any, *args: Any) -> Any:
    *vals, dim = args
    from facula.graph.dtypes import promote_types

    d = vals[0].dtype
    for v in vals[1:]:
        d = promote_types(d, v.dtype)
    return g.cat([g.cast(v, d) for v in vals], dim)


def _cat_backward(n: Any, g: Tensor) -> tuple:
    dim = n.params[0]
    parts, start = [], 0
    for i, m in enumerate(n.inst.ins):
        size = m.shape[dim]
        part = None
        if n.needs(i):
            part = narrowed(g, dim, start, size, 1)
            part = part if m.dtype is g.meta.dtype else part.to(m.dtype)  # type: ignore[attr-defined]
        parts.append(part)
        start += size
    return tuple(parts)


CAT = Op("cat", _cat_infer, _cat_expand, _cat_backward, lies=AS_ALL)
_MANY = 8  # tensors
_SMALL = 1 << 14  # elements


def _joined_at_once(tensors: list[Tensor], dim: int, join: Any = np.concatenate) -> Tensor | None:
    """Many short tensors with known values, joined by NumPy; else None.

    Texts of a batch are such, and what a replay memory gives: their lengths, or which of them are the
    same tensor, are others in each batch, which would each time be a plan of its own, with a step for
    each tensor.
    """
    if len(tensors) < _MANY or LOCAL.tape.watch is not None:
        return None
    kind, size = tensors[0].meta.dtype, 0
    for x in tensors:
        m = x.meta
        if type(x) is not Tensor or x._rg or x._s.buf is None or m.dtype is not kind:
            return None
        if m.device.type != "cpu":
            return None
        size += m.numel
    if not 0 < size <= _SMALL:
        return None
    return adopt_array(join([x._array() for x in tensors], dim), kind)


def check_elements(tensors: Any) -> None:
    """TypeError in PyTorch's words where an element of a list of tensors is none."""
    for i, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}"
            )


def cat(tensors: Any, dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """Tensors joined along an existing dim.

    Shapes: all alike but along dim, where the result is as long as all of them.

    >>> import facula as torch
    >>> torch.cat([torch.zeros(1, 2), torch.ones(2, 2)])
    tensor([[0., 0.],
            [1., 1.],
            [1., 1.]])
    """
    from facula.ops.registry import check_out, to_out

    if isinstance(tensors, Tensor):
        raise TypeError(
            "cat(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor"
        )
    if isinstance(tensors, str) or not hasattr(tensors, "__iter__"):
        raise wrong_type(tensors, "tuple of Tensors")
    tensors = list(tensors)
    check_out(out, *tensors)
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    check_elements(tensors)
    for i, x in enumerate(tensors):
        if x.meta.ndim == 0:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    kept = [x for x in tensors if not (x.meta.ndim == 1 and x.meta.numel == 0)] or tensors[:1]
    if len(kept) != len(tensors):
        d = _cat_infer(*[meta_of(x.meta.dtype, (1,)) for x in tensors], 0).dtype
        kept = [x.to(d) for x in kept]  # type: ignore[attr-defined]
    first = kept[0].meta
    d = wrap_dim(dim, first.ndim)
    for x in kept[1:]:
        m = x.meta
        if m.ndim != first.ndim:
            raise RuntimeError(
                f"Tensors must have same number of dimensions: got {first.ndim} and {m.ndim}"
            )
        for i in range(m.ndim):
            if i != d and m.shape[i] != first.shape[i]:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {d}. Expected size {first.shape[i]} "
                    f"but got size {m.shape[i]} for tensor number {next(k for k, y in enumerate(tensors) if y is x)} in the list."
                )
    made = _joined_at_once(kept, d)
    return to_out(apply(CAT, kept, (d,)) if made is None else made, out)


TORCH["cat"] = TORCH["concat"] = TORCH["concatenate"] = cat


def _stack_expand(g: Any, *args: Any) -> Any:
    *vals, dim = args
    wide = [g.reshape(v, (*v.shape[:dim], 1, *v.shape[dim:])) for v in vals]
    return _cat_expand(g, *wide, dim)


def _stack_infer(*args: Any) -> Meta:
    *metas, dim = args
    wide = [meta_of(m.dtype, (*m.shape[:dim], 1, *m.shape[dim:]), m.device) for m in metas]
    return _cat_infer(*wide, dim)


STACK = Op("stack", _stack_infer, _stack_expand,
           lambda n, g: tuple(select(g, n.params[0], i) if n.needs(i) else None for i in range(len(n.inst.ins))))  # fmt: skip


def stack(tensors: Any, dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """Tensors of one shape joined along a new dim.

    Shapes: n tensors of one shape; the result has n elements along the new dim.

    >>> import facula as torch
    >>> torch.stack([torch.tensor([1, 2]), torch.tensor([3, 4])], 1)
    tensor([[1, 3],
            [2, 4]])
    """
    from facula.ops.registry import to_out

    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    check_elements(tensors)
    first = tensors[0].meta
    for i, x in enumerate(tensors):
        if x.meta.shape != first.shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first.shape)} at entry 0 "
                f"and {list(x.meta.shape)} at entry {i}"
            )
    d = wrap_dim(dim, first.ndim + 1)
    made = _joined_at_once(tensors, d, np.stack)
    return to_out(apply(STACK, tensors, (d,)) if made is None else made, out)


TORCH["stack"] = stack

FLIP = Op("flip", lambda a, dims: meta_of(a.dtype, a.shape, a.device),
          lambda g, a, dims: g.flip(a, dims), lambda n, g: apply(FLIP, (g,), n.params),
          lies=AS_OPERANDS)  # fmt: skip


@both("flip")
def flip(input: Tensor, *dims: Any, **kwargs: Any) -> Tensor:
    """Elements in reverse order along dims (a copy)."""
    dims = dims or (kwargs["dims"],)
    which = tuple(wrap_dim(d, input.meta.ndim) for d in sizes_of(dims, "flip"))
    if len(set(which)) != len(which):
        raise RuntimeError(f"dim {max(which)} appears multiple times in the list of dims")
    return apply(FLIP, (input,), (which,))
