"""Sparse tensors by coordinates (COO) and compressed (CSR, CSC, BSR, BSC): `torch.sparse`.

What a graph network needs: building, coalescing, conversion to and from dense, sums, scaling,
addition, and products with dense or sparse matrices, with gradients for the stored values and for
the dense operand.
"""

from __future__ import annotations

from typing import Any

import facula as torch
from facula.sparse.building import (
    sparse_bsc_tensor,
    sparse_bsr_tensor,
    sparse_compressed_tensor,
    sparse_csc_tensor,
    sparse_csr_tensor,
)
from facula.sparse.compressed import CompressedTensor
from facula.sparse.coo import SparseTensor, sparse_coo_tensor
from facula.sparse.products import addmm, log_softmax, mm, sampled_addmm, softmax, sum

__all__ = ["CompressedTensor", "SparseTensor", "addmm", "check_sparse_tensor_invariants", "log_softmax", "mm",
           "sampled_addmm", "softmax", "sparse_bsc_tensor", "sparse_bsr_tensor", "sparse_compressed_tensor",
           "sparse_coo_tensor", "sparse_csc_tensor", "sparse_csr_tensor", "sum"]  # fmt: skip

_OLD = {"FloatTensor": "float32", "DoubleTensor": "float64", "HalfTensor": "float16",
        "LongTensor": "int64", "IntTensor": "int32", "ShortTensor": "int16", "CharTensor": "int8",
        "ByteTensor": "uint8", "BFloat16Tensor": "bfloat16"}  # fmt: skip


class check_sparse_tensor_invariants:
    """Accepted: indices are always checked."""

    def __init__(self, enable: bool = True) -> None:
        self.state = enable

    @staticmethod
    def is_enabled() -> bool:
        """True: always."""
        return True

    @staticmethod
    def enable() -> None:
        """Nothing to switch."""

    @staticmethod
    def disable() -> None:
        """Nothing to switch."""

    def __enter__(self) -> None:
        """Nothing to switch."""

    def __exit__(self, *exc: object) -> None:
        """Nothing to switch back."""

    def __call__(self, mth: Any) -> Any:
        return mth


def _old_constructor(name: str) -> Any:
    dtype = getattr(torch, _OLD[name])

    def make(indices: Any, values: Any, size: Any = None, **kwargs: Any) -> SparseTensor:
        return sparse_coo_tensor(indices, values, size, dtype=dtype, **kwargs)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = "Deprecated: `torch.sparse_coo_tensor` with a dtype."
    return make


def __getattr__(name: str) -> Any:
    if name in _OLD:
        return _old_constructor(name)
    raise AttributeError(f"module 'torch.sparse' has no attribute '{name}'")
