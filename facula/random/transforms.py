"""Native uniform and normal fills, with the arithmetic of PyTorch's x86 kernels.

PyTorch compiles its kernels once per CPU capability. This is the arithmetic of its AVX2 and
AVX-512 builds, where multiply-adds are fused; its DEFAULT and AArch64 builds round differently
in the last place. The normal transform of float32 is Box-Muller on blocks of 16 with the Cephes
polynomials of log, sin and cos.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from facula.random.native import compile_function
from facula.random.vector import Vector, chunked, declarations, elementwise, loop

CHUNK = 4096  # values drawn and transformed at a time: stays in the first-level cache


def _compile(name: str, transform: str, words: int, params: str, signature: str):
    typed = "".join(f", {p}" for p in params.split(", ") if p)
    text = transform + chunked(name, CHUNK, words, typed, typed)
    return compile_function(name, text + declarations(text), "ppi" + signature)


# -- uniform ---------------------------------------------------------------------


def _uniform_float(v: Vector, bits: str) -> str:
    """24 bits of a draw, scaled; a result rounded up to the end becomes the beginning."""
    low, high, span = (v.splat(f"%{name}") for name in ("low", "high", "span"))
    u = v.f("fmul", v.cast("uitofp", v.i("and", bits, 0xFFFFFF), "i32", "float"), 2.0**-24)
    x = v.fma(u, span, low)
    return v.select(v.fcmp("oeq", x, high), low, x)


def _uniform_double(v: Vector, bits: str) -> str:
    """53 bits of two draws, of which the first is the high half."""
    low, high, span = (v.splat(f"%{name}") for name in ("low", "high", "span"))
    bits = v.i("or", v.i("shl", bits, 32), v.i("lshr", bits, 32))
    u = v.f("fmul", v.cast("uitofp", v.i("and", bits, 2**53 - 1), "i64", "double"), 2.0**-53)
    x = v.fma(u, span, low)
    return v.select(v.fcmp("oeq", x, high), low, x)


@functools.cache
def uniform_fill(dtype: str) -> Callable[..., None]:
    """fill(engine, out, n, low, high, high - low) for float32 or float64."""
    if dtype == "float32":
        params = "float %low, float %high, float %span"
        body = elementwise("i32", 16, ", " + params, _uniform_float)
        return _compile("uniform_f32", body, 1, params, "fff")
    params = "double %low, double %high, double %span"
    body = elementwise("i64", 8, ", " + params, _uniform_double)
    return _compile("uniform_f64", body, 2, params, "ddd")


# -- normal ----------------------------------------------------------------------

_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
# pi / 4 in three parts, for the reduction of the angle
_QUARTER_PI = (-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8)


def _horner(v: Vector, x: str, coefficients: tuple[float, ...]) -> str:
    y: str | float = coefficients[0]
    for c in coefficients[1:]:
        y = v.fma(y, x, c)
    return str(y)


def log_float(v: Vector, x: str) -> str:
    """Cephes logf for positive x."""
    bits = v.bits(x)
    e = v.i("sub", v.i("lshr", bits, 23), 0x7F)
    e = v.f("fadd", v.cast("sitofp", e, "i32", "float"), 1.0)
    x = v.from_bits(v.i("or", v.i("and", bits, 0x007FFFFF), 0x3F000000))  # in [0.5, 1)
    small = v.fcmp("olt", x, math.sqrt(0.5))
    e = v.f("fsub", e, v.select(small, 1.0, 0.0))
    x = v.f("fadd", v.f("fsub", x, 1.0), v.select(small, x, 0.0))
    z = v.f("fmul", x, x)
    y = v.f("fmul", _horner(v, x, _LOG), x)
    y = v.fma(y, z, v.f("fmul", e, -2.12194440e-4))
    y = v.fma(z, -0.5, y)
    return v.fma(e, 0.693359375, v.f("fadd", x, y))


def sin_cos_float(v: Vector, x: str) -> tuple[str, str]:
    """Cephes sinf and cosf for x >= 0."""
    octant = v.cast("fptosi", v.f("fmul", x, 4 / math.pi), "float", "i32")
    octant = v.i("and", v.i("add", octant, 1), -2)
    y = v.cast("sitofp", octant, "i32", "float")
    for part in _QUARTER_PI:
        x = v.fma(y, part, x)
    z = v.f("fmul", x, x)
    c = v.f("fmul", _horner(v, z, _COS), z)
    c = v.f("fadd", v.fma(c, z, v.neg(v.f("fmul", z, 0.5))), 1.0)
    s = v.fma(v.f("fmul", _horner(v, z, _SIN), z), x, x)
    straight = v.icmp("eq", v.i("and", octant, 2), 0)
    sine, cosine = v.select(straight, s, c), v.select(straight, c, s)
    sine_sign = v.i("shl", v.i("and", octant, 4), 29)
    flipped = v.i("xor", v.i("sub", octant, 2), -1)
    cosine_sign = v.i("shl", v.i("and", flipped, 4), 29)
    return (
        v.from_bits(v.i("xor", v.bits(sine), sine_sign)),
        v.from_bits(v.i("xor", v.bits(cosine), cosine_sign)),
    )


def _box_muller_float(v: Vector, radius_bits: str, angle_bits: str) -> tuple[str, str]:
    mean, std = v.splat("%mean"), v.splat("%std")

    def uniform(bits: str) -> str:
        u = v.cast("uitofp", v.i("and", bits, 0xFFFFFF), "i32", "float")
        return v.f("fmul", u, 2.0**-24)

    u = v.f("fsub", 1.0, uniform(radius_bits))
    radius = v.sqrt(v.f("fmul", log_float(v, u), -2.0))
    sine, cosine = sin_cos_float(v, v.f("fmul", uniform(angle_bits), 2 * math.pi))
    return (
        v.fma(v.f("fmul", radius, cosine), std, mean),
        v.fma(v.f("fmul", radius, sine), std, mean),
    )


def _normal_float_transform() -> str:
    """In a block of 16, draws 0..7 give the radii and draws 8..15 the angles."""
    two, one = Vector(16), Vector(8)
    p = two.line("getelementptr i32, ptr %p, i64 %two.k")
    q = two.line(f"getelementptr i32, ptr {p}, i64 16")
    a, b = two.load(p, "i32"), two.load(q, "i32")
    low = (*range(8), *range(16, 24))
    high = tuple(k + 8 for k in low)
    cosines, sines = _box_muller_float(
        two, two.shuffle(a, b, "i32", low), two.shuffle(a, b, "i32", high)
    )
    two.store(two.shuffle(cosines, sines, "float", (*range(8), *range(16, 24))), p, "float")
    two.store(two.shuffle(cosines, sines, "float", (*range(8, 16), *range(24, 32))), q, "float")
    p = one.line("getelementptr i32, ptr %p, i64 %one.k")
    q = one.line(f"getelementptr i32, ptr {p}, i64 8")
    cosines, sines = _box_muller_float(one, one.load(p, "i32"), one.load(q, "i32"))
    one.store(cosines, p, "float")
    one.store(sines, q, "float")
    loops = loop("two", "0", "%n", 32, two.text(), "entry", "two.done")
    loops += loop("one", "%two.k", "%n", 16, one.text(), "two.done", "one.done")
    return (
        "define void @transform(ptr %p, i64 %n, float %mean, float %std) {\nentry:"
        + loops
        + "\n  ret void\n}\n"
    )


def _normal_double_transform() -> str:
    """As for float32, but with the C library's log, sin and cos on one pair at a time."""
    v = Vector(1, "double")
    p = v.line("getelementptr i64, ptr %p, i64 %at")
    q = v.line(f"getelementptr i64, ptr {p}, i64 8")
    uniforms = []
    for pointer in (p, q):
        bits = v.load(pointer, "i64")
        bits = v.i("or", v.i("shl", bits, 32), v.i("lshr", bits, 32))
        u = v.cast("uitofp", v.i("and", bits, 2**53 - 1), "i64", "double")
        uniforms.append(v.f("fmul", u, 2.0**-53))
    log = v.line(f"call double @log(double {v.f('fsub', 1.0, uniforms[0])})")
    radius = v.sqrt(v.f("fmul", log, -2.0))
    angle = v.f("fmul", uniforms[1], 2 * math.pi)
    for function, pointer in (("cos", p), ("sin", q)):
        wave = v.line(f"call double @{function}(double {angle})")
        v.store(v.fma(v.f("fmul", radius, wave), "%std", "%mean"), pointer, "double")
    return f"""
declare double @log(double)
declare double @sin(double)
declare double @cos(double)

define void @transform(ptr %p, i64 %n, double %mean, double %std) {{
entry:
  %pairs = lshr i64 %n, 1
  br label %test
test:
  %k = phi i64 [ 0, %entry ], [ %k.next, %body ]
  %k.next = add i64 %k, 1
  %more = icmp slt i64 %k, %pairs
  br i1 %more, label %body, label %exit
body:
  %group = and i64 %k, -8
  %at = add i64 %k, %group
{v.text()}
  br label %test
exit:
  ret void
}}
"""


@functools.cache
def normal_fill(dtype: str) -> Callable[..., None]:
    """fill(engine, out, n, mean, std) for float32 or float64; n is a multiple of 16."""
    if dtype == "float32":
        params = "float %mean, float %std"
        return _compile("normal_f32", _normal_float_transform(), 1, params, "ff")
    params = "double %mean, double %std"
    return _compile("normal_f64", _normal_double_transform(), 2, params, "dd")
