"""Matrix products: how one is cut into tasks, and the steps that compute it.

    C[batch, m, n] = epilogue(sum over k of A[batch, m, k] * B[batch, k, n])

`plan_matmul` looks at shapes and strides only. C's rows are contiguous (a column of C may be
written as a row of its transpose); A and B may have any strides, zero included.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass
from itertools import pairwise

from facula.kernel.step import Step
from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS
from facula.llvm.tile_epilogue import Fused
from facula.llvm.tile_gemm import GemmShape, GemmWriter, gemm_arguments


@dataclass(frozen=True)
class Mat:
    """A matrix, or a batch of them, in a plan's buffer (offset and strides in elements)."""

    slot: int
    rows_stride: int
    cols_stride: int
    batch_strides: tuple[int, ...] = ()
    offset: int = 0


@dataclass(frozen=True)
class Extra:
    """An epilogue's operand: an array, or a plan scalar (then only `slot` counts)."""

    slot: int
    rows_stride: int = 0
    batch_strides: tuple[int, ...] = ()
    offset: int = 0


@dataclass(frozen=True)
class GemmKernel:
    """The code of a product."""

    shape: GemmShape

    @functools.cached_property
    def key(self) -> str:
        return self.shape.key

    def ir(self, target: Target) -> tuple[str, str]:
        name = kernel_name("gemm", self.key)
        return name, GemmWriter(self.shape, target, name).write()


def kernel_name(prefix: str, key: str) -> str:
    return f"{prefix}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"


@functools.cache
def gemm_kernel(shape: GemmShape) -> GemmKernel:
    return GemmKernel(shape)


@dataclass(frozen=True)
class Problem:
    """A product's sizes and layout, without its buffers."""

    m: int
    n: int
    k: int
    batch: tuple[int, ...]
    dtype: str
    a_strides: tuple[int, int]
    b_strides: tuple[int, int]

    @property
    def count(self) -> int:
        return math.prod(self.batch)


@dataclass(frozen=True)
class Tiling:
    """How a product is cut: micro-tile, block of a task, stretch of k."""

    rows: int
    vectors: int
    block_m: int
    block_n: int
    block_k: int
    inner_m: int
    direct_a: bool
    direct_b: bool
    splits: int = 1


# Largest micro-tile: (rows, vectors) by the number of vector registers.
_TILES = {32: (14, 2), 16: (6, 2)}
_NARROW = {32: (14, 1), 16: (8, 1)}


def unit_of(along_panel: int, along_k: int) -> str:
    if along_panel == 1:
        return "p"
    return "k" if along_k == 1 else "g"


def _even(total: int, most: int, multiple: int = 1) -> int:
    """The size of equal pieces of total, none above most, in multiples."""
    pieces = -(-total // most)
    size = -(-total // pieces)
    return -(-size // multiple) * multiple


def _micro_tile(p: Problem, lanes: int, registers: int) -> tuple[int, int]:
    rows, vectors = _NARROW[registers] if p.n <= lanes else _TILES[registers]
    rows = _even(max(p.m, 1), rows)
    if rows > 2:
        rows += rows % 2  # few different kernels
    if rows <= 6 and p.n > 2 * lanes and registers == 32:
        vectors = 4
    return rows, vectors


@functools.lru_cache(maxsize=4096)
def tiling(p: Problem, target: Target) -> Tiling:
    """Chosen from shapes alone, so that a result never depends on the number of threads."""
    number = NUMBERS[p.dtype]
    lanes = target.vector_bytes // number.compute_bytes
    rows, vectors = _micro_tile(p, lanes, target.n_vector_registers)
    cols = vectors * lanes
    block_m, block_n = _block(p, rows, cols)
    block_k = _even(max(p.k, 1), 384, 8) if number.is_plain else max(p.k, 1)
    inner_m = min(block_m, rows * max(1, 196608 // (number.compute_bytes * block_k * rows)))
    a_unit, b_unit = unit_of(*p.a_strides), unit_of(*reversed(p.b_strides))
    direct_b = b_unit == "p" and number.is_plain and (block_m <= 2 * rows or p.n * p.k <= 65536)
    direct_a = a_unit == "p" and number.is_plain and (block_n <= 2 * cols or p.m * p.k <= 65536)
    return Tiling(rows, vectors, block_m, block_n, block_k, inner_m, direct_a, direct_b)


def _block(p: Problem, rows: int, cols: int) -> tuple[int, int]:
    """The block of C that is one task."""
    work = p.m * p.n * p.k
    if work <= 200_000:
        return -(-p.m // rows) * rows, -(-p.n // cols) * cols
    block_m = _even(p.m, 512, rows)
    block_n = _even(p.n, 512, cols)
    # Enough tasks for a few dozen cores, but none below some ten microseconds.
    while block_m * block_n * p.k > 4_000_000 or (
        p.count * -(-p.m // block_m) * -(-p.n // block_n) < 16
        and block_m * block_n * p.k > 1_000_000
    ):
        if block_n > block_m and block_n > cols:
            block_n = _even(p.n, max(cols, block_n // 2), cols)
        elif block_m > rows:
            block_m = _even(p.m, max(rows, block_m // 2), rows)
        elif block_n > cols:
            block_n = _even(p.n, max(cols, block_n // 2), cols)
        else:
            break
        if block_m * block_n <= 128 * 128:
            break
    return block_m, block_n


def merge_batch(batch: tuple[int, ...], strides: list[tuple[int, ...]]):
    """Drop dimensions of one and join neighbours that every operand walks through evenly."""
    kept = [d for d, size in enumerate(batch) if size != 1]
    sizes = [batch[d] for d in kept]
    columns = [[s[d] if s else 0 for d in kept] for s in strides]
    d = len(sizes) - 1
    while d > 0:
        if all(c[d - 1] == c[d] * sizes[d] for c in columns):
            sizes[d - 1 : d + 1] = [sizes[d - 1] * sizes[d]]
            for c in columns:
                c[d - 1 : d + 1] = [c[d]]
        d -= 1
    return tuple(sizes), [tuple(c) for c in columns]


@dataclass
class MatmulPlan:
    steps: list[Step]
    workspace_bytes: int = 0


def plan_matmul(
    m: int,
    n: int,
    k: int,
    batch: tuple[int, ...],
    a: Mat,
    b: Mat,
    c: Mat,
    dtype: str = "float32",
    epilogue: tuple[Fused, ...] = (),
    extras: tuple[Extra, ...] = (),
    workspace_slot: int = -1,
    target: Target | None = None,
) -> MatmulPlan:
    """The steps that compute C. `extras` are the operands of the epilogue, in order.

    The workspace slot is used if `workspace_bytes` of the answer is not zero.
    """
    target = target or Target.host()
    if c.cols_stride != 1 and n > 1:
        raise NotImplementedError("matmul into C whose rows are not contiguous: write C transposed")
    operands = [a, b, c, *extras]
    sizes, strides = merge_batch(batch, [x.batch_strides for x in operands])
    problem = Problem(
        *(m, n, k, sizes, dtype), (a.rows_stride, a.cols_stride), (b.rows_stride, b.cols_stride)
    )
    t = tiling(problem, target)
    shape = GemmShape(
        *(dtype, unit_of(*problem.a_strides), unit_of(*reversed(problem.b_strides))),
        *(t.rows, t.vectors, len(sizes), False, epilogue),
    )
    return MatmulPlan([_gemm_step(problem, t, shape, operands, strides, target)])


def _gemm_step(p: Problem, t: Tiling, shape: GemmShape, operands, strides, target) -> Step:
    number = NUMBERS[p.dtype]
    lanes = target.vector_bytes // number.compute_bytes
    cols = t.vectors * lanes
    tasks_m, tasks_n = -(-p.m // t.block_m), -(-p.n // t.block_n)
    depth = min(t.block_k, max(p.k, 1)) + lanes  # packing runs over by part of a square
    b_panels = -(-min(t.block_n, max(p.n, 1)) // cols) * cols * depth
    a_panels = -(-min(t.inner_m, max(p.m, 1)) // t.rows) * t.rows * depth + 4 * lanes
    a_start = -(-(b_panels + 4 * lanes) // 64) * 64
    spare = -(-(a_start + a_panels) // 64) * 64
    a, b, c = operands[:3]
    args = [a.slot, a.offset, b.slot, b.offset, c.slot, c.offset, p.m, p.n, p.k, p.k]
    args += [*p.a_strides, *p.b_strides, c.rows_stride]
    args += [t.block_m, t.block_n, t.block_k, t.inner_m, tasks_m, tasks_n]
    args += [int(t.direct_a), int(t.direct_b), a_start, spare]
    args += p.batch
    for s in strides[:3]:
        args += s
    args += extra_arguments(shape.fused, operands[3:], strides[3:])
    scratch = (spare + t.rows * cols) * number.compute_bytes
    cost = 2.0 * p.m * p.n * p.k * p.count / 80 + 100
    return Step(gemm_kernel(shape), args, tasks_m * tasks_n * p.count, scratch, cost)


def extra_arguments(fused, extras, strides) -> list[int]:
    """The step arguments of an epilogue's operands."""
    args: list[int] = []
    kinds = [kind for f in fused for kind in f.kinds]
    for kind, extra, batch in zip(kinds, extras, strides, strict=True):
        args.append(extra.slot)
        if kind != "s":
            args += [extra.offset, extra.rows_stride, *batch]
    return args


__all__ = ["Extra", "Fused", "Mat", "MatmulPlan", "gemm_arguments", "pairwise", "plan_matmul"]
