"""Pooling over bins: windows of nearly equal size that give a plane the size asked for, as LLVM IR.

Bin i of `out` over n elements is [floor(i n / out), ceil((i + 1) n / out)); neighbours may overlap.
"""

from __future__ import annotations

from facula.llvm.tile import Value, vec
from facula.llvm.tile_pool import PoolWriter, lowest


class BinWriter(PoolWriter):
    """Writes the kernels whose kinds are bins_max, bins_mean and bins_mean_back."""

    def _bin(self, out: Value, axis: str) -> tuple[Value, Value]:
        """Where a bin along an axis begins and ends."""
        b, arg = self.b, self.arg
        size, many = (arg("height"), arg("oh")) if axis == "h" else (arg("width"), arg("ow"))
        last = b.sub(b.add(b.mul(b.add(out, 1), size), many), 1)
        return b.div(b.mul(out, size), many), b.div(last, many)

    def _prepare(self) -> None:
        """In scratch: where each output's columns begin and end, and a line of numbers."""
        b, arg = self.b, self.arg
        self.ends = "%scratch"
        self.line = b.at("%scratch", b.mul(arg("ow"), 2), "i64")
        with b.loop(0, arg("ow")) as ow:
            place = b.at(self.ends, b.mul(ow.i, 2), "i64")
            for k, end in enumerate(self._bin(ow.i, "w")):
                b.store("i64", end, b.at(place, k, "i64"))

    def _columns(self, ow: Value) -> tuple[Value, Value]:
        place = self.b.at(self.ends, self.b.mul(ow, 2), "i64")
        return self.b.load("i64", place), self.b.load("i64", self.b.at(place, 1, "i64"))

    def _bins_max(self, x: str, y: str, plane: str) -> None:
        """Among equals the first, and a NaN wins."""
        b, arg, ty, stored = self.b, self.arg, self.ty, self.number.stored
        one = vec(1, ty)
        index = b.at(b.buffer(arg("index")), arg("index_off"), "i64")
        index = b.at(index, b.mul(plane, b.mul(arg("oh"), arg("ow"))), "i64")
        with b.loop(0, arg("oh")) as oh:
            rows = self._bin(oh.i, "h")
            with b.loop(0, arg("ow")) as ow:
                columns = self._columns(ow.i)
                first = b.add(b.mul(rows[0], arg("width")), columns[0])
                init = [(one, f"<{ty} {lowest(ty)}>"), ("i64", first)]
                with b.loop(*rows, 1, init) as r:
                    line = b.at(x, b.mul(r.i, arg("x_h")), stored)
                    start = b.mul(r.i, arg("width"))
                    carried = [(one, r.vars[0]), ("i64", r.vars[1])]
                    with b.loop(*columns, 1, carried) as s:
                        value = b.fetch(1, self.number, b.at(line, s.i, stored))
                        take = self._wins(1, value, s.vars[0])
                        flag = b.let(f"extractelement <1 x i1> {take}, i64 0")
                        s.next = [
                            b.pick(flag, one, value, s.vars[0]),
                            b.pick(flag, "i64", b.add(start, s.i), s.vars[1]),
                        ]
                    r.next = list(s.vars)
                b.put(1, self.number, r.vars[0], self._result(y, oh.i, ow.i))
                if self.shape.indices:
                    place = b.at(index, b.add(b.mul(oh.i, arg("ow")), ow.i), "i64")
                    b.store("i64", r.vars[1], place)

    def _result(self, y: str, oh: Value, ow: Value) -> str:
        b = self.b
        return b.at(y, b.add(b.mul(oh, self.arg("y_h")), ow), self.number.stored)

    def _count(self, rows: tuple[Value, Value], columns: tuple[Value, Value]) -> str:
        """How many numbers a bin has."""
        b = self.b
        count = self._float(b.mul(b.sub(rows[1], rows[0]), b.sub(columns[1], columns[0])))
        return b.splat(1, self.ty, count)

    def _bins_mean(self, x: str, y: str, plane: str) -> None:
        """The rows of a bin are added up in the line, then its columns."""
        b, arg, n, ty, stored = self.b, self.arg, self.n, self.ty, self.number.stored
        with b.loop(0, arg("oh")) as oh:
            rows = self._bin(oh.i, "h")
            with b.loop(0, arg("width"), n) as w:
                mask = b.mask(n, b.sub(arg("width"), w.i))
                with b.loop(*rows, 1, [(vec(n, ty), "zeroinitializer")]) as r:
                    place = b.at(x, b.add(b.mul(r.i, arg("x_h")), w.i), stored)
                    r.next = [b.plus(n, ty, r.vars[0], b.fetch(n, self.number, place, mask))]
                b.masked_store(n, ty, r.vars[0], b.at(self.line, w.i, ty), mask)
            with b.loop(0, arg("ow")) as ow:
                columns = self._columns(ow.i)
                with b.loop(*columns, 1, [(vec(1, ty), "zeroinitializer")]) as s:
                    value = b.load(vec(1, ty), b.at(self.line, s.i, ty), ty)
                    s.next = [b.plus(1, ty, s.vars[0], value)]
                mean = b.let(f"fdiv {vec(1, ty)} {s.vars[0]}, {self._count(rows, columns)}")
                b.put(1, self.number, mean, self._result(y, oh.i, ow.i))

    def _bins_mean_back(self, x: str, y: str, plane: str) -> None:
        """A row of gradients is spread over the line, and the line added to the bin's rows."""
        b, arg, n, ty, stored = self.b, self.arg, self.n, self.ty, self.number.stored
        self._clear(x)
        with b.loop(0, arg("oh")) as oh:
            rows = self._bin(oh.i, "h")
            with b.loop(0, arg("width"), n) as w:
                mask = b.mask(n, b.sub(arg("width"), w.i))
                b.masked_store(n, ty, "zeroinitializer", b.at(self.line, w.i, ty), mask)
            with b.loop(0, arg("ow")) as ow:
                columns = self._columns(ow.i)
                dy = b.fetch(1, self.number, self._result(y, oh.i, ow.i))
                share = b.let(f"fdiv {vec(1, ty)} {dy}, {self._count(rows, columns)}")
                with b.loop(*columns) as s:
                    place = b.at(self.line, s.i, ty)
                    b.store(
                        vec(1, ty), b.plus(1, ty, b.load(vec(1, ty), place, ty), share), place, ty
                    )
            with b.loop(*rows) as r, b.loop(0, arg("width"), n) as w:
                mask = b.mask(n, b.sub(arg("width"), w.i))
                place = b.at(x, b.add(b.mul(r.i, arg("x_h")), w.i), stored)
                share = b.masked_load(n, ty, b.at(self.line, w.i, ty), mask)
                b.put(
                    n,
                    self.number,
                    b.plus(n, ty, b.fetch(n, self.number, place, mask), share),
                    place,
                    mask,
                )
