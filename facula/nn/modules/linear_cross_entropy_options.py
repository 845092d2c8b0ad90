"""How LinearCrossEntropyLoss may split its work."""

from __future__ import annotations

import dataclasses

__all__ = ["LinearCrossEntropyOptions"]

_POLICIES = ("accurate", "balanced", "compact", "auto")
_METHODS = ("auto", "fixed", "by_features", "by_classes", None)


@dataclasses.dataclass(frozen=True)
class LinearCrossEntropyOptions:
    """Wishes about memory and accuracy; facula fuses the step by itself and only checks them."""

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: object = None

    def __post_init__(self):
        if self.acc_policy not in _POLICIES:
            raise ValueError(f"invalid acc_policy: {self.acc_policy!r}")
        if self.chunking_method not in _METHODS:
            raise ValueError(f"invalid chunking_method: {self.chunking_method!r}")
        size = self.batch_chunk_size
        if size is not None and size <= 0:
            raise ValueError(f"batch_chunk_size must be positive int or None, got {size}")
