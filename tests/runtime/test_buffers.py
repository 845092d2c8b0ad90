"""The caching allocator."""

from __future__ import annotations

import gc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facula.runtime import buffers
from facula.runtime.buffers import Buffer, alloc, alloc_arranged, arrange

_SIZES = st.one_of(st.integers(0, 2000), st.integers(0, 100_000), st.integers(2_000_000, 5_000_000))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.lists(_SIZES, min_size=1, max_size=6), st.integers(0, 3))))
def test_live_buffers_never_overlap(script: list[tuple[list[int], int]]) -> None:
    live: list[Buffer] = []
    for sizes, drop in script:
        live += alloc_arranged(arrange(sizes)) if drop % 2 else [alloc(size) for size in sizes]
        assert all(b.addr % 64 == 0 for b in live)
        spans = sorted((b.addr, b.addr + b.nbytes) for b in live if b.nbytes)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        del live[: drop * 2]


def test_memory_is_reused() -> None:
    for size in (8, 5000, 1 << 20):
        buffer = alloc(size)
        addr = buffer.addr
        del buffer
        assert alloc(size - 1).addr == addr


def test_large_classes_waste_at_most_an_eighth() -> None:
    for size in (40_001, 1_000_001, 33_554_433):
        buffer = alloc(size)
        assert size <= buffer.capacity <= size * 9 // 8 + 4096  # type: ignore[attr-defined]


def test_numpy_view_outlives_its_buffer() -> None:
    buffer = alloc(4096)
    addr = buffer.addr
    view = buffer.numpy(np.float32, (32, 32))
    assert view.ctypes.data == addr
    view[:] = 3
    part = view[1:, ::2]
    del buffer, view
    gc.collect()
    others = [alloc(4096) for _ in range(8)]
    assert addr not in [b.addr for b in others]
    assert (part == 3).all()


def test_strided_views_and_their_bounds() -> None:
    buffer = alloc(64)
    flat = buffer.numpy(np.int64, (8,))
    flat[:] = range(8)
    assert buffer.numpy("i8", (2, 3), strides=(32, 8), offset=8).tolist() == [[1, 2, 3], [5, 6, 7]]
    assert buffer.numpy("i8", (0, 100)).shape == (0, 100)
    with pytest.raises(ValueError, match="leaves the buffer"):
        buffer.numpy("i8", (9,))
    with pytest.raises(ValueError, match="leaves the buffer"):
        buffer.numpy("i8", (2,), strides=(64,))


def test_from_numpy_covers_the_array() -> None:
    array = np.arange(12.0).reshape(3, 4)
    view = array[::-1, ::2]
    buffer = Buffer.from_numpy(view)
    assert (buffer.addr, buffer.nbytes) == (array.ctypes.data, 11 * 8)
    assert Buffer.from_numpy(array).numpy("f8", (12,))[5] == 5.0
    assert Buffer.from_numpy(array[:0]).nbytes == 0
    del array, view
    assert buffer.numpy("f8", (11,)).tolist() == list(range(11))


def test_shared_small_buffers_keep_their_block() -> None:
    first, *rest = alloc_arranged(arrange([4] * 10))
    view = first.numpy(np.int32, (1,))
    view[0] = 7
    del first, rest
    gc.collect()
    for buffer in [alloc(640) for _ in range(20)]:
        buffer.numpy(np.uint8, (640,))[:] = 255
    assert view[0] == 7


def test_cache_is_bounded_and_emptied() -> None:
    buffers.empty_cache()
    start = buffers.memory_stats()
    limit = buffers._limit
    try:
        buffers.set_cache_limit(4 << 20)
        kept = [alloc(1 << 20) for _ in range(8)]
        assert buffers.memory_stats().current == start.current + (8 << 20)
        del kept
        assert buffers.memory_stats().current == start.current
        assert buffers.memory_stats().reserved <= start.reserved + (4 << 20)
        buffers.empty_cache()
        assert buffers.memory_stats().reserved == start.reserved
        assert buffers.memory_stats().peak >= start.current + (8 << 20)
        buffers.reset_peak()
        assert buffers.memory_stats().peak == start.current
    finally:
        buffers.set_cache_limit(limit)


def test_free_blocks_of_other_sizes_make_room(monkeypatch) -> None:
    """One large block after many small ones: the process holds no more than it needed at once."""
    buffers.empty_cache()
    start = buffers.memory_stats()
    assert start.reserved == start.current
    monkeypatch.setattr(buffers, "_most", buffers._large_reserved)
    kept = [alloc(1 << 20) for _ in range(16)]
    del kept
    large = alloc(12 << 20)
    assert buffers.memory_stats().reserved == start.reserved + (16 << 20)
    again = [alloc(1 << 20) for _ in range(4)]  # what is left of the small ones
    assert buffers.memory_stats().reserved == start.reserved + (16 << 20)
    more = alloc(1 << 20)
    assert buffers.memory_stats().reserved == start.reserved + (17 << 20)
    assert buffers.memory_stats().peak - start.current <= max(start.peak - start.current, 17 << 20)
    del large, again, more
    alloc(12 << 20)
    assert buffers.memory_stats().reserved == start.reserved + (17 << 20)


def test_too_much_is_a_runtime_error() -> None:
    with pytest.raises(RuntimeError, match=r"you tried to allocate 1000000000000000000 bytes"):
        alloc(10**18)
