"""Tensors cut along a dim: the parts are views."""

from __future__ import annotations

from typing import Any

from facula.graph.blame import wrong_type
from facula.graph.meta import wrap_dim
from facula.ops.registry import TORCH, both
from facula.ops.shape import SPLIT_PART, SPLIT_SIZES, narrowed, unbound
from facula.tensor import Tensor


@both("split")
def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts along a dim: of one size, or of given sizes.

    >>> import facula as torch
    >>> torch.split(torch.arange(5), 2)
    (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    if not tensor.meta.ndim:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    d = wrap_dim(dim, tensor.meta.ndim)
    n = tensor.meta.shape[d]
    sizes = split_size_or_sections
    if isinstance(sizes, (str, float)):
        raise wrong_type(sizes, "int or a list of ints")
    if isinstance(sizes, int):
        if sizes < 0 or (sizes == 0 and n):
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={sizes}" if sizes < 0 else
                               f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")  # fmt: skip
        sizes, op = [min(sizes, n - i) for i in range(0, n, sizes)] if n else [0], SPLIT_PART
    elif sum(sizes) != n or any(s < 0 for s in sizes):
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at "
            f"dimension {dim}), but got split_sizes={list(sizes)}"
        )
    else:
        op = SPLIT_SIZES
    parts, start = [], 0
    for size in sizes:
        parts.append(narrowed(tensor, d, start, size, 1, op))
        parts[-1]._made = "multi"
        start += size
    return tuple(parts)


TORCH["split_with_sizes"] = Tensor.split_with_sizes = split  # type: ignore[attr-defined]


@both("chunk")
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` parts of equal size along a dim.

    >>> import facula as torch
    >>> torch.chunk(torch.arange(5), 2)
    (tensor([0, 1, 2]), tensor([3, 4]))
    """
    if input.meta.ndim == 0:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if not hasattr(chunks, "__index__"):
        raise wrong_type(chunks, "int")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.meta.shape[wrap_dim(dim, input.meta.ndim)]
    size = -(-n // chunks)
    return split(input, size if n else [0] * chunks, dim)


@both("unbind")
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All slices along a dim."""
    if input.meta.ndim == 0:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    d = wrap_dim(dim, input.meta.ndim)
    parts = [unbound(input, d, i) for i in range(input.meta.shape[d])]
    for part in parts:
        part._made = "multi"
    return tuple(parts)
