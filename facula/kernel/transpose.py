"""Copies between layouts that are contiguous along different dims, as steps."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from facula.kernel.step import Step
from facula.kernel.written import kernel_name
from facula.llvm.target import Target
from facula.llvm.tile_transpose import BLOCK, TransposeShape, square, write_transpose

_MOST_BATCH = 4


@dataclass(frozen=True)
class TransposeKernel:
    """The code of a transposing copy."""

    shape: TransposeShape

    @functools.cached_property
    def key(self) -> str:
        return self.shape.key

    def ir(self, target: Target) -> tuple[str, str]:
        name = kernel_name(self.key)
        return name, write_transpose(self.shape, target, name)


_kernel = functools.cache(TransposeKernel)


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
    return Step(
        _kernel(TransposeShape(itemsize, len(rest))), args, tasks, 0, 0.08 * itemsize * count
    )


def _contiguous(
    sizes: Sequence[int], mine: Sequence[int], other: Sequence[int], least: int
) -> int | None:
    """The dim along which one side is contiguous and the other takes long steps."""
    for d, (size, s, t) in enumerate(zip(sizes, mine, other, strict=True)):
        if s == 1 and abs(t) > 1 and size >= least:
            return d
    return None
