"""Old names of `torch` for products with sparse matrices."""

from __future__ import annotations

from typing import Any

import facula as torch


def spmm(input: Any, mat2: Any) -> Any:
    """A sparse matrix times a dense one: `torch.sparse.mm`."""
    return torch.sparse.mm(input, mat2)


dsmm = hsmm = spmm


def smm(input: Any, mat: Any) -> Any:
    """A sparse matrix times a dense one, as a sparse one."""
    return torch.sparse.mm(input, mat).to_sparse()


def hspmm(mat1: Any, mat2: Any) -> Any:
    """A sparse matrix times a dense one, with one sparse dim in the result."""
    return torch.sparse.mm(mat1, mat2).to_sparse(1)


def saddmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (mat1 @ mat2) with mat1 sparse, dense."""
    return torch.sparse.addmm(input, mat1, mat2, beta=beta, alpha=alpha)


def sspaddmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (mat1 @ mat2) with input and mat1 sparse, sparse."""
    return input * beta + torch.sparse.mm(mat1, mat2).to_sparse() * alpha


def indices_copy(input: Any) -> Any:
    """A copy of a sparse tensor's places."""
    return input.indices().clone()


def values_copy(input: Any) -> Any:
    """A copy of a sparse tensor's values."""
    return input.values().clone()


def crow_indices_copy(input: Any) -> Any:
    """A copy of where each row begins (CSR, BSR)."""
    return input.crow_indices().clone()


def col_indices_copy(input: Any) -> Any:
    """A copy of each value's column (CSR, BSR)."""
    return input.col_indices().clone()


def ccol_indices_copy(input: Any) -> Any:
    """A copy of where each column begins (CSC, BSC)."""
    return input.ccol_indices().clone()


def row_indices_copy(input: Any) -> Any:
    """A copy of each value's row (CSC, BSC)."""
    return input.row_indices().clone()


def resize_as_sparse_(input: Any, the_template: Any) -> Any:
    """Not offered: the size of a sparse tensor does not change."""
    raise NotImplementedError(
        "torch.resize_as_sparse_: sparse tensors keep their size; make one with torch.sparse_coo_tensor"
    )
