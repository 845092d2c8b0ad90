"""All time steps of a recurrent layer in one kernel, as LLVM IR.

A row of the batch never needs another: a task is a tile of rows and follows them through time,
without waiting for other threads. The packed weights go by from the second cache in every step.
What a time step reads and writes is told by a list of arguments of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import Value
from facula.llvm.tile_recurrent import RecurrentShape, RecurrentWriter
from facula.llvm.tile_task import TaskFrame

SWEEP = ("hidden", "rows", "times", "a_row", "panels", "panel", "gate", "w", "w_off")
TIME = ("depth", "a", "a_off")  # then the arrays of a step


@dataclass(frozen=True)
class SweepShape(RecurrentShape):
    """What is fixed in the code of a sweep."""

    @property
    def key(self) -> str:
        return f"{super().key} sweep"


class SweepWriter(RecurrentWriter):
    """Writes the kernel of a `SweepShape`."""

    def __init__(self, shape: SweepShape, target: Target, name: str) -> None:
        super().__init__(shape, target, name)
        self.arg = TaskFrame(self.b, list(SWEEP), 0)
        self.names = [*TIME, *(x + end for x in self.arrays for end in ("", "_off"))]

    def _task(self, t: str) -> None:
        """A tile of rows, through all times."""
        b, arg = self.b, self.arg
        self.start = b.mul(t, self.shape.rows)
        self.end = b.least(b.add(self.start, self.shape.rows), arg("rows"))
        weights = b.at(b.buffer(arg("w")), arg("w_off"), self.ty)
        with b.loop(0, arg("times")) as time:
            self.now = self._arguments(time.i)
            self.bases = {x: self._pointer(x) for x in self.arrays}
            self.a = self._pointer("a")
            with b.loop(0, arg("panels")) as panel:
                self.unit = b.mul(panel.i, self.width)
                self._panel(b.at(weights, b.mul(panel.i, arg("panel")), self.ty))

    def _arguments(self, time: Value) -> dict[str, str]:
        """What a time step is told."""
        first = self.b.add(self.b.mul(time, len(self.names)), len(SWEEP))
        return {name: self.b.arg(self.b.add(first, i)) for i, name in enumerate(self.names)}

    def _pointer(self, name: str) -> str:
        slot = self.b.most(self.now[name], 0)  # -1: there is none, and nobody looks
        return self.b.at(self.b.buffer(slot), self.now[f"{name}_off"], self.ty)

    def _panel(self, weights: str) -> None:
        """A panel of hidden units at one time: its products, then its gates."""
        b, rows, shape = self.b, self.shape.rows, self.shape
        self.k0, self.k1 = "0", self.now["depth"]
        start = ["zeroinitializer"] * (rows * shape.together * shape.vectors)
        with b.loop(0, shape.gates, shape.together) as g:
            self.sums = b.at("%scratch", b.mul(g.i, self.width), self.ty)
            self.columns = b.at(weights, b.mul(g.i, self.arg("gate")), self.ty)
            total = self._products(self.start, rows, start)
            for place, value in zip(self._places(self.start, rows), total, strict=True):
                b.store(self.v, value, place, self.ty)
        self._gates(self.end)

    # -- arrays ------------------------------------------------------------------------------

    def state(self, row: Value) -> str:
        """The last tile may have fewer rows: it does its last one again, and nobody looks."""
        return super().state(self.b.least(row, self.b.sub(self.end, 1)))

    def given(self, name: str) -> str:
        return self.b.test("sge", self.now[name], 0)

    def base(self, name: str) -> str:
        return self.bases[name]
