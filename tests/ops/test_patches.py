"""Windows side by side: the input's gradient and the transposed convolution are one product."""

import numpy as np
import pytest

import facula as torch
from facula.nn import functional as F

_RNG = np.random.default_rng(0)
CASES = [((2, 3, 35, 49), (16, 16)), ((2, 3, 32, 32), (4, 4)), ((3, 2, 70), (16,)), ((2, 4, 8, 24), (2, 8)),
         ((2, 3, 9, 8, 8), (4, 4, 4))]  # fmt: skip


def _rows(x, kernel):
    """(N, C, H, W) -> (N, C, rows, H of a window, columns, W of a window), without what is left over."""
    cut = x[(..., *(slice(0, n // k * k) for n, k in zip(x.shape[2:], kernel, strict=True)))]
    pairs = [m for n, k in zip(cut.shape[2:], kernel, strict=True) for m in (n // k, k)]
    return cut.reshape(*x.shape[:2], *pairs)


@pytest.mark.parametrize(("shape", "kernel"), CASES)
def test_values_and_gradients(shape, kernel):
    a, w = _RNG.normal(size=shape), _RNG.normal(size=(5, shape[1], *kernel))
    x, weight = torch.tensor(a, requires_grad=True), torch.tensor(w, requires_grad=True)
    k = len(kernel)
    y = getattr(F, f"conv{k}d")(x, weight, stride=kernel)
    seen, taps = "HWD"[:k], "hwd"[:k]
    window = "nc" + "".join(a + b for a, b in zip(seen, taps, strict=True))
    want = np.einsum(f"{window},oc{taps}->no{seen}", _rows(a, kernel), w)
    np.testing.assert_allclose(y.detach().numpy(), want, rtol=1e-10, atol=1e-12)
    gx, gw = torch.autograd.grad(y, (x, weight), torch.tensor(want))
    by_hand = np.zeros(shape)
    spread = np.einsum(f"no{seen},oc{taps}->{window}", want, w)
    full = [n // k * k for n, k in zip(shape[2:], kernel, strict=True)]
    by_hand[(..., *(slice(0, n) for n in full))] = spread.reshape(*shape[:2], *full)
    np.testing.assert_allclose(gx.numpy(), by_hand, rtol=1e-10, atol=1e-12)
    by_hand = np.einsum(f"no{seen},{window}->oc{taps}", want, _rows(a, kernel))
    np.testing.assert_allclose(gw.numpy(), by_hand, rtol=1e-10, atol=1e-10)


def test_transposed():
    a, w = _RNG.normal(size=(2, 6, 5, 3)), _RNG.normal(size=(6, 4, 4, 4))
    bias = _RNG.normal(size=4)
    got = F.conv_transpose2d(*map(torch.tensor, (a, w, bias)), stride=4, output_padding=1)
    want = np.zeros((2, 4, 21, 13))
    want[:, :, :20, :12] = np.einsum("noHW,ochw->ncHhWw", a, w).reshape(2, 4, 20, 12)
    np.testing.assert_allclose(got.numpy(), want + bias[:, None, None], rtol=1e-10)


def test_the_gradient_is_a_product():
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    y = F.conv2d(x, torch.rand(8, 3, 8, 8), stride=8)
    (got,) = torch.autograd.grad(y, x, torch.rand(2, 8, 4, 4))
    kernels = [str(kernel) for kernel in torch.explain(got).kernels]
    assert len(kernels) == 2 and "matmul" in kernels[0]


@pytest.mark.parametrize(
    ("x", "w", "product"),
    [((1, 512, 8, 8), (512, 3, 2, 2), True), ((1, 8, 32, 32), (8, 64, 2, 2), False),
     ((2, 8, 4, 4), (8, 64, 16, 16), True)],
)  # fmt: skip
def test_what_has_to_be_copied_or_moved_decides(x, w, product):
    """A gradient with many channels is copied for each tap, many results of short runs are moved."""
    got = F.conv_transpose2d(torch.rand(*x), torch.rand(*w), stride=w[2])
    assert any("matmul" in str(kernel) for kernel in torch.explain(got).kernels) == product


def test_patches_with_long_rows_are_a_product():
    y = F.conv2d(torch.rand(2, 3, 35, 32), torch.rand(8, 3, 8, 8), stride=8)
    assert any("matmul" in str(kernel) for kernel in torch.explain(y).kernels)
