"""The kernel of a loop program, and the arguments of a call of it.

kernel = LoopKernel(program)
args, ntasks, scratch, cost = pack(program, slots=[0, 1], offsets=[0, 0], outer_sizes=[64],
                                   inner_sizes=[1000], strides=[[1000, 1], [1000, 1]])
Step(kernel, args, ntasks, scratch, cost)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from facula.kernel.program import ITEMSIZE, Program
from facula.llvm.accesses import scratch_bytes
from facula.llvm.analysis import Shape, analyse
from facula.llvm.emit import LoopEmitter
from facula.llvm.target import Target

TASK_NS = 40_000.0  # work per task: long beside waking a thread, short beside a wait at the end
MAX_TASKS = 256
BYTES_PER_NS = 12.0
NS_PER_VECTOR_OP = 0.15


@dataclass(frozen=True)
class LoopKernel:
    """Native code of a loop program."""

    program: Program

    @functools.cached_property
    def key(self) -> str:
        return "loop\n" + self.program.key

    def ir(self, target: Target) -> tuple[str, str]:
        """(function name, LLVM IR)."""
        return "loop", LoopEmitter(self.program, target).emit("loop")


@functools.lru_cache(1024)
def _shape(program: Program, target: Target) -> Shape:
    return analyse(program, target)


def pack(
    program: Program,
    slots: Sequence[int],
    offsets: Sequence[int],
    outer_sizes: Sequence[int],
    inner_sizes: Sequence[int],
    strides: Sequence[Sequence[int]],
    scalar_slots: Sequence[int] = (),
    params: Sequence[int] = (),
    target: Target | None = None,
) -> tuple[list[int], int, int, float]:
    """(args, ntasks, scratch bytes, estimated ns) of a call.

    `strides` go with `program.accesses`, in elements, one for each dim (those of kind '0' and '1'
    are not looked at); offsets are in elements, one for each operand.
    """
    target = target or Target.host()
    shape = _shape(program, target)
    args = [*slots, *offsets, *outer_sizes, *inner_sizes]
    for access, steps in zip(program.accesses, strides, strict=True):
        args.extend(n for n, kind in zip(steps, access.strides, strict=True) if kind == "n")
    args.extend(scalar_slots)
    args.extend(params)
    inner = math.prod(inner_sizes)
    scratch = scratch_bytes(program, list(inner_sizes), target)
    rows = math.prod(outer_sizes)
    if rows == 0:
        return [*args, 0, 1, 1, 1], 0, scratch, 0.0
    row_ns = inner * _ns_per_element(program, shape) + 3.0
    cost = rows * row_ns
    tasks = max(1, min(MAX_TASKS, int(cost / TASK_NS)))
    if program.vector == "inner":
        per_task = -(-rows // tasks)
        if any(s.op == "accumulate" for s in program.stmts):  # whole runs of rows
            per_task = -(-per_task // outer_sizes[-1]) * outer_sizes[-1]
        return [*args, rows, per_task], -(-rows // per_task), scratch, cost
    columns = outer_sizes[-1]
    n_inner_loops = sum(phase.loop for phase in program.phases)
    rows //= columns
    column_step = columns
    if rows > 1 and _crosses_rows(program, strides):
        column_step = min(columns, CROSSING_COLUMNS)
    row_tasks = max(1, min(rows, tasks // -(-columns // column_step)))
    per_task = -(-rows // row_tasks)
    row_tasks = -(-rows // per_task)
    column_tasks = max(-(-columns // column_step), tasks // row_tasks)
    column_step = -(-columns // column_tasks)
    # loops over inner dims want wide tiles: they read a piece of a row at every step
    unit = shape.tile if column_step > shape.tile or n_inner_loops else shape.lanes
    column_step = -(-column_step // unit) * unit
    column_tasks = -(-columns // column_step)
    tasking = [rows, per_task, column_step, column_tasks]
    return [*args, *tasking], row_tasks * column_tasks, scratch, cost


# where lanes are taken from different rows of memory: few enough for their lines to stay in cache
CROSSING_COLUMNS = 64


def _crosses_rows(program: Program, strides: Sequence[Sequence[int]]) -> bool:
    """Whether some access is contiguous in another dim than the vectorised one, as a transpose."""
    d = program.n_outer - 1
    return any(
        access.strides[d] == "n" and abs(steps[d]) * ITEMSIZE[program.buffers[access.buf]] >= 256
        for access, steps in zip(program.accesses, strides, strict=True)
    )


def _ns_per_element(program: Program, shape: Shape) -> float:
    """Of the inner work: instructions and memory traffic, whichever takes longer."""
    n_bytes = sum(ITEMSIZE[program.buffers[a.buf]] for a in program.accesses)
    work = shape.weight * NS_PER_VECTOR_OP / shape.lanes
    return max(n_bytes / BYTES_PER_NS, work + 0.2 / shape.lanes)
