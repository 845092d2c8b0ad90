"""DataPipes are not supported: the names exist so that modules naming them can be imported.

Classes may be derived from them; making an object of one, or using one of the helpers on
anything but a class, raises `NotImplementedError`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NoReturn

from facula.utils.data.dataset import Dataset, IterableDataset

_HINT = (
    "facula has no DataPipes ({name}); write a torch.utils.data.Dataset or IterableDataset, "
    "and load it with a DataLoader"
)


class _NoDataPipes(NotImplementedError, AttributeError):
    """Also an AttributeError, so that `hasattr` says no."""


def _refuse(name: str) -> NoReturn:
    raise _NoDataPipes(_HINT.format(name=name))


def missing(name: str) -> NoReturn:
    """For a module's `__getattr__`: names of what goes with DataPipes."""
    if name in ("graph", "graph_settings", "iter", "map", "dataframe", "datapipe", "gen_pyi"):
        _refuse(f"torch.utils.data.{name}")
    raise AttributeError(f"module 'torch.utils.data' has no attribute '{name}'")


def __getattr__(name: str) -> Any:
    missing(name)


class IterDataPipe(IterableDataset):
    __signature__ = inspect.Signature()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        _refuse(cls.__name__)

    def __iter__(self) -> Any:
        _refuse(type(self).__name__)


class DFIterDataPipe(IterDataPipe):
    pass


class MapDataPipe(Dataset):
    __signature__ = inspect.Signature()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        _refuse(cls.__name__)


class DataChunk(list):
    def __init__(self, items: Any) -> None:
        _refuse("DataChunk")


class functional_datapipe:
    """As a decorator it leaves the class as it is: no object of it can be made."""

    def __init__(self, name: str, enable_df_api_tracing: bool = False) -> None:
        self.name = name

    def __call__(self, cls: type) -> type:
        return cls


class non_deterministic:
    def __init__(self, arg: Any) -> None:
        self.cls = arg if isinstance(arg, type) else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.cls is None and len(args) == 1 and isinstance(args[0], type):
            return args[0]
        _refuse("non_deterministic")


class guaranteed_datapipes_determinism:
    def __init__(self) -> None:
        _refuse("guaranteed_datapipes_determinism")


class runtime_validation_disabled:
    def __init__(self) -> None:
        _refuse("runtime_validation_disabled")


def argument_validation(f: Callable) -> Callable:
    """Left out: the checks would run in DataPipes, which cannot be made."""
    return f


def runtime_validation(f: Callable) -> Callable:
    """Left out: the checks would run in DataPipes, which cannot be made."""
    return f
