"""Writing LLVM IR as text: names, blocks, loops, and arithmetic on any number of lanes."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

# dtype -> type of a value in a register, and in memory
REGISTER = {
    "bool": "i1",
    "int8": "i8",
    "uint8": "i8",
    "int16": "i16",
    "uint16": "i16",
    "int32": "i32",
    "uint32": "i32",
    "int64": "i64",
    "uint64": "i64",
    "float16": "half",
    "bfloat16": "i16",
    "float32": "float",
    "float64": "double",
}
MEMORY = REGISTER | {"bool": "i8"}
_SUFFIX = {"half": "f16", "float": "f32", "double": "f64"}


def suffix(n: int, kind: str) -> str:
    """How names of intrinsics call n lanes of a scalar type (n=0: the scalar)."""
    short = _SUFFIX.get(kind, kind)
    return f"v{n}{short}" if n else short


class Builder:
    """The text of one module with one kernel function; `block` is the block being written."""

    def __init__(self, fma: bool = True, mask: bool = True) -> None:
        self.lines: list[str] = []
        self.declared: dict[str, str] = {}
        self.helpers: dict[str, str] = {}
        self.block = "entry"
        self.fma = fma
        self.mask = mask
        self.avx512 = False  # whether there are the instructions of `estimate`
        self.bfloat16 = False  # whether there is one that rounds to bfloat16
        self._n = 0

    def let(self, text: str) -> str:
        """Write an instruction that has a result; its name."""
        self._n += 1
        name = f"%v{self._n}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Write an instruction without a result."""
        self.lines.append("  " + text)

    def label(self, hint: str) -> str:
        """A fresh block name."""
        self._n += 1
        return f"{hint}{self._n}"

    def begin(self, label: str) -> None:
        """Start a block."""
        self.lines.append(label + ":")
        self.block = label

    def declare(self, name: str, signature: str) -> None:
        """Declare an outside function: `signature` is the text of the whole declaration."""
        self.declared[name] = signature

    def intrinsic(self, name: str, result: str, args: list[tuple[str, str]]) -> str:
        """Text of a call of an intrinsic or outside function, declared on the way."""
        types = ", ".join(t for t, _ in args)
        self.declared[name] = f"declare {result} @{name}({types})"
        return f"call {result} @{name}({', '.join(f'{t} {v}' for t, v in args)})"

    def loop(
        self,
        start: str,
        end: str,
        step: int | str,
        carried: list[tuple[str, str]],
        body: Callable[[str, list[str]], list[str]],
    ) -> list[str]:
        """for i in range(start, end, step), with values carried round; their last values.

        `carried` holds (type, first value); `body` gets i and the values and gives the new ones.
        """
        head, done, before = self.label("loop"), self.label("done"), self.block
        enter = self.let(f"icmp slt i64 {start}, {end}")
        self.do(f"br i1 {enter}, label %{head}, label %{done}")
        self.begin(head)
        place = len(self.lines)
        names = []
        for _ in range(len(carried) + 1):
            self._n += 1
            names.append(f"%v{self._n}")
            self.lines.append("")
        values = body(names[0], names[1:])
        latch = self.block
        after = self.let(f"add nsw i64 {names[0]}, {step}")
        again = self.let(f"icmp slt i64 {after}, {end}")
        self.do(f"br i1 {again}, label %{head}, label %{done}")
        self.lines[place] = f"  {names[0]} = phi i64 [ {start}, %{before} ], [ {after}, %{latch} ]"
        for k, ((kind, first), last) in enumerate(zip(carried, values, strict=True), 1):
            self.lines[place + k] = (
                f"  {names[k]} = phi {kind} [ {first}, %{before} ], [ {last}, %{latch} ]"
            )
        self.begin(done)
        return [
            self.let(f"phi {kind} [ {first}, %{before} ], [ {last}, %{latch} ]")
            for (kind, first), last in zip(carried, values, strict=True)
        ]

    def module(self, name: str, parameters: str) -> str:
        """The finished module."""
        parts = [f"define void @{name}({parameters}) #0 {{", "entry:", *self.lines, "}"]
        parts.extend(self.helpers.values())
        parts.extend(self.declared.values())
        parts.append('attributes #0 = { nounwind "prefer-vector-width"="512" }')
        parts.append("!0 = !{}")
        return "\n".join(parts) + "\n"


def literal(kind: str, number: float | int | bool) -> str:
    """A number as an LLVM literal of scalar type `kind`."""
    if kind == "float":
        number = round32(float(number))
        return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
    if kind == "double":
        return f"0x{struct.unpack('<Q', struct.pack('<d', float(number)))[0]:016X}"
    if kind == "half":
        return f"0xH{struct.unpack('<H', struct.pack('<e', float(number)))[0]:04X}"
    if kind == "i1":
        return "true" if number else "false"
    return str(int(number))


def dtype_literal(dtype: str, number: float | int | bool) -> str:
    """A number as a literal of the scalar register type of a dtype."""
    if dtype == "bfloat16":
        bits = struct.unpack("<I", struct.pack("<f", round32(float(number))))[0]
        return str((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 if not math.isnan(number) else 0x7FC0)
    return literal(REGISTER[dtype], number)


def round32(number: float) -> float:
    try:
        return struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


class Lanes:
    """Arithmetic on vectors of `n` lanes (n=0: plain scalars) of one float type.

    The methods write instructions and return names. `f` and `i` are the float type and the integer
    type of the same size, `b` the truth values that comparisons give.
    """

    def __init__(self, builder: Builder, n: int, kind: str = "float") -> None:
        self.builder = builder
        self.n = n
        self.kind = kind
        self.ikind = {"float": "i32", "double": "i64"}.get(kind, kind)
        self.f = self.type(kind)
        self.i = self.type(self.ikind)
        self.b = self.type("i1")
        self.let = builder.let
        self.suffix = suffix(n, kind)

    def type(self, kind: str) -> str:
        """The type of these lanes of scalar type `kind`."""
        return f"<{self.n} x {kind}>" if self.n else kind

    def constant(self, kind: str, number: float | int | bool) -> str:
        """A literal in every lane."""
        text = literal(kind, number)
        return f"splat ({kind} {text})" if self.n else text

    def c(self, number: float) -> str:
        """A float constant."""
        return self.constant(self.kind, number)

    def ci(self, number: int) -> str:
        """An integer constant of the float's size."""
        return str(number) if not self.n else f"splat ({self.ikind} {number})"

    def add(self, x: str, y: str) -> str:
        return self.let(f"fadd {self.f} {x}, {y}")

    def sub(self, x: str, y: str) -> str:
        return self.let(f"fsub {self.f} {x}, {y}")

    def mul(self, x: str, y: str) -> str:
        return self.let(f"fmul {self.f} {x}, {y}")

    def div(self, x: str, y: str) -> str:
        return self.let(f"fdiv {self.f} {x}, {y}")

    def neg(self, x: str) -> str:
        return self.let(f"fneg {self.f} {x}")

    def fma(self, x: str, y: str, z: str) -> str:
        """x * y + z, rounded once where the machine can."""
        if not self.builder.fma:
            return self.add(self.mul(x, y), z)
        return self.call("fma", x, y, z)

    def call(self, name: str, *args: str) -> str:
        """An LLVM intrinsic with arguments and result of the float type."""
        full = f"llvm.{name}.{self.suffix}"
        return self.let(self.builder.intrinsic(full, self.f, [(self.f, a) for a in args]))

    def abs(self, x: str) -> str:
        return self.call("fabs", x)

    def copysign(self, x: str, y: str) -> str:
        return self.call("copysign", x, y)

    def cmp(self, how: str, x: str, y: str) -> str:
        return self.let(f"fcmp {how} {self.f} {x}, {y}")

    def select(self, condition: str, x: str, y: str) -> str:
        return self.let(f"select {self.b} {condition}, {self.f} {x}, {self.f} {y}")

    def lower(self, x: str, y: str) -> str:
        """The smaller; y where either is NaN (one instruction on x86)."""
        return self.select(self.cmp("olt", x, y), x, y)

    def upper(self, x: str, y: str) -> str:
        """The greater; y where either is NaN (one instruction on x86)."""
        return self.select(self.cmp("ogt", x, y), x, y)

    def poly(self, x: str, coefficients: list[float] | tuple[float, ...]) -> str:
        """sum c[k] x^k by Horner's rule."""
        r = self.c(coefficients[-1])
        for c in reversed(coefficients[:-1]):
            r = self.fma(r, x, self.c(c))
        return r

    def poly_pairs(self, x: str, coefficients: list[float] | tuple[float, ...]) -> str:
        """The same, even and odd powers apart: chains of half the length for one instruction more."""
        square = self.mul(x, x)
        odd = self.poly(square, coefficients[1::2])
        return self.fma(odd, x, self.poly(square, coefficients[::2]))

    def poly_tree(self, x: str, coefficients: tuple[float, ...]) -> str:
        """The same by Estrin's rule: chains as long as the logarithm, for a square a level."""
        if len(coefficients) == 1:
            return self.c(coefficients[0])
        powers = {1: x}
        while 2 * max(powers) < len(coefficients):
            top = max(powers)
            powers[2 * top] = self.mul(powers[top], powers[top])

        def part(terms: tuple[float, ...]) -> str:
            if len(terms) == 1:
                return self.c(terms[0])
            cut = max(power for power in powers if power < len(terms))
            return self.fma(powers[cut], part(terms[cut:]), part(terms[:cut]))

        return part(coefficients)

    # integers of the float's size

    def bits(self, x: str) -> str:
        return self.let(f"bitcast {self.f} {x} to {self.i}")

    def unbits(self, x: str) -> str:
        return self.let(f"bitcast {self.i} {x} to {self.f}")

    def integer(self, op: str, x: str, y: str) -> str:
        """An integer instruction: 'add', 'shl', 'and', ..."""
        return self.let(f"{op} {self.i} {x}, {y}")

    def icmp(self, how: str, x: str, y: str) -> str:
        return self.let(f"icmp {how} {self.i} {x}, {y}")

    def iselect(self, condition: str, x: str, y: str) -> str:
        return self.let(f"select {self.b} {condition}, {self.i} {x}, {self.i} {y}")

    def to_float(self, x: str) -> str:
        return self.let(f"sitofp {self.i} {x} to {self.f}")

    def logic(self, op: str, x: str, y: str) -> str:
        """and, or, xor of truth values."""
        return self.let(f"{op} {self.b} {x}, {y}")

    def any(self, truth: str) -> str:
        """Whether a truth value holds in some lane, as an i1."""
        if not self.n:
            return truth
        full = f"llvm.vector.reduce.or.v{self.n}i1"
        return self.let(self.builder.intrinsic(full, "i1", [(self.b, truth)]))

    def where(self, rare: str, usual: str, other: Callable[[], str]) -> str:
        """`usual`, and in lanes where `rare` holds what `other` writes, run if there are any.

        Lane by lane, so that a lane's value does not depend on its neighbours.
        """
        builder, some = self.builder, self.any(rare)
        cold, done, before = builder.label("cold"), builder.label("done"), builder.block
        builder.do(f"br i1 {some}, label %{cold}, label %{done}")
        builder.begin(cold)
        exact = self.select(rare, other(), usual)
        after = builder.block
        builder.do(f"br label %{done}")
        builder.begin(done)
        return self.let(f"phi {self.f} [ {usual}, %{before} ], [ {exact}, %{after} ]")

    # changes of shape and type

    def splat(self, kind: str, x: str) -> str:
        """A scalar in every lane."""
        if not self.n:
            return x
        t = self.type(kind)
        one = self.let(f"insertelement {t} poison, {kind} {x}, i64 0")
        return self.let(f"shufflevector {t} {one}, {t} poison, <{self.n} x i32> zeroinitializer")

    def widen(self) -> Lanes:
        """The same lanes in double."""
        return Lanes(self.builder, self.n, "double")

    def libm(self, name: str, *args: str) -> str:
        """A C function, called lane by lane in a function of its own."""
        if self.kind == "float":
            name += "f"
        builder = self.builder
        if not self.n:
            return self.let(builder.intrinsic(name, self.kind, [(self.kind, a) for a in args]))
        helper = f"each.{name}.{self.suffix}"
        if helper not in builder.helpers:
            builder.helpers[helper] = self._each(helper, name, len(args))
        types = ", ".join(f"{self.f} {a}" for a in args)
        return self.let(f"call {self.f} @{helper}({types})")

    def _each(self, helper: str, name: str, n_args: int) -> str:
        """A function that applies a scalar function to every lane, through memory."""
        kind, f, n = self.kind, self.f, self.n
        self.builder.intrinsic(name, kind, [(kind, "x")] * n_args)
        parameters = ", ".join(f"{f} %x{k}" for k in range(n_args))
        lines = [
            f"define internal {f} @{helper}({parameters}) noinline nounwind {{",
            "entry:",
        ]
        for k in range(n_args):
            lines += [f"  %a{k} = alloca {f}", f"  store {f} %x{k}, ptr %a{k}"]
        lines += ["  %r = alloca " + f, "  br label %loop", "loop:"]
        lines.append("  %i = phi i64 [ 0, %entry ], [ %next, %loop ]")
        for k in range(n_args):
            lines.append(f"  %p{k} = getelementptr {kind}, ptr %a{k}, i64 %i")
            lines.append(f"  %s{k} = load {kind}, ptr %p{k}")
        values = ", ".join(f"{kind} %s{k}" for k in range(n_args))
        lines += [
            f"  %y = call {kind} @{name}({values})",
            f"  %q = getelementptr {kind}, ptr %r, i64 %i",
            f"  store {kind} %y, ptr %q",
            "  %next = add i64 %i, 1",
            f"  %more = icmp ult i64 %next, {n}",
            "  br i1 %more, label %loop, label %end",
            "end:",
            f"  %v = load {f}, ptr %r",
            f"  ret {f} %v",
            "}",
        ]
        return "\n".join(lines)
