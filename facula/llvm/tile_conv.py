"""Convolution as a matrix product, as LLVM IR.

A task copies the rows of the image it needs into scratch, with their border of zeros and, for
strides, split into phases, so that neighbouring outputs read neighbouring numbers. In that copy
the number for tap k of output pixel p lies at `taps[k] + pixel(p)`. Panels of B are packed from it:
for each tap, runs of pixels of one output row are copied.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Number, Value, vec
from facula.llvm.tile_epilogue import EpilogueWriter, Fused, epilogue_arguments
from facula.llvm.tile_gemm import GemmShape, GemmWriter, Taps, gemm_arguments, micro_kernel
from facula.llvm.tile_pack import lanes_of
from facula.llvm.tile_task import TaskFrame

IMAGE = (
    *("height", "width", "x_c", "x_h", "channels", "kh", "kw", "sh", "sw", "top", "left"),
    *("oh", "ow", "field_w", "reach_h", "first_h", "step_h", "first_w", "step_w", "taps", "field"),
    *("images", "all_images", "x_n", "y_n", "y_c", "y_h", "y_w", "deal_h", "deal_w"),
    *("pitch", "result"),
)
CUT = ("block_w", "blocks_w")  # columns of the result that a task does, and in how many parts


@dataclass(frozen=True)
class ConvShape:
    """What is fixed in the code of a convolution."""

    dtype: str
    rows: int
    vectors: int
    n_batch: int
    stride_w: int  # 1, 2, or 0 for any
    run_vectors: int  # registers that hold an output row's part of a panel
    staged: bool  # results are gathered in scratch and dealt out: to several images, or scattered
    scatter: int  # neighbouring results lie 2 apart, or 1: any other distance; 0: side by side
    wide: bool  # pixels are counted along the rows of the copy, so that nothing is packed
    ahead: bool  # the patches have been packed in a step of their own
    fused: tuple[Fused, ...]

    @property
    def key(self) -> str:
        ends = "+".join(f.key for f in self.fused)
        return (
            f"conv {self.dtype} {self.rows}x{self.vectors} batch{self.n_batch} "
            f"s{self.stride_w} run{self.run_vectors}"
            f"{' staged' if self.staged else ''}{('', ' scatter', ' scatter2')[self.scatter]}"
            f"{' wide' if self.wide else ''}{' ahead' if self.ahead else ''} [{ends}]"
        )

    def gemm(self) -> GemmShape:
        return GemmShape(
            *(self.dtype, "packed", "packed" if self.ahead else "patch", self.rows, self.vectors),
            *(self.n_batch, False, () if self.staged else self.fused),
        )


def conv_arguments(n_batch: int, fused: tuple[Fused, ...]) -> list[str]:
    """The names of a convolution's step arguments, in order."""
    names = gemm_arguments(n_batch, ())
    return [*names, *IMAGE, *CUT, *epilogue_arguments(fused, n_batch)]


@dataclass
class Field:
    """The copy of a stretch of an image (or of some images) in scratch: [c, phase, image, row]."""

    base: str
    row: Value  # length of a row of a phase plane
    rows: Value  # rows of a phase plane of one image
    images: Value
    image: Value  # numbers in a phase plane of one image
    plane: Value  # of all images
    channel: Value  # numbers in all phase planes of a channel


class Spreader:
    """Writes the copy of an image into scratch, and the table of its taps."""

    def __init__(self, b: Emit, arg: TaskFrame, number: Number, stride_w: int) -> None:
        self.b, self.arg, self.number, self.stride_w = b, arg, number, stride_w
        self.n, self.ty = lanes_of(b, number), number.compute

    def field(self, base: str, oh0: Value, oh1: Value, images: Value = 1) -> Field:
        """The layout of the copy for output rows [oh0, oh1)."""
        b, arg = self.b, self.arg
        needed = b.add(b.mul(b.sub(b.sub(oh1, oh0), 1), arg("sh")), arg("reach_h"))
        rows = b.div(b.sub(b.add(needed, arg("sh")), 1), arg("sh"))
        image = b.mul(rows, arg("field_w"))
        plane = b.mul(image, images)
        channel = b.mul(plane, b.mul(arg("sh"), arg("sw")))
        return Field(base, arg("field_w"), rows, images, image, plane, channel)

    def fill(
        self,
        field: Field,
        src: str,
        oh0: Value,
        channels: Value,
        every: bool = False,
        ow0: Value = 0,
    ) -> None:
        """Copy the channels' rows, zeros where the image has ended; if `every`, of all phases."""
        b, arg = self.b, self.arg
        top = b.add(b.mul(oh0, arg("sh")), arg("top"))
        left = b.add(b.mul(ow0, arg("sw")), arg("left"))
        # a window that is smaller than the stride reads few of the phases
        last = b.mul(b.sub(arg("kw"), 1), arg("step_w"))
        reach = b.add(b.add(arg("first_w"), b.most(last, 0)), 1)
        down, across = arg("sh"), arg("sw")
        if not every:
            down, across = b.least(arg("reach_h"), down), b.least(reach, across)
        with b.loop(0, channels) as c, b.loop(0, down) as y, b.loop(0, across) as x:
            phase = b.add(b.mul(y.i, arg("sw")), x.i)
            start = b.add(b.mul(c.i, field.channel), b.mul(phase, field.plane))
            out = b.at(field.base, start, self.ty)
            channel = b.at(src, b.mul(c.i, arg("x_c")), self.number.stored)
            with b.loop(0, field.images) as i:
                image = channel
                if field.images != 1:
                    image = b.at(channel, b.mul(i.i, arg("x_n")), self.number.stored)
                here = b.at(out, b.mul(i.i, field.image), self.ty)
                self._copy_plane(field, here, image, b.add(top, y.i), b.add(x.i, left))

    def _copy_plane(self, field: Field, out: str, image: str, top: Value, first: Value) -> None:
        """Rows of one phase: those of the image between rows of zeros."""
        b, arg = self.b, self.arg
        sh = arg("sh")
        begin, end = self.rows_there(field, top)
        self._zeros(out, b.mul(begin, field.row))
        line = b.mul(b.add(top, b.mul(begin, sh)), arg("x_h"))
        line = b.at(image, line, self.number.stored)
        rows = b.sub(end, begin)
        self.copy_rows(b.at(out, b.mul(begin, field.row), self.ty), line, first, rows, field.row)
        last = b.at(out, b.mul(end, field.row), self.ty)
        self._zeros(last, b.mul(b.sub(field.rows, end), field.row))

    def rows_there(self, field: Field, top: Value) -> tuple[Value, Value]:
        """The rows r of a phase that the image has: 0 <= top + r * sh < height."""
        b, arg = self.b, self.arg
        sh = arg("sh")
        begin = b.div(b.sub(b.add(b.most(b.sub(0, top), 0), sh), 1), sh)
        begin = b.least(begin, field.rows)
        end = b.div(b.sub(b.add(b.most(b.sub(arg("height"), top), 0), sh), 1), sh)
        return begin, b.most(b.least(end, field.rows), begin)

    def _zeros(self, out: str, count: Value) -> None:
        b = self.b
        with b.loop(0, count, self.n) as j:
            b.store(vec(self.n, self.ty), "zeroinitializer", b.at(out, j.i, self.ty), self.ty)

    def copy_rows(self, out: str, line: str, first: Value, rows: Value, length: Value) -> None:
        """out[r, j] = line[r, first + j * stride], zero outside the image.

        What a row's last register has too much runs over the next row's beginning, which is
        written after: rows go one after the other, and phases, and images.
        """
        b, n, ty, step = self.b, self.n, self.ty, self.stride_w
        plain = self.number.is_plain
        line_step = b.mul(self.arg("sh"), self.arg("x_h"))
        if step == 0:
            with b.loop(0, rows) as r:
                here = b.at(line, b.mul(r.i, line_step), self.number.stored)
                copy_row = self._collect if b.target.has_mask and plain else self._copy_slowly
                copy_row(b.at(out, b.mul(r.i, length), ty), here, first, length)
            return
        last = b.mul(b.div(b.sub(length, 1), n), n)
        inner = self._whole_registers(first, last)
        masks = [self._masks(b.add(first, j)) for j in (0, b.mul(last, step))]
        keep = b.mask(n, b.sub(length, last))
        with b.loop(0, rows, 1, [("ptr", line), ("ptr", out)]) as r:
            src, dst = r.vars

            def copy(j: Value, masks: list[str] | None, keep: str = "") -> None:
                value = self._numbers(src, b.add(first, b.mul(j, step)), masks, keep)
                b.store(vec(n, ty), value, b.at(dst, j, ty), ty)

            with b.loop(0, b.least(last, n), n):
                copy(0, masks[0])
            for start, end, edge in (
                (n, inner[0], True),
                (*inner, False),
                (inner[1], last, True),
            ):
                with b.loop(start, end, n) as j:
                    at = b.add(first, b.mul(j.i, step))
                    copy(j.i, self._masks(at) if edge else None)
            copy(last, masks[1], keep)
            r.next = [b.at(src, line_step, self.number.stored), b.at(dst, length, ty)]

    def _whole_registers(self, first: Value, last: Value) -> tuple[Value, Value]:
        """Between the first register of a copied row and the last: from where to where they have
        only numbers of the image."""
        b, n, step = self.b, self.n, self.stride_w
        lo = b.most(b.mul(b.ceil_div(b.most(b.sub(0, first), 0), n * step), n), n)
        room = b.most(b.sub(self.arg("width"), first), 0)
        hi = b.least(b.mul(b.div(room, n * step), n), last)
        lo = b.least(lo, last)
        return lo, b.most(hi, lo)

    def _masks(self, at: Value) -> list[str]:
        """Which numbers are there, of the registers that one of a row is made of."""
        return [self._inside(self.b.add(at, i * self.n)) for i in range(self.stride_w)]

    def _numbers(self, src: str, at: Value, masks: list[str] | None, keep: str) -> str:
        """A register of numbers, `step` apart from `at` on, with zeros for those that are not
        there or (`keep`) not wanted: what runs over a row's end."""
        b, n, step = self.b, self.n, self.stride_w
        parts = []
        for i in range(step):
            place = b.at(src, b.add(at, i * n), self.number.stored)
            parts.append(b.fetch(n, self.number, place, masks[i] if masks else None))
        value = parts[0] if step == 1 else b.shuffle(n, self.ty, *parts, range(0, 2 * n, 2))
        if not keep:
            return value
        v = vec(n, self.ty)
        return b.let(f"select <{n} x i1> {keep}, {v} {value}, {v} zeroinitializer")

    def _inside(self, at: Value) -> str:
        """Which of the n numbers from `at` on a line has."""
        b, n = self.b, self.n
        right = b.mask(n, b.sub(self.arg("width"), at))
        left = b.mask(n, b.sub(0, at))
        mask = b.let(f"xor <{n} x i1> {right}, {left}")
        return b.let(f"and <{n} x i1> {mask}, {right}")

    def _collect(self, row: str, line: str, first: Value, length: Value) -> None:
        """Numbers any distance apart, a register at a time."""
        b, n, ty, sw = self.b, self.n, self.ty, self.arg("sw")
        lane = ", ".join(f"i32 {i}" for i in range(n))
        apart = b.splat(n, "i32", b.let(f"trunc i64 {sw} to i32"))
        apart = b.let(f"mul <{n} x i32> {apart}, <{lane}>")
        with b.loop(0, length, n) as j:
            at = b.add(first, b.mul(j.i, sw))
            there = b.mask(n, b.ceil_div(b.most(b.sub(self.arg("width"), at), 0), sw))
            before = b.mask(n, b.ceil_div(b.most(b.sub(0, at), 0), sw))
            there = b.let(f"and <{n} x i1> {there}, {b.let(f'xor <{n} x i1> {before}, {there}')}")
            value = b.collect(n, ty, b.at(line, at, ty), apart, there)
            b.store(vec(n, ty), value, b.at(row, j.i, ty), ty)

    def _copy_slowly(self, row: str, line: str, first: Value, length: Value) -> None:
        b, one = self.b, vec(1, self.ty)
        with b.loop(0, length) as j:
            at = b.add(first, b.mul(j.i, self.arg("sw")))
            inside = b.both(b.test("sge", at, 0), b.test("slt", at, self.arg("width")))
            with b.choose(inside) as way:
                with way.yes:
                    value = b.fetch(1, self.number, b.at(line, at, self.number.stored))
                with way.no:
                    pass
            value = way.merge(one, value, "zeroinitializer")
            b.store(one, value, b.at(row, j.i, self.ty), self.ty)

    def taps(self, field: Field, table: str, channels: Value) -> None:
        """taps[c, r, s]: where tap (r, s) of the first output pixel lies."""
        b, arg = self.b, self.arg
        window = b.mul(arg("kh"), arg("kw"))
        with b.loop(0, arg("kh")) as r, b.loop(0, arg("kw")) as s:
            y = b.add(arg("first_h"), b.mul(r.i, arg("step_h")))
            x = b.add(arg("first_w"), b.mul(s.i, arg("step_w")))
            down, y_phase = b.divmod(y, arg("sh"))
            right, x_phase = b.divmod(x, arg("sw"))
            phase = b.mul(b.add(b.mul(y_phase, arg("sw")), x_phase), field.plane)
            start = b.add(phase, b.add(b.mul(down, field.row), right))
            index = b.add(b.mul(r.i, arg("kw")), s.i)
            with b.loop(0, channels) as c:
                place = b.at(table, b.add(b.mul(c.i, window), index), "i64")
                b.store("i64", b.add(start, b.mul(c.i, field.channel)), place)


class RunPacker:
    """Packs panels of patches: for each tap, runs of pixels of one output row are copied."""

    def __init__(self, spreader: Spreader, table: str, runs: str, cols: int, vectors: int) -> None:
        self.b, self.arg, self.ty, self.n = spreader.b, spreader.arg, spreader.ty, spreader.n
        self.table, self.runs, self.cols, self.vectors = table, runs, cols, vectors

    def pack(self, field, oh0, span, taps, dst, exact: bool) -> None:
        """Pixels [first, first + count) for some taps. If exact, nothing past the panel is written;
        otherwise spare lanes fall on the next tap, which is written after."""
        b = self.b
        n_runs = self._find(field, oh0, *span)
        with b.loop(*taps) as k:
            tap = b.load("i64", b.at(self.table, k.i, "i64"))
            base = b.at(field.base, tap, self.ty)
            out = b.at(dst, b.mul(b.sub(k.i, taps[0]), self.cols), self.ty)
            with b.loop(0, n_runs) as run:
                self._copy(base, out, run.i, exact)

    def _copy(self, base: str, out: str, run: Value, exact: bool) -> None:
        b, n = self.b, self.n
        entry = b.at(self.runs, b.mul(run, 2), "i64")
        src = b.at(base, b.load("i64", entry), self.ty)
        lane = b.load("i64", b.at(entry, 1, "i64"))
        dst = b.at(out, lane, self.ty)
        for v in range(self.vectors):
            value = b.load(vec(n, self.ty), b.at(src, v * n, self.ty), self.ty)
            place = b.at(dst, v * n, self.ty)
            if exact:
                mask = b.mask(n, b.sub(self.cols - v * n, lane))
                b.masked_store(n, self.ty, value, place, mask)
            else:
                b.store(vec(n, self.ty), value, place, self.ty)

    def _find(self, field: Field, oh0: Value, first: Value, count: Value) -> str:
        """Cut a panel's pixels into runs inside output rows: (where in the field, which lane)."""
        b, ow = self.b, self.arg("block_w")
        row, column = b.divmod(first, ow)
        self._add(0, b.add(self._row_place(field, oh0, row), column), 0)
        # From the second run on, runs begin at output rows' beginnings.
        with b.loop(b.sub(ow, column), count, ow, [("i64", 1), ("i64", row)]) as run:
            index, before = run.vars
            following = b.add(before, 1)
            self._add(index, self._row_place(field, oh0, following), run.i)
            run.next = [b.add(index, 1), following]
        return run.vars[0]

    def _add(self, index: Value, place: Value, lane: Value) -> None:
        entry = self.b.at(self.runs, self.b.mul(index, 2), "i64")
        self.b.store("i64", place, entry)
        self.b.store("i64", lane, self.b.at(entry, 1, "i64"))

    def _row_place(self, field: Field, oh0: Value, row: Value) -> Value:
        """Where an output row's pixels begin in the field; rows of several images follow on."""
        b = self.b
        if field.images == 1:
            return b.mul(b.sub(row, oh0), field.row)
        image, oh = b.divmod(row, self.arg("oh"))
        return b.add(b.mul(image, field.image), b.mul(b.sub(oh, oh0), field.row))


def images_here(b: Emit, arg: TaskFrame) -> Value:
    """How many images the current block has."""
    done = b.mul(arg.batch[0], arg("images"))
    return b.least(arg("images"), b.sub(arg("all_images"), done))


class ConvWriter(GemmWriter):
    """A matrix product whose B are the patches of an image."""

    def __init__(self, shape: ConvShape, target: Target, name: str) -> None:
        super().__init__(shape.gemm(), target, name)
        self.conv = shape
        names = conv_arguments(shape.n_batch, shape.fused)
        self.arg = TaskFrame(self.b, names, shape.n_batch)

    def _task(self, t: str) -> None:
        b = self.b
        rest, part = b.divmod(t, self.arg("blocks_w"))
        self.ow0 = b.mul(part, self.arg("block_w"))
        super()._task(rest)

    def _columns(self) -> Value:
        b, arg = self.b, self.arg
        if not self.conv.ahead:
            self.images: Value = 1
            return arg("n")
        self.images = images_here(b, arg)
        return b.mul(self.images, b.mul(arg("oh"), arg("ow")))

    def _find_operands(self) -> None:
        super()._find_operands()
        b, arg = self.b, self.arg
        if self.conv.staged:
            self.cp = b.at("%scratch", arg("result"), self.ty)
        if self.conv.ahead:
            return
        spreader = Spreader(b, arg, self.number, self.conv.stride_w)
        base = b.at("%scratch", arg("field"), self.ty)
        self.table = b.at("%scratch", arg("taps"), self.ty)
        runs = b.at(self.table, arg("k"), "i64")
        self.packer = RunPacker(spreader, self.table, runs, self.cols, self.conv.run_vectors)
        pitch = arg("field_w") if self.conv.wide else arg("block_w")
        self.oh0 = b.div(self.n0, pitch)
        oh1 = b.add(b.div(b.sub(b.add(self.n0, self.nb), 1), pitch), 1)
        field = spreader.field(base, self.oh0, b.least(oh1, arg("oh")))
        spreader.fill(field, self.bp, self.oh0, arg("channels"), ow0=self.ow0)
        spreader.taps(field, self.table, arg("channels"))
        self.image_field = field
        b.clear_registers()

    def _panel_b(self, j: str) -> tuple[str, Value | Taps]:
        if not self.conv.wide:
            return super()._panel_b(j)
        b = self.b
        base = b.at(self.image_field.base, b.mul(j, self.cols), self.ty)
        return base, Taps(b.at(self.table, self.k0, "i64"))

    def _pack_b(self) -> None:
        if self.conv.wide or self.conv.ahead:
            return
        b = self.b
        with b.loop(0, self.n_panels) as j:
            col = b.mul(j.i, self.cols)
            span = (b.add(self.n0, col), b.least(b.sub(self.nb, col), self.cols))
            dst = b.at(self.b_pack, b.mul(col, self.kc), self.ty)
            taps = (self.k0, b.add(self.k0, self.kc))
            self.packer.pack(self.image_field, self.oh0, span, taps, dst, False)

    def _tile(self, row, col, left, a_panel, a_stride, b_panel, b_stride, soon) -> None:
        """Of a block's last columns, where they are few, only half of the registers."""
        b, vectors = self.b, self.shape.vectors
        place = (row, col, left, a_panel, a_stride, b_panel, b_stride, soon)
        half = vectors // 2
        if not half:
            super()._tile(*place)
            return
        with b.choose(b.test("sgt", left[1], half * self.lanes)) as way:
            with way.yes:
                super()._tile(*place)
            with way.no:
                self._narrow_tile(half, *place)

    def _narrow_tile(self, half: int, row, col, left, a_panel, a_stride, b_panel, b_stride, _):
        b = self.b
        start = ["zeroinitializer"] * (self.rows * half)
        acc = micro_kernel(
            *(b, self.ty, self.lanes, self.rows, half, a_panel, a_stride, b_panel, b_stride),
            *(self.kc, start),
        )
        nothing = ["zeroinitializer"] * (self.shape.vectors - half)
        whole = [x for i in range(self.rows) for x in (*acc[i * half : (i + 1) * half], *nothing)]
        c = b.at(self.cp, b.add(b.mul(row, self.arg("cs_m")), col), self.out.stored)
        self._store_ragged(whole, c, left, (b.add(self.m0, row), b.add(self.n0, col)))

    def _finish(self) -> None:
        """The block of C lies in scratch and is dealt out: `deal_h` x `deal_w` to each image."""
        if not self.conv.staged:
            super()._finish()
            return
        b, arg = self.b, self.arg
        epilogue = EpilogueWriter(b, self.conv.fused)
        block, *groups = arg.batch
        y = b.at(b.buffer(arg("c")), arg("c_off"), self.number.stored)
        if groups:
            y = b.at(y, b.mul(groups[0], arg("c_batch1")), self.number.stored)
        h0 = b.div(self.n0, arg("pitch"))
        h1 = b.least(b.div(b.add(self.n0, self.nb), arg("pitch")), arg("deal_h"))
        with b.loop(0, self.images) as i:
            arg.batch = [b.add(b.mul(block, arg("images")), i.i), *groups]
            epilogue.open(arg, arg.batch_offset)
            image = b.at(y, b.mul(arg.batch[0], arg("y_n")), self.number.stored)
            with b.loop(0, self.mb) as r, b.loop(h0, h1) as h:
                row = b.add(self.m0, r.i)
                line = b.add(b.mul(row, arg("y_c")), b.mul(h.i, arg("y_h")))
                first = b.sub(b.add(b.mul(i.i, arg("deal_h")), h.i), h0)
                src = b.add(b.mul(r.i, arg("cs_m")), b.mul(first, arg("pitch")))
                line = b.add(line, b.mul(self.ow0, arg("y_w")))
                out = b.at(image, line, self.number.stored)
                self._deal(epilogue, b.at(self.cp, src, self.ty), out, row, h.i)

    def _deal(self, epilogue: EpilogueWriter, src: str, out: str, row: Value, h: Value) -> None:
        """One row of results, to its place."""
        b, arg, ty = self.b, self.arg, self.ty
        apart = self.conv.scatter == 2 and b.target.has_mask
        n = 1 if self.conv.scatter and not apart else self.lanes
        width = b.sub(arg("deal_w"), self.ow0)
        if not self.conv.ahead:  # whose rows are whole images
            width = b.least(width, arg("block_w"))
        with b.loop(0, width, n) as j:
            left = b.sub(width, j.i)
            mask = None if n == 1 else b.mask(n, left)
            value = b.load(vec(n, ty), b.at(src, j.i, ty), ty)
            epilogue.start_tile()
            pixel = b.add(b.add(b.mul(h, arg("deal_w")), self.ow0), j.i)
            value = epilogue.apply(n, value, row, pixel, mask)
            place = b.at(
                out, b.mul(j.i, arg("y_w")) if self.conv.scatter else j.i, self.number.stored
            )
            if apart:
                self._put_apart(value, place, left)
            else:
                b.put(n, self.number, value, place, mask)

    def _put_apart(self, value: str, place: str, left: Value) -> None:
        """The first `left` of a register, to every other place."""
        b, n, ty = self.b, self.lanes, self.ty
        every_other = "<" + ", ".join(f"i1 {int(i % 2 == 0)}" for i in range(n)) + ">"
        for half in range(2):
            lanes = [half * n // 2 + i // 2 for i in range(n)]
            spread = b.shuffle(n, ty, value, value, lanes)
            mask = b.mask(n, b.sub(b.mul(left, 2), half * n))
            mask = b.let(f"and <{n} x i1> {mask}, {every_other}")
            b.put(n, self.number, spread, b.at(place, half * n, self.number.stored), mask)


@dataclass(frozen=True)
class PatchShape:
    """Packing the patches of several small images in a step of its own."""

    dtype: str
    vectors: int
    n_batch: int
    stride_w: int
    run_vectors: int

    @property
    def key(self) -> str:
        return (
            f"patches {self.dtype} {self.vectors} batch{self.n_batch} s{self.stride_w} "
            f"run{self.run_vectors}"
        )


def write_patches(shape: PatchShape, target: Target, name: str) -> str:
    """A task packs `block_m` channels of a block of images; C stands for the panels."""
    b = Emit(target, name)
    number = NUMBERS[shape.dtype]
    arg = TaskFrame(b, conv_arguments(shape.n_batch, ()), shape.n_batch)
    arg.load_all()
    spreader = Spreader(b, arg, number, shape.stride_w)
    ty, cols = spreader.ty, shape.vectors * spreader.n
    base = b.at("%scratch", arg("field"), ty)
    table = b.at("%scratch", arg("taps"), ty)
    runs = b.at(table, arg("k"), "i64")
    packer = RunPacker(spreader, table, runs, cols, shape.run_vectors)
    window = b.mul(arg("kh"), arg("kw"))
    with b.loop("%t0", "%t1") as t:
        index, chunk = b.divmod(t.i, arg("tasks_m"))
        arg.place_batch(index)
        images = images_here(b, arg)
        c0 = b.mul(chunk, arg("block_m"))
        channels = b.least(arg("block_m"), b.sub(arg("channels"), c0))
        field = spreader.field(base, 0, arg("oh"), images)
        src = b.at(arg.pointer("b", number), b.mul(c0, arg("x_c")), number.stored)
        spreader.fill(field, src, 0, channels)
        spreader.taps(field, table, channels)
        pixels = b.mul(images, b.mul(arg("oh"), arg("ow")))
        dst = b.at(arg.pointer("c", number), b.mul(b.mul(c0, window), cols), ty)
        with b.loop(0, pixels, cols) as j:
            span = (j.i, b.least(b.sub(pixels, j.i), cols))
            panel = b.at(dst, b.mul(j.i, arg("k_total")), ty)
            packer.pack(field, 0, span, (0, b.mul(channels, window)), panel, True)
    return b.module()
