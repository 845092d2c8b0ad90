"""Native code for the random transforms: textual LLVM IR, compiled on first use.

Each kernel is a module text with one entry function; `function(name)` compiles it and returns a
ctypes function. Pointers are passed as integers (`array.ctypes.data`).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import llvmlite.binding as llvm

from facula.llvm.target import Target

_ENGINES: list[llvm.ExecutionEngine] = []  # keeps the machine code alive


@functools.cache
def _machine() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    host = Target.host()
    return llvm.Target.from_triple(host.triple).create_target_machine(
        cpu=host.cpu, features=host.features, opt=2, jit=True
    )


def compile_function(name: str, text: str, signature: str) -> Callable[..., None]:
    """Compile module `text` and return its function `name`.

    `signature` has one letter an argument: p pointer, i 64-bit integer, d double, f float.
    """
    module = llvm.parse_assembly(text)
    engine = llvm.create_mcjit_compiler(module, _machine())
    engine.finalize_object()
    _ENGINES.append(engine)
    kinds = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "d": ctypes.c_double, "f": ctypes.c_float}
    prototype = ctypes.CFUNCTYPE(None, *(kinds[c] for c in signature))
    return prototype(engine.get_function_address(name))
