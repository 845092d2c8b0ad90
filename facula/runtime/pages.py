"""Pages from the operating system, on huge pages where it has them."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import sys
from typing import Any

HUGE = 2 << 20
_MADV_HUGEPAGE = 14
_FAILED = ctypes.c_void_p(-1).value

_held: dict[int, Any] = {}  # where there is no mmap(2): address -> the object that owns it


@functools.cache
def _libc() -> ctypes.CDLL | None:
    if os.name != "posix":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    size, pointer, number = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
    libc.mmap.argtypes = [pointer, size, number, number, number, ctypes.c_int64]
    libc.mmap.restype = pointer
    libc.munmap.argtypes = [pointer, size]
    libc.madvise.argtypes = [pointer, size, number]
    return libc


def map_pages(nbytes: int) -> int | None:
    """The address of `nbytes` (whole pages) of fresh memory, or None when there is none left."""
    libc = _libc()
    if libc is None:
        return _map_held(nbytes)
    if nbytes < HUGE:
        return _mmap(libc, nbytes)
    # huge pages need their own alignment: map more, give back what sticks out on both sides
    start = _mmap(libc, nbytes + HUGE)
    if start is None:
        return None
    addr = -(-start // HUGE) * HUGE
    if addr > start:
        libc.munmap(start, addr - start)
    end = start + nbytes + HUGE
    if end > addr + nbytes:
        libc.munmap(addr + nbytes, end - addr - nbytes)
    if sys.platform == "linux":
        libc.madvise(addr, nbytes, _MADV_HUGEPAGE)
    return addr


def _mmap(libc: ctypes.CDLL, nbytes: int) -> int | None:
    if nbytes >= 1 << 62:
        return None
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    addr = libc.mmap(None, nbytes, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    return None if addr == _FAILED else addr


def _map_held(nbytes: int) -> int | None:
    try:
        memory = (ctypes.c_char * (nbytes + 64))()
    except (MemoryError, OverflowError):
        return None
    addr = -(-ctypes.addressof(memory) // 64) * 64
    _held[addr] = memory
    return addr


def unmap_pages(addr: int, nbytes: int) -> None:
    """Give memory from `map_pages` back."""
    libc = _libc()
    if libc is None:
        del _held[addr]
    else:
        libc.munmap(addr, nbytes)
