"""Matrix products: how one is cut into tasks, and the steps that compute it.

    C[batch, m, n] = epilogue(sum over k of A[batch, m, k] * B[batch, k, n])

`plan_matmul` looks at shapes and strides only. C's rows are contiguous (a column of C may be
written as a row of its transpose); A and B may have any strides, zero included.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import Any

from facula.kernel.step import Step
from facula.kernel.written import WrittenKernel, written_kernel
from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Number
from facula.llvm.tile_dot import DotShape, DotWriter
from facula.llvm.tile_epilogue import Fused as Fused
from facula.llvm.tile_gemm import (
    HEADER,
    GemmShape,
    GemmWriter,
    PackShape,
    ReduceShape,
    write_pack,
    write_reduce,
)


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


AnyShape = GemmShape | PackShape | DotShape | ReduceShape


_WRITERS: dict[type, Any] = {
    GemmShape: GemmWriter,
    DotShape: DotWriter,
    ReduceShape: write_reduce,
    PackShape: write_pack,
}


def kernel_of(shape: AnyShape) -> WrittenKernel:
    """The code of a product, of dot products, of adding up parts, or of a packing step."""
    return written_kernel(shape, _WRITERS[type(shape)])


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
    out: str = ""  # C's dtype, where it is not the operands'

    @property
    def held(self) -> Number:
        """What C is stored as."""
        return NUMBERS[self.out or self.dtype]

    @property
    def count(self) -> int:
        return math.prod(self.batch)

    @property
    def work(self) -> int:
        return self.m * self.n * self.k

    @property
    def a_unit(self) -> str:
        return unit_of(self.a_strides[0], self.a_strides[1])

    @property
    def b_unit(self) -> str:
        return unit_of(self.b_strides[1], self.b_strides[0])


@dataclass(frozen=True)
class Tiling:
    """How a product is cut: micro-tile, block of a task, stretch of k, what is packed when."""

    rows: int
    vectors: int
    block_m: int
    block_n: int
    block_k: int = 0
    inner_m: int = 0
    direct_a: bool = False
    direct_b: bool = False
    ahead_a: bool = False  # an operand is packed in a step of its own
    ahead_b: bool = False
    dot: bool = False
    part: int = 0  # a task does so much of k, and the parts are added afterwards


# Largest micro-tile: (rows, vectors) by the number of vector registers.
_TILES = {32: (14, 2), 16: (6, 2)}
_NARROW = {32: (14, 1), 16: (8, 1)}
# Where registers are wide and many, several sizes that arithmetic alone fills, and the time that each
# takes for an element: the one that covers C in the least time is taken. Rows of A that are read in
# place are no more than the ways of a first cache: rows a power of two apart fall on the same lines.
_IN_ROWS_512 = ((8, 3, 1.0), (6, 4, 1.01), (8, 2, 1.02))
_PACKED_512 = ((14, 2, 1.0), (8, 3, 1.05), (6, 4, 1.05))
# One multiply-add a cycle needs few sums at a time, and a panel of 8 is packed by whole stores.
_PACKED_HALVES = ((8, 2, 1.0), (8, 3, 1.03), (6, 4, 1.03))
# Tiles of dot products by rows of A: for 1, 2, 3, and more.
_DOT_TILES = {32: ((1, 8), (2, 8), (3, 5), (4, 4)), 16: ((1, 8), (2, 4), (2, 4), (2, 4))}
_PACK_AHEAD = 16_000_000  # products from this many multiplications on
_LARGE = 100_000_000
_LONG_K = 1024
_FOLLOWED = 320  # along rows of A at least so long the micro-kernel goes without packing,
_FOLLOWED_512 = 48  # or so long, where registers are wide and many
_FAR = 2_000_000  # bytes of B that come from beyond the caches of a core
_SMALL = 200_000  # products of a few microseconds


def unit_of(along_panel: int, along_k: int) -> str:
    if along_panel == 1:
        return "p"
    return "k" if along_k == 1 else "g"


def _a_unit(p: Problem, t: Tiling) -> str:
    """How a product's kernel reads A."""
    return "rows" if p.a_unit == "k" and t.direct_a else p.a_unit


def _even(total: int, most: int, multiple: int = 1) -> int:
    """The size of equal pieces of total, none above most, rounded up to multiples."""
    pieces = -(-total // max(most, 1))
    size = -(-total // pieces)
    return -(-size // multiple) * multiple


def _whole(total: int, multiple: int) -> int:
    """The multiple that holds total."""
    return -(-total // multiple) * multiple


@functools.lru_cache(maxsize=4096)
def tiling(p: Problem, target: Target) -> Tiling:
    """Chosen from shapes alone, so that a result never depends on the number of threads."""
    number = NUMBERS[p.dtype]
    lanes = target.vector_bytes // number.compute_bytes
    if _wants_dots(p, number, lanes):
        return _dot_tiling(p, target)
    followed = _FOLLOWED_512 if target.vector_bytes == 64 else _FOLLOWED
    in_rows = number.is_plain and p.a_unit == "k" and p.k >= followed
    rows, vectors = _micro_tile(p, lanes, target, in_rows)
    cols = vectors * lanes
    if _streams(p, number):
        return _streamed(p, rows, vectors, cols)
    block_m, block_n = _block(p, rows, cols, lanes, target)
    blocks_m, blocks_n = -(-p.m // block_m), -(-p.n // block_n)
    # What several tasks would pack again and again is packed once, before.
    large = p.work >= _PACK_AHEAD
    columns = p.a_unit == "p" and not _long(p)
    ahead_a = large and p.m > 1 and not in_rows and (blocks_n >= 3 or columns)
    ahead_b = large and blocks_m >= 3
    part = 0 if ahead_a or ahead_b else _part_of_k(p, blocks_m * blocks_n)
    block_k = _even(max(part or p.k, 1), _LONG_K, 8) if p.held.is_plain else max(part or p.k, 1)
    inner_m = _even(block_m, rows * max(1, 458752 // (number.compute_bytes * block_k * rows)), rows)
    depth = part or p.k
    if part and block_n <= 4 * cols:  # A is read once, in place
        block_k = _even(part, 128, 8)
        plain = number.is_plain
        return Tiling(rows, vectors, block_m, block_n, block_k, inner_m, plain, plain, part=part)
    direct_b = number.is_plain and (block_m <= 2 * rows or p.n * depth <= 131072)
    direct_a = number.is_plain and (block_n <= cols or p.m * depth <= 131072 or p.m == 1)
    direct_a = direct_a or in_rows
    return Tiling(
        *(rows, vectors, block_m, block_n, block_k, inner_m, direct_a, direct_b),
        *(ahead_a, ahead_b, False, part),
    )


def _streams(p: Problem, number: Number) -> bool:
    """Whether the time goes into reading B by its rows, which one task can do in whole."""
    direct = p.m <= 2 and p.b_unit == "p" and number.is_plain
    return direct and p.n <= 16384 and p.n * p.k * number.bytes >= _FAR


def _streamed(p: Problem, rows: int, vectors: int, cols: int) -> Tiling:
    """One or two rows of A: B is read once, and fastest by long stretches of memory.

    So tasks do whole rows of B and part of k; sums wait in the first cache in between.
    """
    block_n = _even(p.n, 4096, cols)
    tasks = p.count * -(-p.n // block_n)
    parts = min(-(-16 // tasks), p.k // 128) if tasks < 8 else 1
    part = _even(p.k, -(-p.k // parts), 8) if parts > 1 else 0
    return Tiling(rows, vectors, rows, block_n, 32, rows, True, True, part=part)


def _long(p: Problem) -> bool:
    """Much of k for a small C, as in the gradient of a weight."""
    if p.b_unit == "k" and p.m <= 96 and p.n >= 512:  # columns alone give tasks enough
        return False
    return p.k >= 2048 and p.k >= 4 * max(p.m, p.n) and p.work >= 4_000_000


def _part_of_k(p: Problem, blocks: int) -> int:
    """How much of k a task does where C alone gives too few tasks; 0 for all of it."""
    few = blocks * p.count
    if few >= 8 or not _long(p):
        return 0
    parts = min(-(-16 // few), p.k // 512)
    return _even(p.k, -(-p.k // parts), 8) if parts > 1 else 0


def _wants_dots(p: Problem, number: Number, lanes: int) -> bool:
    if p.b_strides[0] != 1 or p.a_strides[1] != 1 or (p.b_unit == "p" and p.k > 1 and p.n > 1):
        return False
    if not number.is_float or (p.m > 4 and p.n * p.k * number.bytes >= _FAR):
        return False
    return p.m <= 4 or (p.m <= 96 and p.k >= 16 * lanes)


def _dot_tiling(p: Problem, target: Target) -> Tiling:
    rows, cols = _DOT_TILES[target.n_vector_registers][min(p.m, 4) - 1]
    block_m = _even(p.m, 64, rows)
    share = 400_000 // max(1, block_m * p.k)  # columns in some microseconds of work
    block_n = _even(p.n, min(max(share, 2 * cols), 512), cols)
    return Tiling(rows, cols, block_m, block_n, dot=True)


def _largest_tile(p: Problem, lanes: int, target: Target, in_rows: bool) -> tuple[int, int]:
    """Most rows of a micro-tile, and its vectors."""
    registers = target.n_vector_registers
    if p.n <= lanes:
        return _NARROW[registers]
    if target.vector_bytes < 64 or p.m <= 6:
        return _TILES[registers]
    packed = _PACKED_HALVES if target.halves else _PACKED_512
    tiles = _IN_ROWS_512 if in_rows else packed
    if p.work <= _SMALL:  # one width alone: fewer kernels where lengths change
        return min(tiles, key=lambda tile: tile[1])[:2]

    def time(tile: tuple[int, int, float]) -> float:
        rows, vectors, each = tile
        return each * _whole(p.m, _even(p.m, rows)) * _whole(p.n, vectors * lanes)

    return min(tiles, key=time)[:2]


def _micro_tile(p: Problem, lanes: int, target: Target, in_rows: bool) -> tuple[int, int]:
    registers = target.n_vector_registers
    rows, vectors = _largest_tile(p, lanes, target, in_rows)
    if not target.has_mask and lanes <= 4:
        # Only whole registers are packed fast.
        rows = _even(max(p.m, 1), rows // lanes * lanes, lanes) if p.m > 2 else p.m
    else:
        rows = _even(max(p.m, 1), rows)
        if rows > 6 and p.work <= _SMALL:
            rows += rows & 1  # half as many kernels where lengths change, for a row that is wasted
    if p.m <= 2 and p.n >= registers * lanes:  # long stretches of B's rows: they come from memory
        vectors = registers // 2 // rows
    elif rows <= 6 and p.n > 2 * lanes and registers == 32 and vectors == 2:
        vectors = 4
    return max(rows, 1), vectors


def _block(p: Problem, rows: int, cols: int, lanes: int, target: Target) -> tuple[int, int]:
    """The block of C that is one task."""
    if p.work <= _SMALL:
        return -(-p.m // rows) * rows, -(-p.n // cols) * cols
    # From these on a side is cut no further while the other can be: each task reads all that lies across.
    tall, broad = (5 * side for side in _TILES[target.n_vector_registers])
    broad *= lanes
    most = (4 * tall, 512) if p.m > 512 and p.n > 512 else (512, 512)
    block_m, block_n = _even(p.m, most[0], rows), _even(p.n, most[1], cols)
    if p.count > 1 and p.work < 4_000_000:
        return block_m, block_n
    if _long(p):
        return block_m, block_n
    # Enough tasks for a few dozen cores, but none below some tens of microseconds. Cores do not run at
    # one speed: of long tasks more are needed, so that all end together.
    least, enough = 800_000, 24 if p.work >= _LARGE else 12
    while p.count * -(-p.m // block_m) * -(-p.n // block_n) < enough:
        if block_m * block_n * p.k < 2 * least or (block_m <= rows and block_n <= cols):
            break
        if p.n <= 512 and block_m > tall and p.m > p.n:  # each row of A is packed by one task
            block_m = _even(p.m, block_m // 2, rows)
            continue
        if p.k <= 128 and p.n > p.m and block_m > tall:  # mostly C is moved: by long rows
            block_m = _even(p.m, block_m // 2, rows)
            continue
        if p.n >= 2 * p.m and p.m <= 512 and block_n > broad:  # and each column of B
            block_n = _even(p.n, block_n // 2, cols)
            continue
        if block_n > cols and (block_n >= block_m or block_m <= rows):
            block_n = _even(p.n, max(cols, block_n // 2), cols)
        elif block_m >= p.m and p.count * -(-p.n // block_n) >= 12:
            break  # each column of B is packed by one task: as it should be
        else:
            block_m = _even(p.m, max(rows, block_m // 2), rows)
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
    """Steps, and how much of the workspace they use."""

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
    out_dtype: str = "",
) -> MatmulPlan:
    """The steps that compute C, of `out_dtype` if that is given. `extras` are the operands of the epilogue, in order.

    The workspace slot is used if `workspace_bytes` of the answer is not zero.
    """
    target = target or Target.host()
    if c.cols_stride != 1 and n > 1:
        raise NotImplementedError("matmul into C whose rows are not contiguous: write C transposed")
    operands = [a, b, c, *extras]
    sizes, strides = merge_batch(batch, [x.batch_strides for x in operands])
    a_strides = (a.rows_stride if m > 1 else 1, a.cols_stride if k > 1 else 1)
    b_strides = (b.rows_stride if k > 1 else 1, b.cols_stride if n > 1 else 1)
    out = out_dtype if out_dtype != dtype else ""
    problem = Problem(m, n, k, sizes, dtype, a_strides, b_strides, out)
    t = tiling(problem, target)
    if t.dot:
        return MatmulPlan([_dot_step(problem, t, epilogue, operands, strides, target)])
    if t.ahead_a or t.ahead_b:
        return _plan_ahead(problem, t, epilogue, operands, strides, target, workspace_slot)
    if t.part:
        return _plan_parts(problem, t, epilogue, operands, strides, target, workspace_slot)
    shape = GemmShape(
        *(dtype, _a_unit(problem, t), problem.b_unit, t.rows, t.vectors),
        *(len(sizes), False, epilogue, out),
    )
    step = _gemm_step(problem, t, shape, operands, strides, target)
    return MatmulPlan([step])


def _plan_ahead(p, t, epilogue, operands, strides, target, slot) -> MatmulPlan:
    """Large products: an operand that many tasks read is packed once, into the workspace."""
    lanes = target.vector_bytes // NUMBERS[p.dtype].compute_bytes
    depth = -(-p.k // lanes) * lanes + lanes  # packing runs over into the padding
    a, b, c, *extras = operands
    a_batch, b_batch, *other = strides
    steps, used, units = [], 0, [p.a_unit, p.b_unit]
    if t.ahead_a:
        step, a, a_batch, used = _pack_step(
            p, a, (p.m, t.rows, p.a_unit, *p.a_strides), a_batch, slot, used, depth
        )
        steps.append(step)
        p, units[0] = dataclasses.replace(p, a_strides=(1, depth)), "packed"
    if t.ahead_b:
        step, b, b_batch, used = _pack_step(
            p, b, (p.n, t.vectors * lanes, p.b_unit, *p.b_strides[::-1]), b_batch, slot, used, depth
        )
        steps.append(step)
        p, units[1] = dataclasses.replace(p, b_strides=(depth, 1)), "packed"
    if units[0] != "packed":
        units[0] = _a_unit(p, t)
    shape = GemmShape(p.dtype, *units, t.rows, t.vectors, len(p.batch), False, epilogue, p.out)
    steps.append(_gemm_step(p, t, shape, [a, b, c, *extras], [a_batch, b_batch, *other], target))
    return MatmulPlan(steps, used * NUMBERS[p.dtype].compute_bytes)


def _pack_step(p, x, side, batch, slot, used, depth):
    """One operand's packing, and what stands for the operand after it."""
    size, width, unit, s_panel, s_k = side
    panels = -(-size // width)
    # A stride of zero in the batch: packed once for all of them.
    sizes = tuple(n if s else 1 for n, s in zip(p.batch, batch, strict=True))
    out = _contiguous(sizes, panels * width * depth, batch)
    few, stretch = (panels, max(8, 16384 // size // 8 * 8)) if unit == "p" else (1, p.k)
    tasks = (-(-panels // few), -(-p.k // stretch))
    args = [x.slot, x.offset, slot, used, size, p.k, s_panel, s_k, depth]
    args += [few, stretch, *tasks, 1, 0, 1, 1, 1, 0, *sizes, *batch, *out]
    kernel = kernel_of(PackShape(p.dtype, unit, width, len(sizes)))
    count = math.prod(sizes)
    step = Step(kernel, args, math.prod(tasks) * count, 0, 0.15 * count * size * p.k)
    used += count * panels * width * depth + 64
    return step, Mat(slot, width, depth, out, used - count * panels * width * depth - 64), out, used


def _plan_parts(p, t, epilogue, operands, strides, target, slot) -> MatmulPlan:
    """Long k and a small C: tasks do parts of k, a second step adds them in order."""
    number = NUMBERS[p.dtype]
    parts = -(-p.k // t.part)
    batch = (*p.batch, parts)
    a, b, c, *extras = operands
    sheets = _contiguous(batch, p.m * p.n, (1,) * len(batch))
    split = [
        (*strides[0], t.part * p.a_strides[1]),
        (*strides[1], t.part * p.b_strides[0]),
        sheets,
    ]
    q = dataclasses.replace(p, batch=batch, k=t.part)
    held = "" if number.is_plain else "float32"
    units = _a_unit(p, t), p.b_unit
    shape = GemmShape(p.dtype, *units, t.rows, t.vectors, len(batch), True, (), held)
    step = _gemm_step(q, t, shape, [a, b, Mat(slot, p.n, 1)], split, target, p.k)
    rows = max(1, 4096 // p.n)
    tasks = -(-p.m // rows)
    args = [slot, 0, p.m * p.n, parts, c.slot, c.offset, c.rows_stride, p.m, p.n, rows]
    args += [*p.batch, *sheets[:-1], *strides[2], tasks]
    args += extra_arguments(epilogue, extras, strides[3:])
    kernel = kernel_of(ReduceShape(p.held.name, len(p.batch), epilogue))
    cost = 0.1 * math.prod(batch) * p.m * p.n
    last = Step(kernel, args, tasks * p.count, 0, cost)
    return MatmulPlan([step, last], math.prod(batch) * p.m * p.n * number.compute_bytes)


def _contiguous(sizes: tuple[int, ...], inner: int, like: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a packed batch; zero where `like` has zero."""
    out = []
    for size, s in zip(reversed(sizes), reversed(like), strict=True):
        out.append(inner if s else 0)
        inner *= size
    return tuple(reversed(out))


def _gemm_step(
    p: Problem, t: Tiling, shape: GemmShape, operands, strides, target, k_total: int = 0
) -> Step:
    number = NUMBERS[p.dtype]
    lanes = target.vector_bytes // number.compute_bytes
    cols = t.vectors * lanes
    tasks_m, tasks_n = -(-p.m // t.block_m), -(-p.n // t.block_n)
    depth = min(t.block_k, max(p.k, 1)) + lanes  # packing runs over by part of a square
    b_panels = -(-min(t.block_n, max(p.n, 1)) // cols) * cols * depth
    a_panels = -(-min(t.inner_m, max(p.m, 1)) // t.rows) * t.rows * depth + 4 * lanes
    a_start = 0 if t.ahead_b else -(-(b_panels + 4 * lanes) // 64) * 64
    spare = a_start if t.ahead_a else -(-(a_start + a_panels) // 64) * 64
    a, b, c = operands[:3]
    args = [a.slot, a.offset, b.slot, b.offset, c.slot, c.offset, p.m, p.n, p.k, k_total or p.k]
    args += [*p.a_strides, *p.b_strides, c.rows_stride]
    args += [t.block_m, t.block_n, t.block_k, t.inner_m, tasks_m, tasks_n]
    args += [int(t.direct_a), int(t.direct_b), a_start, spare]
    args += p.batch
    for s in strides[:3]:
        args += s
    args += extra_arguments(shape.fused, operands[3:], strides[3:])
    scratch = (spare + t.rows * cols) * number.compute_bytes
    cost = 2.0 * p.work * p.count / 150 + 100
    return Step(kernel_of(shape), args, tasks_m * tasks_n * p.count, scratch, cost)


def _dot_step(p: Problem, t: Tiling, epilogue, operands, strides, target) -> Step:
    number = NUMBERS[p.dtype]
    shape = DotShape(p.dtype, t.rows, t.vectors, len(p.batch), epilogue, p.out)
    tasks_m, tasks_n = -(-p.m // t.block_m), -(-p.n // t.block_n)
    lanes = target.vector_bytes // number.compute_bytes
    spare_row = -(-t.block_n // lanes) * lanes
    a, b, c = operands[:3]
    args = [a.slot, a.offset, b.slot, b.offset, c.slot, c.offset, p.m, p.n, p.k]
    args += [p.a_strides[0], p.b_strides[1], c.rows_stride]
    args += [t.block_m, t.block_n, tasks_m, tasks_n, spare_row, *p.batch]
    for s in strides[:3]:
        args += s
    args += extra_arguments(epilogue, operands[3:], strides[3:])
    scratch = (t.block_m * spare_row + lanes) * number.compute_bytes
    cost = p.count * max(2.0 * p.work / 120, p.n * p.k * number.bytes / 15) + 100
    return Step(kernel_of(shape), args, tasks_m * tasks_n * p.count, scratch, cost)


def stores_once(step: Step) -> bool:
    """Whether a product's last step stores each element of C once, after its epilogue read there.

    An operand that is walked through as C is may then lie where C does.
    """
    shape = getattr(step.kernel, "shape", None)
    if isinstance(shape, (DotShape, ReduceShape)):
        return True
    if not isinstance(shape, GemmShape) or shape.split or any(f.heavy for f in shape.fused):
        return False
    return step.args[HEADER.index("k")] <= step.args[HEADER.index("block_k")]


def extra_arguments(fused, extras, strides) -> list[int]:
    """The step arguments of an epilogue's operands."""
    args: list[int] = []
    kinds = [kind for f in fused for kind in f.kinds]
    for kind, extra, batch in zip(kinds, extras, strides, strict=True):
        args.append(extra.slot)
        if kind != "s":
            args += [extra.offset, extra.rows_stride, *batch]
    return args
