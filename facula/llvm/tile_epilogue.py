"""What is done to a tile of results before it is stored: bias, scaling, residual, activation.

An epilogue is a tuple of `Fused`, which are run one after the other. Their operands are read so:

    "n"  a vector along the columns, the same for all rows (a Linear's bias)
    "m"  one number per row (a convolution's bias)
    "mn" a matrix with contiguous rows (a residual, beta * C)
    "s"  one of the plan's scalars
    "out"  a matrix with contiguous rows that is written: a further result
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from facula.llvm.build import MEMORY, REGISTER, dtype_literal
from facula.llvm.elementwise import Values
from facula.llvm.tile import Emit, MathHost, Value, vec


@dataclass(frozen=True)
class Fused:
    """An epilogue, or a part of one: elementwise statements as a loop program has them.

    `kinds` and `types` say how each operand is read, and its dtype. Statements are (op, dtype,
    arguments), where arguments are numbers of earlier statements except for

        sum          the product's element, or what the part before made of it
        load k       the k-th operand's element
        scalar k     the same, for one of the plan's scalars
        const x
        store k i    the value of statement i goes to the k-th operand

    C gets the value of statement `result`.
    """

    kinds: tuple[str, ...]
    types: tuple[str, ...]
    stmts: tuple[tuple[str, str, tuple], ...]
    result: int
    heavy: bool = False  # too long to be repeated for each register of a tile

    @property
    def key(self) -> str:
        operands = " ".join(f"{k}:{d}" for k, d in zip(self.kinds, self.types, strict=True))
        lines = "; ".join(f"{d} {op} {' '.join(map(repr, a))}" for op, d, a in self.stmts)
        return f"chain({operands}) {lines} -> {self.result}"


def bias(kind: str, dtype: str) -> Fused:
    """Adds a vector along the columns ("n"), or one number per row ("m")."""
    stmts = (("sum", dtype, ()), ("load", dtype, (0,)), ("add", dtype, (0, 1)))
    return Fused((kind,), (dtype,), stmts, 2)


@dataclass
class _Operand:
    kind: str
    base: str  # pointer, or the scalar itself
    stride: Value
    dtype: str


class EpilogueWriter:
    """Applies an epilogue to vectors of results. `read` gives a step argument by its name."""

    def __init__(self, b: Emit, fused: tuple[Fused, ...]) -> None:
        self.b, self.fused = b, fused
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
            for kind, dtype in zip(fused.kinds, fused.types, strict=True):
                name = f"e{index}"
                index += 1
                if kind == "s":
                    value = self._scalar(read(name), dtype)
                    self.operands.append(_Operand(kind, value, 0, dtype))
                    continue
                offset = b.add(read(f"{name}_off"), batch_offset(name))
                base = b.at(b.buffer(read(name)), offset, MEMORY[dtype])
                self.operands.append(_Operand(kind, base, read(f"{name}_row"), dtype))

    def _scalar(self, slot: str, dtype: str) -> str:
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

    def apply(self, n: int, value: str, row: Value, col: Value, mask: str | None = None) -> str:
        """The epilogue of n results at (row, col..) of C."""
        operands = iter(self.operands)
        for fused in self.fused:
            own = [next(operands) for _ in fused.kinds]
            value = self._run(n, fused, own, value, (row, col), mask)
        return value

    def _run(self, n: int, fused: Fused, operands: list[_Operand], total: str,
             at: tuple[Value, Value], mask: str | None) -> str:  # fmt: skip
        """The statements of a part on n results; what C gets."""
        values = Values(MathHost(self.b), n)  # type: ignore[arg-type]
        done: list[str] = []
        for op, dtype, args in fused.stmts:
            if op == "sum":
                done.append(total)
            elif op in ("load", "scalar"):
                done.append(self._fetch(n, operands[args[0]], *at, mask))
            elif op == "const":
                done.append(f"splat ({REGISTER[dtype]} {dtype_literal(dtype, args[0])})")
            elif op == "store":
                done.append("")
                self._keep(n, operands[args[0]], done[args[1]], *at, mask)
            else:
                source = fused.stmts[args[-1]][1]
                done.append(values.write(op, source, dtype, [done[a] for a in args]))
        return done[fused.result]

    def _fetch(self, n: int, operand: _Operand, row: Value, col: Value, mask: str | None) -> str:
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
