"""Running sums, products and extremes, as steps."""

from __future__ import annotations

from dataclasses import dataclass

from facula.kernel.matmul import MatmulPlan
from facula.kernel.step import Step
from facula.kernel.written import WrittenKernel, written_kernel
from facula.llvm.tile_scan import ScanShape, ScanWriter

_BLOCK = 32768  # numbers of a long row that one task does
_LONG = 4 * _BLOCK
_LOG = 20  # how many additions a logarithm of a sum of exponentials is


def _kernel(shape: ScanShape) -> WrittenKernel:
    return written_kernel(shape, ScanWriter)


@dataclass(frozen=True)
class Scan:
    """y[a, i, b] = x[a, 0, b] op ... op x[a, i, b]; y is contiguous, x has a stride per dim."""

    sizes: tuple[int, int, int]
    dtype: str
    kind: str  # sum, prod, max, min, argmax, argmin, logaddexp
    x: tuple[int, int, tuple[int, int, int]]  # slot, offset, strides
    y: tuple[int, int]

    @property
    def rows(self) -> bool:
        """Whether it runs along contiguous numbers."""
        return self.sizes[2] == 1


def plan_scan(scan: Scan, workspace_slot: int) -> MatmulPlan:
    """The steps; where `rows`, x's stride along i must be one."""
    a, n, b = scan.sizes
    if scan.rows and n >= _LONG and a < 16 and not scan.kind.startswith("arg"):
        return _plan_long(scan, workspace_slot)
    work = a * n * b
    if scan.kind == "logaddexp":
        work *= _LOG
    wanted = min(64, max(1, work // 16384))
    per_a, block, blocks = -(-a // min(a, wanted)), n, 1
    if not scan.rows:
        parts = -(-wanted // -(-a // per_a))
        block = -(-max(64, -(-b // parts)) // 64) * 64
        blocks = -(-b // block)
    form = "rows" if scan.rows else "columns"
    slow = 1.2 if scan.rows and scan.kind.startswith("arg") else 0.4
    return MatmulPlan([_step(scan, form, per_a, block, blocks, 0, slow * work)], 0)


def _step(
    scan: Scan, form: str, per_a: int, block: int, blocks: int, slot: int, cost: float
) -> Step:
    x_slot, x_offset, strides = scan.x
    args = [x_slot, x_offset, *scan.y, slot, *strides, *scan.sizes, per_a, block, blocks]
    carried = form == "rows" and blocks > 1
    kernel = _kernel(ScanShape(form, scan.dtype, scan.kind, carried))
    return Step(kernel, args, -(-scan.sizes[0] // per_a) * blocks, 0, cost)


def _plan_long(scan: Scan, slot: int) -> MatmulPlan:
    """Few long rows: totals of blocks first, then every block from what comes before it."""
    a, n, _ = scan.sizes
    blocks = -(-n // _BLOCK)
    work = a * n * (_LOG if scan.kind == "logaddexp" else 1)
    totals = _step(scan, "totals", 1, _BLOCK, blocks, slot, 0.1 * work)
    rows = _step(scan, "rows", 1, _BLOCK, blocks, slot, 0.4 * work)
    return MatmulPlan([totals, rows], 8 * a * blocks)
