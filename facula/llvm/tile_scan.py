"""Running sums, products and extremes, as LLVM IR.

`columns`: neighbouring lines side by side in registers. `rows`: along contiguous numbers, a
register at a time by shifted combination. `totals`: what blocks of a long row come to. Sums and
products of float32, and logarithms of sums of exponentials, are carried in float64, as PyTorch does.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm import vmath, vmath_log
from facula.llvm.build import Lanes
from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Number, Value, lanes, vec
from facula.llvm.tile_put import STORED, combined
from facula.llvm.tile_task import TaskFrame

ARGUMENTS = ("x", "x_off", "y", "y_off", "sums", "x_a", "x_i", "x_b", "count_a", "count_i", "count_b",
             "per_a", "block", "blocks")  # fmt: skip
_WIDE = 4  # registers of columns at a time


@dataclass(frozen=True)
class ScanShape:
    """What is fixed in the code of a scan."""

    form: str  # columns, rows, totals
    dtype: str
    kind: str  # sum, prod, max, min, argmax, argmin, logaddexp
    carried: bool = False  # rows: blocks begin with what comes before them

    @property
    def key(self) -> str:
        return f"scan_{self.form} {self.dtype} {self.kind}{' carried' if self.carried else ''}"


_INTEGER = {"sum": 0, "prod": 1}
_FLOAT = {"sum": "0.0", "prod": "1.0", "max": "0xFFF0000000000000", "min": "0x7FF0000000000000",
          "logaddexp": "0xFFF0000000000000"}  # fmt: skip


def first_value(kind: str, dtype: str, ty: str) -> Value:
    """What a scan begins with."""
    kind = kind.removeprefix("arg")
    if ty in ("float", "double"):
        return _FLOAT[kind]
    if kind in _INTEGER:
        return _INTEGER[kind]
    bits = int(ty[1:])
    signed = dtype.startswith("int")
    least = -(1 << bits - 1) if signed else 0
    most = (1 << bits - 1) - 1 if signed else -1
    return least if kind == "max" else most


class ScanWriter:
    """Writes the kernel of a `ScanShape`."""

    def __init__(self, shape: ScanShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.number: Number = NUMBERS[STORED.get(shape.dtype, shape.dtype)]
        self.arg = TaskFrame(self.b, list(ARGUMENTS), 0)
        self.is_arg = shape.kind.startswith("arg")
        wide = self.number.compute == "float" and shape.kind in ("sum", "prod", "logaddexp")
        self.ty = "double" if wide else self.number.compute
        widest = 8 if wide or self.is_arg else self.number.compute_bytes
        self.n = target.vector_bytes // widest
        self.first = first_value(shape.kind, shape.dtype, self.ty)

    def write(self) -> str:
        b, arg = self.b, self.arg
        arg.load_all()
        self.x = arg.base("x", self.number.stored)
        out = "i64" if self.is_arg else self.number.stored
        self.y = arg.base("y", out) if self.shape.form != "totals" else ""
        with b.loop("%t0", "%t1") as t:
            lot, block = b.divmod(t.i, arg("blocks"))
            first = b.mul(lot, arg("per_a"))
            with b.loop(first, b.least(b.add(first, arg("per_a")), arg("count_a"))) as a:
                getattr(self, "_" + self.shape.form)(a.i, block)
        return b.module()

    # -- one number or a register of them ----------------------------------------------------

    def _load(self, n: int, place: str) -> str:
        """Numbers in the type they are carried in; a scalar for n = 0."""
        b, stored = self.b, self.number.stored
        if n == 0:
            value = b.load(stored, place)
            return (
                value if self.ty == self.number.compute else b.let(f"fpext float {value} to double")
            )
        value = b.load(vec(n, stored), place, stored)
        if self.ty == self.number.compute:
            return value
        return b.let(f"fpext {vec(n, 'float')} {value} to {vec(n, 'double')}")

    def _store(self, n: int, value: str, place: str) -> None:
        b, stored = self.b, self.number.stored
        if self.ty != self.number.compute:
            have, want = (vec(n, "double"), vec(n, "float")) if n else ("double", "float")
            value = b.let(f"fptrunc {have} {value} to {want}")
        b.store(vec(n, stored) if n else stored, value, place, stored)

    def _type(self, n: int, ty: str | None = None) -> str:
        return vec(n, ty or self.ty) if n else ty or self.ty

    def _constant(self, n: int, value: Value, ty: str | None = None) -> str:
        ty = ty or self.ty
        return f"<{', '.join([f'{ty} {value}'] * n)}>" if n else str(value)

    def _joined(self, n: int, old: str, new: str) -> str:
        if self.shape.kind == "logaddexp":
            return self._log_added(lanes(self.b, n, self.ty), old, new)
        mode = {"sum": "add", "prod": "mul"}.get(self.shape.kind, self.shape.kind)
        return combined(self.b, mode, self.shape.dtype, self._type(n), old, new)

    @staticmethod
    def _log_added(m: Lanes, old: str, new: str) -> str:
        """log(exp(old) + exp(new)), without overflow; of equal infinities the same infinity."""
        above = m.cmp("ogt", old, new)
        top, low = m.select(above, old, new), m.select(above, new, old)
        equal = m.cmp("oeq", top, low)
        gap = m.select(equal, m.c(0.0), m.sub(low, top))
        total = m.add(top, vmath_log.log1p(m, vmath.exp(m, gap)))
        return m.select(m.cmp("uno", old, new), m.add(old, new), total)

    def _state(self, n: int, value: str, index: str) -> list[str]:
        """What a scan carries: a value, and for the places of extremes an index."""
        return [value, index] if self.is_arg else [value]

    def _types(self, n: int) -> list[str]:
        return [self._type(n), self._type(n, "i64")][: 1 + self.is_arg]

    def _start(self, n: int) -> list[str]:
        return self._state(n, self._constant(n, self.first), self._constant(n, 0, "i64"))

    def _after(self, n: int, old: list[str], new: list[str]) -> list[str]:
        """Two states as one. Of places: the last of equals, NaN for good."""
        if not self.is_arg:
            return [self._joined(n, old[0], new[0])]
        b, v, bits = self.b, self._type(n), self._type(n, "i1")
        relation = {"argmax": "ge", "argmin": "le"}[self.shape.kind]
        if self.number.is_float:
            better = b.let(f"fcmp o{relation} {v} {new[0]}, {old[0]}")
            nan = b.let(f"fcmp uno {v} {new[0]}, {new[0]}")
            better = b.let(f"or {bits} {better}, {nan}")
        else:
            sign = "s" if self.shape.dtype.startswith("int") else "u"
            better = b.let(f"icmp {sign}{relation} {v} {new[0]}, {old[0]}")
        return [
            b.let(f"select {bits} {better}, {ty} {y}, {ty} {x}")
            for ty, x, y in zip(self._types(n), old, new, strict=True)
        ]

    def _put(self, n: int, state: list[str], place: str) -> None:
        if self.is_arg:
            self.b.store(self._type(n, "i64"), state[1], place, "i64")
        else:
            self._store(n, state[0], place)

    def _here(self, n: int, i: Value, neighbours: bool) -> str:
        """The index of what is being looked at: one, or those of neighbours."""
        if not self.is_arg:
            return ""
        if not n:
            return str(i)
        first = self.b.splat(n, "i64", i)
        if not neighbours:
            return first
        steps = ", ".join(f"i64 {j}" for j in range(n))
        return self.b.let(f"add {self._type(n, 'i64')} {first}, <{steps}>")

    # -- lines side by side ------------------------------------------------------------------

    def _columns(self, a: Value, block: Value) -> None:
        b, arg = self.b, self.arg
        first = b.mul(block, arg("block"))
        last = b.least(b.add(first, arg("block")), arg("count_b"))
        x = b.at(self.x, b.mul(a, arg("x_a")), self.number.stored)
        line = b.mul(arg("count_i"), arg("count_b"))
        y = b.at(self.y, b.mul(a, line), self._out)
        count = b.sub(last, first)
        even = b.test("eq", arg("x_b"), 1)
        wide, n = self.n * _WIDE, self.n
        end_wide = b.pick(even, "i64", b.add(first, b.mul(b.div(count, wide), wide)), first)
        end = b.pick(even, "i64", b.add(first, b.mul(b.div(count, n), n)), first)
        for lo, hi, registers, per_line in (
            (first, end_wide, _WIDE, n),
            (end_wide, end, 1, n),
            (end, last, 1, 0),
        ):
            with b.loop(lo, hi, registers * max(per_line, 1)) as j:
                self._lines(x, y, j.i, registers, per_line)

    @property
    def _out(self) -> str:
        return "i64" if self.is_arg else self.number.stored

    def _lines(self, x: str, y: str, j: Value, registers: int, n: int) -> None:
        """Some registers of lines, from top to bottom."""
        b, arg = self.b, self.arg
        start = list(zip(self._types(n), self._start(n), strict=True))
        per, stored = len(start), self.number.stored
        with b.loop(0, arg("count_i"), 1, start * registers) as i:
            at = b.add(b.mul(i.i, arg("x_i")), b.mul(j, arg("x_b")))
            source = b.at(x, at, stored)
            target = b.at(y, b.add(b.mul(i.i, arg("count_b")), j), self._out)
            here = self._here(n, i.i, False)
            for r in range(registers):
                value = self._load(n, b.at(source, r * n, stored))
                old = i.vars[per * r : per * r + per]
                state = self._after(n, old, self._state(n, value, here))
                self._put(n, state, b.at(target, r * n, self._out))
                i.next += state

    # -- along rows --------------------------------------------------------------------------

    def _row_block(self, a: Value, block: Value) -> tuple[str, Value, Value]:
        b, arg = self.b, self.arg
        first = b.mul(block, arg("block"))
        last = b.least(b.add(first, arg("block")), arg("count_i"))
        return b.at(self.x, b.mul(a, arg("x_a")), self.number.stored), first, last

    def _rows(self, a: Value, block: Value) -> None:
        b, arg, n = self.b, self.arg, self.n
        x, first, last = self._row_block(a, block)
        y = b.at(self.y, b.mul(a, arg("count_i")), self._out)
        begin = self._start(n)
        if self.shape.carried:
            begin = [b.splat(n, self.ty, self._before(a, block))]
        whole = b.add(first, b.mul(b.div(b.sub(last, first), n), n))
        with b.loop(first, whole, n, list(zip(self._types(n), begin, strict=True))) as i:
            value = self._load(n, b.at(x, i.i, self.number.stored))
            state = self._prefix(self._state(n, value, self._here(n, i.i, True)))
            state = self._after(n, list(i.vars), state)
            self._put(n, state, b.at(y, i.i, self._out))
            i.next = [self._shuffled(k, s, "poison", [n - 1] * n) for k, s in enumerate(state)]
        carry = [
            b.let(f"extractelement {ty} {x}, i64 0")
            for ty, x in zip(self._types(n), i.vars, strict=True)
        ]
        with b.loop(whole, last, 1, list(zip(self._types(0), carry, strict=True))) as i:
            value = self._load(0, b.at(x, i.i, self.number.stored))
            state = self._after(0, list(i.vars), self._state(0, value, self._here(0, i.i, True)))
            self._put(0, state, b.at(y, i.i, self._out))
            i.next = list(state)

    def _shuffled(self, k: int, x: str, y: str, lanes: list[int]) -> str:
        """A shuffle of the k-th part of states."""
        return self.b.shuffle(self.n, "i64" if k else self.ty, x, y, lanes)

    def _prefix(self, state: list[str]) -> list[str]:
        """Every lane combined with those before it."""
        n, step = self.n, 1
        start = self._start(n)
        while step < n:
            lanes = [n + j if j < step else j - step for j in range(n)]
            shifted = [
                self._shuffled(k, x, y, lanes)
                for k, (x, y) in enumerate(zip(state, start, strict=True))
            ]
            state = self._after(n, shifted, state)
            step *= 2
        return state

    # -- long rows in blocks -----------------------------------------------------------------

    def _sums(self, a: Value) -> str:
        b, arg = self.b, self.arg
        return b.at(b.buffer(arg("sums")), b.mul(a, arg("blocks")), self.ty)

    def _before(self, a: Value, block: Value) -> str:
        """What the blocks before this one come to, in order."""
        b = self.b
        sums = self._sums(a)
        with b.loop(0, block, 1, [(self.ty, str(self.first))]) as i:
            i.next = [self._joined(0, i.vars[0], b.load(self.ty, b.at(sums, i.i, self.ty)))]
        return i.vars[0]

    def _totals(self, a: Value, block: Value) -> None:
        b, n = self.b, self.n
        x, first, last = self._row_block(a, block)
        wide = n * _WIDE
        whole = b.add(first, b.mul(b.div(b.sub(last, first), wide), wide))
        start = (self._type(n), self._constant(n, self.first))
        with b.loop(first, whole, wide, [start] * _WIDE) as i:
            for r in range(_WIDE):
                value = self._load(
                    n, b.at(b.at(x, i.i, self.number.stored), r * n, self.number.stored)
                )
                i.next.append(self._joined(n, i.vars[r], value))
        both = [self._joined(n, i.vars[r], i.vars[r + 1]) for r in range(0, _WIDE, 2)]
        (lanes,) = self._prefix([self._joined(n, *both)])
        total = b.let(f"extractelement {self._type(n)} {lanes}, i64 {n - 1}")
        with b.loop(whole, last, 1, [(self.ty, total)]) as i:
            value = self._load(0, b.at(x, i.i, self.number.stored))
            i.next = [self._joined(0, i.vars[0], value)]
        b.store(self.ty, i.vars[0], b.at(self._sums(a), block, self.ty))
