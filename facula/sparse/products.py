"""Products and reductions of sparse tensors."""

from __future__ import annotations

from typing import Any

import facula as torch
from facula.sparse.coo import SparseTensor, made


def mm(mat1: Any, mat2: Any, reduce: str = "sum") -> Any:
    """mat1 @ mat2: dense where one of them is, sparse where both are sparse.

    Gradients reach the values of sparse matrices and dense ones.
    """
    if reduce != "sum":
        raise NotImplementedError(
            "sparse.mm: reduce other than 'sum' needs CSR; use torch.scatter_reduce"
        )
    if not isinstance(mat1, SparseTensor):
        if isinstance(mat2, SparseTensor):
            return mm(mat2.t(), mat1.t()).t()
        return torch.mm(mat1, mat2)
    for x in (mat1, mat2):
        if x.dim() != 2 or (isinstance(x, SparseTensor) and x.dense_dim()):
            raise RuntimeError(
                f"mm: expected matrices, got {mat1.dim()}D and {mat2.dim()}D tensors"
            )
    if mat1.shape[1] != mat2.shape[0]:
        raise RuntimeError(
            f"mm: Argument #3 (dense): Expected dim 0 size {mat1.shape[1]}, got {mat2.shape[0]}"
        )
    rows, columns = mat1._indices()
    if isinstance(mat2, SparseTensor):
        return _both_sparse(mat1, mat2)
    terms = mat1._values().unsqueeze(1) * mat2[columns]
    return terms.new_zeros((mat1.shape[0], mat2.shape[1])).index_add(0, rows, terms)


def _both_sparse(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    """Each element of a meets the row of b that its column names."""
    b = b.coalesce()
    b_rows, b_columns = b.indices()
    count = torch.bincount(b_rows, minlength=b.shape[0])
    start = count.cumsum(0) - count
    rows, columns = a._indices()
    times = count[columns]
    which = torch.repeat_interleave(torch.arange(len(rows)), times)
    ahead = times.cumsum(0) - times
    other = start[columns][which] + torch.arange(len(which)) - ahead[which]
    at = torch.stack([rows[which], b_columns[other]])
    values = a._values()[which] * b.values()[other]
    return made(at, values, (a.shape[0], b.shape[1]), False).coalesce()


def addmm(mat: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * mat + alpha * (mat1 @ mat2), with mat1 sparse."""
    return beta * mat + alpha * mm(mat1, mat2)


def sum(input: SparseTensor, dim: Any = None, dtype: Any = None) -> Any:
    """The sum of all elements; along some sparse dims a sparse tensor, along all a dense one."""
    if dtype is not None:
        input = input.to(dtype)
    if dim is None:
        return input._values().sum()
    dims = {d % input.dim() for d in ((dim,) if isinstance(dim, int) else dim)}
    n = input.sparse_dim()
    if any(d >= n for d in dims):
        raise NotImplementedError("sparse.sum along dense dims: use to_dense()")
    kept = [d for d in range(n) if d not in dims]
    if not kept:
        return input._values().sum(0)
    shape = [s for d, s in enumerate(input.shape) if d not in dims]
    return made(input._indices()[kept], input._values(), shape, False).coalesce()


def log_softmax(input: SparseTensor, dim: int, *, dtype: Any = None) -> SparseTensor:
    """log_softmax along a sparse dim of the elements that are listed; the others stay out."""
    x = (input if dtype is None else input.to(dtype)).coalesce()
    n = x.sparse_dim()
    dim = dim % x.dim()
    if dim >= n or x.dense_dim():
        raise NotImplementedError("softmax along dense dims of sparse tensors: use to_dense()")
    kept = [d for d in range(n) if d != dim]
    row = x.indices().new_zeros(x._nnz())
    for d in kept:
        row = row * x.shape[d] + x.indices()[d]
    names, row = torch.unique(row, return_inverse=True)
    values = x.values()
    top = torch.full((len(names),), float("-inf"), dtype=values.dtype)
    top = top.scatter_reduce(0, row, values.detach(), "amax")
    moved = values - top[row]
    total = values.new_zeros(len(names)).index_add(0, row, moved.exp())
    return x._with(moved - total.log()[row])


def softmax(input: SparseTensor, dim: int, *, dtype: Any = None) -> SparseTensor:
    """softmax along a sparse dim of the elements that are listed; the others stay out."""
    x = log_softmax(input, dim, dtype=dtype)
    return x._with(x._values().exp())
