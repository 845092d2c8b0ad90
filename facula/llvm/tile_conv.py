"""Convolution as a matrix product, as LLVM IR.

A task copies the rows of the image it needs into scratch, with their border of zeros and, for
strides, split into phases (so that neighbouring outputs read neighbouring numbers). In that copy the
number for tap k of output pixel p lies at `taps[k] + pixel(p)`. Panels of B are packed from it: for
each tap, runs of pixels of one output row are copied.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import Emit, Number, Value, vec
from facula.llvm.tile_epilogue import Fused, epilogue_arguments
from facula.llvm.tile_gemm import GemmShape, GemmWriter, TaskFrame, gemm_arguments
from facula.llvm.tile_pack import lanes_of

IMAGE = (
    *("height", "width", "x_c", "x_h", "channels", "kh", "kw", "sh", "sw", "dh", "dw", "ph", "pw"),
    *("oh", "ow", "field_w", "first_h", "step_h", "first_w", "step_w", "taps", "field"),
)


@dataclass(frozen=True)
class ConvShape:
    """What is fixed in the code of a convolution."""

    dtype: str
    rows: int
    vectors: int
    n_batch: int
    stride_w: int  # 1, 2, or 0 for any
    run_vectors: int  # registers that hold an output row's part of a panel
    fused: tuple[Fused, ...]

    @property
    def key(self) -> str:
        ends = "+".join(f.key for f in self.fused)
        return (
            f"conv {self.dtype} {self.rows}x{self.vectors} batch{self.n_batch} "
            f"s{self.stride_w} run{self.run_vectors} [{ends}]"
        )

    def gemm(self) -> GemmShape:
        return GemmShape(
            *(self.dtype, "packed", "patch", self.rows, self.vectors, self.n_batch, False),
            self.fused,
        )


def conv_arguments(n_batch: int, fused: tuple[Fused, ...]) -> list[str]:
    names = gemm_arguments(n_batch, ())
    return [*names, *IMAGE, *epilogue_arguments(fused, n_batch)]


@dataclass
class Field:
    """The copy of a stretch of an image in scratch: phase planes of rows, channel after channel."""

    base: str
    row: Value  # length of a row of a phase plane
    rows: Value  # rows of a phase plane
    plane: Value  # numbers in one
    channel: Value  # numbers in all phase planes of a channel


class Spreader:
    """Writes the copy of an image into scratch, and the table of its taps."""

    def __init__(self, b: Emit, arg: TaskFrame, number: Number, stride_w: int) -> None:
        self.b, self.arg, self.number, self.stride_w = b, arg, number, stride_w
        self.n, self.ty = lanes_of(b, number), number.compute

    def field(self, base: str, oh0: Value, oh1: Value) -> Field:
        """The layout of the copy for output rows [oh0, oh1)."""
        b, arg = self.b, self.arg
        reach = b.add(b.mul(b.sub(arg("kh"), 1), arg("dh")), 1)
        needed = b.add(b.mul(b.sub(b.sub(oh1, oh0), 1), arg("sh")), reach)
        rows = b.div(b.sub(b.add(needed, arg("sh")), 1), arg("sh"))
        plane = b.mul(rows, arg("field_w"))
        channel = b.mul(plane, b.mul(arg("sh"), arg("sw")))
        return Field(base, arg("field_w"), rows, plane, channel)

    def fill(self, field: Field, src: str, oh0: Value, channels: Value) -> None:
        """Copy the channels' rows, zeros where the image has ended."""
        b, arg = self.b, self.arg
        top = b.sub(b.mul(oh0, arg("sh")), arg("ph"))
        with b.loop(0, channels) as c, b.loop(0, arg("sh")) as y, b.loop(0, arg("sw")) as x:
            image = b.at(src, b.mul(c.i, arg("x_c")), self.number.stored)
            phase = b.add(b.mul(y.i, arg("sw")), x.i)
            start = b.add(b.mul(c.i, field.channel), b.mul(phase, field.plane))
            out = b.at(field.base, start, self.ty)
            with b.loop(0, field.rows) as r:
                ih = b.add(b.add(top, y.i), b.mul(r.i, arg("sh")))
                row = b.at(out, b.mul(r.i, field.row), self.ty)
                inside = b.both(b.test("sge", ih, 0), b.test("slt", ih, arg("height")))
                with b.choose(inside) as way:
                    with way.yes:
                        line = b.at(image, b.mul(ih, arg("x_h")), self.number.stored)
                        self._copy_row(row, line, b.sub(x.i, arg("pw")), field.row)
                    with way.no, b.loop(0, field.row, self.n) as j:
                        zeros = b.at(row, j.i, self.ty)
                        b.store(vec(self.n, self.ty), "zeroinitializer", zeros, self.ty)

    def _copy_row(self, row: str, line: str, first: Value, length: Value) -> None:
        """row[j] = line[first + j * stride], zero outside the image."""
        b, n = self.b, self.n
        if self.stride_w == 0:
            self._copy_slowly(row, line, first, length)
            return
        with b.loop(0, length, n) as j:
            at = b.add(first, b.mul(j.i, self.stride_w))
            parts = [self._inside(line, b.add(at, i * n)) for i in range(self.stride_w)]
            value = parts[0]
            if self.stride_w == 2:
                value = b.shuffle(n, self.ty, *parts, range(0, 2 * n, 2))
            b.store(vec(n, self.ty), value, b.at(row, j.i, self.ty), self.ty)

    def _inside(self, line: str, at: Value) -> str:
        """n numbers of a line, zero where there are none."""
        b, n = self.b, self.n
        right = b.mask(n, b.sub(self.arg("width"), at))
        left = b.mask(n, b.sub(0, at))
        mask = b.let(f"xor <{n} x i1> {right}, {left}")
        mask = b.let(f"and <{n} x i1> {mask}, {right}")
        return b.fetch(n, self.number, b.at(line, at, self.number.stored), mask)

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
            y = b.mul(b.add(arg("first_h"), b.mul(r.i, arg("step_h"))), arg("dh"))
            x = b.mul(b.add(arg("first_w"), b.mul(s.i, arg("step_w"))), arg("dw"))
            down, y_phase = b.divmod(y, arg("sh"))
            right, x_phase = b.divmod(x, arg("sw"))
            phase = b.mul(b.add(b.mul(y_phase, arg("sw")), x_phase), field.plane)
            start = b.add(phase, b.add(b.mul(down, field.row), right))
            index = b.add(b.mul(r.i, arg("kw")), s.i)
            with b.loop(0, channels) as c:
                place = b.at(table, b.add(b.mul(c.i, window), index), "i64")
                b.store("i64", b.add(start, b.mul(c.i, field.channel)), place)


class ConvWriter(GemmWriter):
    """A matrix product whose B are the patches of an image."""

    def __init__(self, shape: ConvShape, target: Target, name: str) -> None:
        super().__init__(shape.gemm(), target, name)
        self.conv = shape
        names = conv_arguments(shape.n_batch, shape.fused)
        self.arg = TaskFrame(self.b, names, shape.n_batch)

    def _find_operands(self) -> None:
        super()._find_operands()
        b, arg = self.b, self.arg
        self.oh0 = b.div(self.n0, arg("ow"))
        oh1 = b.add(b.div(b.sub(b.add(self.n0, self.nb), 1), arg("ow")), 1)
        spreader = Spreader(b, arg, self.number, self.conv.stride_w)
        base = b.at("%scratch", arg("field"), self.ty)
        self.table = b.at("%scratch", arg("taps"), self.ty)
        self.runs = b.at(self.table, arg("k"), "i64")
        field = spreader.field(base, self.oh0, oh1)
        spreader.fill(field, self.bp, self.oh0, arg("channels"))
        spreader.taps(field, self.table, arg("channels"))
        self.image_field = field

    def _pack_b(self) -> None:
        b = self.b
        with b.loop(0, self.n_panels) as j:
            col = b.mul(j.i, self.cols)
            n_runs = self._find_runs(b.add(self.n0, col), b.least(b.sub(self.nb, col), self.cols))
            dst = b.at(self.b_pack, b.mul(col, self.kc), self.ty)
            with b.loop(0, self.kc) as k:
                tap = b.at(self.table, b.add(self.k0, k.i), "i64")
                base = b.at(self.image_field.base, b.load("i64", tap), self.ty)
                out = b.at(dst, b.mul(k.i, self.cols), self.ty)
                self._copy_runs(base, out, n_runs)

    def _find_runs(self, first: Value, count: Value) -> str:
        """Cut a panel's pixels into runs inside output rows: (where in the field, which lane)."""
        b, arg = self.b, self.arg
        oh, ow = b.divmod(first, arg("ow"))
        start = b.add(b.mul(b.sub(oh, self.oh0), arg("field_w")), ow)
        skip = b.sub(arg("field_w"), arg("ow"))
        entry = b.at(self.runs, 0, "i64")
        b.store("i64", start, entry)
        b.store("i64", 0, b.at(entry, 1, "i64"))
        # From the second run on, runs begin at output rows' beginnings.
        lane = b.sub(arg("ow"), ow)
        init = [("i64", 1), ("i64", b.add(b.add(start, lane), skip))]
        with b.loop(lane, count, arg("ow"), init) as run:
            index, place = run.vars
            entry = b.at(self.runs, b.mul(index, 2), "i64")
            b.store("i64", place, entry)
            b.store("i64", run.i, b.at(entry, 1, "i64"))
            run.next = [b.add(index, 1), b.add(place, arg("field_w"))]
        return run.vars[0]

    def _copy_runs(self, base: str, out: str, n_runs: str) -> None:
        """A run's spare lanes fall on the next run or the next k, which are written after."""
        b, n = self.b, self.lanes
        with b.loop(0, n_runs) as run:
            entry = b.at(self.runs, b.mul(run.i, 2), "i64")
            src = b.at(base, b.load("i64", entry), self.ty)
            dst = b.at(out, b.load("i64", b.at(entry, 1, "i64")), self.ty)
            for v in range(self.conv.run_vectors):
                value = b.load(vec(n, self.ty), b.at(src, v * n, self.ty), self.ty)
                b.store(vec(n, self.ty), value, b.at(dst, v * n, self.ty), self.ty)
