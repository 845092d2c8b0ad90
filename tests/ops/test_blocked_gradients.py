"""Where an operator is flat its gradient is 0, whatever comes; NaN takes PyTorch's way.

Multiplied with a slope of 0, the infinite slope of a square root at 0 would be NaN.
"""

import math

import pytest

import facula as torch

F = torch.nn.functional
inf, nan = math.inf, math.nan


def gradient(f, x, g, **k):
    x = torch.tensor(x, requires_grad=True)
    (got,) = torch.autograd.grad(f(x), x, torch.tensor(g), **k)
    return got


def test_square_root_of_relu():
    x = torch.tensor([-1.0, 0.0, 4.0], requires_grad=True)
    x.relu().sqrt().sum().backward()
    assert x.grad.tolist() == [0, 0, 0.25]


FLAT = [
    (torch.relu, -1.0), (torch.relu, 0.0), (F.relu6, 7.0), (F.hardtanh, 1.0), (F.hardtanh, -2.0),
    (F.hardsigmoid, 3.0), (F.hardswish, -3.0), (F.hardshrink, 0.5), (F.softshrink, -0.5),
    (lambda x: F.threshold(x, 2.0, 5.0), 2.0), (torch.sign, 1.0), (torch.floor, 0.5),
    (torch.ceil, 0.5), (torch.trunc, 0.5), (lambda x: torch.maximum(x, torch.ones(1)), 0.0),
    (lambda x: torch.minimum(x, torch.ones(1)), 2.0), (lambda x: torch.fmax(x, torch.ones(1)), 0.0),
]  # fmt: skip


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("f, x", FLAT)
def test_flat(f, x, again):
    for g in (inf, nan, -2.0):
        got = gradient(f, [x], [g], create_graph=again)
        assert got.item() == 0 and not torch.signbit(got).item()


@pytest.mark.parametrize("f", [torch.relu, lambda x: F.threshold(x, 0.0, 1.0)])
def test_nan_lets_it_by(f):
    assert gradient(f, [nan, 1.0], [3.0, 2.0]).tolist() == [3, 2]


def test_beside_nan_both_have_all_of_it():
    a, b = torch.tensor([nan, 1.0, 2.0], requires_grad=True), torch.tensor([1.0, nan, 2.0])
    b.requires_grad_()
    torch.maximum(a, b).backward(torch.tensor([2.0, 2.0, 2.0]))
    assert a.grad.tolist() == b.grad.tolist() == [2, 2, 1]


@pytest.mark.parametrize("layer", [None, torch.nn.Linear(1, 1, bias=False)])
def test_minus_nothing_stays(layer):
    x = torch.tensor([[-0.0], [0.0], [-3.0]])
    if layer is not None:
        layer.weight.data.fill_(1.0)
    with torch.no_grad():
        got = torch.relu(x if layer is None else layer(x))
    assert got.tolist() == [[0], [0], [0]]
    assert layer is not None or torch.signbit(got).tolist() == [[True], [False], [False]]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_last_nan_of_a_window_is_its_maximum(dims):
    x = torch.zeros(8)
    x[1] = x[6] = nan
    x = x.reshape(1, 1, *([8], [2, 4], [2, 2, 2])[dims - 1])
    pool = getattr(F, f"adaptive_max_pool{dims}d")
    assert pool(x, 1, return_indices=True)[1].item() == 6
