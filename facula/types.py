"""Types for annotations."""

from __future__ import annotations

import builtins
import os
from typing import IO, Any

import facula as torch
from facula import Tensor, device, dtype, layout
from facula.storage import TypedStorage, UntypedStorage

__all__ = ["Device", "FileLike", "Number", "Storage"]

_TensorOrTensors = Tensor | tuple[Tensor, ...]
_TensorOrOptionalTensors = Tensor | tuple[Tensor | None, ...]
_dtype, _device, _layout, _size = dtype, device, layout, torch.Size | list[int] | tuple[int, ...]
_int, _float, _bool, _complex = builtins.int, builtins.float, builtins.bool, builtins.complex
Number = int | float | bool
_Number = (int, float, bool)
Device = device | str | int | None
FileLike = str | os.PathLike[str] | IO[bytes]
Storage = TypedStorage | UntypedStorage
_symint = int
_qscheme = Any
