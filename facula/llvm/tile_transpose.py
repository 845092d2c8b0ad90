"""Copies that turn rows into columns, as LLVM IR: squares are transposed in registers.

The source is contiguous along m, the result along n. A square that would stick out is moved back:
what it copies twice is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import Emit, vec
from facula.llvm.tile_pack import transpose
from facula.llvm.tile_task import TaskFrame

BLOCK = 64  # squares of a task lie in a block of so many rows and columns


@dataclass(frozen=True)
class TransposeShape:
    """What is fixed in the code of a transposing copy."""

    itemsize: int
    n_batch: int

    @property
    def key(self) -> str:
        return f"transpose {self.itemsize} {self.n_batch}"


def square(itemsize: int, target: Target) -> int:
    """The side of a square."""
    return min(target.vector_bytes // itemsize, 16)


def arguments(n_batch: int) -> list[str]:
    """The names of a step's arguments, in order."""
    names = ["src", "src_off", "dst", "dst_off", "m", "n", "src_n", "dst_m", "blocks_m", "blocks_n"]
    for what in ("batch", "src_batch", "dst_batch"):
        names += [f"{what}{d}" for d in range(n_batch)]
    return names


def write_transpose(shape: TransposeShape, target: Target, name: str) -> str:
    """The kernel: a task is a block of one of the batch's matrices."""
    b = Emit(target, name)
    ty = f"i{8 * shape.itemsize}"
    side = square(shape.itemsize, target)
    arg = TaskFrame(b, arguments(shape.n_batch), shape.n_batch)
    arg.load_all()
    ends = b.sub(arg("m"), side), b.sub(arg("n"), side)
    bases = [arg.base(x, ty) for x in ("src", "dst")]
    with b.loop("%t0", "%t1") as t:
        index, block_n = b.divmod(t.i, arg("blocks_n"))
        index, block_m = b.divmod(index, arg("blocks_m"))
        arg.place_batch(index)
        src, dst = (
            b.at(base, arg.batch_offset(x), ty)
            for base, x in zip(bases, ("src", "dst"), strict=True)
        )
        m0, n0 = b.mul(block_m, BLOCK), b.mul(block_n, BLOCK)
        m1, n1 = b.least(b.add(m0, BLOCK), arg("m")), b.least(b.add(n0, BLOCK), arg("n"))
        with b.loop(n0, n1, side) as i, b.loop(m0, m1, side) as j:
            row, column = b.least(i.i, ends[1]), b.least(j.i, ends[0])
            here = b.at(src, b.add(b.mul(row, arg("src_n")), column), ty)
            rows = [
                b.load(vec(side, ty), b.at(here, b.mul(k, arg("src_n")), ty), ty)
                for k in range(side)
            ]
            there = b.at(dst, b.add(b.mul(column, arg("dst_m")), row), ty)
            for k, line in enumerate(transpose(b, side, ty, rows)):
                b.store(vec(side, ty), line or "", b.at(there, b.mul(k, arg("dst_m")), ty), ty)
    return b.module()
