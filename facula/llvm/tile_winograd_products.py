"""3 x 3 convolution by Winograd's minimal filtering, from turned images, as LLVM IR.

y = A^T [sum over channels of (G g G^T) * (B^T d B)] A. `tile_winograd_turn` has turned the images; a
task does some rows of tiles by a block of result channels: it turns its weights a stretch of channels
at a time (or reads what was turned beforehand), adds up 36 products, and turns them back. Lanes
are result channels up to the very end, where rows of pixels are dealt out through the epilogue.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Value, vec
from facula.llvm.tile_epilogue import EpilogueWriter, Fused, epilogue_arguments
from facula.llvm.tile_pack import lanes_of, transpose
from facula.llvm.tile_task import TaskFrame
from facula.llvm.tile_winograd_turn import OUTPUT, WEIGHT, Turner

WEIGHT_ARGUMENTS = ("w", "w_off", "s_m", "s_k", "m", "k", "u", "u_off", "u_row", "u_plane")
ARGUMENTS = (
    *("v", "v_off", "v_row", "v_plane", "y", "y_off", "y_n", "y_c", "y_h", "oh", "ow"),
    *("w", "w_off", "s_m", "s_k", "m", "k", "stretch", "u", "u_off", "u_row", "u_plane"),
    *("tiles_h", "tiles_w", "block", "rows_all", "first", "block_m", "tasks_m"),
    *("row", "plane", "products", "stage", "pitch", "run_rows"),
)


@dataclass(frozen=True)
class ProductShape:
    """What is fixed in the code of the convolution."""

    rows: int  # tiles of a register tile
    vectors: int
    flip: bool  # the weights are walked backwards (for the gradient of the input)
    ahead: bool  # the weights have been turned in a step of their own
    fused: tuple[Fused, ...]

    @property
    def key(self) -> str:
        ends = "+".join(f.key for f in self.fused)
        how = "ahead" if self.ahead else "flip" if self.flip else ""
        return f"winograd {self.rows}x{self.vectors} {how} [{ends}]"


@dataclass(frozen=True)
class TurnWeightShape:
    """Turning weights beforehand: u[xi][k][m]."""

    flip: bool

    @property
    def key(self) -> str:
        return f"winogradweight{' flip' if self.flip else ''}"


class WeightTurner:
    """Turns the weights of a register of result channels."""

    def __init__(self, b: Emit, arg: TaskFrame, flip: bool) -> None:
        self.b, self.arg, self.flip = b, arg, flip
        self.n, self.ty = lanes_of(b, NUMBERS["float32"]), "float"
        self.turner = Turner(b, self.n, self.ty)

    def turn(self, w: str, m0: Value, channels: tuple[Value, Value], out: str, strides) -> None:
        """out[xi][k - first][lane] for the k in `channels`; lanes past the last repeat it."""
        b, arg, n, ty = self.b, self.arg, self.n, self.ty
        row, plane = strides
        last = b.sub(arg("m"), 1)
        lines = [b.at(w, b.mul(b.least(b.add(m0, i), last), arg("s_m")), ty) for i in range(n)]
        nine = b.mask(n, 9) if n > 9 else None
        with b.loop(*channels) as k:
            taps = self._taps([b.at(x, b.mul(k.i, arg("s_k")), ty) for x in lines], nine)
            if self.flip:
                taps.reverse()
            turned = self.turner.both(WEIGHT, [taps[3 * i : 3 * i + 3] for i in range(3)])
            here = b.at(out, b.mul(b.sub(k.i, channels[0]), row), ty)
            for xi, value in enumerate(x for line in turned for x in line):
                b.store(vec(n, ty), value, b.at(here, b.mul(plane, xi), ty), ty)

    def _taps(self, lines: list[str], nine: str | None) -> list[str]:
        """The nine taps, channel by channel in lanes."""
        b, n, ty = self.b, self.n, self.ty
        if nine is not None:
            loaded = [b.masked_load(n, ty, line, nine) for line in lines]
            return [x or "zeroinitializer" for x in transpose(b, n, ty, loaded)[:9]]
        out = []
        for tap in range(9):
            value = "poison"
            for i, line in enumerate(lines):
                one = b.load(ty, b.at(line, tap, ty))
                value = b.let(f"insertelement {vec(n, ty)} {value}, {ty} {one}, i64 {i}")
            out.append(value)
        return out


def write_turn_weights(shape: TurnWeightShape, target: Target, name: str) -> str:
    """A task does a register of result channels."""
    b = Emit(target, name)
    arg = TaskFrame(b, list(WEIGHT_ARGUMENTS), 0)
    arg.load_all()
    turner = WeightTurner(b, arg, shape.flip)
    w = b.at(b.buffer(arg("w")), arg("w_off"), "float")
    u = b.at(b.buffer(arg("u")), arg("u_off"), "float")
    with b.loop("%t0", "%t1") as t:
        m0 = b.mul(t.i, turner.n)
        strides = (arg("u_row"), arg("u_plane"))
        turner.turn(w, m0, (0, arg("k")), b.at(u, m0, "float"), strides)
    return b.module()


class ProductWriter:
    """Writes the convolution."""

    def __init__(self, shape: ProductShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.number = NUMBERS["float32"]
        self.ty, self.n = "float", lanes_of(self.b, self.number)
        self.v, self.cols = vec(self.n, self.ty), shape.vectors * self.n
        names = [*ARGUMENTS, "batch0", "groups", *epilogue_arguments(shape.fused, 2)]
        self.arg = TaskFrame(self.b, names, 2)
        self.turner = Turner(self.b, self.n, self.ty)
        self.epilogue = EpilogueWriter(self.b, shape.fused)

    def write(self) -> str:
        self.arg.load_all()
        with self.b.loop("%t0", "%t1") as t:
            self._task(t.i)
        return self.b.module()

    def _task(self, t: str) -> None:
        b, arg, ty = self.b, self.arg, self.ty
        block, tm = b.divmod(t, arg("tasks_m"))
        first, m0 = b.mul(block, arg("block")), b.mul(tm, arg("block_m"))
        rows = b.least(arg("block"), b.sub(arg("rows_all"), first))
        results = b.least(arg("block_m"), b.sub(arg("m"), m0))
        shift = b.mul(b.mul(first, arg("tiles_w")), arg("v_row"))
        v = b.at(b.buffer(arg("v")), b.add(arg("v_off"), shift), ty)
        self.products = b.at("%scratch", arg("products"), ty)
        tiles = b.mul(rows, arg("tiles_w"))
        if self.shape.ahead:
            u = b.at(b.buffer(arg("u")), b.add(arg("u_off"), m0), ty)
            self._multiply(v, u, arg("k"), tiles, results, None)
        else:
            w = b.at(b.buffer(arg("w")), arg("w_off"), ty)
            turner = WeightTurner(b, arg, self.shape.flip)
            with b.loop(0, arg("k"), arg("stretch")) as k:
                end = b.least(b.add(k.i, arg("stretch")), arg("k"))
                with b.loop(0, results, self.n) as o:
                    out = b.at("%scratch", o.i, ty)
                    strides = (arg("u_row"), arg("u_plane"))
                    turner.turn(w, b.add(m0, o.i), (k.i, end), out, strides)
                more = b.test("sgt", k.i, 0)
                here = b.at(v, k.i, ty)
                self._multiply(here, "%scratch", b.sub(end, k.i), tiles, results, more)
        with b.loop(0, rows) as r:
            image, row = b.divmod(b.add(first, r.i), arg("tiles_h"))
            tile = b.mul(r.i, arg("tiles_w"))
            self._turn_back(b.add(image, arg("first")), row, tile, m0, results)

    # -- products ----------------------------------------------------------------------------

    def _multiply(self, v: str, u: str, depth: Value, tiles: Value, results: Value, more) -> None:
        """products[xi][tile][o] (+)= v[xi][tile] u[xi]."""
        b, arg, ty = self.b, self.arg, self.ty
        with b.loop(0, 36) as xi:
            out = b.at(self.products, b.mul(xi.i, arg("plane")), ty)
            images = b.at(v, b.mul(xi.i, arg("v_plane")), ty)
            weights = b.at(u, b.mul(xi.i, arg("u_plane")), ty)
            with b.loop(0, results, self.cols) as o, b.loop(0, tiles, self.shape.rows) as t:
                place = b.at(out, b.add(b.mul(t.i, arg("row")), o.i), ty)
                self._tile(images, t.i, tiles, b.at(weights, o.i, ty), depth, place, more)

    def _tile(self, images, tile, tiles, weights, depth, out, more) -> None:
        b, n, ty, shape, arg = self.b, self.n, self.ty, self.shape, self.arg
        last = b.sub(tiles, 1)  # rows past the last tile repeat it
        lines = [
            b.at(images, b.mul(b.least(b.add(tile, i), last), arg("v_row")), ty)
            for i in range(shape.rows)
        ]
        places = []
        for i in range(shape.rows):
            line = b.at(out, b.mul(arg("row"), i), ty)
            places += [b.at(line, j * n, ty) for j in range(shape.vectors)]
        start = ["zeroinitializer"] * len(places)
        if more is not None:
            with b.choose(more) as way:
                with way.yes:
                    before = [b.load(self.v, p, ty) for p in places]
                with way.no:
                    pass
            start = [way.merge(self.v, x, "zeroinitializer") for x in before]
        carried = [(self.v, value) for value in start] + [("ptr", weights)]
        with b.loop(0, depth, 1, carried) as k:
            here = k.vars[-1]
            columns = [b.load(self.v, b.at(here, j * n, ty), ty) for j in range(shape.vectors)]
            for i, line in enumerate(lines):
                one = b.splat(n, ty, b.load(ty, b.at(line, k.i, ty)))
                for j, column in enumerate(columns):
                    acc = k.vars[i * shape.vectors + j]
                    k.next.append(b.fma(n, ty, one, column, acc))
            k.next.append(b.at(here, arg("u_row"), ty))
        for value, place in zip(k.vars, places, strict=False):
            b.store(self.v, value, place, ty)

    # -- results -----------------------------------------------------------------------------

    def _turn_back(self, image: Value, tile_row: Value, tile: Value, m0: Value, results) -> None:
        """A row of tiles of one image: four rows of pixels, a register of channels at a time."""
        b, arg, n, ty = self.b, self.arg, self.n, self.ty
        arg.batch = [image, 0]
        self.epilogue.open(arg, arg.batch_offset)
        stage = b.at("%scratch", arg("stage"), ty)
        line = b.mul(tile_row, 4)
        rows = b.least(b.sub(arg("oh"), line), 4)
        target = b.add(b.mul(image, arg("y_n")), b.mul(line, arg("y_h")))
        target = b.at(b.buffer(arg("y")), b.add(arg("y_off"), target), ty)
        with b.loop(0, results, n) as o:
            with b.loop(0, arg("tiles_w")) as w:
                place = b.add(b.mul(b.add(tile, w.i), arg("row")), o.i)
                self._turn_tile(b.at(self.products, place, ty), stage, w.i)
            with b.loop(0, rows, arg("run_rows")) as r:
                count = b.mul(b.least(arg("run_rows"), b.sub(rows, r.i)), arg("ow"))
                source = b.at(stage, b.mul(b.mul(r.i, arg("pitch")), n), ty)
                out = b.at(target, b.mul(r.i, arg("y_h")), ty)
                pixel = b.mul(b.add(line, r.i), arg("ow"))
                channel = b.add(m0, o.i)
                self._deal(source, out, count, pixel, channel, b.sub(results, o.i))

    def _turn_tile(self, base: str, stage: str, w: Value) -> None:
        b, arg, n, ty = self.b, self.arg, self.n, self.ty
        square = []
        for i in range(6):
            places = [b.at(base, b.mul(arg("plane"), 6 * i + j), ty) for j in range(6)]
            square.append([b.load(self.v, p, ty) for p in places])
        here = b.at(stage, b.mul(w, 4 * n), ty)
        for row in self.turner.both(OUTPUT, square):
            for j, value in enumerate(row):
                b.store(self.v, value, b.at(here, j * n, ty), ty)
            here = b.at(here, b.mul(arg("pitch"), n), ty)

    def _deal(self, source: str, out: str, count, pixel, channel, left) -> None:
        """Pixels side by side of up to n channels, through the epilogue."""
        b, arg, n, ty = self.b, self.arg, self.n, self.ty
        channels = b.least(left, n)
        square = b.at("%scratch", b.add(arg("stage"), b.mul(arg("pitch"), 4 * n)), ty)
        square = b.at(square, n * n, ty)  # what runs over the stage lies between
        with b.loop(0, count, n) as j:
            here = b.at(source, b.mul(j.i, n), ty)
            rows = [b.load(self.v, b.at(here, i * n, ty), ty) for i in range(n)]
            for i, value in enumerate(transpose(b, n, ty, rows)):
                b.store(self.v, value or "zeroinitializer", b.at(square, i * n, ty), ty)
            mask = b.mask(n, b.sub(count, j.i))
            with b.loop(0, channels) as c:
                self.epilogue.start_tile()
                value = b.load(self.v, b.at(square, b.mul(c.i, n), ty), ty)
                o = b.add(channel, c.i)
                final = self.epilogue.apply(n, value, o, b.add(pixel, j.i), mask)
                place = b.at(out, b.add(b.mul(o, arg("y_c")), j.i), ty)
                b.masked_store(n, ty, final, place, mask)
