"""More elementary functions as straight-line code: arcs, area functions, gamma, remainders.

As in `vmath`: each takes `v: Lanes` and names of values and gives the name of the result. The
polynomials interpolate at Chebyshev's points, with 40 digits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from facula.llvm import estimate
from facula.llvm.build import Lanes
from facula.llvm.vmath import (
    ERF_NEAR,
    FORMATS,
    _clamp,
    _power_of_rest,
    _reduced,
    _round_to_multiple,
    _scale,
    about,
    by_double,
    erf,
    exp,
    sin,
    tan,
    where_libm,
)
from facula.llvm.vmath_log import log, log1p

# (atan(r) / r - 1) / r^2 in r^2, 0 <= r <= tan(pi/8)
ATAN = {
    "float": (
        -0.333333332792548,
        0.19999977258688387,
        -0.14284151193628614,
        0.11071365021884794,
        -0.08624676145249494,
        0.050481385120797445,
    ),
    "double": (
        -0.3333333333333333,
        0.19999999999999804,
        -0.14285714285659828,
        0.11111111105155447,
        -0.09090908753500877,
        0.07692296375032143,
        -0.06666424885738255,
        0.05878928997834775,
        -0.05230454270650244,
        0.04551593220626549,
        -0.034570561981427744,
        0.016285756855221028,
    ),
}
_TURN = math.tan(math.pi / 8)
_HUGE = {"float": 1e37, "double": 1e307}
_TINY = {"float": 1e-30, "double": 1e-290}


def _arc(v: Lanes, y: str, x: str, terms: tuple[float, ...]) -> str:
    """atan(y / x) for y and x from 0 to infinity; 0 where both are."""
    zero, one = v.c(0.0), v.c(1.0)
    steep = v.cmp("ogt", y, x)
    a, b = v.select(steep, x, y), v.select(steep, y, x)
    # estimates of quotients need what has an inverse
    scale = v.select(v.cmp("ogt", b, v.c(_HUGE[v.kind])), v.c(0.0625), one)
    scale = v.select(v.cmp("olt", b, v.c(_TINY[v.kind])), v.c(2.0**64), scale)
    a, b = v.mul(a, scale), v.mul(b, scale)
    # of two infinities the quotient is 1, of one and less 0, of two zeros 0
    endless = v.cmp("oeq", a, v.c(math.inf))
    a, b = v.select(endless, one, a), v.select(endless, one, b)
    nothing = v.logic("or", v.cmp("oeq", b, v.c(math.inf)), v.cmp("oeq", b, zero))
    a, b = v.select(nothing, zero, a), v.select(nothing, one, b)
    wide = v.cmp("ogt", a, v.mul(b, v.c(_TURN)))
    over, under = v.select(wide, v.sub(a, b), a), v.select(wide, v.add(a, b), b)
    t = estimate.quotient(v, over, under)
    z = v.mul(t, t)
    angle = v.fma(v.mul(t, z), v.poly(z, terms), t)
    angle = v.select(wide, v.add(v.c(math.pi / 4), angle), angle)
    high, low = FORMATS[v.kind].half_pi[:2]
    return v.select(steep, v.add(v.sub(v.c(high), angle), v.c(low)), angle)


def _in_double(f: Callable[..., str]) -> Callable[..., str]:
    """f(v, *args, terms): float32 is done in double, where a short polynomial is exact enough."""

    def function(v: Lanes, *args: str) -> str:
        if v.kind == "double":
            return f(v, *args, ATAN["double"])
        return by_double(v, lambda w, *wide: f(w, *wide, ATAN["float"]), *args)

    return function


def atan(v: Lanes, x: str) -> str:
    if v.kind == "float":
        return _atan_of_single(v, x)
    result = v.copysign(_arc(v, v.abs(x), v.c(1.0), ATAN["double"]), x)
    return v.select(v.cmp("uno", x, x), x, result)


@_in_double
def atan2(v: Lanes, y: str, x: str, terms: tuple[float, ...]) -> str:
    angle = _arc(v, v.abs(y), v.abs(x), terms)
    left = v.cmp("olt", v.copysign(v.c(1.0), x), v.c(0.0))
    high, low = (2 * h for h in FORMATS[v.kind].half_pi[:2])
    angle = v.select(left, v.add(v.sub(v.c(high), angle), v.c(low)), angle)
    result = v.copysign(angle, y)
    return v.select(v.cmp("uno", x, y), v.add(x, y), result)


# of float32 in float32: (atan(t)/t - 1) / t^2 in t^2, |t| <= 1; (asin(s)/s - 1) / s^2 in s^2, s <= 1/2
ATAN_SINGLE = (
    -0.33333298563957214, 0.1999852955341339, -0.14264015853405, 0.10950881242752075,
    -0.08399306982755661, 0.05788123235106468, -0.031096480786800385, 0.010868127457797527,
    -0.0017826107796281576,
)  # fmt: skip
ASIN_SINGLE = (
    0.16666659712791443, 0.07500521093606949, 0.04451363533735275, 0.03183605521917343,
    0.01432918943464756, 0.03767312690615654,
)  # fmt: skip


def _turned_by(v: Lanes, base: str, low: str, g: str, rest: str) -> str:
    """base + low + g + rest, rounded once, for |g| <= |base| or base 0, and a small rest."""
    whole = v.add(base, g)
    lost = v.add(v.sub(base, whole), g)
    return v.add(whole, v.add(v.add(lost, low), rest))


def _atan_of_single(v: Lanes, x: str) -> str:
    """atan(a), or pi/2 + atan(-1/a), with what the quotient's rounding lost."""
    one, zero, a = v.c(1.0), v.c(0.0), _clamp(v, v.abs(x), None, 1e30)
    high, low = FORMATS["float"].half_pi[:2]
    steep = v.cmp("ogt", a, one)
    over, under = v.select(steep, v.c(-1.0), a), v.select(steep, a, one)
    near = estimate.inverse(v, under)
    t = v.mul(over, near)
    lost = v.mul(v.fma(v.neg(under), t, over), near)
    z = v.mul(t, t)
    rest = v.fma(v.mul(t, z), v.poly(z, ATAN_SINGLE), lost)
    base, more = v.select(steep, v.c(high), zero), v.select(steep, v.c(low), zero)
    return v.copysign(_turned_by(v, base, more, t, rest), x)


def _arc_of_single(v: Lanes, a: str) -> tuple[str, str, str]:
    """For 0 <= a <= 1 whether a > 1/2, and asin(a), or of sqrt((1-a)/2), in two parts."""
    half = v.c(0.5)
    far = v.cmp("ogt", a, half)
    square = v.select(far, v.fma(v.neg(half), a, half), v.mul(a, a))
    root, lost = estimate.root_and_rest(v, square)
    g = v.select(far, root, a)
    lost = v.select(far, lost, v.c(0.0))
    return far, g, v.fma(g, v.mul(square, v.poly(square, ASIN_SINGLE)), lost)


def _asin_of_single(v: Lanes, x: str) -> str:
    """asin(a) = pi/2 - 2 asin(sqrt((1-a)/2))."""
    zero, a = v.c(0.0), v.abs(x)
    far, g, rest = _arc_of_single(v, a)
    high, low = FORMATS["float"].half_pi[:2]
    factor = v.select(far, v.c(-2.0), v.c(1.0))
    base, more = v.select(far, v.c(high), zero), v.select(far, v.c(low), zero)
    arc = _turned_by(v, base, more, v.mul(factor, g), v.mul(factor, rest))
    return v.copysign(arc, x)


def _acos_of_single(v: Lanes, x: str) -> str:
    """pi/2 - asin(x), or twice the arc for x > 1/2, or pi less that for x < -1/2."""
    zero, a = v.c(0.0), v.abs(x)
    far, g, rest = _arc_of_single(v, a)
    left = v.cmp("olt", x, zero)
    factor = v.mul(v.select(far, v.c(2.0), v.c(-1.0)), v.copysign(v.c(1.0), x))
    base, more = (
        v.select(far, v.select(left, v.c(2.0 * part), zero), v.c(part))
        for part in FORMATS["float"].half_pi[:2]
    )
    return _turned_by(v, base, more, v.mul(factor, g), v.mul(factor, rest))


def asin(v: Lanes, x: str) -> str:
    if v.kind == "float":
        return _asin_of_single(v, x)
    one, a = v.c(1.0), v.abs(x)
    rest = v.call("sqrt", v.mul(v.sub(one, a), v.add(one, a)))
    result = v.copysign(_arc(v, a, rest, ATAN["double"]), x)
    return v.select(v.cmp("ule", a, one), v.select(v.cmp("uno", x, x), x, result), v.c(math.nan))


def acos(v: Lanes, x: str) -> str:
    if v.kind == "float":
        return _acos_of_single(v, x)
    one = v.c(1.0)
    sides = v.call("sqrt", v.sub(one, x)), v.call("sqrt", v.add(one, x))
    half = _arc(v, *sides, ATAN["double"])
    return v.select(v.cmp("ole", v.abs(x), one), v.add(half, half), v.c(math.nan))


def asinh(v: Lanes, x: str) -> str:
    # log1p(a + a^2 / (1 + sqrt(1 + a^2))), and log(2a) where squares overflow
    one, a = v.c(1.0), v.abs(x)
    large = v.cmp("ogt", a, v.c({"float": 1e9, "double": 1e17}[v.kind]))
    square = v.mul(a, a)
    body = v.add(a, v.div(square, v.add(one, v.call("sqrt", v.add(one, square)))))
    result = log1p(v, v.select(large, a, body))
    result = v.select(large, v.add(result, v.c(math.log(2.0))), result)
    return v.copysign(result, x)


def acosh(v: Lanes, x: str) -> str:
    t = v.sub(x, v.c(1.0))
    large = v.cmp("ogt", t, v.c({"float": 1e9, "double": 1e17}[v.kind]))
    body = v.add(t, v.call("sqrt", v.mul(t, v.add(t, v.c(2.0)))))
    result = log1p(v, v.select(large, t, body))
    result = v.select(large, v.add(result, v.c(math.log(2.0))), result)
    return v.select(v.cmp("oge", x, v.c(1.0)), result, v.c(math.nan))


def atanh(v: Lanes, x: str) -> str:
    a = v.abs(x)
    twice = v.div(v.add(a, a), v.sub(v.c(1.0), a))
    return v.copysign(v.mul(v.c(0.5), log1p(v, twice)), x)


# exp(a^2) erfc(a) (1 + 2a) in (a - 2) / (a + 2), 0 <= a <= 10
ERFC = (
    1.2769783816792275,
    -0.09276382997832656,
    -0.16603041682276495,
    0.16405140948769942,
    -0.05421950553983147,
    -0.008035280067016717,
    0.008717889841325667,
    0.001275135441054463,
    -0.0014362147333094207,
    -0.0004516824461593277,
    0.0001670105624703834,
    0.0001217931426178739,
    2.040049901602015e-05,
)


def _erfc_of_single(w: Lanes, x: str) -> str:
    """erfc in double lanes, as exact as float32 needs."""
    a = w.lower(w.c(10.5), w.abs(x))
    two = w.c(2.0)
    more, twice = w.add(a, two), w.add(w.add(a, a), w.c(1.0))
    inverse = w.div(w.c(1.0), w.mul(more, twice))  # of both: a division costs more than the rest
    t = w.mul(w.mul(w.sub(a, two), twice), inverse)
    right = w.mul(w.poly_pairs(t, ERFC), w.mul(more, inverse))
    right = w.mul(right, exp(w, w.neg(w.mul(a, a))))
    result = w.select(w.cmp("olt", x, w.c(0.0)), w.sub(two, right), right)
    return w.select(w.cmp("uno", x, x), x, result)


def _erfc_exponent(less: float, a: float) -> float:
    return -math.log(math.erfc(a)) - a * a - less


@functools.cache
def _erfc_table() -> list[tuple[float, ...]]:
    """For centres c = 0, 1/3, ... -log(exp(a^2) erfc(a)) of c in few bits, and what it is more at c + h."""
    rows = []
    for k in range(32):
        c = round(k / 3 * 2**18) / 2**18
        top = round(_erfc_exponent(0.0, c) * 2**15) / 2**15
        low, high = max(0.0, (k - 0.5) / 3), (k + 0.5) / 3
        rows.append((c, top, *about(functools.partial(_erfc_exponent, top), c, low, high, 6)))
    return rows


def _erfc_by_table(v: Lanes, x: str) -> str:
    """exp(-(a^2 + g)), g near the nearest centre's: what is large in the exponent is exact."""
    form, two = FORMATS["float"], v.c(2.0)
    a = _clamp(v, v.abs(x), None, 10.1)
    index = v.bits(v.fma(a, v.c(3.0), v.c(form.magic)))
    columns = (estimate.look_up(v, index, column) for column in zip(*_erfc_table(), strict=True))
    centre, top, *terms = columns
    h, rest = v.sub(a, centre), terms.pop()
    for term in terms[::-1]:
        rest = v.fma(rest, h, term)
    square = v.mul(a, a)
    lost = v.fma(a, a, v.neg(square))
    about_all = v.add(v.add(square, top), rest)
    k, low_bits = _round_to_multiple(v, about_all, -math.log2(math.e))
    r = v.sub(v.fma(k, v.c(-form.ln2[0]), v.neg(top)), square)
    small = v.add(v.fma(k, v.c(form.ln2[1]), lost), rest)
    r = v.sub(r, small)
    # 1 + r + r^2 (...), with what the first sum loses
    one = v.c(1.0)
    whole = v.add(one, r)
    off = v.sub(r, v.sub(whole, one))
    power = v.add(whole, v.fma(v.mul(r, r), v.poly(r, form.exp), off))
    right = _scale(v, power, k, low_bits)
    return v.select(v.cmp("olt", x, v.c(0.0)), v.sub(two, right), right)


# The same with all digits of double, 0 <= a <= 27.3.
ERFC_DOUBLE = (
    1.2769783815525286, -0.09276382658574606, -0.16603039761529098, 0.16405128003344938,
    -0.05422000099191957, -0.008034015082716232, 0.00872265387227349, 0.0012713389713431167,
    -0.001456813894301107, -0.0004543408861898901, 0.00020636672810786177,
    0.00015103950986171608, -1.5070092897106486e-06, -3.642453597509742e-05,
    -1.350390138300305e-05, 3.712982069483491e-06, 5.252521616903282e-06,
    1.5032199476644835e-06, -7.450730899327026e-07, -8.414289739764616e-07,
    -2.0713999862447634e-07, 1.5372908129107937e-07, 1.2457316373722142e-07,
    1.0653823779176061e-08, -1.959848862045555e-08, -7.035231364522771e-09,
    -4.791853521925734e-10,
)  # fmt: skip


def _erfc_of_double(v: Lanes, x: str) -> str:
    a, two, one = _clamp(v, v.abs(x), None, 27.3), v.c(2.0), v.c(1.0)
    more, twice = v.add(a, two), v.fma(two, a, one)
    inverse = estimate.inverse(v, v.mul(more, twice))
    t = v.mul(v.mul(v.sub(a, two), twice), inverse)
    whole = v.mul(a, a)
    r, k, low_bits = _reduced(v, v.neg(whole))
    r = v.sub(r, v.fma(a, a, v.neg(whole)))  # what the square's rounding lost
    over = v.mul(_power_of_rest(v, r), v.poly_pairs(t, ERFC_DOUBLE))
    rough = v.mul(more, inverse)
    q = v.mul(over, rough)
    q = v.fma(v.fma(v.neg(twice), q, over), rough, q)
    right = _scale(v, q, k, low_bits)
    far = v.select(v.cmp("olt", x, v.c(0.0)), v.sub(two, right), right)
    near = v.sub(one, v.fma(x, v.poly_pairs(whole, ERF_NEAR), x))
    return v.select(v.cmp("olt", a, v.c(0.5)), near, far)


def erfc(v: Lanes, x: str) -> str:
    if v.kind == "float":
        by_table = estimate.can_look_up(v)
        return _erfc_by_table(v, x) if by_table else by_double(v, _erfc_of_single, x)
    return _erfc_of_double(v, x) if v.builder.fma else v.libm("erfc", x)


# erfinv(x)/x with w = -log(1-x^2): in w-2.5 for w < 5; beyond, in sqrt(w) less a centre
ERFINV_MIDDLE = (
    1.5014093535137836,
    0.24664028764058699,
    -0.004177339404267236,
    -0.0012527446701693188,
    0.00021828263044804095,
    -4.961906990607264e-06,
    -3.434611279618494e-06,
    4.6589111219224446e-07,
    1.803711409776985e-08,
    -8.772755309712826e-09,
    3.3554620360059253e-10,
)
ERFINV_TAIL = {
    "float": (
        3.0,
        (
            2.832976801455009,
            1.001675236646139,
            0.009445303204703347,
            -0.00764276395749237,
            0.0056876985543090584,
            -0.0035670925414523183,
            0.0014751122894800742,
            -0.0001200428335824058,
            -0.00027749447260022245,
            0.00016055208239542333,
            -2.9514559843995787e-05,
        ),
    ),
    "double": (
        4.0,
        (
            3.839784297058625,
            1.0095020920824436,
            0.0012535249698123376,
            -0.0009168991331388566,
            0.00033824145315426387,
            -4.669757955726218e-05,
            3.28998973367154e-05,
            -7.361335464439558e-05,
            3.397956217889248e-05,
            -5.073287527253291e-07,
            -1.5541360756171945e-06,
        ),
    ),
}


def erfinv(v: Lanes, x: str) -> str:
    one = v.c(1.0)
    a = v.abs(x)
    w = v.neg(log(v, v.mul(v.sub(one, a), v.add(one, a))))
    middle = v.poly(v.sub(w, v.c(2.5)), ERFINV_MIDDLE)
    centre, coefficients = ERFINV_TAIL[v.kind]
    tail = v.poly(v.sub(v.call("sqrt", w), v.c(centre)), coefficients)
    y = v.mul(a, v.select(v.cmp("olt", w, v.c(5.0)), middle, tail))
    if v.kind == "double":
        y = _erfinv_step(v, a, y)
    y = v.select(v.cmp("oeq", a, one), v.c(math.inf), y)
    return v.copysign(y, x)


def _erfinv_step(v: Lanes, a: str, y: str) -> str:
    """One step of Halley's, which triples the digits of y = erfinv(a)."""
    near = v.sub(erf(v, y), a)
    far = v.sub(v.sub(v.c(1.0), a), erfc(v, y))
    error = v.select(v.cmp("olt", a, v.c(0.5)), near, far)
    slope = v.mul(exp(v, v.neg(v.mul(y, y))), v.c(2.0 / math.sqrt(math.pi)))
    step = v.div(error, slope)
    return v.sub(y, v.div(step, v.fma(y, step, v.c(1.0))))


# B(2k) / 2k: the asymptotic series of digamma in 1/x^2
DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def digamma(v: Lanes, x: str) -> str:
    """Reflection to the right half, recurrence up to 10, and the asymptotic series."""
    if v.kind == "float":
        return by_double(v, digamma, x)
    zero, one, ten = v.c(0.0), v.c(1.0), v.c(10.0)
    left = v.cmp("olt", x, zero)
    y = v.select(left, v.sub(one, x), x)
    result = zero
    for _ in range(10):
        below = v.cmp("olt", y, ten)
        result = v.sub(result, v.select(below, v.div(one, y), zero))
        y = v.select(below, v.add(y, one), y)
    z = v.div(one, v.mul(y, y))
    tail = v.fma(z, v.poly(z, DIGAMMA), v.div(v.c(0.5), y))
    result = v.add(result, v.sub(log(v, y), tail))
    whole = v.call("roundeven", x)
    angle = v.mul(v.sub(x, whole), v.c(math.pi))
    reflected = v.sub(result, v.div(v.c(math.pi), tan(v, angle)))
    result = v.select(left, reflected, result)
    pole = v.logic("and", left, v.cmp("oeq", x, whole))
    result = v.select(pole, v.c(math.nan), result)
    return v.select(v.cmp("oeq", x, zero), v.copysign(v.c(math.inf), v.neg(x)), result)


# B(2k) / (2k (2k - 1)): Stirling's series in 1/z^2, times z
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)


def _lgamma_of_single(w: Lanes, x: str) -> str:
    """Reflection to the right half, Stirling's series from 8 on; two logarithms in all."""
    one, eight = w.c(1.0), w.c(8.0)
    left = w.cmp("olt", x, w.c(0.5))
    y = w.select(left, w.sub(one, x), x)
    small = w.cmp("olt", y, eight)
    product = y
    for k in range(1, 8):
        product = w.mul(product, w.add(y, w.c(float(k))))
    product = w.select(small, product, one)
    z = w.select(small, w.add(y, eight), y)
    inverse = w.div(one, z)
    tail = w.mul(inverse, w.poly(w.mul(inverse, inverse), STIRLING))
    body = w.fma(w.sub(z, w.c(0.5)), log(w, z), w.sub(w.c(0.5 * math.log(2 * math.pi)), z))
    body = w.add(body, tail)
    turn = w.mul(w.sub(x, w.call("roundeven", x)), w.c(math.pi))
    mirrored = w.div(w.mul(w.c(math.pi), product), w.abs(sin(w, turn)))
    rest = log(w, w.select(left, mirrored, w.div(one, product)))
    result = w.add(w.select(left, w.neg(body), body), rest)
    none = w.logic("or", w.cmp("oeq", x, one), w.cmp("oeq", x, w.c(2.0)))
    result = w.select(none, w.c(0.0), result)  # exact, where two terms only nearly cancel
    return w.select(w.cmp("oeq", w.abs(x), w.c(math.inf)), w.c(math.inf), result)


def lgamma(v: Lanes, x: str) -> str:
    if v.kind == "float":
        return by_double(v, _lgamma_of_single, x)
    return v.libm("lgamma", x)


def hypot(v: Lanes, x: str, y: str) -> str:
    if v.kind == "double":
        return _hypot_of_double(v, x, y) if v.builder.fma else v.libm("hypot", x, y)
    length = by_double(v, lambda w, a, b: w.call("sqrt", w.fma(a, a, w.mul(b, b))), x, y)
    return _endless(v, length, x, y)


def _endless(v: Lanes, length: str, x: str, y: str) -> str:
    """Infinity where one side is, though the other be NaN."""
    inf = v.c(math.inf)
    endless = v.logic("or", v.cmp("oeq", v.abs(x), inf), v.cmp("oeq", v.abs(y), inf))
    return v.select(endless, inf, length)


def _hypot_of_double(v: Lanes, x: str, y: str) -> str:
    """The root of the sum of squares, scaled by a power of two, and one step of Newton's on it with
    the squares' rounding errors (Borges, "An improved algorithm for hypot(a, b)")."""
    a, b, one = v.abs(x), v.abs(y), v.c(1.0)
    a, b = v.upper(a, b), v.lower(b, a)
    large, small = v.cmp("ogt", a, v.c(2.0**510)), v.cmp("olt", a, v.c(2.0**-450))
    scale = v.select(large, v.c(2.0**-600), v.select(small, v.c(2.0**600), one))
    back = v.select(large, v.c(2.0**600), v.select(small, v.c(2.0**-600), one))
    a, b = v.mul(a, scale), v.mul(b, scale)
    h = v.call("sqrt", v.fma(a, a, v.mul(b, b)))
    h2, a2 = v.mul(h, h), v.mul(a, a)
    off = v.fma(v.neg(b), b, v.sub(h2, a2))
    off = v.add(off, v.sub(v.fma(h, h, v.neg(h2)), v.fma(a, a, v.neg(a2))))
    twice = v.add(h, h)
    h = v.select(v.cmp("oeq", h, v.c(0.0)), h, v.sub(h, v.div(off, twice)))
    return _endless(v, v.mul(h, back), x, y)


def nextafter(v: Lanes, x: str, y: str) -> str:
    """One step in the bits of x, up or down."""
    zero = v.c(0.0)
    grows = v.logic("xor", v.cmp("olt", x, y), v.cmp("olt", x, zero))
    step = v.iselect(grows, v.ci(1), v.ci(-1))
    moved = v.unbits(v.integer("add", v.bits(x), step))
    least = v.copysign(v.unbits(v.ci(1)), y)
    result = v.select(v.cmp("oeq", x, zero), least, moved)
    result = v.select(v.cmp("oeq", x, y), y, result)
    return v.select(v.cmp("uno", x, y), v.add(x, y), result)


def fmod(v: Lanes, x: str, y: str) -> str:
    """x less a multiple of y, exact: the quotient may be one off, which shows in the remainder.

    libm does lanes whose quotient is too large for that, and those without a remainder.
    """
    if not v.builder.fma:
        return v.libm("fmod", x, y)
    zero, size, a = v.c(0.0), v.abs(y), v.abs(x)
    quotient = v.call("trunc", v.div(a, size))
    r = v.fma(v.neg(quotient), size, a)
    r = v.select(v.cmp("olt", r, zero), v.add(r, size), r)
    r = v.select(v.cmp("oge", r, size), v.sub(r, size), r)
    result = v.copysign(r, x)
    good = v.logic("and", v.cmp("olt", quotient, v.c(2.0**22)), v.cmp("olt", size, v.c(math.inf)))
    far = v.logic("xor", good, v.constant("i1", True))
    return where_libm(v, far, "fmod", result, x, y)


def _split(v: Lanes, x: str) -> tuple[str, str, str]:
    """(mantissa in [0.5, 1) with x's sign, exponent, whether x has none: 0, infinity, NaN)."""
    form = FORMATS[v.kind]
    more = form.digits + 1
    tiny = v.cmp("olt", v.abs(x), v.c(form.tiny))
    bits = v.bits(v.select(tiny, v.mul(x, v.c(2.0**more)), x))
    biased = v.integer("and", v.integer("lshr", bits, v.ci(form.digits)), v.ci(2 * form.bias + 1))
    bias = v.iselect(tiny, v.ci(form.bias - 1 + more), v.ci(form.bias - 1))
    rest = v.integer("and", bits, v.ci(~((2 * form.bias + 1) << form.digits)))
    half = v.integer("or", rest, v.ci((form.bias - 1) << form.digits))
    zero = v.cmp("oeq", x, v.c(0.0))
    none = v.logic("or", zero, v.cmp("ueq", v.abs(x), v.c(math.inf)))
    return v.unbits(half), v.to_float(v.integer("sub", biased, bias)), none


def mantissa(v: Lanes, x: str) -> str:
    half, _, none = _split(v, x)
    return v.select(none, x, half)


def exponent(v: Lanes, x: str) -> str:
    _, power, none = _split(v, x)
    return v.select(none, v.c(0.0), power)
