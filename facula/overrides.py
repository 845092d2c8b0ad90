"""`__torch_function__`: classes that take part in torch functions, and modes that see all of them.

Functions are wrapped when the first such class is defined or the first mode is entered; before
that they cost nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import facula as torch
from facula.ops.registry import FUNCTIONAL, NAMESPACES, TORCH
from facula.tensor import OVERRIDES, Tensor

__all__ = ["TorchFunctionMode", "enable_reentrant_dispatch", "get_default_nowrap_functions", "get_ignored_functions",
           "get_overridable_functions", "get_testing_overrides", "handle_torch_function", "has_torch_function",
           "has_torch_function_unary", "has_torch_function_variadic", "is_tensor_like", "is_tensor_method_or_property",
           "resolve_name", "wrap_torch_function"]  # fmt: skip

_disabled = [0]
_modes: list[Any] = []
_wrapped: dict[Any, Any] = {}


class DisableTorchFunctionSubclass:
    """Inside, classes are not asked; modes still are."""

    def __enter__(self) -> None:
        _disabled[0] += 1

    def __exit__(self, *exc: object) -> None:
        _disabled[0] -= 1


class DisableTorchFunction(DisableTorchFunctionSubclass):
    """Inside, neither classes nor modes are asked."""

    def __enter__(self) -> None:
        super().__enter__()
        self.modes, _modes[:] = list(_modes), []

    def __exit__(self, *exc: object) -> None:
        super().__exit__()
        _modes[:] = self.modes


def _disabled_torch_function_impl(
    cls: type, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
) -> Any:
    """For classes that want plain tensors back."""
    with DisableTorchFunctionSubclass():
        return func(*args, **(kwargs or {}))


def _convert(value: Any, cls: type) -> Any:
    """Plain tensors as instances of cls."""
    if type(value) is Tensor and cls is not Tensor:
        return value.as_subclass(cls)
    if isinstance(value, (tuple, list)):
        kind = type(value)
        parts = [_convert(v, cls) for v in value]
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
    return value


@classmethod  # type: ignore[misc]
def _default_torch_function(
    cls: type, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
) -> Any:
    """Calls func on the memory of subclasses and gives the subclass back."""
    if not all(issubclass(cls, t) for t in types):
        return NotImplemented
    with DisableTorchFunctionSubclass():
        got = func(*args, **(kwargs or {}))
    return got if func in get_default_nowrap_functions() else _convert(got, cls)


def _takes_part(x: Any) -> bool:
    cls = type(x)
    if cls is Tensor or cls.__module__.startswith("facula."):
        return False
    fn = getattr(cls, "__torch_function__", None)
    return fn is not None and getattr(fn, "__func__", fn) is not _disabled_torch_function_impl


def _candidates(args: tuple, kwargs: dict) -> list:
    found = [a for a in args if _takes_part(a)]
    for a in (*args, *kwargs.values()):
        if type(a) in (list, tuple):
            found += [b for b in a if _takes_part(b)]
    return found + [a for a in kwargs.values() if _takes_part(a)]


def _ordered(candidates: Iterable) -> list:
    """One argument per class, subclasses before their bases."""
    out: list = []
    for x in candidates:
        if any(type(x) is type(y) for y in out):
            continue
        at = next((i for i, y in enumerate(out) if issubclass(type(x), type(y))), len(out))
        out.insert(at, x)
    return out


def has_torch_function(relevant_args: Iterable) -> bool:
    """Whether an argument (or a mode) wants to handle a call."""
    return bool(_modes) or (not _disabled[0] and any(_takes_part(x) for x in relevant_args))


def has_torch_function_unary(x: Any) -> bool:
    """As `has_torch_function`, for one argument."""
    return has_torch_function((x,))


def has_torch_function_variadic(*args: Any) -> bool:
    """As `has_torch_function`, for arguments."""
    return has_torch_function(args)


def handle_torch_function(
    public_api: Callable, relevant_args: Iterable, *args: Any, **kwargs: Any
) -> Any:
    """Asks modes, then the arguments' classes, to handle a call."""
    relevant = [] if _disabled[0] else _ordered(x for x in relevant_args if _takes_part(x))
    types = tuple(type(x) for x in relevant)
    if _modes:
        mode = _modes.pop()
        try:
            got = mode.__torch_function__(public_api, types, args, kwargs)
        finally:
            _modes.append(mode)
        if got is not NotImplemented:
            return got
    for x in relevant:
        got = type(x).__torch_function__(public_api, types, args, kwargs)
        if got is not NotImplemented:
            return got
    name = f"{getattr(public_api, '__module__', '')}.{getattr(public_api, '__name__', public_api)}"
    raise TypeError(
        f"no implementation found for '{name}' on types that implement __torch_function__: {list(types)}"
    )


def wrap_torch_function(dispatcher: Callable) -> Callable:
    """Decorator: a function whose relevant arguments, as dispatcher names them, may handle it."""

    def decorate(func: Callable) -> Callable:
        @functools.wraps(func)
        def run(*args: Any, **kwargs: Any) -> Any:
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(run, relevant, *args, **kwargs)
            return func(*args, **kwargs)

        return run

    return decorate


def _wrap(fn: Callable) -> Callable:
    """fn that asks its arguments first; one wrapper per function."""
    found = _wrapped.get(fn)
    if found is not None:
        return found

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        if _modes or (_asked[0] and not _disabled[0]):
            relevant = [] if _disabled[0] else _candidates(args, kwargs)
            if relevant or _modes:
                return handle_torch_function(run, relevant, *args, **kwargs)
        return fn(*args, **kwargs)

    _wrapped[fn] = run
    return run


def asking(fn: Callable) -> Callable:
    """The form of an operator that asks its arguments, where fn was picked up before there was one."""
    try:
        return _wrapped.get(fn, fn)
    except TypeError:  # not hashable
        return fn


# what tells of a tensor without computing stays as it is
_PLAIN = frozenset(
    "__new__ __init__ __init_subclass__ __class__ __torch_function__ __getattribute__ __setattr__ __delattr__ __dir__ "
    "__subclasshook__ __hash__ __repr__ __str__ as_subclass _make_subclass _array _values __array__ __reduce_ex__ "
    "__deepcopy__ __setstate__ __reduce__ __format__ has_names is_inference".split()
)
_PLAIN_TORCH = frozenset(
    "is_tensor is_storage set_default_dtype get_default_dtype set_default_device get_default_device typename "
    "is_grad_enabled manual_seed seed initial_seed get_rng_state set_rng_state tensor".split()
)
_installed = [False]
_asked = [False]  # whether classes may take part, and not modes alone


def install() -> None:
    """Wraps every public function and method, once."""
    if _installed[0]:
        return
    _installed[0] = True
    space = vars(torch)
    for name, fn in TORCH.items():
        if (
            callable(fn)
            and not isinstance(fn, type)
            and name not in _PLAIN_TORCH
            and space.get(name) is fn
        ):
            space[name] = _wrap(fn)
    _wrap_module("facula.nn.functional", FUNCTIONAL)
    for name, table in NAMESPACES.items():
        _wrap_module("facula." + name, table)
    for name, fn in list(vars(Tensor).items()):
        if name in _PLAIN or (name.startswith("_") and not name.startswith("__")):
            continue
        if isinstance(fn, type(install)):
            setattr(Tensor, name, _wrap(fn))


def _wrap_module(path: str, table: dict) -> None:
    import importlib

    module = importlib.import_module(path)
    for name, fn in list(vars(module).items()):
        if name in table and callable(fn) and not isinstance(fn, type) and table[name] is fn:
            setattr(module, name, _wrap(fn))


def _class_defined(cls: type) -> None:
    """A subclass of Tensor outside of facula: it may take part."""
    if cls.__dict__.get("__torch_function__") is not _disabled_torch_function_impl:
        _asked[0] = True
        install()
        for name, plain in vars(Tensor).items():
            if type(plain) is property and name[0] != "_" and getattr(cls, name) is plain:
                setattr(cls, name, _asking_property(plain))


def _asking_property(plain: Any) -> property:
    """A property of Tensor in a class that takes part: `Tensor.shape.__get__` is the function asked."""
    ask = plain.__get__

    def get(self: Tensor) -> Any:
        if _disabled[0] or not _takes_part(self):
            return ask(self)
        return handle_torch_function(ask, (self,), self)

    return property(get, plain.fset, plain.fdel, plain.__doc__)


class TorchFunctionMode:
    """A context whose `__torch_function__` sees every torch function called inside."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        raise NotImplementedError

    def __enter__(self) -> TorchFunctionMode:
        _asked[0] = True
        install()
        _modes.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _modes.remove(self)

    @classmethod
    def push(cls, *args: Any, **kwargs: Any) -> Any:
        """Deprecated: an instance, to be entered."""
        return cls(*args, **kwargs)


class BaseTorchFunctionMode(TorchFunctionMode):
    """A mode that changes nothing."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


class enable_reentrant_dispatch:
    """Kept for programs that use it: calls inside a handler are dispatched again by themselves."""

    def __enter__(self) -> None:
        """Nothing to switch."""

    def __exit__(self, *exc: object) -> None:
        """Nothing to switch back."""


def is_tensor_like(inp: Any) -> bool:
    """Whether something is a tensor or has `__torch_function__`."""
    return isinstance(inp, Tensor) or hasattr(type(inp), "__torch_function__")


def get_default_nowrap_functions() -> set:
    """Functions whose results stay plain tensors."""
    return _NOWRAP


_NOWRAP: set[Any] = {Tensor.untyped_storage}


def get_ignored_functions() -> set:
    """Public functions that never ask their arguments."""
    return {TORCH[n] for n in _PLAIN_TORCH if n in TORCH}


def get_overridable_functions() -> dict:
    """{namespace: its functions that ask their arguments}."""
    methods = [f for n, f in vars(Tensor).items() if callable(f) and n not in _PLAIN]
    return {torch: [f for n, f in TORCH.items() if callable(f) and n not in _PLAIN_TORCH], Tensor: methods,
            torch.nn.functional: list(FUNCTIONAL.values())}  # fmt: skip


def get_testing_overrides() -> dict:
    """{function: one with its arguments that returns -1}."""
    return {
        f: (lambda *args, **kwargs: -1) for fns in get_overridable_functions().values() for f in fns
    }


def is_tensor_method_or_property(func: Callable) -> bool:
    """Whether func is a method or a property's getter of Tensor."""
    inner = getattr(func, "__wrapped__", func)
    return (
        any(m in (func, inner) for m in vars(Tensor).values())
        or getattr(func, "__name__", "") == "__get__"
    )


def resolve_name(f: Callable) -> str | None:
    """The public name of a function."""
    inner = getattr(f, "__wrapped__", f)
    for table, path in (
        (vars(Tensor), "torch.Tensor."),
        (TORCH, "torch."),
        (FUNCTIONAL, "torch.nn.functional."),
    ):
        for name, fn in table.items():
            if fn is f or fn is inner:
                return path + name
    return None


Tensor.__torch_function__ = _default_torch_function  # type: ignore[attr-defined]
OVERRIDES[:] = [_class_defined]
