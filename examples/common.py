"""What the examples share: files into NumPy arrays, and tables, charts and pictures as text or PNG.

Nothing here knows facula or PyTorch.
"""

from __future__ import annotations

import csv
import gzip
import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
OUTPUT = HERE / "output"  # what the examples write


def read_text(name: str) -> str:
    """A compressed text of examples/data."""
    return gzip.decompress((HERE / "data" / name).read_bytes()).decode()


def read_csv(name: str) -> list[dict[str, str]]:
    """The rows of a compressed table of examples/data."""
    return list(csv.DictReader(io.StringIO(read_text(name))))


def write_csv(name: str, header: Sequence[str], rows: Sequence[Sequence]) -> Path:
    """Writes examples/output/name."""
    OUTPUT.mkdir(exist_ok=True)
    path = OUTPUT / name
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def digits(train: bool) -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits that ship with facula: images (N x 28 x 28, 0 to 1) and labels."""
    part = "train" if train else "t10k"
    folder = HERE.parent / "facula" / "data_files"
    images, labels = (
        gzip.decompress((folder / f"{part}-{kind}-ubyte.gz").read_bytes())
        for kind in ("images-idx3", "labels-idx1")
    )
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28)
    return pixels.astype(np.float32) / 255, np.frombuffer(labels, np.uint8, offset=8).astype(int)


def table(header: Sequence[str], rows: Sequence[Sequence]) -> None:
    """Prints rows under a header, columns aligned."""
    text = [[c if isinstance(c, str) else f"{c:.4g}" for c in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*text, strict=True)]
    text.insert(1, ["-" * w for w in widths])
    for row in text:
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())


def chart(values: Sequence[float], title: str, width: int = 60, height: int = 10) -> None:
    """Prints a curve."""
    data = np.asarray(values, dtype=float)
    parts = np.array_split(data, min(width, len(data)))
    means = np.array([p.mean() for p in parts])
    low, high = means.min(), means.max()
    level = np.round((means - low) / ((high - low) or 1) * (height - 1)).astype(int)
    print(f"\n{title}, from {data[0]:.3f} to {data[-1]:.3f}")
    for row in range(height - 1, -1, -1):
        label = f"{low + (high - low) * row / (height - 1):8.3f} |"
        print(label + "".join("*" if at == row else " " for at in level).rstrip())
    print(" " * 9 + "+" + "-" * len(means))


def write_png(path: Path, image: np.ndarray) -> None:
    """A grey picture (rows x columns, 0 to 1) as an 8-bit PNG file."""
    grey = np.clip(np.asarray(image) * 255, 0, 255).round().astype(np.uint8)
    lines = b"".join(b"\0" + row.tobytes() for row in grey)  # filter 0 before each line
    head = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, body in chunks:
            file.write(struct.pack(">I", len(body)) + kind + body)
            file.write(struct.pack(">I", zlib.crc32(kind + body)))


def read_png(path: Path) -> np.ndarray:
    """A picture that `write_png` wrote."""
    data = path.read_bytes()
    at, pixels, width, height = 8, b"", 0, 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        elif kind == b"IDAT":
            pixels += body
        at += size + 12
    lines = np.frombuffer(zlib.decompress(pixels), np.uint8).reshape(height, width + 1)
    return lines[:, 1:].astype(np.float32) / 255


def sheet(images: np.ndarray, columns: int) -> np.ndarray:
    """Pictures of one size (N x rows x columns) side by side on one."""
    rows = -(-len(images) // columns)
    h, w = images.shape[1:]
    page = np.zeros((rows * (h + 2), columns * (w + 2)), np.float32)
    for k, image in enumerate(images):
        y, x = k // columns * (h + 2), k % columns * (w + 2)
        page[y : y + h, x : x + w] = image
    return page


def result(name: str, value: float, seconds: float) -> None:
    """The last line of every example: `examples/run.py` reads it."""
    print(f"\nResult: {name} {value:.4f} in {seconds:.1f} s")
