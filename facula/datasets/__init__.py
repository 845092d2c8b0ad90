"""Datasets read from files on disk: MNIST, Fashion-MNIST, and IDX files in general."""

from facula.datasets.idx import read_idx
from facula.datasets.mnist import MNIST, FashionMNIST

__all__ = ["MNIST", "FashionMNIST", "read_idx"]
