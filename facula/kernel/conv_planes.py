"""Convolutions whose channels have nothing to do with each other (depthwise), as steps."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

from facula.kernel.step import Step
from facula.kernel.written import written_kernel
from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS
from facula.llvm.tile_conv_planes import PlanesShape, PlanesWriter
from facula.llvm.tile_epilogue import Fused

if TYPE_CHECKING:
    from facula.kernel.conv import Job

_MOST_RESULTS = 4  # of one channel: more are better off as a matrix product
_FIELD = 24_576  # numbers of a copied plane, so that it stays in a core's cache


def fits(job: Job) -> bool:
    """Whether a job is of this kind."""
    return job.c == 1 and job.m <= _MOST_RESULTS and not job.scatter and job.depth > 0


_TILES = ((8, 1), (7, 1), (4, 2), (2, 4), (1, 8), (1, 4))
_THIN = (8, 7, 4, 1)


@functools.lru_cache(maxsize=1024)
def _tile(rows: int, columns: int, lanes: int, high: int, registers: int) -> tuple[int, int, int]:
    """Of so many outputs: rows and registers of a tile, and the rows of one that is a register wide.

    Few and fitting ones: a tile takes 4 cycles for a tap at least, the time of an addition. With
    `high` (the window's rows) what is read is shared by the rows of a tile.
    """

    def tap(tall: int, wide: int) -> float:
        if not high:
            return max(4.0, 1 + 0.55 * tall * wide)
        loads = (tall + high - 1) * wide + high
        return max(4.0, 0.55 * tall * wide, 1.5 * loads / high)

    def column(tall: int, wide: int) -> float:
        return rows // tall * tap(tall, wide) + rows % tall * tap(1, wide)

    def cost(tile: tuple[int, int, int]) -> float:
        tall, wide, thin = tile
        many, left = divmod(columns, wide * lanes)
        return many * column(tall, wide) + -(-left // lanes) * column(thin, 1)

    def held(tall: int, wide: int) -> int:
        return (tall + 1) * wide + high + 1 if high else 0

    tiles = [(*tile, thin) for tile in _TILES for thin in _THIN]
    fitting = [t for t in tiles if max(held(*t[:2]), held(t[2], 1)) <= registers]
    return min(fitting, key=cost)


_MOST_HIGH = 7  # rows of a window whose weights are held in registers


def _shared(job: Job) -> tuple[int, int]:
    """`high` and `phases` of a `PlanesShape`."""
    count, step, stride = job.taps[0].count, job.taps[0].shift_step, job.stride[0]
    upwards = step == -1 and stride == 1
    if not 2 <= count <= _MOST_HIGH or not (upwards or (step == 1 and stride <= 2)):
        return 0, 1
    return count, -1 if upwards else stride


def _blocks(job: Job) -> int:
    """The output rows of a task."""
    rows, per_row = job.out[0], job.field_width * math.prod(job.stride)
    while rows > 8 and job.field_rows(rows) * per_row > _FIELD:
        rows = -(-rows // 2)
    return rows


def plan(
    job: Job,
    weight_row: int,
    layout: tuple[int, int, int],
    x: tuple[int, int, int, int, int],
    weight: tuple[int, int],
    y: tuple[int, int, tuple[int, ...]],
    epilogue: tuple[Fused, ...],
    extras: list[int],
    target: Target,
) -> Step:
    """One step. `x` is (slot, offset, strides of images, channels, rows), `layout` the weight's
    strides of results, channels and groups, `y` (slot, offset, strides)."""
    number = NUMBERS[job.dtype]
    lanes = target.vector_bytes // number.compute_bytes
    rows, columns = job.taps
    window, planes = math.prod(job.window), job.n * job.groups
    block_h = _blocks(job)
    blocks = -(-job.out[0] // block_h)
    work = block_h * job.out[1] * window * job.m
    per_task = max(1, min(200_000 // work, planes * blocks // 16))
    y_slot, y_offset, y_strides = y
    args = [*x[:2], *weight, y_slot, y_offset, planes, job.groups, job.m, x[3]]
    args += [rows.start * weight_row + columns.start, rows.step * weight_row, columns.step]
    args += [layout[0], layout[2], per_task, block_h, blocks]
    field = -(-2 * (2 * window + 2 * job.stride[0]) // 64) * 64
    args += [*job.source, x[3], x[4], 1, *job.window, *job.stride, rows.least, columns.least]
    args += [*job.out, job.field_width, rows.reach]
    for t in job.taps:
        args += [t.shift - t.least, t.shift_step]
    args += [0, field, 1, job.n, x[2], *y_strides, *job.out, job.out[1], 0]
    copied = job.field_rows(block_h) * job.field_width * math.prod(job.stride)
    high, phases = _shared(job)
    tile = _tile(block_h, job.out[1], lanes, high, target.n_vector_registers)
    stride = job.stride[1] if job.stride[1] <= 2 else 0
    shape = PlanesShape(job.dtype, *tile, stride, epilogue, high, phases)
    scratch = (field + copied + (2 + tile[1]) * lanes) * number.compute_bytes
    cost = 0.03 * work * planes * blocks + 500
    count = -(-planes // per_task) * blocks
    return Step(written_kernel(shape, PlanesWriter), [*args, *extras], count, scratch, cost)
