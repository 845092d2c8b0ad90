"""Sums of bags of a table's rows, as steps: see `llvm/tile_bag`."""

from __future__ import annotations

from dataclasses import dataclass

from facula.kernel.step import Step
from facula.kernel.written import WrittenKernel, written_kernel
from facula.llvm.tile_bag import BagShape, BagWriter

Where = tuple[int, int]  # slot and offset of contiguous numbers


def _kernel(shape: BagShape) -> WrittenKernel:
    return written_kernel(shape, BagWriter)


@dataclass(frozen=True)
class Bags:
    """The numbers of a sum of bags: bags, indices, rows and columns of the table, the row left out."""

    bags: int
    size: int
    rows: int
    columns: int
    skip: int
    dtype: str = "float32"
    out: str = "float32"


def plan_bag_sum(
    bags: Bags,
    table: tuple[int, int, int],
    index: Where,
    offsets: Where,
    out: Where,
    scale: Where | None = None,
    count: Where | None = None,
) -> list[Step]:
    """One step; `table` is (slot, offset, stride of a row), `scale` one number for each index."""
    work = (bags.size + bags.bags) * bags.columns
    tasks = max(1, min(64, work // 8192))
    per_task = -(-bags.bags // tasks)
    lots = -(-bags.bags // per_task)
    # few bags are cut by columns
    block = -(-bags.columns // max(1, min(tasks // lots, bags.columns // 64)))
    block = -(-block // 16) * 16
    blocks = -(-bags.columns // block)
    args = [*table, *index, *offsets, *(scale or (0, 0)), *out, *(count or (0, 0))]
    args += [bags.bags, bags.size, bags.rows, bags.columns, bags.skip, per_task, block, blocks]
    shape = BagShape(bags.dtype, bags.out, scale is not None, count is not None)
    return [Step(_kernel(shape), args, lots * blocks, 0, 0.15 * work)]
