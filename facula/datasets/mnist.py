"""MNIST and Fashion-MNIST, from the IDX files they are published in."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import facula
from facula.datasets.idx import read_idx
from facula.utils.data import Dataset

_MAX_DOWNLOAD = 64 << 20


class DatasetNotFoundError(RuntimeError, FileNotFoundError):
    """Files of a dataset are missing; the message says which, and what to do."""


class MNIST(Dataset):
    """Handwritten digits, 28x28: 60,000 for training and 10,000 for tests.

    >>> from importlib.resources import files
    >>> digits = MNIST(files("facula.data_files"), train=False)  # the subset facula ships with
    >>> image, label = digits[0]
    >>> image.shape, label
    (torch.Size([1, 28, 28]), 7)

    The files are looked for in `root/MNIST/raw`, as torchvision lays them out, and in `root`
    itself, compressed or not; `download=True` fetches those that are missing.

    A sample is (image, label). `transform` is given the image as a NumPy array, 28x28 bytes;
    without one, images are float tensors of 1x28x28 from 0 to 1. `data` and `targets` hold all
    images (as bytes) and labels.
    """

    mirrors: tuple[str, ...] = ("https://ossci-datasets.s3.amazonaws.com/mnist/",)
    classes: list[str] = [
        "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four",
        "5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine",
    ]  # fmt: skip

    def __init__(
        self,
        root: str | os.PathLike,
        train: bool = True,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        download: bool = False,
    ) -> None:
        self.root = Path(root)
        self.train = train
        self.transform = transform
        self.target_transform = target_transform
        part = "train" if train else "t10k"
        names = [f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"]
        images, labels = (self._find(name, download) for name in names)
        self.data, self.targets = _read_pair(images, labels, len(self.classes))

    @property
    def raw_folder(self) -> Path:
        """Where torchvision keeps the files, and where they are downloaded to."""
        return self.root / type(self).__name__ / "raw"

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Label of each class name."""
        return {name: i for i, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        pixels, target = self.data[index].numpy(), int(self.targets[index])
        if self.transform is not None:
            image = self.transform(pixels)
        else:
            image = facula.tensor(pixels[None].astype(np.float32) / 255)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __getitems__(self, indices: list[int]) -> list[tuple[Any, Any]]:
        """A batch of samples; without transforms its images are converted together."""
        is_own = type(self).__getitem__ is MNIST.__getitem__
        if self.transform is not None or self.target_transform is not None or not is_own:
            return [self[index] for index in indices]
        rows = facula.tensor(indices)
        images = self.data[rows].unsqueeze(1).to(facula.float32) / 255
        return list(zip(images.unbind(0), self.targets[rows].tolist(), strict=True))

    def __repr__(self) -> str:
        part = "train" if self.train else "test"
        return f"{type(self).__name__}({part}, {len(self)} images, root={str(self.root)!r})"

    def _find(self, name: str, download: bool) -> Path:
        """Where the file of this name is, compressed or not."""
        places = [
            folder / file
            for folder in (self.raw_folder, self.root)
            for file in (name, f"{name}.gz")
        ]
        for place in places:
            if place.is_file():
                return place
        if download:
            return _download(self.mirrors, f"{name}.gz", self.raw_folder)
        looked = "\n  ".join(map(str, places))
        raise DatasetNotFoundError(
            f"Dataset not found: {type(self).__name__} needs the file {name}. You can use "
            f"download=True to download it, or put {self.mirrors[0]}{name}.gz at one of\n"
            f"  {looked}"
        )


class FashionMNIST(MNIST):
    """Articles of clothing in the format of MNIST, by Zalando Research."""

    mirrors = ("https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",)
    classes = [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ]  # fmt: skip


def _read_pair(images: Path, labels: Path, classes: int) -> tuple[Any, Any]:
    """Images and labels as tensors, after checking that they belong together."""
    pixels, targets = read_idx(images), read_idx(labels)
    for path, array, dims in ((images, pixels, 3), (labels, targets, 1)):
        if array.dtype != np.uint8 or array.ndim != dims:
            raise ValueError(
                f"{path} holds {array.dtype} of shape {array.shape}, not bytes in {dims} dims"
            )
    if len(pixels) != len(targets):
        raise ValueError(
            f"{images} has {len(pixels)} images but {labels} has {len(targets)} labels"
        )
    if len(targets) and targets.max() >= classes:
        raise ValueError(f"{labels} has the label {targets.max()}; there are {classes} classes")
    return facula.tensor(pixels), facula.tensor(targets, dtype=facula.int64)


def _download(mirrors: tuple[str, ...], name: str, folder: Path) -> Path:
    """Fetch a file; it gets its name only when it is complete and reads as an IDX file."""
    folder.mkdir(parents=True, exist_ok=True)
    target, partial = folder / name, folder / f"{name}.part"
    failures = []
    for mirror in mirrors:
        try:
            with urllib.request.urlopen(mirror + name, timeout=30) as answer:
                partial.write_bytes(answer.read(_MAX_DOWNLOAD))
            read_idx(partial)
            partial.replace(target)
            return target
        except (OSError, ValueError) as error:
            failures.append(f"{mirror}{name}: {error}")
            partial.unlink(missing_ok=True)
    listed = "\n  ".join(failures)
    raise DatasetNotFoundError(f"could not download {name} to {folder}:\n  {listed}")
