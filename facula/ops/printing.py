"""How tensors are shown: repr, str, format."""

from __future__ import annotations

from collections.abc import Callable

from facula.graph import dtypes as dt
from facula.graph.meta import META
from facula.ops.registry import TORCH
from facula.printing import format_tensor, get_printoptions, printoptions, set_printoptions
from facula.tensor import Tensor

TORCH["set_printoptions"] = set_printoptions


def grad_fn_text(t: Tensor) -> str | None:
    """The name of the node that made t, as repr shows it."""
    node = t.grad_fn
    return None if node is None else type(node).__name__


def show(t: Tensor, tensor_contents: str | None = None) -> str:
    """PyTorch's repr."""
    m = t.meta
    meta = m.device is META
    kind = type(t)
    plain = kind is Tensor
    if DUAL and t._rg:
        dual = DUAL[0](t)
        if dual is not None:
            return _show_dual(*dual, tensor_contents)
    parameter = not plain and kind.__name__ == "Parameter"
    return format_tensor(
        None if meta else t.detach()._values(),
        m.dtype.name,
        shape=tuple(m.shape),
        default_dtype=dt.default_dtype().name,
        device="meta" if meta else None,
        requires_grad=t._rg,
        grad_fn=grad_fn_text(t),
        is_parameter=parameter,
        class_name=None if plain or parameter else kind.__name__,
        tensor_contents=tensor_contents,
    )


# what tells the value and the tangent of a tensor; there while a level of forward-mode derivatives is
DUAL: list[Callable[[Tensor], tuple[Tensor, Tensor] | None]] = []


def _show_dual(value: Tensor, tangent: Tensor, tensor_contents: str | None) -> str:
    m = value.meta
    return format_tensor(
        value.detach()._values(),
        m.dtype.name,
        shape=tuple(m.shape),
        default_dtype=dt.default_dtype().name,
        requires_grad=value._rg,
        grad_fn=grad_fn_text(value),
        tensor_contents=tensor_contents,
        tangent=show(tangent),
    )


def _repr(self: Tensor, *, tensor_contents: str | None = None) -> str:
    return show(self, tensor_contents)


def _format(self: Tensor, format_spec: str) -> str:
    if self.meta.ndim == 0 and self.meta.device is not META and type(self) is Tensor:
        return self.item().__format__(format_spec)
    return object.__format__(self, format_spec)


Tensor.__repr__ = Tensor.__str__ = _repr  # type: ignore[method-assign, assignment]
Tensor.__format__ = _format  # type: ignore[method-assign, assignment]

__all__ = ["get_printoptions", "printoptions", "show"]
