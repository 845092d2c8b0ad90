"""3 x 3 convolutions by Winograd's minimal filtering, as steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from facula.kernel.matmul import Extra, MatmulPlan, extra_arguments, kernel_of
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


@dataclass(frozen=True)
class Minimal:
    """The numbers of a 3 x 3 convolution of stride one: n images with c channels, results with m."""

    n: int
    c: int
    m: int
    source: tuple[int, int]
    out: tuple[int, int]
    padding: tuple[int, int]

    @property
    def tiles(self) -> tuple[int, int]:
        """Of an image's results: down, across."""
        return -(-self.out[0] // 4), -(-self.out[1] // 4)

    @property
    def each(self) -> int:
        """The tiles of an image."""
        return self.tiles[0] * self.tiles[1]

    def lots(self, most: int) -> list[tuple[int, int]]:
        """The images in lots of nearly equal size, none above `most`: (first, how many)."""
        count = -(-self.n // -(-self.n // min(self.n, max(1, most))))
        return [(first, min(count, self.n - first)) for first in range(0, self.n, count)]


@dataclass(frozen=True)
class Weights:
    """Weights in a buffer: strides of result and of source channels; `flip`: walked backwards."""

    slot: int
    offset: int
    m_stride: int
    c_stride: int
    flip: bool = False


def _from_image(x: Placed, first: int) -> Placed:
    """The images from one on."""
    return x[0], x[1] + first * x[2][0], x[2]


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
    conv: Minimal, x: Placed, dy: Placed, dw: tuple[int, int], slot: int, target: Target
) -> MatmulPlan:
    """The gradient of the weight, which goes to `dw`, (slot, offset)."""
    c, m, each, lanes = conv.c, conv.m, conv.each, target.vector_bytes // 4
    most, vectors = _PRODUCT_ROWS[target.n_vector_registers]
    block_c, block_m = min(c, _CHANNELS), min(m, _CHANNELS)
    rows = -(-block_c // -(-block_c // most))
    tasks = -(-c // block_c) * -(-m // block_m)
    lots = conv.lots(2 * _TURNED // (36 * each * (c + m)))
    all_tiles = lots[0][1] * each
    parts = min(-(-16 // (tasks * len(lots))), max(1, all_tiles // 32))
    part_tiles = -(-all_tiles // parts)
    parts = -(-all_tiles // part_tiles)
    v = turned(all_tiles, c, 0, lanes)
    d = turned(all_tiles, m, v.end, lanes)
    row = -(-block_m // (vectors * lanes)) * vectors * lanes
    plane = _plane(-(-block_c // rows) * rows * row)
    total = 36 * plane + (9 * block_c + lanes) * lanes
    kernel = written_kernel(WeightProductShape(rows, vectors), WeightProductWriter)
    at_once = len(lots) * parts == 1  # nothing is to be added up
    steps: list[Step] = []
    done = 0
    for first, count in lots:
        xs, dys = _from_image(x, first), _from_image(dy, first)
        steps += [
            turn_images(
                (count, c), conv.source, conv.tiles, conv.padding, xs, (slot, v), False, lanes
            ),
            turn_images((count, m), conv.out, conv.tiles, (0, 0), dys, (slot, d), True, lanes),
        ]
        here = -(-count * each // part_tiles)
        to = dw if at_once else (slot, d.end + done * m * c * 9)
        done += here
        args = [slot, v.offset, v.row, v.plane, slot, d.offset, d.row, d.plane]
        args += [count * each, part_tiles, c, m, block_c, block_m]
        args += [-(-c // block_c), -(-m // block_m), *to, m * c * 9, c * 9, row, plane, 36 * plane]
        cost = 2.0 * 36 * count * each * c * m / 100 + 500
        steps.append(Step(kernel, args, here * tasks, 4 * total, cost))
    if at_once:
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


def _turn_weights(
    conv: Minimal, weight: Weights, to: tuple[int, int, int, int], lanes: int
) -> Step:
    """The step that turns all weights, to (slot, offset, row, plane)."""
    args = [weight.slot, weight.offset, weight.m_stride, weight.c_stride, conv.m, conv.c, *to]
    kernel = written_kernel(TurnWeightShape(weight.flip), write_turn_weights)
    return Step(kernel, args, -(-conv.m // lanes), 0, 1.5 * conv.m * conv.c)


def plan_winograd(
    conv: Minimal,
    weight: Weights,
    x: Placed,
    y: Placed,
    slot: int,
    epilogue: tuple[Fused, ...],
    extras: Sequence[Extra],
    target: Target,
) -> MatmulPlan:
    """The steps of a convolution: its images are turned, lot by lot, and multiplied by its weights.

    The weights are turned by a step of their own where several tasks need them.
    """
    (c, m), lanes = (conv.c, conv.m), target.vector_bytes // 4
    down, across = conv.tiles
    lots = conv.lots(_TURNED // (36 * conv.each * c))
    most = lots[0][1]
    v = turned(most * conv.each, c, 0, lanes)
    vectors = 2 if m > lanes else 1
    cols = vectors * lanes
    tasks_m = -(-m // cols)
    # a task does some rows of tiles, of all images one after the other
    block = max(1, -(-most * down // max(1, round(most * conv.each / _TILES))))
    blocks = -(-most * down // block)
    rows = _rows_of(block * across, _MOST_ROWS[target.n_vector_registers])
    few = block * across <= 32 or target.n_vector_registers == 32
    stretch = min(c, 64 if few else 32)  # channels whose weights a task turns at a time
    ahead = blocks * len(lots) > 2  # else each task turns its weights itself
    end, steps = v.end, list[Step]()
    if ahead:
        u_row = tasks_m * cols
        u_plane = _plane(c * u_row)
        u, products = (slot, end), 0
        steps.append(_turn_weights(conv, weight, (*u, u_row, u_plane), lanes))
        end += 36 * u_plane + 64
    else:
        u_row, u_plane = cols, _plane(stretch * cols)
        u, products = (0, 0), 36 * u_plane
    plane = _plane(-(-block * across // rows) * rows * cols)
    stage = products + 36 * plane
    merged = conv.out[1] % 4 == 0 and y[2][2] == conv.out[1]
    pitch = 4 * across
    total = stage + 4 * pitch * lanes + 2 * lanes * lanes
    kernel = written_kernel(
        ProductShape(rows, vectors, weight.flip, ahead, epilogue), ProductWriter
    )
    for first, count in lots:
        xs = _from_image(x, first)
        steps.append(
            turn_images(
                (count, c), conv.source, conv.tiles, conv.padding, xs, (slot, v), False, lanes
            )
        )
        args = [slot, v.offset, v.row, v.plane, y[0], y[1], *y[2], *conv.out]
        args += [weight.slot, weight.offset, weight.m_stride, weight.c_stride, m, c, stretch]
        args += [*u, u_row, u_plane, down, across, block, count * down, first, cols, tasks_m]
        args += [cols, plane, products, stage, pitch, 4 if merged else 1, conv.n, 1]
        args += extra_arguments(epilogue, extras, [e.batch_strides for e in extras])
        cost = 2.0 * 36 * count * conv.each * c * m / 100 + 500
        tasks = -(-count * down // block) * tasks_m
        steps.append(Step(kernel, args, tasks, 4 * total, cost))
    return MatmulPlan(steps, 4 * end)
