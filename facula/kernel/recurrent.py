"""Recurrent layers as steps: packing the weights, then one step of a kernel per time step.

Where the batch alone gives enough tasks, one step of a kernel goes through all times: a task is some
rows of the batch, which never need the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.kernel.matmul import (
    Extra,
    Mat,
    MatmulPlan,
    Problem,
    _pack_step,
    plan_matmul,
)
from facula.kernel.step import Step
from facula.kernel.written import WrittenKernel, written_kernel
from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS
from facula.llvm.tile_epilogue import bias as bias_of
from facula.llvm.tile_gemm import UNROLL
from facula.llvm.tile_recurrent import GATES, RecurrentShape, RecurrentWriter, arrays_of
from facula.llvm.tile_sweep import SweepShape, SweepWriter

At = tuple[int, int] | None  # slot and offset


def _kernel(shape: RecurrentShape) -> WrittenKernel:
    return written_kernel(shape, RecurrentWriter)


# Largest tiles: (rows, registers of hidden units), by vector registers and by gates; the second
# table is for few hidden units, where full panels of two registers would waste much.
_TILES = {
    32: {4: (6, 1), 3: (8, 1), 1: (8, 2)},
    16: {4: (6, 2), 3: (6, 2), 1: (6, 2)},
}
_NARROW = {
    32: {4: (6, 1), 3: (8, 1), 1: (14, 1)},
    16: {4: (6, 1), 3: (4, 1), 1: (8, 1)},
}
_FEW = 7  # registers of hidden units
# Where the weights come from further away than the second cache, by gates: they are read as one stream, two
# registers of one gate after the other. With 16 registers several streams of less are no slower.
_FAR = 1 << 20  # bytes of weights
_FAR_TILES = {32: {4: (12, 2), 3: (12, 2)}, 16: {}}
# Sweeps through all times: up to how many bytes of weights (which have to stay in the second cache:
# each task reads all of them in every step), most rows of a task, registers of hidden units in a panel.
_SWEEPS: dict[int, tuple[tuple[int, int, tuple[int, ...]], ...]] = {
    32: ((1 << 20, 8, (2, 1, 3)), (1 << 18, 4, (4, 3, 2, 1))),
    16: (),  # there it takes as long as single steps
}
_TASK = 800_000  # multiplications that are worth a task
_STRETCH = 16384  # bytes of a panel that a stretch of k takes


def _tile(hidden: int, gates: int, lanes: int, target: Target) -> tuple[int, int]:
    registers, units = target.n_vector_registers, -(-hidden // lanes)
    if _is_far(hidden, gates, lanes, target):
        return _FAR_TILES[registers][gates]
    return (_NARROW if units % 2 and units <= _FEW else _TILES)[registers][gates]


def _is_far(hidden: int, gates: int, lanes: int, target: Target) -> bool:
    """Whether the weights are read as one stream."""
    size = gates * hidden * hidden * (target.vector_bytes // lanes)
    return size > _FAR and gates in _FAR_TILES[target.n_vector_registers]


def _together(gates: int, rows: int, vectors: int, registers: int) -> int:
    """How many gates' sums fit in three quarters of the registers."""
    fit = (
        t for t in range(gates, 1, -1) if gates % t == 0 and 4 * t * rows * vectors <= 3 * registers
    )
    return next(fit, 1)


@dataclass(frozen=True)
class Weights:
    """Packed weights: where, pitch of panels and of gates, and the depth."""

    at: tuple[int, int]
    panel: int
    gate: int
    depth: int


def plan_inputs(
    sizes: tuple[int, int, int],
    x: tuple[int, int],
    w: tuple[int, int],
    bias: At,
    out: tuple[int, int],
    dtype: str,
    workspace_slot: int,
) -> MatmulPlan:
    """gates = x @ weight_ih^T + bias for all times; sizes: rows, features, gates."""
    m, k, n = sizes
    mats = (Mat(x[0], k, 1, (), x[1]), Mat(w[0], 1, k, (), w[1]), Mat(out[0], n, 1, (), out[1]))
    return plan_matmul(
        *(m, n, k, (), *mats, dtype),
        (bias_of("n", dtype),) if bias else (),
        (Extra(bias[0], 0, (), bias[1]),) if bias else (),
        workspace_slot=workspace_slot,
    )


def pack_weights(
    mode: str,
    backward: bool,
    hidden: int,
    w: tuple[int, int, int],
    dtype: str,
    slot: int,
    used: int,
    target: Target,
    vectors: int = 0,
) -> tuple[Step, Weights, int]:
    """Packs weight_hh (slot, offset, row stride): (step, where it is, numbers used so far).

    Panels are `vectors` registers wide; 0 for what single steps take."""
    n = target.vector_bytes // NUMBERS[dtype].compute_bytes
    gates = GATES[mode]
    slot_w, offset, row = w
    tile = _tile(hidden, 1 if backward else gates, n, target)
    vectors = vectors or tile[1]
    width = vectors * n
    if backward:
        k, batch, strides, unit, side = gates * hidden, (), (), "p", (1, row)
    else:
        k, batch, strides, unit, side = hidden, (gates,), (hidden * row,), "k", (row, 1)
    pitch = -(-k // n) * n + n
    p = Problem(1, hidden, k, batch, dtype, (1, 1), (1, 1))
    mat = Mat(slot_w, row, 1, (), offset)
    step, _, _, after = _pack_step(p, mat, (hidden, width, unit, *side), strides, slot, used, pitch)
    panels = -(-hidden // width)
    return step, Weights((slot, used), pitch * width, panels * pitch * width, k), after


@dataclass(frozen=True)
class Sweep:
    """How a sweep is cut: rows of a task (one tile), registers of hidden units in a panel."""

    rows: int
    vectors: int


def sweep_of(
    mode: str, backward: bool, sizes: tuple[int, int, int], dtype: str, target: Target
) -> Sweep | None:
    """For times, rows and hidden units; None where single time steps are better."""
    times, rows, hidden = sizes
    number = NUMBERS[dtype]
    size = GATES[mode] * hidden * hidden * number.compute_bytes
    units = -(-hidden // (target.vector_bytes // number.compute_bytes))
    for limit, most, widths in _SWEEPS[target.n_vector_registers]:
        if times > 1 and size <= limit and rows > most:
            part = -(-rows // -(-rows // most))
            return Sweep(part, min(widths, key=lambda w: -(-units // w) * w))
    return None


@dataclass
class StepSizes:
    """What all time steps of a layer share."""

    mode: str
    backward: bool
    dtype: str
    hidden: int
    weights: Weights
    target: Target
    keeps: bool = True  # whether a backward pass reads what is beside the states

    def step(self, rows: int, a: At, a_row: int, arrays: dict[str, At]) -> Step:
        """One time step for some rows; without `a` there is no product."""
        gates = 1 if self.backward else GATES[self.mode]
        number = NUMBERS[self.dtype]
        lanes = self.target.vector_bytes // number.compute_bytes
        most, vectors = _tile(self.hidden, gates, lanes, self.target)
        width = lanes * vectors
        tiles = -(-rows // most)
        height = -(-rows // tiles)
        larger = rows - tiles * (height - 1)
        together = 1
        if not _is_far(self.hidden, gates, lanes, self.target):
            together = _together(gates, height, vectors, self.target.n_vector_registers)
        depth = self.weights.depth if a else 0
        work = height * width * gates * max(self.weights.depth, 1)
        part = min(tiles, max(1, _TASK // work))
        # what is read once need not be cut
        stretch = max(UNROLL, _STRETCH // (width * together * number.compute_bytes))
        stretch = stretch if part > 1 else max(depth, 1)
        tasks_m, panels = -(-tiles // part), -(-self.hidden // width)
        args = [self.hidden, depth, stretch, a_row, self.weights.panel, self.weights.gate]
        args += [tiles, larger, part, tasks_m, *(a or self.weights.at), *self.weights.at]
        for name in arrays_of(self.mode, self.backward):
            args += arrays.get(name) or (-1, 0)
        kernel = _kernel(
            RecurrentShape(
                self.mode, self.backward, self.dtype, height, vectors, together, self.keeps
            )
        )
        scratch = part * height * width * gates * number.compute_bytes
        # few rows wait for the weights
        cost = self.hidden * (max(rows, 2) * gates * depth / 95 + rows * 2.5) + 100
        return Step(kernel, args, tasks_m * panels, scratch, cost)

    def sweep(
        self, cut: Sweep, rows: int, a_row: int, times: list[tuple[At, dict[str, At]]]
    ) -> Step:
        """All time steps for `rows` rows; each time has its `a` and arrays as `step` takes them."""
        gates = 1 if self.backward else GATES[self.mode]
        number = NUMBERS[self.dtype]
        width = self.target.vector_bytes // number.compute_bytes * cut.vectors
        together = _together(gates, cut.rows, cut.vectors, self.target.n_vector_registers)
        depth, panels = self.weights.depth, -(-self.hidden // width)
        args = [self.hidden, rows, len(times), a_row, panels]
        args += [self.weights.panel, self.weights.gate, *self.weights.at]
        names = arrays_of(self.mode, self.backward)
        for a, arrays in times:
            args += [depth if a else 0, *(a or self.weights.at)]
            for name in names:
                args += arrays.get(name) or (-1, 0)
        shape = SweepShape(
            self.mode, self.backward, self.dtype, cut.rows, cut.vectors, together, self.keeps
        )
        scratch = cut.rows * width * gates * number.compute_bytes
        cost = len(times) * rows * self.hidden * (gates * depth / 95 + 2.5) + 100
        return Step(written_kernel(shape, SweepWriter), args, -(-rows // cut.rows), scratch, cost)
