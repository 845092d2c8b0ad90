"""Tools around tensors: data loading, checkpoints, hooks."""

import importlib
from typing import Any


def swap_tensors(t1: Any, t2: Any) -> None:
    """Exchanges two tensors: class, memory, history and attributes.

    >>> import facula as torch
    >>> a, b = torch.zeros(1), torch.ones(2)
    >>> torch.utils.swap_tensors(a, b)
    >>> a
    tensor([1., 1.])
    """
    for t in (t1, t2):
        if t._g is not None:
            raise RuntimeError("Cannot swap a tensor that has a history: detach it first")
    t1.__class__, t2.__class__ = t2.__class__, t1.__class__
    t1.__dict__, t2.__dict__ = t2.__dict__, t1.__dict__


def set_module(obj: Any, mod: str) -> None:
    """Sets `__module__` of an object, for shorter printing."""
    if not isinstance(mod, str):
        raise TypeError("The mod argument should be a string")
    obj.__module__ = mod


def __getattr__(name: str) -> Any:
    """Submodules are loaded when first used: importing facula stays quick."""
    if not name.startswith("__"):
        try:
            return importlib.import_module(f"facula.utils.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"facula.utils.{name}":
                raise
    raise AttributeError(f"module 'torch.utils' has no attribute '{name}'")
