"""3 x 3 convolutions by Winograd's minimal filtering, as steps."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from facula.kernel.matmul import MatmulPlan, extra_arguments, kernel_name
from facula.kernel.step import Step
from facula.llvm.target import Target
from facula.llvm.tile_epilogue import Fused
from facula.llvm.tile_winograd import (
    WinogradShape,
    WinogradWeightShape,
    WinogradWriter,
    write_weights,
)

_MOST = 150_000  # turned numbers that a task may hold
_ROWS = {32: (14, 2), 16: (6, 2)}


@dataclass(frozen=True)
class WinogradKernel:
    """The code of the convolution, or of turning its weights."""

    shape: WinogradShape | WinogradWeightShape

    @functools.cached_property
    def key(self) -> str:
        return self.shape.key

    def ir(self, target: Target) -> tuple[str, str]:
        name = kernel_name(self.key)
        if isinstance(self.shape, WinogradWeightShape):
            return name, write_weights(self.shape, target, name)
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
