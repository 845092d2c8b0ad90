"""Worker threads: native threads that never touch Python.

They are made by pthread_create when a plan first has work to share, run the loop in
`runner_ir.py`, and are told to leave at exit or when their number changes. With one thread there
are none. A forked child starts without workers and makes its own when it needs them.

    set_num_threads(4)
    get_num_threads()     # 4; the caller is one of them
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import signal
import struct
import threading

from facula import config
from facula.llvm.target import Target
from facula.runtime import jit, llvmc
from facula.runtime import runner_ir as ir

# How many pauses (10-50 ns each) an idle worker makes before it sleeps: long enough to bridge
# the gap between two plans of a training loop.
SPIN = 10000

_FUNCTIONS = ("facula_run_plan", "facula_worker", "facula_stop", "facula_retire")


@functools.cache
def native(name: str) -> int:
    """Address of a function of the runner."""
    return _runner()[name]


@functools.cache
def _runner() -> dict[str, int]:
    target = Target.host()
    return jit.compile_module(_FUNCTIONS, llvmc.OPTIMIZE + ir.runner_ir(target.triple), target)


def _default_threads() -> int:
    # OMP_NUM_THREADS may be a list, one number for each level of nesting
    text = config.num_threads().split(",")[0].strip()
    return int(text) if text.isdigit() and int(text) > 0 else jit.cpu_count()


class _Pool:
    """One generation of workers and the block of memory they share with a caller."""

    def __init__(self) -> None:
        # Never freed: a caller may still hold it when the next pool takes its place.
        self._memory = ctypes.create_string_buffer(ir.POOL_BYTES + 64)
        self.address = -(-ctypes.addressof(self._memory) // 64) * 64
        self.threads: list[ctypes.c_void_p] = []

    def start(self, workers: int) -> None:
        struct.pack_into("=q", self._memory, self._offset(ir.SPIN), SPIN)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:  # the workers inherit the mask: signals stay with Python's threads
            for _ in range(workers):
                thread = ctypes.c_void_p()
                if _libc().pthread_create(
                    ctypes.byref(thread), None, native("facula_worker"), self.address
                ):
                    break  # the system has no more threads to give; fewer do as well
                self.threads.append(thread)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        struct.pack_into("=q", self._memory, self._offset(ir.WORKERS), len(self.threads))

    def stop(self) -> None:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(native("facula_stop"))(self.address)
        for thread in self.threads:
            _libc().pthread_join(thread, None)
        self.threads = []
        _buried.append(self)

    def _offset(self, field: int) -> int:
        return self.address - ctypes.addressof(self._memory) + field


_buried: list[_Pool] = []  # memory of stopped pools
_lock = threading.RLock()
_requested: int | None = None
_started = False
_pool = _Pool()
# Native code reads the current pool here at the start of every plan.
pool_cell = ctypes.c_uint64(_pool.address)
pool_cell_address = ctypes.addressof(pool_cell)


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.pthread_create.argtypes = [ctypes.c_void_p] * 4
    libc.pthread_join.argtypes = [ctypes.c_void_p] * 2
    return libc


def get_num_threads() -> int:
    """How many threads, the caller included, share the work of a plan."""
    global _requested
    if _requested is None:
        _requested = _default_threads() if os.name == "posix" else 1
    return _requested


def set_num_threads(number: int) -> None:
    """Share the work of plans among `number` threads, from the next plan on."""
    global _requested, _started
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"set_num_threads expects an int, but got {type(number).__name__}")
    if number <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    with _lock:
        if number != _requested:
            _requested = number if os.name == "posix" else 1  # no workers elsewhere yet
            _replace_pool()
            _started = False


def ensure_workers() -> None:
    """Start the workers unless that was done; called before a plan with work to share."""
    global _started
    if not _started:
        with _lock:
            if not _started:
                _started = True
                if get_num_threads() > 1:
                    _pool.start(get_num_threads() - 1)


def _replace_pool() -> None:
    """Send the workers home; a plan that is running goes on without them."""
    global _pool
    old, _pool = _pool, _Pool()
    pool_cell.value = _pool.address
    if old.threads:
        old.stop()
    else:
        _buried.append(old)


def _leave() -> None:
    global _started
    with _lock:
        _replace_pool()
        _started = True  # plans that still run, in other exit handlers, run alone


def _after_fork() -> None:
    global _pool, _started, _lock
    _lock = threading.RLock()
    _buried.append(_pool)  # its threads were left behind in the parent
    _pool = _Pool()
    pool_cell.value = _pool.address
    _started = False


atexit.register(_leave)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
