"""A tensor kept as the places and values of its elements that are not zero."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

import facula as torch
from facula.printing import get_printoptions, printoptions
from facula.sparse.base import Sparse, shaped

Tensor = torch.Tensor


class SparseTensor(Sparse):
    """A sparse tensor: `_at` (sparse dims, n) int64 places, `_val` (n, *dense dims) values.

    Places may occur more than once, their values then add up, until `coalesce`.
    """

    _at: Any
    _sorted: bool
    is_sparse = True  # type: ignore[assignment]
    layout = property(lambda self: torch.sparse_coo)  # type: ignore[assignment]

    # what it holds

    def indices(self) -> Any:
        """Places, (sparse dims, n); of coalesced tensors only."""
        if not self._sorted:
            raise RuntimeError(
                "Cannot get indices on an uncoalesced tensor, please call .coalesce() first"
            )
        return self._at

    def values(self) -> Any:
        """Values, (n, *dense dims); of coalesced tensors only."""
        if not self._sorted:
            raise RuntimeError(
                "Cannot get values on an uncoalesced tensor, please call .coalesce() first"
            )
        return self._val

    def _indices(self) -> Any:
        return self._at

    def _values(self) -> Any:
        return self._val

    def _nnz(self) -> int:
        return self._at.shape[1]

    def sparse_dim(self) -> int:
        """Number of dims whose places are listed."""
        return self._at.shape[0]

    def dense_dim(self) -> int:
        """Number of dims of each value."""
        return self._val.dim() - 1

    def is_coalesced(self) -> bool:
        """Whether every place occurs once, in order."""
        return self._sorted

    def coalesce(self) -> SparseTensor:
        """Places in order, each once; values of equal places added up."""
        if self._sorted:
            return self
        keys = _keys(self._at, self.shape)
        order, inverse = torch.unique(keys, return_inverse=True)
        first = torch.empty_like(order)
        first[inverse] = torch.arange(len(keys))
        values = self._val.new_zeros((len(order), *self._val.shape[1:]))
        values = values.index_add(0, inverse, self._val)
        return made(self._at[:, first], values, self.shape, True)

    # conversions

    def to_dense(self, dtype: Any = None, *, masked_grad: bool | None = None) -> Any:
        """A dense tensor of the same shape."""
        n = self.sparse_dim()
        flat = self._val.new_zeros((math.prod(self.shape[:n]), *self._val.shape[1:]))
        dense = flat.index_add(0, _keys(self._at, self.shape), self._val).reshape(self.shape)
        return dense if dtype is None else dense.to(dtype)

    def to_sparse(self, sparse_dim: Any = None, *, layout: Any = None, blocksize: Any = None,
                  dense_dim: int | None = None) -> Any:  # fmt: skip
        """Itself, or the same matrix in a compressed layout."""
        compressed = importlib.import_module("facula.sparse.compressed")
        kind = compressed.layout_name(layout)
        return self if kind == "coo" else compressed.from_coo(self, kind, blocksize)

    def to_sparse_coo(self) -> SparseTensor:
        """Itself."""
        return self

    def _with(self, values: Any) -> SparseTensor:
        """Other values at the same places."""
        return made(self._at, values, self.shape, self._sorted)

    def _at_places(self, dense: Any) -> Any:
        return dense[tuple(self._at)]

    def clone(self, *, memory_format: Any = None) -> SparseTensor:
        """With memory of its own."""
        return made(self._at.clone(), self._val.clone(), self.shape, self._sorted)

    def zero_(self) -> SparseTensor:
        """Forgets all values."""
        self._at, self._val, self._sorted = self._at[:, :0], self._val[:0].detach(), True
        return self

    # arithmetic

    def t(self) -> SparseTensor:
        """The transposed matrix."""
        return self.transpose(0, 1)

    def transpose(self, dim0: int, dim1: int) -> SparseTensor:
        """Two sparse dims exchanged."""
        n, dims = self.sparse_dim(), self.dim()
        a, b = dim0 % dims, dim1 % dims
        if max(a, b) >= n:
            raise NotImplementedError("transposing dense dims of sparse tensors: use to_dense()")
        order = list(range(n))
        order[a], order[b] = b, a
        shape = list(self.shape)
        shape[a], shape[b] = shape[b], shape[a]
        return made(self._at[order], self._val, shape, False)

    def sum(self, dim: Any = None, *, dtype: Any = None) -> Any:
        """The sum of all values, or a sparse tensor of sums along dim."""
        return torch.sparse.sum(self, dim, dtype=dtype)

    def abs(self) -> SparseTensor:
        """Absolute values, of the values that add up."""
        c = self.coalesce()
        return c._with(c._val.abs())

    def mul(self, other: Any) -> SparseTensor:
        """Times a number, or elementwise times a dense tensor of the same shape."""
        if isinstance(other, SparseTensor):
            raise NotImplementedError("sparse * sparse: use x * y.to_dense()")
        if isinstance(other, Tensor) and other.dim():
            if self.dense_dim() or other.shape != self.shape:
                raise NotImplementedError("sparse * dense of another shape: use to_dense()")
            return self._with(self._val * self._at_places(other))
        return self._with(self._val * other)

    def div(self, other: Any) -> SparseTensor:
        """Divided by a number."""
        if isinstance(other, Tensor) and other.dim():
            raise NotImplementedError("sparse / dense: use to_dense()")
        return self._with(self._val / other)

    def add(self, other: Any, *, alpha: Any = 1) -> Any:
        """Plus another sparse tensor (sparse), or a dense one (dense)."""
        if not isinstance(other, SparseTensor):
            return self.to_dense() + alpha * other
        if self.shape != other.shape or self.sparse_dim() != other.sparse_dim():
            raise RuntimeError(
                f"add: expected sizes of 'self' and 'other' to match, but {self.shape} != {other.shape}"
            )
        at = torch.cat([self._at, other._at], 1)
        values = torch.cat([self._val, alpha * other._val])
        return made(at, values, self.shape, False).coalesce()

    smm = Sparse.matmul
    multiply = __mul__ = __rmul__ = mul
    divide = true_divide = __truediv__ = div
    __add__ = __radd__ = add

    def __repr__(self, *, tensor_contents: str | None = None) -> str:
        def part(name: str, t: Any) -> str:
            indent = len(name) + 8
            with printoptions(linewidth=get_printoptions()["linewidth"] - indent):
                text = repr(t.detach()).replace("\n", "\n" + " " * indent)
            return f"{name}={text}"

        at, values = part("indices", self._at), part("values", self._val)
        more = ", requires_grad=True" if self._rg and self._g is None else ""
        dtype = (
            ""
            if self.dtype in (torch.get_default_dtype(), torch.int64)
            else f", dtype={self.dtype}"
        )
        return (f"tensor({at},\n       {values},\n       size={tuple(self.shape)}, nnz={self._nnz()}{dtype}, "
                f"layout=torch.sparse_coo{more})")  # fmt: skip

    __str__ = __repr__


def _keys(at: Any, shape: Sequence[int]) -> Any:
    """One number for each place: its position in row-major order of the sparse dims."""
    keys = at.new_zeros(at.shape[1])
    for row, size in zip(at, shape):
        keys = keys * size + row
    return keys


def made(at: Any, values: Any, shape: Sequence[int], coalesced: bool) -> SparseTensor:
    """A sparse tensor of checked parts."""
    x = object.__new__(SparseTensor)
    x._at, x._sorted = at, coalesced
    return shaped(x, values, shape)


def sparse_coo_tensor(indices: Any, values: Any = None, size: Any = None, *, dtype: Any = None,
                      device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
                      check_invariants: bool | None = None, is_coalesced: bool | None = None) -> SparseTensor:  # fmt: skip
    """A sparse tensor with values (n, *dense dims) at indices (sparse dims, n), zero elsewhere.

    >>> import facula as torch
    >>> x = torch.sparse_coo_tensor([[0, 1], [2, 0]], [3., 4.], (2, 3))
    >>> x.to_dense()
    tensor([[0., 0., 3.],
            [4., 0., 0.]])
    >>> torch.sparse.mm(x, torch.ones(3, 1))
    tensor([[3.],
            [4.]])
    """
    if values is None:  # sparse_coo_tensor(size): all zeros
        size, indices = indices, torch.empty(len(indices), 0, dtype=torch.int64)
        values = torch.empty(0, dtype=dtype or torch.get_default_dtype())
    at = torch.as_tensor(indices).detach().to(torch.int64)
    val = torch.as_tensor(values, dtype=dtype, device=device)
    if at.dim() != 2:
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(at.shape)}")
    if val.dim() < 1 or at.shape[1] != val.shape[0]:
        raise RuntimeError(
            "indices and values must have same nnz, but got nnz from indices: "
            f"{at.shape[1]}, nnz from values: {val.shape[0] if val.dim() else 1}"
        )
    largest = (at.amax(1) + 1).tolist() if at.shape[1] else [0] * at.shape[0]
    shape = [*largest, *val.shape[1:]] if size is None else [int(n) for n in size]
    if len(shape) != at.shape[0] + val.dim() - 1:
        raise RuntimeError(
            f"number of dimensions must be sparse_dim ({at.shape[0]}) + dense_dim ({val.dim() - 1}), but got "
            f"{len(shape)}"
        )
    if at.shape[1] and at.min().item() < 0:
        raise RuntimeError("found negative index in indices")
    for d, (n, top) in enumerate(zip(shape, largest)):
        if top > n:
            raise RuntimeError(
                f"size is inconsistent with indices: for dim {d}, size is {n} but found index {top - 1}"
            )
    if requires_grad:
        val = val.detach().requires_grad_()
    return made(at, val, shape, bool(is_coalesced))


def from_dense(dense: Any, sparse_dim: int | None = None) -> SparseTensor:
    """The elements of a dense tensor that are not zero."""
    n = dense.dim() if sparse_dim is None else sparse_dim
    if not isinstance(n, int):
        raise NotImplementedError(f"to_sparse: only torch.sparse_coo is offered, not {n}")
    live = dense.detach() != 0
    if n < dense.dim():
        live = live.flatten(n).any(-1)
    at = live.nonzero().t()
    return made(at, dense[tuple(at)], tuple(dense.shape), True)
