"""Views, indexing and rearranging against NumPy, for shapes that hypothesis draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import facula as torch

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)
FEW = settings(max_examples=25, deadline=None)


def arrays(shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@FEW
@given(st.data())
def test_basic_indexing(data):
    a = arrays(data.draw(SHAPES))
    index = data.draw(hnp.basic_indices(a.shape, allow_newaxis=True))
    index = index if isinstance(index, tuple) else (index,)
    steps = [i.step for i in index if isinstance(i, slice)]
    if any(s is not None and s < 0 for s in steps):
        return  # PyTorch has no negative steps
    assert np.array_equal(torch.from_numpy(a)[index].numpy(), a[index])


@FEW
@given(st.data())
def test_writing_through_a_view_reaches_the_base(data):
    a = arrays(data.draw(SHAPES))
    t = torch.from_numpy(a.copy()).clone()
    order = data.draw(st.permutations(range(a.ndim)))
    start = data.draw(st.integers(0, a.shape[order[0]] - 1))
    t.permute(*order)[start:].mul_(-1)
    a.transpose(order)[start:] *= -1
    assert np.array_equal(t.numpy(), a)


@FEW
@given(st.data())
def test_rearranging(data):
    a = arrays(data.draw(SHAPES))
    t = torch.from_numpy(a)
    d = data.draw(st.integers(0, a.ndim - 1))
    k = data.draw(st.integers(-5, 5))
    assert np.array_equal(t.roll(k, d).numpy(), np.roll(a, k, d))
    assert np.array_equal(t.flip(d).numpy(), np.flip(a, d))
    assert np.array_equal(t.movedim(d, -1).numpy(), np.moveaxis(a, d, -1))
    assert np.array_equal(torch.tile(t, (2, 1)).numpy(), np.tile(a, (2, 1)))
    assert np.array_equal(t.repeat_interleave(2, d).numpy(), np.repeat(a, 2, d))
    assert np.array_equal(t.cumsum(d).numpy(), np.cumsum(a, d))


@pytest.mark.parametrize("offset", [-1, 0, 2])
def test_diagonals(offset):
    a = arrays((3, 4))
    t = torch.from_numpy(a)
    assert np.array_equal(t.diagonal(offset).numpy(), np.diagonal(a, offset))
    assert np.array_equal(t.tril(offset).numpy(), np.tril(a, offset))
    assert np.array_equal(torch.diag(t[0], offset).numpy(), np.diag(a[0], offset))


def test_views_that_change_in_place():
    t = torch.arange(6.0).reshape(2, 3)
    assert t.t_().shape == (3, 2)
    assert t.unsqueeze_(0).shape == (1, 3, 2)
    assert t.squeeze_(0).stride() == (1, 3)
    assert torch.zeros(4).resize_(2, 2).shape == (2, 2)


def test_parts_of_complex_numbers_share_memory():
    z = torch.zeros(2, dtype=torch.complex64)
    z.real[0] = 3.0
    z.imag.fill_(2.0)
    assert z.tolist() == [3 + 2j, 2j]
    assert torch.view_as_real(z).shape == (2, 2)


def test_channels_last():
    t = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert t.stride() == (60, 1, 15, 3)
    assert t.is_contiguous(memory_format=torch.channels_last)
    assert not t.is_contiguous()


def test_default_dtype_holds_for_geometries_seen_before():
    a = torch.tensor([1, 2])
    assert (a * 0.5).dtype is torch.float32
    before = a * 0.5  # recorded, not evaluated
    torch.set_default_dtype(torch.float64)
    try:
        assert (a * 0.5).dtype is torch.float64
        assert a.exp().dtype is torch.float64
        assert before.dtype is torch.float32
        assert before.tolist() == [0.5, 1.0]
    finally:
        torch.set_default_dtype(torch.float32)
    assert (a * 0.5).dtype is torch.float32


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(2, 6).exp(),
        lambda: torch.ones(2, 3) @ torch.ones(3, 6),
        lambda: torch.cat([torch.ones(1, 6), torch.ones(1, 6)]),
        lambda: torch.ones(2, 6).index_add(0, torch.tensor([1]), torch.ones(1, 6)),
    ],
)
def test_a_copy_of_a_view_whose_rows_do_not_nest(make):
    """(2, 6) as (3, 4): no loop goes through both, but the memory is one line."""
    want = np.array(make().tolist()).reshape(3, 4)
    assert np.array_equal(make().view(3, 4).clone().numpy(), want)


def test_writing_through_a_view_whose_rows_do_not_nest():
    x = torch.zeros(3, 4)
    x.view(2, 6)[torch.tensor([1, 0])] = torch.arange(12.0).view(2, 6)
    assert x.flatten().tolist() == [*range(6, 12), *range(6)]


def test_a_view_picked_from_is_read_before_it_is_written():
    """The view that `take` reads in place may not get memory of its own for a later write."""
    x = torch.arange(12.0).reshape(3, 4)
    diagonal = x.diagonal()
    picked = diagonal[torch.tensor([1])]
    diagonal.copy_(x.diagonal())
    both = torch.cat([diagonal, diagonal])
    assert picked.tolist() == [5.0]
    assert both.tolist() == [0.0, 5.0, 10.0, 0.0, 5.0, 10.0]


def test_a_mask_without_dims_adds_a_dim():
    # shapes and values from PyTorch 2.13
    x = torch.arange(6.0).view(2, 3)
    yes, no = torch.tensor(True), torch.tensor(False)
    assert x[yes].shape == (1, 2, 3)
    assert x[no].shape == (0, 2, 3)
    assert x[0, yes].shape == (1, 3)
    assert x[:, yes].shape == (2, 1, 3)
    assert x[yes, torch.tensor([0, 1])].shape == (2, 3)
    s = torch.tensor(3.0, requires_grad=True)
    s[s > 1].sum().backward()
    assert s.grad == 1
    t = torch.tensor(2.0)
    t[t > 1] += 4
    t[t > 100] = 0
    assert t == 6


def test_casts_in_an_order_of_dims():
    x = torch.randn(2, 3, 4, 5)
    for cast in (x.half, x.double, x.int, x.float, x.bool, x.cfloat):
        assert cast(memory_format=torch.channels_last).stride() == (60, 1, 15, 3)
    assert torch.equal(x.double(memory_format=torch.channels_last), x.double())
