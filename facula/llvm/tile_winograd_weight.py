"""The gradient of a 3 x 3 convolution's weight by Winograd's minimal filtering, as LLVM IR.

dg = G^T [sum over tiles of (A dy A^T) * (B^T d B)] G: 36 products of what `tile_winograd_turn` made
of both images, in place as they lie, and the last transform. A task does a block of channels by a
block of result channels, for a part of the tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Value, vec
from facula.llvm.tile_gemm import micro_kernel
from facula.llvm.tile_pack import lanes_of, transpose
from facula.llvm.tile_task import TaskFrame
from facula.llvm.tile_winograd_turn import WEIGHT_GRADIENT, Turner

ARGUMENTS = (
    *("v", "v_off", "v_row", "v_plane", "d", "d_off", "d_row", "d_plane", "tiles", "part_tiles"),
    *("c", "m", "block_c", "block_m", "tasks_c", "tasks_m"),
    *("dw", "dw_off", "dw_part", "dw_m", "row", "plane", "stage"),
)


@dataclass(frozen=True)
class WeightProductShape:
    """What is fixed in the code."""

    rows: int
    vectors: int

    @property
    def key(self) -> str:
        return f"winogradgrad {self.rows}x{self.vectors}"


class WeightProductWriter:
    """Writes the kernel."""

    def __init__(self, shape: WeightProductShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.ty, self.n = "float", lanes_of(self.b, NUMBERS["float32"])
        self.v = vec(self.n, self.ty)
        self.arg = TaskFrame(self.b, list(ARGUMENTS), 0)
        self.turner = Turner(self.b, self.n, self.ty)

    def write(self) -> str:
        self.arg.load_all()
        with self.b.loop("%t0", "%t1") as t:
            self._task(t.i)
        return self.b.module()

    def _task(self, t: str) -> None:
        b, arg, ty = self.b, self.arg, self.ty
        index, tm = b.divmod(t, arg("tasks_m"))
        part, tc = b.divmod(index, arg("tasks_c"))
        first = b.mul(part, arg("part_tiles"))
        depth = b.least(arg("part_tiles"), b.sub(arg("tiles"), first))
        c0, m0 = b.mul(tc, arg("block_c")), b.mul(tm, arg("block_m"))
        channels = b.least(arg("block_c"), b.sub(arg("c"), c0))
        results = b.least(arg("block_m"), b.sub(arg("m"), m0))
        v = b.add(arg("v_off"), b.add(b.mul(first, arg("v_row")), c0))
        d = b.add(arg("d_off"), b.add(b.mul(first, arg("d_row")), m0))
        v, d = b.at(b.buffer(arg("v")), v, ty), b.at(b.buffer(arg("d")), d, ty)
        with b.loop(0, 36) as xi:
            self._multiply(
                *(b.at(v, b.mul(xi.i, arg("v_plane")), ty), channels),
                *(b.at(d, b.mul(xi.i, arg("d_plane")), ty), results),
                *(depth, b.at("%scratch", b.mul(xi.i, arg("plane")), ty)),
            )
        out = b.add(b.mul(part, arg("dw_part")), b.add(b.mul(m0, arg("dw_m")), b.mul(c0, 9)))
        out = b.at(b.buffer(arg("dw")), b.add(arg("dw_off"), out), ty)
        with b.loop(0, results, self.n) as o:
            self._turn(o.i, channels)
            self._write(b.at(out, b.mul(o.i, arg("dw_m")), ty), b.sub(results, o.i), channels)

    def _multiply(self, v: str, channels: Value, d: str, results: Value, depth, out: str) -> None:
        """out[c][o] = sum over tiles of v[tile][c] d[tile][o]."""
        b, arg, n, ty, shape = self.b, self.arg, self.n, self.ty, self.shape
        with b.loop(0, results, shape.vectors * n) as o, b.loop(0, channels, shape.rows) as c:
            acc = micro_kernel(
                *(b, ty, n, shape.rows, shape.vectors, b.at(v, c.i, ty), arg("v_row")),
                *(b.at(d, o.i, ty), arg("d_row"), depth),
                ["zeroinitializer"] * (shape.rows * shape.vectors),
            )
            here = b.at(out, b.add(b.mul(c.i, arg("row")), o.i), ty)
            for r in range(shape.rows):
                for k in range(shape.vectors):
                    value = acc[r * shape.vectors + k]
                    b.store(self.v, value, b.at(here, k * n, ty), ty)
                here = b.at(here, arg("row"), ty)

    def _turn(self, o: Value, channels: Value) -> None:
        """stage[c][tap][o] for a register of o."""
        b, arg, n, ty = self.b, self.arg, self.n, self.ty
        stage = b.at("%scratch", arg("stage"), ty)
        with b.loop(0, channels) as c:
            base = b.at("%scratch", b.add(b.mul(c.i, arg("row")), o), ty)
            square = []
            for i in range(6):
                places = [b.at(base, b.mul(arg("plane"), 6 * i + j), ty) for j in range(6)]
                square.append([b.load(self.v, p, ty) for p in places])
            turned = self.turner.both(WEIGHT_GRADIENT, square)
            here = b.at(stage, b.mul(c.i, 9 * n), ty)
            for tap, value in enumerate(x for row in turned for x in row):
                b.store(self.v, value, b.at(here, tap * n, ty), ty)

    def _write(self, out: str, results: Value, channels: Value) -> None:
        """Rows of dW: those of the stage's columns that there are."""
        b, arg, n, ty = self.b, self.arg, self.n, self.ty
        stage = b.at("%scratch", arg("stage"), ty)
        count = b.mul(channels, 9)
        with b.loop(0, count, n) as g:
            here = b.at(stage, b.mul(g.i, n), ty)
            rows = [b.load(self.v, b.at(here, i * n, ty), ty) for i in range(n)]
            mask = b.mask(n, b.sub(count, g.i))
            for i, line in enumerate(transpose(b, n, ty, rows)):
                with b.when(b.test("slt", i, results)):
                    place = b.at(out, b.add(b.mul(arg("dw_m"), i), g.i), ty)
                    b.masked_store(n, ty, line or "zeroinitializer", place, mask)
