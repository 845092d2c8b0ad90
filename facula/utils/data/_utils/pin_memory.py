"""Page-locked memory for nested batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import facula
from facula.utils.data._utils.collate import _is_namedtuple, _like_mapping, _like_sequence


def pin_memory(data: Any, device: Any = None) -> Any:
    """`data` with every tensor in it pinned; objects with a `pin_memory` method decide."""
    if isinstance(data, facula.Tensor):
        return data.pin_memory()
    if hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: pin_memory(value, device) for key, value in data.items()})
    if _is_namedtuple(data):
        return type(data)(*(pin_memory(item, device) for item in data))
    if isinstance(data, tuple):
        return [pin_memory(item, device) for item in data]
    if isinstance(data, Sequence):
        return _like_sequence(data, [pin_memory(item, device) for item in data])
    return data
