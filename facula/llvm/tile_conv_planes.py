"""Convolution of channels by themselves (depthwise), as LLVM IR.

A task takes some planes (one channel of one image). It copies a plane into scratch, with its border
of zeros and split into the stride's phases (see `tile_conv`), and for a tile of neighbouring outputs
adds up tap x numbers of the copy in registers: nothing is packed.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Value, vec
from facula.llvm.tile_conv import IMAGE, Field, Spreader
from facula.llvm.tile_epilogue import EpilogueWriter, Fused, epilogue_arguments
from facula.llvm.tile_task import TaskFrame

N_BATCH = 2  # images, groups
ARGUMENTS = (
    *("x", "x_off", "weight", "weight_off", "y", "y_off", "planes", "groups", "m", "x_group"),
    *("w_first", "w_step_h", "w_step_w", "w_m", "w_group", "per_task", "block_h", "blocks_h"),
)


@dataclass(frozen=True)
class PlanesShape:
    """What is fixed in the code of a depthwise convolution."""

    dtype: str
    rows: int  # of a tile of outputs
    vectors: int
    thin: int  # rows of a tile that is one register wide
    stride_w: int  # 1, 2, or 0 for any
    fused: tuple[Fused, ...]
    high: int = 0  # rows of the window, where what is read is shared among rows of outputs
    phases: int = 1  # then: rows that neighbouring outputs are apart, or -1: taps go upwards

    @property
    def key(self) -> str:
        ends = "+".join(f.key for f in self.fused)
        shared = f" high{self.high}/{self.phases}" if self.high else ""
        return (
            f"planes {self.dtype} {self.rows}x{self.vectors}+{self.thin} s{self.stride_w}{shared} "
            f"[{ends}]"
        )


class PlanesWriter:
    """Writes the kernel of a `PlanesShape`."""

    def __init__(self, shape: PlanesShape, target: Target, name: str) -> None:
        self.shape, self.b = shape, Emit(target, name)
        self.number = NUMBERS[shape.dtype]
        names = [*ARGUMENTS, *IMAGE, *epilogue_arguments(shape.fused, N_BATCH)]
        self.arg = TaskFrame(self.b, names, N_BATCH)
        self.spreader = Spreader(self.b, self.arg, self.number, shape.stride_w)
        self.n, self.ty = self.spreader.n, self.spreader.ty
        self.epilogue = EpilogueWriter(self.b, shape.fused)

    def write(self) -> str:
        b, arg = self.b, self.arg
        arg.load_all()
        self.window = b.mul(arg("kh"), arg("kw"))
        self.taps = b.at("%scratch", arg("taps"), self.ty)
        self.weights = b.at(self.taps, self.window, "i64")
        self.spans = b.at(self.weights, self.window, "i64")
        self.room = b.room(vec(self.n * 8, self.ty))
        with b.loop("%t0", "%t1") as t:
            chunk, block = b.divmod(t.i, arg("blocks_h"))
            oh0 = b.mul(block, arg("block_h"))
            oh1 = b.least(b.add(oh0, arg("block_h")), arg("oh"))
            field = self.spreader.field(b.at("%scratch", arg("field"), self.ty), oh0, oh1)
            self._prepare(field, oh0)
            first = b.mul(chunk, arg("per_task"))
            last = b.least(b.add(first, arg("per_task")), arg("planes"))
            with b.loop(first, last) as plane:
                self._plane(field, plane.i, oh0, oh1)
        return b.module()

    def _prepare(self, field: Field, oh0: Value) -> None:
        """What is the same for all planes of a task: the tables, and the copy's zeros."""
        b, arg = self.b, self.arg
        self.spreader.taps(field, self.taps, 1)
        with b.loop(0, arg("kh")) as r, b.loop(0, arg("kw")) as s:
            place = b.add(b.mul(r.i, arg("w_step_h")), b.mul(s.i, arg("w_step_w")))
            index = b.add(b.mul(r.i, arg("kw")), s.i)
            b.store("i64", b.add(arg("w_first"), place), b.at(self.weights, index, "i64"))
        top = b.add(b.mul(oh0, arg("sh")), arg("top"))
        with b.loop(0, arg("sh")) as y:
            span = self.spreader.rows_there(field, b.add(top, y.i))
            for k, end in enumerate(span):
                place = b.at(self.spans, b.add(b.mul(y.i, 2), k), "i64")
                b.store("i64", end, place)
        zeros = vec(self.n, self.ty)
        with b.loop(0, field.channel, self.n) as j:
            b.store(zeros, "zeroinitializer", b.at(field.base, j.i, self.ty), self.ty)

    def _plane(self, field: Field, plane: Value, oh0: Value, oh1: Value) -> None:
        b, arg, stored = self.b, self.arg, self.number.stored
        image, group = b.divmod(plane, arg("groups"))
        arg.batch = [image, group]
        x = b.at(b.buffer(arg("x")), arg("x_off"), stored)
        x = b.at(x, b.add(b.mul(image, arg("x_n")), b.mul(group, arg("x_group"))), stored)
        self._copy(field, x, oh0)
        weight = b.at(b.buffer(arg("weight")), arg("weight_off"), stored)
        weight = b.at(weight, b.mul(group, arg("w_group")), stored)
        y = b.at(b.buffer(arg("y")), arg("y_off"), stored)
        channel = b.mul(group, arg("m"))
        y = b.at(y, b.add(b.mul(image, arg("y_n")), b.mul(channel, arg("y_c"))), stored)
        self.epilogue.open(arg, arg.batch_offset)
        with b.loop(0, arg("m")) as m:
            own = b.at(weight, b.mul(m.i, arg("w_m")), stored)
            out = b.at(y, b.mul(m.i, arg("y_c")), stored)
            self._outputs(field, own, out, m.i, oh0, oh1)

    def _copy(self, field: Field, x: str, oh0: Value) -> None:
        """The rows that are there; those of zeros are already."""
        b, arg = self.b, self.arg
        top = b.add(b.mul(oh0, arg("sh")), arg("top"))
        with b.loop(0, arg("sh")) as y:
            begin, end = (
                b.load("i64", b.at(self.spans, b.add(b.mul(y.i, 2), k), "i64")) for k in (0, 1)
            )
            source = b.add(b.add(top, y.i), b.mul(begin, arg("sh")))
            line = b.at(x, b.mul(source, arg("x_h")), self.number.stored)
            with b.loop(0, arg("sw")) as s:
                phase = b.mul(b.add(b.mul(y.i, arg("sw")), s.i), field.plane)
                out = b.at(field.base, b.add(phase, b.mul(begin, field.row)), self.ty)
                first, rows = b.add(s.i, arg("left")), b.sub(end, begin)
                self.spreader.copy_rows(out, line, first, rows, field.row)

    def _outputs(self, field: Field, weight: str, y: str, m: Value, oh0: Value, oh1: Value) -> None:
        """All outputs of a channel: columns of whole tiles, then of tiles one register wide."""
        b, rows, vectors = self.b, self.shape.rows, self.shape.vectors
        span, width = b.sub(oh1, oh0), self.n * vectors
        end = b.sub(self.arg("ow"), b.rem(self.arg("ow"), width))
        for tall, wide, first, last in (
            (rows, vectors, 0, end),
            (self.shape.thin, 1, end, self.arg("ow")),
        ):
            whole = b.sub(oh1, b.rem(span, tall))
            with b.loop(first, last, self.n * wide) as ow:
                for high, start, stop in ((tall, oh0, whole), (1, whole, oh1)):
                    with b.loop(start, stop, high) as oh:
                        at = b.add(b.mul(b.sub(oh.i, oh0), field.row), ow.i)
                        source = b.at(field.base, at, self.ty)
                        sums = self._sums(field, weight, source, high, wide)
                        self._store(y, sums, m, oh.i, ow.i, wide, first != 0)

    def _sums(self, field: Field, weight: str, source: str, rows: int, vectors: int) -> list[str]:
        """A tile of outputs, row by row."""
        if self.shape.high:
            return self._shared_sums(field, weight, source, rows, vectors)
        b, n, ty = self.b, self.n, self.ty
        lines = [b.at(source, b.mul(field.row, r), ty) for r in range(rows)]
        init = [(vec(n, ty), "zeroinitializer")] * (rows * vectors)
        with b.loop(0, self.window, 1, init) as k:
            tap = b.load("i64", b.at(self.taps, k.i, "i64"))
            place = b.load("i64", b.at(self.weights, k.i, "i64"))
            one = b.fetch(1, self.number, b.at(weight, place, self.number.stored))
            factor = b.splat(n, ty, b.let(f"extractelement {vec(1, ty)} {one}, i64 0"))
            for i, total in enumerate(k.vars):
                line, v = divmod(i, vectors)
                seen = b.at(b.at(lines[line], tap, ty), v * n, ty)
                k.next.append(b.fma(n, ty, factor, b.load(vec(n, ty), seen, ty), total))
        return k.vars

    def _shared_sums(
        self, field: Field, weight: str, source: str, rows: int, vectors: int
    ) -> list[str]:
        """The same, a column of the window at a time: a register is read once for all the rows of
        outputs that a tap of the column has it for."""
        b, n, ty, v = self.b, self.n, self.ty, vec(self.n, self.ty)
        high, width = self.shape.high, self.arg("kw")
        phases = max(self.shape.phases, 1)
        down = [-r if self.shape.phases < 0 else r // phases for r in range(high)]
        with b.loop(0, width, 1, [(v, "zeroinitializer")] * (rows * vectors)) as s:
            sums = list(s.vars)
            factors = [self._factor(weight, b.add(s.i, b.mul(width, r))) for r in range(high)]
            for phase in range(min(phases, high)):
                taps = range(phase, high, phases)
                first, last = min(down[r] for r in taps), max(down[r] for r in taps)
                tap = b.load("i64", b.at(self.taps, b.add(s.i, b.mul(width, phase)), "i64"))
                line = b.at(b.at(source, tap, ty), b.mul(field.row, first), ty)
                for j in range(first, last + rows):
                    seen = [b.load(v, b.at(line, k * n, ty), ty) for k in range(vectors)]
                    for i, r in ((j - down[r], r) for r in taps if 0 <= j - down[r] < rows):
                        for k, value in enumerate(seen):
                            at = i * vectors + k
                            sums[at] = b.fma(n, ty, factors[r], value, sums[at])
                    line = b.at(line, field.row, ty)
            s.next = list(sums)
        return s.vars

    def _factor(self, weight: str, index: Value) -> str:
        """A tap's weight in all lanes."""
        b, one = self.b, vec(1, self.ty)
        place = b.load("i64", b.at(self.weights, index, "i64"))
        value = b.fetch(1, self.number, b.at(weight, place, self.number.stored))
        return b.splat(self.n, self.ty, b.let(f"extractelement {one} {value}, i64 0"))

    def _store(
        self, y: str, sums: list[str], m: Value, oh: Value, ow: Value, vectors: int, part: bool
    ) -> None:
        """Through the epilogue; a long one is written once, for all registers of the tile."""
        b, n, ty = self.b, self.n, self.ty
        count = b.sub(self.arg("ow"), ow) if part else None
        if not self.epilogue.heavy or len(sums) == 1:
            for i, total in enumerate(sums):
                line, v = divmod(i, vectors)
                self._put(y, total, m, b.add(oh, line), b.add(ow, v * n), count)
            return
        for i, total in enumerate(sums):
            b.store(vec(n, ty), total, b.at(self.room, i * n, ty), ty)
        with b.loop(0, len(sums)) as each:
            row, register = b.divmod(each.i, vectors)
            total = b.load(vec(n, ty), b.at(self.room, b.mul(each.i, n), ty), ty)
            self._put(y, total, m, b.add(oh, row), b.add(ow, b.mul(register, n)), count)

    def _put(self, y: str, total: str, m: Value, oh: Value, ow: Value, count: Value | None) -> None:
        """A register of results; `count`: only so many."""
        b, arg, n, number = self.b, self.arg, self.n, self.number
        pixel = b.add(b.mul(oh, arg("ow")), ow)
        self.epilogue.start_tile()
        mask = None if count is None else b.mask(n, count)
        value = self.epilogue.apply(n, total, m, pixel, mask)
        place = b.at(y, b.add(b.mul(oh, arg("y_h")), ow), number.stored)
        if count is None:
            b.put(n, number, value, place)
        else:
            b.put_first(n, number, value, place, count)
