"""Reductions over segments of a dim, padded chunks of several tensors, masked picks."""

from __future__ import annotations

from typing import Any

import facula as torch

Tensor = torch.Tensor

_SCATTER = {"sum": "sum", "mean": "sum", "prod": "prod", "max": "amax", "min": "amin"}
_EMPTY = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": float("-inf"), "min": float("inf")}


def _segment_of(data: Tensor, lengths: Any, offsets: Any, axis: int, unsafe: bool) -> tuple:
    """(segment of each place along axis, sizes of the segments); places in none get the last number."""
    if lengths is None and offsets is None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    given = "offsets" if lengths is None else "lengths"
    at: Any = offsets if lengths is None else lengths
    if at.dtype not in (torch.int64, torch.int32):
        raise NotImplementedError(
            f"\"_segment_reduce_{given}_cpu_kernel1\" not implemented for '{at.dtype}'"
        )
    if axis != at.dim() - 1:
        raise RuntimeError(
            f"segment_reduce(): Expected axis to be the last dimension of {given} but got {axis}."
        )
    n = data.shape[axis]
    unsafe = unsafe or at.is_meta  # no values to check
    at = at.detach().long()
    if lengths is not None:
        if not unsafe and (at < 0).any():
            raise RuntimeError("lengths contains negative value!")
        if not unsafe and (at.sum(-1) != n).any():
            raise RuntimeError(
                "segment_reduce(): Expected all rows of lengths along axis to sum to "
                "data.size(lengths.dim()-1) when !unsafe."
            )
        at = torch.cat([at.new_zeros((*at.shape[:-1], 1)), at], -1).cumsum(-1)
    at = at[tuple(slice(k) for k in data.shape[:axis])]
    if tuple(at.shape[:-1]) != tuple(data.shape[:axis]):
        raise RuntimeError(
            f"segment_reduce(): {given} of shape {list(at.shape)} do not cover data of shape {list(data.shape)}"
        )
    places = torch.arange(n, device=at.device).expand(*at.shape[:-1], n).contiguous()
    number = torch.searchsorted(at[..., 1:].contiguous(), places, right=True)
    sizes = at.diff(dim=-1)
    return torch.where(places < at[..., :1], sizes.shape[-1], number), sizes


def _others(data: Tensor, number: Tensor, axis: int, count: int, initial: float) -> Tensor:
    """The product of the other elements of each element's segment, for those that are 0 or NaN."""

    def over(values: Tensor, how: str, start: float) -> Tensor:
        shape = (*data.shape[:axis], count, *data.shape[axis + 1 :])
        bins = torch.full(shape, start, dtype=values.dtype, device=values.device)
        return bins.scatter_reduce(axis, number, values, how).gather(axis, number)

    zero, nan = data == 0, data.isnan()
    plain = over(torch.where(zero | nan, 1.0, data), "prod", initial)
    more_zeros = over(zero.to(data.dtype), "sum", 0) - zero.to(data.dtype) > 0
    more_nans = over(nan.to(data.dtype), "sum", 0) - nan.to(data.dtype) > 0
    return torch.where(more_nans, float("nan"), torch.where(more_zeros, 0.0, plain))


class SegmentReduce(torch.autograd.Function):
    """Forward and backward of `segment_reduce`; as PyTorch's, differentiable once."""

    @staticmethod
    def forward(ctx: Any, data: Tensor, reduce: str, number: Tensor, sizes: Tensor, axis: int,
                initial: float | None) -> Tensor:  # fmt: skip
        count = sizes.shape[-1] + 1  # one more, for the places that are in no segment
        shape = (*data.shape[:axis], count, *data.shape[axis + 1 :])
        start = _EMPTY[reduce] if initial is None else initial
        bins = torch.full(shape, start, dtype=data.dtype, device=data.device)
        out = bins.scatter_reduce(axis, number, data, _SCATTER[reduce])
        sizes = sizes.reshape((*sizes.shape, *[1] * (data.dim() - axis - 1)))
        if reduce == "mean":
            mean = out.narrow(axis, 0, count - 1) / sizes
            empty = data.new_full((), float("nan") if initial is None else initial)
            out = torch.where(sizes == 0, empty, mean)
        else:
            out = out.narrow(axis, 0, count - 1).contiguous()
        ctx.save_for_backward(data, number, sizes, out)
        ctx.settings = reduce, axis, initial
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        data, number, sizes, out = ctx.saved_tensors
        reduce, axis, initial = ctx.settings
        count = out.shape[axis] + 1

        def spread(segments: Tensor) -> Tensor:
            """Each segment's value at all of its places, 0 at the others."""
            rest = segments.new_zeros((*data.shape[:axis], 1, *data.shape[axis + 1 :]))
            return torch.cat([segments, rest], axis).gather(axis, number)

        if reduce == "mean":
            grad = grad / sizes
        wide = spread(grad)
        if reduce in ("max", "min"):
            chosen = ((data == spread(out)) | data.isnan()) & (number < count - 1)
            bins = data.new_zeros((*data.shape[:axis], count, *data.shape[axis + 1 :]))
            ties = bins.scatter_add(axis, number, chosen.to(data.dtype)).gather(axis, number)
            wide = torch.where(chosen, wide / ties, 0.0)
        elif reduce == "prod":
            start = 1.0 if initial is None else initial
            others = _others(data, number, axis, count, start)
            special = (data == 0) | data.isnan()
            wide = torch.where(special, wide * others, wide * spread(out) / data)
            wide = torch.where(number < count - 1, wide, 0.0)
        return wide, None, None, None, None, None


def segment_reduce(data: Tensor, reduce: str, *, lengths: Tensor | None = None,
                   indices: Tensor | None = None, offsets: Tensor | None = None, axis: int = 0,
                   unsafe: bool = False, initial: Any = None) -> Tensor:  # fmt: skip
    """ "sum", "mean", "prod", "max" or "min" over consecutive segments of a dim.

    Shapes: data (B..., n, *), lengths (B..., k) or offsets (B..., k + 1), result (B..., k, *), where
    B are the dims before axis.

    >>> import facula as torch
    >>> torch.segment_reduce(torch.tensor([1., 2., 3.]), "sum", lengths=torch.tensor([1, 2]))
    tensor([1., 5.])
    """
    if indices is not None:
        raise RuntimeError("segment_reduce(): indices based reduction is not supported yet.")
    if reduce not in _SCATTER:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    if not data.is_floating_point():
        raise NotImplementedError(f"\"_segment_reduce_cpu\" not implemented for '{data.dtype}'")
    axis = axis % max(data.dim(), 1)
    number, sizes = _segment_of(data, lengths, offsets, axis, unsafe)
    tail = data.shape[axis + 1 :]
    number = number.reshape((*number.shape, *[1] * len(tail))).expand(data.shape)
    return SegmentReduce.apply(data, reduce, number, sizes, axis, initial)


_segment_reduce = segment_reduce


def _chunk_cat(tensors: Any, dim: int, num_chunks: int, *, out: Tensor | None = None) -> Tensor:
    """Each tensor padded along dim and cut into chunks; the chunks laid side by side, flat.

    >>> import facula as torch
    >>> torch._chunk_cat([torch.ones(3), torch.zeros(2)], 0, 2)
    tensor([[1., 1., 0.],
            [1., 0., 0.]])
    """
    tensors = list(tensors)
    if num_chunks < 1:
        raise RuntimeError("_chunk_cat expects positive num_chunks")
    if not tensors:
        raise RuntimeError("_chunk_cat expects a non-empty input tensor list")
    first = tensors[0]
    if not -first.dim() <= dim < first.dim():
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-first.dim()}, {first.dim() - 1}], "
            f"but got {dim})"
        )
    dim %= first.dim()
    flat = []
    for x in tensors:
        if not x.numel():
            raise RuntimeError("_chunk_cat expects non-empty tensor")
        if x.dtype != first.dtype:
            raise RuntimeError("_chunk_cat expects all input tensors with the same dtype")
        if x.shape[:dim] != first.shape[:dim]:
            raise RuntimeError(
                "_chunk_cat expects same sizes of 0,...,dim-1 dimensions for all tensors"
            )
        missing = -x.shape[dim] % num_chunks
        if missing:
            pad = x.new_zeros((*x.shape[:dim], missing, *x.shape[dim + 1 :]))
            x = torch.cat([x, pad], dim)
        flat.append(x.reshape((*x.shape[:dim], num_chunks, -1)))
    return torch.cat(flat, dim + 1, out=out)


def _held(input: Tensor, indices: Any) -> list[Any]:
    """Indices brought into bounds."""
    for i in indices:
        if i is not None and i.dtype not in (torch.int64, torch.int32):
            raise RuntimeError(f"_unsafe_masked_index found unexpected index type {i.dtype}")
    return [
        slice(None) if i is None else i.clamp(-n, n - 1)
        for i, n in zip(indices, input.shape, strict=False)
    ]


def _unsafe_masked_index(input: Tensor, mask: Tensor, indices: Any, fill: Any) -> Tensor:
    """input[indices] where mask holds, fill elsewhere; there the indices may be out of bounds."""
    at = _held(input, indices)
    if not input.numel():
        like = input.new_full((1,) * input.dim(), fill).expand([max(n, 1) for n in input.shape])
        picked = like[tuple(i if isinstance(i, slice) else torch.zeros_like(i) for i in at)]
        sizes = input.shape[len(at) :]
        keep = picked.shape[: picked.dim() - len(sizes)]
        return picked.new_full((*keep, *sizes), fill)
    return input[tuple(at)].masked_fill(mask.logical_not(), fill)


def _unsafe_masked_index_put_accumulate(
    input: Tensor, mask: Tensor, indices: Any, values: Tensor
) -> Tensor:
    """input with values added at indices where mask holds."""
    if not input.numel():
        return input.clone()
    added = values.masked_fill(mask.logical_not(), 0)
    at = [None if isinstance(i, slice) else i for i in _held(input, indices)]
    return torch.index_put(input, at, added, accumulate=True)
