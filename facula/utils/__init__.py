"""Tools around tensors: data loading, checkpoints, hooks."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """Submodules are loaded when first used: importing facula stays quick."""
    if not name.startswith("__"):
        try:
            return importlib.import_module(f"facula.utils.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"facula.utils.{name}":
                raise
    raise AttributeError(f"module 'torch.utils' has no attribute '{name}'")
