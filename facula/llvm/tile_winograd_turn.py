"""The transforms of Winograd's minimal filtering F(4 x 4, 3 x 3), as LLVM IR.

A convolution's output tile is y = A^T [(G g G^T) * (B^T d B)] A for a 6 x 6 tile d of the input and
the 3 x 3 weights g, summed over channels between the brackets: a quarter of the multiplications.
The weight's gradient is dg = G^T [(A dy A^T) * (B^T d B)] G, summed over tiles.

Here is what turns images: to 36 planes of (tile, channel), with channels in lanes, so that images of
any size fill registers and the products find their operands as they want them.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Value, lanes, vec
from facula.llvm.tile_pack import lanes_of, transpose
from facula.llvm.tile_task import TaskFrame

# Interpolation at 0, +-5/8, +-3/2 and infinity: about three times as exact as at 0, +-1, +-2,
# and all factors of the inputs and outputs are exact. Rows come in pairs that differ in the sign
# of every other factor; powers of two are moved from the weights to the inputs.
INPUT = (  # B^T
    (225 / 512, 0, -169 / 128, 0, 1 / 2, 0),
    (0, -45 / 64, -9 / 8, 5 / 16, 1 / 2, 0),
    (0, 45 / 64, -9 / 8, -5 / 16, 1 / 2, 0),
    (0, -75 / 128, -25 / 64, 3 / 2, 1, 0),
    (0, 75 / 128, -25 / 64, -3 / 2, 1, 0),
    (0, 225 / 512, 0, -169 / 128, 0, 1 / 2),
)
WEIGHT = (  # G
    (512 / 225, 0, 0),
    (-4096 / 2975, -512 / 595, -64 / 119),
    (-4096 / 2975, 512 / 595, -64 / 119),
    (128 / 1071, 64 / 357, 32 / 119),
    (128 / 1071, -64 / 357, 32 / 119),
    (0, 0, 2),
)
OUTPUT = (  # A^T; its columns come in pairs
    (1, 1, 1, 1, 1, 0),
    (0, 5 / 8, -5 / 8, 3 / 2, -3 / 2, 0),
    (0, 25 / 64, 25 / 64, 9 / 4, 9 / 4, 0),
    (0, 125 / 512, -125 / 512, 27 / 8, -27 / 8, 1),
)
GRADIENT = tuple(zip(*OUTPUT, strict=True))  # A
WEIGHT_GRADIENT = tuple(zip(*WEIGHT, strict=True))  # G^T; its columns come in pairs


class Turner:
    """Applies a transform's matrix to vectors."""

    def __init__(self, b: Emit, n: int, ty: str) -> None:
        self.v = lanes(b, n, ty)

    def apply(self, matrix, values: list[str]) -> list[str]:
        """matrix * values. Rows, or else columns, 1, 2 and 3, 4 come in pairs."""
        v = self.v
        if len(matrix) < 6:
            first, *middle, last = values
            pairs = [middle[0:2], middle[2:4]]
            sums = [v.add(x, y) for x, y in pairs]
            differences = [v.sub(x, y) for x, y in pairs]
            out = []
            for i, row in enumerate(matrix):
                both = differences if i % 2 else sums
                factors = (row[0], row[1], row[3], row[5])
                out.append(self._row(factors, [first, *both, last]))
            return out
        out = [self._row(matrix[0], values)]
        for row in (matrix[1], matrix[3]):
            even = self._row(row[0::2], values[0::2])
            odd = self._row(row[1::2], values[1::2])
            out += [v.add(even, odd), v.sub(even, odd)]
        return [*out, self._row(matrix[5], values)]

    def _row(self, row, values: list[str]) -> str:
        v, total = self.v, None
        # A term with factor 1 first, so that the others can be fused multiplications.
        terms = [(c, x) for c, x in zip(row, values, strict=True) if c]
        for c, x in sorted(terms, key=lambda term: term[0] != 1):
            if total is None:
                total = x if c == 1 else v.mul(v.c(float(c)), x)
            elif c == 1:
                total = v.add(total, x)
            else:
                total = v.fma(v.c(float(c)), x, total)
        assert total is not None
        return total

    def both(self, matrix, square: list[list[str]]) -> list[list[str]]:
        """matrix * square * matrix^T."""
        columns = [self.apply(matrix, list(column)) for column in zip(*square, strict=True)]
        return [self.apply(matrix, list(row)) for row in zip(*columns, strict=True)]


TURN_ARGUMENTS = (
    *("x", "x_off", "x_n", "x_c", "x_h", "height", "width", "ph", "pw", "c", "tiles_h", "tiles_w"),
    *("block", "blocks_h", "blocks_c", "pitch", "u", "u_off", "row", "plane"),
)


@dataclass(frozen=True)
class TurnShape:
    """Turning images: the input's (B^T d B), or those of the result's gradient (A dy A^T)."""

    gradient: bool

    @property
    def key(self) -> str:
        return f"winogradturn {'gradient' if self.gradient else 'input'}"

    @property
    def size(self) -> int:
        """The height and width of a tile."""
        return 4 if self.gradient else 6


class TurnWriter:
    """u[xi][tile][channel]; a task does some rows of tiles of one image, a register of channels.

    The task's part of the image is copied to scratch with channels in lanes, between zeros.
    """

    def __init__(self, shape: TurnShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.number = NUMBERS["float32"]
        self.ty, self.n = "float", lanes_of(self.b, self.number)
        self.v = vec(self.n, self.ty)
        self.arg = TaskFrame(self.b, list(TURN_ARGUMENTS), 0)
        self.turner = Turner(self.b, self.n, self.ty)

    def write(self) -> str:
        self.arg.load_all()
        with self.b.loop("%t0", "%t1") as t:
            self._task(t.i)
        return self.b.module()

    def _task(self, t: str) -> None:
        b, arg, ty = self.b, self.arg, self.ty
        index, block_c = b.divmod(t, arg("blocks_c"))
        image, block = b.divmod(index, arg("blocks_h"))
        c0, h0 = b.mul(block_c, self.n), b.mul(block, arg("block"))
        rows = b.least(arg("block"), b.sub(arg("tiles_h"), h0))
        x = b.add(arg("x_off"), b.mul(image, arg("x_n")))
        x = b.at(b.buffer(arg("x")), x, ty)
        last = b.sub(arg("c"), 1)  # lanes past the last channel repeat it
        channels = [
            b.at(x, b.mul(b.least(b.add(c0, i), last), arg("x_c")), ty) for i in range(self.n)
        ]
        halo = self.shape.size - 4
        with b.loop(0, b.add(b.mul(rows, 4), halo)) as r:
            line = b.sub(b.add(b.mul(h0, 4), r.i), arg("ph"))
            out = b.at("%scratch", b.mul(r.i, b.mul(arg("pitch"), self.n)), ty)
            with b.choose(b.test("ult", line, arg("height"))) as way:
                with way.yes:
                    self._copy_row([b.at(p, b.mul(line, arg("x_h")), ty) for p in channels], out)
                with way.no:
                    self._zeros(out, 0, arg("pitch"))
        first = b.mul(b.add(b.mul(image, arg("tiles_h")), h0), arg("tiles_w"))
        u = b.at(b.buffer(arg("u")), b.add(arg("u_off"), c0), ty)
        u = b.at(u, b.mul(first, arg("row")), ty)
        with b.loop(0, rows) as h, b.loop(0, arg("tiles_w")) as w:
            place = b.mul(b.add(b.mul(h.i, arg("pitch")), w.i), 4 * self.n)
            tile = b.add(b.mul(h.i, arg("tiles_w")), w.i)
            self._tile(b.at("%scratch", place, ty), b.at(u, b.mul(tile, arg("row")), ty))

    def _zeros(self, out: str, first: Value, end: Value) -> None:
        b, n, ty = self.b, self.n, self.ty
        with b.loop(first, end) as j:
            b.store(self.v, "zeroinitializer", b.at(out, b.mul(j.i, n), ty), ty)

    def _copy_row(self, lines: list[str], out: str) -> None:
        """out[pw + j][channel] = line[channel][j], zeros before and after."""
        b, n, ty, arg = self.b, self.n, self.ty, self.arg
        self._zeros(out, 0, arg("pw"))
        with b.loop(0, arg("width"), n) as j:
            mask = b.mask(n, b.sub(arg("width"), j.i))
            loaded = [b.masked_load(n, ty, b.at(line, j.i, ty), mask) for line in lines]
            here = b.at(out, b.mul(b.add(arg("pw"), j.i), n), ty)
            for i, column in enumerate(transpose(b, n, ty, loaded)):
                b.store(self.v, column or "zeroinitializer", b.at(here, i * n, ty), ty)
        done = b.mul(b.ceil_div(arg("width"), n), n)
        self._zeros(out, b.add(arg("pw"), done), arg("pitch"))

    def _tile(self, source: str, out: str) -> None:
        b, n, ty, size = self.b, self.n, self.ty, self.shape.size
        line = b.mul(self.arg("pitch"), n)
        square = []
        for _ in range(size):
            square.append([b.load(self.v, b.at(source, j * n, ty), ty) for j in range(size)])
            source = b.at(source, line, ty)
        turned = self.turner.both(GRADIENT if self.shape.gradient else INPUT, square)
        for xi, value in enumerate(x for row in turned for x in row):
            b.store(self.v, value, b.at(out, b.mul(self.arg("plane"), xi), ty), ty)
