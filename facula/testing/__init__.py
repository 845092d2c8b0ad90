"""Comparing and making tensors in tests: `torch.testing`."""

from __future__ import annotations

from facula.testing.comparison import assert_allclose, assert_close
from facula.testing.creation import make_tensor

__all__ = ["assert_allclose", "assert_close", "make_tensor"]
