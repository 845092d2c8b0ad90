"""Logarithms as straight-line code on any number of lanes.

With the instructions of `estimate` by a table, so that they are rounded right but for one in some
hundred arguments near 1 and one in a thousand elsewhere; without them by a quotient, good to a unit
in the last place.
"""

from __future__ import annotations

import decimal
import functools
import math
from collections.abc import Callable

from facula.llvm import estimate
from facula.llvm.build import Lanes, round32
from facula.llvm.vmath import FORMATS

# (log(1+r) - r) / r^2, |r| < 0.044 and |r| < 0.023
TABLE_TERMS = {
    "double": (
        -0.5, 0.3333333333333333, -0.24999999999996017, 0.19999999999996323, -0.16666666694346216,
        0.14285714311265657, -0.12499948075961073, 0.11111063179500322, -0.10036059662827773,
        0.0912419584692737,
    ),
    "float": (-0.5, 0.3333333333333333, -0.2500649990067301, 0.2000557140378482),
}  # fmt: skip
# places after the point for the high parts of logarithms: any exponent times one is exact
_PLACES = {"float": 16, "double": 40}


def _in_two(number: decimal.Decimal, places: int) -> tuple[float, float]:
    """A number as one of few places and the rest, which is positive (so that it cancels no infinity)."""
    unit = 2**places
    high = decimal.Decimal(math.floor(number * unit)) / unit
    return float(high), float(number - high)


@functools.cache
def _table(
    kind: str, base: int
) -> tuple[list[tuple[float, float]], tuple[float, float], float, float]:
    """For a base, 0 for e: -log(c) of multiples c of 1/size by their low bits, log(2), and log(e) as
    a float and what that lacks."""
    size, places = estimate.table_size(kind), _PLACES[kind]
    with decimal.localcontext(prec=60):
        unit = decimal.Decimal(base).ln() if base else decimal.Decimal(1)
        rows = []
        for k in range(size):
            c = decimal.Decimal(k if 8 * k >= 5 * size else k + size) / size
            rows.append(_in_two(-c.ln() / unit, places))
        factor = float(1 / unit) if kind == "double" else round32(float(1 / unit))
        return (
            rows,
            _in_two(decimal.Decimal(2).ln() / unit, places),
            factor,
            float(1 / unit - decimal.Decimal(factor)),
        )


def _by_table(v: Lanes, x: str, base: int = 0, lost: str = "") -> str:
    """log(x + lost) for a `lost` below x's last place.

    x = 2^n m, and c, of few bits, is near 1/m: r = cm - 1 is exact, and log(m) = log(1 + r) - log(c).
    """
    one = v.c(1.0)
    m, n = estimate.mantissa(v, x, about_one=True), estimate.exponent(v, x)
    n = v.select(v.cmp("olt", m, one), v.add(n, one), n)
    magic = v.c(FORMATS[v.kind].magic / estimate.table_size(v.kind))
    shifted = v.add(estimate.guess_of_inverse(v, m), magic)
    c, index = v.sub(shifted, magic), v.bits(shifted)
    r = v.fma(m, c, v.c(-1.0))
    square = v.mul(r, r)
    rows, two, factor, lacks = _table(v.kind, base)
    high, low = (estimate.look_up(v, index, column) for column in zip(*rows, strict=True))
    if two[0] == 1.0:
        high = v.add(n, high)
    else:
        high, low = v.fma(n, v.c(two[0]), high), v.fma(n, v.c(two[1]), low)
    if base:
        product = v.mul(r, v.c(factor))
        low = v.add(low, v.fma(r, v.c(lacks), v.fma(r, v.c(factor), v.neg(product))))
    else:
        product = r
    if lost:
        # 1/x = c (1 - r + r^2) / 2^n: where x is 1 that is exact
        inverse = v.fma(c, v.sub(square, r), c)
        low = v.fma(lost, estimate.scaled(v, inverse, v.neg(n)), low)
    result = v.add(high, product)
    off = v.sub(product, v.sub(result, high))
    low = v.add(low, v.upper(off, v.c(-1.0)))  # NaN where n is infinite
    terms = tuple(factor * term for term in TABLE_TERMS[v.kind])
    terms_of_r = v.poly(r, terms) if v.kind == "float" else v.poly_pairs(r, terms)
    return v.add(result, v.fma(square, terms_of_r, low))


# log(1+t) = t - t^2/2 + t^3 P(t), sqrt(1/2)-1 <= t <= sqrt(2)-1
LOG_FLOAT: tuple[float, ...] = (
    0.33333310435708136,
    -0.24999986572492577,
    0.20002226795125422,
    -0.16669252217920844,
    0.14218656345914946,
    -0.12384325898933897,
    0.1187296489962549,
    -0.11789924671534951,
    0.06915529334246463,
)
# 2 atanh(s) = 2s + s^3 P(s^2), |s| <= 3-sqrt(8): log(1+t) with s = t/(2+t)
LOG_DOUBLE = (
    0.6666666666666735,
    0.3999999999941109,
    0.2857142874326371,
    0.2222219847584909,
    0.18183569747331255,
    0.15313903052210914,
    0.14797509666436426,
)


_SQRT_2 = {"float": 1.41421353816986083984375, "double": math.sqrt(2.0)}


def _log_parts(v: Lanes, x: str) -> tuple[str, str, str]:
    """x = 2^n (1+t): n as a float, t, and log(1+t) - t; x must be normal and positive."""
    form = FORMATS[v.kind]
    root_half = {"float": 0x3F3504F3, "double": 0x3FE6A09E667F3BCD}[v.kind]
    bits = v.bits(x)
    n = v.integer("ashr", v.integer("sub", bits, v.ci(root_half)), v.ci(form.digits))
    m = v.unbits(v.integer("sub", bits, v.integer("shl", n, v.ci(form.digits))))
    t = v.sub(m, v.c(1.0))
    return v.to_float(n), t, _log_rest(v, t)


def parts_of_any(v: Lanes, x: str) -> tuple[str, str]:
    """x = 2^n (1+t): (n as a float, t); of 0 and infinity n is infinite and t 0, of what is negative
    t is NaN."""
    one = v.c(1.0)
    n, m = estimate.exponent(v, x), estimate.mantissa(v, x)
    high = v.cmp("oge", m, v.c(_SQRT_2[v.kind]))
    n = v.select(high, v.add(n, one), n)
    return n, v.sub(v.select(high, v.mul(m, v.c(0.5)), m), one)


def _log_rest(v: Lanes, t: str) -> str:
    """log(1+t) - t."""
    if v.kind == "float":
        square = v.mul(t, t)
        cubic = v.mul(square, t)
        return v.fma(cubic, v.poly(t, LOG_FLOAT), v.mul(square, v.c(-0.5)))
    s = estimate.quotient(v, t, v.add(t, v.c(2.0)))
    z = v.mul(s, s)
    half = v.mul(v.mul(t, t), v.c(0.5))
    r = v.mul(z, v.poly(z, LOG_DOUBLE))
    return v.sub(v.mul(s, v.add(half, r)), half)


def _log_with(v: Lanes, x: str, finish: Callable[[str, str, str], str]) -> str:
    """A logarithm from its parts, with the special cases around it."""
    if estimate.possible(v):
        n, t = parts_of_any(v, x)
        return finish(n, t, _log_rest(v, t))
    form = FORMATS[v.kind]
    shift = 2.0 ** (form.digits + 1)
    denormal = v.cmp("olt", x, v.c(form.tiny))
    n, t, rest = _log_parts(v, v.select(denormal, v.mul(x, v.c(shift)), x))
    n = v.select(denormal, v.sub(n, v.c(form.digits + 1.0)), n)
    result = finish(n, t, rest)
    # NaN for negative and NaN arguments, infinity for infinity, -infinity for zeros
    result = v.select(v.cmp("ult", x, v.c(0.0)), v.c(math.nan), result)
    result = v.select(v.cmp("oeq", x, v.c(math.inf)), x, result)
    return v.select(v.cmp("oeq", x, v.c(0.0)), v.c(-math.inf), result)


def log(v: Lanes, x: str) -> str:
    if estimate.possible(v):
        return _by_table(v, x)
    high, low = FORMATS[v.kind].ln2

    def finish(n: str, t: str, rest: str) -> str:
        return v.fma(n, v.c(high), v.add(t, v.fma(n, v.c(low), rest)))

    return _log_with(v, x, finish)


def log2(v: Lanes, x: str) -> str:
    if estimate.possible(v):
        return _by_table(v, x, 2)
    # log2(e) as a short part, whose products are exact enough, and the rest
    high = {"float": 1.44140625, "double": 1.4426950216293335}[v.kind]
    low = {"float": 0.0012887909890735, "double": 1.9259629911266175e-08}[v.kind]
    return _log_with(v, x, lambda n, t, rest: _log_base(v, t, rest, high, low, n, v.c(0.0)))


def log10(v: Lanes, x: str) -> str:
    if estimate.possible(v):
        return _by_table(v, x, 10)
    high = {"float": 0.43359375, "double": 0.4342944622039795}[v.kind]
    low = {"float": 0.0007007319032518277, "double": 1.9699272335463627e-08}[v.kind]
    two_high = {"float": 0.301025390625, "double": 0.30102999566383914}[v.kind]
    two_low = math.log10(2.0) - two_high

    def finish(n: str, t: str, rest: str) -> str:
        big, small = v.mul(n, v.c(two_high)), v.mul(n, v.c(two_low))
        return _log_base(v, t, rest, high, low, big, small)

    return _log_with(v, x, finish)


def _log_base(v: Lanes, t: str, rest: str, high: float, low: float, big: str, small: str) -> str:
    """big + small + (t + rest) (high + low)."""
    tail = v.fma(rest, v.c(high + low), v.fma(t, v.c(low), small))
    head = v.fma(t, v.c(high), tail)
    return v.add(big, head)


def log1p(v: Lanes, x: str) -> str:
    # log of u = 1+x, with what u's rounding lost brought back to first order
    high, low = FORMATS[v.kind].ln2
    one, inf = v.c(1.0), v.c(math.inf)
    u = v.add(one, x)
    big = v.cmp("ogt", x, one)
    lost = v.select(big, v.sub(one, v.sub(u, x)), v.sub(x, v.sub(u, one)))
    if estimate.possible(v):
        result = _by_table(v, u, lost=lost)
    else:
        n, t, rest = _log_parts(v, u)
        rest = v.add(rest, v.div(lost, u))
        result = v.fma(n, v.c(high), v.add(t, v.fma(n, v.c(low), rest)))
    # where u tells little of x
    near = v.fma(v.mul(x, x), v.c(-0.5), x)
    tiny = v.cmp("olt", v.abs(x), v.c({"float": 2.0**-14, "double": 2.0**-28}[v.kind]))
    result = v.select(tiny, near, result)
    result = v.select(v.cmp("ult", x, v.c(-1.0)), v.c(math.nan), result)
    result = v.select(v.cmp("oeq", x, inf), inf, result)
    result = v.select(v.cmp("oeq", x, v.c(-1.0)), v.c(-math.inf), result)
    return v.copysign(result, x)
