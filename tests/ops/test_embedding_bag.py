"""Bags of equal size are a sum along a dim; bags with offsets say the same of the same bags."""

import numpy as np
import pytest

import facula as torch

F = torch.nn.functional


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("shape", [(5, 4), (1, 7), (3, 1)])
def test_even_bags(mode, padding, shape):
    rng = np.random.default_rng(0)
    index = rng.integers(0, 8, shape)
    table = rng.standard_normal((8, 6)).astype(np.float32)
    got = []
    for even in (True, False):
        weight = torch.tensor(table, requires_grad=True)
        offsets = None if even else torch.arange(0, index.size, shape[1])
        flat = torch.tensor(index if even else index.reshape(-1))
        y = F.embedding_bag(flat, weight, offsets, mode=mode, padding_idx=padding)
        (y * y).sum().backward()
        got.append((y.detach().numpy(), weight.grad.numpy()))
    for a, b in zip(*got, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    if mode == "sum":
        rows = table[index] * (index != padding)[:, :, None]
        np.testing.assert_allclose(got[0][0], rows.sum(1), atol=1e-5)


def test_even_bags_take_two_kernels():
    table, index = torch.rand(20, 8), torch.randint(0, 20, (4, 5))
    assert len(torch.explain(F.embedding_bag(index, table)).kernels) == 2
