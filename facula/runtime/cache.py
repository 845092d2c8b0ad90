"""Placeholder of the object cache on disk (first version: memory only)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facula.llvm.target import Target


def entry_name(key: str, target: Target, generated: bool = True) -> str:
    """Name of an object: what it was made from, hashed."""
    return hashlib.sha256(f"{target.cpu}|{target.features}|{key}".encode()).hexdigest()


class ObjectCache:
    """Objects on disk."""

    @staticmethod
    def default() -> ObjectCache | None:
        """The user's cache, or None where there is none."""
        return None

    def get(self, name: str) -> bytes | None:
        """The object called `name`, if stored and intact."""
        return None

    def put(self, name: str, data: bytes) -> None:
        """Store an object."""
