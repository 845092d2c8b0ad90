"""Writing at given places, as steps: scatters, `index_add`, the gradient of an embedding.

    plan_rows:   out[a, index[i], b]       op= src[a, i, b]
    plan_points: out[a, index[a, i, b], b] op= src[a, i, b]

Tasks own parts of the result, cut by shape; each walks its indices in order.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.kernel.step import Step
from facula.kernel.written import WrittenKernel, written_kernel
from facula.llvm.tile_put import PutShape, PutWriter

Triple = tuple[int, int, int]


def _kernel(shape: PutShape) -> WrittenKernel:
    return written_kernel(shape, PutWriter)


@dataclass(frozen=True)
class Put:
    """The numbers of a put: sizes over (a, i, b), places along the axis, and what is done there."""

    sizes: Triple
    size: int  # of the axis written along
    dtype: str
    itemsize: int
    mode: str = "set"
    wraps: bool = False  # negative indices count from the end
    report: int = -1  # points: what a bad index is reported as; -1: those are left out


@dataclass(frozen=True)
class Walk:
    """An operand: where it starts, and its strides, usually over (a, i, b)."""

    slot: int
    offset: int
    strides: tuple[int, ...]


def _operands(index: Walk, src: Walk, out: Walk) -> list[int]:
    return [x for w in (index, src, out) for x in (w.slot, w.offset)]


def _kernel_of(kind: str, put: Put, dense: bool = False) -> WrittenKernel:
    checks = kind == "points" and put.report >= 0
    shape = PutShape.of(
        kind, put.dtype, put.itemsize, put.mode, wraps=put.wraps, checks=checks, dense=dense
    )
    return _kernel(shape)


def _bounds(put: Put) -> list[int]:
    return [put.size, put.report]


def plan_rows(put: Put, index: Walk, src: Walk, out: Walk) -> list[Step]:
    """One index for a row of numbers, which are neighbours in `out`."""
    a, i, b = put.sizes
    work = a * i * b
    per_a, block, ranges = a, b, 1
    wanted = min(16, max(1, work // 16384))
    if a >= wanted:
        per_a = -(-a // wanted)
    elif b >= 128:
        # rows in parts, each as long as below: every task reads all indices, which is little beside them
        block = -(-max(64, -(-b // wanted), min(512, -(-b // 2))) // 16) * 16
    elif b >= 16:
        ranges = min(4, wanted, put.size)
    blocks, per_range = -(-b // block), -(-put.size // ranges)
    args = [
        *_operands(index, src, out),
        index.strides[1],
        *src.strides,
        out.strides[0],
        out.strides[1],
    ]
    args += [a, i, b, *_bounds(put), per_a, block, blocks, per_range, ranges]
    tasks = -(-a // per_a) * blocks * ranges
    cost = 0.1 * work * put.itemsize / 4 + 2.0 * a * i * ranges * blocks
    return [Step(_kernel_of("rows", put), args, tasks, 0, cost)]


def plan_points(put: Put, index: Walk, src: Walk, out: Walk) -> list[Step]:
    """An index for every number."""
    a, i, b = put.sizes
    work = a * i * b
    # loops a, j, k: the last is the longer of the other two; only b may be cut
    order = (0, 2, 1) if b == 1 else (0, 1, 2)
    per_a, block = a, put.sizes[order[2]]
    wanted = min(16, max(1, work // 8192))
    if a >= wanted:
        per_a = -(-a // wanted)
    elif order[2] == 2:
        # rows in parts, which should be long: short ones, far apart, come slowly from memory
        block = -(-max(16, -(-b // wanted), min(512, -(-b // 2))) // 16) * 16
    blocks = -(-put.sizes[order[2]] // block)
    strides = [w.strides[d] for w in (index, src) for d in order]
    strides += [0 if d == 1 else out.strides[d] for d in order]
    args = [*_operands(index, src, out), *strides, *(put.sizes[d] for d in order)]
    args += [out.strides[1], *_bounds(put), per_a, block, blocks, put.size, 1]
    last = order[2]
    dense = last == 1 and index.strides[1] == src.strides[1] == out.strides[1] == 1
    kernel = _kernel_of("points", put, dense)
    return [Step(kernel, args, -(-a // per_a) * blocks, 0, 1.2 * work)]
