"""`torch.compiler`: what steers `torch.compile`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def is_compiling() -> bool:
    """Whether code runs to be captured by `torch.compile`."""
    from facula.compiler.state import STATE

    return STATE.compiling > 0


is_dynamo_compiling = is_compiling


def is_exporting() -> bool:
    """Whether code runs to be exported: facula exports nothing."""
    return False


def disable(
    fn: Callable | None = None, recursive: bool = True, *, reason: str | None = None
) -> Any:
    """Keeps a function out of `torch.compile`: a function that calls it is not captured."""
    if fn is None:
        return lambda f: disable(f, recursive, reason=reason)
    if hasattr(fn, "_modules"):
        fn.forward = disable(fn.forward, recursive, reason=reason)  # type: ignore[attr-defined]
        return fn
    inner: Callable = getattr(fn, "_torchdynamo_orig_callable", fn)

    @functools.wraps(inner)
    def run(*args: Any, **kwargs: Any) -> Any:
        from facula.compiler.state import STATE
        from facula.graph.tape import LOCAL

        watch = LOCAL.tape.watch
        if watch is not None:
            why = f" ({reason})" if reason else ""
            watch.defeat(
                f"it calls {inner.__qualname__}, which torch.compiler.disable keeps out{why}"
            )
        before, STATE.compiling = STATE.compiling, 0
        stance, STATE.stance = STATE.stance, "force_eager"
        try:
            return inner(*args, **kwargs)
        finally:
            STATE.compiling, STATE.stance = before, stance

    return run


def reset() -> None:
    """Forgets what was captured, and the plans that were built."""
    import facula
    from facula.compiler.state import STATE

    for captured in list(STATE.known):
        captured.reset()
    facula._forget_plans()


def allow_in_graph(fn: Any) -> Any:
    """Marks a function as one to keep whole; it is returned as it is."""
    return fn


def list_backends(exclude_tags: tuple[str, ...] = ("debug", "experimental")) -> list[str]:
    """Names that `torch.compile(backend=...)` takes."""
    return ["inductor"]


def cudagraph_mark_step_begin() -> None:
    """A new step begins: of no account on CPUs."""
