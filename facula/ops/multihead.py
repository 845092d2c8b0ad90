"""Multi-head attention as one function: projections, masks, attention, output projection."""

from __future__ import annotations

import math
import warnings
from typing import Any

from facula.graph import dtypes as dt
from facula.ops.registry import FUNCTIONAL, TORCH, functional
from facula.tensor import Tensor


@functional("_none_or_dtype")
def _none_or_dtype(input: Tensor | None) -> Any:
    """A tensor's dtype, None for None."""
    if input is None:
        return None
    if isinstance(input, Tensor):
        return input.dtype
    raise RuntimeError("input to _none_or_dtype() must be None or torch.Tensor")


@functional("_canonical_mask")
def _canonical_mask(
    mask: Tensor | None,
    mask_name: str,
    other_type: Any,
    other_name: str,
    target_type: Any,
    check_other: bool = True,
) -> Tensor | None:
    """A mask as numbers to add: -inf where a bool mask is true."""
    if mask is None:
        return None
    d = mask.dtype
    if d is not dt.bool_ and not d.is_floating_point:
        raise RuntimeError(f"only bool and floating types of {mask_name} are supported")
    if check_other and other_type is not None and d is not other_type:
        warnings.warn(
            f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type "
            "for both instead.",
            stacklevel=2,
        )
    if d.is_floating_point:
        return mask
    low = TORCH["full"]((), -math.inf, dtype=target_type)
    return TORCH["where"](mask, low, TORCH["zeros"]((), dtype=target_type))


@functional("_in_projection_packed")
def _in_projection_packed(
    q: Tensor, k: Tensor, v: Tensor, w: Tensor, b: Tensor | None = None
) -> list[Tensor]:
    """Queries, keys and values projected with one weight (3 E, E)."""
    linear, width = FUNCTIONAL["linear"], q.shape[-1]
    if k is v and q is k:
        # one product; the parts are put side by side in memory
        packed = (
            linear(q, w, b)
            .unflatten(-1, (3, width))
            .unsqueeze(0)
            .transpose(0, -2)
            .squeeze(-2)
            .contiguous()
        )  # type: ignore[attr-defined]
        return [packed[0], packed[1], packed[2]]
    if k is v:
        w_q, w_kv = w.split([width, 2 * width])  # type: ignore[attr-defined]
        b_q, b_kv = (None, None) if b is None else b.split([width, 2 * width])  # type: ignore[attr-defined]
        pair = (
            linear(k, w_kv, b_kv)
            .unflatten(-1, (2, width))
            .unsqueeze(0)
            .transpose(0, -2)
            .squeeze(-2)
            .contiguous()
        )
        return [linear(q, w_q, b_q), pair[0], pair[1]]
    weights = w.chunk(3)  # type: ignore[attr-defined]
    biases = (None,) * 3 if b is None else b.chunk(3)  # type: ignore[attr-defined]
    return [linear(x, wx, bx) for x, wx, bx in zip((q, k, v), weights, biases, strict=True)]


@functional("_in_projection")
def _in_projection(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    b_q: Tensor | None = None,
    b_k: Tensor | None = None,
    b_v: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values projected with a weight each."""
    e, ek, ev = q.shape[-1], k.shape[-1], v.shape[-1]
    for name, w, shape in (("query", w_q, (e, e)), ("key", w_k, (e, ek)), ("value", w_v, (e, ev))):
        assert tuple(w.shape) == shape, (
            f"expecting {name} weights shape of {shape}, but got {w.shape}"
        )
    for name, b in (("query", b_q), ("key", b_k), ("value", b_v)):
        assert b is None or tuple(b.shape) == (e,), (
            f"expecting {name} bias shape of {(e,)}, but got {b.shape}"
        )
    linear = FUNCTIONAL["linear"]
    return linear(q, w_q, b_q), linear(k, w_k, b_k), linear(v, w_v, b_v)


@functional("_mha_shape_check")
def _mha_shape_check(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    num_heads: int,
) -> bool:
    """Whether the input is batched; AssertionError where the dims do not go together."""
    n = query.dim()
    if n not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {n}-D query tensor"
        )
    word = "batched" if n == 3 else "unbatched"
    dims = (key.dim(), value.dim())
    assert dims == (n, n), (
        f"For {word} ({n}-D) `query`, expected `key` and `value` to be {n}-D but found "
        f"{dims[0]}-D and {dims[1]}-D "
        "tensors respectively"
    )
    if key_padding_mask is not None:
        assert key_padding_mask.dim() == n - 1, (
            f"For {word} ({n}-D) `query`, expected `key_padding_mask` to be `None` or {n - 1}-D "
            "but found "
            f"{key_padding_mask.dim()}-D tensor instead"
        )
    if attn_mask is not None:
        assert attn_mask.dim() in (2, 3), (
            f"For {word} ({n}-D) `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found "
            f"{attn_mask.dim()}-D tensor instead"
        )
        if n == 2 and attn_mask.dim() == 3:
            expected = (num_heads, query.shape[0], key.shape[0])
            assert tuple(attn_mask.shape) == expected, (
                f"Expected `attn_mask` shape to be {expected} but got {attn_mask.shape}"
            )
    return n == 3


def _with_learned_keys(
    k: Tensor, v: Tensor, bias_k: Tensor | None, bias_v: Tensor | None, static: bool, masks: list
) -> tuple:
    """Keys and values with one learned row appended."""
    if bias_k is None or bias_v is None:
        assert bias_k is None and bias_v is None
        return k, v, masks
    assert not static, "bias cannot be added to static key."
    n = k.shape[1]
    k = TORCH["cat"]([k, bias_k.repeat(1, n, 1)])  # type: ignore[attr-defined]
    v = TORCH["cat"]([v, bias_v.repeat(1, n, 1)])  # type: ignore[attr-defined]
    return k, v, [_one_more(m) for m in masks]


def _one_more(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else FUNCTIONAL["pad"](mask, (0, 1))


def _split_heads(x: Tensor, rows: int, heads: int, width: int) -> Tensor:
    return x.contiguous().view(x.shape[0], rows, width).transpose(0, 1)  # type: ignore[attr-defined]


def _check_embedding(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    separate: bool,
) -> int:
    width = query.shape[-1]
    assert width == embed_dim_to_check, (
        f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}"
    )
    head = width // num_heads
    assert head * num_heads == width, f"embed_dim {width} not divisible by num_heads {num_heads}"
    if separate:
        assert key.shape[:2] == value.shape[:2], (
            f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}"
        )
    else:
        assert key.shape == value.shape, (
            f"key shape {key.shape} does not match value shape {value.shape}"
        )
    return head


def _attention_mask(
    mask: Tensor | None, length: int, source: int, batch: int, heads: int
) -> Tensor | None:
    if mask is None:
        return None
    expected = {2: (length, source), 3: (batch * heads, length, source)}.get(mask.dim())
    if expected is None:
        raise RuntimeError(f"attn_mask's dimension {mask.dim()} is not supported")
    if tuple(mask.shape) != expected:
        raise RuntimeError(
            f"The shape of the {mask.dim()}D attn_mask is {mask.shape}, but should be {expected}."
        )
    return mask.unsqueeze(0) if mask.dim() == 2 else mask  # type: ignore[attr-defined]


@functional("multi_head_attention_forward")
def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """What `nn.MultiheadAttention` does, its parameters as arguments: (result, weights or None).

    Shapes: query (L, N, E), key and value (S, N, ...), or all without N.
    """
    batched = _mha_shape_check(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        same_kv, same_qk = key is value, query is key
        query = query.unsqueeze(1)  # type: ignore[attr-defined]
        key = query if same_qk else key.unsqueeze(1)  # type: ignore[attr-defined]
        value = key if same_kv else value.unsqueeze(1)  # type: ignore[attr-defined]
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)  # type: ignore[attr-defined]
    length, batch, width = query.shape
    source = key.shape[0]
    key_padding_mask = _canonical_mask(
        key_padding_mask, "key_padding_mask", _none_or_dtype(attn_mask), "attn_mask", query.dtype
    )
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None  # the hint says all
    else:
        attn_mask = _canonical_mask(attn_mask, "attn_mask", None, "", query.dtype, False)
        if key_padding_mask is not None:
            is_causal = False
    head = _check_embedding(
        query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight
    )
    if use_separate_proj_weight:
        weights = {"q": q_proj_weight, "k": k_proj_weight, "v": v_proj_weight}
        for name, w in weights.items():
            assert w is not None, f"use_separate_proj_weight is True but {name}_proj_weight is None"
        biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)  # type: ignore[attr-defined]
        q, k, v = _in_projection(query, key, value, *weights.values(), *biases)  # type: ignore[arg-type]
    else:
        assert in_proj_weight is not None, (
            "use_separate_proj_weight is False but in_proj_weight is None"
        )
        q, k, v = _in_projection_packed(query, key, value, in_proj_weight, in_proj_bias)
    attn_mask = _attention_mask(attn_mask, length, source, batch, num_heads)
    k, v, (attn_mask, key_padding_mask) = _with_learned_keys(
        k,
        v,
        bias_k,
        bias_v,
        static_k is not None or static_v is not None,
        [attn_mask, key_padding_mask],
    )
    rows = batch * num_heads
    q = _split_heads(q, rows, num_heads, head)
    k = _static_or_split(static_k, k, rows, num_heads, head, "static_k")
    v = _static_or_split(static_v, v, rows, num_heads, head, "static_v")
    if add_zero_attn:
        zeros = TORCH["zeros"]((rows, 1, head), dtype=k.dtype, device=k.device)
        k, v = TORCH["cat"]([k, zeros], 1), TORCH["cat"]([v, zeros], 1)
        attn_mask, key_padding_mask = _one_more(attn_mask), _one_more(key_padding_mask)
    source = k.shape[1]
    attn_mask = _merged_mask(attn_mask, key_padding_mask, batch, num_heads, source)
    p = dropout_p if training else 0.0
    if need_weights:
        out, weights_ = _with_weights(q, k, v, attn_mask, p, head, is_causal)
    else:
        out, weights_ = _without_weights(q, k, v, attn_mask, p, is_causal, batch, num_heads), None
    out = out.transpose(0, 1).contiguous().view(length * batch, width) if need_weights else out  # type: ignore[attr-defined]
    out = FUNCTIONAL["linear"](out, out_proj_weight, out_proj_bias).view(length, batch, -1)
    if weights_ is not None:
        weights_ = weights_.view(batch, num_heads, length, source)
        weights_ = weights_.mean(1) if average_attn_weights else weights_
        weights_ = weights_ if batched else weights_.squeeze(0)
    return (out if batched else out.squeeze(1)), weights_


def _static_or_split(
    static: Tensor | None, x: Tensor, rows: int, heads: int, head: int, name: str
) -> Tensor:
    if static is None:
        return _split_heads(x, rows, heads, head)
    assert static.shape[0] == rows, f"expecting {name}.size(0) of {rows}, but got {static.shape[0]}"
    assert static.shape[2] == head, f"expecting {name}.size(2) of {head}, but got {static.shape[2]}"
    return static


def _merged_mask(
    mask: Tensor | None, padding: Tensor | None, batch: int, heads: int, source: int
) -> Tensor | None:
    if padding is None:
        return mask
    assert tuple(padding.shape) == (batch, source), (
        f"expecting key_padding_mask shape of {(batch, source)}, but got {padding.shape}"
    )
    padding = (
        padding.view(batch, 1, 1, source)
        .expand(-1, heads, -1, -1)
        .reshape(batch * heads, 1, source)
    )  # type: ignore[attr-defined]
    return padding if mask is None else mask + padding  # type: ignore[operator]


def _with_weights(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float, head: int, is_causal: bool
) -> tuple[Tensor, Tensor]:
    assert not (is_causal and mask is None), "FIXME: is_causal not implemented for need_weights"
    q = q * math.sqrt(1.0 / head)  # type: ignore[operator]
    keys = k.transpose(-2, -1)  # type: ignore[attr-defined]
    scores = TORCH["bmm"](q, keys) if mask is None else TORCH["baddbmm"](mask, q, keys)
    weights = scores.softmax(-1)
    if p > 0.0:
        weights = FUNCTIONAL["dropout"](weights, p)
    return TORCH["bmm"](weights, v), weights


def _without_weights(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    p: float,
    is_causal: bool,
    batch: int,
    heads: int,
) -> Tensor:
    """Through the fused operator; the result as rows (L * N, E)."""
    if mask is not None:
        mask = (
            mask.unsqueeze(0)
            if mask.shape[0] == 1 and mask.dim() == 3
            else mask.view(batch, heads, -1, k.shape[1])
        )  # type: ignore[attr-defined]
    q, k, v = (x.view(batch, heads, x.shape[1], x.shape[2]) for x in (q, k, v))  # type: ignore[attr-defined]
    out = FUNCTIONAL["scaled_dot_product_attention"](q, k, v, mask, p, is_causal)
    return out.permute(2, 0, 1, 3).contiguous().view(batch * q.shape[2], heads * v.shape[3])
