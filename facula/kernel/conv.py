"""Two-dimensional convolution and its gradients, as steps.

Images are (N, C, H, W) with contiguous rows, weights (O, C / groups, R, S) contiguous. The forward
pass and the gradient of the input are matrix products weight x patches (a strided convolution's
input gradient is one for each phase of the input); the gradient of the weight sums dY x patches.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from facula.kernel import conv_planes, winograd
from facula.kernel.matmul import (
    Extra,
    Mat,
    MatmulPlan,
    extra_arguments,
    kernel_of,
    plan_matmul,
)
from facula.kernel.step import Step
from facula.kernel.written import written_kernel
from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS
from facula.llvm.tile_conv import ConvShape, ConvWriter, PatchShape, write_patches
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
    minimal: bool = True  # Winograd's method may be used: faster, a digit less exact

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
class Taps:
    """The taps along one dimension: of the weight (start, step) and of the source, as shifts.

    Output i reads, for tap t, source i * stride + shift + t * shift_step.
    """

    count: int
    start: int
    step: int
    shift: int
    shift_step: int

    @property
    def least(self) -> int:
        return self.shift + min(0, (self.count - 1) * self.shift_step)

    @property
    def reach(self) -> int:
        return abs((self.count - 1) * self.shift_step) + 1

    def live(self, size: int, out: int, stride: int) -> Taps:
        """Without the taps at either end that read nothing but padding."""

        def reads(t: int) -> bool:
            first = self.shift + t * self.shift_step
            lowest = max(0, -(first // stride))
            return lowest < out and first + lowest * stride < size

        alive = [t for t in range(self.count) if reads(t)]
        if not alive:
            return Taps(0, 0, 1, 0, 1)
        t = alive[0]
        return Taps(
            *(alive[-1] - t + 1, self.start + t * self.step, self.step),
            *(self.shift + t * self.shift_step, self.shift_step),
        )


@dataclass(frozen=True)
class Job:
    """A convolution as the kernel sees it: sizes of the source, of the result, and the taps."""

    n: int
    groups: int
    m: int  # result channels of a group
    c: int  # source channels of a group
    source: tuple[int, int]
    out: tuple[int, int]
    stride: tuple[int, int]
    taps: tuple[Taps, Taps]
    dtype: str
    scatter: bool = False

    @property
    def depth(self) -> int:
        """The k of the product."""
        return self.channels * self.taps[0].count * self.taps[1].count

    @property
    def channels(self) -> int:
        return self.c if self.taps[0].count and self.taps[1].count else 0

    @property
    def window(self) -> tuple[int, int]:
        return max(self.taps[0].count, 1), max(self.taps[1].count, 1)

    @property
    def field_width(self) -> int:
        """The length of a phase plane's rows in a task's copy of an image."""
        return self.field_of(self.out[1])

    def field_of(self, width: int) -> int:
        """That length, for so many columns of the result."""
        return width + (self.taps[1].reach - 1) // self.stride[1]

    def field_rows(self, rows: int) -> int:
        """The rows of a phase plane, for so many output rows."""
        return -(-((rows - 1) * self.stride[0] + self.taps[0].reach) // self.stride[0])


@dataclass(frozen=True)
class _Cut:
    """How a convolution is cut into tasks and tiles."""

    rows: int
    vectors: int
    block_m: int
    block_n: int
    block_k: int
    width: int  # columns of the result that a task does
    images: int = 1  # a task does so many small images side by side, or a part of one
    wide: bool = False  # pixels are counted along rows of the copy: nothing is packed

    def columns(self, job: Job) -> int:
        """The n of the product, of as many columns of the result as a task does."""
        return self.images * job.out[0] * self.pitch(job)

    def pitch(self, job: Job) -> int:
        return job.field_of(self.width) if self.wide else self.width

    def parts(self, job: Job) -> tuple[int, int, int]:
        """Into how many the rows of the product are cut, its columns, and the result's columns."""
        n = -(-self.columns(job) // self.block_n)
        return -(-job.m // self.block_m), n, -(-job.out[1] // self.width)

    def copied_rows(self, job: Job) -> int:
        """The most output rows that a task's pixels are of."""
        pitch = self.pitch(job)
        return min(job.out[0], -(-self.block_n // pitch) + (self.block_n % pitch != 0))

    def inner_m(self) -> int:
        """Rows of A whose panels stay in the cache while B's go by."""
        return min(self.block_m, self.rows * max(1, 65_536 // (self.block_k * self.rows)))


_TILES = {32: (14, 2), 16: (6, 2)}
_SCRATCH = 160_000  # numbers of packed patches that a task may hold


def _even(total: int, most: int, multiple: int = 1) -> int:
    pieces = -(-total // max(most, 1))
    size = -(-total // max(pieces, 1))
    return -(-size // multiple) * multiple


@functools.lru_cache(maxsize=1024)
def _cut(job: Job, target: Target) -> _Cut:
    lanes = target.vector_bytes // NUMBERS[job.dtype].compute_bytes
    rows, vectors = _TILES[target.n_vector_registers]
    rows = _even(job.m, rows)
    pixels, k, width = math.prod(job.out), max(job.depth, 1), job.out[1]
    block_k = _even(k, 1024, 8)
    # without taps nothing is packed, and only packed patches may run over several images
    images = _images(job, pixels, block_k, vectors * lanes) if job.depth else 1
    if images * pixels <= lanes:
        vectors = 1
    elif rows <= 6 and target.n_vector_registers == 32:
        vectors = 4
    tiles = -(-job.m // rows)
    if images > 1:
        blocks = -(-job.n // images) * job.groups
        wanted = min(16, max(1, images * pixels * job.m * k * blocks // 1_000_000))
        parts = min(-(-wanted // blocks), max(1, tiles // 2))
        block_m = -(-tiles // parts) * rows
        return _Cut(rows, vectors, block_m, images * pixels, block_k, width, images)
    cuts = [
        _Cut(rows, vectors, -(-tiles // parts) * rows, block_n, *rest)
        for block_n, *rest in (*_packed(job, vectors * lanes, block_k), *_in_place(job))
        for parts in (1, 2, 4, 8)
        if parts == 1 or parts * 4 <= tiles
    ]
    return min(cuts, key=lambda cut: _cost(job, cut, lanes))


def _packed(job: Job, cols: int, block_k: int) -> Iterator[tuple[int, int, int]]:
    """Blocks of pixels whose patches are packed, with `block_k` and `width`."""
    pixels, width = math.prod(job.out), job.out[1]
    most = min(pixels, max(cols, _SCRATCH // block_k))
    while True:
        yield _whole_rows(pixels, most, width, cols, job.scatter), block_k, width
        if most <= cols:
            return
        most = max(cols, most // 2)


def _in_place(job: Job) -> Iterator[tuple[int, int, int, int, bool]]:
    """Blocks of output rows, and of parts of one, for which nothing is packed."""
    oh, ow = job.out
    if not job.depth or ow < 8:
        return
    block_k = _even(job.depth, 1536, 8)
    for rows in sorted({-(-oh // i) for i in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 24, 32)}):
        yield rows * job.field_width, block_k, ow, 1, True
    for i in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128):
        width = -(-ow // i)
        if width >= 64 or i == 1:
            yield job.field_of(width), block_k, width, 1, True


_COPY = {1: 3, 2: 5}  # cycles for a register of the copy, by stride
_LINE = 12  # cycles that a line costs besides, however short
_NEAR = 200_000  # numbers that a core's own cache holds


def _cost(job: Job, cut: _Cut, lanes: int) -> float:
    """Estimated cycles of all the work and once more of the longest task."""
    tasks_m, tasks_n, tasks_w = cut.parts(job)
    columns = cut.columns(job)
    panels = -(-job.m // cut.rows) * cut.rows
    # the products: half a tile takes more than half of the time
    half = max(1, cut.vectors // 2) * lanes
    left = columns - (tasks_n - 1) * cut.block_n
    halves = [-(-cut.block_n // half)] * (tasks_n - 1) + [-(-left // half)]
    registers = sum(x + 0.2 * (x % 2) for x in halves) * half / lanes
    work = registers * panels * (job.depth + 4 * -(-job.depth // cut.block_k))
    # the copy of the image, and what does not stay near
    width = job.field_of(cut.width)
    phases = min(job.stride[0], job.taps[0].reach) * min(job.stride[1], job.taps[1].reach)
    lines = job.channels * phases * job.field_rows(cut.copied_rows(job))
    near = lines * width / _NEAR
    if near > 1:
        work *= 1 + 0.08 * math.log2(near)
    weight = panels * job.depth
    work += weight * tasks_n / (4 if weight > _NEAR else 8)
    spread = lines * (_LINE + -(-width // lanes) * _COPY.get(job.stride[1], 24))
    work += spread * tasks_m * tasks_n
    if cut.wide or job.scatter:  # results are dealt out
        rows = job.out[0] * job.m
        work += rows * (_LINE + 4 * -(-cut.width // lanes))
    if not cut.wide:
        runs = columns / (cut.vectors * lanes) + job.out[0]
        each = 8 + 3 * min(cut.vectors, -(-job.out[1] // lanes))
        work += job.depth * runs * each * tasks_m
    longest = work * cut.block_n / columns * cut.block_m / panels
    images = job.n * job.groups
    return images * tasks_w * (work + 500 * tasks_m * tasks_n) + longest


def _images(job: Job, pixels: int, block_k: int, cols: int) -> int:
    """How many images a task does: several where one does not fill panels."""
    if pixels >= 4 * cols or job.n == 1:
        return 1
    most = min(job.n, 512 // pixels)
    best, best_gain = 1, pixels / (-(-pixels // cols) * cols)
    for images in range(2, most + 1):
        columns = images * pixels
        gain = columns / (-(-columns // cols) * cols)
        gain *= job.n / (-(-job.n // images) * images)
        if gain > best_gain + 0.04:
            best, best_gain = images, gain
    return best


def _whole_rows(pixels: int, most: int, ow: int, cols: int, only_rows: bool) -> int:
    """A block near `most` pixels that wastes little: output rows that fill up panels."""
    if most >= pixels:
        return pixels
    best, best_cost = max(most // ow, 1) * ow, 1e9
    blocks = _multiples(ow, most)
    if not only_rows:
        blocks += _multiples(cols, most)
    for block in blocks:
        tiles = sum(-(-min(block, pixels - first) // cols) for first in range(0, pixels, block))
        tasks = -(-pixels // block)
        # A block that does not begin with an output row copies a row more.
        cost = tiles + 0.3 * tasks + (0.3 * tasks if block % ow else 0)
        if cost < best_cost or (cost == best_cost and block > best):
            best, best_cost = block, cost
    return best


def _multiples(unit: int, most: int) -> list[int]:
    """Of the multiples of `unit` a dozen from half of `most` on."""
    first, last = -(-most // (2 * unit)), most // unit
    return [unit * i for i in range(first, last + 1, max(1, (last - first) // 12))]


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
    a bias is one number per row ("m") with batch strides (0, channels per group).
    """
    k = conv.c_in * conv.window
    if _is_product(conv, x):
        shape = (conv.c_out, conv.c_in)
        return _plan_product(conv, shape, (k, 1), x, weight, y, (epilogue, extras), workspace_slot)
    if _by_winograd(conv, conv.c, conv.o, conv.out):
        minimal = winograd.Minimal(conv.n, conv.c, conv.o, (conv.h, conv.w), conv.out, conv.padding)
        return winograd.plan_winograd(
            *(minimal, winograd.Weights(*weight, k, 9), triple(x), triple(y), workspace_slot),
            *(epilogue, extras, target or Target.host()),
        )
    job = _forward_job(conv)
    layout = (k, conv.window, conv.c_out * k)
    y_strides = (*y.strides, 1)
    return _plan(
        *(job, conv, layout, (x, x.strides), weight, (y.slot, y.offset, y_strides)),
        *(workspace_slot, epilogue, extras, target or Target.host()),
    )


def by_tiles(conv: Conv) -> bool:
    """Whether Winograd's method knows such a convolution."""
    plain = conv.kernel == (3, 3) and conv.stride == conv.dilation == (1, 1)
    plain = plain and conv.groups == 1 and conv.dtype == "float32" and conv.minimal
    return plain and max(conv.padding) <= 2


def _by_winograd(conv: Conv, c: int, m: int, out: tuple[int, int]) -> bool:
    return by_tiles(conv) and winograd.pays(conv.n, c, m, out)


def triple(image: Image) -> tuple[int, int, tuple[int, int, int]]:
    """An image as (slot, offset, strides)."""
    return image.slot, image.offset, image.strides


def _is_product(conv: Conv, x: Image) -> bool:
    """A window of one: the images are matrices as they are."""
    plain = conv.kernel == conv.stride == (1, 1) and conv.padding == (0, 0)
    return plain and x.strides[2] == conv.w and conv.h * conv.w >= 128


def _plan_product(conv: Conv, shape, w_strides, x: Image, weight, y: Image, ends, slot):
    """A 1 x 1 convolution: one product for each image and group."""
    m, k = shape
    group = conv.c_in * conv.c_out
    return plan_matmul(
        *(m, conv.h * conv.w, k, (conv.n, conv.groups)),
        Mat(weight[0], *w_strides, (0, group), weight[1]),
        Mat(x.slot, x.strides[1], 1, (x.strides[0], k * x.strides[1]), x.offset),
        Mat(y.slot, y.strides[1], 1, (y.strides[0], m * y.strides[1]), y.offset),
        *(conv.dtype, *ends, slot),
    )


@functools.lru_cache(maxsize=1024)
def _forward_job(conv: Conv) -> Job:
    sizes = zip(
        *(conv.kernel, conv.padding, conv.dilation, (conv.h, conv.w), conv.out, conv.stride),
        strict=True,
    )
    taps = tuple(Taps(k, 0, 1, -p, d).live(x, o, s) for k, p, d, x, o, s in sizes)
    source = (conv.h, conv.w)
    return Job(
        *(conv.n, conv.groups, conv.c_out, conv.c_in, source, conv.out, conv.stride, taps),
        conv.dtype,
    )


def plan_conv_input_gradient(
    conv: Conv,
    dy: Image,
    weight: tuple[int, int],
    dx: Image,
    workspace_slot: int,
    epilogue: tuple[Fused, ...] = (),
    extras: tuple[Extra, ...] = (),
    target: Target | None = None,
) -> MatmulPlan:
    """The gradient of the input: for each phase of the stride, a convolution of dY.

    The phases are independent of each other. All of `dx` is written but for phases that no tap
    reaches (`leaves_gaps`): those the caller fills with zeros beforehand. This is also a transposed
    convolution, whose bias is one number per row; an epilogue of a strided one may have no
    operands that run along pixels.
    """
    k = conv.c_in * conv.window
    if _is_product(conv, dy):
        shape = (conv.c_in, conv.c_out)
        return _plan_product(
            conv, shape, (1, k), dy, weight, dx, (epilogue, extras), workspace_slot
        )
    if _by_winograd(conv, conv.o, conv.c, (conv.h, conv.w)):
        padding = (2 - conv.padding[0], 2 - conv.padding[1])
        minimal = winograd.Minimal(conv.n, conv.o, conv.c, conv.out, (conv.h, conv.w), padding)
        return winograd.plan_winograd(
            *(minimal, winograd.Weights(*weight, 9, k, True), triple(dy), triple(dx)),
            *(workspace_slot, epilogue, extras, target or Target.host()),
        )
    layout = (conv.window, k, conv.c_out * k)
    steps, used = [], 0
    for job, (a, b) in _backward_jobs(conv):
        if not job.depth:
            continue
        n, c, h = dx.strides
        y = (dx.slot, dx.offset + a * h + b, (n, c, h * conv.stride[0], conv.stride[1]))
        plan = _plan(
            *(job, conv, layout, (dy, dy.strides), weight, y),
            *(workspace_slot, epilogue, extras, target or Target.host()),
        )
        steps += plan.steps
        used = max(used, plan.workspace_bytes)
    return MatmulPlan(steps, used)


def leaves_gaps(conv: Conv) -> bool:
    """Whether the input gradient has elements that no output depends on, phase by phase."""
    if _by_winograd(conv, conv.o, conv.c, (conv.h, conv.w)):
        return False
    return any(not job.depth for job, _ in _backward_jobs(conv))


@functools.lru_cache(maxsize=1024)
def _backward_jobs(conv: Conv) -> list[tuple[Job, tuple[int, int]]]:
    jobs = []
    for a in range(min(conv.stride[0], conv.h)):
        for b in range(min(conv.stride[1], conv.w)):
            out = (-(-(conv.h - a) // conv.stride[0]), -(-(conv.w - b) // conv.stride[1]))
            taps = tuple(
                _phase_taps(conv, d, phase).live(conv.out[d], out[d], 1)
                for d, phase in enumerate((a, b))
            )
            job = Job(
                *(conv.n, conv.groups, conv.c_in, conv.c_out, conv.out, out, (1, 1), taps),
                *(conv.dtype, conv.stride != (1, 1)),
            )
            jobs.append((job, (a, b)))
    return jobs


def _phase_taps(conv: Conv, d: int, phase: int) -> Taps:
    """The taps that reach inputs i * stride + phase: there output and tap differ by a constant."""
    stride, dilation, padding = conv.stride[d], conv.dilation[d], conv.padding[d]
    fitting = [r for r in range(conv.kernel[d]) if (phase + padding - r * dilation) % stride == 0]
    if not fitting:
        return Taps(0, 0, 1, 0, 1)
    step = stride // math.gcd(stride, dilation)
    shift = (phase + padding - fitting[0] * dilation) // stride
    return Taps(len(fitting), fitting[0], step, shift, -step * dilation // stride)


def _plan(job, conv, layout, x, weight, y, slot, epilogue, extras, target) -> MatmulPlan:
    """Pack the weight, then multiply. `layout`: the weight's strides of m, c, group."""
    if conv_planes.fits(job):
        step = conv_planes.plan(
            *(job, conv.kernel[1], layout, (*triple(x[0])[:2], *x[1]), weight, y),
            *(epilogue, extra_arguments(epilogue, extras, [e.batch_strides for e in extras])),
            target,
        )
        return MatmulPlan([step])
    cut = _cut(job, target)
    number = NUMBERS[job.dtype]
    lanes = target.vector_bytes // number.compute_bytes
    k, m = job.depth, job.m
    depth = k + 1
    steps, used = [], 0
    if k:
        packed, used = _pack_weight(job, conv, layout, cut, weight, slot, depth)
        steps.append(packed)
    (image, x_strides), (y_slot, y_offset, y_strides) = x, y
    cols = cut.vectors * lanes
    ahead = cut.images > 1 and k > 0
    staged = ahead or job.scatter or cut.wide
    room = _scratch(job, cut, lanes, staged)
    columns = cut.columns(job)
    b = (image.slot, image.offset, x_strides[0] * cut.images, job.c * x_strides[1], 0)
    if ahead:
        step, lot = _pack_patches(job, cut, cols, lanes, image, x_strides, (slot, used))
        steps.append(step)
        b = (slot, used, lot * job.groups, lot, k)
        used += -(-job.n // cut.images) * job.groups * lot + 64
    tasks_m, tasks_n, tasks_w = cut.parts(job)
    args = [slot, 0, *b[:2], y_slot, y_offset, m, columns, k, k]
    args += [1, depth, b[4], 0, room["result_row"] if staged else y_strides[1]]
    args += [cut.block_m, cut.block_n, cut.block_k, cut.inner_m(), tasks_m, tasks_n]
    args += [0, 0, 0, room["spare"], -(-job.n // cut.images), job.groups]
    args += [0, -(-m // cut.rows) * cut.rows * depth, *b[2:4]]
    args += [y_strides[0] * cut.images, m * y_strides[1]]
    args += _image_arguments(job, cut, room, x_strides, y_strides)
    args += extra_arguments(epilogue, extras, [e.batch_strides for e in extras])
    direct = cut.wide or ahead
    shape = ConvShape(
        *(job.dtype, cut.rows, cut.vectors, 2, 1 if ahead else _stride_kind(job)),
        0 if direct else _run_vectors(job, cols, lanes),
        *(staged, job.scatter and (2 if y_strides[3] == 2 else 1), cut.wide, ahead),
        epilogue,
    )
    count = tasks_w * -(-job.n // cut.images) * job.groups
    cost = 2.0 * m * columns * k * count / 120 + 500
    count *= tasks_m * tasks_n
    kernel = written_kernel(shape, ConvWriter)
    steps.append(Step(kernel, args, count, room["total"] * number.compute_bytes, cost))
    return MatmulPlan(steps, used * number.compute_bytes)


def _stride_kind(job: Job) -> int:
    return job.stride[1] if job.stride[1] <= 2 else 0


def _run_vectors(job: Job, cols: int, lanes: int) -> int:
    """The registers that a run of pixels of one output row fills in a panel."""
    return -(-min(job.out[1], cols) // lanes)


def _image_arguments(job: Job, cut: _Cut, room: dict[str, int], x_strides, y_strides) -> list[int]:
    """The arguments that `tile_conv.IMAGE` names."""
    deal = (*job.out, cut.pitch(job))
    if not job.scatter and not cut.wide:
        deal = (1, math.prod(job.out), math.prod(job.out))
    args = [*job.source, x_strides[1], x_strides[2], job.channels, *job.window, *job.stride]
    args += [job.taps[0].least, job.taps[1].least, *job.out, job.field_of(cut.width)]
    args += [job.taps[0].reach]
    for t in job.taps:
        args += [t.shift - t.least, t.shift_step]
    args += [room["tables"], room["field"], cut.images, job.n, x_strides[0], *y_strides]
    return [*args, *deal, room["result"], cut.width, -(-job.out[1] // cut.width)]


def _pack_patches(job: Job, cut: _Cut, cols: int, lanes: int, image: Image, x_strides, to):
    """The patches of blocks of images, as panels of B; and how long a block's panels are."""
    number = NUMBERS[job.dtype]
    lot = -(-cut.columns(job) // cols) * cols * job.depth
    blocks = -(-job.n // cut.images) * job.groups
    chunks = min(job.channels, -(-16 // blocks))
    share = -(-job.channels // chunks)
    chunks = -(-job.channels // share)
    k = share * math.prod(job.window)
    plane = job.field_rows(job.out[0]) * job.field_width * cut.images * math.prod(job.stride)
    field = -(-(2 * k + 4 * (cols + 2)) // 64) * 64
    room = {"tables": 0, "field": field, "result": 0}
    args = [0, 0, image.slot, image.offset, *to, job.m, cut.columns(job), k, job.depth]
    args += [0, 0, 0, 0, 0, share, 0, 0, 0, chunks, 1, 0, 0, 0, 0]
    args += [-(-job.n // cut.images), job.groups, 0, 0]
    args += [x_strides[0] * cut.images, job.c * x_strides[1], lot * job.groups, lot]
    args += _image_arguments(job, cut, room, x_strides, (0, 0, 0, 0))
    runs = _run_vectors(job, cols, lanes)
    shape = PatchShape(job.dtype, cut.vectors, 2, _stride_kind(job), runs)
    total = field + share * plane + cols + 4 * lanes
    cost = 0.5 * lot * blocks
    kernel = written_kernel(shape, write_patches)
    step = Step(kernel, args, chunks * blocks, total * number.compute_bytes, cost)
    return step, lot


def _scratch(job: Job, cut: _Cut, lanes: int, staged: bool) -> dict[str, int]:
    """Where things lie in a task's scratch, in numbers; patches come first."""
    cols = cut.vectors * lanes
    ahead = cut.images > 1
    room: dict[str, int] = {}
    packs = not (cut.wide or ahead)
    end = -(-cut.block_n // cols) * cols * (cut.block_k + 1) + 4 * lanes if packs else 0
    room["spare"] = end = -(-end // 64) * 64
    room["tables"] = end = end + cut.rows * cols
    room["field"] = end = -(-(end + 2 * job.depth + 4 * (cols + 2)) // 64) * 64
    if not ahead:
        plane = job.field_rows(cut.copied_rows(job)) * job.field_of(cut.width)
        end += job.channels * plane * math.prod(job.stride) + cols + 4 * lanes
    room["result"] = end = -(-end // 64) * 64
    room["result_row"] = -(-cut.block_n // cols) * cols
    room["total"] = end + (cut.block_m * room["result_row"] + lanes if staged else 0)
    return room


def _pack_weight(job: Job, conv: Conv, layout, cut: _Cut, weight, slot: int, depth: int):
    """The weight as panels of A, one lot for each group."""
    s_m, s_c, s_group = layout
    rows, columns = job.taps
    panels = -(-job.m // cut.rows)
    lot = panels * cut.rows * depth
    start = rows.start * conv.kernel[1] + columns.start
    # How the product's k walks the weight: channels, rows of the window, columns.
    loops = [(job.c, s_c), (rows.count, rows.step * conv.kernel[1]), (columns.count, columns.step)]
    loops = _joined(loops)
    (outer, s_outer), (middle, s_middle), (k, s_k) = [(1, 0)] * (3 - len(loops)) + loops
    part = max(1, 16384 // (middle * k * job.m)) if outer > 1 else 1
    few = panels if outer > 1 else 1
    tasks = (-(-panels // few), -(-outer // part))
    args = [weight[0], weight[1] + start, slot, 0, job.m, k, s_m, s_k, depth]
    args += [few, k, tasks[0], 1, outer, s_outer, part, tasks[1], middle, s_middle]
    args += [job.groups, s_group, lot]
    shape = PackShape(job.dtype, "k" if s_k == 1 and k >= 4 else "g", cut.rows, 1)
    cost = 0.3 * job.m * job.depth * job.groups
    step = Step(kernel_of(shape), args, math.prod(tasks) * job.groups, 0, cost)
    return step, job.groups * lot + 64


def _joined(loops: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbouring loops as one where the outer continues the inner."""
    out = [loops[0]]
    for count, stride in loops[1:]:
        before, before_stride = out[-1]
        if before == 1:
            out[-1] = (count, stride)
        elif count == 1:
            pass
        elif before_stride == count * stride:
            out[-1] = (before * count, stride)
        else:
            out.append((count, stride))
    return out
