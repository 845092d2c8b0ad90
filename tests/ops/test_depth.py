"""Three-dimensional convolutions and pooling against their NumPy meaning, all native."""

import numpy as np
import pytest

import facula as torch
from facula.graph import reference_conv as reference

F = torch.nn.functional
CONVS = [  # kernel, stride, padding, dilation, groups
    ((3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1),
    ((3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1), 2),
    ((2, 3, 1), (1, 2, 1), (0, 1, 0), (1, 1, 1), 1),
    ((3, 1, 1), (3, 1, 2), (2, 0, 0), (2, 1, 1), 2),
]
POOLS = [  # kernel, stride, padding, ceil
    ((2, 2, 2), (2, 2, 2), (0, 0, 0), False),
    ((3, 3, 3), (2, 2, 2), (1, 1, 1), True),
    ((2, 3, 2), (1, 2, 2), (1, 1, 0), False),
]


def rand(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def close(got, want):
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-4, atol=2e-5 * np.abs(want).max())


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("case", CONVS)
def test_conv3d(case, rng):
    kernel, stride, padding, dilation, groups = case
    x, w, b = rand(rng, 2, 4, 7, 6, 5), rand(rng, 6, 4 // groups, *kernel), rand(rng, 6)
    arg = (stride, padding, dilation, groups)
    xt, wt, bt = (torch.tensor(a, requires_grad=True) for a in (x, w, b))
    y = F.conv3d(xt, wt, bt, stride, padding, dilation, groups)
    assert "(NumPy)" not in str(torch.explain(y))
    close(y.detach(), reference.conv(x, w, *arg) + b[:, None, None, None])
    g = rand(rng, *y.shape)
    y.backward(torch.tensor(g))
    close(xt.grad, reference.conv_input_grad(g, w, *arg, x.shape[2:]))
    close(wt.grad, reference.conv_weight_grad(g, x, *arg, kernel))
    close(bt.grad, g.sum((0, 2, 3, 4)))


def test_conv_transpose3d_with_output_padding(rng):
    x, w = rand(rng, 2, 4, 3, 4, 2), rand(rng, 4, 3, 3, 2, 3)
    stride, padding, extra = (2, 2, 3), (1, 0, 1), (1, 0, 2)
    y = F.conv_transpose3d(torch.tensor(x), torch.tensor(w), None, stride, padding, extra)
    arg = (stride, padding, (1, 1, 1), 1)
    close(y, reference.conv_input_grad(x, w, *arg, tuple(y.shape[2:])))


@pytest.mark.parametrize("case", POOLS)
def test_max_pool3d(case, rng):
    kernel, stride, padding, ceil = case
    x = np.round(rand(rng, 2, 3, 8, 7, 6) * 2)  # with equal numbers: the first wins
    x[0, 0, 2, 3, 1] = np.nan
    x[1, 2] = -np.inf
    values, index = F.max_pool3d(
        torch.tensor(x), kernel, stride, padding, ceil_mode=ceil, return_indices=True
    )
    assert "(NumPy)" not in str(torch.explain(values, index))
    want = reference.max_pool(x, kernel, stride, padding, (1, 1, 1), tuple(values.shape[2:]))
    np.testing.assert_array_equal(values.numpy(), want[0])
    np.testing.assert_array_equal(index.numpy(), want[1])


@pytest.mark.parametrize("count_pad", [True, False])
@pytest.mark.parametrize("case", POOLS)
def test_avg_pool3d(case, count_pad, rng):
    kernel, stride, padding, ceil = case
    x = torch.tensor(rand(rng, 2, 3, 8, 7, 6), requires_grad=True)
    y = F.avg_pool3d(x, kernel, stride, padding, ceil, count_pad)
    out, size = tuple(y.shape[2:]), tuple(x.shape[2:])
    tail = (count_pad, None)
    close(y.detach(), reference.avg_pool(x.detach().numpy(), kernel, stride, padding, out, *tail))
    g = rand(rng, *y.shape)
    y.backward(torch.tensor(g))
    close(x.grad, reference.avg_pool_backward(g, kernel, stride, padding, size, *tail))


def test_places_of_maxima_without_their_values(rng):
    x = rand(rng, 2, 3, 8, 6)
    index = F.max_pool2d(torch.tensor(x), 2, return_indices=True)[1]
    assert "(NumPy)" not in str(torch.explain(index))
    want = reference.max_pool(x, (2, 2), (2, 2), (0, 0), (1, 1), (4, 3))[1]
    np.testing.assert_array_equal(index.numpy(), want)


@pytest.mark.parametrize("window", [(2,), (3, 2, 1), (2, 3), (2, 2, 0, 2)])
def test_gradients_of_maxima_are_put_in_one_kernel(window):
    """Windows that meet, that do not, with gaps between them, and along one dim."""
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.permutation(2 * 3 * 24 * 37).reshape(2, 3, 24, 37).astype(np.float32))
    x.requires_grad_()
    y, index = torch.nn.functional.max_pool2d(x, *window, return_indices=True)
    grad = rng.integers(1, 9, tuple(y.shape)).astype(np.float32)
    (got,) = torch.autograd.grad(y, x, torch.tensor(grad))
    assert len(torch.explain(got).kernels) == 2  # with the forward pass
    places = index.numpy().reshape(6, -1)
    want = np.zeros((6, 24 * 37), np.float32)
    np.add.at(want, (np.arange(6)[:, None], places), grad.reshape(6, -1))
    assert (got.numpy() == want.reshape(x.shape)).all()
