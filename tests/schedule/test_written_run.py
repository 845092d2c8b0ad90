"""Runs of plans that come again are functions of their own: they do what the loops do."""

from __future__ import annotations

import pytest

import facula as torch
from facula import engine
from facula.runtime.buffers import memory_stats
from facula.schedule import native_plan

RUNS = native_plan.AGAIN + 4


@pytest.fixture(autouse=True)
def _forget():
    engine.forget_plans()


def plans():
    return [plan for plan in engine._plans.values() if plan.written is not None]


def repeated(make):
    """What make(k) gives for k = 0, 1, ...: by plans that were written out at the end."""
    got = [make(k) for k in range(RUNS)]
    assert plans(), "no plan's run was written"
    return got


def small(k):
    x = torch.arange(6.0) + k
    return (x * 2).tolist(), x.sum().item(), x.exp().log().shape


def several_sizes(k):
    """Results that share a block, one of their own, a large one, temporaries, and dead inputs."""
    x = torch.full((70, 300), float(k))
    y = x.softmax(1) @ torch.ones(300, 5)
    return y.sum(0).tolist(), (y + 1).mean().item(), x.cumsum(1)[3, -1].item(), x.t()[7].tolist()


def views(k):
    """Offsets are numbers of the plan: addresses are derived from them."""
    x = torch.arange(64.0)
    torch.ones(1).item()
    part = x[k : k + 9]
    return (part * 2 + x[3]).tolist(), part[2:].sum().item()


def in_place(k):
    x = torch.zeros(50, 50)
    x.sum().item()
    x[k % 50] += k
    x.mul_(1.5).add_(0.1 * k)
    return x.sum(0).tolist()


def no_leaves(k):
    return torch.zeros(3).add(1).tolist()


@pytest.mark.parametrize("make", [small, several_sizes, views, in_place, no_leaves])
def test_the_same_results(make, monkeypatch):
    got = repeated(make)
    engine.forget_plans()
    monkeypatch.setattr(native_plan, "AGAIN", 0)  # never
    assert got == [make(k) for k in range(RUNS)]
    assert not plans()


def test_memory_comes_back():
    def step(k):
        x = torch.full((200, 300), float(k))
        return (x.relu() @ torch.ones(300, 40)).sum().item()

    repeated(step)
    before = memory_stats()
    for k in range(50):
        step(k)
    after = memory_stats()
    assert (after.current, after.reserved) == (before.current, before.reserved)


def test_bad_indices_are_reported():
    table = torch.arange(12.0).reshape(4, 3)
    total = torch.zeros(2, 3)

    def look_up(k):
        index = torch.tensor([k % 4, 1])
        return torch.nn.functional.embedding(index, table).add(total).tolist()

    want = repeated(look_up)
    with pytest.raises(IndexError, match="index out of range in self"):
        torch.nn.functional.embedding(torch.tensor([4, 1]), table).add(total).tolist()
    assert look_up(0) == want[0]


def test_numpy_steps_are_not_written():
    for _ in range(RUNS):
        torch.linalg.eigvalsh(torch.eye(3)).tolist()
    assert all(len(plan.segments) == 1 for plan in plans())
