"""A list of steps as native code runs it: packed once, then one foreign call per run."""

from __future__ import annotations

import array
import ctypes
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from facula.runtime import runner_ir as ir
from facula.runtime import threads

if TYPE_CHECKING:
    from facula.kernel.step import Step

# A step is shared when one thread needs at least this long for it, in estimated nanoseconds.
PARALLEL_COST = 4000.0
# A chunk smaller than this costs more to hand out than it saves.
CHUNK_COST = 1000.0
# Above that, long steps are cut this fine, so that threads which run at unlike speed end together.
FINE_COST = 50000.0
# Sleeping workers are woken for plans that have at least this much to share.
WAKE_COST = 100000.0
# Plans shorter than this keep the GIL: giving it up costs time, and more when others want it.
HOLD_GIL_COST = 20000.0


class NativePlan:
    """Steps with the addresses of their kernels.

    `nbufs` is the number of buffer slots, `scalar_kinds` has one letter for each scalar slot:
    'd' for a double, 'q' for an int64.

        table = compile_kernels(step.kernel for step in steps)
        plan = NativePlan(steps, table, 2, "d")
        plan.run([x.addr, y.addr], [0.5])
    """

    __slots__ = (
        "_args",
        "_call",
        "_header",
        "_header_address",
        "_pack",
        "_parallel",
        "_records",
    )

    def __init__(
        self,
        steps: Sequence[Step],
        addresses: Mapping[str, int],
        nbufs: int,
        scalar_kinds: str = "",
    ) -> None:
        self._args = array.array("q", [n for step in steps for n in step.args])
        self._records = array.array("Q")
        at = self._args.buffer_info()[0]
        shared = 0.0
        for step in steps:
            chunks = _most_chunks(step)
            if chunks > 1:
                shared += step.cost
            address = addresses[step.kernel.key]
            fine = int(step.cost / FINE_COST)
            record = [address, at, step.ntasks, chunks, step.scratch, fine, 0, 0]
            self._records.extend(record)
            at += 8 * len(step.args)
        self._parallel = shared > 0
        header = array.array("q", bytes(8 * ir.HEADER_FIELDS))
        header[ir.STEPS] = self._records.buffer_info()[0]
        header[ir.NSTEPS] = len(steps)
        header[ir.MAX_SCRATCH] = max((step.scratch for step in steps), default=0)
        header[ir.POOL_CELL] = threads.pool_cell_address
        header[ir.SCALARS_AT] = 8 * nbufs
        header[ir.PARALLEL] = self._parallel
        header[ir.WAKE] = shared >= WAKE_COST
        self._header = header
        self._header_address = header.buffer_info()[0]
        # pointers and ssize_t are packed about twice as fast as 'Q' and 'q'
        kinds = scalar_kinds.replace("q", "n")
        self._pack = struct.Struct(f"{nbufs}P{kinds}").pack
        # a step without an estimate may take long
        costs = [step.cost or HOLD_GIL_COST for step in steps]
        brief = sum(costs) < HOLD_GIL_COST
        prototype = _HOLDING_GIL if brief else _RELEASING_GIL
        self._call = prototype(threads.native("facula_run_plan"))

    def run(self, bufs: Sequence[int], scalars: Sequence[float] = ()) -> int:
        """Run all steps; 0, or the code that a kernel left (then `status` tells more)."""
        if self._parallel:
            threads.ensure_workers()
        code: int = self._call(self._header_address, self._pack(*bufs, *scalars))
        if code == -1:
            raise self.no_memory()
        return code

    def no_memory(self) -> RuntimeError:
        """The error for a run that could not have its scratch memory, code -1."""
        return RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate "
            f"{self._header[ir.MAX_SCRATCH]} bytes of scratch"
        )

    @property
    def status(self) -> tuple[int, int, int, int]:
        """What the last failing run reported: (code, bad index, size, tag)."""
        return tuple(self._header[ir.STATUS_OUT : ir.STATUS_OUT + 4])  # type: ignore[return-value]


_HOLDING_GIL = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p)
_RELEASING_GIL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p)


def _most_chunks(step: Step) -> int:
    """Into how many chunks a step may be cut; 0 keeps it on the calling thread."""
    if step.ntasks < 2 or step.cost < PARALLEL_COST:
        return 0
    return min(step.ntasks, int(step.cost / CHUNK_COST))
