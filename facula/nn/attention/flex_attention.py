"""Attention with a score function and a mask function written in Python."""

from __future__ import annotations

import math
from typing import NamedTuple, TypedDict

import facula as torch
from facula import Tensor

from .block_mask import (  # noqa: F401
    _DEFAULT_SPARSE_BLOCK_SIZE,
    BlockMask,
    _grids,
    and_masks,
    create_block_mask,
    create_mask,
    noop_mask,
    or_masks,
)

__all__ = [
    "AuxOutput",
    "AuxRequest",
    "BlockMask",
    "FlexKernelOptions",
    "and_masks",
    "create_block_mask",
    "create_mask",
    "flex_attention",
    "noop_mask",
    "or_masks",
]


class FlexKernelOptions(TypedDict, total=False):
    """Settings of PyTorch's own kernels; facula's kernels choose theirs and read none."""


class AuxRequest(NamedTuple):
    """What flex_attention is to return besides its output."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What flex_attention returns besides its output."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


def _check(query, key, value, enable_gqa, block_mask):
    if not query.dim() == key.dim() == value.dim() == 4:
        raise NotImplementedError("NYI: query, key, and value must be 4D tensors")
    if not query.dtype == key.dtype == value.dtype:
        raise ValueError(
            "Expected query, key, and value to have the same dtype, but got "
            f"query.dtype: {query.dtype}, key.dtype: {key.dtype}, and value.dtype: {value.dtype} "
            "instead."
        )
    if query.size(-1) != key.size(-1):
        raise ValueError(
            "Expect query and key/value to have the same embedding dimension "
            f"but got E={query.size(-1)} and E={key.size(-1)}."
        )
    if query.size(0) != key.size(0) and key.size(0) != 1:
        raise ValueError(
            "Expect query and key/value to have the same batch size, or key/value of batch size 1, "
            f"but got Bq={query.size(0)} and Bkv={key.size(0)}."
        )
    heads, kv_heads = query.size(1), key.size(1)
    if not enable_gqa and heads != kv_heads:
        raise ValueError(
            "Expect query and key/value to have the same number of heads but got "
            f"Hq={heads} and Hkv={kv_heads}. Try setting enable_gqa=True for GQA."
        )
    if enable_gqa and heads % kv_heads != 0:
        raise ValueError(
            "Expect number of query heads to be a multiple of kv heads for GQA but got "
            f"Hq={heads} and Hkv={kv_heads}."
        )
    lengths = (query.size(2), key.size(2))
    if block_mask is not None and lengths != tuple(block_mask.seq_lengths):
        raise ValueError(
            f"block_mask was created for block_mask.shape={block_mask.shape} but got "
            f"q_len={lengths[0]} and kv_len={lengths[1]}. As the block mask was created for other "
            "lengths than you're using it for, you'll need to create a new block mask."
        )


def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod=None,
    block_mask: BlockMask | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    kernel_options: FlexKernelOptions | None = None,
    *,
    return_aux: AuxRequest | None = None,
):
    """softmax(score_mod(query @ key.T * scale, b, h, q_idx, kv_idx)) @ value, under a mask.

    The functions are called once, on index tensors that broadcast against the scores,
    so they must be made of operators (torch.where, not if). Rows without any key give 0.

    >>> q = torch.ones(1, 1, 4, 8)
    >>> flex_attention(q, q, q, lambda score, b, h, i, j: score - (i - j).abs()).shape
    torch.Size([1, 1, 4, 8])
    """
    _check(query, key, value, enable_gqa, block_mask)
    if enable_gqa and query.size(1) != key.size(1):
        groups = query.size(1) // key.size(1)
        key = key.repeat_interleave(groups, 1)
        value = value.repeat_interleave(groups, 1)
    scale = 1 / math.sqrt(query.size(-1)) if scale is None else scale
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    scores = query.to(wide) @ key.to(wide).transpose(-2, -1) * scale
    if score_mod is not None:
        scores = score_mod(scores, *_grids(*scores.shape, query.device)).to(wide)
    if block_mask is not None:
        mask = block_mask._mask(scores.size(0), scores.size(1), query.device)
        scores = scores.masked_fill(~mask, float("-inf"))
    output, lse, top = _softmax_product(scores, value.to(wide))
    output = output.to(query.dtype)
    if return_aux is not None:
        lse, top = (lse if return_aux.lse else None), (top if return_aux.max_scores else None)
        return output, AuxOutput(lse, top)
    return (output, lse) if return_lse else output


def _softmax_product(scores, value):
    """softmax(scores) @ value, the log of the softmax's denominator, the largest scores."""
    top = scores.amax(-1)
    empty = (top == float("-inf")).unsqueeze(-1)
    # A row without keys would be 0 / 0: give it finite scores, then a zero result.
    filled = scores.masked_fill(empty, 0.0)
    lse = torch.logsumexp(filled, -1)
    output = (torch.softmax(filled, -1) @ value).masked_fill(empty, 0.0)
    return output, lse.masked_fill(empty.squeeze(-1), float("-inf")), top
