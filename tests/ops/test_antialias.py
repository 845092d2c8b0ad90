"""Antialiased resizing against the filter written out as a matrix: as wide as the step, sums of one."""

import numpy as np
import pytest

import facula as torch
from facula.nn import functional as F


def _filter(n, out):
    """(out, n) weights of a triangle around the middle of each element of the result."""
    step = n / out
    wide = max(step, 1.0)
    center = (np.arange(out)[:, None] + 0.5) * step
    place = np.arange(n)[None]
    w = np.maximum(1 - np.abs((place - center + 0.5) / wide), 0)
    low, high = np.trunc(np.maximum(center - wide + 0.5, 0)), np.trunc(center + wide + 0.5)
    w = np.where((place >= low) & (place < high), w, 0)
    return w / w.sum(1, keepdims=True)


# few elements under the filter in both dims, in one of them, in none; enlarging
SIZES = [((256, 250), (224, 200)), ((100, 40), (60, 9)), ((30, 24), (4, 5)), ((20, 300), (33, 301))]


@pytest.mark.parametrize(("size", "out"), SIZES)
def test_values_and_gradient(size, out):
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.standard_normal((2, *size)), requires_grad=True)
    y = F.interpolate(x[None], out, mode="bilinear", antialias=True)[0]
    rows, columns = _filter(size[0], out[0]), _filter(size[1], out[1])
    want = rows @ x.detach().numpy() @ columns.T
    np.testing.assert_allclose(y.detach().numpy(), want, rtol=1e-6, atol=1e-9)
    g = rng.standard_normal((2, *out))
    y.backward(torch.tensor(g))
    np.testing.assert_allclose(x.grad.numpy(), rows.T @ g @ columns, rtol=1e-6, atol=1e-9)


def test_few_elements_are_picked():
    """Without a product with a matrix of weights, most of which are zero."""
    y = F.interpolate(torch.rand(1, 3, 256, 256), (224, 224), mode="bilinear", antialias=True)
    assert not any("matmul" in str(kernel) for kernel in torch.explain(y).kernels)
