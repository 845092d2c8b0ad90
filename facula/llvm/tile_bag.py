"""Sums of bags of a table's rows, as LLVM IR.

    out[b, :] = sum over i in [offsets[b], offsets[b + 1]) of scale[i] * table[index[i], :]

Rows named `skip` are left out. A task owns bags, or a stretch of their columns, and adds rows in order.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Value, vec
from facula.llvm.tile_task import TaskFrame

ARGUMENTS = (
    *("table", "table_off", "row", "index", "index_off", "offsets", "offsets_off"),
    *("scale", "scale_off", "out", "out_off", "count", "count_off"),
    *("bags", "size", "rows", "columns", "skip", "per_task", "block", "blocks"),
)
_WIDE = (8, 4, 2)  # registers of columns at a time, as long as there are so many
_AHEAD = 12  # rows: a row is asked for before its turn, as nobody can guess where it lies


@dataclass(frozen=True)
class BagShape:
    """What is fixed in the code of a kernel that sums bags."""

    dtype: str  # of the table
    out: str
    scaled: bool
    counted: bool  # how many rows each bag has is written too

    @property
    def key(self) -> str:
        ends = f"{' scaled' if self.scaled else ''}{' counted' if self.counted else ''}"
        return f"bag_sum {self.dtype} to {self.out}{ends}"


class BagWriter:
    """Writes the kernel of a `BagShape`."""

    def __init__(self, shape: BagShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.number, self.result = NUMBERS[shape.dtype], NUMBERS[shape.out]
        self.n = target.vector_bytes // self.number.compute_bytes
        self.arg = TaskFrame(self.b, list(ARGUMENTS), 0)

    def write(self) -> str:
        b, arg = self.b, self.arg
        arg.load_all()
        self.table = self.arg.base("table", self.number.stored)
        self.index, self.offsets = self.arg.base("index", "i64"), self.arg.base("offsets", "i64")
        with b.loop("%t0", "%t1") as t:
            lot, block = b.divmod(t.i, arg("blocks"))
            first = b.mul(lot, arg("per_task"))
            last = b.least(b.add(first, arg("per_task")), arg("bags"))
            low = b.mul(block, arg("block"))
            high = b.least(b.add(low, arg("block")), arg("columns"))
            with b.loop(first, last) as bag:
                self._bag(bag.i, low, high)
        return b.module()

    def _bag(self, bag: Value, low: Value, high: Value) -> None:
        b, arg = self.b, self.arg
        start = self._start(bag)
        following = b.least(b.add(bag, 1), b.sub(arg("bags"), 1))
        is_last = b.test("eq", b.add(bag, 1), arg("bags"))
        end = b.pick(is_last, "i64", arg("size"), self._start(following))
        out = self.arg.base("out", self.result.stored)
        out = b.at(out, b.mul(bag, arg("columns")), self.result.stored)
        done = low
        for registers in _WIDE:
            wide = registers * self.n
            whole = b.add(done, b.mul(b.div(b.sub(high, done), wide), wide))
            with b.loop(done, whole, wide) as j:
                self._columns(start, end, out, j.i, registers, None)
            done = whole
        with b.loop(done, high, self.n) as j:
            mask = b.mask(self.n, b.sub(high, j.i))
            self._columns(start, end, out, j.i, 1, mask)
        if self.shape.counted:
            with b.when(b.test("eq", low, 0)):
                self._count(bag, start, end)

    def _start(self, bag: Value) -> Value:
        """Where a bag begins, brought among the indices."""
        b = self.b
        at = b.load("i64", b.at(self.offsets, bag, "i64"))
        return b.least(b.most(at, 0), self.arg("size"))

    def _columns(
        self, start: Value, end: Value, out: str, j: Value, registers: int, mask: str | None
    ) -> None:
        """The sums of a few registers of columns."""
        b, n, ty = self.b, self.n, self.number.compute
        v, stored = vec(n, ty), self.number.stored
        final = b.sub(end, 1)
        with b.loop(start, end, 1, [(v, "zeroinitializer")] * registers) as i:
            self._ask(b.least(b.add(i.i, _AHEAD), final), j, registers)
            place = b.load("i64", b.at(self.index, i.i, "i64"))
            good = b.test("ult", place, self.arg("rows"))  # a bad one is reported elsewhere
            good = b.both(good, b.test("ne", place, self.arg("skip")))
            row = b.at(b.at(self.table, b.mul(place, self.arg("row")), stored), j, stored)
            with b.choose(good) as way:
                with way.yes:
                    sums = []
                    for k, total in enumerate(i.vars):
                        value = b.fetch(n, self.number, b.at(row, k * n, stored), mask)
                        sums.append(self._added(total, value, i.i))
                with way.no:
                    pass
            i.next = [way.merge(v, s, t) for s, t in zip(sums, i.vars, strict=True)]
        for k, total in enumerate(i.vars):
            place = b.at(out, b.add(j, k * n), self.result.stored)
            b.put(n, self.result, total, place, mask)

    def _ask(self, i: Value, j: Value, registers: int) -> None:
        """Begin to bring what a row to come has of some columns."""
        b, stored = self.b, self.number.stored
        place = b.load("i64", b.at(self.index, i, "i64"))
        row = b.at(b.at(self.table, b.mul(place, self.arg("row")), stored), j, stored)
        for k in range(0, registers * self.n, max(1, 64 // self.number.bytes)):
            b.prefetch(b.at(row, k, stored), write=False)

    def _added(self, total: str, value: str, i: str) -> str:
        b, n, ty = self.b, self.n, self.number.compute
        if not self.shape.scaled:
            return b.plus(n, ty, total, value)
        scale = b.load(ty, b.at(self._scale, i, ty))
        return b.fma(n, ty, value, b.splat(n, ty, scale), total)

    @property
    def _scale(self) -> str:
        return self.arg.base("scale", self.number.compute)

    def _count(self, bag: Value, start: Value, end: Value) -> None:
        b, ty = self.b, self.result.compute
        with b.loop(start, end, 1, [("i64", 0)]) as i:
            place = b.load("i64", b.at(self.index, i.i, "i64"))
            one = b.let(f"zext i1 {b.test('ne', place, self.arg('skip'))} to i64")
            i.next = [b.add(i.vars[0], one)]
        count = b.let(f"sitofp i64 {i.vars[0]} to {ty}")
        b.store(ty, count, b.at(self.arg.base("count", ty), bag, ty))
