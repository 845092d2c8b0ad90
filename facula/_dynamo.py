"""`torch._dynamo`: what programs tell PyTorch's compiler. facula needs no telling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["allow_in_graph", "assume_constant_result", "disable", "disallow_in_graph", "explain",
           "forbid_in_graph", "graph_break", "is_compiling", "mark_dynamic", "mark_static",
           "mark_static_address", "maybe_mark_dynamic", "reset"]  # fmt: skip


def is_compiling() -> bool:
    """False: Python is never traced."""
    return False


def allow_in_graph(fn: Any) -> Any:
    """fn itself."""
    return fn


def assume_constant_result(fn: Any) -> Any:
    """fn itself: it is called every time."""
    return fn


disallow_in_graph = forbid_in_graph = assume_constant_result


def disable(fn: Callable | None = None, recursive: bool = True, *, reason: str | None = None,
            wrapping: bool = True) -> Any:  # fmt: skip
    """fn itself, or a decorator that gives it back."""
    return (lambda f: f) if fn is None else fn


def graph_break(msg: str = "") -> None:
    """Nothing: there is no graph of Python to break."""


def mark_dynamic(t: Any, index: Any, *, hint_override: int | None = None, min: int | None = None,
                 max: int | None = None, specialize_on: Any = None) -> None:  # fmt: skip
    """Nothing: kernels take sizes as arguments once they have seen two."""


def maybe_mark_dynamic(t: Any, index: Any) -> None:
    """Nothing: kernels take sizes as arguments once they have seen two."""


def mark_static(t: Any, index: Any = None) -> None:
    """Nothing: kernels take sizes as arguments once they have seen two."""


def mark_static_address(t: Any, guard: bool = False) -> None:
    """Nothing: addresses are arguments of kernels."""


def reset() -> None:
    """Nothing: what was compiled stays good."""


def explain(f: Callable, *extra_args: Any, **extra_kwargs: Any) -> Any:
    """Not offered: there are no graph breaks to explain."""
    raise NotImplementedError(
        "torch._dynamo.explain: use facula.explain(tensor), which names kernels"
    )
