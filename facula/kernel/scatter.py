"""Adding rows at given places, as steps: the gradient of an embedding, `index_add` along rows.

A task owns a stretch of the result's rows and looks through all indices for them, in order: no
atomics, and the same bits however tasks are dealt out.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from facula.kernel.step import Step
from facula.kernel.written import kernel_name
from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Value, vec
from facula.llvm.tile_gemm import TaskFrame
from facula.llvm.tile_pack import lanes_of

_ARGUMENTS = (
    *("index", "index_off", "src", "src_off", "src_row", "out", "out_off", "out_row"),
    *("count", "rows", "columns", "per_task", "skip", "clear"),
)


@dataclass(frozen=True)
class ScatterKernel:
    """out[index[i]] += src[i]."""

    dtype: str
    index_dtype: str

    @functools.cached_property
    def key(self) -> str:
        return f"scatter {self.dtype} by {self.index_dtype}"

    def ir(self, target: Target) -> tuple[str, str]:
        name = kernel_name(self.key)
        b = Emit(target, name)
        self._write(b, TaskFrame(b, list(_ARGUMENTS), 0))
        return name, b.module()

    def _write(self, b: Emit, arg: TaskFrame) -> None:
        number, index_type = NUMBERS[self.dtype], NUMBERS[self.index_dtype].stored
        arg.load_all()
        index = b.at(b.buffer(arg("index")), arg("index_off"), index_type)
        src = b.at(b.buffer(arg("src")), arg("src_off"), number.stored)
        out = b.at(b.buffer(arg("out")), arg("out_off"), number.stored)
        first = b.mul("%t0", arg("per_task"))
        last = b.least(b.mul("%t1", arg("per_task")), arg("rows"))
        with b.when(b.test("ne", arg("clear"), 0)), b.loop(first, last) as r:
            self._add_row(b, arg, b.at(out, b.mul(r.i, arg("out_row")), number.stored), None)
        with b.loop(0, arg("count")) as i:
            place: Value = b.load(index_type, b.at(index, i.i, index_type))
            if index_type != "i64":
                place = b.let(f"sext {index_type} {place} to i64")
            mine = b.both(b.test("sge", place, first), b.test("slt", place, last))
            with b.when(b.both(mine, b.test("ne", place, arg("skip")))):
                row = b.at(out, b.mul(place, arg("out_row")), number.stored)
                self._add_row(b, arg, row, b.at(src, b.mul(i.i, arg("src_row")), number.stored))

    def _add_row(self, b: Emit, arg: TaskFrame, row: str, src: str | None) -> None:
        """Add a row, or clear it where there is none to add."""
        number = NUMBERS[self.dtype]
        n, stored = lanes_of(b, number), number.stored

        def add(at: Value, mask: str | None) -> None:
            place = b.at(row, at, stored)
            value = "zeroinitializer"
            if src is None and mask is None:
                b.store(vec(n, stored), value, place, stored)
            elif src is None:
                b.masked_store(n, stored, value, place, mask or "")
            else:
                more = b.fetch(n, number, b.at(src, at, stored), mask)
                value = b.plus(n, number.compute, b.fetch(n, number, place, mask), more)
                b.put(n, number, value, place, mask)

        whole = b.mul(b.div(arg("columns"), n), n)
        with b.loop(0, whole, n) as j:
            add(j.i, None)
        with b.when(b.test("slt", whole, arg("columns"))):
            add(whole, b.mask(n, b.sub(arg("columns"), whole)))


_kernel = functools.cache(ScatterKernel)


@dataclass(frozen=True)
class RowsOf:
    """Rows of numbers in a buffer: each is contiguous."""

    slot: int
    row_stride: int
    offset: int = 0


def plan_scatter_rows(
    index: tuple[int, int],
    src: RowsOf,
    out: RowsOf,
    count: int,
    rows: int,
    columns: int,
    dtype: str = "float32",
    index_dtype: str = "int64",
    skip: int = -1,
    clear: bool = True,
) -> list[Step]:
    """out[index[i]] += src[i] for i < count; out is cleared before if `clear`.

    `index` is (slot, offset) of contiguous numbers; rows with index `skip` (an embedding's
    padding) and indices outside the result are left out.

        plan_scatter_rows((0, 0), RowsOf(1, 64), RowsOf(2, 64), 1000, 500, 64)
    """
    # Enough rows a task that looking through the indices stays cheap beside clearing and adding.
    tasks = max(1, min(64, rows, (rows + count) * columns // 16384))
    per_task = -(-rows // tasks)
    tasks = -(-rows // per_task)
    args = [*index, src.slot, src.offset, src.row_stride, out.slot, out.offset, out.row_stride]
    args += [count, rows, columns, per_task, skip, int(clear)]
    cost = 0.1 * (2 * count + (rows if clear else 0)) * columns + 0.3 * count * tasks
    return [Step(_kernel(dtype, index_dtype), args, tasks, 0, cost)]
