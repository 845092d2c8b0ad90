"""Loops of ever other lengths: their tapes are evaluated in pieces that come again."""

from __future__ import annotations

import pytest

import facula as torch
from facula.engine import Counters, forget_plans
from facula.schedule import pieces
from facula.schedule.cutting import Cutting


@pytest.fixture(autouse=True)
def anew():
    forget_plans()


@pytest.fixture
def cut(monkeypatch):
    """Every tape of some length is cut."""
    monkeypatch.setattr(Cutting, "after", 0)
    monkeypatch.setattr(Cutting, "least", 40)
    monkeypatch.setattr(pieces, "LOOPS", 0.0)


@pytest.fixture
def whole(monkeypatch):
    monkeypatch.setattr(Cutting, "least", 1 << 30)


def recurrence(steps, seed=0):
    """Gradients of a recurrent network's weights, and its last state."""
    torch.manual_seed(seed)
    w, u = torch.randn(6, 6, requires_grad=True), torch.randn(4, 6, requires_grad=True)
    x, h = torch.randn(steps, 3, 4), torch.zeros(3, 6)
    for t in range(steps):
        h = torch.tanh(h @ w + x[t] @ u)
    h.sum().backward()
    assert len(w.grad.tolist()) == 6  # evaluates
    return [h.detach(), w.grad, u.grad]


def test_a_new_length_plans_only_its_rest():
    for steps in range(8, 24):
        recurrence(steps)
    assert Counters.tapes_cut
    before = Counters.plans_built
    recurrence(37)
    assert Counters.plans_built - before <= 6  # pieces of half as many steps, and what has size 37


def test_pieces_give_the_numbers_of_the_whole(cut):
    got = [recurrence(n) for n in (9, 13, 21)]
    before = Counters.tapes_cut
    assert before
    Cutting.least = 1 << 30
    forget_plans()
    for n, values in zip((9, 13, 21), got, strict=True):
        for a, b in zip(values, recurrence(n), strict=True):
            assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)


def test_tapes_that_come_again_are_left_whole():
    before = Counters.tapes_cut
    for _ in range(12):
        recurrence(15)
    assert Counters.tapes_cut == before


def test_sizes_that_never_come_again_are_soon_left_whole():
    before = Counters.tapes_cut
    for n in range(2, 40):
        x = torch.ones(n)
        for _ in range(30):
            x = (x * 0.5).sin().exp()
        assert x.sum().item() > 0
    assert Counters.tapes_cut - before <= 8


def test_a_tape_in_pieces_gets_a_plan_for_the_whole_when_it_comes_again(cut, monkeypatch):

    monkeypatch.setattr(pieces, "AGAIN", 3)
    first = recurrence(11)
    before = Counters.plans_built
    for _ in range(3):
        again = recurrence(11)
    assert Counters.plans_built > before
    for a, b in zip(first, again, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)


def test_writes_in_place_and_views_across_pieces(cut):
    table, before = torch.zeros(40, 2), Counters.tapes_cut
    row = torch.arange(2.0)
    for k in range(40):
        table[k] = row * k
        row = row + table[k] * 0.5
        if k > 3:
            table[k - 3].add_(1)
    kept = table[5:9].clone()
    expected = [[0.0, 0.0] for _ in range(40)]
    value = [0.0, 1.0]
    for k in range(40):
        expected[k] = [v * k for v in value]
        value = [v + e * 0.5 for v, e in zip(value, expected[k], strict=True)]
        if k > 3:
            expected[k - 3] = [e + 1 for e in expected[k - 3]]
    assert torch.allclose(kept, torch.tensor(expected[5:9]))
    assert torch.allclose(table[:12], torch.tensor(expected[:12]))
    assert Counters.tapes_cut > before


def test_a_bad_index_in_a_late_piece_leaves_tensors_as_they_were(cut):
    w, x = torch.ones(5), torch.ones(5)
    before = Counters.tapes_cut
    for _ in range(30):
        x = (x * 1.01).sin()
        w.mul_(2)
    bad = torch.arange(4)[torch.tensor([1, 7])]
    y = x[:4] + bad.sum()
    for _ in range(10):
        y = (y * 1.01).sin()
    with pytest.raises(IndexError, match=r"index 7 .*(\n.*)*test_tapes_in_pieces"):
        y.tolist()
    assert Counters.tapes_cut > before
    assert w.tolist() == [2.0**30] * 5  # nothing that failed is needed for it
    assert 0 < x.sum().item() < 5


def test_gradients_that_meet_are_added_in_order(whole):
    p = torch.tensor([1.0, 2.0], requires_grad=True)
    sum(p * float(k) for k in range(50)).sum().backward()
    assert p.grad.tolist() == [1225.0, 1225.0]
