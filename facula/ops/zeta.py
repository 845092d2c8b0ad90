"""Hurwitz's zeta function and the polygamma functions, element by element in native code."""

from __future__ import annotations

import math
from math import floor, pow

import numpy as np

from facula.ops.host import each
from facula.random.scalar import f64, f64s, i64, sampler

INFINITY, NAN = math.inf, math.nan


@sampler
def tail(s: f64, a: f64) -> f64:
    """The sum of (a + k)^-s over k >= 0 for large a: the Euler-Maclaurin formula, over a^-s."""
    total = a / (s - 1.0) + 0.5
    factor = s / a
    step = 1.0 / (a * a)
    # B(2k) / (2k)!
    total = total + factor * 0.08333333333333333
    factor = factor * (s + 1.0) * (s + 2.0) * step
    total = total - factor * 0.001388888888888889
    factor = factor * (s + 3.0) * (s + 4.0) * step
    total = total + factor * 3.306878306878307e-05
    factor = factor * (s + 5.0) * (s + 6.0) * step
    total = total - factor * 8.267195767195768e-07
    factor = factor * (s + 7.0) * (s + 8.0) * step
    total = total + factor * 2.08767569878681e-08
    factor = factor * (s + 9.0) * (s + 10.0) * step
    total = total - factor * 5.284190138687493e-10
    factor = factor * (s + 11.0) * (s + 12.0) * step
    total = total + factor * 1.3382536530684679e-11
    factor = factor * (s + 13.0) * (s + 14.0) * step
    total = total - factor * 3.3896802963225827e-13
    factor = factor * (s + 15.0) * (s + 16.0) * step
    total = total + factor * 8.586062056277845e-15
    factor = factor * (s + 17.0) * (s + 18.0) * step
    return total - factor * 2.174868698558062e-16


@sampler
def right(s: f64, q: f64, small: f64) -> f64:
    """zeta(s, q) for q > 0."""
    total = 0.0
    a = q
    k = 0
    while k < 9 or a <= 9.0:
        term = pow(a, -s)
        total = total + term
        # what follows is less than the integral from a on
        if term * a <= total * small * (s - 1.0) or (term == 0.0 and a < INFINITY):
            return total
        a = a + 1.0
        k = k + 1
    return total + pow(a, -s) * tail(s, a)


@sampler
def zeta(s: f64, q: f64, small: f64) -> f64:
    """The sum of (q + k)^-s over k >= 0."""
    if s == 1.0:
        return INFINITY
    if s < 1.0 or q != q:
        return NAN
    if q <= 0.0 and q == floor(q):
        return INFINITY
    if s != s or (q <= 0.0 and s != floor(s)):
        return NAN
    if q > 0.0:
        return right(s, q, small)
    # terms left of 0 are a difference of two such sums of their distances from 0
    between = q - floor(q)
    odd = s - 2.0 * floor(s * 0.5)
    left = right(s, 1.0 - between, small) - right(s, 1.0 - q, small)
    return right(s, between, small) + (-left if odd == 1.0 else left)


@sampler
def zeta_all(s: f64s, q: f64s, out: f64s, n: i64, small: f64) -> None:
    """out[k] = zeta(s[k], q[k]); terms below `small` end the series."""
    for k in range(n):
        out[k] = zeta(s[k], q[k], small)


_ALL = {"float64": zeta_all, "float32": zeta_all.of(s="f32s", q="f32s", out="f32s")}


def np_zeta(s: np.ndarray, q: np.ndarray) -> np.ndarray:
    """zeta(s, q) of arrays of one shape, in float32 or float64."""
    kind = np.dtype(np.float32 if s.dtype == np.float32 else np.float64)
    return each(_ALL[kind.name], [s, q], kind, 1e-17 if kind == np.float64 else 1e-9)


def np_polygamma(x: np.ndarray, n: int) -> np.ndarray:
    """n-th derivative of digamma, n at least 2."""
    x = np.asarray(x, np.float64)
    return (-1.0) ** (n + 1) * math.gamma(n + 1) * np_zeta(np.full_like(x, n + 1.0), x)
