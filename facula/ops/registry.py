"""Where public operators are made known: the `torch` namespace and Tensor's methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.tensor import Tensor

TORCH: dict[str, Any] = {}  # names of the top namespace
FUNCTIONAL: dict[str, Any] = {}  # names of nn.functional
NAMESPACES: dict[str, dict[str, Any]] = {"linalg": {}, "fft": {}, "special": {}}


def torch_function(fn: Callable, *names: str) -> Callable:
    """Makes fn known as `torch.<name>`."""
    for name in names or (fn.__name__,):
        TORCH[name] = fn
    return fn


def method(fn: Callable, *names: str) -> Callable:
    """Makes fn a method of Tensor."""
    for name in names or (fn.__name__,):
        setattr(Tensor, name, fn)
    return fn


def both(*names: str) -> Callable[[Callable], Callable]:
    """Decorator: a torch function and a Tensor method, under the given names (default: its own)."""

    def register(fn: Callable) -> Callable:
        for name in names or (
            fn.__name__.rstrip("_") if fn.__name__.endswith("__") else fn.__name__,
        ):
            TORCH[name] = fn
            setattr(Tensor, name, fn)
        return fn

    return register


def only_torch(*names: str) -> Callable[[Callable], Callable]:
    """Decorator: a torch function."""
    return lambda fn: torch_function(fn, *names)


def only_method(*names: str) -> Callable[[Callable], Callable]:
    """Decorator: a Tensor method."""
    return lambda fn: method(fn, *names)


def functional(*names: str) -> Callable[[Callable], Callable]:
    """Decorator: a function of nn.functional."""

    def register(fn: Callable) -> Callable:
        for name in names or (fn.__name__,):
            FUNCTIONAL[name] = fn
        return fn

    return register


def namespace(space: str, *names: str) -> Callable[[Callable], Callable]:
    """Decorator: a function of linalg, fft or special."""

    def register(fn: Callable) -> Callable:
        for name in names or (fn.__name__,):
            NAMESPACES[space][name] = fn
        return fn

    return register


def inplace(fn: Callable, name: str | None = None) -> Callable:
    """The `_` variant of an out-of-place function: computes, checks, writes back."""
    from facula.autograd.node import next_seq
    from facula.ops.apply import check_overlap
    from facula.ops.inplace import write_back

    def run(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_overlap(self, args)
        since = next_seq()
        return write_back(self, fn(self, *args, **kwargs), since)

    run.__name__ = (name or fn.__name__) + "_"
    run.__qualname__ = f"Tensor.{run.__name__}"
    run.__doc__ = f"In-place version of `{name or fn.__name__}`."
    setattr(Tensor, run.__name__, run)
    return run


def to_out(result: Any, out: Any) -> Any:
    """Copies a result into `out=`, resized where its shape is another."""
    from facula.ops.inplace import copy_out

    return result if out is None else copy_out(result, out)
