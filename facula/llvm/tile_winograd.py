"""3 x 3 convolution by Winograd's minimal filtering F(4 x 4, 3 x 3), as LLVM IR.

Tiles of 6 x 6 inputs are turned into 36 numbers (B^T d B), multiplied channel by channel with
turned weights (G g G^T, packed by a kernel of their own), and turned back into 4 x 4 outputs
(A^T m A): a quarter of the multiplications. Lanes are neighbouring tiles of a row of tiles. A task
does some rows of tiles of one image: 36 small products between the two transforms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Value, vec
from facula.llvm.tile_epilogue import EpilogueWriter, Fused, epilogue_arguments
from facula.llvm.tile_gemm import TaskFrame, micro_kernel
from facula.llvm.tile_pack import lanes_of, transpose
from facula.llvm.tile_winograd_turn import INPUT, OUTPUT, WEIGHT, Turner

ARGUMENTS = (
    *("x", "x_off", "x_n", "x_c", "x_h", "y", "y_off", "y_n", "y_c", "y_h", "u", "u_off"),
    *(
        "height",
        "width",
        "oh",
        "ow",
        "ph",
        "pw",
        "c",
        "m",
        "tiles_h",
        "tiles_w",
        "block",
        "rows_all",
    ),
    *("row", "v_plane", "m_plane", "m_at", "zeros", "panels"),
)
WEIGHT_ARGUMENTS = ("w", "w_off", "s_m", "s_k", "m", "k", "u", "u_off", "panels")


@dataclass(frozen=True)
class WinogradShape:
    """What is fixed in the code of the convolution."""

    rows: int
    vectors: int
    fused: tuple[Fused, ...]

    @property
    def key(self) -> str:
        ends = "+".join(f.key for f in self.fused)
        return f"winograd {self.rows}x{self.vectors} [{ends}]"


@dataclass(frozen=True)
class WinogradWeightShape:
    """Turning weights, which may be walked backwards (for the gradient of the input)."""

    rows: int
    flip: bool

    @property
    def key(self) -> str:
        return f"winogradweight {self.rows}{' flip' if self.flip else ''}"


def write_weights(shape: WinogradWeightShape, target: Target, name: str) -> str:
    """u[xi][panel][k][row] = (G g G^T)[xi]; a task does one panel."""
    b = Emit(target, name)
    number = NUMBERS["float32"]
    n, ty = lanes_of(b, number), "float"
    arg = TaskFrame(b, list(WEIGHT_ARGUMENTS), 0)
    arg.load_all()
    turner = Turner(b, n, ty)
    w = b.at(b.buffer(arg("w")), arg("w_off"), ty)
    u = b.at(b.buffer(arg("u")), arg("u_off"), ty)
    size = b.mul(b.mul(arg("panels"), arg("k")), shape.rows)
    nine = b.mask(n, 9) if n > 9 else None
    with b.loop("%t0", "%t1") as panel:
        first = b.mul(panel.i, shape.rows)
        places = [b.least(b.add(first, r), b.sub(arg("m"), 1)) for r in range(shape.rows)]
        rows = [b.at(w, b.mul(p, arg("s_m")), ty) for p in places]
        with b.loop(0, arg("k")) as k:
            here = [b.at(row, b.mul(k.i, arg("s_k")), ty) for row in rows]
            out = b.add(b.mul(first, arg("k")), b.mul(k.i, shape.rows))
            for r in range(0, shape.rows, n):
                taps = _taps(b, n, ty, here[r : r + n], nine)
                if shape.flip:
                    taps.reverse()
                turned = turner.both(WEIGHT, [taps[3 * i : 3 * i + 3] for i in range(3)])
                mask = b.mask(n, shape.rows - r)
                for xi, value in enumerate(x for row in turned for x in row):
                    place = b.at(u, b.add(b.mul(size, xi), b.add(out, r)), ty)
                    b.masked_store(n, ty, value, place, mask)
    return b.module()


def _taps(b: Emit, n: int, ty: str, rows: list[str], nine: str | None) -> list[str]:
    """The nine taps of up to n rows, lane by lane."""
    if nine is not None:
        loaded: list[str | None] = [b.masked_load(n, ty, row, nine) for row in rows]
        return transpose(b, n, ty, loaded + [None] * (n - len(rows)))[:9]
    out = []
    for tap in range(9):
        value = "poison"
        for i, row in enumerate(rows):
            one = b.load(ty, b.at(row, tap, ty))
            value = b.let(f"insertelement {vec(n, ty)} {value}, {ty} {one}, i64 {i}")
        out.append(value)
    return out


class WinogradWriter:
    """Writes the convolution."""

    def __init__(self, shape: WinogradShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.number = NUMBERS["float32"]
        self.ty, self.n = "float", lanes_of(self.b, self.number)
        self.v = vec(self.n, self.ty)
        names = [*ARGUMENTS, "batch0", "groups", *epilogue_arguments(shape.fused, 2)]
        self.arg = TaskFrame(self.b, names, 2)
        self.turner = Turner(self.b, self.n, self.ty)
        self.epilogue = EpilogueWriter(self.b, self.number, shape.fused)

    def write(self) -> str:
        self.arg.load_all()
        with self.b.loop("%t0", "%t1") as t:
            self._task(t.i)
        return self.b.module()

    def _task(self, t: str) -> None:
        b, arg, ty = self.b, self.arg, self.ty
        self.x = b.at(b.buffer(arg("x")), arg("x_off"), ty)
        self.y = b.at(b.buffer(arg("y")), arg("y_off"), ty)
        self.turned = "%scratch"
        self.products = b.at("%scratch", arg("m_at"), ty)
        self.zeros = b.at("%scratch", arg("zeros"), ty)
        with b.loop(0, arg("width"), self.n) as j:
            b.store(self.v, "zeroinitializer", b.at(self.zeros, j.i, ty), ty)
        # Rows of tiles are counted on from image to image.
        first = b.mul(t, arg("block"))
        rows = b.least(arg("block"), b.sub(arg("rows_all"), first))
        self._each_row(first, rows, self._turn_input)
        with b.loop(0, arg("panels")) as i:  # result channels, a panel at a time
            self.o = b.mul(i.i, self.shape.rows)
            self._multiply(i.i, b.mul(rows, arg("tiles_w")))
            self._each_row(first, rows, self._turn_output)

    def _each_row(self, first: Value, rows: Value, work: Callable[..., None]) -> None:
        """work(image, tile row, tile column, place among the task's tiles) for each register."""
        b, arg = self.b, self.arg
        with b.loop(0, rows) as r:
            image, row = b.divmod(b.add(first, r.i), arg("tiles_h"))
            with b.loop(0, arg("tiles_w"), self.n) as t:
                work(image, row, t.i, b.add(b.mul(r.i, arg("tiles_w")), t.i))

    # -- inputs ------------------------------------------------------------------------------

    def _turn_input(self, image: Value, tile_row: Value, tile: Value, place: Value) -> None:
        b, arg, n, ty = self.b, self.arg, self.n, self.ty
        top = b.sub(b.mul(tile_row, 4), arg("ph"))
        left = b.sub(b.mul(tile, 4), arg("pw"))
        starts = [b.add(left, i * n) for i in range(5)]
        masks = [self._inside(s) for s in starts]
        plane = arg("v_plane")
        source = b.at(self.x, b.mul(image, arg("x_n")), ty)
        lines, steps = [], []
        for i in range(6):
            # A row outside the image reads zeros, the same ones for every channel.
            line = b.add(top, i)
            valid = b.test("ult", line, arg("height"))
            here = b.at(source, b.mul(line, arg("x_h")), ty)
            lines.append(b.at(b.pick(valid, "ptr", here, self.zeros), left, ty))
            steps.append(b.pick(valid, "i64", arg("x_c"), 0))
        with b.loop(0, arg("c")) as c:
            square = []
            for line, step in zip(lines, steps, strict=True):
                row = b.at(line, b.mul(c.i, step), ty)
                loaded = [
                    b.masked_load(n, ty, b.at(row, i * n, ty), mask) for i, mask in enumerate(masks)
                ]
                square.append(self._split(loaded))
            turned = self.turner.both(INPUT, square)
            base = b.at(self.turned, b.add(b.mul(c.i, arg("row")), place), ty)
            for xi, value in enumerate(x for row in turned for x in row):
                b.store(self.v, value, b.at(base, b.mul(plane, xi), ty), ty)

    def _inside(self, at: Value) -> str:
        b, n = self.b, self.n
        right = b.mask(n, b.sub(self.arg("width"), at))
        left = b.mask(n, b.sub(0, at))
        mask = b.let(f"xor <{n} x i1> {right}, {left}")
        return b.let(f"and <{n} x i1> {mask}, {right}")

    def _split(self, loaded: list[str]) -> list[str]:
        """Columns 0..5 of n tiles that begin every 4 numbers of a line."""
        b, n, ty = self.b, self.n, self.ty
        pairs = []
        for low, high in (loaded[0:2], loaded[2:4]):
            even = b.shuffle(n, ty, low, high, range(0, 2 * n, 2))
            odd = b.shuffle(n, ty, low, high, range(1, 2 * n, 2))
            pairs.append((even, odd))
        columns = []
        for j in range(4):
            low, high = pairs[0][j % 2], pairs[1][j % 2]
            columns.append(b.shuffle(n, ty, low, high, range(j // 2, 2 * n, 2)))
        for j in range(2):  # a tile's columns 4 and 5 are the next tile's 0 and 1
            lanes_ = [*range(1, n), n + j]
            columns.append(b.shuffle(n, ty, columns[j], loaded[4], lanes_))
        return columns

    # -- products ----------------------------------------------------------------------------

    def _multiply(self, i: Value, tiles: Value) -> None:
        """products[xi][row][tile] = u[xi][panel i] turned[xi]."""
        b, arg, n, ty, shape = self.b, self.arg, self.n, self.ty, self.shape
        panel = b.mul(arg("c"), shape.rows)
        u = b.at(b.buffer(arg("u")), b.add(arg("u_off"), b.mul(i, panel)), ty)
        with b.loop(0, 36) as xi:
            a = b.at(u, b.mul(xi.i, b.mul(arg("panels"), panel)), ty)
            v = b.at(self.turned, b.mul(xi.i, arg("v_plane")), ty)
            out = b.at(self.products, b.mul(xi.i, arg("m_plane")), ty)
            with b.loop(0, tiles, shape.vectors * n) as j:
                acc = micro_kernel(
                    *(b, ty, n, shape.rows, shape.vectors, a, shape.rows),
                    *(b.at(v, j.i, ty), arg("row"), arg("c")),
                    ["zeroinitializer"] * (shape.rows * shape.vectors),
                )
                here = b.at(out, j.i, ty)
                for r in range(shape.rows):
                    for k in range(shape.vectors):
                        value = acc[r * shape.vectors + k]
                        b.store(self.v, value, b.at(here, k * n, ty), ty)
                    here = b.at(here, arg("row"), ty)

    # -- outputs -----------------------------------------------------------------------------

    def _turn_output(self, image: Value, tile_row: Value, tile: Value, place: Value) -> None:
        b, arg, n, ty = self.b, self.arg, self.n, self.ty
        line, column = b.mul(tile_row, 4), b.mul(tile, 4)
        plane = arg("m_plane")
        arg.batch = [image, 0]
        self.epilogue.open(arg, arg.batch_offset)
        target = b.at(self.y, b.mul(image, arg("y_n")), ty)
        left = b.sub(b.least(arg("ow"), b.mul(b.add(tile, n), 4)), column)
        masks = [b.mask(n, b.sub(left, i * n)) for i in range(4)]
        count = b.least(self.shape.rows, b.sub(arg("m"), self.o))
        with b.loop(0, count) as r:
            o = b.add(self.o, r.i)
            base = b.at(self.products, b.add(b.mul(r.i, arg("row")), place), ty)
            columns = []
            for j in range(6):
                places = [b.at(base, b.mul(plane, 6 * i + j), ty) for i in range(6)]
                columns.append(self.turner.apply(OUTPUT, [b.load(self.v, p, ty) for p in places]))
            for i in range(4):
                row = self.turner.apply(OUTPUT, [column[i] for column in columns])
                with b.when(b.test("slt", b.add(line, i), arg("oh"))):
                    place = (target, o, b.add(line, i), column)
                    self._write_row(*place, self._join(row), masks)

    def _join(self, row: list[str]) -> list[str]:
        """Interleave the four columns of n tiles: the opposite of `_split`."""
        b, n, ty = self.b, self.n, self.ty

        def zip_(x: str, y: str) -> tuple[str, str]:
            low = [i for k in range(n // 2) for i in (k, n + k)]
            high = [i + n // 2 for i in low]
            return b.shuffle(n, ty, x, y, low), b.shuffle(n, ty, x, y, high)

        even, odd = zip_(row[0], row[2]), zip_(row[1], row[3])
        return [v for x, y in zip(even, odd, strict=True) for v in zip_(x, y)]

    def _write_row(self, target: str, o, line, column, parts, masks) -> None:
        b, arg, ty = self.b, self.arg, self.ty
        out = b.add(b.mul(o, arg("y_c")), b.mul(line, arg("y_h")))
        out = b.at(target, b.add(out, column), ty)
        pixel = b.add(b.mul(line, arg("ow")), column)
        self.epilogue.start_tile()
        for i, (value, mask) in enumerate(zip(parts, masks, strict=True)):
            final = self.epilogue.apply(self.n, value, o, b.add(pixel, i * self.n), mask)
            b.masked_store(self.n, ty, final, b.at(out, i * self.n, ty), mask)
