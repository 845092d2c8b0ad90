"""Greatest common divisors and least common multiples, element by element in native code."""

from __future__ import annotations

import numpy as np

from facula.ops.host import each
from facula.random.scalar import Sampler, ctz, i64, i64s, sampler


@sampler
def gcd(a: i64, b: i64) -> i64:
    """Stein's algorithm: both are kept odd, and the difference loses its twos."""
    a = a if a > 0 else -a
    b = b if b > 0 else -b
    if a == 0 or b == 0:
        return a | b
    shift = ctz(a | b)
    a = a >> ctz(a)
    b = b >> ctz(b)
    while a != b:
        apart = a - b
        b = min(a, b)
        a = (apart if apart > 0 else -apart) >> ctz(apart)
    return b << shift


@sampler
def gcd_all(a: i64s, b: i64s, out: i64s, n: i64) -> None:
    """out[i] = gcd(a[i], b[i])."""
    for k in range(n):
        out[k] = gcd(a[k], b[k])


@sampler
def lcm_all(a: i64s, b: i64s, out: i64s, n: i64) -> None:
    """out[i] = lcm(a[i], b[i])."""
    for k in range(n):
        divisor = gcd(a[k], b[k])
        multiple = 0
        if divisor != 0:
            multiple = a[k] // divisor * b[k]
        out[k] = multiple
        multiple = out[k]  # as it is after an overflow
        out[k] = multiple if multiple > 0 else -multiple


_NARROW = {"a": "i32s", "b": "i32s", "out": "i32s"}
_GCD = {"int64": gcd_all, "int32": gcd_all.of(**_NARROW)}
_LCM = {"int64": lcm_all, "int32": lcm_all.of(**_NARROW)}


def _done(functions: dict[str, Sampler], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    kind = a.dtype if a.dtype.name in functions else np.dtype(np.int64)
    return each(functions[kind.name], [a, b], kind).astype(a.dtype, copy=False)


def np_gcd(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Greatest common divisors of signed integers, or unsigned ones of up to 32 bits."""
    return _done(_GCD, a, b)


def np_lcm(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Least common multiples of the same."""
    return _done(_LCM, a, b)
