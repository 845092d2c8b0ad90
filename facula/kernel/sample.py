"""Weighted sums of picked pixels, and their gradients, as steps: see `llvm/tile_sample`."""

from __future__ import annotations

from dataclasses import dataclass

from facula.kernel.step import Step
from facula.kernel.written import WrittenKernel, written_kernel
from facula.llvm.tile_sample import TOGETHER, SampleShape, SampleWriter, scratch_bytes


def _kernel(shape: SampleShape) -> WrittenKernel:
    return written_kernel(shape, SampleWriter)


@dataclass(frozen=True)
class Sample:
    """The numbers of a sampling: images, channels, pixels of a plane, points, and taps of each.

    A point has `per` taps along each of `dims`; `full`: there is a weight for each of per ** dims.
    """

    n: int
    channels: int
    size: int
    points: int
    dims: int
    per: int
    full: bool
    dtype: str = "float32"
    place: str = "int64"


@dataclass(frozen=True)
class Planes:
    """Numbers (n, channels, count): where they start, and their first two strides."""

    slot: int
    offset: int
    strides: tuple[int, int]


def plan_sample(
    kind: str, s: Sample, x: Planes, y: Planes, place: tuple[int, int], weight: tuple[int, int]
) -> list[Step]:
    """One step. Places and weights are (slot, offset) of contiguous numbers (n, dims * per, points).

    kind "gather" writes y, "scatter" x and "weigh" the weights.
    """
    together = min(TOGETHER, s.channels)
    work = s.channels * s.points * s.per**s.dims
    if kind == "scatter":  # tasks are channels, by fours where that leaves enough of them
        block = together = TOGETHER if s.n * s.channels >= 4 * TOGETHER else 1
        blocks = -(-s.channels // block)
    else:
        block = -(-s.points // max(1, min(64, work // 65536)))
        blocks = -(-s.points // block)
    args = [x.slot, x.offset, *x.strides, y.slot, y.offset, *y.strides, *place, *weight]
    args += [s.channels, s.points, s.size, block, blocks]
    kernel = _kernel(SampleShape(kind, s.dtype, s.place, s.dims, s.per, s.full, together))
    return [Step(kernel, args, s.n * blocks, scratch_bytes(s.per**s.dims), 0.4 * s.n * work)]
