"""Random functions of views, writes and draws: compiled, they do what they do without."""

from __future__ import annotations

import random

import pytest

import facula as torch

F = torch.nn.functional

UNARY = ["relu", "tanh", "exp", "sin", "neg", "clone", "detach", "contiguous", "sigmoid", "square"]
VIEWS = [
    lambda t, r: t.t(),
    lambda t, r: t.reshape(-1).reshape(3, 3),
    lambda t, r: t.transpose(0, 1),
    lambda t, r: t[r.randrange(3)].expand(3, 3),
    lambda t, r: t.flip(0),
    lambda t, r: t.unsqueeze(0).squeeze(0),
    lambda t, r: t.diagonal().unsqueeze(1).expand(3, 3),
    lambda t, r: torch.cat([t[1:], t[:1]]),
]


def step(pool, r, buffer):
    """One random operator on values of the pool; in place or not."""
    a, b = r.choice(pool), r.choice(pool)
    kind = r.randrange(12)
    if kind < 2:
        pool.append(getattr(a, r.choice(UNARY))())
    elif kind == 2:
        pool.append(a * b + r.choice([0.5, 2, -1]))
    elif kind == 3:
        pool.append(a @ b * 0.1)
    elif kind in (4, 5):
        pool.append(r.choice(VIEWS)(a, r))
    elif kind == 6:
        pool.append(torch.softmax(a, r.randrange(2)) - b)
    elif kind == 7:
        pool.append(F.dropout(a, 0.5))
    elif kind == 8:
        pool.append(a + torch.randn(3, 3) * torch.tensor([1.0, 0.5, 2.0]))
    elif kind == 9:
        target = (a * 1.0) if r.random() < 0.7 else a
        pool.append(target)
        i = r.randrange(3)
        if r.random() < 0.5:
            target[i] = b[i] if r.random() < 0.5 else 0.5
        else:
            target.mul_(0.5)
    elif kind == 10:
        with torch.no_grad():
            buffer.mul_(0.5).add_(a.detach())
        pool.append(buffer.clone())
    else:
        pool.append(torch.where(a > b, a, b).sum(r.randrange(2), keepdim=True).expand(3, 3))


def play(seed, compiled):
    r = random.Random(seed)
    length, written, shared = r.randrange(2, 14), r.random() < 0.5, r.random() < 0.3
    torch.manual_seed(seed)
    w = torch.randn(3, 3, requires_grad=True)
    buffer = torch.zeros(3, 3)

    def f(x, y, z):
        own = random.Random(seed + 1)
        pool = [x, y, w, z] if written else [x, y, w]
        for _ in range(length):
            step(pool, own, buffer)
        results = [pool[-1], pool[len(pool) // 2]]
        if own.random() < 0.5:
            results = results[:1]
        return results[0] if len(results) == 1 else tuple(results)

    g = torch.compile(f) if compiled else f
    seen, grads = [], []
    for i in range(5):
        x = torch.randn(3, 3).requires_grad_(i != 3)
        data = torch.randn(9, 3)
        y = x * 2 if shared else data[2 * i % 6 : 2 * i % 6 + 3]
        z = torch.randn(3, 3)
        try:
            out = g(x, y, z)
            outs = out if isinstance(out, tuple) else (out,)
            seen.append([(o.tolist(), o.requires_grad, o.stride()) for o in outs])
            if i % 2:
                outs[0].detach().add_(1.0)  # what was returned may be written
            loss = sum((o.sum() for o in outs if o.requires_grad), torch.zeros(()))
            if loss.requires_grad:
                loss.backward(retain_graph=i == 1)
        except RuntimeError as error:
            seen.append(str(error).split("\n")[0][:60])
        grads += [v for t in (x, w) if t.grad is not None for v in t.grad.flatten().tolist()]
        grads.append(x.grad is None)
        seen.append((buffer.tolist(), z.tolist(), z._version, data.tolist()))
    return seen, grads, torch.rand(1).item(), getattr(g, "_captured", None)


@pytest.mark.parametrize("seed", range(25))
def test_random_functions(seed):
    want, want_grads, drawn, _ = play(seed, False)
    got, got_grads, drawn_compiled, _ = play(seed, True)
    assert repr(got) == repr(want)
    # gradients of results come in as they lie, and sums over them may be taken in another order
    assert got_grads == pytest.approx(want_grads, rel=1e-5, abs=1e-5, nan_ok=True)
    assert drawn == drawn_compiled


def test_most_random_functions_are_captured():
    counts = [len(play(seed, True)[3].entries) for seed in range(10)]
    assert sum(n > 0 for n in counts) >= 6
