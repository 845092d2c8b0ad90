"""The NumPy meaning of attention: what its native kernels must give.

Queries are (B, H, L, E), keys (B, G, S, E), values (B, G, S, Ev), where H / G heads of queries
share one of keys and values; a mask is (B | 1, H | 1, L | 1,
S | 1): bool, true where a key counts, or numbers that are added to the scores. With `causal` query
i sees keys 0 .. i. A query that sees no key gives 0.
"""

from __future__ import annotations

import numpy as np

from facula.graph.reference import TEMPLATES

Array = np.ndarray


def _scores(q: Array, k: Array, mask: Array | None, causal: bool, scale: float) -> Array:
    s = np.matmul(q, k.swapaxes(-1, -2)) * q.dtype.type(scale)
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype.kind == "b" else s + mask
    if causal:
        s = np.where(np.tri(*s.shape[-2:], dtype=np.bool_), s, -np.inf)
    return s.astype(q.dtype)


def _shared(x: Array, q: Array) -> Array:
    """Keys or values, once for each head of queries."""
    repeat = q.shape[1] // x.shape[1]
    return np.repeat(x, repeat, 1) if repeat > 1 else x


def _gathered(d: Array, x: Array) -> Array:
    """The sum of what the heads of queries say of a shared one."""
    if d.shape[1] == x.shape[1]:
        return d
    return d.reshape(*x.shape[:2], -1, *d.shape[2:]).sum(2)


def sdpa(q: Array, k: Array, v: Array, *rest: object) -> list[Array]:
    """Result (B, H, L, Ev) and the logarithm of each row's sum of exponentials (B, H, L)."""
    *mask, causal, scale = rest
    k, v = _shared(k, q), _shared(v, q)
    s = _scores(q, k, mask[0] if mask else None, causal, scale)  # type: ignore[arg-type]
    top = s.max(-1, keepdims=True)
    e = np.exp(s - np.where(np.isneginf(top), 0, top))
    total = e.sum(-1, keepdims=True)
    p = e / np.where(total == 0, 1, total)
    lse = np.where(total == 0, -np.inf, np.log(total) + top)[..., 0]
    return [np.matmul(p, v), lse]


def sdpa_backward(
    g: Array, q: Array, k: Array, v: Array, out: Array, lse: Array, *rest: object
) -> list[Array]:
    """Gradients of queries, keys and values for the gradient g of the result."""
    *mask, causal, scale = rest
    few = k, v
    k, v = _shared(k, q), _shared(v, q)
    s = _scores(q, k, mask[0] if mask else None, causal, scale)  # type: ignore[arg-type]
    empty = np.isneginf(lse)[..., None]
    p = np.where(empty, 0, np.exp(s - np.where(empty, 0, lse[..., None])))
    dp = np.matmul(g, v.swapaxes(-1, -2))
    # the sum is also that of g * out, which a kernel that sees the keys in parts will take
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) * q.dtype.type(scale)  # type: ignore[arg-type]
    dk, dv = np.matmul(ds.swapaxes(-1, -2), q), np.matmul(p.swapaxes(-1, -2), g)
    return [np.matmul(ds, k), _gathered(dk, few[0]), _gathered(dv, few[1])]


TEMPLATES["sdpa"] = sdpa
TEMPLATES["sdpa_backward"] = sdpa_backward
