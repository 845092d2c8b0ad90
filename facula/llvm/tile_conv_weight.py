"""The gradient of a convolution's weight, as LLVM IR.

dW[tap, o] = sum over images and pixels of field[taps[tap] + pixel] * dY[pixel, o]: a tile holds
some taps by some registers of output channels. The taps' numbers are read in place from the copy
of the image, one broadcast each; dY is transposed into panels of output channels. Tasks do
channels and parts of the batch; a second kernel adds the parts and transposes into dW.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, vec
from facula.llvm.tile_conv import Field, Spreader
from facula.llvm.tile_pack import lanes_of, pack, sums, transpose
from facula.llvm.tile_task import TaskFrame

ARGUMENTS = (
    *("x", "x_off", "dy", "dy_off", "part", "part_off", "n", "groups", "m", "c_all"),
    *("x_n", "x_group", "x_c", "x_h", "dy_n", "dy_group", "dy_c"),
    *("height", "width", "kh", "kw", "sh", "sw", "top", "left", "oh", "ow", "field_w", "reach_h"),
    *("first_h", "step_h", "first_w", "step_w", "images", "block_h", "block_c", "blocks_c"),
    *("parts", "per_part", "part_size", "group_size", "block_size", "row", "taps", "field"),
)


@dataclass(frozen=True)
class WeightShape:
    """What is fixed in the code of a weight gradient."""

    dtype: str
    rows: int
    vectors: int
    stride_w: int

    @property
    def key(self) -> str:
        return f"convweight {self.dtype} {self.rows}x{self.vectors} s{self.stride_w}"


class WeightWriter:
    """Writes the kernel of a `WeightShape`."""

    def __init__(self, shape: WeightShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.number = NUMBERS[shape.dtype]
        self.ty = self.number.compute
        self.lanes = lanes_of(self.b, self.number)
        self.cols = shape.vectors * self.lanes
        self.arg = TaskFrame(self.b, list(ARGUMENTS), 0)
        self.spreader = Spreader(self.b, self.arg, self.number, shape.stride_w)

    def write(self) -> str:
        self.arg.load_all()
        with self.b.loop("%t0", "%t1") as t:
            self._task(t.i)
        return self.b.module()

    def _task(self, t: str) -> None:
        b, arg, stored = self.b, self.arg, self.number.stored
        index, block = b.divmod(t, arg("blocks_c"))
        part, group = b.divmod(index, arg("groups"))
        c0 = b.mul(block, arg("block_c"))
        self.channels = b.least(arg("block_c"), b.sub(arg("c_all"), c0))
        x = b.add(b.mul(group, arg("x_group")), b.mul(c0, arg("x_c")))
        self.x = b.at(b.at(b.buffer(arg("x")), arg("x_off"), stored), x, stored)
        dy = b.mul(group, arg("dy_group"))
        self.dy = b.at(b.at(b.buffer(arg("dy")), arg("dy_off"), stored), dy, stored)
        shift = b.mul(part, arg("part_size"))
        shift = b.add(shift, b.mul(group, arg("group_size")))
        shift = b.add(shift, b.mul(block, arg("block_size")))
        out = b.at(b.buffer(arg("part")), b.add(arg("part_off"), shift), self.ty)
        self.table = b.at("%scratch", arg("taps"), self.ty)
        first = b.mul(part, arg("per_part"))
        last = b.least(b.add(first, arg("per_part")), arg("n"))
        with b.loop(first, last, arg("images")) as i, b.loop(0, arg("oh"), arg("block_h")) as h:
            images = b.least(arg("images"), b.sub(last, i.i))
            oh1 = b.least(b.add(h.i, arg("block_h")), arg("oh"))
            start = b.both(b.test("eq", i.i, first), b.test("eq", h.i, 0))
            self._stretch(i.i, images, h.i, oh1, start, out)

    def _stretch(self, image, images, oh0, oh1, start, out) -> None:
        """Some images' output rows [oh0, oh1)."""
        b, arg, stored = self.b, self.arg, self.number.stored
        base = b.at("%scratch", arg("field"), self.ty)
        field = self.spreader.field(base, oh0, oh1, images)
        src = b.at(self.x, b.mul(image, arg("x_n")), stored)
        self.spreader.fill(field, src, oh0, self.channels)
        self.spreader.taps(field, self.table, self.channels)
        rows = b.sub(oh1, oh0)
        pixels = b.mul(rows, arg("ow"))
        dy = b.at(self.dy, b.mul(image, arg("dy_n")), stored)
        dy = b.at(dy, b.mul(oh0, arg("ow")), stored)
        depth = b.mul(images, pixels)
        with b.loop(0, arg("m"), self.cols) as j:
            panel = b.at("%scratch", b.mul(j.i, depth), self.ty)
            with b.loop(0, images) as i:
                shift = b.add(b.mul(i.i, arg("dy_n")), b.mul(j.i, arg("dy_c")))
                dst = b.at(panel, b.mul(b.mul(i.i, pixels), self.cols), self.ty)
                left = b.sub(arg("m"), j.i)
                strides = (arg("dy_c"), 1)
                here = b.at(dy, shift, stored)
                pack(b, self.number, "k", here, strides, self.cols, left, pixels, dst)
            count = b.mul(self.channels, b.mul(arg("kh"), arg("kw")))
            with b.loop(0, count, self.shape.rows) as tap:
                place = b.at(out, b.add(b.mul(tap.i, arg("row")), j.i), self.ty)
                self._tile(field, tap.i, count, panel, rows, place, start)

    def _tile(self, field: Field, tap, count, panel, rows, place, start) -> None:
        b, n, ty, shape = self.b, self.lanes, self.ty, self.shape
        v, last = vec(n, ty), b.sub(count, 1)
        taps = []
        for i in range(shape.rows):
            index = b.least(b.add(tap, i), last)
            shift = b.load("i64", b.at(self.table, index, "i64"))
            taps.append(b.at(field.base, shift, ty))
        places = []
        for i in range(shape.rows):
            line = b.at(place, b.mul(i, self.arg("row")), ty)
            places += [b.at(line, j * n, ty) for j in range(shape.vectors)]
        with b.choose(start) as way:
            with way.yes:
                pass
            with way.no:
                before = [b.load(v, p, ty) for p in places]
        init = [(v, way.merge(v, "zeroinitializer", x)) for x in before] + [("ptr", panel)]
        with b.loop(0, field.images, 1, init) as i:
            image = b.mul(i.i, field.image)
            types = [ty for ty, _ in init]
            with b.loop(0, rows, 1, list(zip(types, i.vars, strict=True))) as h:
                shift = b.add(image, b.mul(h.i, field.row))
                here = [b.at(t, shift, ty) for t in taps]
                with b.loop(0, self.arg("ow"), 1, list(zip(types, h.vars, strict=True))) as w:
                    w.next = self._pixel(here, w.i, w.vars)
                h.next = list(w.vars)
            i.next = list(h.vars)
        for value, p in zip(i.vars, places, strict=False):
            b.store(v, value, p, ty)

    def _pixel(self, taps: list[str], w: str, carried: list[str]) -> list[str]:
        b, n, ty, shape = self.b, self.lanes, self.ty, self.shape
        *acc, dy = carried
        columns = [b.load(vec(n, ty), b.at(dy, j * n, ty), ty) for j in range(shape.vectors)]
        out = []
        for i, tap in enumerate(taps):
            one = b.splat(n, ty, b.load(ty, b.at(tap, w, ty)))
            before = acc[i * shape.vectors : (i + 1) * shape.vectors]
            out += [b.fma(n, ty, one, x, s) for x, s in zip(columns, before, strict=True)]
        return [*out, b.at(dy, self.cols, ty)]


@dataclass(frozen=True)
class DepthwiseShape:
    """The weight gradient of channels that each have their own filter: lanes are pixels."""

    dtype: str
    window: int
    stride_w: int

    @property
    def key(self) -> str:
        return f"convdepthwise {self.dtype} {self.window} s{self.stride_w}"


def write_depthwise(shape: DepthwiseShape, target: Target, name: str) -> str:
    """dW[channel, tap] = sum of field[tap + pixel] * dY[pixel]; a task does one channel."""
    b = Emit(target, name)
    number = NUMBERS[shape.dtype]
    n, ty, stored = lanes_of(b, number), number.compute, number.stored
    arg = TaskFrame(b, list(ARGUMENTS), 0)
    arg.load_all()
    spreader = Spreader(b, arg, number, shape.stride_w)
    base, table = b.at("%scratch", arg("field"), ty), b.at("%scratch", arg("taps"), ty)
    zeros = [(vec(n, ty), "zeroinitializer")] * shape.window
    types = [ty for ty, _ in zeros]
    with b.loop("%t0", "%t1") as t:
        x = b.at(b.buffer(arg("x")), b.add(arg("x_off"), b.mul(t.i, arg("x_group"))), stored)
        dy = b.at(b.buffer(arg("dy")), b.add(arg("dy_off"), b.mul(t.i, arg("dy_group"))), stored)
        with b.loop(0, arg("n"), 1, zeros) as i:
            field = spreader.field(base, 0, arg("oh"))
            # registers of pixels run over rows' ends, and what they see there counts nothing
            spreader.fill(field, b.at(x, b.mul(i.i, arg("x_n")), stored), 0, 1, every=True)
            spreader.taps(field, table, 1)
            shifts = [b.load("i64", b.at(table, k, "i64")) for k in range(shape.window)]
            taps = [b.at(field.base, shift, ty) for shift in shifts]
            image = b.at(dy, b.mul(i.i, arg("dy_n")), stored)
            with b.loop(0, arg("oh"), 1, list(zip(types, i.vars, strict=True))) as h:
                line = b.at(image, b.mul(h.i, arg("ow")), stored)
                row = b.mul(h.i, field.row)
                with b.loop(0, arg("ow"), n, list(zip(types, h.vars, strict=True))) as w:
                    mask = b.mask(n, b.sub(arg("ow"), w.i))
                    given = b.fetch(n, number, b.at(line, w.i, stored), mask)
                    at = b.add(row, w.i)
                    for tap, acc in zip(taps, w.vars, strict=True):
                        seen = b.load(vec(n, ty), b.at(tap, at, ty), ty)
                        w.next.append(b.fma(n, ty, given, seen, acc))
                h.next = list(w.vars)
            i.next = list(h.vars)
        out = b.add(arg("part_off"), b.mul(t.i, shape.window))
        out = b.at(b.buffer(arg("part")), out, stored)
        for first in range(0, shape.window, n):
            total = sums(b, n, ty, i.vars[first : first + n])
            mask = b.mask(n, shape.window - first)
            b.put(n, number, total, b.at(out, first, stored), mask)
    return b.module()


FOLD_ARGUMENTS = (
    *("part", "part_off", "dw", "dw_off", "m", "k", "parts", "part_size", "group_size"),
    *("block_k", "block_size", "row", "tasks_k"),
)


@dataclass(frozen=True)
class FoldShape:
    """Adding up the parts of a weight gradient."""

    dtype: str

    @property
    def key(self) -> str:
        return f"convfold {self.dtype}"


def write_fold(shape: FoldShape, target: Target, name: str) -> str:
    """dW[group, o, tap] = sum of parts[part, group, tap, o]; a task does a few taps."""
    b = Emit(target, name)
    number = NUMBERS[shape.dtype]
    n, ty = lanes_of(b, number), number.compute
    arg = TaskFrame(b, list(FOLD_ARGUMENTS), 0)
    arg.load_all()
    with b.loop("%t0", "%t1") as t:
        group, tk = b.divmod(t.i, arg("tasks_k"))
        tap = b.mul(tk, n)
        part = b.at(
            b.buffer(arg("part")), b.add(arg("part_off"), b.mul(group, arg("group_size"))), ty
        )
        dw = b.add(arg("dw_off"), b.mul(group, b.mul(arg("m"), arg("k"))))
        dw = b.at(b.buffer(arg("dw")), b.add(dw, tap), number.stored)
        lines = []
        for i in range(n):
            block, inside = b.divmod(b.least(b.add(tap, i), b.sub(arg("k"), 1)), arg("block_k"))
            shift = b.add(b.mul(block, arg("block_size")), b.mul(inside, arg("row")))
            lines.append(b.at(part, shift, ty))
        mask = b.mask(n, b.sub(arg("k"), tap))
        with b.loop(0, arg("m"), n) as o:
            init = [(vec(n, ty), "zeroinitializer")] * n
            with b.loop(0, arg("parts"), 1, init) as p:
                shift = b.add(b.mul(p.i, arg("part_size")), o.i)
                seen = [b.load(vec(n, ty), b.at(line, shift, ty), ty) for line in lines]
                p.next = [b.plus(n, ty, x, y) for x, y in zip(p.vars, seen, strict=True)]
            columns = transpose(b, n, ty, p.vars)
            for i, value in enumerate(columns):
                row = b.add(o.i, i)
                with b.when(b.test("slt", row, arg("m"))):
                    place = b.at(dw, b.mul(row, arg("k")), number.stored)
                    b.put(n, number, value, place, mask)
    return b.module()
