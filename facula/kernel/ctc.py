"""Connectionist temporal classification, as one step: see `llvm/tile_ctc`."""

from __future__ import annotations

from dataclasses import dataclass

from facula.kernel.step import Step
from facula.kernel.written import written_kernel
from facula.llvm.tile_ctc import CtcShape, CtcWriter

Where = tuple[int, int]  # slot and offset of contiguous numbers
_MOST_LANES = 8


@dataclass(frozen=True)
class Ctc:
    """The numbers of a batch: times, sequences, classes; how many targets, and in a row of their own."""

    steps: int
    batch: int
    classes: int
    targets: int
    row: int  # 0: the targets of all sequences lie one behind the other
    blank: int
    zero_infinity: bool
    dtype: str = "float32"


def plan_ctc(
    ctc: Ctc,
    x: tuple[int, int, int, int],
    targets: Where,
    lengths: Where,
    sizes: Where,
    loss: Where,
    grad: Where | None,
) -> list[Step]:
    """One step; `x` is (slot, offset, strides of times and sequences), integers are int64."""
    most = ctc.row or ctc.targets
    width = -(-(2 * most + 1) // _MOST_LANES) * _MOST_LANES + 2 * _MOST_LANES
    classes = -(-ctc.classes // _MOST_LANES) * _MOST_LANES
    rooms, end = [], 0
    for room in (width, width, 2 * width, width, classes, (ctc.steps if grad else 2) * width):
        rooms.append(end)
        end += room
    args = [*x, *targets, ctc.row, ctc.targets, *lengths, *sizes, *loss, *(grad or (0, 0))]
    args += [ctc.steps, ctc.batch, ctc.classes, most, ctc.blank, int(ctc.zero_infinity), *rooms]
    states = 2 * ctc.targets + ctc.batch
    cost = ctc.steps * (30.0 * states if grad else 12.0 * states)
    kernel = written_kernel(CtcShape(ctc.dtype, not ctc.row, grad is not None), CtcWriter)
    return [Step(kernel, args, ctc.batch, 8 * end, cost)]
