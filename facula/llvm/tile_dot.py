"""Products of two matrices that both lie along k: tiles of dot products, as LLVM IR.

Nothing is packed. A tile of rows x cols accumulators runs along k with vector loads of both
operands; their lanes are then added up by a transposing tree, and the epilogue is applied to the
finished block. This is what a Linear layer's forward pass on few rows wants.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Value, vec
from facula.llvm.tile_epilogue import EpilogueWriter, Fused, epilogue_arguments
from facula.llvm.tile_gemm import OPERANDS
from facula.llvm.tile_pack import lanes_of, sums
from facula.llvm.tile_task import TaskFrame

HEADER = (
    *("a", "a_off", "b", "b_off", "c", "c_off", "m", "n", "k"),
    *("as_m", "bs_n", "cs_m", "block_m", "block_n", "tasks_m", "tasks_n", "spare_row"),
)


def dot_arguments(n_batch: int, fused: tuple[Fused, ...]) -> list[str]:
    """The names of the step arguments, in order."""
    names = [*HEADER, *(f"batch{d}" for d in range(n_batch))]
    names += [f"{x}_batch{d}" for x in OPERANDS for d in range(n_batch)]
    return names + epilogue_arguments(fused, n_batch)


@dataclass(frozen=True)
class DotShape:
    """What is fixed in the code of a product of dot products."""

    dtype: str
    rows: int
    cols: int
    n_batch: int
    fused: tuple[Fused, ...]
    out: str = ""  # C's dtype, where it is not the operands'

    @property
    def key(self) -> str:
        ends = "+".join(f.key for f in self.fused)
        return f"dot {self.dtype}{self.out and '>' + self.out} {self.rows}x{self.cols} batch{self.n_batch} [{ends}]"


class DotWriter:
    """Writes the kernel of a `DotShape`."""

    def __init__(self, shape: DotShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.number = NUMBERS[shape.dtype]
        self.out = NUMBERS[shape.out or shape.dtype]
        self.ty = self.number.compute
        self.lanes = lanes_of(self.b, self.number)
        self.arg = TaskFrame(self.b, dot_arguments(shape.n_batch, shape.fused), shape.n_batch)
        self.epilogue = EpilogueWriter(self.b, shape.fused)

    def write(self) -> str:
        self.arg.load_all()
        with self.b.loop("%t0", "%t1") as t:
            self._task(t.i)
        return self.b.module()

    def _task(self, t: str) -> None:
        b, arg, stored = self.b, self.arg, self.number.stored
        index, tn = b.divmod(t, arg("tasks_n"))
        index, tm = b.divmod(index, arg("tasks_m"))
        arg.place_batch(index)
        m0, n0 = b.mul(tm, arg("block_m")), b.mul(tn, arg("block_n"))
        mb = b.least(arg("block_m"), b.sub(arg("m"), m0))
        nb = b.least(arg("block_n"), b.sub(arg("n"), n0))
        a = b.at(arg.pointer("a", self.number), b.mul(m0, arg("as_m")), stored)
        bp = b.at(arg.pointer("b", self.number), b.mul(n0, arg("bs_n")), stored)
        c = b.at(arg.pointer("c", self.out), b.mul(m0, arg("cs_m")), self.out.stored)
        self.epilogue.open(arg, arg.batch_offset)
        with b.loop(0, nb, self.shape.cols) as j, b.loop(0, mb, self.shape.rows) as i:
            self._tile(a, bp, i.i, j.i, mb, nb)
        write_block(
            *(b, self.out, self.epilogue, "%scratch", arg("spare_row")),
            *(b.at(c, n0, self.out.stored), arg("cs_m"), (mb, nb), (m0, n0)),
        )

    def _rows(self, base: str, first: str, total: Value, stride: str, count: int) -> list[str]:
        """Addresses of rows, the last valid one standing in for those past the edge."""
        b, last = self.b, self.b.sub(total, 1)
        places = [b.least(b.add(first, r), last) for r in range(count)]
        return [b.at(base, b.mul(p, stride), self.number.stored) for p in places]

    def _tile(self, a, bp, i, j, mb, nb) -> None:
        b, n, ty, shape = self.b, self.lanes, self.ty, self.shape
        a_rows = self._rows(a, i, mb, self.arg("as_m"), shape.rows)
        b_rows = self._rows(bp, j, nb, self.arg("bs_n"), shape.cols)
        v, count = vec(n, ty), shape.rows * shape.cols
        whole = b.mul(b.div(self.arg("k"), n), n)
        with b.loop(0, whole, n, [(v, "zeroinitializer")] * count) as k:
            k.next = [*self._products(k.vars, a_rows, b_rows, k.i, None)]
        acc = k.vars
        with b.choose(b.test("slt", whole, self.arg("k"))) as way:
            with way.yes:
                mask = b.mask(n, b.sub(self.arg("k"), whole))
                more = self._products(acc, a_rows, b_rows, whole, mask)
            with way.no:
                pass
        acc = [way.merge(v, x, y) for x, y in zip(more, acc, strict=True)]
        row = b.add(b.mul(i, self.arg("spare_row")), j)
        self._store_sums(acc, b.at("%scratch", row, ty))

    def _products(self, acc, a_rows, b_rows, k, mask) -> list[str]:
        b, n, stored = self.b, self.lanes, self.number.stored
        x = [b.fetch(n, self.number, b.at(row, k, stored), mask) for row in a_rows]
        y = [b.fetch(n, self.number, b.at(row, k, stored), mask) for row in b_rows]
        pairs = [(p, q) for p in x for q in y]
        return [b.fma(n, self.ty, p, q, s) for (p, q), s in zip(pairs, acc, strict=True)]

    def _store_sums(self, acc: list[str], place: str) -> None:
        b, n, ty, cols = self.b, self.lanes, self.ty, self.shape.cols
        per_vector = max(1, n // cols)  # rows of the tile whose sums fill a vector
        for first in range(0, self.shape.rows, per_vector):
            rows = range(first, min(first + per_vector, self.shape.rows))
            group = acc[rows[0] * cols : (rows[-1] + 1) * cols]
            for start in range(0, len(group), n):
                total = sums(b, n, ty, group[start : start + n])
                width = min(n, cols)
                for piece in range(0, min(n, len(group) - start), width):
                    keep = min(width, len(group) - start - piece)
                    lanes = range(piece, piece + keep)
                    part = b.shuffle(n, ty, total, "poison", lanes)
                    r, col = divmod(start + piece, cols)
                    p = b.at(place, b.mul(self.arg("spare_row"), rows[0] + r), ty)
                    b.store(vec(keep, ty), part, b.at(p, col, ty), ty)


def write_block(b, number, epilogue, spare, spare_row, c, c_row, size, at) -> None:
    """Finish a block of sums held in memory: epilogue, and store with the ragged edge masked."""
    n, ty = lanes_of(b, number), number.compute
    with b.loop(0, size[0]) as i:
        row = b.at(spare, b.mul(i.i, spare_row), ty)
        out = b.at(c, b.mul(i.i, c_row), number.stored)
        with b.loop(0, size[1], n) as j:
            mask = b.mask(n, b.sub(size[1], j.i))
            value = b.load(vec(n, ty), b.at(row, j.i, ty), ty)
            epilogue.start_tile()
            value = epilogue.apply(n, value, b.add(at[0], i.i), b.add(at[1], j.i), mask)
            b.put(n, number, value, b.at(out, j.i, number.stored), mask)
