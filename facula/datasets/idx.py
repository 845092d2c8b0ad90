"""IDX files, the format of MNIST: a dtype, a shape, and the elements in big-endian order.

    bytes 0-1  zero
    byte  2    element type
    byte  3    number of dims
    then       each size as an unsigned 32-bit number, then the elements

A file is not trusted: nothing is allocated because a header says so, and every fault is a
`ValueError` that names the file.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

_ELEMENTS = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMS = 16
_DEFLATE_RATIO = 1032  # zlib cannot expand a byte to more than this
_CHUNK = 1 << 20


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file, which may be compressed with gzip.

    >>> from importlib.resources import files
    >>> read_idx(files("facula.data_files") / "t10k-labels-idx1-ubyte.gz")[:3]
    array([7, 1, 0], dtype=uint8)
    """
    path = Path(path)
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        limit = os.fstat(file.fileno()).st_size * (_DEFLATE_RATIO if packed else 1)
        try:
            if packed:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return _read(unpacked, path, limit)
            return _read(file, path, limit)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is damaged: {error}") from error


def _read(file: BinaryIO, path: Path, limit: int) -> np.ndarray:
    """The array in an open file that holds at most `limit` bytes."""
    shape, kind = _read_header(file, path)
    expected = math.prod(shape) * kind.itemsize
    if expected > limit:
        raise ValueError(
            f"{path} is not a whole IDX file: its header announces {expected} bytes of elements "
            f"(shape {shape}), more than it can hold"
        )
    data = bytearray()
    while len(data) < expected:
        chunk = file.read(min(_CHUNK, expected - len(data)))
        if not chunk:
            raise ValueError(
                f"{path} is cut short: {len(data)} of {expected} bytes of elements (shape {shape})"
            )
        data += chunk
    if file.read(1):
        raise ValueError(f"{path} goes on after its {expected} bytes of elements (shape {shape})")
    try:
        array = np.frombuffer(data, kind).reshape(shape)
    except ValueError as error:  # an empty array with sizes beyond NumPy's
        raise ValueError(f"{path}: the shape {shape} cannot be had") from error
    return array.astype(kind.newbyteorder("="), copy=False)


def _read_header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], np.dtype]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _ELEMENTS:
        raise ValueError(f"{path} is not an IDX file: it begins with {magic.hex(' ') or 'nothing'}")
    dims = magic[3]
    if not 1 <= dims <= _MAX_DIMS:
        raise ValueError(f"{path}: {dims} dims, where 1 to {_MAX_DIMS} are supported")
    sizes = file.read(4 * dims)
    if len(sizes) < 4 * dims:
        raise ValueError(f"{path} is cut short within its header")
    return struct.unpack(f">{dims}I", sizes), np.dtype(_ELEMENTS[magic[2]])
