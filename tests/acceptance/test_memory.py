"""Memory: temporaries are reused, and loops do not grow."""

import gc

import pytest

import facula as torch
import facula.nn as nn
import facula.nn.functional as F
from facula.runtime import buffers, workspace

MEGA = 1_000_000
BUFFER = 4_200_000  # with the rounding of its size class


@pytest.fixture(autouse=True)
def clean():
    """Counts from here, with nothing cached."""
    torch.manual_seed(0)
    torch.zeros(1).item()
    gc.collect()
    workspace.KEPT[0] = None  # temporaries of earlier plans
    buffers.empty_cache()


def grown(compute):
    """(most bytes in use while computing, bytes in use afterwards), both above those before."""
    buffers.reset_peak()
    before = buffers.memory_stats().current
    kept = compute()
    gc.collect()
    stats = buffers.memory_stats()
    assert kept is not None
    return stats.peak - before, stats.current - before


def chain(x):
    for k in range(25):
        x = (x * 1.01 + k).tanh() if k % 2 else x.sin() * 0.5
    return x


def test_a_chain_of_pointwise_operators():
    x = torch.randn(MEGA)
    x[0].item()
    peak, after = grown(lambda: (y := chain(x)).sum().item() and y)
    assert peak <= 3 * BUFFER
    assert after <= 2 * BUFFER


def test_a_chain_that_cannot_fuse():
    """Products between: what is no longer read makes room for what comes."""

    def compute():
        y = x
        for _ in range(12):
            y = (y @ w).relu().softmax(-1)
        y.sum().item()
        return y

    x, w = torch.randn(1000, 1000), torch.randn(1000, 1000)
    (x.sum() + w.sum()).item()
    peak, _ = grown(compute)
    assert peak <= 5 * BUFFER, peak / BUFFER


def loop(keep, steps):
    model = nn.Sequential(nn.Linear(100, 300), nn.ReLU(), nn.Linear(300, 10))
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(64, 100), torch.randint(0, 10, (64,))
    kept = []
    used = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        kept.append(keep(loss))
        del loss
        used.append(buffers.memory_stats().current)
    return used


def test_losses_read():
    used = loop(lambda loss: loss.item(), 60)
    assert used[-1] == used[5]


@pytest.mark.parametrize(
    "keep", [lambda loss: loss.detach(), lambda loss: loss], ids=["detached", "whole"]
)
def test_losses_kept(keep):
    """A loss that is kept holds its four bytes' block, not the step's other memory."""
    used = loop(keep, 60)
    assert used[-1] - used[5] <= 1 << 20  # one slab


def test_a_training_loop_holds_no_more_than_it_used_at_once(monkeypatch):
    """The first step runs as other plans than the later ones; what they needed is not kept beside."""
    monkeypatch.setattr(buffers, "_most", buffers.memory_stats().reserved)
    model = nn.Sequential(*[nn.Sequential(nn.Linear(200, 200), nn.GELU()) for _ in range(8)])
    optimizer = torch.optim.AdamW(model.parameters())
    x = torch.randn(2000, 200)
    x[0, 0].item()
    buffers.reset_peak()
    for k in range(6):
        loss = model(x).square().mean()
        if k == 0:
            loss.item()  # a plan of its own, what backward needs are its results
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
    stats = buffers.memory_stats()
    assert stats.reserved <= stats.peak, (stats.reserved / stats.peak, stats)
