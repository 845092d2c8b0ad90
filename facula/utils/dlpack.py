"""Tensors that share memory with other libraries."""

from facula import from_dlpack
from facula.ops.registry import TORCH

__all__ = ["from_dlpack", "to_dlpack"]


def to_dlpack(tensor):
    """A DLPack capsule of a tensor."""
    return TORCH["to_dlpack"](tensor) if "to_dlpack" in TORCH else tensor.__dlpack__()
