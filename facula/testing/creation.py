"""`make_tensor`: random tensors for tests."""

from __future__ import annotations

import math
from typing import Any

import facula as torch

_RANGES = {"bool": (0, 2), "uint8": (0, 10)}


def make_tensor(*shape: Any, dtype: Any, device: Any, low: float | None = None, high: float | None = None,
                requires_grad: bool = False, noncontiguous: bool = False, exclude_zero: bool = False,
                memory_format: Any = None) -> Any:  # fmt: skip
    """A tensor of uniform random numbers in [low, high)."""
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    floating = dtype.is_floating_point or dtype.is_complex
    if requires_grad and not floating:
        raise ValueError(
            f"`requires_grad=True` is not supported for boolean and integral dtypes, but got {dtype=}"
        )
    default = _RANGES.get(str(dtype).rpartition(".")[2], (-9.0, 9.0) if floating else (-9, 10))
    low = default[0] if low is None else low
    high = default[1] if high is None else high
    if not floating:
        low, high = math.ceil(low), math.ceil(high)
    if low > high or (low == high and not floating):
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    if noncontiguous and memory_format is not None:
        raise ValueError(
            "The parameters `noncontiguous` and `memory_format` are mutually exclusive"
        )
    size = (
        (*shape[:-1], 2 * shape[-1]) if noncontiguous and shape and math.prod(shape) > 1 else shape
    )
    if dtype.is_complex:
        part = torch.float64 if dtype is torch.complex128 else torch.float32
        parts = [torch.rand(size, dtype=part) * (high - low) + low for _ in range(2)]
        made = torch.complex(*parts).to(dtype)
    elif dtype.is_floating_point:
        made = (
            torch.rand(size, dtype=torch.float64 if dtype is torch.float64 else torch.float32)
            * (high - low)
            + low
        ).to(dtype)
    else:
        made = torch.randint(int(low), int(high), size, dtype=torch.int64).to(dtype)
    if size != shape:
        made = made[..., ::2]
    made = made.to(device)
    if exclude_zero:
        made[made == 0] = 1 if not floating else torch.finfo(dtype).tiny
    return made.requires_grad_() if requires_grad else made
