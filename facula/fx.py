"""`torch.fx`: marks and types that programs mention. Tracing Python functions is not offered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Graph", "GraphModule", "Interpreter", "Node", "Proxy", "Tracer", "Transformer",
           "has_side_effect", "replace_pattern", "symbolic_trace", "wrap"]  # fmt: skip


def _refuse(name: str) -> Any:
    raise NotImplementedError(
        f"torch.fx.{name}: facula does not trace Python functions; call them as they are, "
        "facula.explain(tensor) shows what was recorded"
    )


def wrap(fn_or_name: Any) -> Any:
    """fn_or_name itself: a mark for tracers."""
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError(
            "Unsupported type for global function! Must be either a callable or string name"
        )
    return fn_or_name


def has_side_effect(fn: Callable) -> Callable:
    """fn itself: a mark for tracers."""
    return fn


def symbolic_trace(root: Any, concrete_args: dict[str, Any] | None = None) -> Any:
    """Not offered."""
    return _refuse("symbolic_trace")


def replace_pattern(gm: Any, pattern: Any, replacement: Any) -> Any:
    """Not offered."""
    return _refuse("replace_pattern")


class _Refused:
    """Not offered; the class exists for annotations and for isinstance."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse(type(self).__name__)


class Node(_Refused):
    """Not offered: one operator of a traced function."""


class Graph(_Refused):
    """Not offered: a traced function."""


class GraphModule(_Refused):
    """Not offered: a module made from a traced function."""


class Tracer(_Refused):
    """Not offered: traces functions."""


class Proxy(_Refused):
    """Not offered: stands for a value while a function is traced."""


class Interpreter(_Refused):
    """Not offered: runs a traced function node by node."""


class Transformer(_Refused):
    """Not offered: rewrites a traced function."""
