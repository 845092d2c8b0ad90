"""First and second derivatives of nn.functional against finite differences."""

from __future__ import annotations

import numpy as np
import pytest

import facula as torch
from facula.nn import functional as F

from .gradcheck import check

RNG = np.random.RandomState(3)
X = RNG.randn(2, 4, 5)
IMAGE = RNG.randn(2, 4, 6, 6)
CHANNELS = RNG.rand(4) + 0.5
PROBABILITY = RNG.rand(3, 4) * 0.8 + 0.1

ACTIVATIONS = {
    "gelu": {}, "silu": {}, "elu": {"alpha": 0.7}, "selu": {}, "celu": {"alpha": 0.6},
    "leaky_relu": {"negative_slope": 0.2}, "mish": {}, "softplus": {"beta": 1.5}, "logsigmoid": {},
    "hardswish": {}, "softsign": {}, "tanhshrink": {}, "softshrink": {"lambd": 0.3},
    "hardtanh": {"min_val": -0.4}, "normalize": {},
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    check(lambda x: getattr(F, name)(x, **ACTIVATIONS[name]), X)


OTHERS = {
    "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), [X]),
    "glu": (lambda x: F.glu(x, 1), [X]),
    "prelu": (F.prelu, [X, CHANNELS]),
    "batch norm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
        [X, CHANNELS, CHANNELS],
    ),
    "group norm": (lambda x, w: F.group_norm(x, 2, w), [X, CHANNELS]),
    "rms norm": (lambda x, w: F.rms_norm(x, (5,), w, 1e-5), [X, RNG.rand(5)]),
    "conv": (
        lambda x, w, b: F.conv2d(x, w, b, 2, 1, 1, 2),
        [IMAGE, RNG.randn(6, 2, 3, 3), RNG.randn(6)],
    ),
    "conv same": (
        lambda x, w: F.conv1d(x, w, padding="same", dilation=2),
        [X, RNG.randn(3, 4, 3)],
    ),
    "transposed conv": (
        lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1),
        [IMAGE, RNG.randn(4, 3, 3, 3), RNG.randn(3)],
    ),
    "unfold": (lambda x: F.unfold(x, 3, padding=1, stride=2), [IMAGE]),
    "max pool": (lambda x: F.max_pool2d(x, 3, 2, 1), [IMAGE]),
    "avg pool": (lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), [IMAGE]),
    "adaptive": (lambda x: F.adaptive_avg_pool2d(x, (4, 3)), [IMAGE]),
    "bicubic": (lambda x: F.interpolate(x, (9, 4), mode="bicubic"), [IMAGE]),
    "antialias": (lambda x: F.interpolate(x, (3, 4), mode="bilinear", antialias=True), [IMAGE]),
    "reflect": (lambda x: F.pad(x, (1, 2, 2, 0), mode="reflect"), [IMAGE]),
    "pixel shuffle": (lambda x: F.pixel_shuffle(x, 2), [IMAGE]),
    "bce": (F.binary_cross_entropy, [PROBABILITY, RNG.rand(3, 4)]),
    "bce logits": (F.binary_cross_entropy_with_logits, [RNG.randn(3, 4), RNG.rand(3, 4)]),
    "huber": (lambda x, t: F.huber_loss(x, t, delta=0.5), [RNG.randn(3, 4), RNG.randn(3, 4)]),
    "kl": (lambda x, t: F.kl_div(x, t, reduction="sum"), [RNG.randn(3, 4), PROBABILITY]),
    "attention": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        [IMAGE, IMAGE[:, ::-1] * 0.7, RNG.randn(2, 4, 6, 3)],
    ),
    "grouped attention": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        [IMAGE, RNG.randn(2, 2, 5, 6), RNG.randn(2, 2, 5, 3)],
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_functions(name):
    fn, arrays = OTHERS[name]
    check(fn, *[np.ascontiguousarray(a) for a in arrays])


def test_embedding_gradients():
    index = torch.tensor([[0, 2], [2, 3]])
    check(lambda w: F.embedding(index, w, padding_idx=1), RNG.randn(4, 3))
    check(lambda w: F.embedding_bag(index, w, mode="mean"), RNG.randn(4, 3))


def test_class_losses():
    target = torch.tensor([1, 0, 3])
    check(lambda x: F.nll_loss(F.log_softmax(x, 1), target, ignore_index=0), RNG.randn(3, 4))
    check(lambda x: F.multi_margin_loss(x, target, p=2), RNG.randn(3, 4))
