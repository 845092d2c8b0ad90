"""Pooling over bins: windows of nearly equal size that give a plane the size asked for, as LLVM IR.

Bin i of `out` over n elements is [floor(i n / out), ceil((i + 1) n / out)); neighbours may overlap.
"""

from __future__ import annotations

from facula.llvm.tile import Value, splat_text, vec
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
        """Among equals the first, and the last NaN wins: of each column, then among those."""
        b, arg, ty = self.b, self.arg, self.ty
        index = b.at(b.buffer(arg("index")), arg("index_off"), "i64")
        index = b.at(index, b.mul(plane, b.mul(arg("oh"), arg("ow"))), "i64")
        self.lines = b.at(self.line, arg("line"), ty)  # of the rows where maxima are
        with b.loop(0, arg("oh")) as oh:
            rows = self._bin(oh.i, "h")
            with b.loop(0, arg("width"), self.n) as w:
                self._column_maxima(x, w.i, rows)
            with b.loop(0, arg("ow")) as ow:
                value, at = self._best_column(self._columns(ow.i), rows[0])
                b.put(1, self.number, value, self._result(y, oh.i, ow.i))
                if at is not None:
                    place = b.at(index, b.add(b.mul(oh.i, arg("ow")), ow.i), "i64")
                    b.store("i64", at, place)

    def _column_maxima(self, x: str, w: Value, rows: tuple[Value, Value]) -> None:
        """The maxima of a register of columns, and their rows, to lines in scratch."""
        b, n, ty, v = self.b, self.n, self.ty, vec(self.n, self.ty)
        mask = b.mask(n, b.sub(self.arg("width"), w))
        init: list[tuple[str, Value]] = [(v, splat_text(n, ty, lowest(ty)))]
        if self.shape.indices:
            first = b.let(f"trunc i64 {rows[0]} to i32")
            init.append((vec(n, "i32"), b.splat(n, "i32", first)))
        with b.loop(*rows, 1, init) as r:
            place = b.at(x, b.add(b.mul(r.i, self.arg("x_h")), w), self.number.stored)
            value = b.fetch(n, self.number, place, mask)
            take = self._wins(n, value, r.vars[0])
            here = [(v, value)]
            if self.shape.indices:
                row = b.splat(n, "i32", b.let(f"trunc i64 {r.i} to i32"))
                here.append((vec(n, "i32"), row))
            r.next = [
                b.let(f"select <{n} x i1> {take}, {t} {new}, {t} {old}")
                for (t, new), old in zip(here, r.vars, strict=True)
            ]
        for of, base, one in zip(r.vars, (self.line, self.lines), (ty, "i32"), strict=False):
            b.masked_store(n, one, of, b.at(base, w, one), mask)

    def _best_column(self, columns: tuple[Value, Value], row: Value) -> tuple[str, Value | None]:
        """The maximum of a bin's columns, and its place in the plane if that is asked for."""
        b, ty, one = self.b, self.ty, vec(1, self.ty)
        init: list[tuple[str, Value]] = [(one, f"<{ty} {lowest(ty)}>")]
        if self.shape.indices:
            init += [("i64", row), ("i64", columns[0])]
        with b.loop(*columns, 1, init) as s:
            best, *before = s.vars
            value = b.load(one, b.at(self.line, s.i, ty), ty)
            now: list[tuple[str, Value]] = [(one, value)]
            if not before:
                flag = self._flag(self._wins(1, value, best))
            else:
                line = b.load("i32", b.at(self.lines, s.i, "i32"))
                now += [("i64", b.let(f"sext i32 {line} to i64")), ("i64", s.i)]
                flag = self._wins_first(value, best, now[1][1], before[0])
            s.next = [b.pick(flag, t, new, old) for (t, new), old in zip(now, s.vars, strict=True)]
        if not self.shape.indices:
            return s.vars[0], None
        return s.vars[0], b.add(b.mul(s.vars[1], self.arg("width")), s.vars[2])

    def _flag(self, lanes: str) -> str:
        return self.b.let(f"extractelement <1 x i1> {lanes}, i64 0")

    def _wins_first(self, value: str, best: str, row: Value, best_row: Value) -> str:
        """Whether a column's maximum is larger, as large and higher up, or a NaN and none is below."""
        b, one = self.b, vec(1, self.ty)
        higher = b.test("slt", row, best_row)
        if not self.number.is_float:
            larger = self._flag(b.let(f"icmp sgt {one} {value}, {best}"))
            equal = self._flag(b.let(f"icmp eq {one} {value}, {best}"))
            return b.let(f"or i1 {larger}, {b.both(equal, higher)}")
        tests = (("ogt", value, best), ("oeq", value, best))
        larger, equal = (self._flag(b.let(f"fcmp {t} {one} {x}, {y}")) for t, x, y in tests)
        nan, old = (self._flag(b.let(f"fcmp uno {one} {x}, {x}")) for x in (value, best))
        below = b.let(f"xor i1 {b.both(old, higher)}, true")
        wins = b.let(f"or i1 {larger}, {b.both(equal, higher)}")
        return b.let(f"or i1 {wins}, {b.both(nan, below)}")

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
                total = self._line_sum(*columns)
                mean = b.let(f"fdiv {vec(1, ty)} {total}, {self._count(rows, columns)}")
                b.put(1, self.number, mean, self._result(y, oh.i, ow.i))

    def _line_sum(self, first: Value, last: Value) -> str:
        """A register of partial sums, and what is left one by one."""
        b, n, ty, one = self.b, self.n, self.ty, vec(1, self.ty)
        whole = b.add(first, b.mul(b.div(b.sub(last, first), n), n))
        with b.choose(b.test("slt", first, whole)) as way:
            with way.yes:
                with b.loop(first, whole, n, [(vec(n, ty), "zeroinitializer")]) as s:
                    value = b.load(vec(n, ty), b.at(self.line, s.i, ty), ty)
                    s.next = [b.plus(n, ty, s.vars[0], value)]
                total, lanes = s.vars[0], n
                while lanes > 1:
                    lanes //= 2
                    halves = (range(k, k + lanes) for k in (0, lanes))
                    low, high = (self._lanes(2 * lanes, total, half) for half in halves)
                    total = b.plus(lanes, ty, low, high)
            with way.no:
                pass
        with b.loop(whole, last, 1, [(one, way.merge(one, total, "zeroinitializer"))]) as s:
            value = b.load(one, b.at(self.line, s.i, ty), ty)
            s.next = [b.plus(1, ty, s.vars[0], value)]
        return s.vars[0]

    def _lanes(self, n: int, value: str, lanes: range) -> str:
        return self.b.shuffle(n, self.ty, value, value, lanes)

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
