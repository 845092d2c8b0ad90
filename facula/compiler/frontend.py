"""`torch.compile`: a function is captured once for each kind of call, and replayed.

What is captured is what the function records, as one operator, with its derivative as another one.
A replay checks the guards and records that operator; nothing of the function's Python runs. Where a call
cannot be captured, the function runs as it always does. docs/guide/compile.md has the contract.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from facula import config
from facula.compiler.capture import Attempt, Watch
from facula.compiler.observe import Observer
from facula.compiler.state import COUNTERS, STATE, Unsupported
from facula.graph.collection import uncollected
from facula.graph.tape import LOCAL
from facula.tensor import Tensor

_BACKENDS = ("inductor", "eager", "aot_eager", "cudagraphs")
_MODES = (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")

# a function is captured for this many kinds of call; further ones run as always
RECOMPILE_LIMIT = 8
# and this many kinds of call are looked at
KINDS_LIMIT = 64


def compile(model: Callable | None = None, *, fullgraph: bool = False, dynamic: bool | None = None,
            backend: str | Callable | None = None, mode: str | None = None,
            options: dict[str, Any] | None = None, name: str | None = None,
            disable: bool = False, recompile_limit: int | None = None,
            isolate_recompiles: bool = False, shapes_spec: Any = None) -> Any:  # fmt: skip
    """A callable that does what model does, captured for each kind of call and then replayed.

    model: a function or module; without it a decorator is returned. The second call of a kind
    (shapes, dtypes, flags, plain values) is captured, later ones are replayed. fullgraph: RuntimeError where a
    call cannot be captured, instead of running it as always. recompile_limit: how many kinds are captured
    (8 without it). The other options are checked as PyTorch checks them and have no effect.

    >>> import facula as torch
    >>> f = torch.compile(lambda x: (x + 1).relu())
    >>> f(torch.tensor([-2., 2.]))
    tensor([0., 3.])
    """
    if mode is not None and options is not None:
        raise RuntimeError(
            "Either mode or options can be specified, but both can't be specified at the same time."
        )
    if isinstance(backend, str) and backend not in _BACKENDS:
        raise RuntimeError(f"Invalid backend: {backend!r}, expected one of {list(_BACKENDS)}")
    if mode not in _MODES:
        raise RuntimeError(
            f"Unrecognized mode={mode}, should be one of {', '.join(map(str, _MODES[1:]))}"
        )
    if model is None:
        return lambda fn: compile(fn, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode,
                                  options=options, name=name, disable=disable, recompile_limit=recompile_limit,
                                  isolate_recompiles=isolate_recompiles, shapes_spec=shapes_spec)  # fmt: skip
    if not callable(model):
        raise AssertionError(f"A callable function is expected, but {type(model)} is provided.")
    if disable:
        return model
    if hasattr(model, "_modules"):
        from facula.compiler.module import optimized

        return optimized(model, fullgraph, dynamic, recompile_limit)
    return compiled(model, fullgraph, dynamic, recompile_limit)


class Captured:
    """The captures of one function."""

    def __init__(
        self, fn: Callable, fullgraph: bool, dynamic: bool | None, limit: int | None
    ) -> None:
        self.fn, self.fullgraph, self.dynamic = fn, fullgraph, dynamic is not False
        self.limit = RECOMPILE_LIMIT if limit is None else limit
        self.reset()
        STATE.known.add(self)

    def reset(self) -> None:
        """Forgets all captures."""
        self.entries: list[tuple[Callable, Callable]] = []
        self.observer = Observer()
        self.calls: dict[Any, int] = {}  # kind of call -> how often it was seen; -1: not captured
        self.reasons: list[str] = []
        self.tries = 0
        # of captures that depend on floats: what they recorded, and their guards
        self.samples: dict[Any, Any] = {}
        self.checks: dict[Any, Any] = {}
        self.closed = False  # no more captures

    def miss(self, args: tuple, kwargs: dict) -> Any:
        """A call that no capture fits."""
        kind = _kind_of(args, kwargs)
        seen = self.calls.get(kind, 0)
        if seen < 0 or not _may_capture():
            return self.fn(*args, **kwargs)
        if self.tries >= self.limit or len(self.calls) >= KINDS_LIMIT:
            self.closed = True
            return self.fn(*args, **kwargs)
        self.calls[kind] = seen + 1
        STATE.compiling += 1
        # what others have called at each collection (Hypothesis reads a clock) is not the function's doing
        with uncollected():
            try:
                if not seen:
                    return self._observe(kind, args, kwargs)
                return self._capture(kind, args, kwargs)
            finally:
                STATE.compiling -= 1

    def _observe(self, kind: Any, args: tuple, kwargs: dict) -> Any:
        watch = Watch()
        with self.observer.watching(watch):
            result = self.fn(*args, **kwargs)
        if watch.defeated is not None:
            self._give_up(kind, watch.defeated)
        return result

    def _capture(self, kind: Any, args: tuple, kwargs: dict) -> Any:
        self.tries += 1
        earlier = self.samples.get(kind) if self.dynamic else None
        attempt = Attempt(self.fn, self.observer, earlier)
        result = attempt.run(args, kwargs)
        if attempt.entry is None:
            self._give_up(kind, attempt.watch.defeated or "unknown")
        else:
            COUNTERS["captures"] += 1
            if attempt.dynamic:  # for all floats: the capture for one of them is not needed
                self.entries = [e for e in self.entries if e[0] is not self.checks[kind]]
                self.tries -= 1
            self.entries.insert(0, attempt.entry)
            if attempt.earlier is None:
                self.samples[kind], self.checks[kind] = attempt.sample, attempt.entry[0]
            else:  # it was tried once
                self.samples[kind] = None
        return result

    def _give_up(self, kind: Any, reason: str) -> None:
        self.calls[kind] = -1
        self.reasons.append(reason)
        COUNTERS["graph_breaks"] += 1
        if self.fullgraph:
            raise Unsupported(
                f"{_name(self.fn)} cannot be captured as one graph: {reason}. Without fullgraph=True "
                "it runs as it does without torch.compile."
            )


def compiled(
    fn: Callable, fullgraph: bool = False, dynamic: bool | None = None, limit: int | None = None
) -> Callable:
    """fn behind its captures."""
    captured = Captured(fn, fullgraph, dynamic, limit)
    miss, local, state = captured.miss, LOCAL, STATE

    def run(*args: Any, **kwargs: Any) -> Any:
        if local.tape.watch is not None or state.compiling or state.stance:
            return fn(*args, **kwargs)
        for check, replay in captured.entries:
            found = check(args, kwargs)
            if found is not None:
                return replay(found)
        return fn(*args, **kwargs) if captured.closed else miss(args, kwargs)

    functools.update_wrapper(run, fn)
    run._torchdynamo_orig_callable = fn  # type: ignore[attr-defined]
    run._captured = captured  # type: ignore[attr-defined]
    return run


def _name(fn: Callable) -> str:
    return getattr(fn, "__qualname__", type(fn).__name__)


def _may_capture() -> bool:
    overrides = sys.modules.get("facula.overrides")
    return not (config.EAGER or (overrides is not None and overrides._modes))


def _kind_of(args: tuple, kwargs: dict) -> Any:
    """What calls have in common that may share a capture."""
    tape = LOCAL.tape
    flags = []
    try:
        key = (tape.grad, *map(_part, args), *((k, _part(v)) for k, v in kwargs.items()), *flags)
        hash(key)
    except TypeError:
        return "other"
    return key


def _part(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x.meta, x._rg
    kind = type(x)
    if kind in (list, tuple):
        return (kind, *map(_part, x))
    if kind is dict:
        return (kind, *((k, _part(v)) for k, v in x.items()))
    if kind is float:
        return kind  # captures tell whether the value matters
    return (kind, x) if isinstance(x, (int, float, str, bool, type(None))) else (kind, id(x))
