"""Special functions on NumPy arrays in double precision: series, recurrences, integrals.

Integrals of periodic or quickly decaying functions are taken with the trapezoidal rule, which
converges exponentially for them. All functions take and give float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Array = np.ndarray
EULER = 0.5772156649015329


def piecewise(x: Array, *parts: tuple[Array, Callable[[Array], Array]]) -> Array:
    """Each part's function where its condition holds first; NaN elsewhere."""
    out = np.full(x.shape, np.nan)
    left = np.ones(x.shape, bool)
    for where, fn in parts:
        here = left & where
        if here.any():
            out[here] = fn(x[here])
        left &= ~where
    return out


_erf = np.frompyfunc(math.erf, 1, 1)
_erfc = np.frompyfunc(math.erfc, 1, 1)


def erf(x: Array) -> Array:
    """Error function."""
    return _erf(x).astype(np.float64)


def erfc(x: Array) -> Array:
    """1 - erf(x)."""
    return _erfc(x).astype(np.float64)


# normal distribution ------------------------------------------------------------------------------


def _erfcx_tail(x: Array) -> Array:
    """Asymptotic series for large x."""
    t, total, term = 1 / (2 * x * x), np.ones_like(x), np.ones_like(x)
    for k in range(1, 12):
        term = -term * (2 * k - 1) * t
        total = total + term
    return total / (x * math.sqrt(math.pi))


def erfcx(x: Array) -> Array:
    """exp(x * x) * erfc(x)."""
    return piecewise(
        x,
        (x < -26.7, lambda v: np.full_like(v, np.inf)),
        (x < 0, lambda v: 2 * np.exp(v * v) - np.exp(v * v) * erfc(-v)),
        (x < 20, lambda v: np.exp(v * v) * erfc(v)),
        (x >= 20, _erfcx_tail),
    )


def ndtr(x: Array) -> Array:
    """Distribution function of the normal distribution."""
    return 0.5 * erfc(-x / math.sqrt(2))


def log_ndtr(x: Array) -> Array:
    """log of `ndtr`, exact in the tail."""
    return piecewise(
        x,
        (x < -1, lambda v: np.log(erfcx(-v / math.sqrt(2)) / 2) - v * v / 2),
        (x >= -1, lambda v: np.log1p(-erfc(v / math.sqrt(2)) / 2)),
    )


def ndtri(p: Array) -> Array:
    """The x with ndtr(x) = p: Newton's method on log_ndtr from a rough start."""

    def lower(q: Array) -> Array:
        t = np.sqrt(-2 * np.log(q))
        x = -(t - (2.30753 + 0.27061 * t) / (1 + 0.99229 * t + 0.04481 * t * t))
        goal = np.log(q)
        for _ in range(6):
            value = log_ndtr(x)
            slope = np.exp(-x * x / 2 - value) / math.sqrt(2 * math.pi)
            x = x - (value - goal) / slope
        return x

    return piecewise(
        p,
        (p == 0, lambda v: np.full_like(v, -np.inf)),
        (p == 1, lambda v: np.full_like(v, np.inf)),
        ((p > 0) & (p <= 0.5), lower),
        ((p > 0.5) & (p < 1), lambda v: -lower(1 - v)),
    )


# Bessel functions ------------------------------------------------------------------------------------


def _circle(x: Array, weight: Callable[[Array, Array], Array], points: int = 160) -> Array:
    """Mean of weight(x, angle) over half a turn, both ends counted half."""
    angle = np.pi * (np.arange(points) + 0.5) / points
    return weight(x[:, None], angle[None, :]).mean(1)


def _hankel(n: int, x: Array) -> tuple[Array, Array]:
    """P and Q of the asymptotic expansion for large arguments."""
    mu, p, q, term = 4.0 * n * n, np.ones_like(x), np.zeros_like(x), np.ones_like(x)
    for k in range(1, 20):
        factor = (mu - (2 * k - 1) ** 2) / (k * 8 * x)
        if np.all(np.abs(factor) > 1):
            break
        term = np.where(np.abs(factor) < 1, term * factor, 0)
        if k % 2:
            q = q + (1 if k % 4 == 1 else -1) * term
        else:
            p = p + (-1 if k % 4 == 2 else 1) * term
    return p, q


def _wave(n: int, x: Array, second: bool) -> Array:
    p, q = _hankel(n, x)
    chi = x - (n / 2 + 0.25) * math.pi
    wave = p * np.sin(chi) + q * np.cos(chi) if second else p * np.cos(chi) - q * np.sin(chi)
    return np.sqrt(2 / (math.pi * x)) * wave


def _j(n: int, x: Array) -> Array:
    return _circle(x, lambda v, a: np.cos(n * a - v * np.sin(a)))


def bessel_j0(x: Array) -> Array:
    """Bessel function of the first kind, order 0."""
    a = np.abs(x)
    return piecewise(
        a,
        (a < 40, lambda v: _j(0, v)),
        (a < np.inf, lambda v: _wave(0, v, False)),
        (np.isinf(a), np.zeros_like),
    )


def bessel_j1(x: Array) -> Array:
    """Bessel function of the first kind, order 1."""
    a = np.abs(x)
    got = piecewise(
        a,
        (a < 40, lambda v: _j(1, v)),
        (a < np.inf, lambda v: _wave(1, v, False)),
        (np.isinf(a), np.zeros_like),
    )
    return np.copysign(1, x) * got


def _y_small(n: int, x: Array) -> Array:
    """Neumann's series over Bessel functions of the first kind."""
    log = np.log(x / 2) + EULER
    if n == 0:
        total = 2 / math.pi * log * _j(0, x)
        for k in range(1, 45):
            total = total - 4 / math.pi * (-1) ** k * _j(2 * k, x) / k
        return total
    total = 2 / math.pi * ((log - 1) * _j(1, x) - _j(0, x) / x)
    for k in range(1, 45):
        total = total - 2 / math.pi * (-1) ** k * (2 * k + 1) / (k * (k + 1)) * _j(2 * k + 1, x)
    return total


def _bessel_y(n: int, x: Array) -> Array:
    return piecewise(
        x,
        (x == 0, lambda v: np.full_like(v, -np.inf)),
        ((x > 0) & (x < 40), lambda v: _y_small(n, v)),
        ((x >= 40) & (x < np.inf), lambda v: _wave(n, v, True)),
        (np.isposinf(x), np.zeros_like),
    )


def bessel_y0(x: Array) -> Array:
    """Bessel function of the second kind, order 0."""
    return _bessel_y(0, x)


def bessel_y1(x: Array) -> Array:
    """Bessel function of the second kind, order 1."""
    return _bessel_y(1, x)


def _ie_tail(n: int, x: Array) -> Array:
    mu, total, term = 4.0 * n * n, np.ones_like(x), np.ones_like(x)
    for k in range(1, 16):
        term = -term * (mu - (2 * k - 1) ** 2) / (k * 8 * x)
        total = total + term
    return total / np.sqrt(2 * math.pi * x)


def _ie(n: int, a: Array) -> Array:
    return piecewise(
        a,
        (a < 50, lambda v: _circle(v, lambda u, t: np.exp(u * (np.cos(t) - 1)) * np.cos(n * t))),
        (a < np.inf, lambda v: _ie_tail(n, v)),
        (np.isinf(a), np.zeros_like),
    )


def i0e(x: Array) -> Array:
    """exp(-|x|) times the modified Bessel function of the first kind, order 0."""
    return _ie(0, np.abs(x))


def i1e(x: Array) -> Array:
    """exp(-|x|) times the modified Bessel function of the first kind, order 1."""
    return np.sign(x) * _ie(1, np.abs(x)) if x.size else x


def i0(x: Array) -> Array:
    """Modified Bessel function of the first kind, order 0."""
    return np.exp(np.abs(x)) * i0e(x)


def i1(x: Array) -> Array:
    """Modified Bessel function of the first kind, order 1."""
    return np.exp(np.abs(x)) * i1e(x)


def _ke(n: float, x: Array) -> Array:
    """exp(x) * K_n(x): an integral over t that decays doubly exponentially."""
    top = np.arccosh(1 + 800 / np.maximum(x, 1e-300))
    top = np.minimum(top, 750.0)
    t = (np.arange(600) + 0.5) / 600 * top[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        decay = np.exp(-x[:, None] * (np.cosh(t) - 1))
        values = np.where(decay > 0, decay * np.cosh(n * t), 0)
    return values.mean(1) * top


def _bessel_k(n: int, scaled: bool, x: Array) -> Array:
    grow = (lambda v: np.ones_like(v)) if scaled else (lambda v: np.exp(-v))
    return piecewise(
        x,
        (x == 0, lambda v: np.full_like(v, np.inf)),
        ((x > 0) & (x < np.inf), lambda v: _ke(n, v) * grow(v)),
        (np.isposinf(x), np.zeros_like),
    )


def modified_bessel_k0(x: Array) -> Array:
    """Modified Bessel function of the second kind, order 0."""
    return _bessel_k(0, False, x)


def modified_bessel_k1(x: Array) -> Array:
    """Modified Bessel function of the second kind, order 1."""
    return _bessel_k(1, False, x)


def scaled_modified_bessel_k0(x: Array) -> Array:
    """exp(x) times `modified_bessel_k0`."""
    return _bessel_k(0, True, x)


def scaled_modified_bessel_k1(x: Array) -> Array:
    """exp(x) times `modified_bessel_k1`."""
    return _bessel_k(1, True, x)


def spherical_bessel_j0(x: Array) -> Array:
    """sin(x) / x."""
    return piecewise(
        x,
        (x == 0, np.ones_like),
        (np.isinf(x), np.zeros_like),
        (~np.isnan(x), lambda v: np.sin(v) / v),
    )


def _airy_series(x: Array) -> Array:
    """Maclaurin series."""
    f, g, tf, tg = np.ones_like(x), x.copy(), np.ones_like(x), x.copy()
    cube = x**3
    for k in range(1, 40):
        tf = tf * cube / ((3 * k - 1) * (3 * k))
        tg = tg * cube / ((3 * k) * (3 * k + 1))
        f, g = f + tf, g + tg
    return 0.355028053887817239 * f - 0.258819403792806798 * g


def _airy_wave(x: Array) -> Array:
    """Asymptotic expansion for negative arguments."""
    z = 2 / 3 * (-x) ** 1.5
    p, q, c = np.zeros_like(z), np.zeros_like(z), 1.0
    for k in range(12):
        sign = -1 if (k // 2) % 2 else 1
        if k % 2:
            q = q + sign * c / z**k
        else:
            p = p + sign * c / z**k
        c *= (6 * k + 5) * (6 * k + 3) * (6 * k + 1) / (216 * (k + 1) * (2 * k + 1))
    phase = z + math.pi / 4
    return (np.sin(phase) * p - np.cos(phase) * q) / (math.sqrt(math.pi) * (-x) ** 0.25)


def _airy_decay(x: Array) -> Array:
    z = 2 / 3 * x**1.5
    return np.sqrt(x / 3) / math.pi * _ke(1 / 3, z) * np.exp(-z)


def airy_ai(x: Array) -> Array:
    """Airy function of the first kind."""
    return piecewise(
        x,
        (np.isposinf(x), np.zeros_like),
        (np.isneginf(x), lambda v: np.full_like(v, np.nan)),
        (x > 2, _airy_decay),
        (x > -7.5, _airy_series),
        (x <= -7.5, _airy_wave),
    )


# gamma ------------------------------------------------------------------------------------


_BERNOULLI = [
    1 / 6,
    -1 / 30,
    1 / 42,
    -1 / 30,
    5 / 66,
    -691 / 2730,
    7 / 6,
    -3617 / 510,
    43867 / 798,
    -174611 / 330,
]
