"""IDX files, whole and damaged."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facula.datasets import read_idx

CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx(array, kind):
    header = bytes([0, 0, CODES[kind], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(kind).tobytes()


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 5)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_whole_files(tmp_path, kind, shape, pack):
    array = (np.arange(np.prod(shape)) - 2 if kind != "u1" else np.arange(np.prod(shape))).reshape(
        shape
    )
    path = tmp_path / "x"
    path.write_bytes(pack(idx(array, kind)))
    read = read_idx(path)
    assert read.dtype == np.dtype(kind).newbyteorder("=") and read.dtype.isnative
    assert np.array_equal(read, array) and read.flags.writeable


GOOD = idx(np.arange(6).reshape(2, 3), "u1")
HUGE = bytes([0, 0, 14, 4]) + struct.pack(">4I", *[2**32 - 1] * 4)
DAMAGED = {
    "empty": (b"", "is not an IDX file"),
    "text": (b"hello world", "is not an IDX file: it begins with 68 65 6c 6c"),
    "element type": (b"\0\0\x0a\1\0\0\0\0", "is not an IDX file"),
    "no dims": (b"\0\0\x08\0", "0 dims"),
    "header cut": (GOOD[:7], "cut short within its header"),
    "data cut": (GOOD[:-1], "is cut short: 5 of 6 bytes"),
    "trailing": (GOOD + b"x", "goes on after its 6 bytes"),
    "huge": (HUGE, "more than it can hold"),
    "huge and empty": (HUGE[:4] + bytes(4) + HUGE[8:], "cannot be had"),
    "packed, data cut": (gzip.compress(GOOD[:-1]), "is cut short: 5 of 6 bytes"),
    "packed, huge": (gzip.compress(HUGE), "more than it can hold"),
    "packing cut": (gzip.compress(GOOD)[:-9], "is damaged"),
    "checksum": (gzip.compress(GOOD)[:-8] + bytes(8), "is damaged"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files(tmp_path, name):
    content, message = DAMAGED[name]
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_idx(path)
    assert str(path) in str(error.value)


def test_a_header_alone_allocates_nothing(tmp_path):
    path = tmp_path / "bomb.gz"
    announced = 2000 * 1000 * 1000
    path.write_bytes(
        gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", announced) + bytes(4 << 20))
    )
    tracemalloc.start()
    with pytest.raises(ValueError):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_bytes_give_an_array_or_a_value_error(tmp_path, data):
    content = bytearray(data.draw(st.sampled_from([GOOD, gzip.compress(GOOD), HUGE, b""])))
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            place = data.draw(st.integers(0, len(content) - 1))
            content[place] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    content += data.draw(st.binary(max_size=8))
    path = tmp_path / "any"
    path.write_bytes(content)
    try:
        assert read_idx(path).nbytes <= 1032 * len(content)
    except ValueError as error:
        assert str(path) in str(error)
