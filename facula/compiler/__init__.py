"""`torch.compiler`: facula compiles whatever it evaluates, so these have little left to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def is_compiling() -> bool:
    """Whether code runs inside a tracing compiler: facula traces by running."""
    return False


is_dynamo_compiling = is_exporting = is_compiling


def disable(
    fn: Callable | None = None, recursive: bool = True, *, reason: str | None = None
) -> Any:
    """Keeps a function out of `torch.compile`; it is returned as it is."""
    return (lambda f: f) if fn is None else fn


def reset() -> None:
    """Forgets the plans that were built."""
    import facula

    facula._forget_plans()


def allow_in_graph(fn: Any) -> Any:
    """Marks a function as one to keep whole; it is returned as it is."""
    return fn


def list_backends(exclude_tags: tuple[str, ...] = ("debug", "experimental")) -> list[str]:
    """Names that `torch.compile(backend=...)` takes."""
    return ["inductor"]


def cudagraph_mark_step_begin() -> None:
    """A new step begins: of no account on CPUs."""
