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


@pytest.mark.parametrize("width", [6, 50, 300])
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_long_even_bags(mode, width):
    """They are added up in a step of their own, in stretches of columns of several widths."""
    rng = np.random.default_rng(2)
    index, table = rng.integers(0, 90, (3, 40)), rng.standard_normal((90, width)).astype(np.float32)
    weight = torch.tensor(table, requires_grad=True)
    y = F.embedding_bag(torch.tensor(index), weight, mode=mode)
    np.testing.assert_allclose(y.detach().numpy(), getattr(table[index], mode)(1), atol=1e-5)
    y.sum().backward()
    share = np.bincount(index.reshape(-1), minlength=90) / (40 if mode == "mean" else 1)
    np.testing.assert_allclose(weight.grad.numpy(), np.outer(share, np.ones(width)), atol=1e-5)


def test_even_bags_take_two_kernels():
    table, index = torch.rand(20, 8), torch.randint(0, 20, (4, 5))
    assert len(torch.explain(F.embedding_bag(index, table)).kernels) == 2


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize(
    "starts", [[0, 3, 3, 9], [0, 0, 12], [0, 5, 12, 12], [0]], ids=lambda s: "-".join(map(str, s))
)
def test_bags_of_any_size(mode, starts):
    """Empty bags are rows of zeros."""
    rng = np.random.default_rng(1)
    index = rng.integers(0, 8, 12)
    table = rng.standard_normal((8, 70)).astype(np.float32)
    y = F.embedding_bag(
        torch.tensor(index), torch.tensor(table), torch.tensor(starts), mode=mode
    ).numpy()
    ends = [*starts[1:], len(index)]
    for row, a, b in zip(y, starts, ends, strict=True):
        bag = table[index[a:b]]
        expected = getattr(bag, mode)(0) if b > a else np.zeros(70)
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_the_bag_of_each_index():
    index, table = torch.arange(6), torch.rand(6, 4)
    for starts, bags in [([0, 2, 2, 5], [0, 0, 2, 2, 2, 3]), ([0, 6], [0] * 6)]:
        offsets = torch.tensor(starts)
        assert torch.embedding_bag(table, index, offsets)[1].tolist() == bags


@pytest.mark.parametrize("width", [5, 16, 70])
def test_even_bags_of_wide_rows(width):
    """Rows are walked along: the picked row does not change within one."""
    rng = np.random.default_rng(2)
    index, table = rng.integers(0, 50, (9, 40)), rng.standard_normal((50, width))
    y = F.embedding_bag(torch.tensor(index), torch.tensor(table), mode="sum")
    np.testing.assert_allclose(y.numpy(), table[index].sum(1), atol=1e-12)
