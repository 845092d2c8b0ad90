"""Orders of dims in memory: `memory_format=` of clone, contiguous, to and the like."""

from __future__ import annotations

from typing import Any

from facula.graph.formats import FORMATS, in_format, iteration_order
from facula.graph.meta import Meta
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.registry import TORCH
from facula.tensor import Tensor


def _wants_order(t: Tensor, fmt: Any) -> bool:
    if fmt is None or getattr(fmt, "order", None) is None:
        return False
    if t.meta.ndim != len(fmt.order):
        raise RuntimeError(f"required rank {len(fmt.order)} tensor to use {fmt.name} format")
    return True


def _ordered_as(ins: tuple[Meta, ...], outs: tuple[Meta, ...], params: tuple) -> tuple[Meta, ...]:
    return (in_format(outs[0], params[0]),)


def _copy_op(name: str) -> Op:
    return Op("clone", lambda a, order: a.plain(), lambda g, a, order: a, lambda n, g: g,
              grad_name=name, lies=_ordered_as)  # fmt: skip


_CLONED, _CONVERTED = _copy_op("CloneBackward0"), _copy_op("ToCopyBackward0")


def in_order(t: Tensor, order: tuple[int, ...], op: Op = _CLONED) -> Tensor:
    """A copy of t whose dims lie in memory in this order, the outermost first."""
    got: Tensor = apply(op, (t,), (order,))
    return got


_clone, _to = TORCH["clone"], Tensor.to  # type: ignore[attr-defined]
_PRESERVE = FORMATS["preserve_format"]


def _order_of(input: Tensor, fmt: Any) -> tuple[int, ...] | None:
    """The order that a copy of input gets: fmt's, or that of input where fmt keeps it."""
    if fmt is None or fmt is _PRESERVE:
        m = input.meta
        order = None if m.contiguous else iteration_order((m,), m)
        return None if order == tuple(range(m.ndim)) else order
    return fmt.order if _wants_order(input, fmt) else None


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with a history: gradients flow back to input."""
    if memory_format is None and input.meta.contiguous:
        return _clone(input)
    order = _order_of(input, memory_format)
    return _clone(input) if order is None else in_order(input, order)


def contiguous(self: Tensor, memory_format: Any = FORMATS["contiguous_format"]) -> Tensor:
    """Itself if its elements lie in (row-major or the given) order, else a copy."""
    if _wants_order(self, memory_format):
        return self if memory_format.matches(self.meta) else in_order(self, memory_format.order)
    return self if self.meta.contiguous else _clone(self)


def to(self: Tensor, *args: Any, memory_format: Any = None, **kwargs: Any) -> Tensor:
    """self in another dtype, on another device, in another order; itself where nothing changes."""
    got = _to(self, *args, **kwargs) if args or kwargs else self
    if memory_format is not None and _wants_order(got, memory_format):
        return (
            got
            if memory_format.matches(got.meta)
            else in_order(got, memory_format.order, _CONVERTED)
        )
    return got


TORCH["clone"] = Tensor.clone = clone  # type: ignore[attr-defined]
Tensor.contiguous, Tensor.to = contiguous, to  # type: ignore[attr-defined]


def _ordered(name: str, fill: str | None = None) -> None:
    """zeros_like(...) and the like in an order of dims."""
    make = TORCH[name]

    def function(input: Tensor, *args: Any, memory_format: Any = None, **kwargs: Any) -> Tensor:
        if not isinstance(input, Tensor) or (memory_format is None and input.meta.contiguous):
            return make(input, *args, **kwargs)
        order = _order_of(input, memory_format)
        if order is None:
            return make(input, *args, **kwargs)
        if fill is None:
            got = make(input, *args, **kwargs)
            return in_order(got.detach(), order).requires_grad_(got._rg)
        # random numbers come in the order of memory
        asked, generator = kwargs.pop("requires_grad", False), kwargs.pop("generator", None)
        empty = in_order(TORCH["empty_like"](input.detach(), **kwargs), order)
        return getattr(empty, fill)(*args, generator=generator).requires_grad_(asked)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = make.__doc__
    TORCH[name] = function


for _name in ("zeros_like", "ones_like", "empty_like", "full_like"):
    _ordered(_name)
for _name, _fill in (
    ("rand_like", "uniform_"),
    ("randn_like", "normal_"),
    ("randint_like", "random_"),
):
    _ordered(_name, _fill)
