"""Attention and its gradients run natively and do what NumPy says."""

import numpy as np
import pytest
from graphs import compare

from facula.graph import reference_attention  # noqa: F401


def both(g, causal, q, k, v, d, *mask):
    """The result, its logarithms, and the gradients."""
    four = q.shape[:3]
    outs = [(q.dtype, (*four, v.shape[3])), (q.dtype, four)]
    out, lse = g.template("sdpa", outs, (q, k, v, *mask), (causal, 0.3))
    outs = [(x.dtype, x.shape) for x in (q, k, v)]
    grads = g.template("sdpa_backward", outs, (d, q, k, v, out, lse, *mask), (causal, 0.3))
    return [out, lse, *grads]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, (5, 9), (1, 9)])
def test_attention(causal, mask):
    """With and without a mask, rows that lie otherwise."""
    rng = np.random.default_rng(0)
    q, k, v, d = (rng.standard_normal((2, 3, n, 8)).astype(np.float32) for n in (5, 9, 9, 5))
    masks = []
    if mask:
        masks = [rng.random((2, 1, *mask)) > 0.3]
        masks[0][..., 0] = True
    compare(lambda g, *xs: both(g, causal, *xs), q, k, v, d, *masks, tolerance=2e-5)
    swapped = [np.ascontiguousarray(x.transpose(0, 2, 1, 3)) for x in (q, k, v, d)]

    def other(g, q, k, v, d, *m):
        return both(g, causal, *[g.permute(x, (0, 2, 1, 3)) for x in (q, k, v, d)], *m)[2:]

    added = [np.where(m, 0.0, -1.5).astype(np.float32) for m in masks]
    compare(other, *swapped, *added, tolerance=2e-5)
