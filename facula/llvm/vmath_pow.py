"""x^y: in float32 by way of double, in float64 by a logarithm in two parts."""

from __future__ import annotations

import math

from facula.llvm import estimate
from facula.llvm.build import Lanes
from facula.llvm.vmath import FORMATS, _clamp, _reduced, _scale, exp2
from facula.llvm.vmath_log import log2, parts_of_any

Pair = tuple[str, str]  # a number as a sum: rounded, and what rounding lost

# (2 atanh(s) - 2s - 2/3 s^3) / s^5 in s^2, |s| <= 3-sqrt(8)
LOG_TERMS = (
    0.4, 0.28571428571429375, 0.2222222222165098, 0.1818181833637892, 0.15384594867535828,
    0.1333480940363824, 0.11706120358653313, 0.11724301666311512,
)  # fmt: skip
TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)


def pow(v: Lanes, x: str, y: str) -> str:
    """x^y, with the special cases of C."""
    if v.kind == "double" and not estimate.possible(v):
        return v.libm("pow", x, y)
    one, inf = v.c(1.0), v.c(math.inf)
    base = v.abs(x)
    result = (_pow_of_double if v.kind == "double" else _pow_of_single)(v, base, y)
    whole = v.cmp("oeq", v.call("trunc", y), y)
    half = v.mul(y, v.c(0.5))
    odd = v.logic("and", whole, v.cmp("une", v.call("trunc", half), half))
    result = v.select(odd, v.copysign(result, x), result)
    negative = v.logic("and", v.cmp("olt", x, v.c(0.0)), v.cmp("one", base, inf))
    lost = v.logic("and", negative, v.logic("xor", whole, v.constant("i1", True)))
    result = v.select(lost, v.c(math.nan), result)
    flat = v.logic("and", v.cmp("oeq", base, one), v.cmp("oeq", v.abs(y), inf))
    flat = v.logic("or", flat, v.cmp("oeq", x, one))
    return v.select(v.logic("or", flat, v.cmp("oeq", y, v.c(0.0))), one, result)


def _pow_of_single(v: Lanes, base: str, y: str) -> str:
    """By way of double, where 2^(y log2 x) has bits to spare."""
    w = v.widen()
    wide = w.let(f"fpext {v.f} {base} to {w.f}")
    exponent = w.let(f"fpext {v.f} {y} to {w.f}")
    power = exp2(w, w.mul(exponent, log2(w, wide)))
    return v.let(f"fptrunc {w.f} {power} to {v.f}")


def _product(v: Lanes, x: str, y: str) -> Pair:
    whole = v.mul(x, y)
    return whole, v.fma(x, y, v.neg(whole))


def _sum(v: Lanes, large: str, small: str) -> Pair:
    """Of two numbers, the first of which is larger, or 0."""
    whole = v.add(large, small)
    return whole, v.sub(small, v.sub(whole, large))


def _log_in_two(v: Lanes, x: str) -> Pair:
    """log(x), some ten bits more exact than a double, for x >= 0; its second part may be NaN where
    the first is infinite."""
    two = v.c(2.0)
    n, t = parts_of_any(v, x)
    under, lost = _sum(v, two, t)
    near = estimate.inverse(v, under)
    s = v.mul(t, near)
    rest = v.mul(v.fma(v.neg(lost), s, v.fma(v.neg(under), s, t)), near)
    s, rest = _sum(v, s, rest)
    z, z_low = _product(v, s, s)
    z_low = v.fma(v.mul(two, s), rest, z_low)
    cube, cube_low = _product(v, z, s)
    cube_low = v.add(cube_low, v.fma(z, rest, v.mul(z_low, s)))
    third, third_low = _product(v, cube, v.c(TWO_THIRDS[0]))
    third_low = v.fma(cube, v.c(TWO_THIRDS[1]), v.fma(cube_low, v.c(TWO_THIRDS[0]), third_low))
    high, low = FORMATS["double"].ln2
    log, off = _sum(v, v.mul(n, v.c(high)), v.mul(two, s))
    log, more = _sum(v, log, third)
    small = v.fma(v.mul(cube, z), v.poly_pairs(z, LOG_TERMS), third_low)
    small = v.add(v.fma(n, v.c(low), v.fma(two, rest, small)), v.add(off, more))
    infinite = v.cmp("oeq", v.abs(n), v.c(math.inf))
    log, small = _sum(v, log, small)
    return v.select(infinite, n, log), small


def _pow_of_double(v: Lanes, base: str, y: str) -> str:
    """e^(y log x): the product is known to some ten bits more than the exponential can tell."""
    form, one = FORMATS["double"], v.c(1.0)
    log, log_low = _log_in_two(v, base)
    whole, lost = _product(v, y, log)
    lost = v.fma(y, log_low, lost)
    far = v.cmp("ogt", v.abs(whole), v.c(1400.0))
    lost = v.select(far, v.c(0.0), lost)
    r, k, low_bits = _reduced(v, _clamp(v, whole, *form.exp_range))
    r = v.add(r, lost)
    p = v.mul(v.mul(r, r), v.poly_pairs(r, form.exp))
    top, off = _sum(v, one, r)
    return _scale(v, v.add(top, v.add(off, p)), k, low_bits)
