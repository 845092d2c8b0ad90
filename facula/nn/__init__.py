"""Layers, losses and what models are made of."""

from . import attention, functional, grad, init, modules, parallel, parameter, utils
from .modules import *
from .parallel import DataParallel
from .parameter import (
    Buffer,
    Parameter,
    UninitializedBuffer,
    UninitializedParameter,
)

_FACTORY = {"device", "dtype", "memory_format"}


def factory_kwargs(kwargs):
    """The keyword arguments of a tensor factory among those of a layer's constructor."""
    if kwargs is None:
        return {}
    chosen = {k: v for k, v in kwargs.items() if k in _FACTORY}
    nested = kwargs.get("factory_kwargs", {})
    unexpected = set(nested) - _FACTORY | set(kwargs) - _FACTORY - {"factory_kwargs"}
    if unexpected:
        raise TypeError(f"unexpected kwargs {unexpected}")
    for name in nested:
        if name in chosen:
            raise TypeError(f"{name} specified twice, in **kwargs and in factory_kwargs")
    return {**nested, **chosen}


def __getattr__(name):
    """Rooms that are loaded when first used."""
    if name == "quantized":
        import importlib

        return importlib.import_module("facula.nn.quantized")
    raise AttributeError(f"module 'torch.nn' has no attribute '{name}'")


__all__ = [
    *modules.__all__,
    "Buffer",
    "DataParallel",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "factory_kwargs",
]
