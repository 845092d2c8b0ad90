"""Whether numbers go into a dtype: PyTorch refuses those that would overflow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.dtypes import dtype

_C_NAMES = {"float32": "float", "float64": "double", "float16": "c10::Half",
            "bfloat16": "c10::BFloat16", "int64": "int64_t", "int32": "int", "int16": "int16_t",
            "int8": "int8_t", "uint8": "uint8_t"}  # fmt: skip


def check_fits(value: Any, d: dtype) -> None:
    """RuntimeError in PyTorch's words where a number does not go into d."""
    kind = type(value)
    if d.kind == "f" and (kind is float or kind is int) and -1e4 < value < 1e4:
        return  # mostly: no need to look up the limits
    wrong = isinstance(value, complex) and d.kind != "c"
    if d.kind in "iu" and not wrong:
        limits = dt.iinfo(d)
        # a negative number goes into an unsigned type by its remainder
        low = limits.min or -limits.max
        wrong = not (math.isfinite(value) and low <= int(value) <= limits.max)
    elif d.kind == "f" and not wrong:
        wrong = abs(value) > dt.finfo(d).max and not math.isinf(value)
    if wrong:
        name = _C_NAMES.get(d.name, d.name)
        raise RuntimeError(f"value cannot be converted to type {name} without overflow")


def check_range(values: np.ndarray, d: dtype) -> None:
    """The same for the numbers of nested sequences, in the words that `tensor` has for it."""
    if values.dtype.kind == "c" and d.kind in "iuf":
        raise TypeError(
            "must be real number, not complex"
            if d.kind == "f"
            else "'complex' object cannot be interpreted as an integer"
        )
    if d.kind not in "iu" or values.dtype.kind == "b" or not values.size:
        return
    limits = dt.iinfo(d)
    low, high = limits.min or -limits.max, limits.max
    if values.dtype.kind == "f":
        values = np.trunc(values)
        # in floats 2 ** 63 - 1 is 2 ** 63: too large itself
        inside = (values >= low) & ((values <= high) if high < 1 << 53 else (values < float(high)))
    elif high >= (1 << 63) - 1:
        return
    else:
        inside = (values >= low) & (values <= high)
    if not inside.all():
        raise RuntimeError(f"value cannot be converted to type {d.name} without overflow")
