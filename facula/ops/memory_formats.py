"""Orders of dims in memory: `memory_format=` of clone, contiguous, to and the like."""

from __future__ import annotations

from typing import Any

from facula.graph.formats import FORMATS
from facula.ops.registry import TORCH
from facula.tensor import Tensor


def _wants_order(t: Tensor, fmt: Any) -> bool:
    if fmt is None or getattr(fmt, "order", None) is None:
        return False
    if t.meta.ndim != len(fmt.order):
        raise RuntimeError(f"required rank {len(fmt.order)} tensor to use {fmt.name} format")
    return True


def in_order(t: Tensor, fmt: Any) -> Tensor:
    """A copy of t whose dims lie in memory as fmt says."""
    order = fmt.order
    back = [order.index(i) for i in range(len(order))]
    return _clone(t.permute(order)).permute(back)  # type: ignore[attr-defined]


_clone, _contiguous, _to = TORCH["clone"], Tensor.contiguous, Tensor.to  # type: ignore[attr-defined]


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with a history: gradients flow back to input."""
    if _wants_order(input, memory_format):
        return in_order(input, memory_format)
    return _clone(input)


def contiguous(self: Tensor, memory_format: Any = FORMATS["contiguous_format"]) -> Tensor:
    """Itself if its elements lie in (row-major or the given) order, else a copy."""
    if _wants_order(self, memory_format):
        return self if memory_format.matches(self.meta) else in_order(self, memory_format)
    return _contiguous(self)


def to(self: Tensor, *args: Any, memory_format: Any = None, **kwargs: Any) -> Tensor:
    """self in another dtype, on another device, in another order; itself where nothing changes."""
    got = _to(self, *args, **kwargs) if args or kwargs else self
    if memory_format is not None and _wants_order(got, memory_format):
        return got if memory_format.matches(got.meta) else in_order(got, memory_format)
    return got


TORCH["clone"] = Tensor.clone = clone  # type: ignore[attr-defined]
Tensor.contiguous, Tensor.to = contiguous, to  # type: ignore[attr-defined]


def _ordered(name: str) -> None:
    """zeros_like(...) and the like in an order of dims."""
    make = TORCH[name]

    def function(input: Tensor, *args: Any, memory_format: Any = None, **kwargs: Any) -> Tensor:
        got = make(input, *args, **kwargs)
        wants = _wants_order(got, memory_format)
        return in_order(got.detach(), memory_format).requires_grad_(got._rg) if wants else got

    function.__name__ = function.__qualname__ = name
    function.__doc__ = make.__doc__
    TORCH[name] = function


for _name in ("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"):
    if _name in TORCH:
        _ordered(_name)
