"""Discrete Fourier transforms: `torch.fft`."""

from __future__ import annotations

from facula.ops.registry import NAMESPACES
from facula.tensor import Tensor as Tensor

globals().update(NAMESPACES["fft"])
__all__ = sorted(NAMESPACES["fft"])
