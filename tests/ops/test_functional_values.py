"""nn.functional: values (some printed by PyTorch 2.13), states, names, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import facula as torch
from facula.nn import functional as F

X = [[-2.0, -0.5, 0.0, 0.5, 2.0]]

# printed by PyTorch with 6 digits
PRINTED = {
    "gelu": [-0.0455, -0.154269, 0.0, 0.345731, 1.9545],
    "silu": [-0.238406, -0.18877, 0.0, 0.31123, 1.761594],
    "mish": [-0.252501, -0.220744, 0.0, 0.375245, 1.943959],
    "selu": [-1.520167, -0.691758, 0.0, 0.525351, 2.101402],
    "hardswish": [-0.333333, -0.208333, 0.0, 0.291667, 1.666667],
    "softplus": [0.126928, 0.474077, 0.693147, 0.974077, 2.126928],
}


@pytest.mark.parametrize("name", PRINTED)
def test_activation_values(name):
    got = getattr(F, name)(torch.tensor(X)).numpy()[0]
    np.testing.assert_allclose(got, PRINTED[name], atol=1e-6)


def test_grad_fn_names():
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    w = torch.randn(3, 4, 3, 3)
    names = {
        "ConvolutionBackward0": F.conv2d(x, w),
        "NativeBatchNormBackward0": F.batch_norm(x, None, None, training=True),
        "MaxPool2DWithIndicesBackward0": F.max_pool2d(x, 2),
        "MulBackward0": F.dropout(x),
        "ScaledDotProductFlashAttentionForCpuBackward0": F.scaled_dot_product_attention(x, x, x),
        "UpsampleBilinear2DBackward0": F.interpolate(x, scale_factor=2, mode="bilinear"),
        "EluBackward0": F.selu(x),
        "HardtanhBackward0": F.relu6(x),
    }
    for name, out in names.items():
        assert out.grad_fn.name() == name


def test_dropout_draws_what_pytorch_draws():
    torch.manual_seed(0)
    # the mask that PyTorch draws after manual_seed(0)
    assert F.dropout(torch.ones(8), 0.5).tolist() == [0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0, 2.0]
    x = torch.ones(3)
    assert F.dropout(x, 0.5, training=False) is x


def test_in_place_keeps_what_the_derivative_needs():
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    y = x * 1
    assert F.silu(y, inplace=True) is y
    y.sum().backward()
    s = 1 / (1 + np.exp(-np.array([-1.0, 2.0])))
    np.testing.assert_allclose(x.grad.numpy(), s * (1 + np.array([-1.0, 2.0]) * (1 - s)), rtol=1e-6)


def test_batch_norm_updates_running_statistics():
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    mean, var = torch.zeros(2), torch.ones(2)
    F.batch_norm(x, mean, var, training=True, momentum=0.5)
    assert mean.tolist() == [1.0, 2.0]
    assert var.tolist() == [1.5, 4.5]  # (1 + unbiased variance) / 2
    assert mean._version == 0
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        F.batch_norm(x[:1], mean, var, training=True)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2), st.integers(1, 2)
)
def test_convolution_is_a_product_with_patches(kernel, stride, padding, dilation, groups):
    rng = np.random.RandomState(0)
    x = torch.tensor(rng.randn(2, 4, 7, 6))
    w = torch.tensor(rng.randn(6, 4 // groups, kernel, kernel))
    y = F.conv2d(x, w, None, stride, padding, dilation, groups)
    columns = F.unfold(x, kernel, dilation, padding, stride)
    columns = columns.reshape(2, groups, -1, columns.shape[-1])
    product = torch.matmul(w.reshape(groups, 6 // groups, -1), columns)
    np.testing.assert_allclose(y.reshape(product.reshape(2, 6, -1).shape).numpy(),
                               product.reshape(2, 6, -1).numpy(), rtol=1e-9, atol=1e-12)  # fmt: skip
    # the transposed convolution is the adjoint
    z = torch.tensor(rng.randn(*y.shape))
    extra = [(n + 2 * padding - dilation * (kernel - 1) - 1) % stride for n in (7, 6)]
    back = F.conv_transpose2d(z, w, None, stride, padding, extra, groups, dilation)
    np.testing.assert_allclose((back * x).sum().item(), (y * z).sum().item(), rtol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(0, 1))
def test_pooling_windows(kernel, stride, ceil, padding):
    padding = min(padding, kernel // 2)
    x = torch.tensor(np.random.RandomState(1).randn(1, 2, 8))
    top, index = F.max_pool1d(x, kernel, stride, padding, 1, ceil, True)
    assert (x.gather(2, index) == top).all()
    mean = F.avg_pool1d(x, kernel, stride, padding, ceil, False)
    assert mean.shape == top.shape
    assert (mean <= top + 1e-12).all()


def test_attention_of_masked_rows_is_zero():
    q = torch.randn(1, 1, 2, 4)
    mask = torch.tensor([[True, True], [False, False]])
    out = F.scaled_dot_product_attention(q, q, q, attn_mask=mask)
    assert out[0, 0, 1].tolist() == [0.0] * 4


def test_losses():
    logits, target = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0])
    got = F.binary_cross_entropy_with_logits(logits, target)
    assert math.isclose(got.item(), (math.log(2) + 2 + math.log1p(math.exp(-2))) / 2, rel_tol=1e-6)
    logp = torch.full((3, 1, 2), math.log(0.5))
    one = torch.tensor([1])
    # 3 steps of 2 equal classes: 6 of 8 paths collapse to the single label
    loss = F.ctc_loss(logp, one.reshape(1, 1), torch.tensor([3]), one, reduction="sum")
    assert math.isclose(loss.item(), -math.log(6 / 8), rel_tol=1e-6)


def test_errors_are_raised_where_written():
    x = torch.ones(2, 3, 4, 4)
    with pytest.raises(RuntimeError, match="to have 2 channels, but got 3 channels instead"):
        F.conv2d(x, torch.ones(1, 2, 3, 3))
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        F.conv2d(x, torch.ones(1, 3, 5, 5))
    with pytest.raises(RuntimeError, match="pad should be at most half"):
        F.max_pool2d(x, 2, padding=2)
    with pytest.raises(ValueError, match="Target size"):
        F.binary_cross_entropy_with_logits(x, x[:1])
    with pytest.raises(NotImplementedError, match="bilinear mode needs 4D input"):
        F.interpolate(x[0], scale_factor=2, mode="bilinear")


def test_logits_loss_has_the_dtype_of_its_target():
    x = torch.tensor([0.5, -1.0], requires_grad=True)
    for wide in (torch.float64, torch.float32):
        loss = F.binary_cross_entropy_with_logits(x, torch.ones(2, dtype=wide))
        assert loss.dtype is wide
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        assert slope.dtype is torch.float32
        assert torch.allclose(slope, (x.sigmoid() - 1) / 2)
        loss.backward()
    assert torch.allclose(x.grad, x.sigmoid() - 1)


@pytest.mark.parametrize("whole", [torch.bool, torch.float32])
def test_attention_that_is_masked_and_causal(whole):
    q = torch.randn(1, 2, 4, 8)
    hidden = torch.ones(4, 4, dtype=torch.bool)
    hidden[2, 0] = False
    given = hidden if whole is torch.bool else torch.zeros(4, 4).masked_fill(~hidden, -math.inf)
    got = F.scaled_dot_product_attention(q, q, q, given, is_causal=True)
    want = F.scaled_dot_product_attention(q, q, q, hidden.tril())
    assert torch.allclose(got, want)
    with pytest.raises(RuntimeError, match="should not be set when is_causal"):
        F.scaled_dot_product_attention(q[0], q[0], q[0], given, is_causal=True)


def test_blackman_window_begins_with_zero():
    assert torch.blackman_window(6, dtype=torch.float64)[0].item() == 0
