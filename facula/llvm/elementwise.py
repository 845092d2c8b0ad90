"""What each elementwise statement of a loop program is in LLVM IR: one table, `ELEMENTWISE`."""

from __future__ import annotations

import math
from collections.abc import Callable

from facula.kernel.program import ITEMSIZE, UNSIGNED
from facula.llvm import estimate, vmath, vmath_log, vmath_more, vmath_pow
from facula.llvm.build import REGISTER, Builder, Lanes

# dtype of the operands, dtype of the result, lanes of the operands' type, names -> name
Writer = Callable[..., str]


class Values:
    """Lanes of every type for one vector length."""

    def __init__(self, builder: Builder, n: int) -> None:
        self.builder = builder
        self.n = n
        self._lanes: dict[str, Lanes] = {}

    def __getitem__(self, dtype: str) -> Lanes:
        """Lanes for values of a dtype."""
        kind = REGISTER[dtype]
        lanes = self._lanes.get(kind)
        if lanes is None:
            lanes = self._lanes[kind] = Lanes(self.builder, self.n, kind)
        return lanes

    def write(self, op: str, source: str, dtype: str, args: list[str]) -> str:
        """Write an elementwise operation whose last operand has dtype `source`."""
        v = self[source]
        if op == "cast":
            return cast(self, args[0], source, dtype)
        if op == "bitcast":
            target = self[dtype]
            return v.let(f"bitcast {v.f} {args[0]} to {target.f}") if v.f != target.f else args[0]
        kind = "float" if source in ("float32", "float64") else "integer"
        writer = (FLOAT if kind == "float" else INTEGER).get(op)
        if writer is None:
            raise NotImplementedError(f"no code for {op} on {source}")
        return writer(v, source, *args)


def cast(values: Values, x: str, source: str, dtype: str) -> str:
    """Conversion as C does it, except that no argument gives an undefined result."""
    if source == dtype:
        return x
    if source == "bfloat16":
        return cast(values, _from_bfloat16(values, x), "float32", dtype)
    if dtype == "bfloat16":
        return _to_bfloat16(values, cast(values, x, source, "float32"))
    if source == "float16" and dtype != "float32":
        wide = cast(values, x, "float16", "float32")
        return cast(values, wide, "float32", dtype)
    if dtype == "float16" and source != "float32":
        narrow = cast(values, x, source, "float32")
        return cast(values, narrow, "float32", dtype)
    v, w = values[source], values[dtype]
    is_float = source.startswith("float")
    if dtype == "bool":
        zero = v.constant(v.kind, 0)
        return v.let(f"fcmp une {v.f} {x}, {zero}" if is_float else f"icmp ne {v.f} {x}, {zero}")
    if dtype.startswith("float"):
        if is_float:
            how = "fpext" if ITEMSIZE[source] < ITEMSIZE[dtype] else "fptrunc"
        else:
            how = "uitofp" if source == "bool" or source in UNSIGNED else "sitofp"
        return v.let(f"{how} {v.f} {x} to {w.f}")
    if is_float:
        return _float_to_integer(values, x, source, dtype)
    if v.f == w.f:
        return x
    if ITEMSIZE[source] > ITEMSIZE[dtype]:
        return v.let(f"trunc {v.f} {x} to {w.f}")
    how = "zext" if source == "bool" or source in UNSIGNED else "sext"
    return v.let(f"{how} {v.f} {x} to {w.f}")


def _float_to_integer(values: Values, x: str, source: str, dtype: str) -> str:
    # what lies outside the type wraps where x86 would wrap; freeze makes the rest harmless
    v, w = values[source], values[dtype]
    wide = "int64" if ITEMSIZE[dtype] == 8 or dtype == "uint32" else "int32"
    middle = values[wide]
    if dtype == "uint64":
        limit = v.c(2.0**63)
        big = v.cmp("oge", x, limit)
        x = v.select(big, v.sub(x, limit), x)
    y = v.let(f"fptosi {v.f} {x} to {middle.f}")
    y = v.let(f"freeze {middle.f} {y}")
    if dtype == "uint64":
        flipped = v.let(f"xor {middle.f} {y}, {middle.constant('i64', -(1 << 63))}")
        return v.let(f"select {v.b} {big}, {middle.f} {flipped}, {middle.f} {y}")
    return y if middle.f == w.f else v.let(f"trunc {middle.f} {y} to {w.f}")


def _from_bfloat16(values: Values, x: str) -> str:
    half, full = values["int16"], values["float32"]
    wide = half.let(f"zext {half.f} {x} to {full.i}")
    return full.unbits(full.integer("shl", wide, full.ci(16)))


def _to_bfloat16(values: Values, x: str) -> str:
    """Round to nearest, ties to even; NaN stays NaN."""
    full, half = values["float32"], values["int16"]
    if not estimate.can_narrow(full):
        return _to_bfloat16_by_bits(full, half, x)
    short, rare = estimate.narrowed(full, x)
    return half.where(rare, short, lambda: _to_bfloat16_by_bits(full, half, x))


def _to_bfloat16_by_bits(full: Lanes, half: Lanes, x: str) -> str:
    bits = full.bits(x)
    odd = full.integer("and", full.integer("lshr", bits, full.ci(16)), full.ci(1))
    rounded = full.integer("add", full.integer("add", bits, full.ci(0x7FFF)), odd)
    rounded = full.iselect(full.cmp("uno", x, x), full.ci(0x7FC00000), rounded)
    top = full.integer("lshr", rounded, full.ci(16))
    return full.let(f"trunc {full.i} {top} to {half.f}")


# float operations


def _instruction(name: str) -> Writer:
    return lambda v, dtype, *args: v.let(f"{name} {v.f} " + ", ".join(args))


def _intrinsic(name: str) -> Writer:
    return lambda v, dtype, *args: v.call(name, *args)


def _vector(function: Callable[..., str]) -> Writer:
    return lambda v, dtype, *args: function(v, *args)


def _compare(how: str) -> Writer:
    return lambda v, dtype, x, y: v.cmp(how, x, y)


def _maximum(how: str) -> Writer:
    """The greater (or smaller) value, or the first NaN."""

    def write(v: Lanes, dtype: str, x: str, y: str) -> str:
        beyond = v.select(v.cmp(how, x, y), x, y)  # one instruction on x86
        return v.select(v.cmp("uno", x, x), x, beyond)

    return write


def _fmax(how: str) -> Writer:
    """The greater (or smaller) value, or the one that is not NaN."""

    def write(v: Lanes, dtype: str, x: str, y: str) -> str:
        keep = v.logic("or", v.cmp(how, x, y), v.cmp("uno", y, y))
        return v.select(keep, x, y)

    return write


def _sign(v: Lanes, dtype: str, x: str) -> str:
    # as PyTorch: 0 for zeros and NaN
    zero = v.c(0.0)
    up = v.select(v.cmp("ogt", x, zero), v.c(1.0), zero)
    return v.select(v.cmp("olt", x, zero), v.c(-1.0), up)


def _relu(v: Lanes, dtype: str, x: str) -> str:
    return v.select(v.cmp("olt", x, v.c(0.0)), v.c(0.0), x)  # -0 stays, as in PyTorch


def _float_mod(v: Lanes, dtype: str, x: str, y: str) -> str:
    """Remainder with the divisor's sign."""
    r = vmath_more.fmod(v, x, y)
    other_sign = v.logic("xor", v.cmp("olt", r, v.c(0.0)), v.cmp("olt", y, v.c(0.0)))
    fix = v.logic("and", v.cmp("une", r, v.c(0.0)), other_sign)
    return v.select(fix, v.add(r, y), r)


def _float_floordiv(v: Lanes, dtype: str, x: str, y: str) -> str:
    """Python's: from the exact remainder, so that it agrees with mod."""
    zero, one = v.c(0.0), v.c(1.0)
    r = vmath_more.fmod(v, x, y)
    quotient = v.div(v.sub(x, r), y)
    other_sign = v.logic("xor", v.cmp("olt", r, zero), v.cmp("olt", y, zero))
    fix = v.logic("and", v.cmp("une", r, zero), other_sign)
    quotient = v.select(fix, v.sub(quotient, one), quotient)
    floor = v.call("floor", quotient)
    high = v.cmp("ogt", v.sub(quotient, floor), v.c(0.5))
    floor = v.select(high, v.add(floor, one), floor)
    plain = v.div(x, y)
    floor = v.select(v.cmp("oeq", quotient, zero), v.copysign(zero, plain), floor)
    return v.select(v.cmp("oeq", y, zero), plain, floor)


def _float_truncdiv(v: Lanes, dtype: str, x: str, y: str) -> str:
    return v.call("trunc", v.div(x, y))


def _isinf(v: Lanes, dtype: str, x: str) -> str:
    return v.cmp("oeq", v.abs(x), v.c(math.inf))


def _where(v: Lanes, dtype: str, c: str, x: str, y: str) -> str:
    return v.select(c, x, y)


_MORE = ("asin", "acos", "atan", "asinh", "acosh", "atanh", "erfc", "erfinv", "lgamma", "atan2", "nextafter",
         "hypot", "fmod", "mantissa", "exponent")  # fmt: skip

FLOAT: dict[str, Writer] = {
    "neg": _instruction("fneg"),
    "abs": _intrinsic("fabs"),
    "sign": _sign,
    "relu": _relu,
    "sqrt": _vector(estimate.root),
    "rsqrt": lambda v, dtype, x: v.div(v.c(1.0), v.call("sqrt", x)),
    "reciprocal": lambda v, dtype, x: v.div(v.c(1.0), x),
    "floor": _intrinsic("floor"),
    "ceil": _intrinsic("ceil"),
    "trunc": _intrinsic("trunc"),
    "round": _intrinsic("roundeven"),
    "isnan": lambda v, dtype, x: v.cmp("uno", x, x),
    "isinf": _isinf,
    "add": _instruction("fadd"),
    "sub": _instruction("fsub"),
    "mul": _instruction("fmul"),
    "div": _instruction("fdiv"),
    "fma": lambda v, dtype, x, y, z: v.fma(x, y, z),
    "floordiv": _float_floordiv,
    "mod": _float_mod,
    "truncdiv": _float_truncdiv,
    "maximum": _maximum("ogt"),
    "minimum": _maximum("olt"),
    "fmax": _fmax("ogt"),
    "fmin": _fmax("olt"),
    "copysign": _intrinsic("copysign"),
    "eq": _compare("oeq"),
    "ne": _compare("une"),
    "lt": _compare("olt"),
    "le": _compare("ole"),
    "gt": _compare("ogt"),
    "ge": _compare("oge"),
    "where": _where,
    "exp": _vector(vmath.exp),
    "exp2": _vector(vmath.exp2),
    "expm1": _vector(vmath.expm1),
    "log": _vector(vmath_log.log),
    "log2": _vector(vmath_log.log2),
    "log10": _vector(vmath_log.log10),
    "log1p": _vector(vmath_log.log1p),
    "sin": _vector(vmath.sin),
    "cos": _vector(vmath.cos),
    "tan": _vector(vmath.tan),
    "sinh": _vector(vmath.sinh),
    "cosh": _vector(vmath.cosh),
    "tanh": _vector(vmath.tanh),
    "sigmoid": _vector(vmath.sigmoid),
    "erf": _vector(vmath.erf),
    "digamma": _vector(vmath_more.digamma),
    "pow": _vector(vmath_pow.pow),
    **{name: _vector(getattr(vmath_more, name)) for name in _MORE},
}


# integer operations


def _signed(how: str) -> Writer:
    """A comparison that knows unsigned types."""

    def write(v: Lanes, dtype: str, x: str, y: str) -> str:
        return v.let(f"icmp {_sign_prefix(how, dtype)} {v.f} {x}, {y}")

    return write


def _sign_prefix(how: str, dtype: str) -> str:
    if how in ("eq", "ne"):
        return how
    return ("u" if dtype in UNSIGNED or dtype == "bool" else "s") + how


def _integer_extreme(name: str) -> Writer:
    def write(v: Lanes, dtype: str, x: str, y: str) -> str:
        return v.call(_sign_prefix(name, dtype), x, y)

    return write


def _safe_divide(v: Lanes, dtype: str, x: str, y: str) -> tuple[str, str, str, str]:
    """Quotient towards zero, remainder, 'divisor is zero', divisor: no trap, ever.

    A divisor 0 gives 0 and 0. Up to 32 bits the quotient comes from double, which holds it exactly.
    """
    zero, one = v.ci(0), v.ci(1)
    bad = v.icmp("eq", y, zero)
    d = v.iselect(bad, one, y)
    unsigned = dtype in UNSIGNED
    if ITEMSIZE[dtype] < 8:
        w = Lanes(v.builder, v.n, "float" if ITEMSIZE[dtype] < 4 else "double")
        to, back = ("uitofp", "fptoui") if unsigned else ("sitofp", "fptosi")
        a = v.let(f"{to} {v.f} {x} to {w.f}")
        b = v.let(f"{to} {v.f} {d} to {w.f}")
        wide = v.let(f"{back} {w.f} {w.div(a, b)} to {w.i}")
        q = v.let(f"trunc {w.i} {wide} to {v.f}") if w.i != v.f else wide
    elif unsigned:
        q = v.let(f"udiv {v.f} {x}, {d}")
    else:
        minus = v.icmp("eq", d, v.ci(-1))
        q = v.let(f"sdiv {v.f} {x}, {v.iselect(minus, one, d)}")
        q = v.iselect(minus, v.integer("sub", zero, x), q)
    q = v.iselect(bad, zero, q)
    r = v.iselect(bad, zero, v.integer("sub", x, v.integer("mul", q, d)))
    return q, r, bad, d


def _needs_floor(v: Lanes, dtype: str, r: str, d: str) -> str:
    """Whether rounding down differs from rounding towards zero."""
    differ = v.icmp("slt", v.integer("xor", r, d), v.ci(0))
    return v.logic("and", v.icmp("ne", r, v.ci(0)), differ)


def _integer_floordiv(v: Lanes, dtype: str, x: str, y: str) -> str:
    q, r, _, d = _safe_divide(v, dtype, x, y)
    if dtype in UNSIGNED:
        return q
    return v.iselect(_needs_floor(v, dtype, r, d), v.integer("sub", q, v.ci(1)), q)


def _integer_mod(v: Lanes, dtype: str, x: str, y: str) -> str:
    _, r, _, d = _safe_divide(v, dtype, x, y)
    if dtype in UNSIGNED:
        return r
    return v.iselect(_needs_floor(v, dtype, r, d), v.integer("add", r, d), r)


def _integer_sign(v: Lanes, dtype: str, x: str) -> str:
    up = v.iselect(v.icmp("ne", x, v.ci(0)), v.ci(1), v.ci(0))
    if dtype in UNSIGNED:
        return up
    return v.iselect(v.icmp("slt", x, v.ci(0)), v.ci(-1), up)


def _integer_abs(v: Lanes, dtype: str, x: str) -> str:
    if dtype in UNSIGNED:
        return x
    return v.iselect(v.icmp("slt", x, v.ci(0)), v.integer("sub", v.ci(0), x), x)


def _integer_relu(v: Lanes, dtype: str, x: str) -> str:
    if dtype in UNSIGNED:
        return x
    return v.iselect(v.icmp("slt", x, v.ci(0)), v.ci(0), x)


def _integer_pow(v: Lanes, dtype: str, x: str, y: str) -> str:
    """Square and multiply until no lane has exponent left; a negative exponent gives 0, 1 or -1."""
    builder, one, zero = v.builder, v.ci(1), v.ci(0)
    negative = v.constant("i1", False) if dtype in UNSIGNED else v.icmp("slt", y, zero)
    exponent = v.iselect(negative, zero, y)
    head, done, before = builder.label("power"), builder.label("done"), builder.block
    builder.do(f"br label %{head}")
    builder.begin(head)
    result, base, left, result2, base2, left2 = (builder.label("%p") for _ in range(6))
    for name, first, following in (
        (result, one, result2),
        (base, x, base2),
        (left, exponent, left2),
    ):
        builder.do(f"{name} = phi {v.f} [ {first}, %{before} ], [ {following}, %{head} ]")
    bit = v.icmp("ne", v.integer("and", left, one), zero)
    product = v.integer("mul", result, base)
    builder.do(f"{result2} = select {v.b} {bit}, {v.f} {product}, {v.f} {result}")
    builder.do(f"{base2} = mul {v.f} {base}, {base}")
    builder.do(f"{left2} = lshr {v.f} {left}, {one}")
    more = v.icmp("ne", left2, zero)
    more = v.any(more)
    builder.do(f"br i1 {more}, label %{head}, label %{done}")
    builder.begin(done)
    odd = v.icmp("ne", v.integer("and", y, one), zero)
    minus = v.iselect(v.icmp("eq", x, v.ci(-1)), v.iselect(odd, x, one), zero)
    inverse = v.iselect(v.icmp("eq", x, one), one, minus)
    return v.iselect(negative, inverse, result2)


def _shift(name: str) -> Writer:
    """Shifts by the width or more (or by a negative number) give 0, or the sign."""

    def write(v: Lanes, dtype: str, x: str, y: str) -> str:
        width = 8 * ITEMSIZE[dtype]
        far = v.icmp("uge", y, v.ci(width))
        if name == "shr" and dtype not in UNSIGNED:
            return v.integer("ashr", x, v.iselect(far, v.ci(width - 1), y))
        shifted = v.integer("shl" if name == "shl" else "lshr", x, v.iselect(far, v.ci(0), y))
        return v.iselect(far, v.ci(0), shifted)

    return write


def _not(v: Lanes, dtype: str, x: str) -> str:
    return v.integer("xor", x, v.constant("i1", True) if dtype == "bool" else v.ci(-1))


def _logical_not(v: Lanes, dtype: str, x: str) -> str:
    return _not(v, dtype, x) if dtype == "bool" else v.icmp("eq", x, v.ci(0))


INTEGER: dict[str, Writer] = {
    "neg": lambda v, dtype, x: v.integer("sub", v.ci(0), x),
    "abs": _integer_abs,
    "sign": _integer_sign,
    "relu": _integer_relu,
    "not": _logical_not,
    "bitwise_not": _not,
    "add": _instruction("add"),
    "sub": _instruction("sub"),
    "mul": _instruction("mul"),
    "and": _instruction("and"),
    "or": _instruction("or"),
    "xor": _instruction("xor"),
    "shl": _shift("shl"),
    "shr": _shift("shr"),
    "floordiv": _integer_floordiv,
    "mod": _integer_mod,
    "truncdiv": lambda v, dtype, x, y: _safe_divide(v, dtype, x, y)[0],
    "fmod": lambda v, dtype, x, y: _safe_divide(v, dtype, x, y)[1],
    "pow": _integer_pow,
    "maximum": _integer_extreme("max"),
    "minimum": _integer_extreme("min"),
    "fmax": _integer_extreme("max"),
    "fmin": _integer_extreme("min"),
    "eq": _signed("eq"),
    "ne": _signed("ne"),
    "lt": _signed("lt"),
    "le": _signed("le"),
    "gt": _signed("gt"),
    "ge": _signed("ge"),
    "where": _where,
}
