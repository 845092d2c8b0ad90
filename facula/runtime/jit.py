"""Textual LLVM IR to callable addresses, through a table in memory and a cache on disk.

    address = compile_ir("twice", ir_text)
    table = compile_kernels([step.kernel for step in steps])     # key -> address

The kernels that are missing are compiled together, on all cores.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm

from facula.llvm.target import Target
from facula.runtime import llvmc
from facula.runtime.cache import ObjectCache, entry_name

if TYPE_CHECKING:
    from facula.kernel.step import Kernel


@dataclass
class Stats:
    """How the kernels asked for were found, since the process began."""

    compiled: int = 0
    loaded_from_disk: int = 0
    memory_hits: int = 0


stats = Stats()

_lock = threading.RLock()
_addresses: dict[str, int] = {}  # entry name -> address of the function
_kept: list[Any] = []  # what keeps linked code alive: it is never unloaded
_engine: Any = None


def compile_kernels(kernels: Iterable[Kernel], target: Target | None = None) -> dict[str, int]:
    """Addresses of the kernels by key; those not yet known are loaded or compiled together."""
    target = target or Target.host()
    sources: dict[str, Callable[[], tuple[str, str]]] = {}
    names: dict[str, str] = {}
    for kernel in kernels:
        if kernel.key not in names:
            name = entry_name(kernel.key, target)
            names[kernel.key] = name
            # bind now: the loop variable changes before the call
            sources[name] = lambda kernel=kernel: kernel.ir(target)  # type: ignore[misc]
    addresses = _materialize(sources, target)
    return {key: addresses[name] for key, name in names.items()}


def compile_ir(name: str, ir: str, target: Target | None = None) -> int:
    """Address of the function `name` of a module; cached by the module's text.

    >>> compile_ir("f", "define i64 @f(i64 %x) { ret i64 %x }")  # doctest: +SKIP
    140213...
    """
    target = target or Target.host()
    entry = entry_name(f"ir:{name}:{ir}", target, generated=False)
    return _materialize({entry: lambda: (name, ir)}, target)[entry]


def _materialize(
    sources: dict[str, Callable[[], tuple[str, str]]], target: Target
) -> dict[str, int]:
    with _lock:
        missing = [name for name in sources if name not in _addresses]
        stats.memory_hits += len(sources) - len(missing)
        if missing:
            objects = _load_objects(missing)
            absent = [name for name in missing if name not in objects]
            if absent:
                objects |= _compile_objects({name: sources[name] for name in absent}, target)
            _addresses.update(_link(objects, target))
        return {name: _addresses[name] for name in sources}


def _load_objects(names: list[str]) -> dict[str, bytes]:
    cache = ObjectCache.default()
    found = {}
    if cache is not None:
        for name in names:
            data = cache.get(name)
            if data is not None:
                found[name] = data
    stats.loaded_from_disk += len(found)
    return found


def _symbol(entry: str) -> str:
    """The linker's name of an entry: kernels may all be called alike in their own module."""
    return "facula_" + entry[:32]


def _compile_objects(
    sources: dict[str, Callable[[], tuple[str, str]]], target: Target
) -> dict[str, bytes]:
    """Compile in threads; the IR is written here, under the GIL, while they are at work."""
    workers = min(len(sources), len(os.sched_getaffinity(0)) if _HAS_AFFINITY else os.cpu_count())  # type: ignore[type-var]
    if workers == 1:
        objects = {
            entry: llvmc.compile_object(_renamed(*source(), _symbol(entry)), target)
            for entry, source in sources.items()
        }
    else:
        with ThreadPoolExecutor(workers, thread_name_prefix="facula-llvm") as pool:
            futures = {
                entry: pool.submit(
                    llvmc.compile_object, _renamed(*source(), _symbol(entry)), target
                )
                for entry, source in sources.items()
            }
            objects = {entry: future.result() for entry, future in futures.items()}
    stats.compiled += len(objects)
    cache = ObjectCache.default()
    if cache is not None:
        for entry, data in objects.items():
            cache.put(entry, data)
    return objects


_HAS_AFFINITY = hasattr(os, "sched_getaffinity")


def _renamed(name: str, ir: str, symbol: str) -> str:
    """`ir` with its function `name` called `symbol`."""
    return re.sub(rf"@{re.escape(name)}(?![\w.$-])", "@" + symbol, ir)


def _link(objects: dict[str, bytes], target: Target) -> dict[str, int]:
    """Load objects into memory in one go; symbols they lack come from the process (libc, libm).

    JITLink puts all sections of an object side by side, so that small-model addressing reaches
    them however large the process is; MCJIT's loader, which is faster, does not promise that.
    """
    global _engine
    if _engine is None:
        _engine = llvm.create_lljit_compiler(llvmc.target_machine(target), use_jit_link=True)
    builder = llvm.JITLibraryBuilder().add_current_process()
    for entry, data in objects.items():
        builder.add_object_img(data).export_symbol(_symbol(entry))
    library = builder.link(_engine, f"facula{len(_kept)}")
    _kept.append(library)
    return {entry: library[_symbol(entry)] for entry in objects}
