"""Compressed sparse tensors from their parts: `torch.sparse_csr_tensor` and its like."""

from __future__ import annotations

from typing import Any

import facula as torch
from facula.sparse.compressed import LAYOUTS, CompressedTensor, compressed, layout_name


def sparse_compressed_tensor(compressed_indices: Any, plain_indices: Any, values: Any, size: Any = None, *,
                             dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
                             requires_grad: bool = False, check_invariants: bool | None = None) -> CompressedTensor:  # fmt: skip
    """A tensor of a compressed layout: offsets (*batch, lines + 1), places in a line (*batch, nnz), and values.

    Values are (*batch, nnz, *dense), blocks in BSR and BSC: (*batch, nnz, rows, columns, *dense). Offsets
    and places are checked, and with `check_invariants=True` also that the places of a line ascend.
    """
    if layout is None:
        raise RuntimeError(
            "sparse_compressed_tensor expected sparse compressed tensor layout but got none"
        )
    kind = layout_name(layout)
    if kind not in LAYOUTS:
        raise RuntimeError(
            "sparse_compressed_tensor expected sparse compressed tensor layout but got Sparse"
        )
    parts = [torch.as_tensor(t).detach() for t in (compressed_indices, plain_indices)]
    ptr, idx = (t.to(torch.int64) if t.dtype.is_floating_point else t for t in parts)
    val = torch.as_tensor(values, dtype=dtype, device=device)
    blocked = 2 * LAYOUTS[kind][1]
    batch = max(ptr.dim() - 1, 0)
    if val.dim() < batch + 1 + blocked:
        raise RuntimeError(
            "values must have dimensionality > sum of batch and block dimensionalities "
            f"(={batch} + {blocked}) but got {val.dim()}"
        )
    shape = _inferred(kind, ptr, idx, val) if size is None else tuple(int(n) for n in size)
    _check(kind, ptr, idx, val, shape, bool(check_invariants))
    if requires_grad:
        val = val.detach().requires_grad_()
    return compressed(ptr, idx, val, shape, kind)


def _inferred(kind: str, ptr: Any, idx: Any, val: Any) -> tuple[int, ...]:
    """The smallest size that has room for all places."""
    batch, (by_row, blocked) = ptr.dim() - 1, LAYOUTS[kind]
    block = val.shape[batch + 1 : batch + 3] if blocked else (1, 1)
    lines, across = ptr.shape[-1] - 1, int(idx.max()) + 1 if idx.numel() else 0
    rows, columns = (lines, across) if by_row else (across, lines)
    rest = val.shape[batch + 1 + 2 * blocked :]
    return (*ptr.shape[:-1], rows * block[0], columns * block[1], *rest)


def _check(kind: str, ptr: Any, idx: Any, val: Any, shape: tuple, order: bool) -> None:
    """Raises unless the parts fit each other."""
    batch, (by_row, blocked) = ptr.dim() - 1, LAYOUTS[kind]
    dense = val.dim() - batch - 1 - 2 * blocked
    lead, plain = ("crow_indices", "col_indices") if by_row else ("ccol_indices", "row_indices")
    line, element = ("row", "col") if by_row else ("col", "row")

    def need(good: Any, message: str) -> None:
        if not good:
            raise RuntimeError(message)

    need(
        len(shape) == batch + 2 + dense,
        "tensor dimensionality must be sum of batch, base, and dense dimensionalities "
        f"(={batch} + 2 + {dense}) but got {len(shape)}",
    )
    block = val.shape[batch + 1 : batch + 3] if blocked else (1, 1)
    size = (shape[batch] // max(block[0], 1), shape[batch + 1] // max(block[1], 1))
    lines, across = size if by_row else size[::-1]
    nnz = val.shape[batch]
    need(
        ptr.shape[-1] == lines + 1,
        f"{lead}.shape[-1] must be equal to the number of {line if line == 'row' else 'column'}s + 1 "
        f"(={lines + 1}), but got {ptr.shape[-1]}",
    )
    need(
        idx.shape[-1] == nnz,
        f"{plain}.shape[-1] must be equal to nnz (={nnz}) as defined by values.shape[{batch}], "
        f"but got {idx.shape[-1]}",
    )
    counts = ptr.diff(dim=-1)
    need(bool((ptr[..., 0] == 0).all()), f"`{lead}[..., 0] == 0` is not satisfied.")
    need(bool((ptr[..., -1] == nnz).all()), f"`{lead}[..., -1] == nnz` is not satisfied.")
    need(
        bool(((counts >= 0) & (counts <= across)).all()),
        f"`0 <= {lead}[..., 1:] - {lead}[..., :-1] <= n{element}s` is not satisfied.",
    )
    need(
        bool(((idx >= 0) & (idx < across)).all()),
        f"`0 <= {plain} < n{element}s` is not satisfied.",
    )
    if order and idx.numel():
        keys = compressed(ptr, idx, val, shape, kind)._keys()
        need(
            bool((keys.diff() > 0).all()),
            f"`{plain}[..., {lead}[..., i - 1]:{lead}[..., i]] for all i = 1, ..., n{line}s are sorted and "
            "distinct along the last dimension values` is not satisfied.",
        )


def sparse_csr_tensor(crow_indices: Any, col_indices: Any, values: Any, size: Any = None,
                      **kwargs: Any) -> CompressedTensor:  # fmt: skip
    """A matrix (or a batch of them) listed row by row.

    >>> import facula as torch
    >>> x = torch.sparse_csr_tensor([0, 2, 3], [0, 2, 2], [1., 2., 3.], (2, 3))
    >>> x.to_dense()
    tensor([[1., 0., 2.],
            [0., 0., 3.]])
    >>> x @ torch.ones(3)
    tensor([3., 3.])
    """
    return _built("csr", crow_indices, col_indices, values, size, kwargs)


def sparse_csc_tensor(ccol_indices: Any, row_indices: Any, values: Any, size: Any = None,
                      **kwargs: Any) -> CompressedTensor:  # fmt: skip
    """A matrix (or a batch of them) listed column by column."""
    return _built("csc", ccol_indices, row_indices, values, size, kwargs)


def sparse_bsr_tensor(crow_indices: Any, col_indices: Any, values: Any, size: Any = None,
                      **kwargs: Any) -> CompressedTensor:  # fmt: skip
    """A matrix of blocks (or a batch of them) listed row by row."""
    return _built("bsr", crow_indices, col_indices, values, size, kwargs)


def sparse_bsc_tensor(ccol_indices: Any, row_indices: Any, values: Any, size: Any = None,
                      **kwargs: Any) -> CompressedTensor:  # fmt: skip
    """A matrix of blocks (or a batch of them) listed column by column."""
    return _built("bsc", ccol_indices, row_indices, values, size, kwargs)


def _built(kind: str, ptr: Any, idx: Any, values: Any, size: Any, kwargs: dict) -> CompressedTensor:
    layout = kwargs.setdefault("layout", getattr(torch, "sparse_" + kind))
    if layout_name(layout) != kind:
        raise RuntimeError(
            f"sparse_{kind}_tensor expected layout torch.sparse_{kind} but got {layout}"
        )
    return sparse_compressed_tensor(ptr, idx, values, size, **kwargs)
