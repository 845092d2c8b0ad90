"""Compiling and running kernels for the tests of this folder."""

from __future__ import annotations

import ctypes

import llvmlite.binding as llvm
import numpy as np

from facula.llvm.target import Target

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
_SIGNATURE = ctypes.CFUNCTYPE(
    None, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * 2
)
_compiled: dict = {}


def machine(target: Target):
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2
    )


def compile_kernel(kernel, target: Target | None = None):
    target = target or Target.host()
    if kernel.key not in _compiled:
        name, ir = kernel.ir(target)
        module = llvm.parse_assembly(ir)
        module.verify()
        engine = llvm.create_mcjit_compiler(module, machine(target))
        engine.finalize_object()
        _compiled[kernel.key] = (_SIGNATURE(engine.get_function_address(name)), engine)
    return _compiled[kernel.key][0]


def aligned(nbytes: int) -> np.ndarray:
    raw = np.empty(nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


class Call:
    """Steps bound to buffers, ready to be run (again and again)."""

    def __init__(self, steps, buffers, scalars=()):
        self.steps, self.buffers = steps, buffers
        self.table = np.array([b.ctypes.data for b in buffers], np.int64)
        self.args = [np.array(s.args, np.int64) for s in steps]
        self.scalars = np.array(list(scalars) or [0.0], np.float64)
        self.status = np.zeros(4, np.int64)
        self.functions = [compile_kernel(s.kernel) for s in steps]
        self.scratch = aligned(max([s.scratch for s in steps], default=0) + 64)

    def part(self, index, t0, t1, scratch=None):
        step = self.steps[index]
        room = self.scratch if scratch is None else scratch
        assert step.scratch <= len(room)
        self.functions[index](
            self.table.ctypes.data,
            self.args[index].ctypes.data,
            self.scalars.ctypes.data,
            t0,
            t1,
            room.ctypes.data,
            self.status.ctypes.data,
        )

    def run(self, chunk: int | None = None):
        for index, step in enumerate(self.steps):
            size = chunk or max(step.ntasks, 1)
            self.scratch[:] = 0xFF  # NaN everywhere: nothing may depend on it
            starts = list(range(0, step.ntasks, size))
            for t0 in reversed(starts) if chunk else starts:
                self.part(index, t0, min(t0 + size, step.ntasks))
        return self


def run(steps, buffers, scalars=(), chunk=None):
    return Call(steps, buffers, scalars).run(chunk)
