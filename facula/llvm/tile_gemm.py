"""The matrix product on register tiles, as LLVM IR.

One task computes a block of C. Inside it, k is cut in stretches; panels of B and of A are packed
for a stretch (or read in place where they already lie as the micro-kernel wants them), and the
micro-kernel adds a stretch's products to a tile of C held in registers. The last stretch applies
the epilogue while it stores.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Number, Value, vec
from facula.llvm.tile_epilogue import EpilogueWriter, Fused, epilogue_arguments
from facula.llvm.tile_pack import lanes_of, pack, pack_panels
from facula.llvm.tile_task import TaskFrame

OPERANDS = ("a", "b", "c")
UNROLL = 4  # how many of k the micro-kernel's loop does at a time
COMPUTED = {"float": "float32", "double": "float64", "i32": "int32", "i64": "int64"}
HEADER = (
    *("a", "a_off", "b", "b_off", "c", "c_off", "m", "n", "k", "k_total"),
    *("as_m", "as_k", "bs_k", "bs_n", "cs_m"),
    *("block_m", "block_n", "block_k", "inner_m", "tasks_m", "tasks_n"),
    *("direct_a", "direct_b", "a_panels", "spare"),
)


def gemm_arguments(n_batch: int, fused: tuple[Fused, ...]) -> list[str]:
    """The names of the step arguments, in order."""
    names = list(HEADER)
    names += [f"batch{d}" for d in range(n_batch)]
    names += [f"{x}_batch{d}" for x in OPERANDS for d in range(n_batch)]
    return names + epilogue_arguments(fused, n_batch)


@dataclass(frozen=True)
class GemmShape:
    """What is fixed in the code of a product; everything else is an argument."""

    dtype: str
    # "p": contiguous along a panel (m), "k": along k, "g": neither, "packed" before,
    # "rows": along k, and A's rows are read in place
    a_unit: str
    b_unit: str
    rows: int  # micro-tile
    vectors: int
    n_batch: int
    split: bool  # the last batch index counts stretches of k
    fused: tuple[Fused, ...]
    out: str = ""  # C's dtype, where it is not the operands'

    @property
    def key(self) -> str:
        ends = "+".join(f.key for f in self.fused)
        return (
            f"gemm {self.dtype}{self.out and '>' + self.out} a{self.a_unit} b{self.b_unit} {self.rows}x{self.vectors} "
            f"batch{self.n_batch}{' split' if self.split else ''} [{ends}]"
        )


class GemmWriter:
    """Writes the kernel of a `GemmShape`."""

    def __init__(self, shape: GemmShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.number = NUMBERS[shape.dtype]
        self.out = NUMBERS[getattr(shape, "out", "") or shape.dtype]
        self.ty = self.number.compute
        self.lanes = lanes_of(self.b, self.number)
        self.rows, self.cols = shape.rows, shape.vectors * self.lanes
        self.arg = TaskFrame(self.b, gemm_arguments(shape.n_batch, shape.fused), shape.n_batch)
        self.epilogue = EpilogueWriter(self.b, shape.fused)
        self.b_in_turn = False  # panels of B are packed when they are first met

    def write(self) -> str:
        b = self.b
        self.arg.load_all()
        with b.loop("%t0", "%t1") as t:
            self._task(t.i)
        return b.module()

    # -- one block of C ----------------------------------------------------------------------

    def _task(self, t: str) -> None:
        b, arg = self.b, self.arg
        index, tn = b.divmod(t, arg("tasks_n"))
        index, tm = b.divmod(index, arg("tasks_m"))
        arg.place_batch(index)
        self.m0, self.n0 = b.mul(tm, arg("block_m")), b.mul(tn, arg("block_n"))
        self.mb = b.least(arg("block_m"), b.sub(arg("m"), self.m0))
        self.nb = b.least(arg("block_n"), b.sub(self._columns(), self.n0))
        self._find_operands()
        self.n_panels = b.ceil_div(self.nb, self.cols)
        whole = b.div(self.nb, self.cols)
        # Panels of B read in place come first; the rest (all, or the ragged last) are packed.
        self.b_direct = b.mul(arg("direct_b"), whole) if self.shape.b_unit == "p" else 0
        with b.loop(0, b.most(self.depth, 1), arg("block_k")) as p:
            self.k0 = p.i
            self.kc = b.least(arg("block_k"), b.sub(self.depth, p.i))
            self.first = b.test("eq", p.i, 0)
            self.last = b.test("sge", b.add(p.i, self.kc), self.depth)
            self._pack_b()
            with b.loop(0, self.mb, arg("inner_m")) as i:
                self._inner(i.i)
        self._finish()

    def _columns(self) -> Value:
        return self.arg("n")

    @property
    def _late(self) -> bool:
        """Whether the epilogue goes over complete rows of a block, and not over each tile."""
        return self.epilogue.heavy and self.out.is_plain

    def _finish(self) -> None:
        """What is left to do when a block is complete."""
        if self._late:
            self._late_rows(0, self.mb)

    def _late_rows(self, first: Value, end: Value) -> None:
        """The epilogue of complete rows of the block, while they are in cache."""
        b = self.b
        whole = b.mul(b.div(self.nb, self.lanes), self.lanes)
        with b.loop(first, end) as i:
            row = b.add(self.m0, i.i)
            line = b.at(self.cp, b.mul(i.i, self.arg("cs_m")), self.ty)
            with b.loop(0, whole, self.lanes) as j:
                self._late_vector(line, row, j.i, None)
            with b.when(b.test("slt", whole, self.nb)):
                self._late_vector(line, row, whole, b.mask(self.lanes, b.sub(self.nb, whole)))

    def _late_vector(self, line: str, row: Value, col: Value, mask: str | None) -> None:
        b, place = self.b, self.b.at(line, col, self.ty)
        self.epilogue.start_tile()
        value = b.fetch(self.lanes, self.out, place, mask)
        value = self.epilogue.apply(self.lanes, value, row, b.add(self.n0, col), mask)
        b.put(self.lanes, self.out, value, place, mask)

    def held(self, operand: str) -> Number:
        """What an operand's memory holds: packed ones have been widened."""
        unit = self.shape.a_unit if operand == "a" else self.shape.b_unit
        return NUMBERS[COMPUTED[self.ty]] if unit == "packed" else self.number

    def _find_operands(self) -> None:
        b, arg, stored = self.b, self.arg, self.number.stored
        self.a = arg.pointer("a", self.held("a"))
        if self.shape.a_unit != "packed":
            self.a = b.at(self.a, b.mul(self.m0, arg("as_m")), stored)
        self.bp = arg.pointer("b", self.held("b"))
        if self.shape.b_unit != "packed":
            self.bp = b.at(self.bp, b.mul(self.n0, arg("bs_n")), stored)
        c = self.out.stored
        self.cp = b.at(arg.pointer("c", self.out), b.mul(self.m0, arg("cs_m")), c)
        self.cp = b.at(self.cp, self.n0, c)
        self.depth = arg("k")
        if self.shape.split:
            used = b.mul(arg.batch[-1], arg("k"))
            self.depth = b.least(arg("k"), b.sub(arg("k_total"), used))
        self.epilogue.open(arg, arg.batch_offset)
        self.b_pack = "%scratch"
        self.a_pack = b.at("%scratch", arg("a_panels"), self.ty)
        self.spare = b.at("%scratch", arg("spare"), self.ty)

    def _pack_b(self) -> None:
        """Nothing yet: each panel is packed before its first tile, so that memory and arithmetic overlap."""
        self.b_in_turn = self.shape.b_unit != "packed"
        # Panels that no further rows will want share one place, which stays in the first cache.
        kept = self.b.test("sgt", self.mb, self.arg("inner_m"))
        self.b_apart = self.b.pick(kept, "i64", self.kc, 0)

    def _inner(self, i0: str) -> None:
        """Rows i0.. of the block, against all of its columns."""
        b, arg, stored = self.b, self.arg, self.number.stored
        mc = b.least(arg("inner_m"), b.sub(self.mb, i0))
        panels = b.ceil_div(mc, self.rows)
        direct: Value = 0
        base = self.a
        if self.shape.a_unit == "p":
            direct = b.mul(arg("direct_a"), b.div(mc, self.rows))
        if self.shape.a_unit != "packed":
            base = b.at(base, b.mul(i0, arg("as_m")), stored)
            base = b.at(base, b.mul(self.k0, arg("as_k")), stored)
        soon = Soon(self, i0)

        def tile(i: str, j: str) -> None:
            if self.shape.a_unit not in ("packed", "rows"):
                with b.when(b.both(b.test("eq", j, 0), b.test("sge", i, direct))):
                    self._pack_panel_a(i, base, mc)
            b_panel, b_stride = self._panel_b(j)
            if self.shape.a_unit == "rows":
                a_panel, a_stride = self._rows_in_place(i, base, mc), 1
            else:
                a_panel, a_stride = self._panel_a(i, direct, base, i0)
            row, col = b.mul(i, self.rows), b.mul(j, self.cols)
            left = (b.sub(mc, row), b.sub(self.nb, col))
            soon.aim(i, j)
            self._tile(b.add(i0, row), col, left, a_panel, a_stride, b_panel, b_stride, soon)

        # A panel of B stays in the first cache and meets all panels of A, which are narrower.
        with b.loop(0, self.n_panels) as j:
            if self.b_in_turn:
                new = b.both(b.test("eq", i0, 0), b.test("sge", j.i, self.b_direct))
                with b.when(new):
                    self._pack_panel_b(j.i)
            with b.loop(0, panels) as i:
                tile(i.i, j.i)

    def _pitch(self) -> Value:
        """k of a packed panel and some more, so that panels do not fall on the same cache lines."""
        return self.b.add(self.kc, self.lanes // 2)

    def _pack_panel_a(self, i: str, base: str, mc: Value) -> None:
        b, arg, row = self.b, self.arg, self.b.mul(i, self.rows)
        pack(
            *(
                b,
                self.number,
                self.shape.a_unit,
                b.at(base, b.mul(row, arg("as_m")), self.number.stored),
            ),
            *((arg("as_m"), arg("as_k")), self.rows, b.sub(mc, row), self.kc),
            b.at(self.a_pack, b.mul(row, self._pitch()), self.ty),
        )

    def _pack_panel_b(self, j: str) -> None:
        b, arg, col = self.b, self.arg, self.b.mul(j, self.cols)
        here = b.add(b.mul(self.k0, arg("bs_k")), b.mul(col, arg("bs_n")))
        pack(
            *(b, self.number, self.shape.b_unit, b.at(self.bp, here, self.number.stored)),
            *((arg("bs_n"), arg("bs_k")), self.cols, b.sub(self.nb, col), self.kc),
            b.at(self.b_pack, b.mul(col, self.b_apart), self.ty),
        )

    def _whole_panel(self, base: str, first: Value, width: int, depth: Value) -> str:
        """Where a stretch of a panel lies that was packed in an earlier step, over all of k."""
        b = self.b
        return b.at(base, b.add(b.mul(first, depth), b.mul(self.k0, width)), self.ty)

    def _panel_b(self, j: str) -> tuple[str, Value]:
        b, arg = self.b, self.arg
        col = b.mul(j, self.cols)
        if self.shape.b_unit == "packed":
            first = b.add(self.n0, col)
            return self._whole_panel(self.bp, first, self.cols, arg("bs_k")), self.cols
        apart = self.b_apart if self.b_in_turn else self.kc
        packed = b.at(self.b_pack, b.mul(col, apart), self.ty)
        if self.shape.b_unit != "p" or not self.number.is_plain:
            return packed, self.cols
        here = b.at(self.bp, b.add(b.mul(self.k0, arg("bs_k")), col), self.ty)
        direct = b.test("slt", j, self.b_direct)
        return b.pick(direct, "ptr", here, packed), b.pick(direct, "i64", arg("bs_k"), self.cols)

    def _rows_in_place(self, i: str, base: str, mc: Value) -> tuple[str, ...]:
        """Where a panel's rows lie; past the last row it is read again."""
        b, row = self.b, self.b.mul(i, self.rows)
        last = b.sub(mc, 1)
        numbers = [b.least(b.add(row, r), last) for r in range(self.rows)]
        return tuple(b.at(base, b.mul(n, self.arg("as_m")), self.ty) for n in numbers)

    def _panel_a(self, i: str, n_direct: Value, base: str, i0: str) -> tuple[str, Value]:
        b, arg = self.b, self.arg
        row = b.mul(i, self.rows)
        if self.shape.a_unit == "packed":
            first = b.add(b.add(self.m0, i0), row)
            return self._whole_panel(base, first, self.rows, arg("as_k")), self.rows
        packed = b.at(self.a_pack, b.mul(row, self._pitch()), self.ty)
        if self.shape.a_unit != "p" or not self.number.is_plain:
            return packed, self.rows
        direct = b.test("slt", i, n_direct)
        here = b.at(base, row, self.ty)
        return b.pick(direct, "ptr", here, packed), b.pick(direct, "i64", arg("as_k"), self.rows)

    # -- one tile ----------------------------------------------------------------------------

    def _tile(self, row, col, left, a_panel, a_stride, b_panel, b_stride, soon) -> None:
        b = self.b
        c = b.at(self.cp, b.add(b.mul(row, self.arg("cs_m")), col), self.out.stored)
        whole = b.both(b.test("sge", left[0], self.rows), b.test("sge", left[1], self.cols))
        row_of_c = c
        for _ in range(self.rows):
            for j in range(self.shape.vectors):
                b.prefetch(b.at(row_of_c, j * self.lanes, self.out.stored))
            row_of_c = b.at(row_of_c, self.arg("cs_m"), self.out.stored)
        start = self._start(b.both(whole, b.let(f"xor i1 {self.first}, true")), c)
        acc = micro_kernel(
            *(b, self.ty, self.lanes, self.rows, self.shape.vectors),
            *(a_panel, a_stride, b_panel, b_stride, self.kc, start, soon if soon.units else None),
        )
        at = (b.add(self.m0, row), b.add(self.n0, col))
        if self.epilogue.heavy and not self._late:
            whole = b.both(whole, b.let(f"xor i1 {self.last}, true"))
        with b.choose(whole) as way:
            with way.yes:
                self._store_whole(acc, c, at)
            with way.no:
                self._store_ragged(acc, c, left, at)

    def _start(self, resumed: str, c: str) -> list[str]:
        """What the accumulators hold at first: zeros, or what earlier stretches of k left in C."""
        b, v = self.b, vec(self.lanes, self.ty)
        if not self.out.is_plain:
            return ["zeroinitializer"] * (self.rows * self.shape.vectors)
        earlier = []
        with b.choose(resumed) as way:
            with way.yes:
                for _ in range(self.rows):
                    places = (b.at(c, j * self.lanes, self.ty) for j in range(self.shape.vectors))
                    earlier += [b.load(v, p, self.ty) for p in places]
                    c = b.at(c, self.arg("cs_m"), self.ty)
            with way.no:
                pass
        return [way.merge(v, x, "zeroinitializer") for x in earlier]

    def _store_whole(self, acc, c, at) -> None:
        b = self.b
        if self.epilogue.heavy:
            self._write_rows(acc, c, None)
            return
        with b.choose(self.last) as way:
            with way.yes:
                self._write_rows(acc, c, at)
            with way.no:
                self._write_rows(acc, c, None)

    def _write_rows(self, acc, c, at) -> None:
        """Store a whole tile, through the epilogue unless more of k is to come."""
        b = self.b
        self.epilogue.start_tile()
        columns = [b.add(at[1], j * self.lanes) for j in range(self.shape.vectors)] if at else []
        for i in range(self.rows):
            row = b.add(at[0], i) if at else 0
            for j in range(self.shape.vectors):
                value = acc[i * self.shape.vectors + j]
                if at:
                    value = self.epilogue.apply(self.lanes, value, row, columns[j])
                b.put(self.lanes, self.out, value, b.at(c, j * self.lanes, self.out.stored))
            c = b.at(c, self.arg("cs_m"), self.out.stored)

    def _store_ragged(self, acc, c, left, at) -> None:
        """By way of memory: rows and columns past the edge are left out, earlier sums are added."""
        b, n, ty = self.b, self.lanes, self.ty
        for i, value in enumerate(acc):
            b.store(vec(n, ty), value, b.at(self.spare, i * n, ty), ty)
        with b.loop(0, b.least(left[0], self.rows)) as i:
            spare = b.at(self.spare, b.mul(i.i, self.cols), ty)
            out = b.at(c, b.mul(i.i, self.arg("cs_m")), self.out.stored)
            with b.loop(0, b.least(left[1], self.cols), n) as j:
                mask = b.mask(n, b.sub(left[1], j.i))
                place = b.at(out, j.i, self.out.stored)
                value = b.load(vec(n, ty), b.at(spare, j.i, ty), ty)
                value = self._with_earlier(value, place, mask)
                row, edge = b.add(at[0], i.i), b.add(at[1], j.i)
                self._store_edge(value, place, (row, edge), mask)

    def _store_edge(self, value: str, place: str, at: tuple[Value, Value], mask: str) -> None:
        """A masked vector, through the epilogue unless more of k is to come, or it comes later."""
        b, n = self.b, self.lanes
        if self._late:
            b.put(n, self.out, value, place, mask)
            return
        with b.choose(self.last) as way:
            with way.yes:
                self.epilogue.start_tile()
                b.put(n, self.out, self.epilogue.apply(n, value, *at, mask), place, mask)
            with way.no:
                b.put(n, self.out, value, place, mask)

    def _with_earlier(self, value: str, place: str, mask: str) -> str:
        """Add what earlier stretches of k left in C."""
        b, n, ty = self.b, self.lanes, self.ty
        with b.choose(self.first) as way:
            with way.yes:
                pass
            with way.no:
                before = b.fetch(n, self.out, place, mask)
                total = b.plus(n, ty, value, before)
        return way.merge(vec(n, ty), value, total)


_LINE = 64  # bytes that come from memory together


class Soon:
    """What a tile asks for while it computes: the panels that are packed, or read in place, next.

    Packing waits for memory and computing does not: a core does both in the time of one. The next
    panel of A is asked for by the first tiles of each row of tiles, B's by those of each column.
    """

    def __init__(self, writer: GemmWriter, i0: str) -> None:
        self.w, self.i0 = writer, i0
        shape = writer.shape
        self.group = _LINE // writer.number.bytes  # of k, for which lines are asked for at a time
        units = {"rows": "k", "k": "k", "p": "p"}
        b_unit = shape.b_unit if writer.b_in_turn else ""
        found = {"a": units.get(shape.a_unit, ""), "b": units.get(b_unit, "")}
        self.units = {x: unit for x, unit in found.items() if unit}
        # The lines of B's panel that one tile asks for: rows, or one line of each of k.
        by_rows = self.units.get("b") == "k"
        self.share = min(8, writer.cols) if by_rows else self.group
        self.sharers = writer.cols // self.share if by_rows else shape.vectors
        self.b_step = self.share if by_rows else writer.lanes
        # By way of memory: the loop over k has no registers to spare.
        b = writer.b
        self.rooms = {x: (b.room("ptr"), b.room("i64")) for x in self.units}

    def aim(self, i: str, j: str) -> None:
        """Find what tile (i, j) has to ask for."""
        b, w, arg = self.w.b, self.w, self.w.arg
        conditions = {
            "a": lambda: b.test("eq", j, 0),
            "b": lambda: b.both(b.test("eq", self.i0, 0), b.test("slt", i, self.sharers)),
        }
        self.skip: Value = 1
        for x, (_, idle) in self.rooms.items():
            b.store("i64", 1, idle)
            with b.when(conditions[x]()):
                if x == "a":
                    row = b.add(self.i0, b.mul(b.add(i, 1), w.rows))
                    self._keep(x, row, (w.m0, w.mb, arg("m")), w.rows - 1)
                else:
                    shift = b.mul(i, self.b_step)
                    col = b.mul(b.add(j, 1), w.cols)
                    self._keep(x, col, (w.n0, w.nb, arg("n")), b.add(shift, w.lanes - 1), shift)
            more = b.load("i64", idle)
            self.skip = more if self.skip == 1 else b.let(f"and i64 {self.skip}, {more}")

    def _keep(self, x: str, place: Value, span: tuple[Value, ...], end: Value, shift: Value = 0):
        """Where the next panel lies, in its own direction and in k, if there is one.

        After the block's last panel comes the first of the next stretch of k, or of the next task.
        """
        w, b, arg = self.w, self.w.b, self.w.arg
        start, size, total = span
        more = b.let(f"xor i1 {w.last}, true")
        inside = b.test("slt", place, size)
        exists = b.test("slt", b.add(start, place), total)
        again = b.both(more, b.let(f"xor i1 {inside}, true"))
        k = b.pick(inside, "i64", w.k0, b.pick(more, "i64", b.add(w.k0, w.kc), 0))
        place = b.pick(again, "i64", 0, place)
        # Of lines along a panel the one with its end: its beginning came with the panel before.
        place = b.add(place, end if self.units[x] == "p" else shift)
        base, along, across = (w.a, "as_k", "as_m") if x == "a" else (w.bp, "bs_k", "bs_n")
        shift = b.add(b.mul(place, arg(across)), b.mul(k, arg(along)))
        where, idle = self.rooms[x]
        b.store("ptr", b.at(base, shift, w.number.stored), where)
        b.store("i64", b.pick(b.let(f"or i1 {exists}, {more}"), "i64", 0, 1), idle)

    def ask(self, k: str) -> None:
        """Inside the loop over k, at each beginning of a group."""
        b = self.w.b
        inside = b.let(f"and i64 {k}, {self.group - 1}")
        with b.when(b.test("eq", b.let(f"or i64 {inside}, {self.skip}"), 0)):
            for x, (_, idle) in self.rooms.items():
                with b.when(b.test("eq", b.load("i64", idle), 0)):
                    self._lines(x, k)

    def _lines(self, x: str, k: str) -> None:
        w = self.w
        b, arg = w.b, w.arg
        stored = w.number.stored
        place = b.load("ptr", self.rooms[x][0])
        along, across = ("as_k", "as_m") if x == "a" else ("bs_k", "bs_n")
        if self.units[x] == "k":
            count, step = w.rows if x == "a" else self.share, arg(across)
            place = b.at(place, k, stored)
        else:
            count, step = self.group, arg(along)
            place = b.at(place, b.mul(k, step), stored)
        for _ in range(count):
            b.prefetch(place, write=False, level=2)
            place = b.at(place, step, stored)


@dataclass(frozen=True)
class Taps:
    """In place of B's stride: a table of where each k's numbers lie."""

    table: str


def micro_kernel(
    b: Emit,
    ty: str,
    lanes: int,
    rows: int,
    vectors: int,
    a: str | tuple[str, ...],
    a_stride: Value,
    b_panel: str,
    b_stride: Value | Taps,
    depth: Value,
    start: list[str],
    soon: Soon | None = None,
) -> list[str]:
    """`start` plus the products of an A panel and a B panel: `rows` x `vectors` registers.

    `a` is a packed panel, or the places of its rows.
    """
    v = vec(lanes, ty)
    count = rows * vectors

    def one_of_k(i: Value, sums: list[str], a_row: str, b_row: str) -> list[str]:
        """The sums and the places of A's and B's numbers after one more of k."""
        here, b_next = b_row, b_row
        if isinstance(b_stride, Taps):
            shift = b.load("i64", b.at(b_stride.table, i, "i64"))
            here = b.at(b_row, shift, ty)
        else:
            b_next = b.at(b_row, b_stride, ty)
        columns = [b.load(v, b.at(here, j * lanes, ty), ty) for j in range(vectors)]
        out = []
        for r in range(rows):
            place = b.at(a_row, r, ty) if isinstance(a, str) else b.at(a[r], i, ty)
            one = b.splat(lanes, ty, b.load(ty, place))
            line = sums[r * vectors : (r + 1) * vectors]
            out += [b.fma(lanes, ty, one, x, y) for x, y in zip(columns, line, strict=True)]
        return [*out, b.at(a_row, a_stride, ty) if isinstance(a, str) else a_row, b_next]

    # The loop is written out some times over: loads of the next k then start among the products of
    # this one, which a loop of one keeps apart (a tenth of the time on Zen 4).
    state = [*start, a if isinstance(a, str) else a[0], b_panel]
    types = [v] * count + ["ptr", "ptr"]
    whole = b.mul(b.div(depth, UNROLL), UNROLL)
    for lo, hi, times in ((0, whole, UNROLL), (whole, depth, 1)):
        with b.loop(lo, hi, times, list(zip(types, state, strict=True))) as k:
            state = list(k.vars)
            if soon and times > 1:
                soon.ask(k.i)
            for u in range(times):
                state = one_of_k(b.add(k.i, u), state[:count], *state[count:])
            k.next = state
        state = k.vars
    return state[:count]


PACK_HEADER = (
    *("src", "src_off", "dst", "dst_off", "size", "k", "s_panel", "s_k", "d_depth"),
    *("panels", "stretch", "tasks_p", "tasks_k"),
    *("outer", "s_outer", "outer_part", "tasks_o", "middle", "s_middle"),
)


def pack_arguments(n_batch: int) -> list[str]:
    names = [*PACK_HEADER, *(f"batch{d}" for d in range(n_batch))]
    return names + [f"{x}_batch{d}" for x in ("src", "dst") for d in range(n_batch)]


@dataclass(frozen=True)
class PackShape:
    """Packing a whole operand in a step of its own; a task does some panels, or some of k."""

    dtype: str
    unit: str
    width: int
    n_batch: int

    @property
    def key(self) -> str:
        return f"pack {self.dtype} {self.unit} {self.width} batch{self.n_batch}"


def write_pack(shape: PackShape, target: Target, name: str) -> str:
    b = Emit(target, name)
    number = NUMBERS[shape.dtype]
    arg = TaskFrame(b, pack_arguments(shape.n_batch), shape.n_batch)
    arg.load_all()
    with b.loop("%t0", "%t1") as t:
        index, tk = b.divmod(t.i, arg("tasks_k"))
        index, to = b.divmod(index, arg("tasks_o"))
        index, tp = b.divmod(index, arg("tasks_p"))
        arg.place_batch(index)
        first = b.mul(tp, arg("panels"))
        end = b.least(b.add(first, arg("panels")), b.ceil_div(arg("size"), shape.width))
        k0 = b.mul(tk, arg("stretch"))
        k1 = b.least(b.add(k0, arg("stretch")), arg("k"))
        src = arg.pointer("src", number)
        dst = arg.pointer("dst", NUMBERS[COMPUTED[number.compute]])
        dst = b.at(dst, b.mul(k0, shape.width), number.compute)
        # The columns of a panel may be three loops deep: outer, middle, k.
        o0 = b.mul(to, arg("outer_part"))
        o1 = b.least(b.add(o0, arg("outer_part")), arg("outer"))
        with b.loop(o0, o1) as o, b.loop(0, arg("middle")) as q:
            shift = b.add(b.mul(o.i, arg("s_outer")), b.mul(q.i, arg("s_middle")))
            here = b.at(src, shift, number.stored)
            column = b.mul(b.add(b.mul(o.i, arg("middle")), q.i), arg("k"))
            out = b.at(dst, b.mul(column, shape.width), number.compute)
            pack_panels(
                *(b, number, shape.unit, here, (arg("s_panel"), arg("s_k")), shape.width),
                *((first, end), arg("size"), (k0, k1), out, arg("d_depth")),
            )
    return b.module()


REDUCE_HEADER = (
    *("part", "part_off", "part_size", "parts", "c", "c_off", "cs_m", "m", "n", "rows"),
)


def reduce_arguments(n_batch: int, fused: tuple[Fused, ...]) -> list[str]:
    names = [*REDUCE_HEADER, *(f"batch{d}" for d in range(n_batch))]
    names += [f"{x}_batch{d}" for x in ("part", "c") for d in range(n_batch)]
    return [*names, "tasks", *epilogue_arguments(fused, n_batch)]


@dataclass(frozen=True)
class ReduceShape:
    """Adding up the parts of a product whose k was split over tasks."""

    dtype: str
    n_batch: int
    fused: tuple[Fused, ...]

    @property
    def key(self) -> str:
        return f"parts {self.dtype} batch{self.n_batch} [{'+'.join(f.key for f in self.fused)}]"


def write_reduce(shape: ReduceShape, target: Target, name: str) -> str:
    b = Emit(target, name)
    number = NUMBERS[shape.dtype]
    n, ty, held = lanes_of(b, number), number.compute, NUMBERS[COMPUTED[number.compute]]
    arg = TaskFrame(b, reduce_arguments(shape.n_batch, shape.fused), shape.n_batch)
    arg.load_all()
    epilogue = EpilogueWriter(b, shape.fused)
    with b.loop("%t0", "%t1") as t:
        index, tm = b.divmod(t.i, arg("tasks"))
        arg.place_batch(index)
        epilogue.open(arg, arg.batch_offset)
        part, c = arg.pointer("part", held), arg.pointer("c", number)
        first = b.mul(tm, arg("rows"))
        end = b.least(b.add(first, arg("rows")), arg("m"))
        with b.loop(first, end) as i, b.loop(0, arg("n"), n) as j:
            mask = b.mask(n, b.sub(arg("n"), j.i))
            place = b.at(part, b.add(b.mul(i.i, arg("n")), j.i), ty)
            with b.loop(0, arg("parts"), 1, [(vec(n, ty), "zeroinitializer"), ("ptr", place)]) as p:
                total, here = p.vars
                more = b.plus(n, ty, total, b.masked_load(n, ty, here, mask))
                p.next = [more, b.at(here, arg("part_size"), ty)]
            epilogue.start_tile()
            value = epilogue.apply(n, p.vars[0], i.i, j.i, mask)
            out = b.at(c, b.add(b.mul(i.i, arg("cs_m")), j.i), number.stored)
            b.put(n, number, value, out, mask)
    return b.module()
