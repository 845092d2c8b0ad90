"""Writing at given places, as LLVM IR: `x[.., index[i], ..] op= src[.., i, ..]`.

Indices are walked in order by the one task that owns a place, so results never depend on threads.
`rows`: an index names a row of neighbouring numbers, done a register at a time. `points`: every
number has an index of its own. Indices outside the result are left out, or reported.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Number, Value, vec
from facula.llvm.tile_task import TaskFrame

_OPERANDS = ("index", "index_off", "src", "src_off", "out", "out_off")
_CUTS = ("size", "report", "per_a", "block", "blocks", "per_range", "ranges")
ROWS = (*_OPERANDS, "index_i", "src_a", "src_i", "src_b", "out_a", "out_i", "count_a", "count_i", "columns",
        *_CUTS)  # fmt: skip
POINTS = (*_OPERANDS, *(f"{x}_{d}" for x in ("index", "src", "out", "count") for d in "ajk"), "out_i",
          *_CUTS)  # fmt: skip

# what dtypes without an entry of their own in NUMBERS are stored as
STORED = {"bool": "int8", "uint16": "int16", "uint32": "int32", "uint64": "int64"}
_BITS = {1: "int8", 2: "int16", 4: "int32", 8: "int64"}


@dataclass(frozen=True)
class PutShape:
    """What is fixed in the code of a kernel that puts."""

    kind: str  # rows, points
    dtype: str
    mode: str  # set, add, mul, max, min
    wraps: bool = False  # negative indices count from the end
    checks: bool = False  # points: report what is outside
    dense: bool = False  # points: indices and source lie one after the other, places side by side

    @property
    def key(self) -> str:
        flags = " wraps" * self.wraps + " checks" * self.checks + " dense" * self.dense
        return f"put_{self.kind} {self.dtype} {self.mode}{flags}"

    @staticmethod
    def of(kind: str, dtype: str, itemsize: int, mode: str, **flags: bool) -> PutShape:
        """The shape that does for a dtype: what is only moved is bits."""
        if mode == "set":
            dtype = _BITS[itemsize]
        elif mode in ("add", "mul") and dtype.startswith("uint"):
            dtype = dtype[1:]
        return PutShape(kind, dtype, mode, **flags)


class PutWriter:
    """Writes the kernel of a `PutShape`."""

    def __init__(self, shape: PutShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.number: Number = NUMBERS[STORED.get(shape.dtype, shape.dtype)]
        self.arg = TaskFrame(self.b, list(ROWS if shape.kind == "rows" else POINTS), 0)

    def write(self) -> str:
        b, arg = self.b, self.arg
        arg.load_all()
        ty = self.number.stored
        self.index = arg.base("index", "i64")
        self.src = arg.base("src", ty)
        self.out = arg.base("out", ty)
        with b.loop("%t0", "%t1") as t:
            getattr(self, "_" + self.shape.kind)(t.i)
        return b.module()

    def _task(self, t: str, count: str) -> tuple[Value, ...]:
        """A task's part: of the lots, of the columns, and the places that it owns."""
        b, arg = self.b, self.arg
        rest, k = b.divmod(t, arg("ranges"))
        lot, block = b.divmod(rest, arg("blocks"))
        low = b.mul(k, arg("per_range"))
        high = b.least(b.add(low, arg("per_range")), arg("size"))
        first = b.mul(block, arg("block"))
        last = b.least(b.add(first, arg("block")), arg(count))
        first_a = b.mul(lot, arg("per_a"))
        last_a = b.least(b.add(first_a, arg("per_a")), arg("count_a"))
        return first_a, last_a, first, last, low, high

    def _place(self, index: str) -> Value:
        """Where an index points."""
        b = self.b
        place = b.load("i64", index)
        if not self.shape.wraps:
            return place
        sign = b.let(f"ashr i64 {place}, 63")
        return b.add(place, b.let(f"and i64 {sign}, {self.arg('size')}"))

    def _rows(self, t: str) -> None:
        b, arg, ty = self.b, self.arg, self.number.stored
        first_a, last_a, first, last, low, high = self._task(t, "columns")
        with b.loop(first_a, last_a) as a:
            src_a = b.at(self.src, b.mul(a.i, arg("src_a")), ty)
            out_a = b.at(self.out, b.mul(a.i, arg("out_a")), ty)
            with b.loop(0, arg("count_i")) as i:
                place = self._place(b.at(self.index, b.mul(i.i, arg("index_i")), "i64"))
                with b.when(b.both(b.test("sge", place, low), b.test("slt", place, high))):
                    src = b.at(src_a, b.mul(i.i, arg("src_i")), ty)
                    out = b.at(out_a, b.mul(place, arg("out_i")), ty)
                    self._row(src, out, first, last)

    def _row(self, src: str, out: str, first: Value, last: Value) -> None:
        """Numbers first..last of a row; the source may repeat one number or have gaps."""
        b, number, n = self.b, self.number, self.b.target.vector_bytes // self.number.compute_bytes
        ty = number.stored
        step = self.arg("src_b")

        def one(j: Value) -> None:
            value = b.fetch(1, number, b.at(src, b.mul(j, step), ty))
            self._combine(1, value, b.at(out, j, ty))

        whole = b.add(first, b.mul(b.div(b.sub(last, first), n), n))
        even = b.pick(b.test("eq", step, 1), "i64", whole, first)
        with b.loop(first, even, n) as j:
            self._combine(n, b.fetch(n, number, b.at(src, j.i, ty)), b.at(out, j.i, ty))
        with b.loop(even, last) as j:
            one(j.i)

    def _points(self, t: str) -> None:
        b, arg, ty = self.b, self.arg, self.number.stored
        first_a, last_a, first, last, _, _ = self._task(t, "count_k")
        operands = (("index", self.index, "i64"), ("src", self.src, ty), ("out", self.out, ty))

        def step(name: str) -> Value:
            return 1 if self.shape.dense else arg(name)

        def moved(pointers: list[str], d: str, i: Value) -> list[str]:
            return [
                b.at(p, b.mul(i, step(f"{name}_{d}") if d == "k" else arg(f"{name}_{d}")), e)
                for p, (name, _, e) in zip(pointers, operands, strict=True)
            ]

        with b.loop(first_a, last_a) as a:
            at_a = moved([p for _, p, _ in operands], "a", a.i)
            with b.loop(0, arg("count_j")) as j:
                at_j = moved(at_a, "j", j.i)
                with b.loop(first, last) as k:
                    index, src, out = moved(at_j, "k", k.i)
                    out = at_j[2] if self.shape.dense else out
                    self._point(index, src, out, step("out_i"))

    def _point(self, index: str, src: str, out: str, step: Value) -> None:
        """Puts one number; most indices need neither wrapping nor reporting."""
        b = self.b

        def put(place: Value) -> None:
            value = b.fetch(1, self.number, src)
            self._combine(1, value, b.at(out, b.mul(place, step), self.number.stored))

        place = b.load("i64", index)
        with b.choose(b.test("ult", place, self.arg("size"))) as plain:
            with plain.yes:
                put(place)
            with plain.no:
                wrapped = b.add(place, self.arg("size"))
                inside = b.test("ult", wrapped, self.arg("size")) if self.shape.wraps else "false"
                with b.choose(inside) as found:
                    with found.yes:
                        put(wrapped)
                    with found.no:
                        if self.shape.checks:
                            self._report(place)

    def _report(self, index: str) -> None:
        """Notes a bad index, for the error that will be raised."""
        b, arg = self.b, self.arg
        if not self.shape.wraps:  # as `checks.write_check` reports one that is below 0
            below = b.let(f"and i64 {b.let(f'ashr i64 {index}, 63')}, {arg('size')}")
            index = b.let(f"sub i64 {index}, {below}")
        reported: tuple[Value, ...] = (1, index, arg("size"), arg("report"))
        for k, number in enumerate(reported):
            b.store("i64", number, b.at("%status", k, "i64"))

    def _combine(self, n: int, new: str, place: str) -> None:
        b, number, v = self.b, self.number, vec(n, self.number.compute)
        mode = self.shape.mode
        if mode == "set":
            b.put(n, number, new, place)
            return
        old = b.fetch(n, number, place)
        b.put(n, number, combined(b, mode, self.shape.dtype, v, old, new), place)


def combined(b: Emit, mode: str, dtype: str, v: str, old: str, new: str) -> str:
    """old and new as one, of LLVM type v: NaN wins maxima and minima, bools are true or false."""
    is_float = "float" in v or "double" in v
    if mode in ("add", "mul"):
        if dtype == "bool":
            op = {"add": "or", "mul": "and"}[mode]
        else:
            op = ("f" if is_float else "") + mode
        return b.let(f"{op} {v} {old}, {new}")
    lanes = v[1 : v.index(" ")] if v[0] == "<" else ""
    bits = f"<{lanes} x i1>" if lanes else "i1"
    relation = {"max": "gt", "min": "lt"}[mode]
    if is_float:
        better = b.let(f"fcmp u{relation} {v} {new}, {old}")
        best = b.let(f"select {bits} {better}, {v} {new}, {v} {old}")
        nan = b.let(f"fcmp uno {v} {old}, {old}")
        return b.let(f"select {bits} {nan}, {v} {old}, {v} {best}")
    sign = "s" if dtype.startswith("int") else "u"
    better = b.let(f"icmp {sign}{relation} {v} {new}, {old}")
    return b.let(f"select {bits} {better}, {v} {new}, {v} {old}")
