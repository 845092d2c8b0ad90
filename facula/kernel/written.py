"""Kernels that a writer makes from a shape: the shape has a key, the writer writes the module."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

from facula.llvm.target import Target


def kernel_name(key: str) -> str:
    """The name of the function with this key."""
    return f"{key.split()[0]}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class WrittenKernel:
    """The code of a shape: `writer(shape, target, name).write()` is its module."""

    shape: Any
    writer: type

    @functools.cached_property
    def key(self) -> str:
        return self.shape.key

    def ir(self, target: Target) -> tuple[str, str]:
        name = kernel_name(self.key)
        return name, self.writer(self.shape, target, name).write()


written_kernel = functools.cache(WrittenKernel)
