"""Bessel functions and the family of the error function as expansions: series that vectorise.

A function is smooth in the right variable on each of a few pieces. There it is a Chebyshev series,
whose coefficients come, when first needed, from `special_numpy`'s slow and exact functions; pieces
are chosen with `where`. Everything is done in the type of the argument, float32 or float64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.ops import special_numpy as sn

Array = np.ndarray
_DEGREE = 48  # of the interpolation, before what is too small to matter is dropped


@functools.cache
def coefficients(f: Callable[[Array], Array], low: float, high: float, single: bool) -> tuple:
    """Of f's Chebyshev series on (low, high), as many as the type and f's own rounding can tell."""
    n = _DEGREE + 1
    odd = 2 * np.arange(n) + 1
    with np.errstate(all="ignore"):
        values = f(low + (high - low) * (np.cos(np.pi / (2 * n) * odd) + 1) / 2)
    # less whole turns, which would cost digits
    angles = np.pi / (2 * n) * (np.outer(np.arange(n), odd) % (4 * n))
    c = (2 / n) * (np.cos(angles) @ values)
    c[0] /= 2
    size = np.abs(c)
    # the last are f's rounding and nothing else, if the series has converged
    noise = min(8 * float(np.median(size[-12:])), 1e-13 * float(size.max()))
    least = max((1e-8 if single else 2e-16) * float(size.max()), noise)
    last = max(int(np.flatnonzero(size > least)[-1]), 2)
    return tuple(c[: last + 1])


@functools.cache
def powers(f: Callable[[Array], Array], low: float, high: float) -> tuple:
    """The float64 series in powers, which is as exact where the coefficients fall fast."""
    c = coefficients(f, low, high, False)
    total = np.array([Fraction(0)] * (len(c) + 1))
    before, now = total, np.array([Fraction(1)] + [Fraction(0)] * len(c))
    for k, a in enumerate(c):
        total = total + Fraction(a) * now
        before, now = now, (2 if k else 1) * np.roll(now, 1) - before
    return tuple(map(float, total[:-1]))


def series(g: Any, z: Any, f: Callable[[Array], Array], low: float, high: float) -> Any:
    """f(z) for z within (low, high).

    In float32 by Clenshaw's recurrence: powers would cost half a digit of seven. In float64, whose
    series are long, by four short polynomials in t^4, none of which waits for another.
    """
    t = z * (2 / (high - low)) - (high + low) / (high - low)
    if z.dtype is dt.float32:
        return _clenshaw(g, t, coefficients(f, low, high, True))
    c = powers(f, low, high)
    square = t * t
    fourth = square * square
    parts = [_horner(g, fourth, c[k::4]) for k in range(min(len(c), 4))]
    got = parts[0] + parts[1] * t
    return got + _horner(g, t, tuple(parts[2:])) * square if len(parts) > 2 else got


def _clenshaw(g: Any, t: Any, c: tuple[float, ...]) -> Any:
    twice = t + t
    b1, b2 = twice * c[-1] + c[-2], g.const(c[-1], t.dtype, t.shape)
    for a in c[-3:0:-1]:
        b1, b2 = twice * b1 - b2 + a, b1
    return t * b1 - b2 + c[0]


def _horner(g: Any, z: Any, terms: tuple[Any, ...]) -> Any:
    got = terms[-1]
    if isinstance(got, float):
        got = g.const(got, z.dtype, z.shape)
    for a in terms[-2::-1]:
        got = got * z + a
    return got


def _constant(g: Any, x: Any, value: float) -> Any:
    return g.const(value, x.dtype)


# modified Bessel functions -----------------------------------------------------------------------


def _near_i0(x: Array) -> Array:
    return sn.i0e(x)


def _near_i1(x: Array) -> Array:
    return sn.i1e(x) / x


def _far_i0(u: Array) -> Array:
    return sn.i0e(8 / u) * np.sqrt(8 / u)


def _far_i1(u: Array) -> Array:
    return sn.i1e(8 / u) * np.sqrt(8 / u)


def _ie(g: Any, x: Any, n: int) -> Any:
    """exp(-|x|) I_n(x)."""
    a = x.abs()
    near = series(g, a.minimum(8.0), (_near_i0, _near_i1)[n], 0.0, 8.0)
    u = 8.0 / a.maximum(8.0)
    far = series(g, u, (_far_i0, _far_i1)[n], 0.0, 1.0) * a.maximum(8.0).rsqrt()
    far = g.where(x < 0.0, -far, far) if n else far
    return g.where(x.ne(x), x, g.where(a <= 8.0, near * x if n else near, far))


def _i(g: Any, x: Any, n: int) -> Any:
    return x.abs().exp() * _ie(g, x, n)


def _log_free(n: int, x: Array) -> Array:
    """K_n without its logarithm, as a function of x^2 (times x where n is 1)."""
    log = np.log(x / 2)
    if n:
        return x * sn.modified_bessel_k1(x) - x * log * sn.i1(x)
    return sn.modified_bessel_k0(x) + log * sn.i0(x)


def _near_k0(z: Array) -> Array:
    return _log_free(0, np.sqrt(z))


def _near_k1(z: Array) -> Array:
    return _log_free(1, np.sqrt(z))


def _far_k0(u: Array) -> Array:
    return sn.scaled_modified_bessel_k0(2 / u) * np.sqrt(2 / u)


def _far_k1(u: Array) -> Array:
    return sn.scaled_modified_bessel_k1(2 / u) * np.sqrt(2 / u)


def _k(g: Any, x: Any, n: int, scaled: bool) -> Any:
    low = x.minimum(2.0)
    smooth = series(g, low * low, (_near_k0, _near_k1)[n], 0.0, 4.0)
    log = (low * 0.5).log()
    if n:
        near = (smooth + low * log * _i(g, low, 1)) / low
    else:
        near = smooth - log * _i(g, low, 0)
    high = x.maximum(2.0)
    far = series(g, 2.0 / high, (_far_k0, _far_k1)[n], 0.0, 1.0) * high.rsqrt()
    if scaled:
        near = near * low.exp()
    else:
        far = far * (-high).exp()
    got = g.where(x <= 2.0, near, far)
    got = g.where(x.eq(0.0), _constant(g, x, math.inf), got)
    return g.where((x < 0.0) | x.ne(x), _constant(g, x, math.nan), got)


# Bessel functions --------------------------------------------------------------------------------

_J = (sn.bessel_j0, sn.bessel_j1)
_Y = (sn.bessel_y0, sn.bessel_y1)


def _near_j(n: int, z: Array) -> Array:
    x = np.sqrt(z)
    return _J[n](x) / x**n


def _near_y(n: int, z: Array) -> Array:
    """Y_n without its logarithm and pole, over x^n."""
    x = np.sqrt(z)
    pole = 1 / x if n else 0.0
    return (_Y[n](x) - 2 / math.pi * (np.log(x) * _J[n](x) - pole)) / x**n


def _phase(n: int, z: Array, which: int) -> Array:
    """P or x Q of J_n = sqrt(2 / pi x) (P cos - Q sin), where z is (8 / x)^2."""
    x = 8 / np.sqrt(z)
    p, q = _exact_phase(n, x)
    return q * x if which else p


def _exact_phase(n: int, x: Array) -> tuple[Array, Array]:
    far = x > 25
    j, y = _J[n](np.minimum(x, 25.0)), _Y[n](np.minimum(x, 25.0))
    low = np.minimum(x, 25.0)
    chi = low - (n / 2 + 0.25) * math.pi
    scale = np.sqrt(math.pi * low / 2)
    p = scale * (j * np.cos(chi) + y * np.sin(chi))
    q = scale * (y * np.cos(chi) - j * np.sin(chi))
    p_far, q_far = sn._hankel(n, np.maximum(x, 25.0))
    return np.where(far, p_far, p), np.where(far, q_far, q)


_SMOOTH = {
    (name, n): functools.partial(fn, n)
    for n in (0, 1)
    for name, fn in (("j", _near_j), ("y", _near_y))
} | {
    (name, n): functools.partial(_phase, n, which=k) for n in (0, 1) for k, name in enumerate("pq")
}


def _waves(g: Any, a: Any, n: int) -> tuple[Any, Any]:
    """J_n and Y_n for arguments of 8 and more."""
    a = a.maximum(8.0)
    u = 8.0 / a
    p = series(g, u * u, _SMOOTH["p", n], 0.0, 1.0)
    q = series(g, u * u, _SMOOTH["q", n], 0.0, 1.0) * (u * 0.125)
    sin, cos = a.sin(), a.cos()
    # angles less (2n + 1) pi / 4, from those of a itself
    c, s = (sin - cos, -(sin + cos)) if n else (sin + cos, sin - cos)
    scale = (a * math.pi).rsqrt()
    return scale * (p * c - q * s), scale * (p * s + q * c)


def _j(g: Any, x: Any, n: int) -> Any:
    a = x.abs()
    low = a.minimum(8.0)
    near = series(g, low * low, _SMOOTH["j", n], 0.0, 64.0)
    far = _waves(g, a, n)[0]
    got = g.where(a <= 8.0, near * low if n else near, far)
    got = g.where(a.eq(math.inf), _constant(g, x, 0.0), got)
    return g.where(x < 0.0, -got, got) if n else got


def _y(g: Any, x: Any, n: int) -> Any:
    low = x.minimum(8.0)
    smooth = series(g, low * low, _SMOOTH["y", n], 0.0, 64.0)
    log = low.log() * _j(g, low, n)
    if n:
        near = smooth * low + (log - 1.0 / low) * (2 / math.pi)
    else:
        near = smooth + log * (2 / math.pi)
    got = g.where(x <= 8.0, near, _waves(g, x, n)[1])
    got = g.where(x.eq(math.inf), _constant(g, x, 0.0), got)
    got = g.where(x.eq(0.0), _constant(g, x, -math.inf), got)
    return g.where((x < 0.0) | x.ne(x), _constant(g, x, math.nan), got)


# the error function's family ------------------------------------------------------------------------

_TURN = 3.75  # erfcx(x), x >= 0, is smooth in (x - _TURN) / (x + _TURN)


def _smooth_erfcx(t: Array) -> Array:
    x = _TURN * (1 + t) / (1 - t)
    return sn.erfcx(x) * (1 + 2 * x)


def _square(x: Any) -> tuple[Any, Any]:
    """x * x as a sum: rounded, and what rounding lost (Dekker's product)."""
    split = 4097.0 if x.dtype is dt.float32 else 134217729.0
    big = x * split
    high = big - (big - x)
    low = x - high
    whole = x * x
    return whole, ((high * high - whole) + high * low * 2.0) + low * low


def erfcx(g: Any, x: Any) -> Any:
    """exp(x * x) * erfc(x)."""
    a = x.abs().minimum(1e6 if x.dtype is dt.float32 else 1e12)
    t = (a - _TURN) / (a + _TURN)
    right = series(g, t, _smooth_erfcx, -1.0, 1.0) / (a + a + 1.0)
    left_end = -9.4 if x.dtype is dt.float32 else -26.7
    whole, lost = _square(x.maximum(left_end - 0.1).minimum(0.0))
    left = whole.exp() * (lost + 1.0) * 2.0 - right
    left = g.where(x < left_end, _constant(g, x, math.inf), left)
    got = g.where(x < 0.0, left, right)
    got = g.where(x.eq(math.inf), _constant(g, x, 0.0), got)
    return g.where(x.ne(x), x, got)


def ndtr(g: Any, x: Any) -> Any:
    """Distribution function of the normal distribution."""
    return (x * -math.sqrt(0.5)).erfc() * 0.5


def log_ndtr(g: Any, x: Any) -> Any:
    """log of `ndtr`, exact in the tail."""
    low = x.minimum(-1.0)
    tail = (erfcx(g, low * -math.sqrt(0.5)) * 0.5).log() - low * low * 0.5
    body = ((x.maximum(-1.0) * math.sqrt(0.5)).erfc() * -0.5).log1p()
    return g.where(x < -1.0, tail, body)


_EDGE = 0.15  # ndtri: below, in (root - _BEND) / (root + _BEND), root = sqrt(-2 log p)
_BEND = 2.0


def _tail_ndtri(t: Array) -> Array:
    """ndtri / root, by Newton's method on log_ndtr from an asymptotic start."""
    root = _BEND * (1 + t) / (1 - t)
    goal = -0.5 * root * root
    x = -(root - np.log(root * math.sqrt(2 * math.pi)) / root)
    for _ in range(8):
        value = sn.log_ndtr(x)
        x = x - (value - goal) * np.exp(value + x * x / 2) * math.sqrt(2 * math.pi)
    return x / root


def _body_ndtri(z: Array) -> Array:
    """ndtri(1/2 + h) / h with z = h^2: Newton's method on erf, which is exact near 0."""
    h = np.sqrt(z)
    y = math.sqrt(math.pi) * h
    for _ in range(8):
        gap = np.array([math.erf(a) for a in y]) - 2 * h
        y = y - gap * (math.sqrt(math.pi) / 2) * np.exp(y * y)
    return math.sqrt(2) * y / h


def ndtri(g: Any, p: Any) -> Any:
    """The x with ndtr(x) = p."""
    upper = p > 0.5
    q = g.where(upper, 1.0 - p, p)
    least = 1e-45 if p.dtype is dt.float32 else 5e-324
    root = (q.minimum(_EDGE).maximum(least).log() * -2.0).sqrt()
    first = math.sqrt(-2 * math.log(_EDGE))
    low, high = ((r - _BEND) / (r + _BEND) for r in (first, 38.7))
    tail = series(g, (root - _BEND) / (root + _BEND), _tail_ndtri, low, high) * root
    h = q.maximum(_EDGE) - 0.5
    body = series(g, h * h, _body_ndtri, 0.0, (0.5 - _EDGE) ** 2) * h
    x = g.where(q <= _EDGE, tail, body)
    x = g.where(q.eq(0.0), _constant(g, p, -math.inf), x)
    x = g.where(upper, -x, x)
    return g.where((q >= 0.0) & (q <= 0.5), x, _constant(g, p, math.nan))


def spherical_bessel_j0(g: Any, x: Any) -> Any:
    """sin(x) / x."""
    got = g.where(x.eq(0.0), _constant(g, x, 1.0), x.sin() / x)
    return g.where(x.abs().eq(math.inf), _constant(g, x, 0.0), got)


def trigamma(g: Any, x: Any) -> Any:
    """Derivative of digamma: reflection to the right, recurrence, asymptotic series."""
    left = x < 0.5
    y = g.where(left, 1.0 - x, x)
    steps = 5 if x.dtype is dt.float32 else 12
    total = g.const(0.0, x.dtype)
    for k in range(steps):
        total = total + ((y + float(k)) * (y + float(k))).reciprocal()
    z = y + float(steps)
    w = (z * z).reciprocal()
    tail = g.const(0.0, x.dtype)
    for b in reversed(sn._BERNOULLI[: 3 if x.dtype is dt.float32 else 8]):
        tail = (tail + b) * w
    right = total + (1.0 + tail) / z + w * 0.5
    sine = (x * math.pi).sin()  # as PyTorch's: huge, not infinite, at the poles
    return g.where(left, (math.pi * math.pi) / (sine * sine) - right, right)


FORMULAS: dict[str, Callable[[Any, Any], Any]] = {
    "i0e": lambda g, x: _ie(g, x, 0),
    "i1e": lambda g, x: _ie(g, x, 1),
    "i0": lambda g, x: _i(g, x, 0),
    "i1": lambda g, x: _i(g, x, 1),
    "modified_bessel_k0": lambda g, x: _k(g, x, 0, False),
    "modified_bessel_k1": lambda g, x: _k(g, x, 1, False),
    "scaled_modified_bessel_k0": lambda g, x: _k(g, x, 0, True),
    "scaled_modified_bessel_k1": lambda g, x: _k(g, x, 1, True),
    "bessel_j0": lambda g, x: _j(g, x, 0),
    "bessel_j1": lambda g, x: _j(g, x, 1),
    "bessel_y0": lambda g, x: _y(g, x, 0),
    "bessel_y1": lambda g, x: _y(g, x, 1),
    "erfcx": erfcx,
    "ndtr": ndtr,
    "log_ndtr": log_ndtr,
    "ndtri": ndtri,
    "spherical_bessel_j0": spherical_bessel_j0,
}
