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
    """Whether saving multiplications outweighs the transforms."""
    return min(c, m) >= 32 and min(out) >= 8 and n * out[0] * out[1] >= 512


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
    block = _block(n, c, m, tiles_h, tiles_w, cols)
    blocks = -(-tiles_h // block)
    row = -(-(block * tiles_w + lanes) // cols) * cols  # the last register may run over
    m_at = 36 * c * row
    total = m_at + 36 * panels * rows * row
    args = [x[0], x[1], *x[2], y[0], y[1], *y[2], slot, 0, *source, *out, *padding, c, m]
    args += [tiles_h, tiles_w, block, blocks, row, 0, m_at, panels, n, 1]
    args += extra_arguments(epilogue, extras, [e.batch_strides for e in extras])
    w_args = [weight[0], weight[1], weight[2], weight[3], m, c, slot, 0, panels]
    first = Step(_kernel(WinogradWeightShape(rows, flip)), w_args, panels, 0, 1.0 * m * c)
    cost = 2.0 * n * m * c * 36 * tiles_h * tiles_w / 100 + 500
    kernel = _kernel(WinogradShape(rows, vectors, epilogue))
    second = Step(kernel, args, n * blocks, 4 * total, cost)
    return MatmulPlan([first, second], 4 * 36 * panels * rows * c + 64)


def _block(n: int, c: int, m: int, tiles_h: int, tiles_w: int, cols: int) -> int:
    """Rows of tiles that a task does: enough to fill panels, few enough for its cache."""
    most = max(1, min(tiles_h, 220_000 // (36 * (c + m) // 2 * tiles_w)))
    while most > 1 and n * -(-tiles_h // most) < 8:
        most -= 1

    def waste(count: int) -> float:
        used = sum(-(-min(count, tiles_h - r) * tiles_w // cols) for r in range(0, tiles_h, count))
        return used * cols / (tiles_h * tiles_w) + 0.1 / count

    return min(range(1, max(most, -(-cols // tiles_w), 1) + 1), key=waste)
