"""Matrices whose elements, or blocks, are listed row by row or column by column: CSR, CSC, BSR, BSC."""

from __future__ import annotations

import math
from typing import Any

import facula as torch
from facula.printing import append_suffixes
from facula.sparse.base import Sparse, Tensor, shaped
from facula.sparse.coo import SparseTensor, made

# by layout: whether rows are listed one after the other, and whether values are blocks
LAYOUTS = {"csr": (True, False), "csc": (False, False), "bsr": (True, True), "bsc": (False, True)}
_SHOWN = {"csr": "SparseCsr", "csc": "SparseCsc", "bsr": "SparseBsr", "bsc": "SparseBsc"}
# functions that are zero at zero: they act on the stored values alone
_KEEPS_ZERO = (
    "abs absolute angle asin arcsin asinh arcsinh atan arctan atanh arctanh ceil conj_physical deg2rad erf erfinv "
    "expm1 floor frac isinf isnan isneginf isposinf log1p nan_to_num positive rad2deg relu round sgn sign signbit "
    "sin sinh sqrt tan tanh threshold trunc fix"
).split()


class CompressedTensor(Sparse):
    """`_ptr` (*batch, n + 1) offsets into `_idx` (*batch, nnz) and `_val` (*batch, nnz, *block, *dense).

    Elements of row i (column i in CSC and BSC) are those from offset i to offset i + 1.
    """

    _ptr: Any
    _idx: Any
    _kind: str
    is_sparse = False  # PyTorch keeps this word for coordinates
    is_sparse_csr = property(lambda self: self._kind == "csr")  # type: ignore[assignment]
    layout = property(lambda self: getattr(torch, "sparse_" + self._kind))  # type: ignore[assignment]

    # what it holds

    def _part(self, name: str, by_row: bool, part: Any) -> Any:
        if LAYOUTS[self._kind][0] != by_row:
            kind = "row" if by_row else "column"
            raise RuntimeError(
                f"{name} expected sparse {kind} compressed tensor layout but got {_SHOWN[self._kind]}"
            )
        return part

    def crow_indices(self) -> Any:
        """Where each row begins, (*batch, rows + 1)."""
        return self._part("crow_indices", True, self._ptr)

    def col_indices(self) -> Any:
        """The column of each value, (*batch, nnz)."""
        return self._part("col_indices", True, self._idx)

    def ccol_indices(self) -> Any:
        """Where each column begins, (*batch, columns + 1)."""
        return self._part("ccol_indices", False, self._ptr)

    def row_indices(self) -> Any:
        """The row of each value, (*batch, nnz)."""
        return self._part("row_indices", False, self._idx)

    def _nnz(self) -> int:
        return self._idx.shape[-1]

    def sparse_dim(self) -> int:
        """2: rows and columns."""
        return 2

    def dense_dim(self) -> int:
        """Number of dims of each value, blocks aside."""
        return self._val.dim() - self._idx.dim() - 2 * LAYOUTS[self._kind][1]

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Not said of sparse tensors."""
        raise RuntimeError("Sparse CSR tensors do not have is_contiguous")

    def _grid(self) -> tuple[int, int, int, tuple[int, int], tuple[int, ...]]:
        """Matrices, lines (those that offsets count), elements of a line, block, dims of a value."""
        by_row, blocked = LAYOUTS[self._kind]
        at = self._idx.dim() - 1
        block = tuple(self._val.shape[at + 1 : at + 3]) if blocked else (1, 1)
        rows, columns = self.shape[at] // block[0], self.shape[at + 1] // block[1]
        lines, across = (rows, columns) if by_row else (columns, rows)
        return math.prod(self.shape[:at]), lines, across, block, tuple(self.shape[at + 2 :])

    def _lines(self) -> Any:
        """The line of each value, counted through all matrices, (matrices * nnz,)."""
        matrices, lines = self._grid()[:2]
        counts = self._ptr.diff(dim=-1).reshape(-1)
        places = torch.arange(matrices * lines)
        return torch.repeat_interleave(places, counts, output_size=self._idx.numel())

    def _keys(self) -> Any:
        """The place of each value among all (matrix, line, element), (matrices * nnz,)."""
        return self._lines() * self._grid()[2] + self._idx.reshape(-1)

    # conversions

    def to_dense(self, dtype: Any = None, *, masked_grad: bool | None = None) -> Any:
        """A dense tensor of the same shape."""
        matrices, lines, across, block, value = self._grid()
        flat = self._val.reshape(self._idx.numel(), *block, *value)
        flat = flat.new_zeros((matrices * lines * across, *block, *value)).index_add(
            0, self._keys(), flat
        )
        grid = flat.reshape(matrices, lines, across, *block, *value)
        if not LAYOUTS[self._kind][0]:
            grid = grid.transpose(1, 2)
        dense = grid.transpose(2, 3).reshape(self.shape)
        return dense if dtype is None else dense.to(dtype)

    def _with(self, values: Any) -> CompressedTensor:
        return compressed(self._ptr, self._idx, values, self.shape, self._kind)

    def _at_places(self, dense: Any) -> Any:
        matrices, _, _, block, value = self._grid()
        grid = _as_grid(dense, self._kind, block, value)
        return grid.flatten(0, 2)[self._keys()].reshape(self._val.shape)

    def to_sparse_coo(self) -> SparseTensor:
        """The same elements listed by coordinates."""
        matrices, lines, across, block, value = self._grid()
        line, other = self._lines(), self._idx.reshape(-1)
        batch = [] if self._idx.dim() == 1 else [line // lines]
        line = line % lines if batch else line
        row, column = (line, other) if LAYOUTS[self._kind][0] else (other, line)
        values = self._val.reshape(self._idx.numel() * block[0] * block[1], *value)
        if block != (1, 1):
            places = torch.arange(block[0] * block[1]).repeat(len(row))
            row, column, *batch = (
                t.repeat_interleave(block[0] * block[1]) for t in (row, column, *batch)
            )
            row = row * block[0] + places // block[1]
            column = column * block[1] + places % block[1]
        if self._idx.dim() > 2:
            batch = list(torch.unravel_index(batch[0], self.shape[: self._idx.dim() - 1]))
        at = torch.stack([*batch, row, column]).to(torch.int64)
        return made(at, values, self.shape, False).coalesce()

    def to_sparse(self, sparse_dim: Any = None, *, layout: Any = None, blocksize: Any = None,
                  dense_dim: int | None = None) -> Any:  # fmt: skip
        """The same matrix in another layout; coordinates by default."""
        name = layout_name(
            sparse_dim if layout is None and not isinstance(sparse_dim, int) else layout
        )
        if name == "coo":
            return self.to_sparse_coo()
        same = name == self._kind and (blocksize is None or tuple(blocksize) == self._grid()[3])
        if same:
            return self
        if LAYOUTS[name][1] or LAYOUTS[self._kind][1] or self._idx.dim() > 1:
            return from_dense(self.to_dense(), name, blocksize, self.dense_dim())
        return from_coo(self.to_sparse_coo(), name)

    def clone(self, *, memory_format: Any = None) -> CompressedTensor:
        """With memory of its own."""
        parts = [part.clone() for part in (self._ptr, self._idx, self._val)]
        return compressed(*parts, self.shape, self._kind)

    # arithmetic

    def t(self) -> CompressedTensor:
        """The transposed matrix: rows listed become columns listed."""
        return self.transpose(0, 1)

    def transpose(self, dim0: int, dim1: int) -> CompressedTensor:
        """Rows and columns exchanged."""
        at = self._idx.dim() - 1
        if {dim0 % self.dim(), dim1 % self.dim()} != {at, at + 1}:
            raise NotImplementedError("transposing other dims of sparse tensors: use to_dense()")
        kind, shape = self._kind[0] + "s" + "cr"[self._kind[2] == "c"], list(self.shape)
        shape[at], shape[at + 1] = shape[at + 1], shape[at]
        values = self._val.transpose(at + 1, at + 2) if LAYOUTS[kind][1] else self._val
        return compressed(self._ptr, self._idx, values, shape, kind)

    def sum(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        """The sum of all values, or along rows or columns (keepdim=True) of a matrix."""
        if dim is None:
            return self._val.sum(dtype=dtype)
        if not keepdim:
            raise RuntimeError(
                "reduction operations on CSR tensors with keepdim=False is unsupported"
            )
        total = torch.sparse.sum(self.to_sparse_coo(), dim, dtype=dtype)
        shape = [1 if d == dim % self.dim() else n for d, n in enumerate(self.shape)]
        at = [torch.zeros_like(total._at[0]) if n == 1 else total._at[0] for n in shape]
        return from_coo(made(torch.stack(at), total._val, shape, True), self._kind)

    def mul(self, other: Any) -> Any:
        """Times a number, or elementwise times a dense or a sparse tensor of the same shape."""
        if not isinstance(other, Tensor) or not other.dim():
            return self._with(self._val * other)
        if other.shape != self.shape:
            raise NotImplementedError("sparse times a tensor of another shape: use to_dense()")
        if not isinstance(other, Sparse):
            return self._with(self._val * self._at_places(other))
        product = self._with(self._val * self._at_places(other.to_dense())).to_sparse_coo()
        both = other._with(torch.ones_like(other._val)).to_dense()[tuple(product._at)] != 0
        kept = made(product._at[:, both], product._val[both], self.shape, True)
        return kept.to_sparse(layout=self.layout)

    def div(self, other: Any) -> Any:
        """Divided by a number."""
        if isinstance(other, Tensor) and other.dim():
            raise RuntimeError(f"unsupported tensor layout: {_SHOWN[self._kind]}")
        return self._with(self._val / other)

    def add(self, other: Any, *, alpha: Any = 1) -> Any:
        """Plus another sparse tensor (sparse), or a dense one (dense)."""
        if not isinstance(other, Sparse):
            return self.to_dense() + alpha * other
        total = self.to_sparse_coo().add(other.to_sparse_coo(), alpha=alpha)
        return total.to_sparse(layout=self.layout, blocksize=self._blocksize())

    def __rsub__(self, other: Any) -> Any:
        return other - self.to_dense()

    def _blocksize(self) -> Any:
        return self._grid()[3] if LAYOUTS[self._kind][1] else None

    def mul_(self, other: Any) -> CompressedTensor:
        """Times a number, in place."""
        self._val.mul_(other)
        return self

    def zero_(self) -> CompressedTensor:
        """Stored values become zero."""
        self._val.zero_()
        return self

    multiply = __mul__ = __rmul__ = mul
    divide = true_divide = __truediv__ = div
    __add__ = __radd__ = add

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, at: Any) -> Any:
        """One row of a matrix (coordinates), or one element (dense)."""
        if self.dim() != 2:
            raise NotImplementedError("indexing sparse batches: use to_dense()")
        if isinstance(at, tuple) and len(at) == 2 and all(isinstance(i, int) for i in at):
            return self[at[0]].to_dense()[at[1]]
        if not isinstance(at, int):
            raise NotImplementedError("slices of sparse tensors: use to_dense()")
        if not -len(self) <= at < len(self):
            raise IndexError(
                f"select(): index {at} out of range for tensor of size {list(self.shape)} at dimension 0"
            )
        if self._kind != "csr":
            return self.to_sparse(layout=torch.sparse_csr)[at]
        first, last = self._ptr[at % len(self) :][:2].tolist()
        return made(
            self._idx[None, first:last].to(torch.int64), self._val[first:last], self.shape[1:], True
        )

    def __repr__(self, *, tensor_contents: str | None = None) -> str:
        names = ("crow", "col") if LAYOUTS[self._kind][0] else ("ccol", "row")

        def part(name: str, t: Any) -> str:
            text = repr(t.detach())
            if not t.numel():
                text = f"tensor([], size={tuple(t.shape)})"
            first, *rest = text.split("\n")
            pad = " " * (len(name) + 8)
            return "\n".join([f"{name}={first}", *(pad + line if line else line for line in rest)])

        parts = [part(names[0] + "_indices", self._ptr), part(names[1] + "_indices", self._idx),
                 part("values", self._val)]  # fmt: skip
        parts[:2] = [text.replace(", dtype=torch.int32", "") for text in parts[:2]]
        more = [f"size={tuple(self.shape)}", f"nnz={self._nnz()}"]
        if self.dtype not in (torch.get_default_dtype(), torch.int64, torch.bool):
            more.append(f"dtype={self.dtype}")
            parts[2] = parts[2].replace(f", dtype={self.dtype}", "")
        more.append(f"layout={self.layout}")
        if self.requires_grad and self.grad_fn is None:
            more.append("requires_grad=True")
        return append_suffixes("tensor(" + ",\n       ".join(parts), more, 7)

    __str__ = __repr__


def _of_coordinates(name: str) -> Any:
    def run(self: CompressedTensor) -> Any:
        shown = _SHOWN[self._kind]
        raise RuntimeError(f"{name} expected sparse coordinate tensor layout but got {shown}")

    run.__name__ = run.__qualname__ = name
    run.__doc__ = "Of coordinate tensors only."
    return run


def _on_values(name: str) -> Any:
    def run(self: CompressedTensor, *args: Any, **kwargs: Any) -> CompressedTensor:
        return self._with(getattr(self._val, name)(*args, **kwargs))

    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"`{name}` of the stored values."
    return run


for _name in _KEEPS_ZERO:
    setattr(CompressedTensor, _name, _on_values(_name))
for _name in ("coalesce", "indices", "is_coalesced", "_indices", "_values"):
    setattr(CompressedTensor, _name, _of_coordinates(_name))


def compressed(ptr: Any, idx: Any, values: Any, shape: Any, kind: str) -> CompressedTensor:
    """A compressed tensor of checked parts."""
    x = object.__new__(CompressedTensor)
    x._ptr, x._idx, x._kind = ptr, idx, kind
    return shaped(x, values, shape)


def layout_name(layout: Any) -> str:
    """The last part of a sparse layout's name."""
    name = "coo" if layout is None else str(layout).rpartition("sparse_")[2]
    if name != "coo" and name not in LAYOUTS:
        raise RuntimeError(f"to_sparse: expected a sparse layout but got {layout}")
    return name


def _as_grid(dense: Any, kind: str, block: tuple, value: tuple) -> Any:
    """A dense tensor as (matrices, lines, elements of a line, *block, *value)."""
    rows, columns = dense.shape[dense.dim() - 2 - len(value) : dense.dim() - len(value)]
    count = math.prod(dense.shape[: dense.dim() - 2 - len(value)])
    grid = dense.reshape(count, rows // block[0], block[0], columns // block[1], block[1], *value)
    grid = grid.transpose(2, 3)
    return grid if LAYOUTS[kind][0] else grid.transpose(1, 2)


def from_dense(
    dense: Any, kind: str, blocksize: Any = None, dense_dim: int | None = None
) -> CompressedTensor:
    """The elements, or blocks, of a dense tensor that are not all zero."""
    value = tuple(dense.shape[dense.dim() - (dense_dim or 0) :])
    batch = tuple(dense.shape[: dense.dim() - 2 - len(value)])
    blocked = LAYOUTS[kind][1]
    if not 0 <= (dense_dim or 0) <= dense.dim() - 2 and dense.dim() >= 2:
        raise RuntimeError(
            f"dense_to_sparse_{kind}: dense_dim argument must be in [0,{dense.dim() - 2}] range, but "
            f"{dense_dim} is given"
        )
    if dense.dim() < 2:
        raise RuntimeError(f"to_sparse_{kind}: expected a matrix or more dims, got {dense.dim()}-D")
    if blocked != (blocksize is not None):
        raise RuntimeError(
            f"to_sparse_{kind}: blocksize goes with blocked layouts, and they need it"
        )
    block = tuple(blocksize) if blocked else (1, 1)
    size = tuple(dense.shape[len(batch) : len(batch) + 2])
    if size[0] % block[0] or size[1] % block[1]:
        raise RuntimeError(
            f"dense_to_sparse_{kind}: tensor sparse size ({size[0]},{size[1]}) must be divisible by "
            f"given blocksize ({block[0]},{block[1]})"
        )
    grid = _as_grid(dense, kind, block, value)
    live = (grid.detach() != 0).flatten(3).any(-1)
    counts = live.sum(-1)
    each = counts.sum(1)
    if len(each) > 1 and bool((each != each[0]).any()):
        raise RuntimeError("Expect the same number of specified elements per batch.")
    at = live.nonzero()
    values = grid[tuple(at.t())].reshape(*batch, -1, *(block if blocked else ()), *value) if len(at) else (
        dense.new_zeros((*batch, 0, *(block if blocked else ()), *value)))  # fmt: skip
    idx = at[:, 2].reshape(*batch, values.shape[len(batch)])
    return compressed(_offsets(counts).reshape(*batch, -1), idx, values, dense.shape, kind)


def _offsets(counts: Any) -> Any:
    """Where each line begins, and the end, from how many elements each has."""
    return torch.nn.functional.pad(counts.cumsum(-1), (1, 0))


def from_coo(x: SparseTensor, kind: str, blocksize: Any = None) -> CompressedTensor:
    """The elements of a matrix by coordinates in a compressed layout."""
    if x.sparse_dim() != 2 or LAYOUTS[kind][1]:
        return from_dense(x.to_dense(), kind, blocksize, x.dense_dim())
    x = x.coalesce()
    at, values, (rows, columns) = x._at, x._val, x.shape[:2]
    if not LAYOUTS[kind][0]:
        order = torch.argsort(at[1], stable=True)
        at, values, rows = at[:, order].flip(0), values[order], columns
    counts = torch.bincount(at[0], minlength=rows)
    return compressed(_offsets(counts), at[1], values, x.shape, kind)
