"""Attention and its gradients against NumPy in float64."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import native

from facula.kernel.attention import Attention, Mask, Rows, plan_attention, plan_attention_gradient

CASES = [
    # heads, repeat, t, s, d, causal, mask
    (3, 1, 70, 70, 64, True, ""),
    (4, 2, 33, 150, 20, False, ""),
    (2, 1, 200, 131, 40, False, "full"),
    (2, 2, 5, 90, 72, False, "keys"),
    (1, 1, 1, 77, 16, False, "turned"),
    # causality ends inside a block of keys; rows that are not whole registers; more queries than keys
    (2, 1, 150, 150, 40, True, ""),
    (4, 2, 130, 130, 32, True, "full"),
    (2, 1, 100, 70, 24, True, ""),
    # whole tiles of a row's numbers, several blocks; two tiles
    (2, 1, 200, 200, 64, True, ""),
    (1, 1, 140, 140, 128, True, "full"),
    # few queries: the kernel of a step of decoding
    (3, 1, 1, 130, 64, False, ""),
    (6, 3, 2, 65, 100, False, "full"),
    (2, 1, 1, 77, 67, False, "turned"),
    (4, 2, 3, 90, 128, True, ""),
    (2, 2, 1, 70, 72, False, "keys"),
]


def rows(slot, x):
    return Rows(slot, tuple(s // x.itemsize for s in x.strides[:3]))


def reference(q, k, v, scale, causal, mask, dout):
    q, k, v, dout = (x.astype(np.float64) for x in (q, k, v, dout))
    repeat = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, repeat, 1), np.repeat(v, repeat, 1)
    s = scale * q @ k.swapaxes(-1, -2) + mask
    if causal:
        s = np.where(np.tril(np.ones(s.shape[-2:], bool)), s, -np.inf)
    top = s.max(-1, keepdims=True)
    top = np.where(np.isinf(top), 0, top)
    e = np.exp(s - top)
    total = e.sum(-1, keepdims=True)
    p = np.divide(e, total, out=np.zeros_like(e), where=total > 0)
    out = p @ v
    ds = p * (dout @ v.swapaxes(-1, -2) - (dout * out).sum(-1, keepdims=True)) * scale

    def shared(x):
        return x.reshape(x.shape[0], -1, repeat, *x.shape[2:]).sum(2)

    dk, dv = shared(ds.swapaxes(-1, -2) @ q), shared(p.swapaxes(-1, -2) @ dout)
    with np.errstate(divide="ignore"):
        lse = (top + np.log(total))[..., 0]
    return out, lse, ds @ k, dk, dv


def make_mask(kind, b, h, t, s, rng):
    if not kind:
        return np.zeros((1, 1, 1, 1), np.float32)
    if kind == "keys":
        mask = np.zeros((b, 1, 1, s), np.float32)
        mask[..., s // 2 :] = -np.inf
        return mask
    mask = rng.standard_normal((b, h, t, s)).astype(np.float32)
    if kind == "turned":
        return np.ascontiguousarray(mask.swapaxes(-1, -2)).swapaxes(-1, -2)
    mask[0, 0, min(3, t - 1)] = -np.inf  # a row that sees nothing
    return mask


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_attention(case, rng):
    heads, repeat, t, s, d, causal, kind = case
    b, scale = 2, d**-0.5

    def random(h, n):  # (B, T, H, D) in memory
        return rng.standard_normal((b, n, h, d)).astype(np.float32).transpose(0, 2, 1, 3)

    q, dout = random(heads, t), random(heads, t)
    k, v = random(heads // repeat, s), random(heads // repeat, s)
    mask = make_mask(kind, b, heads, t, s, rng)
    wants = reference(q, k, v, scale, causal, mask, dout)
    grads = [np.full(x.shape, np.nan, np.float32) for x in (q, k, v)]
    out, lse = np.full(q.shape, np.nan, np.float32), np.zeros((b, heads, t), np.float32)
    a = Attention(b, heads, t, s, d, scale, causal, repeat)
    wide = np.broadcast_to(mask, (b, heads, t, s))
    given = Mask(5, tuple(x // 4 for x in wide.strides)) if kind else None
    inputs = [rows(i, x) for i, x in enumerate((q, k, v))]
    results = []
    for chunk in (None, 1):
        plan = plan_attention(a, *inputs, rows(3, out), Rows(4, (heads * t, t, 1)), given)
        native.run(plan, [q, k, v, out, lse, mask], chunk=chunk)
        back = plan_attention_gradient(
            *(a, *inputs, rows(3, out), Rows(4, (heads * t, t, 1)), rows(6, dout)),
            *(rows(7 + i, g) for i, g in enumerate(grads)),
            *(10, given),
        )
        work = native.aligned(back.workspace_bytes + 64)
        native.run(back.steps, [q, k, v, out, lse, mask, dout, *grads, work], chunk=chunk)
        results.append([x.copy() for x in (out, lse, *grads)])
    for got, want in zip(results[0], wants, strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5, rtol=2e-5)
    for one, other in zip(*results, strict=True):
        assert np.array_equal(one, other)


def test_scores_far_apart(rng):
    """What an exponential leaves below the normal numbers is nothing, as are keys that are masked."""
    t, d = 70, 16
    q, k, v = (rng.standard_normal((1, 1, t, d)).astype(np.float32) for _ in range(3))
    q *= 100
    out, lse = np.full(q.shape, np.nan, np.float32), np.zeros((1, 1, t), np.float32)
    a = Attention(1, 1, t, t, d, 1.0, True)
    plan = plan_attention(
        a, *(rows(i, x) for i, x in enumerate((q, k, v))), rows(3, out), Rows(4, (t, t, 1))
    )
    native.run(plan, [q, k, v, out, lse, lse])
    want, *_ = reference(q, k, v, 1.0, True, np.zeros((1, 1, t, t), np.float32), out)
    np.testing.assert_allclose(out, want, atol=1e-3, rtol=1e-3)
    assert np.array_equal(out[0, 0, 0], v[0, 0, 0])
