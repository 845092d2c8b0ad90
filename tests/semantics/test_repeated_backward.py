"""Backward passes that are recorded as one operator do what their nodes do, bit by bit."""

from __future__ import annotations

import pytest

import facula as torch
from facula.autograd import repeat, walk
from facula.graph.tape import LOCAL

nn, F = torch.nn, torch.nn.functional


@pytest.fixture(autouse=True, params=[repeat.AGAIN, 1], ids=["", "read by readers"])
def _forget(request, monkeypatch):
    """Every test runs twice: with structures found out, and with readers written at once."""
    monkeypatch.setattr(repeat, "AGAIN", request.param)
    for table in (repeat._known, repeat._misses, repeat._readers):
        table.clear()


def replays() -> int:
    return sum(found is not None for found in repeat._known.values())


def by_nodes(monkeypatch):
    """From now on the nodes run."""
    monkeypatch.setattr(walk.OPS, "repeat", lambda *_: False)


def network():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(6, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 3)
    )


def batch():
    return torch.randn(7, 6), torch.randint(0, 3, (7,))


def grads_of(model):
    return [None if p.grad is None else p.grad.numpy().tobytes() for p in model.parameters()]


def train(model, steps=4, each=lambda model, k: None):
    """Gradients and losses of some steps of Adam."""
    x, y = batch()
    opt = torch.optim.Adam(model.parameters(), lr=0.1)
    seen = []
    for k in range(steps):
        each(model, k)
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        seen += [loss.item(), *grads_of(model)]
        opt.step()
    return seen


def both(monkeypatch, work):
    """What work() gives with replays and without; how many structures were traced."""
    mine = work()
    n = replays()
    by_nodes(monkeypatch)
    assert mine == work()
    return n


def test_training(monkeypatch):
    assert both(monkeypatch, lambda: train(network())) == 1


def test_frozen_and_thawed(monkeypatch):
    def each(model, k):
        model[0].weight.requires_grad_(k % 2 == 0)

    assert both(monkeypatch, lambda: train(network(), 6, each)) == 2


def test_replaced_and_edited_parameters(monkeypatch):
    def each(model, k):
        torch.manual_seed(k)
        if k == 2:
            model[3].weight = nn.Parameter(torch.randn(4, 5))
        if k == 3:
            with torch.no_grad():
                model[0].bias.add_(1)
            model[0].weight.data = torch.randn(6, 5).t()

    assert (
        both(monkeypatch, lambda: train(network(), 5, each)) == 2
    )  # a transposed weight is another one


def test_gradients_add_up(monkeypatch):
    def work():
        model = network()
        x, y = batch()
        for _ in range(3):
            F.cross_entropy(model(x), y).backward()
        return grads_of(model)

    assert both(monkeypatch, work) == 1


def test_retained_graph(monkeypatch):
    def work():
        model = network()
        x, y = batch()
        loss = F.cross_entropy(model(x), y)
        loss.backward(retain_graph=True)
        loss.backward()
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()
        return grads_of(model)

    assert both(monkeypatch, work) == 1


def test_hooks_that_come_later(monkeypatch):
    def work():
        model = network()
        x, y = batch()
        seen = []
        for k in range(3):
            hidden = model[0](x)
            if k == 1:  # on a leaf: called when its gradient is complete
                model[0].weight.register_hook(lambda g: g * 2)
                model[3].bias.register_post_accumulate_grad_hook(
                    lambda p: seen.append(p.grad.sum().item())
                )
            if k == 2:  # in the middle: the nodes run
                hidden.register_hook(lambda g: g + 1)
                hidden.retain_grad()
            F.cross_entropy(model[1:](hidden), y).backward()
        return seen, hidden.grad.tolist(), grads_of(model)

    assert both(monkeypatch, work) == 1


def test_numbers_in_the_graph_count(monkeypatch):
    def work():
        out = []
        for scale in (0.5, 0.25, 2, 2.0, 0.0, -0.0, True):
            x = torch.arange(1.0, 5.0).requires_grad_()
            ((x * scale).exp() * (x - 1).tanh() / (x * x + 1)).sum().backward()
            out.append(x.grad.numpy().tobytes())
        return out

    both(monkeypatch, work)


def test_batches_are_slices(monkeypatch):
    def work():
        model = network()
        data, target = torch.randn(21, 6), torch.randint(0, 3, (21,))
        for k in range(3):
            rows = slice(7 * k, 7 * k + 7)
            F.cross_entropy(model(data[rows]), target[rows]).backward()
        return grads_of(model)

    assert both(monkeypatch, work) <= 2  # the first slice begins where its storage does


def test_one_gradient_for_two_leaves():
    a = torch.ones(3, requires_grad=True)
    b = torch.ones(3, requires_grad=True)
    for k in range(1, 3):
        (a + b).exp().mul(2).tanh().sum().backward()
        if k == 1:
            assert a.grad.data_ptr() != b.grad.data_ptr()
            a.grad.zero_()
            first = b.grad.clone()
    assert torch.equal(b.grad, 2 * first) and torch.equal(a.grad, first)


def test_saved_values_that_were_written():
    model = network()
    x, y = batch()
    F.cross_entropy(model(x), y).backward()
    before = grads_of(model)
    hidden = model[0](x)
    out = model[2:](torch.tanh(hidden).mul_(2))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        F.cross_entropy(out, y).backward()
    assert grads_of(model) == before


def test_derivatives_that_cannot_be_repeated():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    model = network()
    x, y = batch()
    F.cross_entropy(model[3:](Twice.apply(model[:3](x))), y).backward()
    assert replays() == 0
    assert all(p.grad is not None for p in model.parameters())


def test_derivatives_of_derivatives():
    x = torch.linspace(0.1, 1, 4).requires_grad_()
    for _ in range(3):
        x.grad = None
        (x.exp() * x.sin()).tanh().sum().backward(create_graph=True)
        assert x.grad.requires_grad
    assert replays() == 0


def test_two_results_of_one_node(monkeypatch):
    def work():
        x = torch.linspace(-1, 1, 12).reshape(3, 4).requires_grad_()
        for _ in range(2):
            values, _ = x.exp().max(dim=1)
            a, b = x.tanh().split(2, dim=1)
            (values.log() + (a * b).sum(1)).pow(2).sum().backward()
        return x.grad.tolist()

    both(monkeypatch, work)


def test_unused_results_keep_what_they_saved(monkeypatch):
    """A part of the graph that no gradient reaches may be used afterwards."""

    def work():
        x = torch.linspace(-1, 1, 4).requires_grad_()
        y = x.exp()
        z = torch.where(torch.tensor(True), x.tanh().sin(), y.detach()).cos().sum()
        z.backward()
        y.sum().backward()
        return x.grad.tolist()

    both(monkeypatch, work)


def test_modes(monkeypatch):
    def work():
        model = network()
        x, y = batch()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            F.cross_entropy(model(x), y).backward()
        loss = F.cross_entropy(model(x), y)
        with torch.no_grad():
            loss.backward()
        return grads_of(model)

    both(monkeypatch, work)
    assert LOCAL.tape.grad


def test_bad_targets_are_reported():
    model = network()
    x, y = batch()
    for _ in range(2):
        F.cross_entropy(model(x), y).backward()
        model.zero_grad()
    y[0] = 5
    with pytest.raises(IndexError, match="Target 5 is out of bounds"):
        F.cross_entropy(model(x), y).backward()
        print(model[0].weight.grad)
    y[0] = 0
    model.zero_grad()
    F.cross_entropy(model(x), y).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_structures_that_never_come_again_are_left_alone():
    x = torch.ones(3, requires_grad=True)
    for k in range(40):
        (x.exp() * (1.5 + k)).tanh().sin().sum().backward()
    assert len(repeat._known) <= repeat.MAX_MISSES + 1


def test_the_default_dtype_is_part_of_a_structure(monkeypatch):
    def work():
        out = []
        for d in (torch.float32, torch.float64, torch.float32):
            x = torch.linspace(0.1, 1, 4, dtype=torch.float32).requires_grad_()
            y = (x.exp() * x.tanh()).sin().sum()
            torch.set_default_dtype(d)
            y.backward()
            out.append((x.grad.dtype, x.grad.tolist()))
        return out

    both(monkeypatch, work)


def test_threads(monkeypatch):
    """Structures are shared by threads; each records on its own tape."""
    from concurrent.futures import ThreadPoolExecutor

    models = [network() for _ in range(4)]
    x, y = batch()

    def work(model):
        for _ in range(5):
            F.cross_entropy(model(x), y).backward()
        return grads_of(model)

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(work, models))
    by_nodes(monkeypatch)
    assert all(g == work(network()) for g in got)


def test_compiled_functions():
    """The result of a captured function: to its leaves at once, or on through the graph before it."""
    model, twin = network(), network()
    x, y = batch()
    f = torch.compile(lambda h, y: F.cross_entropy(model[1:](h), y))
    g = torch.compile(lambda x, y: F.cross_entropy(model(x), y))
    seen = []
    for k in range(5):
        model.zero_grad()
        twin.zero_grad()
        F.cross_entropy(twin(x), y).backward()
        loss = g(x, y) if k % 2 else f(model[0](x), y)
        if k == 3:
            model[0].bias.register_hook(lambda grad: seen.append(grad.shape))
        loss.backward(retain_graph=True)
        assert len(seen) == [0, 0, 0, 1, 3][k]
        assert grads_of(model) == grads_of(twin)
        loss.backward()
        assert torch.equal(model[5].bias.grad, 2 * twin[5].bias.grad)
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


def read_again(make, monkeypatch, times=3):
    """What the readers found in graphs that make() gives, one after the other."""
    monkeypatch.setattr(repeat, "AGAIN", 1)
    for k in range(times):
        loss = make(k)
        found = [
            read(loss._g) is not None for kept in repeat._readers.values() for read, *_ in kept
        ]
        yield found
        loss.backward()


def test_readers_know_their_structure(monkeypatch):
    model = network()
    x, y = batch()
    made = lambda k: F.cross_entropy(model(x), y)
    assert list(read_again(made, monkeypatch)) == [[], [True], [True]]


@pytest.mark.parametrize("change", [
    lambda w, v: (w, w),  # one leaf for two
    lambda w, v: (w.detach().requires_grad_(), v.exp()),  # a node for a leaf
    lambda w, v: (w, v.detach()),  # nothing wanted
    lambda w, v: (w, v.double()),
    lambda w, v: (w[:, :2].repeat(1, 2), v),
    lambda w, v: (w.t().contiguous().t().detach().requires_grad_(), v),  # another layout
])  # fmt: skip
def test_readers_refuse_others(monkeypatch, change):
    monkeypatch.setattr(repeat, "AGAIN", 1)
    w, v = torch.rand(4, 4, requires_grad=True), torch.rand(4, 4, requires_grad=True)
    loss = lambda w, v: ((w * v).exp() + w.tanh() * v).sum()
    for _ in range(2):
        loss(w, v).backward()
    ((read, *_),) = repeat._readers.values()
    assert read[0](loss(w, v)._g) is not None
    other = loss(*change(w, v))
    assert read[0](other._g) is None


def test_readers_look_at_hooks_and_versions(monkeypatch):
    monkeypatch.setattr(repeat, "AGAIN", 1)
    x = torch.rand(4, requires_grad=True)

    def make():
        y = x.exp()
        return y, (y.tanh() * y).sin().sum()

    for _ in range(2):
        make()[1].backward()
    (((read, *_),),) = repeat._readers.values()
    y, loss = make()
    assert read(loss._g) is not None
    y.register_hook(lambda g: g * 2)
    assert read(loss._g) is None
    y, loss = make()
    with torch.no_grad():
        y.mul_(2)
    assert read(loss._g) is None
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    _, loss = make()
    loss.backward()
    assert read(loss._g) is None
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_the_order_of_recording_counts(monkeypatch):
    """Gradients are added in the order of the walk: another order is another structure."""

    def work(first):
        out = []
        for k in range(4):
            x = torch.linspace(0.1, 1, 5).requires_grad_()
            make = {"exp": lambda x: (x * 1e4).exp().log(), "sin": lambda x: (x * 3).sin().tanh()}
            names = ["exp", "sin"] if (k < 3) == first else ["sin", "exp"]
            parts = {name: make[name](x) for name in names}
            (parts["exp"].tanh() * parts["sin"]).sum().backward()
            out.append(x.grad.numpy().tobytes())
        return out

    assert both(monkeypatch, lambda: (work(True), work(False))) == 2


def test_the_gradient_of_one_stays_one():
    """What a backward pass begins with is shared by passes that only read it: hooks must not see it."""
    x = torch.rand(4, requires_grad=True)
    w = torch.rand((), requires_grad=True)
    through, grads = torch.compile(lambda w: w * 1.0), []
    for k in range(4):
        x.grad = w.grad = None
        loss = (x.exp() * x).tanh().sum()
        if k == 2:
            loss.register_hook(lambda g: g.mul_(2))
        loss.backward()
        grads.append(x.grad.clone())
        assert torch.equal(x.grad, grads[0] * 2 if k == 2 else grads[0])
        result = through(w)
        if k == 2:
            w.register_hook(lambda g: g.mul_(4))
        result.backward()
        assert w.grad.item() == (4.0 if k >= 2 else 1.0)
        w.grad.mul_(7)


def test_long_chains_that_add_little(monkeypatch):
    def work():
        a = torch.tensor([0.1, 0.7], requires_grad=True)
        x = a
        for _ in range(50):
            x = x + a
        x.sum().backward()
        return a.grad.tolist()

    assert both(monkeypatch, lambda: [work() for _ in range(3)]) == 1


def test_nodes_that_keep_many_values(monkeypatch):
    def work():
        torch.manual_seed(2)
        lstm = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
        x = torch.randn(5, 2, 3)
        for _ in range(3):
            lstm(x)[0].pow(2).sum().backward()
        return grads_of(lstm)

    assert both(monkeypatch, work) == 1


def test_readers_of_larger_graphs_are_written_later(monkeypatch):
    monkeypatch.setattr(repeat, "AGAIN", 1)
    a = torch.tensor([0.1, 0.7], requires_grad=True)
    counts = []
    for _ in range(5):
        x = a
        for _ in range(50):
            x = x * a
        x.sum().backward()
        counts.append(sum(map(len, repeat._readers.values())))
    assert counts == [0, 0, 0, 1, 1]
