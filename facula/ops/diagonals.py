"""Diagonals and triangles of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.blame import wrong_type
from facula.graph.meta import META, Meta, meta_of, wrap_dim
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.create import device_of
from facula.ops.registry import (
    NAMESPACES,
    TORCH,
    both,
    inplace,
    only_method,
    only_torch,
    to_out,
    zeros_as,
)
from facula.ops.shape import make_view, view_op
from facula.ops.without_values import on_meta
from facula.tensor import Tensor, adopt_array

# diagonal: a view -------------------------------------------------------------------------------


def _diagonal_backward(n: Any, g: Tensor) -> Tensor:
    m = n.inst.ins[0]
    offset, a, b = n.params
    return diagonal_scatter(zeros_as(g, m.shape), g, offset, a, b)


DIAGONAL = view_op("diagonal", _diagonal_backward, "DiagonalBackward0")


@both("diagonal")
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A view of a diagonal of two dims, as a last dim."""
    m = input.meta
    a, b = wrap_dim(dim1, m.ndim), wrap_dim(dim2, m.ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rows, cols = m.shape[a], m.shape[b]
    size = max(min(rows, cols - offset) if offset >= 0 else min(rows + offset, cols), 0)
    start = input._off
    if size:
        start += offset * m.strides[b] if offset >= 0 else -offset * m.strides[a]
    rest = [i for i in range(m.ndim) if i not in (a, b)]
    shape = (*[m.shape[i] for i in rest], size)
    strides = (*[m.strides[i] for i in rest], m.strides[a] + m.strides[b])
    return make_view(DIAGONAL, input, shape, strides, start, (offset, a, b))


@both("diagonal_scatter")
def diagonal_scatter(
    input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """input with a diagonal replaced by src."""
    out = input.clone()  # type: ignore[attr-defined]
    return _replace(out, diagonal(out, offset, dim1, dim2), src)


def _replace(out: Tensor, part: Tensor, src: Tensor) -> Tensor:
    if part.meta.shape != src.meta.shape:
        raise RuntimeError(
            "expected src to have a size equal to the slice of self. src size = "
            f"{list(src.meta.shape)}, slice size = {list(part.meta.shape)}"
        )
    part.copy_(src)  # type: ignore[attr-defined]
    return out


@both("select_scatter")
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """input with one slice along dim replaced by src."""
    out = input.clone()  # type: ignore[attr-defined]
    return _replace(out, out.select(dim, index), src)


@both("slice_scatter")
def slice_scatter(input: Tensor, src: Tensor, dim: int = 0, start: Any = None, end: Any = None,
                  step: int = 1, *, out: Tensor | None = None) -> Tensor:  # fmt: skip
    """input with input[start:end:step] along dim replaced by src."""
    from facula.ops.shape import slice_dim

    new = input.clone()  # type: ignore[attr-defined]
    part = slice_dim(new, wrap_dim(dim, input.meta.ndim), start, end, step)
    return to_out(_replace(new, part, src), out)


@both("as_strided_scatter")
def as_strided_scatter(input: Tensor, src: Tensor, size: Any, stride: Any,
                       storage_offset: int | None = None) -> Tensor:  # fmt: skip
    """input with a strided part replaced by src."""
    out = input.clone()  # type: ignore[attr-defined]
    return _replace(out, out.as_strided(size, stride, storage_offset or 0), src)


def _embed_infer(m: Meta, offset: int, a: int, b: int) -> Meta:
    shape = list(m.shape[:-1])
    for d in sorted((a, b)):
        shape.insert(d, m.shape[-1] + abs(offset))
    return meta_of(m.dtype, shape, m.device)


def _embed_expand(g: Any, x: Any, offset: int, a: int, b: int) -> Any:
    out = _embed_infer(meta_of(x.dtype, x.shape), offset, a, b)
    zeros = g.const(0, x.dtype, out.shape)
    if not x.numel:
        return zeros
    rest = [s for d, s in enumerate(out.strides) if d not in (a, b)]
    start = offset * out.strides[b] if offset >= 0 else -offset * out.strides[a]
    return g.write(zeros, x, x.shape, (*rest, out.strides[a] + out.strides[b]), start)


DIAG_EMBED = Op("diag_embed", _embed_infer, _embed_expand, lambda n, g: diagonal(g, *n.params))


@both("diag_embed")
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices with input's last dim on a diagonal."""
    ndim = input.meta.ndim + 1
    a, b = wrap_dim(dim1, ndim), wrap_dim(dim2, ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return apply(DIAG_EMBED, (input,), (offset, a, b))


@both("diag")
def diag(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """A matrix with a vector on its diagonal, or the diagonal of a matrix."""
    if input.meta.ndim == 1:
        return to_out(diag_embed(input, diagonal), out, exact=True)
    if input.meta.ndim != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.meta.ndim}D")
    return to_out(TORCH["diagonal_copy"](input, diagonal), out, exact=True)


@both("diagflat")
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with all elements on its diagonal."""
    return diag_embed(input.reshape(-1), offset)  # type: ignore[attr-defined]


@both("trace")
def trace(input: Tensor) -> Tensor:
    """Sum of the diagonal of a matrix."""
    if input.meta.ndim != 2:
        raise RuntimeError("trace: expected a matrix")
    return diagonal(input).sum()  # type: ignore[attr-defined]


@only_method("fill_diagonal_")
def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Writes a number on the main diagonal; `wrap` starts again below it in tall matrices."""
    m = self.meta
    if m.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    if m.ndim > 2 and len(set(m.shape)) != 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    rows, cols = m.shape[0], m.shape[1]
    step = sum(m.strides)
    self.as_strided((min(m.shape),), (step,), self._off).fill_(fill_value)  # type: ignore[attr-defined]
    if wrap and m.ndim == 2 and rows > cols + 1:
        rest = rows - cols - 1
        full = (rest + cols) // (cols + 1) if cols else 0
        for k in range(full):
            start = (k + 1) * (cols + 1)
            size = min(cols, rows - start)
            self.as_strided((size,), (step,), self._off + start * m.strides[0]).fill_(fill_value)  # type: ignore[attr-defined]
    return self


# triangles --------------------------------------------------------------------------------------


def _triangle(name: str, keep: Any) -> None:
    def infer(a: Meta, k: int) -> Meta:
        if a.ndim < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        return a.plain()

    def expand(g: Any, a: Any, k: int) -> Any:
        line = (*[1] * (a.ndim - 2), *a.shape[-2:])
        gap = g.iota(line, a.ndim - 1) - g.iota(line, a.ndim - 2)
        return g.where(keep(gap, k), a, g.const(0, a.dtype))

    op = Op(name, infer, expand, lambda n, g: apply(op, (g,), n.params))

    def function(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
        if not hasattr(diagonal, "__index__"):
            raise wrong_type(diagonal, "int")
        return to_out(apply(op, (input,), (int(diagonal),)), out, exact=True)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The {'lower' if name == 'tril' else 'upper'} triangle of matrices, zeros elsewhere."
    )
    both(name)(function)
    inplace(function)


_triangle("tril", lambda gap, k: gap <= k)
_triangle("triu", lambda gap, k: gap >= k)


def _below(row: int, col: int, offset: int) -> int:
    """How many elements of a matrix lie on and below a diagonal."""
    first, last = max(0, -offset), min(row, col - offset)  # rows that the diagonal crosses
    first = min(first, row)
    crossed = max(0, last - first)
    partial = crossed * (first + offset + 1) + crossed * (crossed - 1) // 2
    return partial + (row - first - crossed) * col


def _indices(name: str, make: Any, count: Any) -> None:
    def function(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 layout: Any = None) -> Tensor:  # fmt: skip
        for size in (row, col, offset):
            if not hasattr(size, "__index__"):
                raise wrong_type(size, "int")
        if row < 0 or col < 0:
            what = "row" if row < 0 else "col"
            raise RuntimeError(f"{what} must be non-negative, got{row if row < 0 else col}")
        d = dtype or dt.int64
        if d.kind not in "iu":
            raise NotImplementedError(f"\"{name}\" not implemented for '{d.short}'")
        if device_of(device) is META:
            return on_meta(d, (2, count(row, col, offset)))
        found = np.stack(make(row, offset, col)).astype(d.storage)
        return adopt_array(np.ascontiguousarray(found), d)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = "Row and column numbers of the elements of a triangle, as (2, n)."
    TORCH[name] = function


_indices("tril_indices", lambda n, k, m: np.tril_indices(n, k, m), _below)
_indices("triu_indices", lambda n, k, m: np.triu_indices(n, k, m),
         lambda row, col, offset: row * col - _below(row, col, offset - 1))  # fmt: skip


@only_torch()
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """Columns of powers of a vector."""
    if x.meta.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    n = x.meta.numel if N is None else N
    if n < 0:
        raise RuntimeError("N must be non-negative.")
    d = x.meta.dtype if x.meta.dtype.kind in "fc" else dt.int64
    powers = _powers(x.to(d), n)  # type: ignore[attr-defined]
    return powers if increasing or n == 0 else TORCH["flip"](powers, (-1,))


def _powers(x: Tensor, n: int) -> Tensor:
    if n == 0:
        return TORCH["empty"](*x.meta.shape, 0, dtype=x.meta.dtype, device=x.meta.device)
    ones = TORCH["ones_like"](x).unsqueeze(-1)
    if n == 1:
        return ones
    rest = x.unsqueeze(-1).expand(*x.meta.shape, n - 1)  # type: ignore[attr-defined]
    return TORCH["cumprod"](TORCH["cat"]([ones, rest], -1), -1)


def _linalg_vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """Rows of powers 0 .. N-1 of the last dim."""
    x = x if x.meta.ndim else x.reshape(1)  # type: ignore[attr-defined]
    n = x.meta.shape[-1] if N is None else N
    if n < 2:
        raise RuntimeError(f"N must be greater than 1. Got {N}")
    return _powers(x if x.meta.dtype.kind in "fc" else x.to(dt.int64), n)  # type: ignore[attr-defined]


_linalg_vander.__name__ = _linalg_vander.__qualname__ = "vander"
NAMESPACES["linalg"]["vander"] = _linalg_vander


def _linalg_diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """A view of a diagonal; by default of the last two dims."""
    return diagonal(A, offset, dim1, dim2)


_linalg_diagonal.__name__ = _linalg_diagonal.__qualname__ = "diagonal"
NAMESPACES["linalg"]["diagonal"] = _linalg_diagonal


@both("unravel_index")
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """Coordinates of flat indices in a shape."""
    if indices.meta.dtype.kind not in "iu":
        raise ValueError(
            f"expected 'indices' to be an integer tensor, but got {indices.meta.dtype!r}"
        )
    if isinstance(shape, int):
        shape = (shape,)
    elif not isinstance(shape, (tuple, list)):
        raise ValueError(f"expected 'shape' to be int or sequence of ints, but got {type(shape)}")
    for n in shape:
        if not isinstance(n, int):
            raise TypeError(f"expected 'shape' sequence to only contain ints, but got {type(n)}")
        if n < 0:
            raise ValueError(f"'shape' cannot have negative values, but got {tuple(shape)}")
    indices = indices.to(dt.int64)  # type: ignore[attr-defined]
    out, step = [], 1
    for n in reversed(shape):
        out.append((indices // step) % n if n else indices)
        step *= n
    return tuple(reversed(out))


del Tensor.unravel_index  # type: ignore[attr-defined]

__all__ = ["meta_of"]
