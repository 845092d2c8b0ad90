"""Window functions: `torch.signal.windows`."""

from __future__ import annotations

from facula.ops.windows import WINDOWS

globals().update(WINDOWS)
__all__ = sorted(WINDOWS)
