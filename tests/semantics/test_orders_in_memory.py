"""Elementwise results keep the order of their operands' dims in memory. The strides are PyTorch's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import facula as torch


def _x(*shape: int) -> torch.Tensor:
    n = 1
    for k in shape:
        n *= k
    return torch.arange(float(n)).reshape(shape)


@pytest.mark.parametrize(
    "make, strides",
    [
        (lambda: _x(3, 4).t().exp(), (1, 4)),
        (lambda: _x(3, 4).t() + 1, (1, 4)),
        (lambda: _x(3, 4).t() + _x(4, 3), (1, 4)),
        (lambda: _x(4, 3) + _x(3, 4).t(), (3, 1)),
        (lambda: _x(4, 1) + _x(3, 4).t(), (1, 4)),
        (lambda: _x(3).expand(4, 3) * _x(3, 4).t(), (1, 4)),
        (lambda: _x(2, 3, 4).permute(2, 0, 1).relu(), (1, 12, 4)),
        (lambda: _x(6, 4).t()[:, ::2].neg(), (1, 4)),
        (lambda: torch.addcmul(_x(3, 4).t(), _x(4, 3), _x(4, 3)), (1, 4)),
        (lambda: _x(3, 4).t() > 3, (1, 4)),
        (lambda: _x(3, 4).t().to(torch.float64), (1, 4)),
        (lambda: _x(3, 4).t().clone(), (1, 4)),
        (lambda: torch.zeros_like(_x(3, 4).t()), (1, 4)),
        (lambda: torch.randint_like(_x(3, 4).t(), 9), (1, 4)),
        (lambda: _x(3, 4).t().contiguous(), (3, 1)),
        (lambda: torch.nonzero(_x(3, 4)), (1, 11)),
        (lambda: torch.fft.fft(_x(2, 3, 4), dim=1), (12, 1, 3)),
        (lambda: torch.fft.rfftn(_x(2, 3, 4).permute(2, 0, 1)), (2, 8, 1)),
        (lambda: torch.nn.functional.pad(_x(3, 4).t(), (-1, 0)), (1, 4)),
    ],
)
def test_strides(make: Callable, strides: tuple) -> None:
    assert make().stride() == strides


def test_values_and_gradients_do_not_depend_on_the_order() -> None:
    def f(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        y = ((a * 2 + b).tanh() * b).reshape(-1)
        return (y.view(2, -1) * torch.arange(6.0)).cumsum(1)

    a, b = _x(3, 4).div(9).t(), _x(4, 3).div(7)
    leaves = [t.detach().requires_grad_() for t in (a, b)]
    plain = [t.detach().contiguous().requires_grad_() for t in (a, b)]
    one, two = f(*leaves), f(*plain)
    assert torch.equal(one, two)
    for g, h in zip(
        torch.autograd.grad(one.sum(), leaves), torch.autograd.grad(two.sum(), plain), strict=True
    ):
        assert torch.equal(g, h)


def test_in_place_and_views_of_such_results() -> None:
    y = _x(3, 4).t().exp()
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        y.view(-1)
    assert torch.equal(y.t().view(-1), _x(12).exp())
    z = y * 1
    z[0] = 7
    z.mul_(2)
    assert z.stride() == (1, 4) and z[0].tolist() == [14.0, 14.0, 14.0]
    assert torch.equal(z[1:], y[1:] * 2)
