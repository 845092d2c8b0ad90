"""Products and reductions of sparse tensors."""

from __future__ import annotations

from typing import Any

import facula as torch
from facula.sparse.base import Sparse
from facula.sparse.compressed import CompressedTensor
from facula.sparse.coo import SparseTensor, made


def mm(mat1: Any, mat2: Any, reduce: str = "sum") -> Any:
    """mat1 @ mat2: dense where one of them is, sparse where both are sparse.

    Gradients reach the values of sparse matrices and dense ones.
    """
    if reduce != "sum":
        return _reduced(mat1, mat2, reduce)
    if not isinstance(mat1, Sparse):
        if isinstance(mat2, Sparse):
            return mm(mat2.t(), mat1.t()).t()
        return torch.mm(mat1, mat2)
    if isinstance(mat1, CompressedTensor) or isinstance(mat2, CompressedTensor):
        return _compressed(mat1, mat2)
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


def mv(mat: Any, vec: Any) -> Any:
    """A sparse matrix times a dense vector."""
    if vec.dim() != 1 or mat.dim() != 2:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {mat.dim()}, {vec.dim()}")
    return mm(mat, vec.unsqueeze(1)).squeeze(1)


def matmul(a: Any, b: Any) -> Any:
    """A product with a vector, or of matrices, of which one is sparse."""
    if b.dim() == 1:
        return mv(a, b)
    return mv(b.t(), a) if a.dim() == 1 else mm(a, b)


def _shown(x: Any) -> str:
    """A layout in the words of PyTorch's errors."""
    return f"Sparse{x._kind.capitalize()}" if isinstance(x, CompressedTensor) else "Sparse"


def _compressed(a: Sparse, b: Any) -> Any:
    """A product of matrices of which one or both are compressed; batches go through dense ones."""
    if a.dim() != 2 or a.dense_dim():
        return a.to_dense() @ (b.to_dense() if isinstance(b, Sparse) else b)
    if not isinstance(b, Sparse):
        return mm(a.to_sparse_coo(), b)
    if not (isinstance(a, CompressedTensor) and isinstance(b, CompressedTensor)):
        names = [_shown(x) for x in (a, b)]
        raise RuntimeError(
            f"addmm: computation on CPU is not implemented for {names[0]} + {names[0]} @ {names[1]}"
        )
    product = mm(a.to_sparse_coo(), b.to_sparse_coo())
    return product.to_sparse(layout=torch.sparse_csr)


_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def _reduced(a: Any, b: Any, reduce: str) -> Any:
    """Each element of a CSR matrix scales a row of b; those of one row are averaged or compared."""
    if reduce not in _REDUCTIONS:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    if reduce == "prod":
        raise RuntimeError("sparse_mm_reduce: reduce type of prod has not been enabled.")
    if not isinstance(a, CompressedTensor) or a.layout is not torch.sparse_csr:
        raise RuntimeError(f"sparse_mm_reduce: expect self to be SparseCsr, got {_shown(a)}")
    rows, columns, nnz = a._lines(), a._idx, a._nnz()
    out = a._val.new_zeros((a.shape[0], b.shape[1]))
    if not nnz:
        return out + 0 * b.sum() if b.requires_grad else out
    terms = a._val.unsqueeze(1) * b[columns]
    if reduce == "mean":
        count = a._ptr.diff().clamp(min=1).to(terms.dtype)
        return out.index_add(0, rows, terms) / count.unsqueeze(1)
    # the first of the extreme terms is taken, and it alone gets the gradient
    at = rows.unsqueeze(1).expand_as(terms)
    worst = float("-inf") if reduce == "amax" else float("inf")
    fixed = terms.detach()
    best = torch.full_like(out, worst).scatter_reduce(0, at, fixed, reduce)
    number = torch.arange(nnz).unsqueeze(1).expand_as(terms)
    hits = (fixed == best[rows]) | fixed.isnan()
    first = torch.full(out.shape, nnz).scatter_reduce(0, at, number.where(hits, nnz), "amin")
    taken = torch.cat([terms, terms.new_zeros((1, terms.shape[1]))])
    return taken.gather(0, first)


def sampled_addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1.0, alpha: Any = 1.0,
                  out: Any = None) -> CompressedTensor:  # fmt: skip
    """beta * input + alpha * (mat1 @ mat2) at the places of `input`, (*batch, m, n) in CSR layout.

    Only those elements of the product are computed. Gradients reach the values of `input`, `mat1`
    (*batch, m, k) and `mat2` (*batch, k, n).
    """
    if not isinstance(input, CompressedTensor) or input.layout is not torch.sparse_csr:
        raise RuntimeError(
            f"Expected all tensors to have SparseCsr layout, but self has {getattr(input, 'layout', None)}"
        )
    if mat1.dtype is not mat2.dtype or mat1.dtype is not input.dtype:
        raise RuntimeError(
            f"sampled_addmm: Expected mat1 and mat2 to have the same dtype, but got {mat1.dtype} and {mat2.dtype}"
        )
    if mat1.shape[-1] != mat2.shape[-2]:
        raise RuntimeError(
            f"sampled_addmm: mat1 and mat2 shapes cannot be multiplied ({mat1.shape[-2]}x{mat1.shape[-1]} "
            f"and {mat2.shape[-2]}x{mat2.shape[-1]})"
        )
    if (*mat1.shape[:-1], mat2.shape[-1]) != tuple(input.shape):
        raise RuntimeError("sampled_addmm: self must have the shape of mat1 @ mat2")
    rows, columns = input._lines(), input._idx.reshape(-1)
    matrices, lines, across, _, _ = input._grid()
    if matrices != 1 or input.dim() > 2:
        columns = columns + rows // max(lines, 1) * across
    left = mat1.flatten(0, -2)[rows]
    right = mat2.mT.flatten(0, -2)[columns]
    values = alpha * (left * right).sum(1).reshape(input._val.shape)
    made = input._with(values + beta * input._val if beta else values)
    if out is None:
        return made
    out._ptr, out._idx, out._val = made._ptr, made._idx, made._val
    return out


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
