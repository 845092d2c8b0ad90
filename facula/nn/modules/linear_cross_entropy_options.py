"""How LinearCrossEntropyLoss may split its work."""

from __future__ import annotations

import dataclasses
import re

__all__ = ["LinearCrossEntropyOptions"]

_POLICIES = ("accurate", "balanced", "compact", "auto")
_METHOD = re.compile(r"auto|aspect_ratio(:[1-9][0-9]*)?")  # and None
_ACC_DTYPES = (None, "torch.float16", "torch.bfloat16", "torch.float32", "torch.float64")


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
        if self.chunking_method is not None and not _METHOD.fullmatch(self.chunking_method):
            raise ValueError(f"invalid chunking_method: {self.chunking_method!r}")
        size = self.batch_chunk_size
        if size is not None and not (isinstance(size, int) and size > 0):
            raise ValueError(f"batch_chunk_size must be positive int or None, got {size}")
        if self.acc_dtype is not None and str(self.acc_dtype) not in _ACC_DTYPES:
            listed = ", ".join(str(dtype) for dtype in _ACC_DTYPES)
            raise ValueError(
                f"acc_dtype must be one of {{{listed}}}, got {self.acc_dtype}. Pass "
                "acc_dtype=None to let the op pick automatically."
            )
