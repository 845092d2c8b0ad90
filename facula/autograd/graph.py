"""Looking into the graph of derivatives, and deciding how it keeps tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from facula.autograd.node import HOOKS, Node, next_function
from facula.utils.hooks import RemovableHandle

__all__ = ["GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks",
           "get_gradient_edge", "increment_version", "region_activation_memory_budget",
           "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks", "set_override_stale_capture_stream",
           "set_warn_on_accumulate_grad_stream_mismatch"]  # fmt: skip


class saved_tensors_hooks:
    """Inside, what nodes keep goes through `pack_hook`, and comes back through `unpack_hook`."""

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]) -> None:
        self.hooks = (pack_hook, unpack_hook)

    def __enter__(self) -> None:
        if _disabled:
            raise RuntimeError(_disabled[-1])
        HOOKS.append(self.hooks)

    def __exit__(self, *exc: object) -> None:
        HOOKS.pop()


class save_on_cpu(saved_tensors_hooks):
    """Inside, what nodes keep is moved to main memory until it is needed."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda t: (t.device, t.cpu()), lambda kept: kept[1].to(kept[0]))


_disabled: list[str] = []


@contextlib.contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Inside, `saved_tensors_hooks` raises RuntimeError(error_message)."""
    _disabled.append(error_message)
    HOOKS.append((None, None))
    try:
        yield
    finally:
        HOOKS.pop()
        _disabled.pop()


class GradientEdge(NamedTuple):
    """A place in the graph: a node and the number of one of its results."""

    node: Any
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Any) -> GradientEdge:
    """Where a tensor's gradient arrives."""
    if not tensor.requires_grad:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require gradients"
        )
    return GradientEdge(*next_function(tensor if tensor._g is None else tensor._g))


@contextlib.contextmanager
def allow_mutation_on_saved_tensors() -> Iterator[Any]:
    """Inside, tensors that derivatives need may be written in place: their old values are kept.

    >>> import facula as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.autograd.graph.allow_mutation_on_saved_tensors():
    ...     y = x.clone()
    ...     z = y ** 2
    ...     _ = y.sin_()
    ...     z.sum().backward()
    >>> x.grad
    tensor([2., 2.])
    """
    HOOKS.append((_copied, lambda t: t))
    try:
        yield _AllowMutation()
    finally:
        HOOKS.pop()


def _copied(t: Any) -> Any:
    """t as it is now, at the same place in the graph."""
    kept = t.detach().clone()
    if t._rg:
        kept._rg, kept._g = True, (t.view_as(t) if t._g is None else t)._g
    return kept


class _AllowMutation:
    """What `allow_mutation_on_saved_tensors` gives."""

    def clear(self) -> None:
        """Nothing: old values go when their nodes go."""


def region_activation_memory_budget(budget: float) -> contextlib.AbstractContextManager[None]:
    """Accepted: what is kept for a backward pass does not depend on a budget."""
    if not 0 <= budget <= 1:
        raise ValueError(f"budget must be between 0 and 1, got {budget}")
    return contextlib.nullcontext()


def set_override_stale_capture_stream(enabled: bool) -> None:
    """Accepted: there are no streams."""


def set_warn_on_accumulate_grad_stream_mismatch(enabled: bool) -> None:
    """Accepted: there are no streams to mismatch."""


def increment_version(tensor: Any) -> None:
    """Says that tensors were written by other means."""
    for t in (tensor,) if hasattr(tensor, "_s") else tensor:
        t._s.version += 1


class Handle:
    """Removes several hooks at once."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        """Removes the hooks."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def register_multi_grad_hook(
    tensors: Sequence[Any], fn: Callable[..., None], *, mode: str = "all"
) -> Handle:
    """Calls fn(gradients) once all tensors' gradients are known, or fn(gradient) for the first ("any")."""
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    arrived: dict[int, Any] = {}

    def hook_of(i: int) -> Callable[[Any], None]:
        def hook(grad: Any) -> None:
            if mode == "any":
                if not arrived:
                    fn(grad)
                arrived[i] = grad
                if len(arrived) == len(tensors):
                    arrived.clear()
                return
            arrived[i] = grad
            if len(arrived) == len(tensors):
                grads = [arrived[k] for k in range(len(tensors))]
                arrived.clear()
                fn(grads)

        return hook

    return Handle([t.register_hook(hook_of(i)) for i, t in enumerate(tensors)])
