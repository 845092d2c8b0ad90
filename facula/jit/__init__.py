"""TorchScript is not there: facula compiles what runs. Its marks on code are accepted.

As in PyTorch, PYTORCH_JIT=0 in the environment makes `script` and `trace` return what they get.
"""

from __future__ import annotations

import builtins
import functools
import os
import typing
from collections.abc import Callable
from typing import Any, Final

from facula import nn
from facula.futures import Future

__all__ = [
    "Attribute", "CompilationUnit", "Error", "Final", "Future", "ScriptFunction", "ScriptModule",
    "TracerWarning", "annotate", "enable_onednn_fusion", "export", "export_opnames", "fork",
    "freeze", "ignore", "interface", "is_scripting", "is_tracing", "isinstance", "load",
    "onednn_fusion_enabled", "optimize_for_inference", "optimized_execution", "save", "script",
    "script_if_tracing", "set_fusion_strategy", "strict_fusion", "trace", "trace_module", "unused",
    "wait",
]  # fmt: skip

_enabled = os.environ.get("PYTORCH_JIT", "1") not in ("0", "")


class Error(RuntimeError):
    """An error of TorchScript's interpreter."""


class TracerWarning(Warning):
    """A warning of TorchScript's tracer."""

    @staticmethod
    def ignore_lib_warnings() -> None:
        """There are none."""


class ScriptModule(nn.Module):
    """What `script` and `load` give in PyTorch; here only a name for annotations and isinstance."""

    def __init__(self) -> None:
        raise _missing("ScriptModule")


class ScriptFunction:
    """What `script` gives for a function in PyTorch; here only a name."""

    def __init__(self, *args: Any) -> None:
        raise _missing("ScriptFunction")


RecursiveScriptModule = TopLevelTracedModule = TracedModule = ScriptModule


class CompilationUnit:
    """TorchScript source, compiled: not there."""

    def __init__(self, lang: Any = None, _frames_up: int = 0) -> None:
        if lang is not None:
            raise _missing("CompilationUnit")


class Attribute(typing.NamedTuple):
    """A value with its TorchScript type."""

    value: Any
    type: Any


def _missing(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"torch.jit.{name}: TorchScript is not available. Leave the call out (operators are compiled "
        "as they run), or set PYTORCH_JIT=0, with which script and trace return what they get. To "
        "keep a model use torch.save(model.state_dict())"
    )


def script(
    obj: Any,
    optimize: None = None,
    _frames_up: int = 0,
    _rcb: Callable[[str], Any] | None = None,
    example_inputs: list[tuple] | dict[Callable, list[tuple]] | None = None,
) -> Any:
    """obj itself with PYTORCH_JIT=0, as in PyTorch; otherwise an error that says so."""
    if _enabled:
        raise _missing("script")
    return obj


def trace(func: Any, *args: Any, **kwargs: Any) -> Any:
    """func itself with PYTORCH_JIT=0, as in PyTorch; otherwise an error that says so."""
    if _enabled:
        raise _missing("trace")
    return func


def trace_module(mod: Any, *args: Any, **kwargs: Any) -> Any:
    """mod itself with PYTORCH_JIT=0, as in PyTorch; otherwise an error that says so."""
    return trace(mod)


def script_if_tracing(fn: Callable) -> Callable:
    """Nothing is ever traced, so fn itself runs."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


_script_if_tracing = script_if_tracing


def _not_there(name: str) -> Callable:
    def function(*args: Any, **kwargs: Any) -> Any:
        raise _missing(name)

    function.__name__ = name
    function.__doc__ = "Not there: see `script`."
    return function


save, load, freeze = _not_there("save"), _not_there("load"), _not_there("freeze")
optimize_for_inference = _not_there("optimize_for_inference")
export_opnames = _not_there("export_opnames")


def is_scripting() -> bool:
    """Whether TorchScript compiles this code: never."""
    return False


def is_tracing() -> bool:
    """Whether a tracer runs this code: never."""
    return False


def export(fn: Callable) -> Callable:
    """Marks a method for TorchScript; it stays as it is."""
    return fn


def unused(fn: Callable) -> Callable:
    """Marks a method that TorchScript shall leave out; it stays as it is."""
    return fn


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """Marks a method that TorchScript shall leave to Python; it stays as it is."""
    return drop if callable(drop) else lambda fn: fn


def interface(obj: Any) -> Any:
    """Marks a class as an interface; it stays as it is."""
    return obj


def _overload(func: Callable) -> Callable:
    return func


_overload_method = _overload


def annotate(the_type: Any, the_value: Any) -> Any:
    """the_value itself: types matter to TorchScript only."""
    return the_value


def isinstance(obj: Any, target_type: Any) -> bool:
    """Whether obj is of a type; generic containers are checked with their elements."""
    if builtins.isinstance(target_type, tuple):
        return any(isinstance(obj, t) for t in target_type)
    origin, given = typing.get_origin(target_type), typing.get_args(target_type)
    if origin is None:
        return obj is None if target_type is None else builtins.isinstance(obj, target_type)
    if origin is typing.Union:
        return any(isinstance(obj, t) for t in given)
    if not builtins.isinstance(obj, origin):
        return False
    if origin is tuple:
        return len(obj) == len(given) and all(
            isinstance(o, t) for o, t in zip(obj, given, strict=True)
        )
    if origin is dict:
        return all(isinstance(k, given[0]) and isinstance(v, given[1]) for k, v in obj.items())
    return all(isinstance(o, given[0]) for o in obj)


def fork(func: Callable, *args: Any, **kwargs: Any) -> Future:
    """Calls func at once, as PyTorch does outside of TorchScript."""
    future = Future()
    future.set_result(func(*args, **kwargs))
    return future


def wait(future: Future) -> Any:
    """The value of a `fork`."""
    return future.wait()


def set_fusion_strategy(strategy: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Settings of TorchScript's fuser, which is not there."""
    return []


def enable_onednn_fusion(enabled: bool) -> None:
    """A setting of TorchScript's fuser, which is not there."""


def onednn_fusion_enabled() -> bool:
    """False."""
    return False


class optimized_execution:
    """A setting of TorchScript's interpreter, which is not there."""

    def __init__(self, should_optimize: bool) -> None:
        pass

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: Any) -> None:
        return None


class strict_fusion(optimized_execution):
    """Outside of TorchScript this has no effect in PyTorch either."""

    def __init__(self) -> None:
        pass
