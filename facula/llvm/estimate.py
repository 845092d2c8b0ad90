"""Instructions of AVX-512 for floats: estimates of quotients and roots, exponents, mantissas, scaling.

A division or a root of eight doubles takes as long as thirty products, and an estimate with a step
of Newton's as long as eight. Lanes may be any number: a scalar is computed in a short register, and
what is longer than a register in several, so that a value is the same wherever it is computed.
"""

from __future__ import annotations

from collections.abc import Sequence

from facula.llvm.build import Lanes, literal

_SIZES = {"float": 4, "double": 8}
_SUFFIX = {"float": "ps", "double": "pd"}
# what follows the operands: a register to pass and a mask (the smallest is a byte), and in whole
# registers the mode of rounding
_ROUNDED = frozenset({"getexp", "getmant", "scalef"})


def possible(v: Lanes) -> bool:
    """Whether the machine has the instructions for these lanes."""
    if not v.builder.avx512 or v.kind not in _SIZES:
        return False
    size = v.n * _SIZES[v.kind]
    return size in (0, 16, 32) or size % 64 == 0


def _halves(v: Lanes, kind: str, x: str) -> list[str]:
    """The lanes of x, of a vector type, in two vectors."""
    n = v.n // 2
    orders = (", ".join(f"i32 {k}" for k in range(first, first + n)) for first in (0, n))
    return [v.let(f"shufflevector {kind} {x}, {kind} poison, <{n} x i32> <{o}>") for o in orders]


def _joined(half: Lanes, pair: list[str]) -> str:
    """The lanes of two vectors in one."""
    order = ", ".join(f"i32 {k}" for k in range(2 * half.n))
    return half.let(
        f"shufflevector {half.f} {pair[0]}, {half.f} {pair[1]}, <{2 * half.n} x i32> <{order}>"
    )


def _instruction(v: Lanes, name: str, *args: str, immediate: int | None = None) -> str:
    """An instruction on any number of lanes."""
    size = _SIZES[v.kind]
    if v.n == 0:
        short = Lanes(v.builder, 16 // size, v.kind)
        wide = [v.let(f"insertelement {short.f} poison, {v.f} {x}, i64 0") for x in args]
        result = _instruction(short, name, *wide, immediate=immediate)
        return v.let(f"extractelement {short.f} {result}, i64 0")
    if v.n * size > 64:
        half = Lanes(v.builder, v.n // 2, v.kind)
        halves = zip(*(_halves(v, v.f, x) for x in args), strict=True)
        return _joined(half, [_instruction(half, name, *p, immediate=immediate) for p in halves])
    mask = f"i{max(8, v.n)}"
    operands = [(v.f, x) for x in args]
    if immediate is not None:
        operands.append(("i32", str(immediate)))
    operands += [(v.f, "zeroinitializer"), (mask, "-1")]
    if name in _ROUNDED and v.n * size == 64:
        operands.append(("i32", "4"))
    masked = "mask." if name in _ROUNDED else ""
    full = f"llvm.x86.avx512.{masked}{name}.{_SUFFIX[v.kind]}.{v.n * size * 8}"
    return v.let(v.builder.intrinsic(full, v.f, operands))


def scaled(v: Lanes, x: str, n: str) -> str:
    """x * 2^n, n a float that is an integer: rounded once, also where it is no normal number."""
    return _instruction(v, "scalef", x, n)


def exponent(v: Lanes, x: str) -> str:
    """floor(log2(|x|)) as a float: -infinity of 0, infinity of infinity."""
    return _instruction(v, "getexp", x)


def mantissa(v: Lanes, x: str, about_one: bool = False) -> str:
    """|x| / 2^exponent, in [1, 2), which is 1 of 0 and infinity; NaN of what is negative.

    With `about_one` half of it from 1.5 on: in [0.75, 1.5).
    """
    return _instruction(v, "getmant", x, immediate=15 if about_one else 12)


def guess_of_inverse(v: Lanes, x: str) -> str:
    """1 / x to 14 bits."""
    return _instruction(v, "rcp14", x)


def rough_inverse(v: Lanes, x: str) -> str:
    """1 / x to 28 bits in double, 23 in float32, for x neither 0 nor infinite."""
    if not possible(v):
        return v.div(v.c(1.0), x)
    y = _instruction(v, "rcp14", x)
    return v.fma(y, v.fma(v.neg(x), y, v.c(1.0)), y)


def inverse(v: Lanes, x: str) -> str:
    """1 / x to 53 bits or 23, the last of which may be wrong; as in `rough_inverse`."""
    y = rough_inverse(v, x)
    if v.kind == "double" and possible(v):
        y = v.fma(y, v.fma(v.neg(x), y, v.c(1.0)), y)
    return y


def quotient(v: Lanes, x: str, y: str) -> str:
    """x / y, the last bit of which may be wrong; for y neither 0 nor infinite, nor nearly."""
    if not possible(v):
        return v.div(x, y)
    near = inverse(v, y)
    q = v.mul(x, near)
    return v.fma(v.fma(v.neg(y), q, x), near, q)


def can_look_up(v: Lanes) -> bool:
    """Whether `look_up` is possible: in float32."""
    return possible(v) and v.kind == "float"


def table_size(kind: str) -> int:
    """How many numbers `look_up` chooses from: two registers."""
    return 128 // _SIZES[kind]


def look_up(v: Lanes, index: str, table: Sequence[float]) -> str:
    """table[the low bits of an integer], of as many numbers as two registers have."""
    lanes = table_size(v.kind) // 2
    if v.n > lanes:
        half = Lanes(v.builder, v.n // 2, v.kind)
        return _joined(half, [look_up(half, part, table) for part in _halves(v, v.i, index)])
    if v.n < lanes:
        few, whole = Lanes(v.builder, max(v.n, 1), v.kind), Lanes(v.builder, lanes, v.kind)
        if not v.n:
            index = v.let(f"insertelement {few.i} poison, {v.i} {index}, i64 0")
        order = ", ".join(f"i32 {k % few.n}" for k in range(lanes))
        wide = v.let(f"shufflevector {few.i} {index}, {few.i} poison, <{lanes} x i32> <{order}>")
        result = look_up(whole, wide, table)
        if not v.n:
            return v.let(f"extractelement {whole.f} {result}, i64 0")
        order = ", ".join(f"i32 {k}" for k in range(v.n))
        return v.let(f"shufflevector {whole.f} {result}, {whole.f} poison, <{v.n} x i32> <{order}>")
    halves = [
        ", ".join(f"{v.kind} {literal(v.kind, x)}" for x in part)
        for part in (table[:lanes], table[lanes:])
    ]
    operands = [(v.f, f"<{halves[0]}>"), (v.i, index), (v.f, f"<{halves[1]}>")]
    name = f"llvm.x86.avx512.vpermi2var.{_SUFFIX[v.kind]}.512"
    return v.let(v.builder.intrinsic(name, v.f, operands))


def can_narrow(v: Lanes) -> bool:
    """Whether `narrowed` is possible."""
    return v.builder.bfloat16 and v.kind == "float" and v.n in (16, 32)


def narrowed(v: Lanes, x: str) -> tuple[str, str]:
    """float32 rounded to bfloat16, as <n x i16>, and where that is wrong: of NaN and what is denormal."""
    if v.n == 32:
        half = Lanes(v.builder, 16, v.kind)
        parts = [narrowed(half, part) for part in _halves(v, v.f, x)]
        short = Lanes(v.builder, 16, "i16")
        order = ", ".join(f"i32 {k}" for k in range(32))
        (low, odd_low), (high, odd_high) = parts
        odd = f"shufflevector <16 x i1> {odd_low}, <16 x i1> {odd_high}, <32 x i32> <{order}>"
        return _joined(short, [low, high]), v.let(odd)
    name = "llvm.x86.avx512bf16.cvtneps2bf16.512"
    rounded = v.let(v.builder.intrinsic(name, "<16 x bfloat>", [(v.f, x)]))
    classes = str(0x01 | 0x80 | 0x20)  # both kinds of NaN, denormal
    name = "llvm.x86.avx512.fpclass.ps.512"
    rare = v.let(v.builder.intrinsic(name, v.b, [(v.f, x), ("i32", classes)]))
    return v.let(f"bitcast <16 x bfloat> {rounded} to <16 x i16>"), rare


def root_and_rest(v: Lanes, x: str) -> tuple[str, str]:
    """Of float32: g, which is nearly sqrt(x), and sqrt(x) - g; NaN below 0, 0 for 0."""
    half, least = v.c(0.5), v.c(1e-30)
    if possible(v):
        y = v.lower(v.c(1e30), _instruction(v, "rsqrt14", x))
        g, slope = v.mul(x, y), v.mul(half, y)
        g = v.fma(g, v.fma(v.neg(g), slope, half), g)
    else:
        g = v.call("sqrt", x)
        slope = v.div(half, v.upper(least, g))
    return g, v.mul(v.fma(v.neg(g), g, x), slope)


def root(v: Lanes, x: str) -> str:
    """sqrt(x), rounded as it should be. In double by Newton's steps, which take a third of the time of
    the instruction; that is used where a lane is no ordinary number."""
    if not possible(v) or v.kind != "double" or v.n % 8 or not v.n:
        return v.call("sqrt", x)
    half = v.c(0.5)
    y = _instruction(v, "rsqrt14", x)
    g, h = v.mul(x, y), v.mul(half, y)
    for _ in range(2):
        rest = v.fma(v.neg(h), g, half)
        g, h = v.fma(g, rest, g), v.fma(h, rest, h)
    g = v.fma(v.fma(v.neg(g), g, x), h, g)
    least, most = (1023 - 900) << 52, (1023 + 900) << 52
    odd = v.icmp("ugt", v.integer("sub", v.bits(x), v.ci(least)), v.ci(most - least))
    return v.where(odd, g, lambda: v.call("sqrt", x))
