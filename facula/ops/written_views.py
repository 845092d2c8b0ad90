"""What a write through a view leaves behind: the history of the base, as PyTorch's `CopySlices`."""

from __future__ import annotations

from typing import Any

from facula.autograd.node import FREED, SECOND_TIME, grad_class
from facula.graph.meta import Meta
from facula.graph.tape import Inst, next_seq
from facula.ops.registry import zeros_as
from facula.ops.shape import extent, view_op
from facula.tensor import Tensor


def _laid_out(g: Tensor, m: Meta) -> Tensor:
    """g with the strides of m: where a view of m is found by its strides."""
    if m.contiguous:
        return g.contiguous()  # type: ignore[attr-defined]
    laid = zeros_as(g, extent(m, 0)).as_strided(m.shape, m.strides, 0)
    return laid.copy_(g)


def _scatter_backward(n: Any, g: Tensor) -> tuple:
    if n.saved is FREED:
        raise RuntimeError(SECOND_TIME)
    shape, strides, offset = n.params
    g = _laid_out(g, n.inst.ins[0])
    g_new = g.as_strided(shape, strides, offset).clone() if n.needs(1) else None
    g_old = None
    if n.needs(0):
        g_old = _laid_out(g.clone(), n.inst.ins[0])
        g_old.as_strided(shape, strides, offset).zero_()
    return g_old, g_new


COPY_SLICES = view_op("copy_slices", _scatter_backward, "CopySlices")


def strided_scatter_history(base: Tensor, v: Tensor, value: Tensor) -> None:
    """Gives base the history of 'base with the elements of its view v replaced by value'."""
    cls = grad_class(COPY_SLICES)
    node = cls.__new__(cls)
    node.inst = Inst(COPY_SLICES, (base.meta, value.meta),
                     (tuple(v.meta.shape), v.meta.strides, v._off - base._off), (base.meta,))  # fmt: skip
    old = None
    if base._rg:
        old = base if base._g is None else base._g
    new = None
    if value._rg:
        new = value if value._g is None else value._g
    # as PyTorch's, a node that cannot be walked twice: that something is kept
    node.edges, node.saved, node.scalars, node.seq = (old, new), (None,), (), next_seq()
    base._rg, base._g = True, node
