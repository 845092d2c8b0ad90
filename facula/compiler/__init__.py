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


class set_stance:
    """Sets what compiled functions do: 'default', or 'force_eager' (run as without torch.compile).

    At once; as a context manager, until its end. Also a decorator.

    >>> import facula as torch
    >>> with torch.compiler.set_stance("force_eager"):
    ...     torch.compile(lambda x: x + 1)(torch.ones(1))
    tensor([2.])
    """

    def __init__(self, stance: str = "default", *, skip_guard_eval_unsafe: bool = False,
                 force_backend: Any = None) -> None:  # fmt: skip
        from facula.compiler.state import STATE

        if stance not in ("default", "force_eager"):
            known = (
                "eager_on_recompile",
                "fail_on_recompile",
                "eager_then_compile",
                "aot_eager_then_compile",
            )
            kind = NotImplementedError if stance in known else RuntimeError
            raise kind(f"set_stance: {stance!r} is not there; use 'default' or 'force_eager'")
        if skip_guard_eval_unsafe or force_backend is not None:
            raise NotImplementedError("set_stance: only the stance itself can be set")
        self.stance = "" if stance == "default" else stance
        self.before, STATE.stance = STATE.stance, self.stance

    def __enter__(self) -> None:
        from facula.compiler.state import STATE

        STATE.stance = self.stance

    def __exit__(self, *exc: object) -> None:
        from facula.compiler.state import STATE

        STATE.stance = self.before

    def __call__(self, fn: Callable) -> Callable:
        self.__exit__()

        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            with set_stance(self.stance or "default"):
                return fn(*args, **kwargs)

        return run


def allow_in_graph(fn: Any) -> Any:
    """Marks a function as one to keep whole; it is returned as it is."""
    return fn


def list_backends(exclude_tags: tuple[str, ...] = ("debug", "experimental")) -> list[str]:
    """Names that `torch.compile(backend=...)` takes."""
    return ["inductor"]


def cudagraph_mark_step_begin() -> None:
    """A new step begins: of no account on CPUs."""
