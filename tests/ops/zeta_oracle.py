"""Zeta and polygamma by NumPy, in another way than facula's: what its results are compared with."""

from __future__ import annotations

import math

import numpy as np

from facula.ops.special_numpy import _BERNOULLI

Array = np.ndarray


def zeta(s: Array, q: Array) -> Array:
    """Hurwitz's zeta function by the Euler-Maclaurin formula."""
    s, q = np.broadcast_arrays(np.asarray(s, np.float64), np.asarray(q, np.float64))
    out = np.full(s.shape, np.nan)
    out[s == 1] = np.inf
    pole = (s > 1) & (q <= 0) & (q == np.floor(q))
    out[pole] = np.inf
    good = (s > 1) & ~pole & ((q > 0) | (s == np.floor(s))) & ~np.isnan(q)
    if not good.any():
        return out
    x, a = s[good], q[good].copy()
    total = np.zeros_like(x)
    with np.errstate(all="ignore"):
        for k in range(200):
            small = (a <= 9) | (k < 9)
            if not small.any():
                break
            total = np.where(small, total + np.power(a, -x), total)
            a = np.where(small, a + 1, a)
        total = total + np.power(a, 1 - x) / (x - 1) + 0.5 * np.power(a, -x)
        rise, power = x.copy(), np.power(a, -x - 1)
        factorial = 2.0
        for k, b in enumerate(_BERNOULLI, 1):
            total = total + b / factorial * rise * power
            rise = rise * (x + 2 * k - 1) * (x + 2 * k)
            power = power / (a * a)
            factorial *= (2 * k + 1) * (2 * k + 2)
    out[good] = np.where(np.isposinf(q[good]), 0.0, total)
    return out


def trigamma(x: Array) -> Array:
    """Second derivative of lgamma."""
    mirrored = x < 0.5
    y = np.where(mirrored, 1 - x, x)
    got = zeta(np.full_like(y, 2.0), y)
    with np.errstate(all="ignore"):
        return np.where(mirrored, (math.pi / np.sin(math.pi * x)) ** 2 - got, got)


def polygamma(x: Array, n: int) -> Array:
    """n-th derivative of digamma, n at least 1."""
    if n == 1:
        return trigamma(x)
    return (-1.0) ** (n + 1) * math.gamma(n + 1) * zeta(np.full_like(x, n + 1.0), x)
