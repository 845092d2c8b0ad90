#!/usr/bin/env python3
"""Makes the MNIST subset that ships inside the package from the four original files.

    python tools/make_mnist_subset.py FOLDER_WITH_MNIST

Every 5th image is taken, in the original order: 12,000 to learn from and 2,000 to be tested on.
Every 5th and not the first ones, because the first half of the test set was written by
other people, and is easier, than the second. The files keep their names and their format.
"""

from __future__ import annotations

import argparse
import gzip
import struct
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "facula" / "data_files"
PARTS = ("train", "t10k")
EVERY = 5
LIMIT = 3_000_000  # bytes, all files together


def read(path: Path) -> np.ndarray:
    """The array in an IDX file of bytes: two zeros, type 8, rank, sizes, data."""
    raw = gzip.decompress(path.read_bytes())
    zeros, kind, rank = struct.unpack(">HBB", raw[:4])
    if zeros or kind != 8:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def write(path: Path, array: np.ndarray) -> int:
    """Writes an IDX file, compressed as well as gzip can; returns its size."""
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    packed = gzip.compress(head + array.tobytes(), compresslevel=9, mtime=0)
    path.write_bytes(packed)
    return len(packed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds train-images-idx3-ubyte.gz and the others")
    folder = parser.parse_args().folder
    total = 0
    for part in PARTS:
        for name in (f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"):
            array = read(folder / name)[::EVERY]
            size = write(TARGET / name, array)
            total += size
            print(f"{name}: {array.shape}, {size:,} bytes")
    print(f"{total:,} bytes in all")
    if total > LIMIT:
        raise SystemExit(f"more than {LIMIT:,} bytes")


if __name__ == "__main__":
    main()
