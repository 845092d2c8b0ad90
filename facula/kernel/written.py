"""Kernels that a writer makes from a shape: the shape has a key, the writer writes the module."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from facula.llvm.target import Target


def kernel_name(key: str) -> str:
    """The name of the function with this key."""
    return f"{key.split()[0]}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class WrittenKernel:
    """The code of a shape: `writer(shape, target, name)` is its module, or has a `write()` that is."""

    shape: Any
    writer: Callable[[Any, Target, str], Any]

    @functools.cached_property
    def key(self) -> str:
        return self.shape.key

    def ir(self, target: Target) -> tuple[str, str]:
        name = kernel_name(self.key)
        made = self.writer(self.shape, target, name)
        return name, made if isinstance(made, str) else made.write()


written_kernel = functools.cache(WrittenKernel)
