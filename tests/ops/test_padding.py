"""Padding put together from parts, against NumPy's."""

import numpy as np
import pytest

import facula as torch

_NUMPY = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("mode", _NUMPY)
@pytest.mark.parametrize("pad", [(2, 1), (0, 3, 1, 0), (2, 1, 0, 0), (1, 1, 2, 1, 0, 2)])
def test_mirrored_edges(mode, pad):
    k = len(pad) // 2
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6)[3 - k :] + (7,)).astype(np.float32)
    width = [(0, 0)] * (x.ndim - k) + [pad[2 * i : 2 * i + 2] for i in reversed(range(k))]
    got = torch.nn.functional.pad(torch.tensor(x).neg(), pad, mode)
    assert (got.numpy() == np.pad(-x, width, _NUMPY[mode])).all()


def test_mirrored_edges_that_cut_off_elsewhere():
    x = np.arange(2 * 30, dtype=np.float32).reshape(1, 1, 6, 10)
    got = torch.nn.functional.pad(torch.tensor(x), (2, 2, -1, -2), "reflect")
    assert (got.numpy() == np.pad(x[:, :, 1:-2], [(0, 0), (0, 0), (0, 0), (2, 2)], "reflect")).all()


@pytest.mark.parametrize("mode", _NUMPY)
def test_edges_of_nothing(mode):
    x = torch.ones(0, 3, 4)
    assert torch.nn.functional.pad(x, (1, 1), mode).shape == (0, 3, 6)


@pytest.mark.parametrize("value", [0.0, 2.5])
@pytest.mark.parametrize("pad", [(1, 2, 3, 4), (0, 0, 0, 5), (-1, 2, 3, -4)])
def test_large_results_with_constant_borders(pad, value):
    x = np.random.default_rng(0).normal(size=(3, 90, 110)).astype(np.float32)
    whole = np.pad(x, [(0, 0), (5, 5), (5, 5)], constant_values=value)
    want = whole[:, 5 - pad[2] : 95 + pad[3], 5 - pad[0] : 115 + pad[1]]
    t = torch.tensor(x, requires_grad=True)
    out = torch.nn.functional.pad(t, pad, value=value)
    assert (out.detach().numpy() == want).all()
    (out * 2).sum().backward()
    inside = np.zeros_like(x)
    inside[:, max(-pad[2], 0) : 90 + min(pad[3], 0), max(-pad[0], 0) : 110 + min(pad[1], 0)] = 2
    assert (t.grad.numpy() == inside).all()


def test_rows_of_few_elements():
    """Copies whose last dim is short go along the one before it."""
    x = np.arange(3 * 200, dtype=np.float32).reshape(3, 200)
    windows = torch.tensor(x).unfold(1, 3, 2).contiguous()
    assert (windows.numpy() == np.lib.stride_tricks.sliding_window_view(x, 3, 1)[:, ::2]).all()


@pytest.mark.parametrize("mode", ["constant", *_NUMPY])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "int64"])
def test_parts_in_memory_are_one_kernel(mode, dtype):
    """Wide and narrow borders, read straight, backwards, again and again, or not at all."""
    x = np.random.default_rng(0).integers(0, 99, (2, 3, 70, 90)).astype(dtype)
    pad = (20, 1, 2, 3)
    out = torch.nn.functional.pad(torch.tensor(x), pad, mode)
    assert len(torch.explain(out).kernels) == 1
    width = [(0, 0), (0, 0), (2, 3), (20, 1)]
    assert (out.numpy() == np.pad(x, width, _NUMPY.get(mode, "constant"))).all()


@pytest.mark.parametrize("mode", _NUMPY)
@pytest.mark.parametrize("pad", [(2, 1), (2, 0, 1, 3), (1, 1, 2, 1, 0, 2)])
def test_gradients_fold_the_border_back_in_one_kernel(mode, pad):
    k = len(pad) // 2
    shape = (2, 3, 5, 6)[3 - k :] + (7,)
    t = torch.zeros(shape, requires_grad=True)
    out = torch.nn.functional.pad(t, pad, mode)
    grad = np.random.default_rng(0).normal(size=tuple(out.shape)).astype(np.float32)
    (got,) = torch.autograd.grad(out, t, torch.tensor(grad))
    width = [(0, 0)] * (len(shape) - k) + [pad[2 * i : 2 * i + 2] for i in reversed(range(k))]
    place = np.pad(np.arange(got.numel()).reshape(shape), width, _NUMPY[mode])
    want = np.bincount(place.reshape(-1), grad.reshape(-1), got.numel()).reshape(shape)
    np.testing.assert_allclose(got.numpy(), want, atol=1e-5)
