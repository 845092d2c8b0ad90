"""Pooling over windows of images, as LLVM IR.

A task does whole planes (one channel of one image). Maxima are taken for a register of neighbouring
outputs at once; averages add up the window's rows first and then the columns.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Value, splat_text, vec
from facula.llvm.tile_pack import lanes_of
from facula.llvm.tile_task import TaskFrame

COMMON = (
    *("x", "x_off", "y", "y_off", "planes", "channels", "x_n", "x_c", "x_h", "y_n", "y_c", "y_h"),
    *("height", "width", "oh", "ow", "kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw"),
    *("index", "index_off", "per_task", "include", "divisor", "line"),
)


@dataclass(frozen=True)
class PoolShape:
    """What is fixed in the code of a pooling kernel."""

    kind: str  # max, max_back, mean, mean_back, or tile_bins' bins_max, bins_mean, bins_mean_back
    dtype: str
    stride_w: int = 0  # 1, 2, or 0 for any
    indices: bool = False
    dense: bool = False  # a plane's rows follow on without gaps
    apart: bool = False  # max_back: no two windows meet, and nothing has gaps between rows
    taps: int = 0  # columns of a window of a maximum, where the code has them one by one

    @property
    def key(self) -> str:
        ends = f"{' indices' if self.indices else ''}{' dense' if self.dense else ''}"
        ends += " apart" if self.apart else ""
        return f"pool {self.kind} {self.dtype} s{self.stride_w} t{self.taps}{ends}"


class PoolWriter:
    """Writes the kernel of a `PoolShape`."""

    def __init__(self, shape: PoolShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.number = NUMBERS[shape.dtype]
        self.ty = self.number.compute
        self.n = lanes_of(self.b, self.number)
        self.arg = TaskFrame(self.b, list(COMMON), 0)

    def write(self) -> str:
        b, arg = self.b, self.arg
        arg.load_all()
        body = getattr(self, f"_{self.shape.kind}")
        if not self.shape.kind.startswith("max"):
            self._prepare()
        first = b.mul("%t0", arg("per_task"))
        last = b.least(b.mul("%t1", arg("per_task")), arg("planes"))
        with b.loop(first, last) as plane:
            image, channel = b.divmod(plane.i, arg("channels"))
            pointers = []
            for name in ("x", "y"):
                shift = b.add(b.mul(image, arg(f"{name}_n")), b.mul(channel, arg(f"{name}_c")))
                base = b.at(b.buffer(arg(name)), arg(f"{name}_off"), self.number.stored)
                pointers.append(b.at(base, shift, self.number.stored))
            body(*pointers, plane.i)
        return b.module()

    def _span(self, out: Value, axis: str) -> tuple[Value, Value, Value]:
        """The window of an output along an axis: (start, taps in the image, from tap)."""
        b, arg = self.b, self.arg
        size = arg("height" if axis == "h" else "width")
        start = b.sub(b.mul(out, arg(f"s{axis}")), arg(f"p{axis}"))
        step = arg(f"d{axis}")
        # Taps t with 0 <= start + t * step < size.
        below = b.most(b.sub(0, start), 0)
        first = b.div(b.sub(b.add(below, step), 1), step)
        above = b.most(b.sub(size, start), 0)
        last = b.least(b.div(b.sub(b.add(above, step), 1), step), arg(f"k{axis}"))
        return start, b.least(first, last), last

    # -- maxima ------------------------------------------------------------------------------

    def _max(self, x: str, y: str, plane: str) -> None:
        b, arg = self.b, self.arg
        index = None
        if self.shape.indices:
            index = b.at(b.buffer(arg("index")), arg("index_off"), "i64")
            index = b.at(index, b.mul(plane, b.mul(arg("oh"), arg("ow"))), "i64")
        first_whole, end_whole = self._whole_registers()
        with b.loop(0, arg("oh")) as oh:
            span = self._span(oh.i, "h")
            ends = [(0, first_whole, True), (first_whole, end_whole, False)]
            for first, last, edge in [*ends, (end_whole, arg("ow"), True)]:
                with b.loop(first, last, self.n) as ow:
                    self._maxima(x, y, index, (oh.i, ow.i), span, edge)

    def _whole_registers(self) -> tuple[Value, Value]:
        """From where to where registers of outputs read only columns that are there."""
        b, arg, n, sw = self.b, self.arg, self.n, self.arg("sw")
        if not self.shape.stride_w:
            return 0, 0
        first = b.div(b.sub(b.add(arg("pw"), sw), 1), sw)
        first = b.mul(b.ceil_div(first, n), n)
        reach = b.add(b.mul(b.sub(arg("kw"), 1), arg("dw")), n * self.shape.stride_w)
        room = b.sub(b.add(arg("width"), arg("pw")), reach)  # the last column to begin at
        last = b.mul(b.add(b.div(b.most(room, 0), b.mul(sw, n)), 1), n)
        last = b.least(last, b.mul(b.div(arg("ow"), n), n))
        some = b.both(b.test("sge", room, 0), b.test("slt", first, last))
        return b.pick(some, "i64", first, 0), b.pick(some, "i64", last, 0)

    def _maxima(self, x: str, y: str, index: str | None, out: tuple[Value, Value],
                span: tuple[Value, Value, Value], edge: bool) -> None:  # fmt: skip
        """A register of neighbouring outputs; `edge`: some of their columns are not there."""
        b, arg, n, ty = self.b, self.arg, self.n, self.ty
        (oh, ow), (start, first, last) = out, span
        column = b.sub(b.mul(ow, arg("sw")), arg("pw"))
        init: list[tuple[str, Value]] = [(vec(n, ty), splat_text(n, ty, lowest(ty)))]
        if index:
            init.append((vec(n, "i32"), _all(n, -1)))
        with b.loop(first, last, 1, init) as r:
            line = b.add(start, b.mul(r.i, arg("dh")))

            def tap(s: Value, state: list[str]) -> list[str]:
                at = b.add(column, b.mul(s, arg("dw")))
                return self._better(x, line, at, state, edge)

            if self.shape.taps:
                r.next = list(r.vars)
                for s in range(self.shape.taps):
                    r.next = list(tap(s, r.next))  # type: ignore[arg-type]
            else:
                with b.loop(0, arg("kw"), 1, list(zip(_types(init), r.vars, strict=True))) as k:
                    k.next = list(tap(k.i, k.vars))
                r.next = list(k.vars)
        mask = b.mask(n, b.sub(arg("ow"), ow)) if edge else None
        place = b.at(y, b.add(b.mul(oh, arg("y_h")), ow), self.number.stored)
        b.put(n, self.number, r.vars[0], place, mask)
        if index:
            wide = b.let(f"sext {vec(n, 'i32')} {r.vars[1]} to {vec(n, 'i64')}")
            place = b.at(index, b.add(b.mul(oh, arg("ow")), ow), "i64")
            if mask is None:
                b.store(vec(n, "i64"), wide, place, "i64")
            else:
                b.masked_store(n, "i64", wide, place, mask)

    def _wins(self, n: int, value: str, best: str) -> str:
        """Where numbers are larger, or NaN."""
        b, v = self.b, vec(n, self.ty)
        if not self.number.is_float:
            return b.let(f"icmp sgt {v} {value}, {best}")
        larger = b.let(f"fcmp ogt {v} {value}, {best}")
        nan = b.let(f"fcmp uno {v} {value}, {value}")
        return b.let(f"or <{n} x i1> {larger}, {nan}")

    def _better(self, x: str, line: Value, at: Value, state: list[str], edge: bool) -> list[str]:
        """Take the numbers of one tap where they are larger, or NaN, or the first of an index."""
        b, n, ty = self.b, self.n, self.ty
        column = self._column_numbers(at)
        inside = self._inside(column) if edge or not self.shape.stride_w else None
        value = self._row(x, line, at, inside, edge)
        take = self._wins(n, value, state[0])
        v = vec(n, "i32")
        if len(state) == 2:
            first = b.let(f"icmp slt {v} {state[1]}, zeroinitializer")
            take = b.let(f"or <{n} x i1> {take}, {first}")
        if inside:
            take = b.let(f"and <{n} x i1> {take}, {inside}")
        best = b.let(f"select <{n} x i1> {take}, {vec(n, ty)} {value}, {vec(n, ty)} {state[0]}")
        if len(state) == 1:
            return [best]
        start = b.let(f"trunc i64 {b.mul(line, self.arg('width'))} to i32")
        here = b.let(f"add {v} {column}, {b.splat(n, 'i32', start)}")
        return [best, b.let(f"select <{n} x i1> {take}, {v} {here}, {v} {state[1]}")]

    def _column_numbers(self, at: Value) -> str:
        """Columns `sw` apart from column `at` on."""
        b, n, v = self.b, self.n, vec(self.n, "i32")
        iota = "<" + ", ".join(f"i32 {i}" for i in range(n)) + ">"
        step = b.splat(n, "i32", b.let(f"trunc i64 {self.arg('sw')} to i32"))
        start = b.splat(n, "i32", b.let(f"trunc i64 {at} to i32"))
        return b.let(f"add {v} {b.let(f'mul {v} {iota}, {step}')}, {start}")

    def _inside(self, column: str) -> str:
        """Which of the columns are there."""
        b, n = self.b, self.n
        width = b.splat(n, "i32", b.let(f"trunc i64 {self.arg('width')} to i32"))
        return b.let(f"icmp ult {vec(n, 'i32')} {column}, {width}")

    def _row(self, x: str, line: Value, at: Value, inside: str | None, edge: bool) -> str:
        """n numbers of a row, `sw` apart from column `at`."""
        b, arg, n = self.b, self.arg, self.n
        row = b.at(x, b.mul(line, arg("x_h")), self.number.stored)
        if self.shape.stride_w == 0:
            assert inside is not None
            return self._gather(row, self._column_numbers(at), inside)
        parts = []
        for i in range(self.shape.stride_w):
            place, mask = b.add(at, i * n), None
            if edge:
                right = b.mask(n, b.sub(arg("width"), place))
                left = b.mask(n, b.sub(0, place))
                mask = b.let(f"xor <{n} x i1> {right}, {left}")
                mask = b.let(f"and <{n} x i1> {mask}, {right}")
            parts.append(b.fetch(n, self.number, b.at(row, place, self.number.stored), mask))
        if self.shape.stride_w == 1:
            return parts[0]
        return b.shuffle(n, self.ty, *parts, range(0, 2 * n, 2))

    def _gather(self, row: str, column: str, inside: str) -> str:
        """Number by number, for strides without a vector form."""
        b, n, stored = self.b, self.n, self.number.stored
        kept = b.let(
            f"select <{n} x i1> {inside}, {vec(n, 'i32')} {column}, {vec(n, 'i32')} {_all(n, 0)}"
        )
        value = "poison"
        for i in range(n):
            c = b.let(f"extractelement {vec(n, 'i32')} {kept}, i64 {i}")
            c = b.let(f"sext i32 {c} to i64")
            one = b.load(stored, b.at(row, c, stored))
            value = b.let(f"insertelement {vec(n, stored)} {value}, {stored} {one}, i64 {i}")
        return b.widen(n, self.number, value)

    def _max_back(self, x: str, y: str, plane: str) -> None:
        """dx[index] += dy, output by output: windows may overlap."""
        b, arg = self.b, self.arg
        count = b.mul(arg("oh"), arg("ow"))
        index = b.at(b.buffer(arg("index")), arg("index_off"), "i64")
        index = b.at(index, b.mul(plane, count), "i64")
        self._clear(x)
        if self.shape.apart and b.target.has_mask:
            self._put_apart(x, y, index, count)
            return
        with b.loop(0, arg("oh")) as oh, b.loop(0, arg("ow")) as ow:
            o = b.add(b.mul(oh.i, arg("ow")), ow.i)
            at = b.load("i64", b.at(index, o, "i64"))
            dy = b.at(y, b.add(b.mul(oh.i, arg("y_h")), ow.i), self.number.stored)
            value = b.fetch(1, self.number, dy)
            place: Value = at
            if not self.shape.dense:
                line, column = b.divmod(at, arg("width"))
                place = b.add(b.mul(line, arg("x_h")), column)
            dx = b.at(x, place, self.number.stored)
            b.put(1, self.number, b.plus(1, self.ty, b.fetch(1, self.number, dx), value), dx)

    def _put_apart(self, x: str, y: str, index: str, count: Value) -> None:
        """dx[index] = dy, a register at a time."""
        b, n = self.b, self.n
        i64, i32 = vec(n, "i64"), vec(n, "i32")
        with b.loop(0, count, n) as o:
            mask = b.mask(n, b.sub(count, o.i))
            at = b.masked_load(n, "i64", b.at(index, o.i, "i64"), mask)
            places = b.let(f"trunc {i64} {at} to {i32}")
            value = b.fetch(n, self.number, b.at(y, o.i, self.number.stored), mask)
            b.deal(n, self.ty, value, x, places, mask)

    def _clear(self, x: str) -> None:
        b, arg, n = self.b, self.arg, self.n
        nothing = "zeroinitializer"
        with b.loop(0, arg("height")) as h, b.loop(0, arg("width"), n) as w:
            mask = b.mask(n, b.sub(arg("width"), w.i))
            place = b.at(x, b.add(b.mul(h.i, arg("x_h")), w.i), self.number.stored)
            b.masked_store(n, self.number.stored, nothing, place, mask)

    # -- means -------------------------------------------------------------------------------

    def _counted(self, out: Value, axis: str, first: Value, last: Value) -> Value:
        """How many taps of an axis count in the divisor."""
        b, arg = self.b, self.arg
        size = arg("height" if axis == "h" else "width")
        start = b.sub(b.mul(out, arg(f"s{axis}")), arg(f"p{axis}"))
        padded = b.least(arg(f"k{axis}"), b.sub(b.add(size, arg(f"p{axis}")), start))
        include = b.test("ne", arg("include"), 0)
        return b.pick(include, "i64", padded, b.sub(last, first))

    def _prepare(self) -> None:
        """In scratch: how many columns count for each output, and a line of zeros."""
        b, arg, ty = self.b, self.arg, self.ty
        self.counts = "%scratch"
        self.line = b.at("%scratch", b.add(arg("ow"), 2 * self.n), ty)
        with b.loop(0, arg("ow")) as ow:
            _, first, last = self._span(ow.i, "w")
            count = self._float(self._counted(ow.i, "w", first, last))
            b.store(ty, count, b.at(self.counts, ow.i, ty))
        with b.loop(0, arg("line"), self.n) as j:
            zeros = vec(self.n, ty)
            b.store(zeros, "zeroinitializer", b.at(self.line, j.i, ty), ty)

    def _float(self, count: Value) -> str:
        return self.b.let(f"sitofp i64 {count} to {self.ty}")

    def _divided(self, value: str, ow: Value, high: Value, mask: str) -> str:
        """n outputs' sums by their divisors."""
        b, arg, n, ty = self.b, self.arg, self.n, self.ty
        given = b.test("ne", arg("divisor"), 0)
        counts = b.masked_load(n, ty, b.at(self.counts, ow, ty), mask)
        counts = b.times(n, ty, counts, b.splat(n, ty, self._float(high)))
        fixed = b.splat(n, ty, self._float(arg("divisor")))
        v = vec(n, ty)
        divisor = b.let(f"select i1 {given}, {v} {fixed}, {v} {counts}")
        return b.let(f"fdiv {v} {value}, {divisor}")

    def _mean(self, x: str, y: str, plane: str) -> None:
        """Rows are added into a line with a border of zeros, then the line's columns."""
        b, arg, n, ty = self.b, self.arg, self.n, self.ty
        inner = b.at(self.line, arg("pw"), ty)
        with b.loop(0, arg("oh")) as oh:
            start, first, last = self._span(oh.i, "h")
            high = self._counted(oh.i, "h", first, last)
            with b.loop(0, arg("width"), n) as w:
                mask = b.mask(n, b.sub(arg("width"), w.i))
                with b.loop(first, last, 1, [(vec(n, ty), "zeroinitializer")]) as r:
                    shift = b.add(b.mul(b.add(start, r.i), arg("x_h")), w.i)
                    value = b.fetch(n, self.number, b.at(x, shift, self.number.stored), mask)
                    r.next = [b.plus(n, ty, r.vars[0], value)]
                b.masked_store(n, ty, r.vars[0], b.at(inner, w.i, ty), mask)
            with b.loop(0, arg("ow"), n) as ow:
                mask = b.mask(n, b.sub(arg("ow"), ow.i))
                place = b.mul(ow.i, arg("sw"))
                with b.loop(0, arg("kw"), 1, [(vec(n, ty), "zeroinitializer")]) as k:
                    value = self._apart(b.at(self.line, b.add(place, k.i), ty))
                    k.next = [b.plus(n, ty, k.vars[0], value)]
                mean = self._divided(k.vars[0], ow.i, high, mask)
                place = b.at(y, b.add(b.mul(oh.i, arg("y_h")), ow.i), self.number.stored)
                b.put(n, self.number, mean, place, mask)

    def _apart(self, p: str) -> str:
        """n numbers of the line, `sw` apart."""
        b, n, ty = self.b, self.n, self.ty
        if self.shape.stride_w == 0:
            value = "poison"
            for i in range(n):
                one = b.load(ty, b.at(p, b.mul(i, self.arg("sw")), ty))
                value = b.let(f"insertelement {vec(n, ty)} {value}, {ty} {one}, i64 {i}")
            return value
        parts = [b.load(vec(n, ty), b.at(p, i * n, ty), ty) for i in range(self.shape.stride_w)]
        return parts[0] if len(parts) == 1 else b.shuffle(n, ty, *parts, range(0, 2 * n, 2))

    def _mean_back(self, x: str, y: str, plane: str) -> None:
        """dx[i] = sum of dy / divisor over the outputs whose windows hold i."""
        b, arg, n, ty = self.b, self.arg, self.n, self.ty
        inner = b.at(self.line, arg("kw"), ty)
        with b.loop(0, arg("height")) as ih:
            first, last = self._covering(ih.i, "h")
            with b.loop(0, arg("ow"), n) as ow:
                mask = b.mask(n, b.sub(arg("ow"), ow.i))
                with b.loop(first, last, 1, [(vec(n, ty), "zeroinitializer")]) as oh:
                    shift = b.add(b.mul(oh.i, arg("y_h")), ow.i)
                    dy = b.fetch(n, self.number, b.at(y, shift, self.number.stored), mask)
                    _, low, top = self._span(oh.i, "h")
                    share = self._divided(dy, ow.i, self._counted(oh.i, "h", low, top), mask)
                    oh.next = [b.plus(n, ty, oh.vars[0], share)]
                b.masked_store(n, ty, oh.vars[0], b.at(inner, ow.i, ty), mask)
            row = b.at(x, b.mul(ih.i, arg("x_h")), self.number.stored)
            if self.shape.stride_w == 0:
                self._spread_slowly(row, inner)
            else:
                self._spread(row, inner)

    def _spread(self, row: str, inner: str) -> None:
        """row[iw] = sum over taps s of line[(iw + pw - s) / sw] where that is whole."""
        b, arg, n, ty, step = self.b, self.arg, self.n, self.ty, self.shape.stride_w
        with b.loop(0, arg("width"), n * step) as iw:
            parts = []
            for phase in range(step):
                at = b.add(b.add(iw.i, arg("pw")), phase)
                first = b.rem(b.add(arg("pw"), phase), step)
                with b.loop(first, arg("kw"), step, [(vec(n, ty), "zeroinitializer")]) as s:
                    index = b.sub(at, s.i)
                    if step == 2:
                        index = b.let(f"ashr i64 {index}, 1")
                    value = b.load(vec(n, ty), b.at(inner, index, ty), ty)
                    s.next = [b.plus(n, ty, s.vars[0], value)]
                parts.append(s.vars[0])
            if step == 2:
                low = [i for k in range(n // 2) for i in (k, n + k)]
                parts = [
                    b.shuffle(n, ty, *parts, low),
                    b.shuffle(n, ty, *parts, [i + n // 2 for i in low]),
                ]
            for i, value in enumerate(parts):
                mask = b.mask(n, b.sub(arg("width"), b.add(iw.i, i * n)))
                place = b.at(row, b.add(iw.i, i * n), self.number.stored)
                b.put(n, self.number, value, place, mask)

    def _spread_slowly(self, row: str, inner: str) -> None:
        b, arg, ty = self.b, self.arg, self.ty
        with b.loop(0, arg("width")) as iw:
            first, last = self._covering(iw.i, "w")
            with b.loop(first, last, 1, [(vec(1, ty), "zeroinitializer")]) as ow:
                value = b.load(vec(1, ty), b.at(inner, ow.i, ty), ty)
                ow.next = [b.plus(1, ty, ow.vars[0], value)]
            b.put(1, self.number, ow.vars[0], b.at(row, iw.i, self.number.stored))

    def _covering(self, i: Value, axis: str) -> tuple[Value, Value]:
        """The outputs whose windows (without dilation) hold input i."""
        b, arg = self.b, self.arg
        s, k = arg(f"s{axis}"), arg(f"k{axis}")
        at = b.add(i, arg(f"p{axis}"))
        last = b.least(b.add(b.div(at, s), 1), arg("oh" if axis == "h" else "ow"))
        first = b.div(b.sub(b.add(b.most(b.add(b.sub(at, k), 1), 0), s), 1), s)
        return b.least(first, last), last


def lowest(ty: str) -> str:
    """Minus infinity, or the least integer."""
    least = {"i8": -(1 << 7), "i16": -(1 << 15), "i32": -(1 << 31), "i64": -(1 << 63)}
    return "0xFFF0000000000000" if ty in ("float", "double") else str(least[ty])


def _all(n: int, value: int) -> str:
    return splat_text(n, "i32", value)


def _types(carried) -> list[str]:
    return [ty for ty, _ in carried]
