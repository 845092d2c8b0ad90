"""Orders of dims in memory: `memory_format=` of clone, contiguous, to and the like."""

from __future__ import annotations

from typing import Any

from facula.graph.formats import FORMATS, channels_last, in_format
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


def in_order(t: Tensor, fmt: Any, op: Op = _CLONED) -> Tensor:
    """A copy of t whose dims lie in memory as fmt says."""
    got: Tensor = apply(op, (t,), (fmt.order,))
    return got


_clone, _to = TORCH["clone"], Tensor.to  # type: ignore[attr-defined]
_PRESERVE = FORMATS["preserve_format"]


def _format_of(input: Tensor, fmt: Any) -> Any:
    """The order that a copy of input gets: fmt, or that of input where fmt keeps it."""
    if fmt is None or fmt is _PRESERVE:
        return None if input.meta.contiguous else channels_last(input.meta)
    return fmt if _wants_order(input, fmt) else None


def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with a history: gradients flow back to input."""
    if memory_format is None and input.meta.contiguous:
        return _clone(input)
    fmt = _format_of(input, memory_format)
    return _clone(input) if fmt is None else in_order(input, fmt)


def contiguous(self: Tensor, memory_format: Any = FORMATS["contiguous_format"]) -> Tensor:
    """Itself if its elements lie in (row-major or the given) order, else a copy."""
    if _wants_order(self, memory_format):
        return self if memory_format.matches(self.meta) else in_order(self, memory_format)
    return self if self.meta.contiguous else _clone(self)


def to(self: Tensor, *args: Any, memory_format: Any = None, **kwargs: Any) -> Tensor:
    """self in another dtype, on another device, in another order; itself where nothing changes."""
    got = _to(self, *args, **kwargs) if args or kwargs else self
    if memory_format is not None and _wants_order(got, memory_format):
        return got if memory_format.matches(got.meta) else in_order(got, memory_format, _CONVERTED)
    return got


TORCH["clone"] = Tensor.clone = clone  # type: ignore[attr-defined]
Tensor.contiguous, Tensor.to = contiguous, to  # type: ignore[attr-defined]


def _ordered(name: str) -> None:
    """zeros_like(...) and the like in an order of dims."""
    make = TORCH[name]

    def function(input: Tensor, *args: Any, memory_format: Any = None, **kwargs: Any) -> Tensor:
        got = make(input, *args, **kwargs)
        if memory_format is None and input.meta.contiguous:
            return got
        fmt = _format_of(input, memory_format)
        return got if fmt is None else in_order(got.detach(), fmt).requires_grad_(got._rg)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = make.__doc__
    TORCH[name] = function


for _name in ("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"):
    if _name in TORCH:
        _ordered(_name)
