"""Storages: `torch.storage`."""

from __future__ import annotations

from facula.ops.storage import TypedStorage, UntypedStorage

__all__ = ["TypedStorage", "UntypedStorage"]
