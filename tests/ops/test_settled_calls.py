"""Operators that became one recorded operator, or are remembered by geometry and arguments.

Expected figures are PyTorch 2.13's.
"""

import math

import numpy as np
import pytest

import facula as torch


def test_nansum_counts_nan_as_nothing():
    x = torch.tensor([[1.0, math.nan, 3.0], [math.nan, math.nan, 6.0]], requires_grad=True)
    assert torch.nansum(x).item() == 10.0
    rows = torch.nansum(x, 1, keepdim=True)
    assert rows.tolist() == [[4.0], [6.0]]
    assert rows.grad_fn.name() == "NansumBackward0"
    (rows * torch.tensor([[2.0], [5.0]])).sum().backward()
    assert x.grad.tolist() == [[2.0, 0.0, 2.0], [0.0, 0.0, 5.0]]
    assert torch.nansum(torch.arange(5)).dtype is torch.int64
    with pytest.raises(RuntimeError, match="complex"):
        torch.nansum(torch.ones(2, dtype=torch.complex64))


def test_trapezoid_with_a_constant_step_is_the_sum_less_half_the_ends():
    y = torch.tensor([[1.0, 5.0, 2.0], [0.0, 3.0, 4.0]], requires_grad=True)
    area = torch.trapezoid(y, dx=2.0)
    assert area.tolist() == [13.0, 10.0]
    area.sum().backward()
    assert y.grad.tolist() == [[1.0, 2.0, 1.0]] * 2
    assert torch.trapezoid(torch.arange(4)).item() == 4.5
    assert torch.trapezoid(torch.ones(2, 0)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("offset", [-2, 0, 1])
@pytest.mark.parametrize("dims", [(-2, -1), (0, 2), (2, 0)])
def test_diag_embed_puts_the_last_dim_on_a_diagonal(offset, dims):
    x = torch.arange(6.0).reshape(2, 3).requires_grad_()
    out = torch.diag_embed(x, offset, *dims)
    back = torch.diagonal(out, offset, *dims)
    assert back.tolist() == x.tolist()
    assert out.abs().sum().item() == 15.0  # all else is 0
    assert out.grad_fn.name() == "DiagEmbedBackward0"
    (out * 2).sum().backward()
    assert x.grad.tolist() == [[2.0] * 3] * 2


def test_remembered_views_still_share_memory():
    for _ in range(2):  # the second time they are found by their arguments
        x = torch.arange(12.0).reshape(3, 4)
        windows = x.unfold(1, 2, 2)
        windows[0, 0, 0] = 100.0
        wide = x[:, :1].expand(3, 5)
        assert x[0, 0].item() == 100.0
        assert wide[0].tolist() == [100.0] * 5
        assert torch.flatten(x)[:2].tolist() == [100.0, 1.0]
    assert torch.flatten(torch.ones(0, 3)).shape == (0,)


@pytest.mark.parametrize("width", [1, 3, 7, 9, 63, 101])
@pytest.mark.parametrize("name", ["float32", "float64", "int32", "int64", "int16", "bool"])
def test_ends_of_rows_leave_their_neighbours_alone(width, name):
    d = getattr(torch, name)
    whole = (np.arange(5 * 120).reshape(5, 120) % 7).astype(name)
    x, out = torch.tensor(whole), torch.zeros(5, 120, dtype=d)
    out[:, 1 : 1 + width] = (
        x[:, 2 : 2 + width] | x[:, :width]
        if name == "bool"
        else (x[:, 2 : 2 + width] + x[:, :width])
    )
    want = np.zeros_like(whole)
    want[:, 1 : 1 + width] = whole[:, 2 : 2 + width] + whole[:, :width]
    assert (out.numpy() == want).all()
    summed = x[:, :width].sum(1)
    assert summed.tolist() == whole[:, :width].sum(1).tolist()
