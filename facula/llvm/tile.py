"""Writing LLVM IR for kernels that work on register tiles.

`Emit` writes one function in SSA form, line by line: values are names (or Python integers), loops
carry their variables as phis, so the text needs no optimisation pass before instruction selection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from facula.llvm.build import Lanes, suffix
from facula.llvm.target import Target

Value = str | int

SIGNATURE = "ptr %bufs, ptr %args, ptr %scalars, i64 %t0, i64 %t1, ptr %scratch, ptr %status"


@dataclass(frozen=True)
class Number:
    """How numbers of a dtype are stored and in what type they are computed."""

    name: str
    stored: str  # LLVM type in memory
    bytes: int
    compute: str  # LLVM type in registers
    compute_bytes: int

    @property
    def is_float(self) -> bool:
        return self.compute in ("float", "double")

    @property
    def is_plain(self) -> bool:
        """Stored as it is computed."""
        return self.stored == self.compute


NUMBERS = {
    "float32": Number("float32", "float", 4, "float", 4),
    "float64": Number("float64", "double", 8, "double", 8),
    "float16": Number("float16", "half", 2, "float", 4),
    "bfloat16": Number("bfloat16", "i16", 2, "float", 4),
    "int32": Number("int32", "i32", 4, "i32", 4),
    "int64": Number("int64", "i64", 8, "i64", 8),
    "int8": Number("int8", "i8", 1, "i8", 1),
    "uint8": Number("uint8", "i8", 1, "i8", 1),
    "int16": Number("int16", "i16", 2, "i16", 2),
}

_BYTES = {"float": 4, "double": 8, "half": 2, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "ptr": 8}


def vec(n: int, ty: str) -> str:
    """The type of n numbers side by side."""
    return f"<{n} x {ty}>"


def zero(ty: str) -> str:
    """The literal 0 of a scalar type."""
    return "0.0" if ty in ("float", "double") else "0"


@dataclass
class Loop:
    """An open loop: its counter, its carried variables, and what they become."""

    i: str
    vars: list[str]
    next: list[Value] = field(default_factory=list)


class Emit:
    """One kernel function under construction."""

    def __init__(self, target: Target, name: str) -> None:
        self.target = target
        self.name = name
        self.lines: list[str] = []
        self.block = "entry"
        self._declared: dict[str, None] = {}
        self._rooms: list[str] = []
        self._n = 0

    # -- lines -------------------------------------------------------------------------------

    def fresh(self, prefix: str = "v") -> str:
        self._n += 1
        return f"{prefix}{self._n}"

    def let(self, rhs: str) -> str:
        """A new value."""
        name = "%" + self.fresh()
        self.lines.append(f"  {name} = {rhs}")
        return name

    def do(self, line: str) -> None:
        self.lines.append("  " + line)

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    def room(self, ty: str) -> str:
        """A place on the stack, the same for the whole function."""
        name = f"%room{len(self._rooms)}"
        self._rooms.append(f"  {name} = alloca {ty}, align 64")
        return name

    def declare(self, text: str) -> None:
        self._declared[f"declare {text}"] = None

    # -- integers ----------------------------------------------------------------------------

    def add(self, a: Value, b: Value) -> Value:
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0:
            return b
        return a if b == 0 else self.let(f"add i64 {a}, {b}")

    def sub(self, a: Value, b: Value) -> Value:
        if isinstance(a, int) and isinstance(b, int):
            return a - b
        return a if b == 0 else self.let(f"sub i64 {a}, {b}")

    def mul(self, a: Value, b: Value) -> Value:
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if a == 0 or b == 0:
            return 0
        if a == 1:
            return b
        return a if b == 1 else self.let(f"mul i64 {a}, {b}")

    def div(self, a: Value, b: Value) -> Value:
        """Quotient of two numbers that are not negative."""
        return a if b == 1 else self.let(f"udiv i64 {a}, {b}")

    def rem(self, a: Value, b: Value) -> Value:
        return 0 if b == 1 else self.let(f"urem i64 {a}, {b}")

    def divmod(self, a: Value, b: Value) -> tuple[Value, Value]:
        q = self.div(a, b)
        return q, self.sub(a, self.mul(q, b))

    def ceil_div(self, a: Value, b: Value) -> Value:
        return self.div(self.add(a, self.sub(b, 1)), b)

    def least(self, a: Value, b: Value) -> Value:
        self.declare("i64 @llvm.smin.i64(i64, i64)")
        return self.let(f"call i64 @llvm.smin.i64(i64 {a}, i64 {b})")

    def most(self, a: Value, b: Value) -> Value:
        self.declare("i64 @llvm.smax.i64(i64, i64)")
        return self.let(f"call i64 @llvm.smax.i64(i64 {a}, i64 {b})")

    def test(self, relation: str, a: Value, b: Value) -> str:
        return self.let(f"icmp {relation} i64 {a}, {b}")

    def both(self, a: str, b: str) -> str:
        return self.let(f"and i1 {a}, {b}")

    def pick(self, cond: str, ty: str, a: Value, b: Value) -> str:
        return self.let(f"select i1 {cond}, {ty} {a}, {ty} {b}")

    def opaque(self, ptr: str) -> str:
        """The same address, of which LLVM knows nothing.

        In loops over several rows it would else compute one row's address from another's, again and
        again, and not keep each in a register.
        """
        return self.let(f'call ptr asm "", "=r,0"(ptr {ptr})')

    def clear_registers(self) -> None:
        """No vector stays in a register past here.

        LLVM keeps the constants of one loop (the order of a shuffle) in registers all through another
        that has none to spare, and moves that one's own numbers to memory and back instead.
        """
        letter = "v" if self.target.triple.startswith(("aarch64", "arm64")) else "xmm"
        names = ",".join(f"~{{{letter}{i}}}" for i in range(self.target.n_vector_registers))
        self.do(f'call void asm sideeffect "", "{names}"()')

    # -- memory ------------------------------------------------------------------------------

    def at(self, ptr: str, index: Value, ty: str) -> str:
        """The address of an element."""
        return ptr if index == 0 else self.let(f"getelementptr {ty}, ptr {ptr}, i64 {index}")

    def load(self, ty: str, ptr: str, elem: str | None = None) -> str:
        return self.let(f"load {ty}, ptr {ptr}, align {_BYTES[elem or ty]}")

    def store(self, ty: str, value: Value, ptr: str, elem: str | None = None) -> None:
        self.do(f"store {ty} {value}, ptr {ptr}, align {_BYTES[elem or ty]}")

    def prefetch(self, ptr: str, write: bool = True, level: int = 1) -> None:
        """Begin to bring a line that will be written (or read) into a cache; harmless for any address."""
        self.declare("void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        self.do(f"call void @llvm.prefetch.p0(ptr {ptr}, i32 {int(write)}, i32 {4 - level}, i32 1)")

    def arg(self, index: Value) -> str:
        p = self.at("%args", index, "i64")
        return self.let(f"load i64, ptr {p}, align 8, !invariant.load !0")

    def buffer(self, slot: Value) -> str:
        """The address of a plan's buffer."""
        address = self.load("i64", self.at("%bufs", slot, "i64"))
        return self.let(f"inttoptr i64 {address} to ptr")

    # -- vectors -----------------------------------------------------------------------------

    def splat(self, n: int, ty: str, value: Value) -> str:
        one = self.let(f"insertelement {vec(n, ty)} poison, {ty} {value}, i64 0")
        return self.let(
            f"shufflevector {vec(n, ty)} {one}, {vec(n, ty)} poison, <{n} x i32> zeroinitializer"
        )

    def shuffle(self, n: int, ty: str, a: str, b: str, lanes: Sequence[int]) -> str:
        text = ", ".join(f"i32 {x}" for x in lanes)
        v = vec(n, ty)
        return self.let(f"shufflevector {v} {a}, {v} {b}, <{len(lanes)} x i32> <{text}>")

    def mask(self, n: int, count: Value) -> str:
        """Lanes below count (which may be negative or large)."""
        clipped = self.most(self.least(count, n), 0)
        if self.target.has_mask and n in (8, 16, 32):
            # Not by comparing: the constant compared with would hold a register in all loops.
            bits = self.sub(self.let(f"shl i64 1, {clipped}"), 1)
            return self.let(f"bitcast i{n} {self.let(f'trunc i64 {bits} to i{n}')} to <{n} x i1>")
        narrow = self.let(f"trunc i64 {clipped} to i32")
        limit = self.splat(n, "i32", narrow)
        iota = ", ".join(f"i32 {x}" for x in range(n))
        return self.let(f"icmp slt <{n} x i32> <{iota}>, {limit}")

    def masked_load(self, n: int, ty: str, ptr: str, mask: str) -> str:
        v, m = vec(n, ty), f"<{n} x i1>"
        name = f"llvm.masked.load.{suffix(n, ty)}.p0"
        self.declare(f"{v} @{name}(ptr, i32, {m}, {v})")
        call = f"call {v} @{name}(ptr {ptr}, i32 {_BYTES[ty]}, {m} {mask}, {v} zeroinitializer)"
        if self.target.has_mask or self.target.vector_bytes > 16:
            return self.let(call)
        # Without an instruction for it, masked lanes are loaded one by one: seldom, then.
        with self.choose(self._all(n, mask)) as way:
            with way.yes:
                whole = self.load(v, ptr, ty)
            with way.no:
                part = self.let(call)
        return way.merge(v, whole, part)

    def collect(self, n: int, ty: str, ptr: str, places: str, mask: str) -> str:
        """ptr[places], n numbers by a vector of n i32; zeros where the mask is not."""
        v, m, wide = vec(n, ty), f"<{n} x i1>", f"<{n} x i64>"
        name = f"llvm.masked.gather.{suffix(n, ty)}.v{n}p0"
        self.declare(f"{v} @{name}(<{n} x ptr>, i32, {m}, {v})")
        index = self.let(f"sext <{n} x i32> {places} to {wide}")
        at = self.let(f"getelementptr {ty}, ptr {ptr}, {wide} {index}")
        of = f"<{n} x ptr> {at}, i32 {_BYTES[ty]}, {m} {mask}, {v} zeroinitializer"
        return self.let(f"call {v} @{name}({of})")

    def deal(self, n: int, ty: str, value: str, ptr: str, places: str, mask: str) -> None:
        """ptr[places] = value, by a vector of n i32, where the mask is."""
        v, m, wide, at = vec(n, ty), f"<{n} x i1>", f"<{n} x i64>", f"<{n} x ptr>"
        name = f"llvm.masked.scatter.{suffix(n, ty)}.v{n}p0"
        self.declare(f"void @{name}({v}, {at}, i32, {m})")
        index = self.let(f"sext <{n} x i32> {places} to {wide}")
        to = self.let(f"getelementptr {ty}, ptr {ptr}, {wide} {index}")
        self.do(f"call void @{name}({v} {value}, {at} {to}, i32 {_BYTES[ty]}, {m} {mask})")

    def masked_store(self, n: int, ty: str, value: str, ptr: str, mask: str) -> None:
        v, m = vec(n, ty), f"<{n} x i1>"
        name = f"llvm.masked.store.{suffix(n, ty)}.p0"
        self.declare(f"void @{name}({v}, ptr, i32, {m})")
        call = f"call void @{name}({v} {value}, ptr {ptr}, i32 {_BYTES[ty]}, {m} {mask})"
        if self.target.has_mask:
            self.do(call)
            return
        with self.choose(self._all(n, mask)) as way:
            with way.yes:
                self.store(v, value, ptr, ty)
            with way.no:
                self.do(call)

    def store_first(self, n: int, ty: str, value: str, ptr: str, count: Value) -> None:
        """Store the first `count` (not less than 0) of n numbers.

        By halves, where there are no mask registers: AVX2's masked store takes some processors
        dozens of cycles.
        """
        if self.target.has_mask:
            self.masked_store(n, ty, value, ptr, self.mask(n, count))
            return
        with self.choose(self.test("sge", count, n)) as way:
            with way.yes:
                self.store(vec(n, ty), value, ptr, ty)
            with way.no:
                self._store_halves(n, ty, value, ptr, count)

    def _store_halves(self, n: int, ty: str, value: str, ptr: str, count: Value) -> None:
        half = n // 2
        bit = self.test("ne", self.let(f"and i64 {count}, {half}"), 0)
        low, high = (self.shuffle(n, ty, value, value, range(k, k + half)) for k in (0, half))
        with self.choose(bit) as way:
            with way.yes:
                self.store(vec(half, ty), low, ptr, ty)
                after = self.at(ptr, half, ty)
            with way.no:
                pass
        rest = way.merge(vec(half, ty), high, low)
        place = way.merge("ptr", after, ptr)
        if half > 1:
            self._store_halves(half, ty, rest, place, count)

    def _all(self, n: int, mask: str) -> str:
        bits = self.let(f"bitcast <{n} x i1> {mask} to i{n}")
        return self.let(f"icmp eq i{n} {bits}, -1")

    def plus(self, n: int, ty: str, a: str, b: str) -> str:
        op = "fadd" if ty in ("float", "double") else "add"
        return self.let(f"{op} {vec(n, ty)} {a}, {b}")

    def times(self, n: int, ty: str, a: str, b: str) -> str:
        op = "fmul" if ty in ("float", "double") else "mul"
        return self.let(f"{op} {vec(n, ty)} {a}, {b}")

    def fma(self, n: int, ty: str, a: str, b: str, c: str) -> str:
        """a * b + c, in one rounding where the machine has that."""
        if ty not in ("float", "double") or not self.target.has_fma:
            return self.plus(n, ty, self.times(n, ty, a, b), c)
        v = vec(n, ty)
        name = f"llvm.fma.{suffix(n, ty)}"
        self.declare(f"{v} @{name}({v}, {v}, {v})")
        return self.let(f"call {v} @{name}({v} {a}, {v} {b}, {v} {c})")

    # -- stored and computed numbers ---------------------------------------------------------

    def widen(self, n: int, number: Number, value: str) -> str:
        """From memory's type to the register's."""
        if number.is_plain:
            return value
        if number.stored == "half":
            return self.let(f"fpext {vec(n, 'half')} {value} to {vec(n, 'float')}")
        wide = self.let(f"zext {vec(n, 'i16')} {value} to {vec(n, 'i32')}")
        high = self.let(f"shl {vec(n, 'i32')} {wide}, {splat_text(n, 'i32', 16)}")
        return self.let(f"bitcast {vec(n, 'i32')} {high} to {vec(n, 'float')}")

    def narrow(self, n: int, number: Number, value: str) -> str:
        """From the register's type to memory's, to nearest even."""
        if number.is_plain:
            return value
        if number.stored == "half":
            return self.let(f"fptrunc {vec(n, 'float')} {value} to {vec(n, 'half')}")
        i32 = vec(n, "i32")
        bits = self.let(f"bitcast {vec(n, 'float')} {value} to {i32}")
        high = self.let(f"lshr {i32} {bits}, {splat_text(n, 'i32', 16)}")
        odd = self.let(f"and {i32} {high}, {splat_text(n, 'i32', 1)}")
        bias = self.let(f"add {i32} {odd}, {splat_text(n, 'i32', 0x7FFF)}")
        rounded = self.let(f"add {i32} {bits}, {bias}")
        top = self.let(f"lshr {i32} {rounded}, {splat_text(n, 'i32', 16)}")
        nan = self.let(f"fcmp uno {vec(n, 'float')} {value}, {value}")
        quiet = splat_text(n, "i32", 0x7FC0)
        kept = self.let(f"select <{n} x i1> {nan}, {i32} {quiet}, {i32} {top}")
        return self.let(f"trunc {i32} {kept} to {vec(n, 'i16')}")

    def fetch(self, n: int, number: Number, ptr: str, mask: str | None = None) -> str:
        """n stored numbers as computed ones."""
        if mask is None:
            raw = self.load(vec(n, number.stored), ptr, number.stored)
        else:
            raw = self.masked_load(n, number.stored, ptr, mask)
        return self.widen(n, number, raw)

    def put(self, n: int, number: Number, value: str, ptr: str, mask: str | None = None) -> None:
        """Store n computed numbers."""
        raw = self.narrow(n, number, value)
        if mask is None:
            self.store(vec(n, number.stored), raw, ptr, number.stored)
        else:
            self.masked_store(n, number.stored, raw, ptr, mask)

    def put_first(self, n: int, number: Number, value: str, ptr: str, count: Value) -> None:
        """Store the first `count` of n computed numbers."""
        self.store_first(n, number.stored, self.narrow(n, number, value), ptr, count)

    # -- control -----------------------------------------------------------------------------

    @contextmanager
    def loop(
        self,
        lo: Value,
        hi: Value,
        step: Value = 1,
        carried: Sequence[tuple[str, Value]] = (),
    ) -> Iterator[Loop]:
        """`for i in range(lo, hi, step)`; after it `vars` are the final values."""
        tag = self.fresh("L")
        before = self.block
        self.do(f"br label %{tag}.head")
        self.label(f"{tag}.head")
        i = f"%{tag}.i"
        place = len(self.lines)
        names = [f"%{tag}.c{j}" for j in range(len(carried))]
        self.lines += [""] * (1 + len(carried))
        more = self.test("slt", i, hi)
        self.do(f"br i1 {more}, label %{tag}.body, label %{tag}.done")
        self.label(f"{tag}.body")
        open_loop = Loop(i, list(names))
        yield open_loop
        after = self.block
        following = self.let(f"add nsw i64 {i}, {step}")
        self.do(f"br label %{tag}.head")
        phis: list[tuple[str, str, Value, Value]] = [("i64", i, lo, following)]
        phis += [
            (ty, name, init, new)
            for (ty, init), name, new in zip(carried, names, open_loop.next, strict=True)
        ]
        for j, (ty, name, init, new) in enumerate(phis):
            self.lines[place + j] = (
                f"  {name} = phi {ty} [ {init}, %{before} ], [ {new}, %{after} ]"
            )
        self.label(f"{tag}.done")

    @contextmanager
    def when(self, cond: str) -> Iterator[None]:
        """Only if cond holds."""
        tag = self.fresh("I")
        self.do(f"br i1 {cond}, label %{tag}.then, label %{tag}.end")
        self.label(f"{tag}.then")
        yield
        self.do(f"br label %{tag}.end")
        self.label(f"{tag}.end")

    @contextmanager
    def choose(self, cond: str) -> Iterator[Choice]:
        """Both ways of a condition: `with c.yes: ...`, `with c.no: ...`."""
        choice = Choice(self, self.fresh("I"))
        self.do(f"br i1 {cond}, label %{choice.tag}.then, label %{choice.tag}.else")
        yield choice
        self.label(f"{choice.tag}.end")

    # -- the module --------------------------------------------------------------------------

    def module(self) -> str:
        bits = self.target.vector_bytes * 8
        body = "\n".join(self._rooms + self.lines)
        declarations = "\n".join(self._declared)
        return (
            f"{declarations}\n\ndefine void @{self.name}({SIGNATURE}) #0 {{\nentry:\n{body}\n"
            f"  ret void\n}}\n\n"
            f'attributes #0 = {{ nounwind "min-legal-vector-width"="{bits}" '
            f'"prefer-vector-width"="{bits}" }}\n'
            "!0 = !{}\n"
        )


@dataclass
class Choice:
    """Two branches and the values that differ between them."""

    emit: Emit
    tag: str
    _ends: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def _branch(self, name: str) -> Iterator[None]:
        self.emit.label(f"{self.tag}.{name}")
        yield
        self._ends[name] = self.emit.block
        self.emit.do(f"br label %{self.tag}.end")

    @property
    def yes(self):
        return self._branch("then")

    @property
    def no(self):
        return self._branch("else")

    def merge(self, ty: str, yes: Value, no: Value) -> str:
        """The value after both (ask right after the `with`)."""
        ends = self._ends
        return self.emit.let(f"phi {ty} [ {yes}, %{ends['then']} ], [ {no}, %{ends['else']} ]")


def splat_text(n: int, ty: str, value: Value) -> str:
    """A constant vector with one number in all lanes."""
    return "<" + ", ".join([f"{ty} {value}"] * n) + ">"


class MathHost:
    """What `vmath` asks of a builder, written through an `Emit`."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.let = emit.let
        self.fma = emit.target.has_fma
        self.avx512, self.bfloat16 = emit.target.has_avx512, emit.target.has_bfloat16
        self.helpers: dict[str, str] = {}
        self.do = emit.do
        self.label = emit.fresh
        self.begin = emit.label

    @property
    def block(self) -> str:
        return self.emit.block

    def intrinsic(self, name: str, result: str, args: list[tuple[str, str]]) -> str:
        self.emit.declare(f"{result} @{name}({', '.join(t for t, _ in args)})")
        return f"call {result} @{name}({', '.join(f'{t} {v}' for t, v in args)})"


def lanes(emit: Emit, n: int, ty: str) -> Lanes:
    """Elementwise arithmetic and `vmath` functions on n lanes."""
    return Lanes(MathHost(emit), n, ty)  # type: ignore[arg-type]
