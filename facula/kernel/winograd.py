"""3 x 3 convolutions by Winograd's minimal filtering, as steps."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from facula.kernel.matmul import MatmulPlan, extra_arguments, kernel_name, kernel_of
from facula.kernel.step import Step
from facula.llvm.target import Target
from facula.llvm.tile_epilogue import Fused
from facula.llvm.tile_gemm import ReduceShape
from facula.llvm.tile_winograd import (
    WinogradShape,
    WinogradWeightShape,
    WinogradWriter,
    write_weights,
)
from facula.llvm.tile_winograd_turn import TurnShape, TurnWriter
from facula.llvm.tile_winograd_weight import WeightProductShape, WeightProductWriter

_MOST = 150_000  # turned numbers that a task may hold
_ROWS = {32: (14, 2), 16: (6, 2)}


@dataclass(frozen=True)
class WinogradKernel:
    """The code of the convolution, of turning its operands, or of its weight's gradient."""

    shape: WinogradShape | WinogradWeightShape | TurnShape | WeightProductShape

    @functools.cached_property
    def key(self) -> str:
        return self.shape.key

    def ir(self, target: Target) -> tuple[str, str]:
        name = kernel_name(self.key)
        match self.shape:
            case WinogradWeightShape():
                return name, write_weights(self.shape, target, name)
            case TurnShape():
                return name, TurnWriter(self.shape, target, name).write()
            case WeightProductShape():
                return name, WeightProductWriter(self.shape, target, name).write()
        return name, WinogradWriter(self.shape, target, name).write()


_kernel = functools.cache(WinogradKernel)


def pays(n: int, c: int, m: int, out: tuple[int, int]) -> bool:
    """Whether saving multiplications outweighs the transforms.

    The figures are cycles on a CPU with 16 lanes, fitted to measurements: of a register's tiles
    turned in one channel (more when more of memory is touched), and of 32 multiplications.
    """
    if min(c, m) < 16 or min(out) < 6 or n * out[0] * out[1] < 512:
        return False
    high, wide = -(-out[0] // 4), -(-out[1] // 4)
    turns = high * -(-wide // 16)
    transforms = turns * (c * min(60 + 130 * wide, 1100) + m * min(80 + 35 * wide, 400))
    products = 1.15 * 36 * c * m * high * wide / 32
    direct = 1.35 * 9 * c * m * out[0] * out[1] / 32
    return transforms + products < 0.9 * direct


def plan_winograd(
    sizes: tuple[int, int, int],
    source: tuple[int, int],
    out: tuple[int, int],
    padding: tuple[int, int],
    weight: tuple[int, int, int, int],
    flip: bool,
    x: tuple[int, int, tuple[int, int, int]],
    y: tuple[int, int, tuple[int, int, int]],
    slot: int,
    epilogue: tuple[Fused, ...],
    extras,
    target: Target,
) -> MatmulPlan:
    """`sizes` are (images, source channels, result channels); `weight` is (slot, offset, stride of
    result channels, of source channels); x and y are (slot, offset, strides)."""
    (n, c, m), lanes = sizes, target.vector_bytes // 4
    most, vectors = _ROWS[target.n_vector_registers]
    rows = -(-m // -(-m // most))
    panels = -(-m // rows)
    tiles_h, tiles_w = -(-out[0] // 4), -(-out[1] // 4)
    cols = vectors * lanes
    block = _block(n * tiles_h, c, m, tiles_w, cols)
    row = -(-(block * tiles_w + lanes) // cols) * cols  # the last register may run over
    v_plane, m_plane = _plane(c * row), _plane(rows * row)
    total = 36 * (v_plane + m_plane)
    args = [x[0], x[1], *x[2], y[0], y[1], *y[2], slot, 0, *source, *out, *padding, c, m]
    args += [
        tiles_h,
        tiles_w,
        block,
        n * tiles_h,
        row,
        v_plane,
        m_plane,
        36 * v_plane,
        total,
        panels,
    ]
    args += [n, 1]
    args += extra_arguments(epilogue, extras, [e.batch_strides for e in extras])
    w_args = [weight[0], weight[1], weight[2], weight[3], m, c, slot, 0, panels]
    first = Step(_kernel(WinogradWeightShape(rows, flip)), w_args, panels, 0, 1.0 * m * c)
    cost = 2.0 * n * m * c * 36 * tiles_h * tiles_w / 100 + 500
    kernel = _kernel(WinogradShape(rows, vectors, epilogue))
    second = Step(kernel, args, -(-n * tiles_h // block), 4 * (total + source[1] + lanes), cost)
    return MatmulPlan([first, second], 4 * 36 * panels * rows * c + 64)


def _plane(size: int) -> int:
    """A distance that spreads the 36 planes over the cache's sets."""
    return -(-size // 1024) * 1024 + 80


def _block(rows: int, c: int, m: int, tiles_w: int, cols: int) -> int:
    """Rows of tiles that a task does: enough to fill panels, few enough for its cache."""
    most = min(rows, max(1, _MOST // (36 * c * tiles_w), 2 * cols // tiles_w))
    while most > 1 and -(-rows // most) < 8 and most * tiles_w > cols:
        most -= 1

    def waste(count: int) -> float:
        used = sum(-(-min(count, rows - r) * tiles_w // cols) for r in range(0, rows, count))
        return used * cols / (rows * tiles_w) + 0.1 / count

    return min(range(max(1, most // 2), most + 1), key=waste)


# -- images turned beforehand ---------------------------------------------------------------------

Placed = tuple[int, int, tuple[int, int, int]]  # (slot, offset, strides of images, channels, rows)
_TURNED = 4_000_000  # turned numbers that are kept at a time; images take turns beyond
_CHANNELS = 64  # channels, and result channels, of a task of the weight's gradient


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
    return Step(_kernel(TurnShape(gradient)), args, n * blocks_h * blocks_c, scratch, cost)


def gradient_pays(n: int, c: int, m: int, out: tuple[int, int]) -> bool:
    """Whether the weight's gradient is quicker so than directly.

    In operations on registers: the transforms of a tile in 16 channels take about 250, the last
    one of 16 weights about 300.
    """
    tiles = n * -(-out[0] // 4) * -(-out[1] // 4)
    if min(c, m) < 16 or tiles < 8:
        return False
    transforms = (250 * tiles * (c + m) + 300 * c * m) / 16
    products = 1.3 * 36 * tiles * c * m / 16
    return transforms + products < 1.3 * 9 * n * out[0] * out[1] * c * m / 16


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
    most, vectors = _ROWS[target.n_vector_registers]
    tiles = (-(-out[0] // 4), -(-out[1] // 4))
    each = tiles[0] * tiles[1]
    block_c, block_m = min(c, _CHANNELS), min(m, _CHANNELS)
    rows = -(-block_c // -(-block_c // most))
    tasks = -(-c // block_c) * -(-m // block_m)
    images = min(n, max(1, _TURNED // (36 * each * (c + m))))
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
    kernel = _kernel(WeightProductShape(rows, vectors))
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
