"""Values put together from parts of others, as LLVM IR: padding by reflection and its like.

The result is (outer, rows, columns). Rows come in bands whose columns are made of the same segments;
a segment is read with any strides, also none. A task does some of outer by a stretch of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from facula.llvm.target import Target
from facula.llvm.tile import Emit, Value, vec
from facula.llvm.tile_task import TaskFrame

ARGUMENTS = (
    *("out", "out_off", "outer", "rows", "columns", "block_outer", "block_rows", "tasks_rows"),
    "segments",
)
# of each segment, after those above: what it is read from, and where it goes
SEGMENT = ("src", "off", "s_outer", "s_row", "s_column", "row", "row_end", "column", "width")


@dataclass(frozen=True)
class BoxesShape:
    """What is fixed in the code."""

    itemsize: int

    @property
    def key(self) -> str:
        return f"boxes {self.itemsize}"


class BoxesWriter:
    """Writes the kernel of a `BoxesShape`."""

    def __init__(self, shape: BoxesShape, target: Target, name: str) -> None:
        self.b = Emit(target, name)
        self.ty, self.n = f"i{8 * shape.itemsize}", target.vector_bytes // shape.itemsize
        self.arg = TaskFrame(self.b, list(ARGUMENTS), 0)

    def write(self) -> str:
        b, arg = self.b, self.arg
        arg.load_all()
        base = arg.base("out", self.ty)
        with b.loop("%t0", "%t1") as t:
            lot, block = b.divmod(t.i, arg("tasks_rows"))
            first, row = b.mul(lot, arg("block_outer")), b.mul(block, arg("block_rows"))
            end = b.least(b.add(first, arg("block_outer")), arg("outer"))
            row_end = b.least(b.add(row, arg("block_rows")), arg("rows"))
            with b.loop(first, end) as o, b.loop(0, arg("segments")) as s:
                self._segment(base, o.i, s.i, row, row_end)
        return b.module()

    def _segment(self, base: str, outer: Value, index: Value, row: Value, row_end: Value) -> None:
        b, arg, ty = self.b, self.arg, self.ty
        at = b.add(b.mul(index, len(SEGMENT)), len(ARGUMENTS))
        part = {name: b.arg(b.add(at, i)) for i, name in enumerate(SEGMENT)}
        first, end = b.most(part["row"], row), b.least(part["row_end"], row_end)
        source = b.add(part["off"], b.mul(outer, part["s_outer"]))
        source = b.add(source, b.mul(b.sub(first, part["row"]), part["s_row"]))
        line = b.add(b.mul(outer, arg("rows")), first)
        place = b.add(b.mul(line, arg("columns")), part["column"])
        out = b.at(base, place, ty)
        with b.choose(b.test("sge", part["src"], 0)) as way:
            with way.yes:
                src = b.at(b.buffer(part["src"]), source, ty)
            with way.no:  # a constant, which is read where the arguments have it
                bits = b.at("%args", b.add(at, SEGMENT.index("off")), "i64")
        src = way.merge("ptr", src, bits)
        wide = b.test("sge", part["width"], self.n)
        with b.when(b.both(wide, b.test("eq", part["s_column"], 1))):
            self._rows(part, (first, end), src, out, self._copy)
        with b.when(b.both(wide, b.test("eq", part["s_column"], 0))):
            self._rows(part, (first, end), src, out, self._fill)
        near = b.let(f"icmp ult i64 {part['s_column']}, 2")
        with b.when(b.let(f"xor i1 {b.both(wide, near)}, true")):
            self._rows(part, (first, end), src, out, self._pick)

    def _rows(self, part, span: tuple[Value, Value], src: str, out: str, row: Any) -> None:
        b, ty = self.b, self.ty
        with b.loop(*span, 1, [("ptr", src), ("ptr", out)]) as r:
            row(*r.vars, part)
            below = b.at(r.vars[0], part["s_row"], ty)
            r.next = [below, b.at(r.vars[1], self.arg("columns"), ty)]

    def _copy(self, src: str, out: str, part: dict[str, str]) -> None:
        """A row of no less than a register; the last one is moved back and copies some again."""
        b, n, ty = self.b, self.n, self.ty
        self._wide(out, part, lambda j: b.load(vec(n, ty), b.at(src, j, ty), ty))

    def _fill(self, src: str, out: str, part: dict[str, str]) -> None:
        value = self.b.splat(self.n, self.ty, self.b.load(self.ty, src))
        self._wide(out, part, lambda j: value)

    def _wide(self, out: str, part: dict[str, str], value: Callable[[Value], str]) -> None:
        b, n, ty = self.b, self.n, self.ty
        last = b.sub(part["width"], n)
        with b.loop(0, last, n) as j:
            b.store(vec(n, ty), value(j.i), b.at(out, j.i, ty), ty)
        b.store(vec(n, ty), value(last), b.at(out, last, ty), ty)

    def _pick(self, src: str, out: str, part: dict[str, str]) -> None:
        b, ty = self.b, self.ty
        with b.loop(0, part["width"]) as j:
            value = b.load(ty, b.at(src, b.mul(j.i, part["s_column"]), ty), ty)
            b.store(ty, value, b.at(out, j.i, ty), ty)
