"""Forward-mode derivatives: tangents travel by differentiating the backward pass once more."""

from __future__ import annotations

from typing import Any, NamedTuple

from facula.autograd.mode import enable_grad
from facula.autograd.node import AccumulateGrad, next_function
from facula.ops.gradients import grad
from facula.ops.printing import DUAL
from facula.ops.registry import TORCH

__all__ = [
    "UnpackedDualTensor",
    "dual_level",
    "enter_dual_level",
    "exit_dual_level",
    "make_dual",
    "unpack_dual",
]

# per level: (primal as used, its tangent, whether it needed gradients before)
_levels: list[list[tuple[Any, Any, bool]]] = []


class UnpackedDualTensor(NamedTuple):
    """A value and its tangent (None where it has none)."""

    primal: Any
    tangent: Any


def enter_dual_level() -> int:
    """Begins a level of forward-mode derivatives; levels do not nest."""
    if _levels:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _levels.append([])
    DUAL.append(_shown)
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """Ends the level: its tangents are forgotten."""
    if not _levels:
        raise RuntimeError("Trying to exit a forward AD level that was not entered")
    _levels.pop()
    DUAL.pop()


class dual_level:
    """Inside, `make_dual` gives tensors tangents that follow them through operators."""

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *exc: object) -> None:
        exit_dual_level()


def make_dual(tensor: Any, tangent: Any, *, level: int | None = None) -> Any:
    """tensor with a tangent."""
    if not _levels:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise ValueError(
            f"Expected primal to be floating point or complex, but got: {tensor.dtype}"
        )
    if tuple(tensor.shape) != tuple(tangent.shape):
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original "
            f"Tensor, this is not supported. Tensor is of size {list(tensor.shape)} while the given "
            f"forward gradient is of size {list(tangent.shape)}."
        )
    with enable_grad():
        primal = (
            tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()
        )
    _levels[-1].append((primal, tangent, tensor.requires_grad))
    return primal


def _needed(tensor: Any, pairs: list[tuple[Any, Any, bool]]) -> bool:
    """Whether the tensor needs gradients for more than the leaves that `make_dual` made."""
    made = {id(p) for p, _, before in pairs if not before}
    if any(t.requires_grad for _, t, _ in pairs):
        return True
    todo, seen = [next_function(tensor if tensor._g is None else tensor._g)[0]], set()
    while todo:
        node = todo.pop()
        if isinstance(node, AccumulateGrad):
            if id(node.variable) not in made:
                return True
        elif node is not None and id(node) not in seen:
            seen.add(id(node))
            todo.extend(n for n, _ in node.next_functions)
    return False


def _shown(tensor: Any) -> tuple[Any, Any] | None:
    """(value, tangent) for a dual tensor's repr."""
    DUAL.clear()  # the parts are shown as they are
    try:
        value, tangent = unpack_dual(tensor)
    finally:
        DUAL.append(_shown)
    if tangent is None:
        return None
    return (
        value.detach() if value is tensor and not tensor.requires_grad else value,
        tangent.detach(),
    )


def unpack_dual(tensor: Any, *, level: int | None = None) -> UnpackedDualTensor:
    """(value, tangent) of what was computed from dual tensors."""
    pairs = _levels[-1] if _levels else []
    for primal, tangent, before in pairs:
        if primal is tensor:
            return UnpackedDualTensor(tensor if before else tensor.detach(), tangent)
    if not tensor.requires_grad or not pairs:
        return UnpackedDualTensor(tensor, None)
    needed = _needed(tensor, pairs)
    value = tensor if needed else tensor.detach()
    with enable_grad():
        # any weight does, as gradients are linear in it: at 0 that of abs(weight) would be lost
        weight = TORCH["ones_like"](tensor).requires_grad_()
        grads = grad(tensor, [p for p, _, _ in pairs], weight, create_graph=True, retain_graph=True,
                     allow_unused=True)  # fmt: skip
        met = [(g, t) for g, (_, t, _) in zip(grads, pairs) if g is not None and g.requires_grad]
        if not met:
            reached = any(g is not None for g in grads)
            return UnpackedDualTensor(value, TORCH["zeros_like"](value) if reached else None)
        (got,) = grad([g for g, _ in met], weight, [t for _, t in met], retain_graph=True,
                      create_graph=needed, allow_unused=True)  # fmt: skip
    return UnpackedDualTensor(value, TORCH["zeros_like"](value) if got is None else got)
