"""Textual LLVM IR to callable addresses, through a table in memory and a cache on disk.

    address = compile_ir("twice", ir_text)
    table = compile_kernels([step.kernel for step in steps])     # key -> address

The kernels that are missing are compiled together, on all cores.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm

from facula.llvm.target import Target
from facula.runtime import llvmc
from facula.runtime.cache import ObjectCache, entry_name

if TYPE_CHECKING:
    from facula.kernel.step import Kernel


@dataclass
class _Request:
    """An object to be found or made: its functions' names and IR are asked for only in need."""

    entry: str
    functions: int
    source: Callable[[], tuple[Sequence[str], str]]


@dataclass
class Stats:
    """How the kernels asked for were found, since the process began."""

    compiled: int = 0
    loaded_from_disk: int = 0
    memory_hits: int = 0


stats = Stats()

_lock = threading.RLock()
_addresses: dict[str, list[int]] = {}  # entry name -> addresses of its functions
_libraries: list[Any] = []  # what keeps linked code alive: it is never unloaded
_engine: Any = None


def compile_kernels(kernels: Iterable[Kernel], target: Target | None = None) -> dict[str, int]:
    """Addresses of the kernels by key; those not yet known are loaded or compiled together."""
    target = target or Target.host()
    requests = {
        kernel.key: _Request(entry_name(kernel.key, target), 1, _kernel_source(kernel, target))
        for kernel in kernels
    }
    addresses = _materialize(requests.values(), target)
    return {key: addresses[request.entry][0] for key, request in requests.items()}


def _kernel_source(kernel: Kernel, target: Target) -> Callable[[], tuple[Sequence[str], str]]:
    def source() -> tuple[Sequence[str], str]:
        name, ir = kernel.ir(target)
        return (name,), ir

    return source


def compile_ir(name: str, ir: str, target: Target | None = None) -> int:
    """Address of the function `name` of a module; cached by the module's text.

    >>> compile_ir("f", "define i64 @f(i64 %x) { ret i64 %x }")  # doctest: +SKIP
    140213...
    """
    return compile_module((name,), ir, target)[name]


def compile_module(names: Sequence[str], ir: str, target: Target | None = None) -> dict[str, int]:
    """Addresses of several functions of one module; cached by the module's text."""
    target = target or Target.host()
    entry = entry_name(f"ir:{','.join(names)}:{ir}", target, generated=False)
    request = _Request(entry, len(names), lambda: (names, ir))
    return dict(zip(names, _materialize([request], target)[entry], strict=True))


def _materialize(requests: Iterable[_Request], target: Target) -> dict[str, list[int]]:
    with _lock:
        wanted = {request.entry: request for request in requests}
        missing = [request for entry, request in wanted.items() if entry not in _addresses]
        stats.memory_hits += len(wanted) - len(missing)
        if missing:
            objects = _load_objects(missing)
            objects |= _compile_objects([r for r in missing if r.entry not in objects], target)
            _addresses.update(_link([(r, objects[r.entry]) for r in missing], target))
        return {entry: _addresses[entry] for entry in wanted}


def _load_objects(requests: list[_Request]) -> dict[str, bytes]:
    cache = ObjectCache.default()
    if cache is None:
        return {}
    found = {request.entry: cache.get(request.entry) for request in requests}
    loaded = {entry: data for entry, data in found.items() if data is not None}
    stats.loaded_from_disk += len(loaded)
    return loaded


def _compile_objects(requests: list[_Request], target: Target) -> dict[str, bytes]:
    """Compile in threads; the IR is written here, under the GIL, while they are at work."""
    if not requests:
        return {}
    sources = ((request.entry, _renamed(request)) for request in requests)
    objects = llvmc.compile_objects(sources, target, min(len(requests), cpu_count()))
    stats.compiled += len(objects)
    cache = ObjectCache.default()
    if cache is not None:
        for entry, data in objects.items():
            cache.put(entry, data)
    return objects


def cpu_count() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _symbol(entry: str, index: int) -> str:
    """The linker's name of a function: kernels may all be called alike in their own module."""
    return f"facula_{entry[:32]}_{index}"


def _renamed(request: _Request) -> str:
    """The request's IR with its functions called by their linker names."""
    names, ir = request.source()
    for index, name in enumerate(names):
        symbol = _symbol(request.entry, index)
        ir = re.sub(rf"@{re.escape(name)}(?![\w.$-])", "@" + symbol, ir)
    return ir


def _link(objects: list[tuple[_Request, bytes]], target: Target) -> dict[str, list[int]]:
    """Load objects into memory in one go; symbols they lack come from the process (libc, libm).

    JITLink puts all sections of an object side by side, so that small-model addressing reaches
    them however large the process is; MCJIT's loader, which is faster, does not promise that.
    """
    global _engine
    if _engine is None:
        _engine = llvm.create_lljit_compiler(llvmc.target_machine(target), use_jit_link=True)
    builder = llvm.JITLibraryBuilder().add_current_process()
    for request, data in objects:
        builder.add_object_img(data)
        for index in range(request.functions):
            builder.export_symbol(_symbol(request.entry, index))
    library = builder.link(_engine, f"facula{len(_libraries)}")
    _libraries.append(library)
    return {
        request.entry: [library[_symbol(request.entry, i)] for i in range(request.functions)]
        for request, _ in objects
    }


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
