"""Elementary functions as straight-line code on any number of lanes, in float32 and float64.

Each takes `v: Lanes` and names of values, writes instructions, and gives the name of the result.
The polynomials are minimax fits by Remez' exchange algorithm in 300-bit arithmetic; those of
float32 mostly had their coefficients rounded one at a time, the rest fitted anew after each. The
reductions are Cody and Waite's: an exact multiple of the period is taken off in two or three pieces
with fma.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from facula.llvm import estimate
from facula.llvm.build import Lanes


@dataclass(frozen=True)
class Format:
    """Figures of a float format, and the coefficients that are good enough for it."""

    digits: int  # bits after the point
    bias: int
    magic: float  # adding it rounds to an integer, found in the low bits
    tiny: float  # least normal number
    # Outside, exp is 0 or infinity. The low end lies where both halves of 2^n are 0 and not only their
    # product: the exponentials of minus infinities, as masks make them, take no underflow (hundreds
    # of cycles on some processors).
    exp_range: tuple[float, float]
    ln2: tuple[float, float]  # high part with trailing zeros, and the rest
    half_pi: tuple[float, float, float]
    trig_limit: float  # up to here the three pieces of pi/2 are enough
    # (e^r - 1 - r) / r^2 on |r| <= ln(2)/2: Sleef's, with which PyTorch's softmax and sigmoid are met
    # to the bit
    exp: tuple[float, ...]
    sin: tuple[float, ...]  # (sin(r)/r - 1) / r^2 in r^2, |r| <= pi/4
    cos: tuple[float, ...]  # (cos(r) - 1 + r^2/2) / r^4 in r^2, |r| <= pi/4
    tanh_end: float  # tanh(x) rounds to 1 from here on


FORMATS = {
    "float": Format(
        digits=23,
        bias=127,
        magic=12582912.0,
        tiny=2.0**-126,
        exp_range=(-176.0, 89.0),
        ln2=(0.693145751953125, 1.4286067653302103e-06),
        half_pi=(1.5707963705062866, -4.371139000186241e-08, -1.7151245100058819e-15),
        trig_limit=1e5,
        exp=(
            0.5,
            0.1666666716337204,
            0.04166648536920547,
            0.008333360776305199,
            0.0013930435525253415,
            0.00019852761761285365,
        ),
        sin=(-0.16666655242443085, 0.008332190103828907, -0.00019518405315466225),
        cos=(0.04166664555668831, -0.00138873013202101, 2.4430675694020465e-05),
        tanh_end=10.0,
    ),
    "double": Format(
        digits=52,
        bias=1023,
        magic=6755399441055744.0,
        tiny=2.0**-1022,
        exp_range=(-1418.0, 710.0),
        ln2=(0.6931471805596629565, 2.8235290563031577e-13),
        half_pi=(1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33),
        trig_limit=1e6,
        exp=(
            0.5,
            0.1666666666666669072,
            0.4166666666666602598e-1,
            0.8333333333314938210e-2,
            0.1388888888914497797e-2,
            0.1984126989855865850e-3,
            0.2480158687479686264e-4,
            0.2755723402025388239e-5,
            0.2755762628169491192e-6,
            0.2511210703042288022e-7,
            0.2081276378237164457e-8,
        ),
        sin=(
            -0.16666666666666632,
            0.008333333333322316,
            -0.00019841269829725392,
            2.7557313662111545e-06,
            -2.5050753271975805e-08,
            1.5896505339923844e-10,
        ),
        cos=(
            0.0416666666666666,
            -0.001388888888887399,
            2.4801587289394998e-05,
            -2.7557314326035097e-07,
            2.087571955759426e-09,
            -1.1359448554761166e-11,
        ),
        tanh_end=22.0,
    ),
}

# the bits of `magic`, to which an integer is added
_MAGIC_BITS = {"float": 0x4B400000, "double": 0x4338000000000000}


def _round_to_multiple(v: Lanes, x: str, scale: float) -> tuple[str, str]:
    """The integer nearest to x*scale: as a float, and in the low bits of an integer."""
    magic = FORMATS[v.kind].magic
    shifted = v.fma(x, v.c(scale), v.c(magic))
    return v.sub(shifted, v.c(magic)), v.bits(shifted)


def _power_of_two(v: Lanes, low_bits: str, more: int = 0) -> str:
    """2^(n + more) for n in low bits; must have the exponent of a normal number.

    The shift drops the bits of `magic` above n's.
    """
    form = FORMATS[v.kind]
    high = v.integer("shl", low_bits, v.ci(form.digits))
    return v.unbits(v.integer("add", high, v.ci((form.bias + more) << form.digits)))


def _scale(v: Lanes, x: str, k: str, low_bits: str) -> str:
    """x * 2^n for any n that exp can meet: in two steps, so that denormals come out right."""
    if estimate.possible(v):
        # An underflow takes the instruction hundreds of cycles, a zero none.
        form = FORMATS[v.kind]
        gone = v.cmp("olt", k, v.c(-form.bias - form.digits - 1))
        return estimate.scaled(v, v.select(gone, v.c(0.0), x), k)
    n = v.integer("sub", low_bits, v.ci(_MAGIC_BITS[v.kind]))
    half = v.integer("ashr", n, v.ci(1))
    rest = v.integer("sub", n, half)
    return v.mul(v.mul(x, _power_of_two(v, half)), _power_of_two(v, rest))


def _clamp(v: Lanes, x: str, low: float | None, high: float | None) -> str:
    """x within bounds; NaN stays."""
    if high is not None:
        x = v.lower(v.c(high), x)
    if low is not None:
        x = v.upper(v.c(low), x)
    return x


def _reduced(v: Lanes, x: str) -> tuple[str, str, str]:
    """x = n ln2 + r: (r, n as a float, n in low bits)."""
    form = FORMATS[v.kind]
    k, low_bits = _round_to_multiple(v, x, math.log2(math.e))
    r = v.fma(k, v.c(-form.ln2[0]), x)
    return v.fma(k, v.c(-form.ln2[1]), r), k, low_bits


def _exp_of_rest(v: Lanes, r: str) -> str:
    """e^r - 1 for |r| <= ln(2)/2."""
    form = FORMATS[v.kind]
    p = v.poly(r, form.exp) if v.kind == "float" else v.poly_pairs(r, form.exp)
    return v.fma(v.mul(r, r), p, r)


def _power_of_rest(v: Lanes, r: str) -> str:
    """e^r for |r| <= ln(2)/2, in Sleef's order."""
    one = v.c(1.0)
    if v.kind == "float":
        return v.add(_exp_of_rest(v, r), one)
    first, *terms = FORMATS[v.kind].exp
    p = v.fma(v.poly_tree(r, tuple(terms)), r, v.c(first))
    return v.fma(v.fma(p, r, one), r, one)


def exp(v: Lanes, x: str) -> str:
    low, high = FORMATS[v.kind].exp_range
    r, k, low_bits = _reduced(v, _clamp(v, x, low, high))
    return _scale(v, _power_of_rest(v, r), k, low_bits)


def exp2(v: Lanes, x: str) -> str:
    low, high = {"float": (-151.0, 129.0), "double": (-1076.0, 1025.0)}[v.kind]
    x = _clamp(v, x, low, high)
    k, low_bits = _round_to_multiple(v, x, 1.0)
    r = v.mul(v.sub(x, k), v.c(math.log(2.0)))
    return _scale(v, _power_of_rest(v, r), k, low_bits)


def expm1(v: Lanes, x: str) -> str:
    # 2^n p + (2^n - 1), halved on the way so that 2^n does not overflow
    form = FORMATS[v.kind]
    r, _, low_bits = _reduced(v, _clamp(v, x, -2.0 * form.tanh_end, form.exp_range[1]))
    p, half = _exp_of_rest(v, r), _power_of_two(v, low_bits, -1)
    large = v.fma(half, p, v.sub(half, v.c(0.5)))
    large = v.add(large, large)
    result = v.select(v.icmp("eq", low_bits, v.ci(_MAGIC_BITS[v.kind])), p, large)
    return v.copysign(result, x)


# Centres, near k 10/31 - 0.05, the tanh of which is nearly a float32; (tanh(r)/r - 1) / r^2 in r^2
# for |r| <= 0.213.
TANH_CENTRES = (
    0.0, 0.2725928723812103, 0.5951822400093079, 0.917756199836731, 1.240349292755127,
    1.5628807544708252, 1.8855441808700562, 2.208136796951294, 2.530571222305298,
    2.853295087814331, 3.1757445335388184, 3.498492956161499, 3.821061134338379,
    4.143548965454102, 4.465970516204834, 4.788782596588135, 5.111018657684326,
    5.433596134185791, 5.756165504455566, 6.079095363616943, 6.4018988609313965,
    6.724479675292969, 7.047060489654541, 7.369640827178955, 7.691649436950684,
    8.013943672180176, 8.336524963378906, 8.660249710083008, 8.981685638427734,
    9.305411338806152, 9.627991676330566, 9.95057201385498,
)  # fmt: skip
TANH = (-0.33333298563957214, 0.13328567147254944, -0.05212123319506645)

# the same for |r| < 0.625
TANH_NEAR = (
    -0.3333328366279602,
    0.1333148330450058,
    -0.053742773830890656,
    0.020648064091801643,
    -0.00571407238021493,
)


def _tanh_by_table(v: Lanes, x: str) -> str:
    """By the sum of angles: t + (1 - t^2) s / (1 + t s), t the tanh of a centre, s of the rest."""
    a = _clamp(v, v.abs(x), None, 10.0)
    index = v.bits(v.fma(a, v.c(3.1), v.c(FORMATS[v.kind].magic)))
    r = v.sub(a, estimate.look_up(v, index, TANH_CENTRES))
    t = estimate.look_up(v, index, [math.tanh(c) for c in TANH_CENTRES])
    slope = estimate.look_up(v, index, [math.cosh(c) ** -2 for c in TANH_CENTRES])
    z = v.mul(r, r)
    s = v.fma(v.mul(r, z), v.poly(z, TANH), r)
    result = v.add(t, v.div(v.mul(slope, s), v.fma(t, s, v.c(1.0))))
    return v.copysign(result, x)


def tanh(v: Lanes, x: str) -> str:
    """h / (h + 1) with h = (e^2a - 1) / 2 and a = |x|, which is good near 0, as e^2a - 1 is."""
    if estimate.can_look_up(v):
        return _tanh_by_table(v, x)
    form = FORMATS[v.kind]
    a = _clamp(v, v.abs(x), None, form.tanh_end)
    k, low_bits = _round_to_multiple(v, a, 2.0 * math.log2(math.e))
    r = a
    # in float32 ln2 is near enough in one piece: what n lacks is little where n is large
    for piece in form.ln2 if v.kind == "double" else (math.log(2.0),):
        r = v.fma(k, v.c(-0.5 * piece), r)
    terms = [c * 2.0 ** (power + 1) for power, c in enumerate(form.exp)]
    p = v.poly(r, terms) if v.kind == "float" else v.poly_pairs(r, terms)
    p = v.fma(v.mul(r, r), p, r)
    scale = _power_of_two(v, low_bits)
    h = v.fma(scale, p, v.fma(scale, v.c(0.5), v.c(-0.5)))
    divide = estimate.quotient if v.kind == "double" else Lanes.div
    result = divide(v, h, v.add(h, v.c(1.0)))
    if v.kind == "float":
        z = v.mul(a, a)
        near = v.fma(v.mul(a, z), v.poly(z, TANH_NEAR), a)
        result = v.select(v.cmp("olt", a, v.c(0.625)), near, result)
    return v.copysign(result, x)


def sigmoid(v: Lanes, x: str) -> str:
    e = exp(v, v.neg(x))
    return v.div(v.c(1.0), v.add(e, v.c(1.0)))


def sinh(v: Lanes, x: str) -> str:
    # with e = e^a - 1: (e + e/(e+1)) / 2; e^(a/2) twice where e^a overflows
    a = v.abs(x)
    e = expm1(v, a)
    small = v.add(e, v.div(e, v.add(e, v.c(1.0))))
    root = exp(v, v.mul(a, v.c(0.5)))
    large = v.mul(v.mul(root, v.c(0.5)), root)
    high = FORMATS[v.kind].exp_range[1] - 2.0
    result = v.select(v.cmp("olt", a, v.c(high)), v.mul(small, v.c(0.5)), large)
    return v.copysign(result, x)


def cosh(v: Lanes, x: str) -> str:
    a = v.abs(x)
    e = exp(v, a)
    small = v.fma(v.c(0.5), e, v.div(v.c(0.5), e))
    root = exp(v, v.mul(a, v.c(0.5)))
    large = v.mul(v.mul(root, v.c(0.5)), root)
    high = FORMATS[v.kind].exp_range[1] - 2.0
    return v.select(v.cmp("olt", a, v.c(high)), small, large)


def _sin_cos(v: Lanes, x: str) -> tuple[str, str, str]:
    """Sine and cosine of x less a multiple of pi/2, and the multiple, for |x| within bounds."""
    form = FORMATS[v.kind]
    k, low_bits = _round_to_multiple(v, x, 2.0 / math.pi)
    r = x
    for piece in form.half_pi:
        r = v.fma(k, v.c(-piece), r)
    z = v.mul(r, r)
    sine = v.fma(v.mul(r, z), v.poly(z, form.sin), r)
    cosine = v.fma(v.mul(z, z), v.poly(z, form.cos), v.fma(z, v.c(-0.5), v.c(1.0)))
    return sine, cosine, low_bits


def _turned(v: Lanes, sine: str, cosine: str, quarter: str) -> str:
    """sin(r + quarter pi/2)."""
    odd = v.icmp("ne", v.integer("and", quarter, v.ci(1)), v.ci(0))
    sign = v.integer(
        "shl", v.integer("and", quarter, v.ci(2)), v.ci(30 if v.kind == "float" else 62)
    )
    return v.unbits(v.integer("xor", v.bits(v.select(odd, cosine, sine)), sign))


def _or_libm(v: Lanes, x: str, name: str, result: str) -> str:
    """libm's result in place of ours if any lane's argument is too large for our reduction."""
    far = v.cmp("oge", v.abs(x), v.c(FORMATS[v.kind].trig_limit))
    return where_libm(v, far, name, result, x)


def where_libm(v: Lanes, far: str, name: str, result: str, *args: str) -> str:
    """libm's name(*args) in lanes where `far` holds; libm is called if there are any."""
    return v.where(far, result, lambda: v.libm(name, *args))


def sin(v: Lanes, x: str) -> str:
    sine, cosine, quarter = _sin_cos(v, x)
    result = v.select(v.cmp("oeq", x, v.c(0.0)), x, _turned(v, sine, cosine, quarter))
    return _or_libm(v, x, "sin", result)


def cos(v: Lanes, x: str) -> str:
    sine, cosine, quarter = _sin_cos(v, x)
    quarter = v.integer("add", quarter, v.ci(1))
    return _or_libm(v, x, "cos", _turned(v, sine, cosine, quarter))


# (tan(r)/r - 1) / r^2 in r^2, |r| <= pi/4
TAN_SINGLE = (
    0.3333335146587836, 0.13332609055106284, 0.05406564593865949, 0.02125440458902859,
    0.010903885686571415, 7.526854424653759e-06, 0.004414891789710108,
)  # fmt: skip


def _tan_of_single(w: Lanes, x: str) -> str:
    """tan(r), or -1 / tan(r) after an odd number of quarters, as exact as float32 needs."""
    k, low_bits = _round_to_multiple(w, x, 2.0 / math.pi)
    r = x
    for piece in FORMATS["double"].half_pi[:2]:
        r = w.fma(k, w.c(-piece), r)
    z = w.mul(r, r)
    t = w.fma(w.mul(r, z), w.poly(z, TAN_SINGLE), r)
    odd = w.icmp("ne", w.integer("and", low_bits, w.ci(1)), w.ci(0))
    return w.select(odd, w.neg(estimate.rough_inverse(w, t)), t)


# The same, |r| <= pi/32; sines and cosines of multiples of pi/16, where tan has its zero -0, so that
# tan(-0) is, and where it has its pole exactly 0
TAN_NEAR = (0.3333333339488452, 0.1333321840823998, 0.05428582550701087)
SINES = (-0.0, *(math.sin(k * math.pi / 16) for k in range(1, 16)))
COSINES = tuple(math.cos(k * math.pi / 16) if k != 8 else 0.0 for k in range(16))


def _tan_by_table(w: Lanes, x: str) -> str:
    """By the sum of angles: (s + c t) / (c - s t), t the tan of what is left."""
    k, index = _round_to_multiple(w, x, 16.0 / math.pi)
    r = x
    for piece in FORMATS["double"].half_pi[:2]:
        r = w.fma(k, w.c(-piece / 8), r)
    z = w.mul(r, r)
    t = w.fma(w.mul(r, z), w.poly(z, TAN_NEAR), r)
    s, c = estimate.look_up(w, index, SINES), estimate.look_up(w, index, COSINES)
    return w.mul(w.fma(c, t, s), estimate.rough_inverse(w, w.fma(w.neg(s), t, c)))


def tan(v: Lanes, x: str) -> str:
    if v.kind == "float":
        by_table = estimate.possible(v.widen())
        result = by_double(v, _tan_by_table if by_table else _tan_of_single, x)
        far = v.cmp("oge", v.abs(x), v.c(FORMATS["double"].trig_limit))
        return v.where(far, result, lambda: by_double(v, lambda w, y: w.libm("tan", y), x))
    sine, cosine, quarter = _sin_cos(v, x)
    odd = v.icmp("ne", v.integer("and", quarter, v.ci(1)), v.ci(0))
    over = v.select(odd, v.neg(cosine), sine)
    under = v.select(odd, sine, cosine)
    result = v.select(v.cmp("oeq", x, v.c(0.0)), x, v.div(over, under))
    return _or_libm(v, x, "tan", result)


def by_double(v: Lanes, function: Callable[..., str], *args: str) -> str:
    """A function of float32 computed in float64 and rounded."""
    w = v.widen()
    wide = [w.let(f"fpext {v.f} {x} to {w.f}") for x in args]
    return v.let(f"fptrunc {w.f} {function(w, *wide)} to {v.f}")


# erf(x)/x - 1 in x^2, |x| < 0.9; -log(erfc(x)), 0.88 <= x <= 3.95
ERF_SMALL: tuple[float, ...] = (
    0.12837916612625122,
    -0.3761262893676758,
    0.11283624172210693,
    -0.026855560019612312,
    0.00519175361841917,
    -0.00080397684359923,
    7.943227683426812e-05,
)
ERF_LARGE = (
    -0.00016500470519531518,
    1.1294680833816528,
    0.6334421038627625,
    0.1081748828291893,
    -0.0250511784106493,
    0.004145081155002117,
    -0.0004290869983378798,
    2.0628378479159437e-05,
)


# double: erf(x) / x - 1 in x^2, |x| <= 1, and exp(a^2) erfc(a) (1 + 2a) in (a - 2) / (a + 2),
# 1 <= a <= 6, as exact as 1 less that over what is in front of it has to be
ERF_NEAR = (
    0.12837916709551256,
    -0.3761263890318355,
    0.11283791670945252,
    -0.026866170643275965,
    0.005223977607421724,
    -0.0008548325989628121,
    0.00012055295318839447,
    -1.4924744638150853e-05,
    1.644751743705341e-06,
    -1.6209174526994283e-07,
    1.3722971987331574e-08,
    -7.801183648636109e-10,
)
ERF_FAR = (
    1.2769783815525266,
    -0.0927638265856708,
    -0.1660303976113905,
    0.16405128004751696,
    -0.0542200016139369,
    -0.008034020744447009,
    0.008722662646607794,
    0.0012716129658079615,
    -0.0014559626419692042,
    -0.0004563295390423937,
    0.00019044063733140225,
    0.00012381009831188898,
)


def _erf_of_double(v: Lanes, x: str) -> str:
    one, a = v.c(1.0), v.abs(x)
    near = v.fma(x, v.poly_pairs(v.mul(a, a), ERF_NEAR), x)
    return v.where(v.cmp("oge", a, one), near, lambda: _erf_beyond_one(v, x, a))


def _erf_beyond_one(v: Lanes, x: str, a: str) -> str:
    """With x's sign, a = |x| >= 1."""
    one, two = v.c(1.0), v.c(2.0)
    beyond = _clamp(v, a, 1.0, 6.0)
    more, twice = v.add(beyond, two), v.fma(two, beyond, one)
    # of both: a division costs as much as all else
    inverse = estimate.inverse(v, v.mul(more, twice))
    t = v.mul(v.mul(v.sub(beyond, two), twice), inverse)
    rest = v.mul(v.poly_pairs(t, ERF_FAR), v.mul(more, inverse))
    r, _, low_bits = _reduced(v, v.neg(v.mul(beyond, beyond)))
    falls = v.mul(_power_of_rest(v, r), _power_of_two(v, low_bits))
    return v.copysign(v.fma(v.neg(falls), rest, one), x)


# Centres, near k/8 - 0.02, the erf of which is nearly a float32 (of the last one 1 - 2^-24: what is added
# then rounds to 1 where it should).
ERF_CENTRES = (
    0.0, 0.10499843209981918, 0.22999422252178192, 0.3550342619419098, 0.47998371720314026,
    0.6049939393997192, 0.7299255132675171, 0.8549447059631348, 0.9799923896789551,
    1.105139970779419, 1.230019450187683, 1.355034589767456, 1.4801636934280396,
    1.6050772666931152, 1.7299964427947998, 1.854976773262024, 1.979856252670288,
    2.1051580905914307, 2.2299442291259766, 2.3549811840057373, 2.479928731918335,
    2.6053130626678467, 2.730189323425293, 2.855194568634033, 2.979717254638672,
    3.1051483154296875, 3.229642391204834, 3.3551461696624756, 3.4803576469421387,
    3.604642391204834, 3.7303576469421387, 3.8325068950653076,
)  # fmt: skip


def about(f: Callable[[float], float], c: float, low: float, high: float, n: int) -> list[float]:
    """f(c + h) as a polynomial of n terms in h, c + h within (low, high): by Newton's interpolation at
    Chebyshev's points."""
    middle, half = (low + high) / 2, (high - low) / 2
    points = [middle + half * math.cos((2 * j + 1) * math.pi / (2 * n)) - c for j in range(n)]
    steps = [f(c + h) for h in points]
    for j in range(1, n):
        for i in range(n - 1, j - 1, -1):
            steps[i] = (steps[i] - steps[i - 1]) / (points[i] - points[i - j])
    terms = [0.0] * n
    for h, step in zip(points[::-1], steps[::-1], strict=True):
        terms = [s - h * t for s, t in zip([0.0, *terms[:-1]], terms, strict=True)]
        terms[0] += step
    return terms


def _erf_slope(c: float, x: float) -> float:
    return (math.erf(x) - math.erf(c)) / (x - c)


@functools.cache
def _erf_table() -> list[tuple[float, ...]]:
    """For each centre c its erf and (erf(c + h) - erf(c)) / h in h."""
    rows = []
    for k, c in enumerate(ERF_CENTRES):
        first, low, high = math.erf(c), max(0.0, (k - 0.5) / 8), (k + 0.5) / 8
        terms = about(functools.partial(_erf_slope, c), c, low, high, 5)
        terms[0] -= k == 0  # about 0 it is h + h (...)
        rows.append((first, *terms))
    return rows


def _erf_by_table(v: Lanes, x: str) -> str:
    """A polynomial about the nearest centre."""
    a = _clamp(v, v.abs(x), None, 3.93)
    index = v.bits(v.fma(a, v.c(8.0), v.c(FORMATS[v.kind].magic)))
    h = v.sub(a, estimate.look_up(v, index, ERF_CENTRES))
    first, *terms = (
        estimate.look_up(v, index, column) for column in zip(*_erf_table(), strict=True)
    )
    first = v.select(v.cmp("ole", a, v.c(1 / 16)), a, first)
    result = terms.pop()
    for term in [*terms[::-1], first]:
        result = v.fma(result, h, term)
    return v.copysign(result, x)


def erf(v: Lanes, x: str) -> str:
    if v.kind == "double":
        return _erf_of_double(v, x)
    if estimate.can_look_up(v):
        return _erf_by_table(v, x)
    a = _clamp(v, v.abs(x), None, 3.95)
    near = v.fma(x, v.poly(v.mul(a, a), ERF_SMALL), x)
    r, _, low_bits = _reduced(v, v.neg(v.poly(a, ERF_LARGE)))
    p, scale = _exp_of_rest(v, r), _power_of_two(v, low_bits)
    far = v.fma(v.neg(scale), p, v.sub(v.c(1.0), scale))  # 1 - 2^n (1 + p)
    far = v.copysign(far, x)
    return v.select(v.cmp("olt", a, v.c(0.89)), near, far)
