"""Stable sorting of rows with their indices, the first k of them, or one of a rank, as steps."""

from __future__ import annotations

from dataclasses import dataclass

from facula.kernel.step import Step
from facula.kernel.written import WrittenKernel, written_kernel
from facula.llvm.tile_sort import DIGIT, SortShape, SortWriter, bits_of, words_of

_FEW = 32  # the best so many are kept in order
_MANY = 20_000  # pairs that are worth wide digits


def _kernel(shape: SortShape) -> WrittenKernel:
    return written_kernel(shape, SortWriter)


@dataclass(frozen=True)
class Sort:
    """Rows x[a, :, b] in order; results are contiguous (a, k, b), with k of n numbers each."""

    sizes: tuple[int, int, int]
    dtype: str
    k: int
    descending: bool = False
    pick: str = ""  # nth, median, nanmedian: only the one of a rank (k = 1)
    rank: int = 0


def plan_sort(
    sort: Sort,
    x: tuple[int, int, tuple[int, ...]],
    values: tuple[int, int] | None,
    places: tuple[int, int] | None,
) -> list[Step]:
    """A task is some rows. `values` and `places` are (slot, offset), None if nobody wants them.

    plan_sort(Sort((8, 100, 1), "float32", 100), (0, 0, (100, 1, 1)), (1, 0), (2, 0))
    """
    a, n, b = sort.sizes
    bits, words = bits_of(sort.dtype), words_of(sort.dtype)
    first_k = not sort.pick and 4 * sort.k < n
    # a row's pairs; or the best so far and as many candidates
    room = min(n, 2 * sort.k + 64) if first_k else n
    row_ns = n * (1.5 if first_k else 4 if sort.pick else 1.2 * bits // 8) + 20
    per_task = max(1, int(20_000 / row_ns))
    flip = (-1 if bits == 64 else (1 << bits) - 1) if sort.descending else 0
    slot, offset, strides = x
    args = [slot, offset, *(values or (0, 0)), *(places or (0, 0)), *strides]
    digit = DIGIT if n > _MANY else 8
    args += [a * b, n, b, sort.k, flip, per_task, room, sort.rank, digit]
    few = first_k and sort.k <= _FEW
    shape = SortShape(sort.dtype, first_k, few, values is not None, places is not None, sort.pick)
    scratch = (4 << DIGIT) + 2 * (room + 1) * 8 * words
    return [Step(_kernel(shape), args, -(-a * b // per_task), scratch, a * b * row_ns)]
