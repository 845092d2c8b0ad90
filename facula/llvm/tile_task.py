"""What a task of a kernel on register tiles is told: the step's arguments, by their names."""

from __future__ import annotations

from facula.llvm.tile import Emit, Number, Value


class TaskFrame:
    """The arguments of a step by their names, and where operands of the current batch begin."""

    def __init__(self, b: Emit, names: list[str], n_batch: int) -> None:
        self.b, self.n_batch = b, n_batch
        self._index = {name: i for i, name in enumerate(names)}
        self._read: dict[str, str] = {}
        self.batch: list[Value] = []

    def load_all(self) -> None:
        """Read every argument once, in the entry block."""
        self._read = {name: self.b.arg(i) for name, i in self._index.items()}

    def __call__(self, name: str) -> str:
        """The value of an argument."""
        return self._read[name]

    def place_batch(self, index: Value) -> None:
        """Split a batch index over the batch dimensions."""
        self.batch = [0] * self.n_batch
        for d in reversed(range(1, self.n_batch)):
            index, self.batch[d] = self.b.divmod(index, self(f"batch{d}"))
        if self.n_batch:
            self.batch[0] = index

    def batch_offset(self, name: str) -> Value:
        """How many elements lie before an operand of the current batch."""
        offset: Value = 0
        for d, i in enumerate(self.batch):
            offset = self.b.add(offset, self.b.mul(i, self(f"{name}_batch{d}")))
        return offset

    def base(self, name: str, ty: str) -> str:
        """Where an operand of elements of a type begins, if it has no batch."""
        return self.b.at(self.b.buffer(self(name)), self(f"{name}_off"), ty)

    def pointer(self, name: str, number: Number) -> str:
        """Where an operand of the current batch begins."""
        offset = self.b.add(self(f"{name}_off"), self.batch_offset(name))
        return self.b.at(self.b.buffer(self(name)), offset, number.stored)
