"""Special functions: `torch.special`."""

from __future__ import annotations

from facula.ops.registry import NAMESPACES

globals().update(NAMESPACES["special"])
__all__ = sorted(NAMESPACES["special"])
