"""Values put together from parts, as one step: see `llvm/tile_boxes`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from facula.kernel.step import Step
from facula.kernel.written import written_kernel
from facula.llvm.tile_boxes import BoxesShape, BoxesWriter

_TASK_BYTES = 1 << 16


@dataclass(frozen=True)
class Part:
    """A box of the result, read from memory: (slot, offset, strides of outer, rows, columns)."""

    source: tuple[int, int, tuple[int, int, int]]
    row: int
    rows: int
    column: int
    width: int


def plan_boxes(
    sizes: tuple[int, int, int], parts: Sequence[Part], out: tuple[int, int], itemsize: int
) -> Step:
    """The result is (outer, rows, columns), contiguous at (slot, offset); parts are whole in outer.

    plan_boxes((4, 8, 8), parts, (1, 0), 4)
    """
    outer, rows, columns = sizes
    line = columns * itemsize
    block_rows = min(rows, max(1, _TASK_BYTES // line))
    block_outer = min(outer, max(1, _TASK_BYTES // (line * rows)))
    tasks_rows = -(-rows // block_rows)
    args = [*out, *sizes, block_outer, block_rows, tasks_rows, len(parts)]
    for part in parts:
        slot, offset, strides = part.source
        args += [slot, offset, *strides, part.row, part.row + part.rows, part.column, part.width]
    tasks = -(-outer // block_outer) * tasks_rows
    kernel = written_kernel(BoxesShape(itemsize), BoxesWriter)
    return Step(kernel, args, tasks, 0, 0.05 * outer * rows * line)
