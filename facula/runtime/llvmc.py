"""LLVM, called without llvmlite's global lock, so that several threads compile at once.

llvmlite wraps every call in one lock. LLVM itself only asks that a context, and what belongs to
it, is used by one thread at a time, and `compile_object` gives every module a context of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Iterable
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
from llvmlite.binding import ffi

if TYPE_CHECKING:
    from facula.llvm.target import Target

# name -> (result, arguments) of the functions of libllvmlite that are used here
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ContextCreate": (c_void_p, []),
    "ContextDispose": (None, [c_void_p]),
    "ParseAssembly": (c_void_p, [c_void_p, c_char_p, POINTER(c_void_p)]),
    "VerifyModule": (c_int, [c_void_p, POINTER(c_void_p)]),
    "DisposeModule": (None, [c_void_p]),
    "TargetMachineEmitToMemory": (c_void_p, [c_void_p, c_void_p, c_int, POINTER(c_void_p)]),
    "GetBufferStart": (c_void_p, [c_void_p]),
    "GetBufferSize": (c_size_t, [c_void_p]),
    "DisposeMemoryBuffer": (None, [c_void_p]),
    "DisposeString": (None, [c_void_p]),
    "CreatePipelineTuningOptions": (c_void_p, []),
    "DisposePipelineTuningOptions": (None, [c_void_p]),
    "CreatePassBuilder": (c_void_p, [c_void_p, c_void_p]),
    "DisposePassBuilder": (None, [c_void_p]),
    "buildPerModuleDefaultPipeline": (c_void_p, [c_void_p, c_int]),
    "RunNewModulePassManager": (None, [c_void_p, c_void_p, c_void_p]),
    "DisposeNewModulePassManger": (None, [c_void_p]),
}

# An IR module that starts with this line asks for LLVM's own optimisation passes. They cost as
# much again as instruction selection and give explicitly vectorised code nothing, hence not the
# default; scalar helper code may want them.
OPTIMIZE = "; facula: optimize\n"


class CompileError(RuntimeError):
    """LLVM refused a module; the text of the module follows the reason."""


@functools.cache
def _lib() -> dict[str, Any]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    library = ctypes.CDLL(ffi.lib._name)
    functions = {}
    for name, (result, arguments) in _SIGNATURES.items():
        function = library["LLVMPY_" + name]  # indexing makes a private function object
        function.restype, function.argtypes = result, arguments
        functions[name] = function
    return functions


def target_machine(target: Target) -> Any:
    """A new TargetMachine; position independent and small, as the linker of `jit` wants it."""
    _lib()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=2,  # 1 costs the same, 3 gains nothing measurable
        reloc="pic",
        codemodel="small",
        jit=True,
    )


_local = threading.local()


def _machine(target: Target) -> c_void_p:
    """This thread's machine for `target`."""
    if getattr(_local, "target", None) is not target:
        _local.machine, _local.target = target_machine(target), target
    return ctypes.cast(_local.machine._ptr, c_void_p)


def _take_string(lib: dict[str, Any], text: c_void_p) -> str:
    if not text:
        return ""
    message = ctypes.string_at(text.value or 0).decode(errors="replace")
    lib["DisposeString"](text)
    return message


def compile_object(ir: str, target: Target) -> bytes:
    """The object file of a textual IR module; safe to call from several threads at once."""
    lib, error = _lib(), c_void_p()
    machine = _machine(target)
    context = lib["ContextCreate"]()
    module = buffer = None
    try:
        module = lib["ParseAssembly"](context, ir.encode(), byref(error))
        if not module:
            raise CompileError(f"{_take_string(lib, error)}\n{ir}")
        if lib["VerifyModule"](module, byref(error)):
            raise CompileError(f"{_take_string(lib, error)}\n{ir}")
        if ir.startswith(OPTIMIZE):
            _run_default_passes(lib, machine, module)
        buffer = lib["TargetMachineEmitToMemory"](machine, module, 1, byref(error))
        if not buffer:
            raise CompileError(f"{_take_string(lib, error)}\n{ir}")
        return ctypes.string_at(lib["GetBufferStart"](buffer), lib["GetBufferSize"](buffer))
    finally:
        if buffer:
            lib["DisposeMemoryBuffer"](buffer)
        if module:
            lib["DisposeModule"](module)
        lib["ContextDispose"](context)


def compile_objects(
    sources: Iterable[tuple[str, str]], target: Target, workers: int
) -> dict[str, bytes]:
    """Object files by name, from (name, IR) pairs, compiled on `workers` threads.

    The caller is one of them. It also draws the pairs: while it writes the IR of one module, the
    others compile those before.
    """
    queue: SimpleQueue[tuple[str, str] | None] = SimpleQueue()
    objects: dict[str, bytes] = {}
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while (source := queue.get()) is not None and not failures:
                objects[source[0]] = compile_object(source[1], target)
        except BaseException as error:  # raised below, in the caller's thread
            failures.append(error)

    helpers = [threading.Thread(target=work, name="facula-llvm") for _ in range(workers - 1)]
    try:
        # no threads can be started while the interpreter exits: the caller does it all then
        with contextlib.suppress(RuntimeError):
            for helper in helpers:
                helper.start()
        for source in sources:
            queue.put(source)
    finally:
        for _ in range(workers):
            queue.put(None)
        work()
        for helper in helpers:
            if helper.ident is not None:
                helper.join()
    if failures:
        raise failures[0]
    return objects


def _run_default_passes(lib: dict[str, Any], machine: c_void_p, module: int) -> None:
    options = lib["CreatePipelineTuningOptions"]()
    builder = lib["CreatePassBuilder"](machine, options)
    passes = lib["buildPerModuleDefaultPipeline"](builder, 2)
    lib["RunNewModulePassManager"](passes, module, builder)
    lib["DisposeNewModulePassManger"](passes)
    lib["DisposePassBuilder"](builder)
    lib["DisposePipelineTuningOptions"](options)
