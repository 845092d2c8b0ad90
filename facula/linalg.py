"""Linear algebra: `torch.linalg`."""

from __future__ import annotations

from facula.ops.registry import NAMESPACES

globals().update(NAMESPACES["linalg"])
__all__ = sorted(NAMESPACES["linalg"])
