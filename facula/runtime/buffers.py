"""Memory: buffers and the caching allocator behind them.

    b = alloc(4096)                        # 64-byte aligned, uninitialised
    x = b.numpy(np.float32, (32, 32))      # shares the memory and keeps it alive
    c = Buffer.from_numpy(x)               # the other way round

A buffer's memory goes back to a free list of its size class when the last reference to it is
gone. Fresh pages cost more than the arithmetic done on them, so the lists are kept, up to a bound:
where no free block has the size, free ones of other sizes make room, so that no more is held from the
system than was in use at once.
Small buffers are cut from slabs that are never given back; larger ones are mapped one by one,
in size classes eight to the doubling.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from facula.runtime import pages

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

ALIGNMENT = 64
SMALL = 16384  # up to here buffers are cut from slabs
SHARED = 1024  # up to here `arrange` lets buffers share one block of at most SMALL bytes
_SLAB = 1 << 20
_PAGE = 4096


class Buffer:
    """A piece of memory: its address, its size, and what keeps it alive."""

    __slots__ = ("addr", "base", "nbytes")

    addr: int
    nbytes: int
    base: Any

    def numpy(
        self,
        dtype: DTypeLike,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None = None,
        offset: int = 0,
    ) -> NDArray[Any]:
        """An array on this memory; `strides` and `offset` are in bytes."""
        dtype = np.dtype(dtype)
        if 0 in shape:
            return np.empty(shape, dtype)
        steps = strides
        if steps is None:
            extent = dtype.itemsize
            for size in shape:
                extent *= size
        else:
            extent = dtype.itemsize + sum((d - 1) * s for d, s in zip(shape, steps, strict=True))
            if any(step < 0 for step in steps):
                raise ValueError("facula: strides of a buffer's view must not be negative")
        if offset < 0 or offset + extent > self.nbytes:
            raise ValueError(
                f"facula: a view of {extent} bytes at {offset} leaves the buffer's {self.nbytes}"
            )
        return np.asarray(_Exported(self, dtype.str, shape, strides, offset))

    @staticmethod
    def from_numpy(array: NDArray[Any]) -> Buffer:
        """The memory that `array` covers, not copied; the array is kept alive."""
        low = high = array.__array_interface__["data"][0]
        for size, step in zip(array.shape, array.strides, strict=True):
            if step < 0:
                low += (size - 1) * step
            else:
                high += (size - 1) * step
        buffer = Buffer()
        buffer.addr = low
        buffer.nbytes = high + array.itemsize - low if array.size else 0
        buffer.base = array
        return buffer

    def __repr__(self) -> str:
        return f"Buffer({self.nbytes} bytes at {self.addr:#x})"


class _Exported:
    """What NumPy makes an array of; the array's `base` keeps it, and it keeps the buffer."""

    __slots__ = ("__array_interface__", "buffer")

    def __init__(
        self,
        buffer: Buffer,
        typestr: str,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None,
        offset: int,
    ) -> None:
        self.buffer = buffer
        self.__array_interface__ = {
            "version": 3,
            "typestr": typestr,
            "shape": shape,
            "strides": strides,
            "data": (buffer.addr + offset, False),
        }


class _Small(Buffer):
    """Cut from a slab; `base` is the free list it returns to."""

    __slots__ = ()

    def __del__(self) -> None:
        self.base.append(self.addr)


class _Large(Buffer):
    """Mapped on its own, `capacity` bytes; `base` is the free list it returns to."""

    __slots__ = ("capacity",)

    capacity: int

    def __del__(self) -> None:
        global _cached
        self.base.append(self.addr)
        _cached += self.capacity  # no other thread or finalizer can run within this line
        if _cached > _limit:
            _trim(_limit // 2)


def _small_classes() -> list[tuple[list[int], int]]:
    """For each count of 64 bytes up to SMALL: its class's free list, and the class's size."""
    table: list[tuple[list[int], int]] = []
    for units in range(SMALL // ALIGNMENT + 1):
        grain = max(1, 1 << (units.bit_length() - 4)) if units > 8 else 1
        size = max(1, -(-units // grain) * grain) * ALIGNMENT
        table.append(table[-1] if table and table[-1][1] == size else ([], size))
    return table


_lock = threading.RLock()
_small = _small_classes()
_small_free = [free for free, _ in _small]
_large_free: dict[int, list[int]] = {}  # capacity -> addresses
_small_reserved = 0  # bytes of slabs
_large_reserved = 0  # bytes of large blocks, in use or cached
_cached = 0  # bytes of large blocks in free lists
_peak = 0  # most bytes of large blocks in use, since it was last reset
_most = 64 << 20  # the same, never reset; as much may be held from the start


def _default_limit() -> int:
    """A quarter of the machine's memory."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    except (AttributeError, ValueError, OSError):
        return 2 << 30


_limit = _default_limit()


def alloc(nbytes: int) -> Buffer:
    """A buffer of `nbytes` bytes, aligned to 64, its contents undefined."""
    if nbytes <= SMALL:
        free = _small_free[(nbytes + 63) >> 6]
        try:
            addr = free.pop()
        except IndexError:
            addr = _carve((nbytes + 63) >> 6)
        buffer: Buffer = _Small()
        buffer.addr = addr
        buffer.nbytes = nbytes
        buffer.base = free
        return buffer
    return _alloc_large(nbytes)


def _alloc_large(nbytes: int) -> Buffer:
    global _cached, _peak
    grain = max(_PAGE, 1 << (nbytes.bit_length() - 4))
    capacity = -(-nbytes // grain) * grain
    free = _large_free.get(capacity)
    if free is None:
        free = _large_free.setdefault(capacity, [])
    try:
        addr = free.pop()
        _cached -= capacity
    except IndexError:
        addr = _map(capacity, nbytes)
    if _large_reserved - _cached > _peak:
        _peak = _large_reserved - _cached
    buffer = _Large()
    buffer.addr = addr
    buffer.nbytes = nbytes
    buffer.base = free
    buffer.capacity = capacity
    return buffer


# for each block: its bytes, and the (start, bytes) of what shares it, or nothing
Arrangement = list[tuple[int, list[tuple[int, int]]]]


def arrange(sizes: list[int]) -> tuple[Arrangement, list[int]]:
    """How buffers of the given sizes are allocated, for `alloc_arranged` to do it again and again.

    The blocks, and for each size the place of its buffer among all buffers of all blocks.
    """
    blocks: Arrangement = []
    at = 0
    order: list[tuple[int, int]] = []  # block, place in it
    shared = -1
    for nbytes in sizes:
        if nbytes > SHARED:
            order.append((len(blocks), 0))
            blocks.append((nbytes, []))
            continue
        room = (nbytes + 63) & -64 or 64
        if shared < 0 or at + room > SMALL:
            shared, at = len(blocks), 0
            blocks.append((0, []))
        members = blocks[shared][1]
        order.append((shared, len(members)))
        members.append((at, nbytes))
        at += room
        blocks[shared] = (at, members)
    firsts = [0]
    for _, members in blocks:
        firsts.append(firsts[-1] + max(len(members), 1))
    return blocks, [firsts[block] + place for block, place in order]


def alloc_arranged(arranged: tuple[Arrangement, list[int]]) -> list[Buffer]:
    """Buffers as they were arranged, in the order of their sizes."""
    blocks, order = arranged
    made: list[Buffer] = []
    for nbytes, members in blocks:
        block = alloc(nbytes)
        if not members:
            made.append(block)
            continue
        start = block.addr
        for at, size in members:
            buffer = Buffer()
            buffer.addr = start + at
            buffer.nbytes = size
            buffer.base = block
            made.append(buffer)
    return [made[place] for place in order]


def _carve(units: int) -> int:
    """Cut a part of a slab into blocks of one class; returns one, the rest go to its list."""
    global _slab_at, _slab_end, _small_reserved
    free, size = _small[units]
    with _lock:
        count = max(1, min(64, 65536 // size))
        if _slab_at + count * size > _slab_end:
            _slab_at = _map_or_raise(_SLAB, size)
            _slab_end = _slab_at + _SLAB
            _small_reserved += _SLAB
        first = _slab_at
        _slab_at += count * size
    free.extend(range(first + size, first + count * size, size))
    return first


_slab_at = _slab_end = 0


def _map(capacity: int, nbytes: int) -> int:
    global _large_reserved, _most
    used = _large_reserved - _cached + capacity
    if used > _most:
        _most = used
    if _cached > _most - used:
        _trim(_most - used)
    addr = _map_or_raise(capacity, nbytes)
    _large_reserved += capacity
    return addr


def _map_or_raise(capacity: int, nbytes: int) -> int:
    addr = pages.map_pages(capacity)
    if addr is None:
        empty_cache()
        addr = pages.map_pages(capacity)
    if addr is None:
        raise RuntimeError(
            "[enforce fail at facula/runtime/buffers.py] . DefaultCPUAllocator: can't allocate "
            f"memory: you tried to allocate {nbytes} bytes. Error code 12 (Cannot allocate memory)"
        )
    return addr


def _trim(goal: int) -> None:
    """Give cached blocks back to the system, the largest first, until `goal` bytes are left."""
    global _cached, _large_reserved
    for capacity in sorted(_large_free, reverse=True):
        free = _large_free[capacity]
        while free and _cached > goal:
            try:
                addr = free.pop()
            except IndexError:  # another thread was faster
                break
            _cached -= capacity
            _large_reserved -= capacity
            pages.unmap_pages(addr, capacity)


def empty_cache() -> None:
    """Give all cached large blocks back to the system."""
    _trim(0)


def set_cache_limit(nbytes: int) -> None:
    """Bound the bytes of freed large buffers that are kept for reuse."""
    global _limit
    _limit = nbytes
    if _cached > _limit:
        _trim(_limit)


class MemoryStats(NamedTuple):
    """Bytes; small buffers count as the slabs they are cut from."""

    current: int
    peak: int
    reserved: int


def memory_stats() -> MemoryStats:
    """Bytes in use now, the most that ever were, and those held from the system."""
    return MemoryStats(
        _small_reserved + _large_reserved - _cached,
        _small_reserved + _peak,
        _small_reserved + _large_reserved,
    )


def reset_peak() -> None:
    """Count the peak from now on."""
    global _peak
    _peak = _large_reserved - _cached


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
