"""The gradient of a convolution's weight, as steps."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from facula.kernel import winograd
from facula.kernel.conv import Conv, Image, Job, Taps, by_tiles, triple
from facula.kernel.matmul import MatmulPlan
from facula.kernel.step import Step
from facula.kernel.written import written_kernel
from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS
from facula.llvm.tile_conv_weight import (
    DepthwiseShape,
    FoldShape,
    WeightShape,
    WeightWriter,
    write_depthwise,
    write_fold,
)


@dataclass(frozen=True)
class _Cut:
    rows: int  # taps of a tile
    vectors: int
    block_c: int  # channels of a task
    parts: int  # of the batch
    per_part: int  # images of one
    images: int  # copied side by side
    block_h: int  # output rows at a time


_MOST_ROWS = {32: 10, 16: 5}


@functools.lru_cache(maxsize=1024)
def _cut(job: Job, target: Target) -> _Cut:
    lanes = target.vector_bytes // NUMBERS[job.dtype].compute_bytes
    vectors = 1 if job.m <= lanes else 2
    row = -(-job.m // (vectors * lanes)) * vectors * lanes
    window = math.prod(job.window)
    (oh, ow), work = job.out, job.n * job.m * job.depth * math.prod(job.out)
    # A task's sums should stay in its cache; images are split until there are enough tasks.
    blocks = -(-job.c * window * row // 131_072)
    wanted = min(16, max(1, work * job.groups // 1_000_000))
    if blocks * job.groups < wanted:
        blocks = max(blocks, min(job.c * window // 64, 2)) or 1
    block_c = -(-job.c // blocks)
    blocks = -(-job.c // block_c)
    parts = min(job.n, -(-wanted // (blocks * job.groups)))
    per_part = -(-job.n // parts)
    pixels = max(ow, 65_536 // row)
    block_h = min(oh, max(1, pixels // ow))
    while block_h > 1 and block_c * job.field_rows(block_h) * job.field_width > 65_536:
        block_h = -(-block_h // 2)
    images = 1
    if block_h == oh:
        plane = block_c * job.field_rows(oh) * job.field_width * math.prod(job.stride)
        images = max(1, min(per_part, pixels // (oh * ow), 65_536 // plane))
    rows = _rows(block_c * window, _MOST_ROWS[target.n_vector_registers])
    return _Cut(rows, vectors, block_c, -(-job.n // per_part), per_part, images, block_h)


def _rows(taps: int, most: int) -> int:
    """The height of a tile: tall, and with little left over."""
    if taps <= most:
        return taps
    return max(range(most // 2, most + 1), key=lambda r: taps / (-(-taps // r) * r) - 0.2 / r)


@functools.lru_cache(maxsize=1024)
def _job(conv: Conv) -> Job:
    sizes = zip(conv.kernel, conv.padding, conv.dilation, strict=True)
    taps = tuple(Taps(k, 0, 1, -p, d) for k, p, d in sizes)
    source = (conv.h, conv.w)
    return Job(
        *(conv.n, conv.groups, conv.c_out, conv.c_in, source, conv.out, conv.stride, taps),
        conv.dtype,
    )


def plan_conv_weight_gradient(
    conv: Conv,
    x: Image,
    dy: Image,
    weight: tuple[int, int],
    workspace_slot: int,
    target: Target | None = None,
) -> MatmulPlan:
    """The gradient of the weight; `weight` is where it goes, (slot, offset).

    `dy`'s images must be contiguous in (H, W).
    """
    target = target or Target.host()
    job = _job(conv)
    window = math.prod(job.window)
    if job.m == job.c == 1 and job.groups >= 8 and window <= target.n_vector_registers - 7:
        return MatmulPlan([_depthwise_step(job, x, dy, weight, target)])
    if by_tiles(conv) and winograd.pays(conv.n, conv.c, conv.o, conv.out):
        minimal = winograd.Minimal(conv.n, conv.c, conv.o, (conv.h, conv.w), conv.out, conv.padding)
        return winograd.plan_weight_gradient(
            minimal, triple(x), triple(dy), weight, workspace_slot, target
        )
    cut = _cut(job, target)
    number = NUMBERS[job.dtype]
    lanes = target.vector_bytes // number.compute_bytes
    cols = cut.vectors * lanes
    row = -(-job.m // cols) * cols
    blocks = -(-job.c // cut.block_c)
    block_size = -(-cut.block_c * window // cut.rows) * cut.rows * row
    group_size = blocks * block_size
    part_size = group_size * job.groups
    (oh, ow), (sh, sw) = job.out, job.stride
    panels = row * cut.images * cut.block_h * ow + 64
    field = -(-(panels + 2 * cut.block_c * window) // 64) * 64
    plane = job.field_rows(cut.block_h) * job.field_width * cut.images
    total = field + cut.block_c * plane * sh * sw + cols + 4 * lanes
    args = _arguments(job, x, dy, (workspace_slot, 0))
    args += [cut.images, cut.block_h, cut.block_c, blocks, cut.parts, cut.per_part]
    args += [part_size, group_size, block_size, row, panels, field]
    shape = WeightShape(job.dtype, cut.rows, cut.vectors, sw if sw <= 2 else 0)
    work = 2.0 * job.n * job.groups * job.m * job.depth * oh * ow
    tasks = cut.parts * job.groups * blocks
    kernel = written_kernel(shape, WeightWriter)
    first = Step(kernel, args, tasks, total * number.compute_bytes, work / 120 + 500)
    k = job.c * window
    tasks_k = -(-k // lanes)
    fold = [workspace_slot, 0, *weight, job.m, k, cut.parts, part_size, group_size]
    fold += [cut.block_c * window, block_size, row, tasks_k]
    cost = 0.2 * part_size * cut.parts
    kernel = written_kernel(FoldShape(job.dtype), write_fold)
    second = Step(kernel, fold, tasks_k * job.groups, 0, cost)
    return MatmulPlan([first, second], (cut.parts * part_size + 64) * number.compute_bytes)


def _arguments(job: Job, x: Image, dy: Image, part: tuple[int, int]) -> list[int]:
    """The first of the arguments that `tile_conv_weight.ARGUMENTS` names: images and taps."""
    args = [x.slot, x.offset, dy.slot, dy.offset, *part, job.n, job.groups, job.m, job.c]
    args += [x.strides[0], job.c * x.strides[1], *x.strides[1:]]
    args += [dy.strides[0], job.m * dy.strides[1], dy.strides[1]]
    args += [*job.source, *job.window, *job.stride, job.taps[0].least, job.taps[1].least]
    args += [*job.out, job.field_width, job.taps[0].reach]
    for t in job.taps:
        args += [t.shift - t.least, t.shift_step]
    return args


def _depthwise_step(job: Job, x: Image, dy: Image, weight: tuple[int, int], target: Target) -> Step:
    number = NUMBERS[job.dtype]
    window = math.prod(job.window)
    field = -(-2 * window // 64) * 64
    plane = job.field_rows(job.out[0]) * job.field_width * math.prod(job.stride)
    args = [*_arguments(job, x, dy, weight), *[0] * 10, 0, field]
    stride = job.stride[1] if job.stride[1] <= 2 else 0
    shape = DepthwiseShape(job.dtype, window, stride)
    lanes = target.vector_bytes // number.compute_bytes
    scratch = (field + plane + 4 * lanes) * number.compute_bytes
    cost = 0.1 * job.n * job.groups * math.prod(job.out) * window
    return Step(written_kernel(shape, write_depthwise), args, job.groups, scratch, cost)
