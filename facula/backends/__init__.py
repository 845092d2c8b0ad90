"""torch.backends: what PyTorch's libraries are asked and told.

facula uses none of them. They answer that they are not there; switches that programs set, such as
`cudnn.benchmark = True`, are remembered and have no effect, since results never depend on such a
choice here: the same inputs always give the same bits.

>>> cudnn.is_available(), mps.is_available(), cudnn.deterministic
(False, False, False)
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Library(ModuleType):
    """A library that is not there, with its switches."""

    def __init__(self, name: str, **switches: Any) -> None:
        super().__init__(f"{__name__}.{name}", f"{name}: not used by facula.")
        self.__dict__.update(switches)
        sys.modules[self.__name__] = self

    def is_available(self) -> bool:
        """Whether the library can be used: no."""
        return False

    def is_built(self) -> bool:
        """Whether PyTorch would have been built with it: no."""
        return False

    def version(self) -> None:
        """The library's version: none."""
        return None


cuda = _Library("cuda")
cuda.matmul = _Library(
    "cuda.matmul", allow_tf32=False, allow_fp16_reduced_precision_reduction=True,
    allow_bf16_reduced_precision_reduction=True,
)  # fmt: skip
cudnn = _Library(
    "cudnn", enabled=True, benchmark=False, deterministic=False, allow_tf32=True, benchmark_limit=10
)
mps = _Library("mps")
mkl = _Library("mkl")
mkldnn = _Library("mkldnn", enabled=True)
openmp = _Library("openmp")
