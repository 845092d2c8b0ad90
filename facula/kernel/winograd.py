"""3 x 3 convolutions by Winograd's minimal filtering, as steps."""

from __future__ import annotations

from dataclasses import dataclass

from facula.kernel.matmul import MatmulPlan, extra_arguments, kernel_of
from facula.kernel.step import Step
from facula.kernel.written import written_kernel
from facula.llvm.target import Target
from facula.llvm.tile_epilogue import Fused
from facula.llvm.tile_gemm import ReduceShape
from facula.llvm.tile_winograd_products import (
    ProductShape,
    ProductWriter,
    TurnWeightShape,
    write_turn_weights,
)
from facula.llvm.tile_winograd_turn import TurnShape, TurnWriter
from facula.llvm.tile_winograd_weight import WeightProductShape, WeightProductWriter

Placed = tuple[int, int, tuple[int, int, int]]  # (slot, offset, strides of images, channels, rows)
# turned numbers of an operand that are kept at a time; images take turns beyond
_TURNED = 1_000_000
_TILES = 64  # of a task
_MOST_ROWS = {32: 12, 16: 5}  # of a register tile whose rows lie apart, and side by side
_PRODUCT_ROWS = {32: (14, 2), 16: (6, 2)}
_CHANNELS = 64  # channels, and result channels, of a task of the weight's gradient


def pays(n: int, c: int, m: int, out: tuple[int, int]) -> bool:
    """Whether saving multiplications outweighs the transforms.

    In operations on registers of 16: the transforms of a tile in 16 channels take about 250, of 16
    weights about 300.
    """
    if min(c, m) < 16:
        return False
    tiles = n * -(-out[0] // 4) * -(-out[1] // 4)
    transforms = (250 * tiles * (c + m) + 300 * c * m) / 16
    products = 1.3 * 36 * max(tiles, 4) * c * m / 16
    return transforms + products < 1.3 * 9 * n * out[0] * out[1] * c * m / 16


def _plane(size: int) -> int:
    """A distance that spreads the 36 planes over the cache's sets."""
    return -(-size // 1024) * 1024 + 80


@dataclass(frozen=True)
class Turned:
    """Turned images in the workspace: [36][tile][channel]."""

    offset: int
    row: int
    plane: int

    @property
    def end(self) -> int:
        return self.offset + 36 * self.plane + 64  # tiles of the product may read on


def turned(tiles: int, c: int, offset: int, lanes: int) -> Turned:
    """Room for so many tiles."""
    row = -(-c // lanes) * lanes
    if row % 256 == 0 and tiles > 1:
        row += lanes  # tiles spread over the cache's sets
    return Turned(offset, row, _plane(tiles * row))


def turn_images(
    sizes: tuple[int, int],
    source: tuple[int, int],
    tiles: tuple[int, int],
    padding: tuple[int, int],
    x: Placed,
    to: tuple[int, Turned],
    gradient: bool,
    lanes: int,
) -> Step:
    """`sizes` are (images, channels), `tiles` of an image (down, across)."""
    (n, c), (slot, room), halo = sizes, to, 0 if gradient else 2
    width = -(-source[1] // lanes) * lanes
    pitch = max(4 * tiles[1] + halo, padding[1] + width)
    # a task's copy should stay in the cache
    block = min(tiles[0], max(1, 80_000 // (4 * pitch * lanes)))
    blocks_h, blocks_c = -(-tiles[0] // block), -(-c // lanes)
    args = [x[0], x[1], *x[2], *source, *padding, c, *tiles, block, blocks_h, blocks_c, pitch]
    args += [slot, room.offset, room.row, room.plane]
    scratch = 4 * (4 * block + halo) * pitch * lanes
    cost = 80.0 * n * tiles[0] * tiles[1] * blocks_c
    kernel = written_kernel(TurnShape(gradient), TurnWriter)
    return Step(kernel, args, n * blocks_h * blocks_c, scratch, cost)


def plan_weight_gradient(
    sizes: tuple[int, int, int],
    source: tuple[int, int],
    out: tuple[int, int],
    padding: tuple[int, int],
    x: Placed,
    dy: Placed,
    dw: tuple[int, int],
    slot: int,
    target: Target,
) -> MatmulPlan:
    """The gradient of the weight; `sizes` are (images, source channels, result channels)."""
    (n, c, m), lanes = sizes, target.vector_bytes // 4
    most, vectors = _PRODUCT_ROWS[target.n_vector_registers]
    tiles = (-(-out[0] // 4), -(-out[1] // 4))
    each = tiles[0] * tiles[1]
    block_c, block_m = min(c, _CHANNELS), min(m, _CHANNELS)
    rows = -(-block_c // -(-block_c // most))
    tasks = -(-c // block_c) * -(-m // block_m)
    images = min(n, max(1, 2 * _TURNED // (36 * each * (c + m))))
    rounds = -(-n // images)
    images = -(-n // rounds)
    parts = min(-(-16 // (tasks * rounds)), max(1, images * each // 32))
    part_tiles = -(-images * each // parts)
    parts = -(-images * each // part_tiles)
    v = turned(images * each, c, 0, lanes)
    d = turned(images * each, m, v.end, lanes)
    row = -(-block_m // (vectors * lanes)) * vectors * lanes
    plane = _plane(-(-block_c // rows) * rows * row)
    total = 36 * plane + (9 * block_c + lanes) * lanes
    kernel = written_kernel(WeightProductShape(rows, vectors), WeightProductWriter)
    steps: list[Step] = []
    done = 0
    for first in range(0, n, images):
        count = min(images, n - first)
        xs = (x[0], x[1] + first * x[2][0], x[2])
        dys = (dy[0], dy[1] + first * dy[2][0], dy[2])
        steps.append(turn_images((count, c), source, tiles, padding, xs, (slot, v), False, lanes))
        steps.append(turn_images((count, m), out, tiles, (0, 0), dys, (slot, d), True, lanes))
        here = -(-count * each // part_tiles)
        to = dw if rounds * parts == 1 else (slot, d.end + done * m * c * 9)
        done += here
        args = [slot, v.offset, v.row, v.plane, slot, d.offset, d.row, d.plane]
        args += [count * each, part_tiles, c, m, block_c, block_m]
        args += [-(-c // block_c), -(-m // block_m), *to, m * c * 9, c * 9, row, plane, 36 * plane]
        cost = 2.0 * 36 * count * each * c * m / 100 + 500
        steps.append(Step(kernel, args, here * tasks, 4 * total, cost))
    if rounds * parts == 1:
        return MatmulPlan(steps, 4 * d.end)
    few = max(1, 4096 // (9 * c))
    args = [slot, d.end, m * c * 9, done, *dw, c * 9, m, c * 9, few, -(-m // few)]
    fold = Step(kernel_of(ReduceShape("float32", 0, ())), args, -(-m // few), 0, 0.9 * m * c * done)
    return MatmulPlan([*steps, fold], 4 * (d.end + done * m * c * 9))


def _rows_of(tiles: int, most: int) -> int:
    """The height of a register tile: tall, and with little left over."""
    if tiles <= most:
        return tiles
    return max(range(most // 2, most + 1), key=lambda r: tiles / (-(-tiles // r) * r) - 0.3 / r)


def plan_winograd(
    sizes: tuple[int, int, int],
    source: tuple[int, int],
    out: tuple[int, int],
    padding: tuple[int, int],
    weight: tuple[int, int, int, int],
    flip: bool,
    x: Placed,
    y: Placed,
    slot: int,
    epilogue: tuple[Fused, ...],
    extras,
    target: Target,
) -> MatmulPlan:
    """`sizes` are (images, source channels, result channels); `weight` is (slot, offset, stride of
    result channels, of source channels)."""
    (n, c, m), lanes = sizes, target.vector_bytes // 4
    tiles = (-(-out[0] // 4), -(-out[1] // 4))
    each = tiles[0] * tiles[1]
    images = min(n, max(1, _TURNED // (36 * each * c)))
    rounds = -(-n // images)
    images = -(-n // rounds)
    v = turned(images * each, c, 0, lanes)
    vectors = 2 if m > lanes else 1
    cols = vectors * lanes
    block_m, tasks_m = cols, -(-m // cols)
    rows_all = images * tiles[0]
    blocks = max(1, round(images * each / _TILES))
    block = max(1, -(-rows_all // blocks))
    blocks = -(-rows_all // block)
    rows = _rows_of(block * tiles[1], _MOST_ROWS[target.n_vector_registers])
    ahead = blocks * rounds > 2
    end = v.end
    steps: list[Step] = []
    few = block * tiles[1] <= 32 or target.n_vector_registers == 32
    stretch = min(c, 64 if few else 32)
    u_row = cols
    if ahead:
        u_row = tasks_m * cols
        u_plane = _plane(c * u_row)
        args = [*weight, m, c, slot, end, u_row, u_plane]
        turning = written_kernel(TurnWeightShape(flip), write_turn_weights)
        steps.append(Step(turning, args, -(-m // lanes), 0, 1.5 * m * c))
        u, products = (slot, end), 0
        end += 36 * u_plane + 64
    else:
        u_plane = _plane(stretch * u_row)
        u, products = (0, 0), 36 * u_plane
    plane = _plane(-(-block * tiles[1] // rows) * rows * cols)
    stage = products + 36 * plane
    merged = out[1] % 4 == 0 and y[2][2] == out[1]
    pitch = 4 * tiles[1]
    total = stage + 4 * pitch * lanes + 2 * lanes * lanes
    kernel = written_kernel(ProductShape(rows, vectors, flip, ahead, epilogue), ProductWriter)
    for first in range(0, n, images):
        count = min(images, n - first)
        xs = (x[0], x[1] + first * x[2][0], x[2])
        steps.append(turn_images((count, c), source, tiles, padding, xs, (slot, v), False, lanes))
        args = [slot, v.offset, v.row, v.plane, y[0], y[1], *y[2], *out, *weight, m, c, stretch]
        args += [*u, u_row, u_plane, *tiles, block, count * tiles[0], first, block_m, tasks_m]
        args += [cols, plane, products, stage, pitch, 4 if merged else 1, n, 1]
        args += extra_arguments(epilogue, extras, [e.batch_strides for e in extras])
        cost = 2.0 * 36 * count * each * c * m / 100 + 500
        tasks = -(-count * tiles[0] // block) * tasks_m
        steps.append(Step(kernel, args, tasks, 4 * total, cost))
    return MatmulPlan(steps, 4 * end)
