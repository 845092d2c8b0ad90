"""What is done to a tile of results before it is stored: bias, scaling, residual, activation.

An epilogue is a tuple of `Fused`. Each names an entry of `EPILOGUES` or carries its own emitter,
and says how its operands are read:

    "n"  a vector along the columns, the same for all rows (a Linear's bias)
    "m"  one number per row (a convolution's bias)
    "mn" a matrix with contiguous rows (a residual, beta * C)
    "s"  one of the plan's scalars
    "out"  a matrix with contiguous rows that is written: a further result (of a `Chain`)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from facula.llvm import vmath
from facula.llvm.build import MEMORY, REGISTER, dtype_literal
from facula.llvm.elementwise import Values
from facula.llvm.tile import Emit, MathHost, Number, Value, lanes, vec


@dataclass(frozen=True)
class Fused:
    """One step of an epilogue: `emit(b, lanes, type, value, *operands)` gives the new value."""

    name: str
    kinds: tuple[str, ...] = ()
    emit: Callable[..., str] | None = None
    heavy: bool = False  # too long to be repeated for each register of a tile

    @property
    def key(self) -> str:
        return f"{self.name}({','.join(self.kinds)})"


@dataclass(frozen=True)
class Chain(Fused):
    """A whole epilogue: elementwise statements as a loop program has them.

    `types` has the dtype of each operand. Statements are (op, dtype, arguments), where arguments are
    numbers of earlier statements except for

        sum          the product's element
        load k       the k-th operand's element
        scalar k     the same, for one of the plan's scalars
        const x
        store k i    the value of statement i goes to the k-th operand

    C gets the value of statement `result`.
    """

    types: tuple[str, ...] = ()
    stmts: tuple[tuple[str, str, tuple], ...] = ()
    result: int = 0

    @property
    def key(self) -> str:
        operands = " ".join(f"{k}:{d}" for k, d in zip(self.kinds, self.types, strict=True))
        lines = "; ".join(f"{d} {op} {' '.join(map(repr, a))}" for op, d, a in self.stmts)
        return f"{self.name}({operands}) {lines} -> {self.result}"


def relu(b: Emit, n: int, ty: str, v: str) -> str:
    """max(v, 0); NaN and -0 stay, for which the comparison is false."""
    t = vec(n, ty)
    compare = "fcmp olt" if ty in ("float", "double") else "icmp slt"
    low = b.let(f"{compare} {t} {v}, zeroinitializer")
    return b.let(f"select <{n} x i1> {low}, {t} zeroinitializer, {t} {v}")


def relu_gradient(b: Emit, n: int, ty: str, v: str, x: str) -> str:
    """v where x (relu's argument or result) is positive."""
    t = vec(n, ty)
    compare = "fcmp ole" if ty in ("float", "double") else "icmp sle"
    low = b.let(f"{compare} {t} {x}, zeroinitializer")
    return b.let(f"select <{n} x i1> {low}, {t} zeroinitializer, {t} {v}")


def _gelu(b: Emit, n: int, ty: str, v: str) -> str:
    m = lanes(b, n, ty)
    half = m.mul(v, m.c(0.5))
    return m.fma(half, vmath.erf(m, m.mul(v, m.c(math.sqrt(0.5)))), half)


def _gelu_tanh(b: Emit, n: int, ty: str, v: str) -> str:
    m = lanes(b, n, ty)
    inner = m.fma(m.mul(m.mul(v, v), v), m.c(0.044715), v)
    half = m.mul(v, m.c(0.5))
    return m.fma(half, vmath.tanh(m, m.mul(inner, m.c(math.sqrt(2 / math.pi)))), half)


def _silu(b: Emit, n: int, ty: str, v: str) -> str:
    m = lanes(b, n, ty)
    return m.mul(v, vmath.sigmoid(m, v))


EPILOGUES: dict[str, Callable[..., str]] = {
    "relu": relu,
    "relu_gradient": relu_gradient,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "tanh": lambda b, n, ty, v: vmath.tanh(lanes(b, n, ty), v),
    "sigmoid": lambda b, n, ty, v: vmath.sigmoid(lanes(b, n, ty), v),
    "add": lambda b, n, ty, v, x: b.plus(n, ty, v, x),
    "mul": lambda b, n, ty, v, x: b.times(n, ty, v, x),
    "scale": lambda b, n, ty, v, s: b.times(n, ty, v, s),
    "add_scaled": lambda b, n, ty, v, x, s: b.fma(n, ty, x, s, v),
}

SCALE = Fused("scale", ("s",))
BIAS_N = Fused("add", ("n",))
BIAS_M = Fused("add", ("m",))
ADD = Fused("add", ("mn",))
ADD_SCALED = Fused("add_scaled", ("mn", "s"))
RELU = Fused("relu")
RELU_GRADIENT = Fused("relu_gradient", ("mn",))
GELU, GELU_TANH = Fused("gelu", heavy=True), Fused("gelu_tanh", heavy=True)
TANH, SIGMOID, SILU = (Fused(name, heavy=True) for name in ("tanh", "sigmoid", "silu"))


@dataclass
class _Operand:
    kind: str
    base: str  # pointer, or the scalar itself
    stride: Value
    dtype: str = ""


class EpilogueWriter:
    """Applies an epilogue to vectors of results. `read` gives a step argument by its name."""

    def __init__(self, b: Emit, number: Number, fused: tuple[Fused, ...]) -> None:
        self.b, self.number, self.fused = b, number, fused
        self.operands: list[_Operand] = []
        self._seen: dict[tuple, str] = {}

    @property
    def heavy(self) -> bool:
        return any(f.heavy for f in self.fused)

    def open(self, read: Callable[[str], str], batch_offset: Callable[[str], Value]) -> None:
        """Find the operands of the current task."""
        self.operands = []
        b, index = self.b, 0
        for fused in self.fused:
            types = fused.types if isinstance(fused, Chain) else ("",) * len(fused.kinds)
            for kind, dtype in zip(fused.kinds, types, strict=True):
                name = f"e{index}"
                index += 1
                if kind == "s":
                    slot = read(name)
                    value = self._slot(slot, dtype) if dtype else self._scalar(slot)
                    self.operands.append(_Operand(kind, value, 0, dtype))
                    continue
                offset = b.add(read(f"{name}_off"), batch_offset(name))
                stored = MEMORY[dtype] if dtype else self.number.stored
                base = b.at(b.buffer(read(name)), offset, stored)
                self.operands.append(_Operand(kind, base, read(f"{name}_row"), dtype))

    def _scalar(self, slot: str) -> str:
        b, ty = self.b, self.number.compute
        held = "double" if self.number.is_float else "i64"
        value = b.load(held, b.at("%scalars", slot, held))
        if ty == held:
            return value
        return b.let(f"{'fptrunc' if ty == 'float' else 'trunc'} {held} {value} to {ty}")

    def _slot(self, slot: str, dtype: str) -> str:
        """One of the plan's scalars as a number of some dtype."""
        held = "double" if dtype.startswith("float") else "i64"
        value = self.b.load(held, self.b.at("%scalars", slot, held))
        if REGISTER[dtype] == held:
            return value
        how = "fptrunc" if held == "double" else "trunc"
        return self.b.let(f"{how} {held} {value} to {REGISTER[dtype]}")

    def start_tile(self) -> None:
        """Forget what was loaded: a new piece of straight code begins."""
        self._seen = {}

    def _fetch(self, n: int, operand: _Operand, row: Value, col: Value, mask: str | None) -> str:
        b, number = self.b, self.number
        place = {"n": (None, col), "m": (row, None), "s": (None, None), "mn": (row, col)}
        key = (id(operand), *place[operand.kind], mask)
        if key in self._seen:
            return self._seen[key]
        if operand.kind == "s":
            value = b.splat(n, number.compute, operand.base)
        elif operand.kind == "m":
            p = b.at(operand.base, b.mul(row, operand.stride), number.stored)
            one = b.fetch(1, number, p)
            first = b.let(f"extractelement {vec(1, number.compute)} {one}, i64 0")
            value = b.splat(n, number.compute, first)
        else:
            shift = col if operand.kind == "n" else b.add(b.mul(row, operand.stride), col)
            value = b.fetch(n, number, b.at(operand.base, shift, number.stored), mask)
        self._seen[key] = value
        return value

    def apply(self, n: int, value: str, row: Value, col: Value, mask: str | None = None) -> str:
        """The epilogue of n results at (row, col..) of C."""
        operands = iter(self.operands)
        for fused in self.fused:
            if isinstance(fused, Chain):
                own = [next(operands) for _ in fused.kinds]
                value = self._run(n, fused, own, value, (row, col), mask)
                continue
            given = [self._fetch(n, next(operands), row, col, mask) for _ in fused.kinds]
            emit = fused.emit or EPILOGUES[fused.name]
            value = emit(self.b, n, self.number.compute, value, *given)
        return value

    def _run(self, n: int, chain: Chain, operands: list[_Operand], total: str,
             at: tuple[Value, Value], mask: str | None) -> str:  # fmt: skip
        """The statements of a chain on n results; what C gets."""
        values = Values(MathHost(self.b), n)  # type: ignore[arg-type]
        done: list[str] = []
        for op, dtype, args in chain.stmts:
            if op == "sum":
                done.append(total)
            elif op in ("load", "scalar"):
                done.append(self._raw(n, operands[args[0]], *at, mask))
            elif op == "const":
                done.append(f"splat ({REGISTER[dtype]} {dtype_literal(dtype, args[0])})")
            elif op == "store":
                done.append("")
                self._keep(n, operands[args[0]], done[args[1]], *at, mask)
            else:
                source = chain.stmts[args[-1]][1]
                done.append(values.write(op, source, dtype, [done[a] for a in args]))
        return done[chain.result]

    def _raw(self, n: int, operand: _Operand, row: Value, col: Value, mask: str | None) -> str:
        """Elements of an operand as they are held in registers."""
        b, dtype = self.b, operand.dtype
        held, kind = MEMORY[dtype], REGISTER[dtype]
        place = {"n": (None, col), "m": (row, None), "s": (None, None), "mn": (row, col)}
        key = (id(operand), *place[operand.kind], mask)
        if key in self._seen:
            return self._seen[key]
        if operand.kind == "s":
            value = b.splat(n, kind, operand.base)
        elif operand.kind == "m":
            one = b.load(held, b.at(operand.base, b.mul(row, operand.stride), held))
            value = b.splat(n, held, one)
        else:
            shift = col if operand.kind == "n" else b.add(b.mul(row, operand.stride), col)
            p = b.at(operand.base, shift, held)
            value = (
                b.load(vec(n, held), p, held) if mask is None else b.masked_load(n, held, p, mask)
            )
        if held != kind and operand.kind != "s":
            value = b.let(f"icmp ne {vec(n, held)} {value}, zeroinitializer")
        self._seen[key] = value
        return value

    def _keep(self, n: int, operand: _Operand, value: str, row: Value, col: Value,
              mask: str | None) -> None:  # fmt: skip
        """Store a further result."""
        b, held, kind = self.b, MEMORY[operand.dtype], REGISTER[operand.dtype]
        if held != kind:
            value = b.let(f"zext {vec(n, kind)} {value} to {vec(n, held)}")
        p = b.at(operand.base, b.add(b.mul(row, operand.stride), col), held)
        if mask is None:
            b.store(vec(n, held), value, p, held)
        else:
            b.masked_store(n, held, value, p, mask)


def epilogue_arguments(fused: tuple[Fused, ...], n_batch: int) -> list[str]:
    """The names of an epilogue's step arguments."""
    names, index = [], 0
    for f in fused:
        for kind in f.kinds:
            names.append(f"e{index}")
            if kind != "s":
                names += [f"e{index}_off", f"e{index}_row"]
                names += [f"e{index}_batch{d}" for d in range(n_batch)]
            index += 1
    return names
