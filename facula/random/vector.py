"""Writing vector arithmetic as LLVM IR text, and the loop that runs it over an array."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from facula.random.mt19937 import DRAW


def float_literal(value: float, kind: str) -> str:
    """`value`, rounded to `kind`, the way LLVM writes exact floating constants."""
    if kind == "float":
        value = struct.unpack("f", struct.pack("f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def _align(kind: str) -> int:
    return 4 if kind in ("i32", "float") else 8


class Vector:
    """Emits straight-line code on values of one lane count; lane count 1 is scalar code.

    Methods return the name of the new value. Operands are names or Python numbers. A fused
    multiply-add is written only where `fma` is called: rounding is part of the meaning.
    """

    _count = 0

    def __init__(self, lanes: int, real: str = "float") -> None:
        self.lanes = lanes
        self.real = real
        self.int = "i32" if real == "float" else "i64"
        self.lines: list[str] = []

    def type(self, scalar: str) -> str:
        return scalar if self.lanes == 1 else f"<{self.lanes} x {scalar}>"

    @property
    def suffix(self) -> str:
        """How intrinsics are called for the real type: f32, v8f32, ..."""
        width = "f32" if self.real == "float" else "f64"
        return width if self.lanes == 1 else f"v{self.lanes}{width}"

    def _operand(self, x: str | float, kind: str) -> str:
        if isinstance(x, str):
            return x
        text = float_literal(x, kind) if kind in ("float", "double") else str(int(x))
        return text if self.lanes == 1 else f"splat ({kind} {text})"

    def line(self, text: str) -> str:
        Vector._count += 1
        name = f"%v{Vector._count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def f(self, op: str, a: str | float, b: str | float) -> str:
        """Floating operation `op` (fadd, fsub, fmul, fdiv)."""
        a, b = self._operand(a, self.real), self._operand(b, self.real)
        return self.line(f"{op} {self.type(self.real)} {a}, {b}")

    def i(self, op: str, a: str | int, b: str | int) -> str:
        """Integer operation `op` at the width of the real type."""
        a, b = self._operand(a, self.int), self._operand(b, self.int)
        return self.line(f"{op} {self.type(self.int)} {a}, {b}")

    def fma(self, a: str | float, b: str | float, c: str | float) -> str:
        t = self.type(self.real)
        a, b, c = (self._operand(x, self.real) for x in (a, b, c))
        return self.line(f"call {t} @llvm.fma.{self.suffix}({t} {a}, {t} {b}, {t} {c})")

    def sqrt(self, a: str) -> str:
        t = self.type(self.real)
        return self.line(f"call {t} @llvm.sqrt.{self.suffix}({t} {a})")

    def neg(self, a: str) -> str:
        return self.line(f"fneg {self.type(self.real)} {a}")

    def fcmp(self, how: str, a: str, b: str | float) -> str:
        return self.line(f"fcmp {how} {self.type(self.real)} {a}, {self._operand(b, self.real)}")

    def icmp(self, how: str, a: str, b: str | int) -> str:
        return self.line(f"icmp {how} {self.type(self.int)} {a}, {self._operand(b, self.int)}")

    def select(self, c: str, a: str | float, b: str | float, kind: str = "") -> str:
        kind = kind or self.real
        a, b = self._operand(a, kind), self._operand(b, kind)
        t = self.type(kind)
        return self.line(f"select {self.type('i1')} {c}, {t} {a}, {t} {b}")

    def cast(self, op: str, a: str, source: str, target: str) -> str:
        return self.line(f"{op} {self.type(source)} {a} to {self.type(target)}")

    def bits(self, a: str) -> str:
        return self.cast("bitcast", a, self.real, self.int)

    def from_bits(self, a: str) -> str:
        return self.cast("bitcast", a, self.int, self.real)

    def splat(self, scalar: str, kind: str = "") -> str:
        """The scalar value `scalar` in every lane."""
        if self.lanes == 1:
            return scalar
        t = self.type(kind or self.real)
        one = self.line(f"insertelement {t} poison, {kind or self.real} {scalar}, i64 0")
        return self.line(
            f"shufflevector {t} {one}, {t} poison, <{self.lanes} x i32> zeroinitializer"
        )

    def load(self, pointer: str, kind: str) -> str:
        return self.line(
            f"load {self.type(kind)}, ptr {pointer}, align {4 if kind[-2:] in ('32', 'at') else 8}"
        )

    def store(self, value: str, pointer: str, kind: str) -> None:
        self.lines.append(f"  store {self.type(kind)} {value}, ptr {pointer}, align {_align(kind)}")

    def shuffle(self, a: str, b: str, kind: str, places: Sequence[int]) -> str:
        """Lanes `places` of a and b laid end to end (both of this lane count)."""
        index = ", ".join(f"i32 {p}" for p in places)
        t = self.type(kind)
        return self.line(f"shufflevector {t} {a}, {t} {b}, <{len(places)} x i32> <{index}>")

    def text(self) -> str:
        return "\n".join(self.lines)


def declarations(text: str) -> str:
    """Declarations of the intrinsics that `text` calls."""
    out = []
    for name, arity in (("fma", 3), ("sqrt", 1)):
        for width, real in (("f32", "float"), ("f64", "double")):
            for lanes in (1, 2, 4, 8, 16):
                suffix = width if lanes == 1 else f"v{lanes}{width}"
                if f"@llvm.{name}.{suffix}(" in text:
                    t = real if lanes == 1 else f"<{lanes} x {real}>"
                    out.append(f"declare {t} @llvm.{name}.{suffix}({', '.join([t] * arity)})")
    return "\n".join(out)


def loop(tag: str, first: str, limit: str, step: int, body: str, before: str, after: str) -> str:
    """Blocks of `for k = first; k + step <= limit; k += step`, from block `before` to `after`.

    The body uses `%{tag}.k`; it must be straight-line code. The first k not done is `%{tag}.k`.
    """
    return f"""
  br label %{tag}
{tag}:
  %{tag}.k = phi i64 [ {first}, %{before} ], [ %{tag}.next, %{tag}.body ]
  %{tag}.next = add i64 %{tag}.k, {step}
  %{tag}.more = icmp sle i64 %{tag}.next, {limit}
  br i1 %{tag}.more, label %{tag}.body, label %{after}
{tag}.body:
{body}
  br label %{tag}
{after}:"""


def chunked(name: str, chunk: int, words: int, params: str, arguments: str) -> str:
    """Function `name(engine, out, n, params)`: draw and transform `chunk` values at a time.

    An element takes `words` 32-bit draws, which are put where the result will be, so that a chunk
    is drawn and transformed while it is in the cache.
    """
    return f"""
define void @{name}(ptr %engine, ptr %out, i64 %n{params}) {{
entry:
  %draw.p = getelementptr i64, ptr %engine, i64 {DRAW}
  %draw = load ptr, ptr %draw.p, align 8
  br label %next
next:
  %at = phi i64 [ 0, %entry ], [ %after, %go ]
  %togo = sub i64 %n, %at
  %some = icmp sgt i64 %togo, 0
  br i1 %some, label %go, label %exit
go:
  %fewer = icmp slt i64 %togo, {chunk}
  %m = select i1 %fewer, i64 %togo, i64 {chunk}
  %w = mul i64 %m, {words}
  %byte = mul i64 %at, {4 * words}
  %p = getelementptr i8, ptr %out, i64 %byte
  call void %draw(ptr %engine, ptr %p, i64 %w)
  call void @transform(ptr %p, i64 %m{arguments})
  %after = add i64 %at, %m
  br label %next
exit:
  ret void
}}
"""


def elementwise(
    kind: str, lanes: int, params: str, body: Callable[[Vector, str], str], out: str = ""
) -> str:
    """Function `transform(p, n, params)`: p[k] = body(p[k]) over an array of `kind`, in place."""
    real = "float" if kind == "i32" else "double"
    blocks, previous, first = [], "entry", "0"
    for tag, width in (("wide", lanes), ("one", 1)):
        v = Vector(width, real)
        p = v.line(f"getelementptr {kind}, ptr %p, i64 %{tag}.k")
        v.store(body(v, v.load(p, kind)), p, out or real)
        blocks.append(loop(tag, first, "%n", width, v.text(), previous, f"{tag}.done"))
        previous, first = f"{tag}.done", f"%{tag}.k"
    head = f"define void @transform(ptr %p, i64 %n{params}) {{\nentry:"
    return head + "".join(blocks) + "\n  ret void\n}\n"
