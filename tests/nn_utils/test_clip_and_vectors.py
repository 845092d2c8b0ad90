"""Gradient clipping, parameters as vectors, skip_init, fusion."""

import pytest

import facula
from facula import nn
from facula.nn import utils


def with_grads():
    a, b, unused = (nn.Parameter(facula.ones(n)) for n in (3, 2, 1))
    a.grad = facula.tensor([3.0, 4.0, 0.0])
    b.grad = facula.tensor([12.0, 0.0])
    return a, b, unused


@pytest.mark.parametrize(
    "norm_type, norm", [(2.0, 13.0), (1.0, 19.0), (float("inf"), 12.0), (3.0, 12.20706)]
)
def test_clip_grad_norm(norm_type, norm):
    a, b, unused = parameters = with_grads()
    total = utils.clip_grad_norm_(parameters, 6.5, norm_type)
    assert total.item() == pytest.approx(norm, rel=1e-5)
    assert a.grad.tolist() == pytest.approx([3 * 6.5 / norm, 4 * 6.5 / norm, 0], rel=1e-5)
    assert b.grad[0].item() == pytest.approx(12 * 6.5 / norm, rel=1e-5) and unused.grad is None


def test_small_gradients_are_left_alone():
    a, b, _ = parameters = with_grads()
    utils.clip_grad_norm_(iter(parameters), 100.0)
    assert a.grad.tolist() == [3, 4, 0] and b.grad.tolist() == [12, 0]


def test_no_gradients_and_infinite_ones():
    assert utils.clip_grad_norm_([], 1.0).item() == 0.0
    with pytest.warns(UserWarning, match="empty generator"):
        utils.clip_grad_norm_((p for p in ()), 1.0)
    p = nn.Parameter(facula.ones(1))
    p.grad = facula.tensor([float("inf")])
    with pytest.raises(RuntimeError, match="is non-finite, so it cannot be clipped"):
        utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    with pytest.warns(FutureWarning, match="is now deprecated"):
        utils.clip_grad_norm(p, 1.0)


def test_clip_grad_value():
    a, b, _ = parameters = with_grads()
    a.grad.neg_()
    utils.clip_grad_value_(parameters, 3.5)
    assert a.grad.tolist() == [-3, -3.5, 0] and b.grad.tolist() == [3.5, 0]


def test_total_norm_in_two_steps():
    a, b, _ = with_grads()
    total = utils.get_total_norm([a.grad, b.grad])
    utils.clip_grads_with_norm_([a, b], 1.3, total)
    assert b.grad[0].item() == pytest.approx(1.2, rel=1e-5)


def test_parameters_to_vector_and_back():
    layer = nn.Linear(3, 2)
    vector = utils.parameters_to_vector(layer.parameters())
    assert tuple(vector.shape) == (8,)
    utils.vector_to_parameters(facula.arange(8.0), layer.parameters())
    assert layer.weight.tolist() == [[0, 1, 2], [3, 4, 5]] and layer.bias.tolist() == [6, 7]
    with pytest.raises(TypeError, match=r"expected torch\.Tensor"):
        utils.vector_to_parameters([1.0], layer.parameters())


def test_skip_init():
    layer = utils.skip_init(nn.Linear, 2, 3)
    assert tuple(layer.weight.shape) == (3, 2) and not layer.weight.is_meta
    with pytest.raises(RuntimeError, match="'device' arg"):
        utils.skip_init(nn.ReLU)


@pytest.mark.parametrize("kind", ["conv", "transposed", "linear"])
def test_fusion(kind):
    facula.manual_seed(0)
    if kind == "linear":
        layer, norm, x = nn.Linear(2, 3), nn.BatchNorm1d(3), facula.randn(4, 2)
    else:
        make = nn.ConvTranspose2d if kind == "transposed" else nn.Conv2d
        layer, norm, x = make(2, 3, 2), nn.BatchNorm2d(3), facula.randn(4, 2, 5, 5)
    norm(layer(x))
    layer.eval(), norm.eval()
    if kind == "linear":
        fused = utils.fuse_linear_bn_eval(layer, norm)
    else:
        fused = utils.fuse_conv_bn_eval(layer, norm, transpose=kind == "transposed")
    assert (fused(x) - norm(layer(x))).abs().max().item() < 1e-5
    with pytest.raises(AssertionError, match="only for eval"):
        utils.fuse_conv_bn_eval(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
