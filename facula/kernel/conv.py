"""Two-dimensional convolution and its gradients, as steps.

Images are (N, C, H, W) with contiguous rows, weights (O, C / groups, R, S) contiguous. The forward
pass and, for stride 1, the gradient of the input are matrix products weight x patches; the
gradient of the weight sums dY x patches over images.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass

from facula.kernel.matmul import Extra, Mat, MatmulPlan, extra_arguments, kernel_name, kernel_of
from facula.kernel.step import Step
from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS
from facula.llvm.tile_conv import ConvShape, ConvWriter
from facula.llvm.tile_epilogue import Fused
from facula.llvm.tile_gemm import PackShape


@dataclass(frozen=True)
class Image:
    """A batch of images in a buffer: rows are contiguous, other strides free."""

    slot: int
    strides: tuple[int, int, int]  # of images, channels, rows
    offset: int = 0


@dataclass(frozen=True)
class Conv:
    """The numbers of a convolution."""

    n: int
    c: int
    h: int
    w: int
    o: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    dtype: str = "float32"

    @property
    def out(self) -> tuple[int, int]:
        """Height and width of the result."""
        sizes = zip(
            *((self.h, self.w), self.kernel, self.stride, self.padding, self.dilation), strict=True
        )
        h, w = ((x + 2 * p - d * (k - 1) - 1) // s + 1 for x, k, s, p, d in sizes)
        return h, w

    @property
    def c_in(self) -> int:
        return self.c // self.groups

    @property
    def c_out(self) -> int:
        return self.o // self.groups

    @property
    def window(self) -> int:
        return self.kernel[0] * self.kernel[1]


@dataclass(frozen=True)
class ConvKernel:
    """The code of a convolution."""

    shape: ConvShape

    @functools.cached_property
    def key(self) -> str:
        return self.shape.key

    def ir(self, target: Target) -> tuple[str, str]:
        name = kernel_name(self.key)
        return name, ConvWriter(self.shape, target, name).write()


_kernel = functools.cache(ConvKernel)


@dataclass(frozen=True)
class _Cut:
    """How a convolution is cut into tasks and tiles."""

    rows: int
    vectors: int
    block_m: int
    block_n: int
    block_k: int
    images: int = 0  # a task does so many small images side by side; 0: a part of one


_TILES = {32: (14, 2), 16: (6, 2)}
_SCRATCH = 160_000  # numbers of packed patches that a task may hold


def _even(total: int, most: int, multiple: int = 1) -> int:
    pieces = -(-total // max(most, 1))
    size = -(-total // pieces)
    return -(-size // multiple) * multiple


@functools.lru_cache(maxsize=1024)
def _cut(conv: Conv, m: int, k: int, target: Target) -> _Cut:
    lanes = target.vector_bytes // NUMBERS[conv.dtype].compute_bytes
    rows, vectors = _TILES[target.n_vector_registers]
    rows = _even(m, rows)
    oh, ow = conv.out
    pixels = oh * ow
    block_k = _even(k, 1024, 8)
    images = _images(conv, pixels, block_k, vectors * lanes)
    if max(images, 1) * pixels <= lanes:
        vectors = 1
    elif rows <= 6 and target.n_vector_registers == 32:
        vectors = 4
    cols = vectors * lanes
    if images:
        tiles = -(-m // rows)
        blocks = -(-conv.n // images) * conv.groups
        parts = min(-(-8 // blocks), max(1, tiles // 4))
        return _Cut(rows, vectors, -(-tiles // parts) * rows, images * pixels, block_k, images)
    block_n = min(pixels, max(cols, _SCRATCH // block_k))
    blocks = conv.n * conv.groups
    # Enough tasks for a few dozen cores while a task stays above some tens of microseconds.
    while blocks * -(-pixels // block_n) < 16 and block_n * k * m > 4_000_000 and block_n > cols:
        block_n = max(cols, block_n // 2)
    return _Cut(
        *(rows, vectors, -(-m // rows) * rows, _whole_rows(pixels, block_n, ow, cols), block_k)
    )


def _images(conv: Conv, pixels: int, block_k: int, cols: int) -> int:
    """How many images a task does: several where one does not fill panels."""
    if pixels >= 4 * cols or conv.n == 1:
        return 0
    most = min(conv.n, max(1, max(cols, _SCRATCH // block_k) // pixels))
    full = pixels / (-(-pixels // cols) * cols)
    best, best_gain = 1, full
    for images in range(2, most + 1):
        columns = images * pixels
        gain = columns / (-(-columns // cols) * cols)
        gain *= conv.n / (-(-conv.n // images) * images)
        if gain > best_gain + 0.04:
            best, best_gain = images, gain
    return 0 if best == 1 else best


def _whole_rows(pixels: int, most: int, ow: int, cols: int) -> int:
    """A block near `most` pixels that wastes little: output rows that fill up panels."""
    if most >= pixels:
        return pixels
    best, best_cost = most // cols * cols, 1e9
    for block in [*range(ow, most + 1, ow), *range(cols, most + 1, cols)]:
        tiles = sum(-(-min(block, pixels - first) // cols) for first in range(0, pixels, block))
        tasks = -(-pixels // block)
        # A block that does not begin with an output row copies a row more.
        cost = tiles + 0.3 * tasks + (0.3 * tasks if block % ow else 0)
        if cost < best_cost or (cost == best_cost and block > best):
            best, best_cost = block, cost
    return max(best, 1)


def plan_conv(
    conv: Conv,
    x: Image,
    weight: tuple[int, int],
    y: Image,
    workspace_slot: int,
    epilogue: tuple[Fused, ...] = (),
    extras: tuple[Extra, ...] = (),
    target: Target | None = None,
) -> MatmulPlan:
    """The forward pass. `weight` is (slot, offset); `y`'s images must be contiguous in (H, W).

    An epilogue sees a result as a matrix (channel of the group, pixel), batched over (N, groups):
    a bias is BIAS_M with batch strides (0, channels per group).
    """
    target = target or Target.host()
    taps = (0, 1, 0, 1)
    k = conv.c_in * conv.window
    pack = (conv.c_out, k, 1, 0, k, 1, conv.c_out * k)
    return _plan(
        conv, conv.c_out, taps, pack, x, weight, y, workspace_slot, epilogue, extras, target
    )


def plan_conv_input_gradient(
    conv: Conv,
    dy: Image,
    weight: tuple[int, int],
    dx: Image,
    workspace_slot: int,
    target: Target | None = None,
) -> MatmulPlan:
    """The gradient of the input."""
    target = target or Target.host()
    if conv.stride != (1, 1):
        raise NotImplementedError("input gradient of a strided convolution")
    kh, kw = conv.kernel
    oh, ow = conv.out
    back = dataclasses.replace(
        *(conv,),
        c=conv.o,
        o=conv.c,
        h=oh,
        w=ow,
        padding=(
            conv.dilation[0] * (kh - 1) - conv.padding[0],
            conv.dilation[1] * (kw - 1) - conv.padding[1],
        ),
    )
    # A is the weight with its channels exchanged; the taps are walked backwards.
    taps = (kh - 1, -1, kw - 1, -1)
    k = conv.c_in * conv.window
    pack = (conv.c_in, conv.window, conv.c_out, k, conv.window, 1, conv.c_out * k)
    return _plan(back, conv.c_in, taps, pack, dy, weight, dx, workspace_slot, (), (), target)


def _plan(conv, m, taps, pack, x, weight, y, slot, epilogue, extras, target) -> MatmulPlan:
    k = conv.c_in * conv.window
    cut = _cut(conv, m, k, target)
    number = NUMBERS[conv.dtype]
    lanes = target.vector_bytes // number.compute_bytes
    depth = -(-k // lanes) * lanes + lanes
    packed, used = _pack_weight(conv, pack, cut, weight, slot, depth)
    per_task = max(cut.images, 1)
    batch = (-(-conv.n // per_task), conv.groups)
    strides = (
        *(0, -(-m // cut.rows) * cut.rows * depth),
        *(x.strides[0] * per_task, conv.c_in * x.strides[1]),
        *(y.strides[0] * per_task, m * y.strides[1]),
    )
    room = _scratch(conv, cut, k, lanes)
    (oh, ow), (sh, sw) = conv.out, conv.stride
    columns = oh * ow * per_task
    tasks_n, tasks_m = -(-columns // cut.block_n), -(-m // cut.block_m)
    y_row = room["result_row"] if cut.images else y.strides[1]
    args = [slot, 0, x.slot, x.offset, y.slot, y.offset, m, columns, k, k]
    args += [1, depth, depth, 0, y_row, cut.block_m, cut.block_n, cut.block_k, cut.block_m]
    args += [tasks_m, tasks_n, 0, 0, 0, room["spare"], *batch, *strides]
    args += [conv.h, conv.w, x.strides[1], x.strides[2], conv.c_in, *conv.kernel, sh, sw]
    args += [*conv.dilation, *conv.padding, oh, ow, _field_width(conv), *taps]
    args += [room["tables"], room["field"], per_task, conv.n, x.strides[0], *y.strides[:2]]
    args.append(room["result"])
    args += extra_arguments(epilogue, extras, [e.batch_strides for e in extras])
    run_vectors = -(-min(ow, cut.vectors * lanes) // lanes)
    shape = ConvShape(
        *(conv.dtype, cut.rows, cut.vectors, 2, sw if sw <= 2 else 0, run_vectors),
        *(cut.images > 0, epilogue),
    )
    cost = 2.0 * m * oh * ow * k * conv.n * conv.groups / 120 + 500
    count = tasks_m * tasks_n * math.prod(batch)
    step = Step(_kernel(shape), args, count, room["total"] * number.compute_bytes, cost)
    return MatmulPlan([packed, step], used * number.compute_bytes)


def _field_width(conv: Conv) -> int:
    """The length of a phase plane's rows in a task's copy of an image."""
    reach = (conv.kernel[1] - 1) * conv.dilation[1]
    return conv.out[1] + reach // conv.stride[1]


def _field_rows(conv: Conv, rows: int) -> int:
    """The rows of a phase plane, for so many output rows."""
    reach = (conv.kernel[0] - 1) * conv.dilation[0]
    return -(-((rows - 1) * conv.stride[0] + reach + 1) // conv.stride[0])


def _scratch(conv: Conv, cut: _Cut, k: int, lanes: int) -> dict[str, int]:
    """Where things lie in a task's scratch, in numbers; patches come first."""
    oh, ow = conv.out
    cols = cut.vectors * lanes
    room: dict[str, int] = {}
    end = -(-cut.block_n // cols) * cols * (cut.block_k + 1) + 4 * lanes
    room["spare"] = end = -(-end // 64) * 64
    room["tables"] = end = end + cut.rows * cols
    room["field"] = end = -(-(end + 2 * k + 4 * (cols + 2)) // 64) * 64
    rows = oh
    if not cut.images:
        rows = min(oh, -(-cut.block_n // ow) + (cut.block_n % ow != 0))
    plane = _field_rows(conv, rows) * _field_width(conv) * max(cut.images, 1)
    end += conv.c_in * plane * math.prod(conv.stride) + cols + 4 * lanes
    room["result"] = end = -(-end // 64) * 64
    room["result_row"] = -(-cut.block_n // cols) * cols
    room["total"] = end + (cut.block_m * room["result_row"] + lanes if cut.images else 0)
    return room


def _pack_weight(conv, pack, cut, weight, slot, depth):
    """The weight as panels of A, one lot for each group."""
    size, k, inner, s_inner, s_row, s_k, s_group = pack
    panels = -(-size // cut.rows)
    lot = panels * cut.rows * depth
    args = [weight[0], weight[1], slot, 0, size, k, s_row, s_k, depth]
    args += [1, k, panels, 1, inner, s_inner, conv.groups, s_group, lot]
    shape = PackShape(conv.dtype, "k", cut.rows, 1)
    cost = 0.3 * size * k * inner * conv.groups
    return Step(kernel_of(shape), args, panels * conv.groups, 0, cost), conv.groups * lot + 64


__all__ = ["Conv", "Image", "Mat", "plan_conv", "plan_conv_input_gradient"]
