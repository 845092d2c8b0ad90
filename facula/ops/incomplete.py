"""The regularised incomplete gamma functions, element by element in native code."""

from __future__ import annotations

import math
from math import exp, fabs, lgamma, log

import numpy as np

from facula.random.native import in_parts
from facula.random.scalar import f64, f64s, i64, sampler

INFINITY, NAN = math.inf, math.nan
TERMS = 2000  # as many as are ever computed
TINY = 1e-300  # instead of a 0 that would be divided by


@sampler
def lower_series(a: f64, x: f64, small: f64) -> f64:
    """Power series of the lower function, without its factor: for x < a + 1."""
    term = 1.0 / a
    total = term
    n = a
    for _ in range(TERMS):
        n = n + 1.0
        term = term * (x / n)  # so that divisions need not wait for each other
        total = total + term
        if term * x <= total * small * (n + 1.0 - x):  # what is left of a geometric series
            break
    return total


@sampler
def upper_fraction(a: f64, x: f64, small: f64) -> f64:
    """Continued fraction of the upper function, without its factor, by Lentz's method."""
    b = x + 1.0 - a
    c = 1.0 / TINY
    d = 1.0 / (b if b != 0.0 else TINY)
    h = d
    for k in range(1, TERMS):
        an = (a - k) * k
        b = b + 2.0
        d = an * d + b
        d = 1.0 / (d if fabs(d) >= TINY else TINY)
        c = b + an / c
        c = c if fabs(c) >= TINY else TINY
        step = d * c
        h = h * step
        if fabs(step - 1.0) < small:
            break
    return h


@sampler
def regularised(a: f64, x: f64, upper: i64, small: f64) -> f64:
    """Q(a, x) if upper, else P(a, x)."""
    # which of two special values counts, NaN among them, is as in PyTorch
    if x < 0.0 or a < 0.0:
        return NAN
    if a == 0.0:
        return 1 - upper if x > 0.0 else NAN
    if x == 0.0:
        return upper
    if a == INFINITY:
        return NAN if x == INFINITY else float(upper)
    if x == INFINITY:
        return 1 - upper
    factor = exp(a * log(x) - x - lgamma(a))
    if x < a + 1.0:
        low = lower_series(a, x, small) * factor
        return 1.0 - low if upper else low
    high = upper_fraction(a, x, small) * factor
    return high if upper else 1.0 - high


@sampler
def regularised_all(a: f64s, x: f64s, out: f64s, n: i64, upper: i64, small: f64) -> None:
    for k in range(n):
        out[k] = regularised(a[k], x[k], upper, small)


def incomplete_gamma(a: np.ndarray, x: np.ndarray, upper: bool) -> np.ndarray:
    """P(a, x), or Q(a, x) if upper, in float64, exact enough for the arguments' dtype.

    a, x: arrays of one shape.
    """
    small = 1e-16 if a.dtype == np.float64 else 1e-9
    a, x = (np.ascontiguousarray(v, np.float64) for v in (a, x))
    out = np.empty(a.shape)
    starts = [v.ctypes.data for v in (a, x, out)]

    def part(first: int, last: int) -> None:
        at = [start + 8 * first for start in starts]
        regularised_all(*at, last - first, int(upper), small)

    in_parts(out.size, part)
    return out
