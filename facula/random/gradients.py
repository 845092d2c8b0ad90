"""Implicit reparameterisation gradients of gamma and beta samples.

A sample x of a distribution with parameter a stays at its quantile when a moves, so
dx/da = -(dF(x; a)/da) / p(x). The derivatives of the incomplete gamma and beta functions come from
their power series and continued fractions, differentiated term by term.
"""

from __future__ import annotations

from math import fabs, log, pow

import numpy as np

from facula.random.scalar import f64, f64s, i64, sampler

EPS = 1e-16
TINY = 1e-300


@sampler
def digamma(x: f64) -> f64:
    """For x > 0: upwards by the recurrence, then the asymptotic series."""
    result = 0.0
    while x < 10.0:
        result = result - 1.0 / x
        x = x + 1.0
    y = 1.0 / (x * x)
    series = y * (
        1.0 / 12.0 - y * (1.0 / 120.0 - y * (1.0 / 252.0 - y * (1.0 / 240.0 - y / 132.0)))
    )
    return result + log(x) - 0.5 / x - series


@sampler
def gamma_series(x: f64, a: f64) -> f64:
    """dx/da from P(a, x) = sum of x^(a+n) e^-x / Gamma(a + n + 1), for x up to about a."""
    log_x = log(x)
    psi = digamma(a + 1.0)
    term = x / a
    place = a + 1.0
    total = term * (psi - log_x)
    while term > EPS * fabs(total):
        term = term * x / place
        psi = psi + 1.0 / place
        place = place + 1.0
        total = total + term * (psi - log_x)
        if place > 1e8:
            return total
    return total


@sampler
def gamma_fraction(x: f64, a: f64) -> f64:
    """dx/da from the continued fraction of Q(a, x), for x above a; `_a` are derivatives by a."""
    b = x + 1.0 - a
    d = 1.0 / b
    d_a = d * d
    c = 1.0 / TINY
    c_a = 0.0
    h = d
    h_a = d_a
    k = 1.0
    while k < 100000.0:
        top = -k * (k - a)
        b = b + 2.0
        d_a = k * d + top * d_a - 1.0
        d = 1.0 / (top * d + b)
        d_a = -d_a * d * d
        c_a = -1.0 + k / c - top * c_a / (c * c)
        c = b + top / c
        step = c * d
        step_a = c_a * d + c * d_a
        h_a = h_a * step + h * step_a
        h = h * step
        if fabs(step - 1.0) < EPS * 4.0 and fabs(step_a * h) < EPS * 16.0 * fabs(h_a):
            return x * (h * (log(x) - digamma(a)) + h_a)
        k = k + 1.0
    return x * (h * (log(x) - digamma(a)) + h_a)


@sampler
def gamma_gradient(x: f64, a: f64) -> f64:
    if x <= 0.0:
        return 0.0
    if a > 1e5:  # Wilson and Hilferty: x = a (1 - 1 / (9 a) + z / (3 sqrt(a)))^3
        root = pow(x / a, 1.0 / 3.0)
        inner = 1.0 / (9.0 * a) - 0.5 * (root - 1.0 + 1.0 / (9.0 * a))
        return root * root * (root + 3.0 * inner)
    if x < a + 1.0:
        return gamma_series(x, a)
    return gamma_fraction(x, a)


@sampler
def gamma_gradients(out: f64s, x: f64s, a: f64s, n: i64) -> None:
    for k in range(n):
        out[k] = gamma_gradient(x[k], a[k])


@sampler
def beta_fraction(x: f64, a: f64, b: f64, by_a: f64) -> f64:
    """a (dI/da) / (x (1 - x) p) from the continued fraction F of I_x(a, b) = ... F / a.

    With `by_a` 0 it is the derivative by b instead. `_d` are derivatives.
    """
    a_d = by_a
    b_d = 1.0 - by_a
    ab = a + b
    c = 1.0
    c_d = 0.0
    top = -ab * x / (a + 1.0)
    top_d = -x * ((a + 1.0) - ab * a_d) / ((a + 1.0) * (a + 1.0))
    d = 1.0 / (1.0 + top)
    d_d = -top_d * d * d
    h = d
    h_d = d_d
    m = 1.0
    while m < 20000.0:
        low = a + 2.0 * m
        # the even step
        under = (low - 1.0) * low
        under_d = (2.0 * low - 1.0) * a_d
        over = m * (b - m) * x
        over_d = m * x * b_d
        top = over / under
        top_d = (over_d - top * under_d) / under
        d_d = top_d * d + top * d_d
        d = 1.0 / (1.0 + top * d)
        d_d = -d_d * d * d
        c_d = top_d / c - top * c_d / (c * c)
        c = 1.0 + top / c
        h_d = h_d * d * c + h * (d_d * c + d * c_d)
        h = h * d * c
        # the odd step
        under = low * (low + 1.0)
        under_d = (2.0 * low + 1.0) * a_d
        over = -(a + m) * (ab + m) * x
        over_d = -x * (a_d * (ab + m) + (a + m))
        top = over / under
        top_d = (over_d - top * under_d) / under
        d_d = top_d * d + top * d_d
        d = 1.0 / (1.0 + top * d)
        d_d = -d_d * d * d
        c_d = top_d / c - top * c_d / (c * c)
        c = 1.0 + top / c
        step = d * c
        step_d = d_d * c + d * c_d
        h_d = h_d * step + h * step_d
        h = h * step
        if fabs(step - 1.0) < EPS * 4.0 and fabs(step_d * h) < EPS * 16.0 * fabs(h_d):
            break
        m = m + 1.0
    if by_a != 0.0:
        return h * (log(x) - 1.0 / a - digamma(a) + digamma(ab)) + h_d
    return h * (log(1.0 - x) - digamma(b) + digamma(ab)) + h_d


@sampler
def beta_gradient(x: f64, a: f64, b: f64) -> f64:
    """dx/da / (1 - x) for x from Beta(a, b)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0
    if x < (a + 1.0) / (a + b + 2.0):
        return -x / a * beta_fraction(x, a, b, 1.0)
    return x / b * beta_fraction(1.0 - x, b, a, 0.0)


@sampler
def beta_gradients(out: f64s, x: f64s, a: f64s, total: f64s, n: i64) -> None:
    for k in range(n):
        out[k] = beta_gradient(x[k], a[k], total[k] - a[k])


def _doubles(*arrays: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(a, np.float64) for a in np.broadcast_arrays(*arrays)]


def standard_gamma_grad(alpha: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dx/dalpha for samples x of Gamma(alpha, 1), as doubles."""
    a, value = _doubles(alpha, x)
    out = np.empty(a.shape)
    gamma_gradients(out.ctypes.data, value.ctypes.data, a.ctypes.data, a.size)
    return out


def dirichlet_grad(x: np.ndarray, alpha: np.ndarray, total: np.ndarray) -> np.ndarray:
    """dx/dalpha / (1 - x) for a coordinate x of a Dirichlet sample, as doubles."""
    value, a, t = _doubles(x, alpha, total)
    out = np.empty(a.shape)
    beta_gradients(out.ctypes.data, value.ctypes.data, a.ctypes.data, t.ctypes.data, a.size)
    return out
