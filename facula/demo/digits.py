"""MNIST as tensors: the subset that ships with facula, or the full set from a folder."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

import facula as torch
from facula.utils.data import TensorDataset

PACKAGED = Path(__file__).resolve().parent.parent / "data_files"
MEAN, STD = 0.1307, 0.3081  # of all training images, as every MNIST tutorial has them


def load(folder: Path | None, part: str) -> TensorDataset:
    """Images (N × 1 × 28 × 28, mean 0, deviation 1) with labels; `part` is "train" or "t10k"."""
    images = read(folder or PACKAGED, f"{part}-images-idx3-ubyte")
    labels = read(folder or PACKAGED, f"{part}-labels-idx1-ubyte")
    pixels = torch.from_numpy(images).float().unsqueeze(1) / 255
    return TensorDataset((pixels - MEAN) / STD, torch.from_numpy(labels).long())


def read(folder: Path, name: str) -> np.ndarray:
    """The array in an IDX file, compressed or not."""
    for path in (folder / f"{name}.gz", folder / name):
        if path.exists():
            raw = path.read_bytes()
            raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
            rank = raw[3]
            shape = np.frombuffer(raw, ">u4", rank, 4)
            return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()
    raise FileNotFoundError(f"there is no {name}.gz in {folder}")
