"""Draws as NumPy arrays: PyTorch's CPU algorithms, in PyTorch's order.

Every function takes the generator and how many values to draw. A result is in the order in which
PyTorch visits memory: for a tensor that is not contiguous that is the order of its strides, not of
its indices. bfloat16 results are uint16 bit patterns. `dtype` is a name: "float32", "int64", ...
"""

from __future__ import annotations

import numpy as np

from facula.random import samplers
from facula.random.generator import Generator
from facula.random.transforms import normal_fill, uniform_fill

HALVES = ("float16", "bfloat16")


def round_to(x: np.ndarray, dtype: str) -> np.ndarray:
    """Floating `x` as `dtype`; to bfloat16 through float32, ties to even."""
    if dtype == "float16":
        x = x.astype(np.float32, copy=False)  # PyTorch goes through float32
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return x.astype(dtype, copy=False)
    bits = x.astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), np.uint32(0x7FC0), rounded).astype(np.uint16)


def _fill(function, generator: Generator, n: int, dtype: str, *params: float) -> np.ndarray:
    out = np.empty(n, dtype)
    function(generator.mt.engine.ctypes.data, out.ctypes.data, n, *params)
    return out


def _span(low: float, high: float, dtype: str) -> float:
    return float(np.float32(high) - np.float32(low)) if dtype == "float32" else high - low


def uniform(
    generator: Generator, n: int, dtype: str = "float32", low: float = 0.0, high: float = 1.0
) -> np.ndarray:
    """n values in [low, high): what `rand` and `uniform_` draw."""
    work = "float32" if dtype in HALVES else dtype
    x = _fill(uniform_fill(work), generator, n, work, low, high, _span(low, high, work))
    if work == dtype:
        return x
    x = round_to(x, dtype)
    end, begin = (round_to(np.array([e], np.float32), dtype) for e in (high, low))
    return np.where(x == end, begin, x)


def uniform_doubles(generator: Generator, n: int) -> np.ndarray:
    """n doubles in [0, 1) of 53 bits: what most scalar samplers start from."""
    return _fill(uniform_fill("float64"), generator, n, "float64", 0.0, 1.0, 1.0)


def scalar_normals(generator: Generator, n: int, mean: float = 0.0, std: float = 1.0) -> np.ndarray:
    """n doubles drawn one at a time, the second of a pair kept in hand.

    This is how PyTorch draws fewer than 16 values, values for a tensor that is not contiguous,
    and normals inside other samplers.
    """
    out = np.empty(n)
    engine, hand = generator.addresses
    samplers.normals(engine, hand, out.ctypes.data, n, mean, std)
    return out


def normal(
    generator: Generator,
    n: int,
    dtype: str = "float32",
    mean: float = 0.0,
    std: float = 1.0,
    contiguous: bool = True,
) -> np.ndarray:
    """n normal values: what `randn` and `normal_` draw. 16 and more are drawn in blocks."""
    if n < 16 or not contiguous:
        return round_to(scalar_normals(generator, n, mean, std), dtype)
    work = "float32" if dtype in HALVES else dtype
    fill = normal_fill(work)
    out = np.empty(n, work)
    whole = n & ~15
    fill(generator.mt.engine.ctypes.data, out.ctypes.data, whole, mean, std)
    if whole != n:  # the rest was drawn with the others; then the last 16 are drawn anew
        # (float16 and bfloat16 go straight to the last 16)
        if work == dtype:
            generator.random32((n - whole) * (out.itemsize // 4))
        last = out[n - 16 :]
        fill(generator.mt.engine.ctypes.data, last.ctypes.data, 16, mean, std)
    return round_to(out, dtype)
