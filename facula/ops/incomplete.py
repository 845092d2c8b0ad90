"""The regularised incomplete gamma functions, element by element in native code."""

from __future__ import annotations

import math
from math import exp, fabs, lgamma, log

import numpy as np

from facula.ops.host import each
from facula.random.scalar import f64, f64s, i64, sampler

INFINITY, NAN = math.inf, math.nan
TERMS = 2000  # as many as are ever computed
LARGE = 2.0**200  # numerators and denominators beyond are made smaller


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
    """Continued fraction of the upper function, without its factor, by its convergents."""
    y = 1.0 - a
    z = x + y + 1.0
    top_before = 1.0
    bottom_before = x
    top = x + 1.0
    bottom = z * x
    for k in range(1, TERMS):
        y = y + 1.0
        z = z + 2.0
        next_top = top * z - top_before * (y * k)
        next_bottom = bottom * z - bottom_before * (y * k)
        # the quotients' difference, without dividing
        cross = next_top * bottom
        still = fabs(top * next_bottom - cross) > small * fabs(cross)
        top_before = top
        bottom_before = bottom
        top = next_top
        bottom = next_bottom
        if not still:
            break
        if fabs(bottom) > LARGE:
            top_before = top_before / LARGE
            bottom_before = bottom_before / LARGE
            top = top / LARGE
            bottom = bottom / LARGE
    return top / bottom


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
    """out[k] = P(a[k], x[k]), or Q if upper; terms below `small` end a series."""
    for k in range(n):
        out[k] = regularised(a[k], x[k], upper, small)


_REGULARISED = {
    "float64": regularised_all,
    "float32": regularised_all.of(a="f32s", x="f32s", out="f32s"),
}


def incomplete_gamma(a: np.ndarray, x: np.ndarray, upper: bool) -> np.ndarray:
    """P(a, x), or Q(a, x) if upper, in float32 or float64.

    a, x: arrays of one shape.
    """
    small = 1e-16 if a.dtype == np.float64 else 1e-9
    kind = np.dtype(np.float32 if a.dtype == np.float32 else np.float64)
    return each(_REGULARISED[kind.name], [a, x], kind, int(upper), small)
