"""Copies between layouts that are contiguous along different dims, as steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from facula.kernel.step import Step
from facula.kernel.written import written_kernel
from facula.llvm.target import Target
from facula.llvm.tile_transpose import BLOCK, TransposeShape, square, write_transpose

_MOST_BATCH = 4  # further dims than the two that change places


def plan_transpose(
    sizes: Sequence[int],
    src: tuple[int, int, Sequence[int]],
    dst: tuple[int, int, Sequence[int]],
    itemsize: int,
    target: Target | None = None,
) -> Step | None:
    """The step that copies (slot, offset, strides) to another; None where it would not help.

    plan_transpose((64, 32), (0, 0, (1, 64)), (1, 0, (32, 1)), 4)
    """
    side = square(itemsize, target or Target.host())
    n = _contiguous(sizes, dst[2], src[2], side)
    m = _contiguous(sizes, src[2], dst[2], side)
    rest = [d for d in range(len(sizes)) if d not in (m, n)]
    if m is None or n is None or len(rest) > _MOST_BATCH:
        return None
    blocks = [-(-sizes[d] // BLOCK) for d in (m, n)]
    args = [*src[:2], *dst[:2], sizes[m], sizes[n], src[2][n], dst[2][m], *blocks]
    for numbers in (sizes, src[2], dst[2]):
        args += [numbers[d] for d in rest]
    count = math.prod(sizes)
    tasks = math.prod(blocks) * math.prod(sizes[d] for d in rest)
    kernel = written_kernel(TransposeShape(itemsize, len(rest)), write_transpose)
    return Step(kernel, args, tasks, 0, 0.08 * itemsize * count)


def _contiguous(
    sizes: Sequence[int], mine: Sequence[int], other: Sequence[int], least: int
) -> int | None:
    """The dim along which one side is contiguous and the other takes long steps."""
    for d, (size, s, t) in enumerate(zip(sizes, mine, other, strict=True)):
        if s == 1 and abs(t) > 1 and size >= least:
            return d
    return None
