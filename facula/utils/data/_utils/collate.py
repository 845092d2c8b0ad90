"""Samples into batches: `default_collate` and `default_convert`."""

from __future__ import annotations

import collections.abc
import contextlib
import copy
import re
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

import facula
from facula.utils.data._utils import arrays

CollateTable = dict[type | tuple[type, ...], Callable]

np_str_obj_array_pattern = re.compile(r"[SaUO]")

default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)


# -- rebuilding containers ---------------------------------------------------------------


def _is_namedtuple(data: Any) -> bool:
    return isinstance(data, tuple) and hasattr(data, "_fields")


def _like_mapping(original: Mapping, items: dict) -> Any:
    """A mapping of the type of `original` with the values of `items`."""
    with contextlib.suppress(TypeError):  # the type may not be built from a dict
        if isinstance(original, MutableMapping):
            clone = copy.copy(original)  # keeps extras such as a default_factory
            clone.update(items)
            return clone
        return type(original)(items)  # type: ignore[call-arg]
    return items


def _like_sequence(original: Sequence, items: list) -> Any:
    """A sequence of the type of `original` with these items."""
    with contextlib.suppress(TypeError):
        if isinstance(original, MutableSequence):
            clone = copy.copy(original)
            for i, item in enumerate(items):
                clone[i] = item
            return clone
        return type(original)(items)  # type: ignore[call-arg]
    return items


# -- default_convert -----------------------------------------------------------------------


def default_convert(data: Any) -> Any:
    """Turn the NumPy arrays in a nested sample into tensors; used where `batch_size=None`."""
    if isinstance(data, facula.Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        is_text = np_str_obj_array_pattern.search(data.dtype.str) is not None
        if is_text and isinstance(data, np.ndarray):
            return data
        return data if is_text else facula.as_tensor(data)
    if isinstance(data, Mapping):
        converted = {key: default_convert(value) for key, value in data.items()}
        return _like_mapping(data, converted)
    if _is_namedtuple(data):
        return type(data)(*(default_convert(item) for item in data))
    if isinstance(data, tuple):
        return [default_convert(item) for item in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like_sequence(data, [default_convert(item) for item in data])
    return data


# -- collate -------------------------------------------------------------------------------


def collate(batch: Any, *, collate_fn_map: CollateTable | None = None) -> Any:
    """Put a list of samples together; `collate_fn_map` says how, by type of the samples.

    Mappings and sequences are gone through element by element.
    """
    elem = batch[0]
    function = _function_for(elem, collate_fn_map)
    if function is not None:
        return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(elem, Mapping):
        columns = {
            key: collate([sample[key] for sample in batch], collate_fn_map=collate_fn_map)
            for key in elem
        }
        return _like_mapping(elem, columns)
    if _is_namedtuple(elem):
        columns = [
            collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch, strict=False)
        ]
        return type(elem)(*columns)
    if isinstance(elem, collections.abc.Sequence):
        if any(len(sample) != len(elem) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [
            collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch, strict=False)
        ]
        return columns if isinstance(elem, tuple) else _like_sequence(elem, columns)
    raise TypeError(default_collate_err_msg_format.format(type(elem)))


def _function_for(elem: Any, table: CollateTable | None) -> Callable | None:
    """The entry for exactly this type, or else the first one for a base of it."""
    if not table:
        return None
    exact = table.get(type(elem))
    if exact is not None:
        return exact
    return next((table[types] for types in table if isinstance(elem, types)), None)


def collate_tensor_fn(batch: Any, *, collate_fn_map: CollateTable | None = None) -> Any:
    stacked = arrays.stack(batch)
    return facula.stack(batch, 0) if stacked is None else stacked


def collate_numpy_array_fn(batch: Any, *, collate_fn_map: CollateTable | None = None) -> Any:
    elem = batch[0]
    if np_str_obj_array_pattern.search(elem.dtype.str) is not None:
        raise TypeError(default_collate_err_msg_format.format(elem.dtype))
    if (collate_fn_map or {}).get(facula.Tensor) is collate_tensor_fn:
        stacked = arrays.stack_arrays(batch)
        if stacked is not None:
            return stacked
    return collate([facula.as_tensor(array) for array in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: Any, *, collate_fn_map: CollateTable | None = None) -> Any:
    return facula.as_tensor(np.asarray(batch))


def collate_float_fn(batch: Any, *, collate_fn_map: CollateTable | None = None) -> Any:
    return facula.tensor(batch, dtype=facula.float64)


def collate_int_fn(batch: Any, *, collate_fn_map: CollateTable | None = None) -> Any:
    return facula.tensor(batch)


def collate_str_fn(batch: Any, *, collate_fn_map: CollateTable | None = None) -> Any:
    return batch


default_collate_fn_map: CollateTable = {
    facula.Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def default_collate(batch: Any) -> Any:
    """Put a list of samples together: tensors are stacked, numbers become tensors.

    >>> default_collate([{"x": 1.5, "name": "a"}, {"x": 2.5, "name": "b"}])
    {'x': tensor([1.5000, 2.5000], dtype=torch.float64), 'name': ['a', 'b']}
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
