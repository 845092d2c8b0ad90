"""Pooling over windows of images, as steps.

Images are planes (channels of images) with contiguous rows. `indices` of a maximum count within
its plane, as int64. One-dimensional pooling is a height of one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from facula.kernel.conv import Image
from facula.kernel.step import Step
from facula.kernel.written import WrittenKernel, written_kernel
from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS
from facula.llvm.tile_bins import BinWriter
from facula.llvm.tile_pool import PoolShape, PoolWriter


@dataclass(frozen=True)
class Pool:
    """The numbers of a pooling. `out` is given, as ceil mode makes it the caller's choice."""

    n: int
    c: int
    h: int
    w: int
    out: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    dtype: str = "float32"


def pooled_size(size: int, k: int, stride: int, pad: int, dilation: int, ceil: bool) -> int:
    """The outputs along a dimension; with `ceil`, a last window must begin inside the image."""
    room = size + 2 * pad - dilation * (k - 1) - 1
    out = (room + (stride - 1 if ceil else 0)) // stride + 1
    return out - (ceil and (out - 1) * stride >= size + pad)


def _kernel(shape: PoolShape) -> WrittenKernel:
    return written_kernel(shape, BinWriter if shape.kind.startswith("bins") else PoolWriter)


def _stride_kind(pool: Pool) -> int:
    return pool.stride[1] if pool.stride[1] <= 2 else 0


def _step(pool: Pool, shape: PoolShape, x: Image, y: Image, index, include=0, divisor=0) -> Step:
    planes = pool.n * pool.c
    work = max(pool.out[0] * pool.out[1] * pool.kernel[0] * pool.kernel[1], pool.h * pool.w)
    per_task = max(1, 16384 // work)
    args = [x.slot, x.offset, y.slot, y.offset, planes, pool.c, *x.strides, *y.strides]
    args += [pool.h, pool.w, *pool.out, *pool.kernel, *pool.stride, *pool.padding, *pool.dilation]
    lanes = Target.host().vector_bytes // NUMBERS[pool.dtype].compute_bytes
    # A line of numbers with room for the border, the windows' reach, and whole registers.
    line = max(pool.w, pool.out[1] * pool.stride[1]) + 2 * pool.padding[1] + 2 * pool.kernel[1]
    line += 4 * lanes
    args += [*index, per_task, include, divisor, line]
    scratch = (pool.out[1] + 2 * lanes + line + lanes) * NUMBERS[pool.dtype].compute_bytes
    scratch += 16 * pool.out[1] + 4 * line
    return Step(_kernel(shape), args, -(-planes // per_task), scratch, 0.3 * planes * work)


def plan_max_pool(
    pool: Pool, x: Image, y: Image, indices: tuple[int, int] | None = None
) -> list[Step]:
    """Maxima, and where they are if `indices` is (slot, offset)."""
    taps = pool.kernel[1] if pool.kernel[1] <= 3 else 0
    shape = PoolShape("max", pool.dtype, _stride_kind(pool), indices is not None, taps=taps)
    return [_step(pool, shape, x, y, indices or (0, 0))]


def plan_max_pool_gradient(
    pool: Pool, dx: Image, dy: Image, indices: tuple[int, int]
) -> list[Step]:
    """The gradient of the input: dy goes where the maximum was; all of dx is written."""
    dense = dx.strides[2] == pool.w
    whole = dense and dy.strides[2] == pool.out[1] and pool.h * pool.w < 1 << 31
    windows = zip(pool.kernel, pool.stride, pool.dilation, strict=True)
    apart = whole and all(d * (k - 1) < s for k, s, d in windows)
    shape = PoolShape("max_back", pool.dtype, dense=dense, apart=apart)
    return [_step(pool, shape, dx, dy, indices)]


def plan_avg_pool(
    pool: Pool, x: Image, y: Image, count_include_pad: bool = True, divisor: int = 0
) -> list[Step]:
    """Means over windows, by `divisor` if it is not zero."""
    shape = PoolShape("mean", pool.dtype, _stride_kind(pool))
    return [_step(pool, shape, x, y, (0, 0), int(count_include_pad), divisor)]


def plan_avg_pool_gradient(
    pool: Pool, dx: Image, dy: Image, count_include_pad: bool = True, divisor: int = 0
) -> list[Step]:
    """The gradient of the input; all of dx is written."""
    shape = PoolShape("mean_back", pool.dtype, _stride_kind(pool))
    return [_step(pool, shape, dx, dy, (0, 0), int(count_include_pad), divisor)]


def _bins(pool: Pool) -> Pool:
    """With about the size of a bin for the kernel, which the amount of work is reckoned with."""
    kernel = -(-pool.h // pool.out[0]), -(-pool.w // pool.out[1])
    return dataclasses.replace(pool, kernel=kernel)


def plan_bins_max(
    pool: Pool, x: Image, y: Image, indices: tuple[int, int] | None = None
) -> list[Step]:
    """Maxima of bins; only the sizes of `pool` count."""
    shape = PoolShape("bins_max", pool.dtype, indices=indices is not None)
    return [_step(_bins(pool), shape, x, y, indices or (0, 0))]


def plan_bins_mean(pool: Pool, x: Image, y: Image) -> list[Step]:
    """Means of bins."""
    return [_step(_bins(pool), PoolShape("bins_mean", pool.dtype), x, y, (0, 0))]


def plan_bins_mean_gradient(pool: Pool, dx: Image, dy: Image) -> list[Step]:
    """The gradient of the input of bins' means; all of dx is written."""
    return [_step(_bins(pool), PoolShape("bins_mean_back", pool.dtype), dx, dy, (0, 0))]
