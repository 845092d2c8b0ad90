"""Run a loop program's native code on NumPy arrays."""

from __future__ import annotations

import ctypes
import functools
import itertools

import llvmlite.binding as llvm
import numpy as np

from facula.kernel.program import Program
from facula.llvm.loops import LoopKernel, pack
from facula.llvm.target import Target

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
_kept = []
TYPE = ctypes.CFUNCTYPE(
    None, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * 2
)


@functools.cache
def compiled(program: Program, target: Target):
    """The native function of a program."""
    name, ir = LoopKernel(program).ir(target)
    module = llvm.parse_assembly(ir)
    module.verify()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="small"
    )
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    _kept.append(engine)
    return TYPE(engine.get_function_address(name))


def element_strides(array: np.ndarray) -> list[int]:
    return [s // array.itemsize for s in array.strides]


class Call:
    """A program bound to arrays; `Call(...)()` runs all its tasks."""

    def __init__(
        self,
        program,
        arrays,
        outer,
        inner,
        strides,
        scalars=(),
        params=(),
        target=None,
        offsets=None,
    ):
        target = target or Target.host()
        self.function = compiled(program, target)
        n = len(arrays)
        self.arrays = arrays
        args, self.ntasks, scratch, self.cost = pack(
            program,
            range(n),
            offsets or [0] * n,
            outer,
            inner,
            strides,
            range(len(scalars)),
            params,
            target,
        )
        self.args = np.array(args, np.int64)
        self.bufs = np.array([a.ctypes.data for a in arrays], np.int64)
        self.scalars = np.zeros(max(1, len(scalars)), np.int64)
        for k, s in enumerate(scalars):
            self.scalars[k : k + 1].view(np.float64 if isinstance(s, float) else np.int64)[0] = s
        raw = np.empty(scratch + 128, np.uint8)
        self.raw = raw
        self.scratch = (raw.ctypes.data + 63) & -64
        self.status = np.zeros(4, np.int64)

    def __call__(self, cuts=None):
        cuts = cuts or [0, self.ntasks]
        for t0, t1 in itertools.pairwise(cuts):
            self.function(
                self.bufs.ctypes.data,
                self.args.ctypes.data,
                self.scalars.ctypes.data,
                t0,
                t1,
                self.scratch,
                self.status.ctypes.data,
            )
