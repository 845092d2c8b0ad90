"""A context that sets names of a module, and sets them back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any


def setter(module: ModuleType, names: tuple[str, ...]) -> tuple[Callable, Callable]:
    """(set_flags, flags) of a module: the first sets its switches, the second for a while."""

    def set_flags(*args: Any, **kwargs: Any) -> tuple:
        """Sets switches, in order or by name; the values before."""
        given = dict(zip(names, args, strict=False))
        given |= {k.removeprefix("_"): v for k, v in kwargs.items()}
        before = tuple(getattr(module, n) for n in names)
        for name, value in given.items():
            if name not in names:
                raise TypeError(f"set_flags() got an unexpected keyword argument '{name}'")
            if value is not None:
                setattr(module, name, value)
        return before

    @contextlib.contextmanager
    def flags(*args: Any, **kwargs: Any) -> Iterator[None]:
        """Sets switches for a while."""
        before = set_flags(*args, **kwargs)
        try:
            yield
        finally:
            for name, value in zip(names, before, strict=True):
                setattr(module, name, value)

    return set_flags, flags


class Precision(SimpleNamespace):
    """`fp32_precision` of a kind of operator."""

    fp32_precision = "none"
