"""Scaled dot product attention, one operator.

Templates (NumPy meaning and shapes in graph/reference_attention.py):
  sdpa(q, k, v[, mask]) -> out, logsumexp; arg (causal, scale);
  sdpa_backward(g, q, k, v, out, logsumexp[, mask]) -> gradients of q, k, v; arg (causal, scale).
"""

from __future__ import annotations

import math
from typing import Any

from facula.graph import dtypes as dt
from facula.graph import reference_attention  # noqa: F401  (makes the templates known)
from facula.graph.meta import Meta, broadcast_shapes, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.formula import recording
from facula.ops.pointwise import need_tensors, opmath, sum_to
from facula.ops.registry import FUNCTIONAL, TORCH, zeros_as
from facula.tensor import Tensor

Shape = tuple[int, ...]


def _lead(q: Any, k: Any, v: Any, repeat: int) -> Shape:
    """The leading dims of the result; keys and values have fewer heads where repeat > 1."""
    kv = [(*x.shape[:-3], x.shape[-3] * repeat) if x.ndim > 2 else () for x in (k, v)]
    return broadcast_shapes(q.shape[:-2], *kv)


def _four(lead: Shape) -> tuple[int, int]:
    """Leading dims as (batch, heads)."""
    if not lead:
        return 1, 1
    return math.prod(lead[:-1]), lead[-1]


def _heads(g: Any, x: Any, lead: Shape, repeat: int) -> Any:
    """x as (batch, heads, rows, width), with fewer heads where several of queries share one."""
    if repeat > 1:
        lead = (*lead[:-1], lead[-1] // repeat)
    x = g.expand(x, (*lead, *x.shape[-2:]))
    return g.reshape(x, (*_four(lead), *x.shape[-2:]))


def _mask4(g: Any, mask: Any, lead: Shape, w: Any) -> Any:
    """The mask with four dims, of size 1 where it is broadcast."""
    mask = mask if mask.dtype.kind == "b" else g.cast(mask, w)
    if mask.ndim > 4 or (len(lead) > 2 and mask.ndim > 2):
        rows = mask.shape[-2:]
        return g.reshape(g.expand(mask, (*lead, *rows)), (*_four(lead), *rows))
    return g.reshape(mask, ((1,) * (4 - mask.ndim) + mask.shape))


def _infer(q: Meta, k: Meta, v: Meta, *rest: Any) -> tuple[Meta, Meta]:
    repeat = rest[-1]
    lead = _lead(q, k, v, repeat)
    out = meta_of(q.dtype, (*lead, q.shape[-2], v.shape[-1]), q.device)
    return out, meta_of(opmath(q.dtype), (*_four(lead), q.shape[-2]), q.device)


def _expand(g: Any, q: Any, k: Any, v: Any, *rest: Any) -> Any:
    *mask, causal, scale, repeat = rest
    w, lead = opmath(q.dtype), _lead(q, k, v, repeat)
    rows, width = q.shape[-2], v.shape[-1]
    four = _four(lead)
    if not math.prod((*four, rows, width)) or not k.shape[-2]:
        return g.const(0, q.dtype, (*lead, rows, width)), g.const(0, w, (*four, rows))
    operands = [_heads(g, g.cast(x, w), lead, r) for x, r in ((q, 1), (k, repeat), (v, repeat))]
    operands += [_mask4(g, m, lead, w) for m in mask]
    out, lse = g.template(
        "sdpa", [(w, (*four, rows, width)), (w, (*four, rows))], operands, (causal, scale)
    )
    return g.cast(g.reshape(out, (*lead, rows, width)), q.dtype), lse


def _backward(n: Any, g: Tensor, _: Any = None) -> tuple:
    causal, scale, repeat = n.params
    q, k, v, *mask = (n.tensor(i) for i in range(len(n.inst.ins)))
    none = (None,) * len(mask)
    if recording():
        return (
            *_composed_backward(
                g, q, k, v, mask[0] if mask else None, causal, scale, repeat, n.inst.ins
            ),
            *none,
        )
    out, lse = n.tensor(-2).detach(), n.tensor(-1).detach()
    return (*apply(SDPA_BACKWARD, (g, q, k, v, out, lse, *mask), n.params), *none)


def _back_infer(g: Meta, q: Meta, k: Meta, v: Meta, *_: Any) -> tuple:
    return q.plain(), k.plain(), v.plain()


def _back_expand(g: Any, grad: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, *rest: Any) -> Any:
    *mask, causal, scale, repeat = rest
    w, lead = opmath(q.dtype), _lead(q, k, v, repeat)
    four = _four(lead)
    if not grad.numel or not k.shape[-2]:
        return tuple(g.const(0, x.dtype, x.shape) for x in (q, k, v))
    parts = ((grad, 1), (q, 1), (k, repeat), (v, repeat), (out, 1))
    operands = [_heads(g, g.cast(x, w), lead, r) for x, r in parts]
    operands += [lse] + [_mask4(g, m, lead, w) for m in mask]
    shared = (four[0], four[1] // repeat)
    outs = [(w, (*lead4, *x.shape[-2:])) for lead4, x in ((four, q), (shared, k), (shared, v))]
    grads = g.template("sdpa_backward", outs, operands, (causal, scale))
    return [
        _gathered(g, y, x, lead, r)
        for y, x, r in zip(grads, (q, k, v), (1, repeat, repeat), strict=True)
    ]


def _gathered(g: Any, y: Any, x: Any, lead: Shape, repeat: int) -> Any:
    """A gradient (batch, heads, ...) summed to x's shape."""
    if repeat > 1:
        lead = (*lead[:-1], lead[-1] // repeat)
    y = g.reshape(y, (*lead, *x.shape[-2:]))
    extra = y.ndim - x.ndim
    if extra:
        y = g.reduce("sum", y, tuple(range(extra)), keepdim=False)
    wide = tuple(i for i in range(x.ndim) if x.shape[i] == 1 and y.shape[i] != 1)
    return g.cast(g.reduce("sum", y, wide) if wide else y, x.dtype)


def _repeated(x: Tensor, repeat: int) -> Tensor:
    if repeat == 1:
        return x
    s = tuple(x.meta.shape)
    wide = x.unsqueeze(-3).expand(*s[:-2], repeat, *s[-2:])  # type: ignore[attr-defined]
    return wide.reshape(*s[:-3], s[-3] * repeat, *s[-2:])


def attention_weights(
    q: Tensor, k: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> Tensor:
    """softmax of the scores, 0 for a query that sees no key."""
    s = TORCH["matmul"](q * scale, k.transpose(-2, -1))  # type: ignore[attr-defined, operator]
    low = TORCH["full"]((), -math.inf, dtype=s.meta.dtype, device=s.meta.device)
    if causal:
        rows, columns = (TORCH["arange"](n, device=s.meta.device) for n in s.meta.shape[-2:])
        s = TORCH["where"](rows.unsqueeze(1) >= columns, s, low)
    if mask is not None:
        s = TORCH["where"](mask, s, low) if mask.meta.dtype is dt.bool_ else s + mask
    p = s.softmax(-1)
    if causal or mask is not None:
        p = TORCH["where"](
            (s == low).all(-1, keepdim=True),
            zeros_as(p, ()),
            p,
        )
    return p


def _composed_backward(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    causal: bool,
    scale: float,
    repeat: int,
    ins: tuple,
) -> tuple:
    """The derivative in public operators, for derivatives of it."""
    matmul = TORCH["matmul"]
    k2, v2 = _repeated(k, repeat), _repeated(v, repeat)
    p = attention_weights(q, k2, mask, causal, scale)
    dp = matmul(g, v2.transpose(-2, -1))  # type: ignore[attr-defined]
    ds = p * (dp - (p * dp).sum(-1, keepdim=True)) * scale
    grads = [matmul(ds, k2), matmul(ds.transpose(-2, -1), q), matmul(p.transpose(-2, -1), g)]
    for i in (1, 2) if repeat > 1 else ():
        y = grads[i]
        s = tuple(y.meta.shape)
        grads[i] = y.reshape(*s[:-3], s[-3] // repeat, repeat, *s[-2:]).sum(-3)
    return tuple(sum_to(y, m) for y, m in zip(grads, ins[:3], strict=True))


def _op(masked: bool, grad_name: str) -> Op:
    saves = "0 1 2 3 out0 out1" if masked else "0 1 2 out0 out1"
    return Op(
        "scaled_dot_product_attention",
        _infer,
        _expand,
        _backward,
        saves=saves,
        grad_name=grad_name,
        materialize=False,
    )


# the name tells which of PyTorch's CPU kernels would have run
SDPA = {
    (masked, flash): _op(
        masked, "ScaledDotProductFlashAttentionForCpuBackward0" if flash else "UnsafeViewBackward0"
    )
    for masked in (False, True)
    for flash in (False, True)
}
SDPA_BACKWARD = Op("scaled_dot_product_attention_backward", _back_infer, _back_expand)


def _check(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, gqa: bool) -> int:
    need_tensors("scaled_dot_product_attention", query=q, key=k, value=v)
    a, b, c = q.meta, k.meta, v.meta
    if not a.dtype is b.dtype is c.dtype:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{_c(a)} key.dtype: {_c(b)} and value.dtype: {_c(c)} instead."
        )
    if min(a.ndim, b.ndim, c.ndim) < 2:
        raise RuntimeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
            f"{a.ndim} key.dim: {b.ndim} and value.dim: {c.ndim} instead."
        )
    if mask is not None:
        if mask.meta.dtype is not dt.bool_ and mask.meta.dtype.kind != "f":
            raise RuntimeError(
                "Expected attn_mask dtype to be bool or float or to match query dtype, but got "
                "attn_mask.dtype: "
                f"{_c(mask.meta)} and  query.dtype: {_c(a)} instead."
            )
    _check_sizes(a, b, c, None if mask is None else mask.meta)
    if not gqa:
        return 1
    heads = [m.shape[-3] if m.ndim > 2 else 1 for m in (a, b, c)]
    if heads[1] != heads[2] or heads[0] % heads[1]:
        raise RuntimeError(
            "Number of heads in key and value must divide the number of heads in query, but got "
            f"{heads[0]}, {heads[1]}, {heads[2]}"
        )
    return heads[0] // heads[1]


def _causal(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, composed: bool) -> Tensor:
    """A mask that also hides later keys: PyTorch's CPU kernel takes both, its other ways do not."""
    if q.meta.numel and (composed or not q.meta.ndim == k.meta.ndim == v.meta.ndim == 4):
        raise RuntimeError(
            "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
        )
    rows, columns = (TORCH["arange"](x.meta.shape[-2], device=q.meta.device) for x in (q, k))
    seen = rows.unsqueeze(1) >= columns
    if mask.meta.dtype is dt.bool_:
        return mask & seen  # type: ignore[operator]
    low = TORCH["full"]((), -math.inf, dtype=mask.meta.dtype, device=q.meta.device)
    return TORCH["where"](seen, mask, low)


def _check_sizes(q: Meta, k: Meta, v: Meta, mask: Meta | None) -> None:
    """The products' and the mask's sizes, in the words of PyTorch's products of stacks."""
    lead = math.prod(q.shape[:-2])
    for left, right in (
        ((lead, q.shape[-1]), (lead, k.shape[-1])),
        ((lead, k.shape[-2]), (lead, v.shape[-2])),
    ):
        if left != right:
            raise RuntimeError(
                "Expected size for first two dimensions of batch2 tensor to be: "
                f"{list(left)} but got: {list(right)}."
            )
    if mask is not None:
        broadcast_shapes((*q.shape[:-1], k.shape[-2]), mask.shape)


def _c(m: Meta) -> str:
    from facula.ops.matmul import c_name

    return c_name(m.dtype)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value.

    Shapes: query (..., L, E), key (..., S, E), value (..., S, Ev) -> (..., L, Ev). A bool mask is
    true where a key counts; enable_gqa lets several heads of queries share one of keys and values.
    Source: Vaswani et al., "Attention is all you need", 2017.

    >>> import facula as torch
    >>> q = torch.ones(2, 4, 5, 8)
    >>> torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True).shape
    torch.Size([2, 4, 5, 8])
    """
    repeat = _check(query, key, value, attn_mask, enable_gqa)
    width = query.meta.shape[-1]
    factor = float(scale) if scale is not None else 1.0 / math.sqrt(width) if width else math.nan
    learned = attn_mask is not None and attn_mask._rg and recording()
    if is_causal and attn_mask is not None:
        attn_mask = _causal(query, key, value, attn_mask, learned or dropout_p > 0)
        is_causal = False
    if dropout_p > 0 or learned or query.meta.dtype.kind == "c":
        p = attention_weights(query, _repeated(key, repeat), attn_mask, is_causal, factor)
        if dropout_p > 0:
            p = FUNCTIONAL["dropout"](p, dropout_p)
        return TORCH["matmul"](p, _repeated(value, repeat))
    operands = [query, key, value] + ([] if attn_mask is None else [attn_mask])
    flash = all(t.meta.ndim == 4 for t in operands[:3])
    op = SDPA[attn_mask is not None, flash]
    return apply(op, operands, (bool(is_causal), factor, repeat))[0]


FUNCTIONAL["scaled_dot_product_attention"] = scaled_dot_product_attention
