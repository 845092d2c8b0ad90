"""Where public operators are made known: the `torch` namespace and Tensor's methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.tensor import Tensor

TORCH: dict[str, Any] = {}  # names of the top namespace
FUNCTIONAL: dict[str, Any] = {}  # names of nn.functional
NAMESPACES: dict[str, dict[str, Any]] = {"linalg": {}, "fft": {}, "special": {}}


def zeros_as(like: Tensor, *size: Any) -> Tensor:
    """Zeros of a tensor's dtype, on its device: what a derivative or an operator starts from."""
    return TORCH["zeros"](*size, dtype=like.meta.dtype, device=like.meta.device)


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
    from facula.graph.tape import next_seq
    from facula.ops.apply import before_write
    from facula.ops.inplace import write_back

    def run(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        before_write(self, args)
        since = next_seq()
        return write_back(self, fn(self, *args, **kwargs), since)

    run.__name__ = (name or fn.__name__) + "_"
    run.__qualname__ = f"Tensor.{run.__name__}"
    run.__doc__ = f"In-place version of `{name or fn.__name__}`."
    setattr(Tensor, run.__name__, run)
    return run


_C_NAMES = {
    "float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16",
    "int64": "long int", "int32": "int", "int16": "short int", "int8": "signed char",
    "uint8": "unsigned char", "bool": "bool", "complex64": "c10::complex<float>",
    "complex128": "c10::complex<double>",
}  # fmt: skip


def check_out(out: Any, *operands: Any) -> None:
    """RuntimeError where results written to `out` would meet in memory, with each other or operands."""
    from facula.ops.apply import check_disjoint, check_no_repeats

    for o in out if isinstance(out, (tuple, list)) else (out,):
        if isinstance(o, Tensor):
            check_no_repeats(o)
            check_disjoint(o, operands)


def check_out_types(result: Any, out: Any) -> None:
    """RuntimeError where `out` has another dtype than the result."""
    if out is None:
        return
    pairs = zip(result, out, strict=True) if isinstance(result, tuple) else [(result, out)]
    for r, o in pairs:
        if r.meta.dtype is not o.meta.dtype:
            want, got = _C_NAMES.get(r.meta.dtype.name), _C_NAMES.get(o.meta.dtype.name)
            raise RuntimeError(f"Expected out tensor to have dtype {want}, but got {got} instead")


def to_out(result: Any, out: Any, row_major: bool = False, exact: bool = False) -> Any:
    """Copies a result into `out=`, resized where its shape is another.

    It then gets the result's order in memory, or is row-major where that is said. `exact`: its dtype
    must be the result's, not only one that the result can be cast to.
    """
    from facula.ops.inplace import copy_out

    if out is None:
        return result
    if exact:
        check_out_types(result, out)
    return copy_out(result, out, row_major)
