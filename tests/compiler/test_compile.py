"""`torch.compile`: what is replayed is what the function would have done."""

from __future__ import annotations

import gc
import sys
import time

import pytest

import facula as torch
from facula import nn
from facula.compiler.state import COUNTERS
from facula.engine import Counters
from facula.graph.tape import LEAF, LOCAL

F = nn.functional


def captures(f):
    return len(f._captured.entries)


def reasons(f):
    return f._captured.reasons


def both(make, calls):
    """Results of calls(f) for the function itself and for the compiled one, from one seed."""
    out = []
    for compiled in (False, True):
        torch.manual_seed(0)
        f = make()
        g = torch.compile(f) if compiled else f
        out.append(calls(g))
    assert out[0] == out[1]
    return g


def test_results_and_one_operator():
    f = torch.compile(lambda x, y: ((x + y).relu() * 2 - y).exp())
    x, y = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.25])
    want = ((x + y).relu() * 2 - y).exp().tolist()
    for _ in range(4):
        assert f(x, y).tolist() == want
    assert captures(f) == 1
    f(x, y)
    recorded = [k for k in LOCAL.tape.key if hasattr(k, "op") and k.op is not LEAF]
    assert [k.op.name for k in recorded] == ["compiled"]


def _train(model, loss, x, y, **kwargs):
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def calls(f):
        out = []
        for _ in range(5):
            value = f(x, y)
            opt.zero_grad()
            value.backward()
            opt.step()
            out.append(value.item())
        out += [p.tolist() for p in model.parameters()]
        return out + [b.tolist() for b in model.buffers()]

    return calls


def test_training_with_buffers_and_dropout_is_the_same():
    out = []
    for compiled in (False, True):
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3)
        )
        x, y = torch.randn(16, 6), torch.randint(0, 3, (16,))
        step = lambda a, b, model=model: F.cross_entropy(model(a), b)
        f = torch.compile(step) if compiled else step
        out.append(_train(model, None, x, y)(f))
        out[-1].append(torch.rand(3).tolist())  # the generator is where it would be
    assert out[0] == out[1]
    assert captures(f) == 1 and not reasons(f)


def test_a_training_step_is_two_operators_and_one_plan():
    model = nn.Linear(4, 2)
    f = torch.compile(lambda x: model(x).tanh().sum())
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(3, 4)

    def step():
        loss = f(x)
        opt.zero_grad()
        loss.backward()
        names = [k.op.name for k in LOCAL.tape.key if hasattr(k, "op") and k.op is not LEAF]
        opt.step()
        return loss.item(), names

    for _ in range(4):
        step()
    built, ran = Counters.plans_built, Counters.plans_run
    assert step()[1] == ["compiled", "compiled_backward"]
    assert (Counters.plans_built - built, Counters.plans_run - ran) == (0, 1)


def test_several_results_and_containers():
    def make():
        w = torch.randn(3, 3, requires_grad=True)

        def f(x, scale=1.0):
            h = x @ w
            return {"h": h, "parts": (h.sum(), [(h * 1).t(), scale, None])}

        f.w = w
        return f

    def calls(f):
        w = f.w
        out = []
        for i in range(4):
            x = torch.full((3, 3), i + 1.0)
            r = f(x)
            (r["parts"][0] + r["parts"][1][0].pow(2).sum()).backward()
            out.append(
                (r["h"].tolist(), r["parts"][1][0].stride(), r["parts"][1][1:], w.grad.tolist())
            )
        return out

    f = both(make, calls)
    assert captures(f) == 1


def test_gradients_to_computed_inputs_and_unused_results():
    def make():
        return lambda x, y: (x * y, (x + 1).exp(), y)

    def calls(f):
        out = []
        for i in range(4):
            a = torch.tensor([0.5, 1.5 + i], requires_grad=True)
            b = torch.tensor([2.0, 3.0], requires_grad=True)
            r, _unused, same = f(a * 2, b)
            assert same is b
            r.sum().backward()
            out.append((a.grad.tolist(), b.grad.tolist()))
        return out

    assert captures(both(make, calls)) == 1


def test_second_derivatives():
    def make():
        w = torch.randn(4, 4, requires_grad=True)
        f = lambda x: torch.tanh(x @ w).pow(3).sum()
        f.w = w
        return f

    def calls(f):
        out = []
        for i in range(4):
            x = torch.randn(3, 4).requires_grad_()
            z = x * 2
            (g,) = torch.autograd.grad(f(z), z if i % 2 else x, create_graph=True)
            g.pow(2).sum().backward()
            out.append((g.tolist(), x.grad.tolist(), f.w.grad.tolist()))
        return out

    assert captures(both(make, calls)) == 1


def test_second_derivative_of_dropout_uses_the_same_mask():
    def make():
        return lambda x: (F.dropout(x, 0.5) ** 3).sum()

    def calls(f):
        out = []
        for _ in range(4):
            x = torch.linspace(1, 2, 8).requires_grad_()
            (g,) = torch.autograd.grad(f(x), x, create_graph=True)
            (h,) = torch.autograd.grad(g.sum(), x)
            out.append((g.tolist(), h.tolist()))
        return out

    assert captures(both(make, calls)) == 1


def test_retain_graph_and_freed_graphs():
    w = torch.tensor([2.0], requires_grad=True)
    f = torch.compile(lambda x: (x * w).exp().sum())
    for _ in range(3):
        y = f(torch.tensor([1.0]))
    y.backward(retain_graph=True)
    y.backward()
    assert w.grad.item() == pytest.approx(2 * 7.389056)  # 2 e^2
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_writes_to_saved_values_are_noticed():
    w = torch.tensor([2.0], requires_grad=True)
    f = torch.compile(lambda x: (x * w).exp())
    for _ in range(3):
        y = f(torch.tensor([1.0]))
    y.detach().zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        y.backward()


def test_shapes_dtypes_flags_and_modes_are_guarded():
    calls = []

    def fn(x):
        calls.append(1)  # not reachable state would be; this list is, so nothing is captured
        return x * 2

    plain = torch.compile(lambda x: x * 2 if x.dim() == 1 else x * 3)
    for x in (torch.ones(2), torch.ones(3), torch.ones(2, 2), torch.ones(2, dtype=torch.float64)):
        for _ in range(3):
            assert torch.equal(plain(x), x * (2 if x.dim() == 1 else 3))
            assert plain(x).dtype is x.dtype
    assert captures(plain) == 4
    x = torch.ones(2, requires_grad=True)
    for _ in range(3):
        assert plain(x).requires_grad
        with torch.no_grad():
            assert not plain(x).requires_grad
    assert captures(plain) == 6


def test_train_and_eval():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    compiled = torch.compile(model)
    x = torch.randn(8, 4)
    for _ in range(3):
        compiled.train()
        compiled(x)
        compiled.eval()
        assert compiled(x).tolist() == model(x).tolist()
    assert len(compiled.forward._captured.entries) == 2
    assert not compiled.forward._captured.reasons


def test_replaced_parameters_and_surgery():
    model = nn.Linear(2, 2, bias=False)
    f = torch.compile(model)
    x = torch.ones(1, 2)
    for _ in range(3):
        f(x)
    model.load_state_dict({"weight": torch.full((2, 2), 3.0)}, assign=True)
    assert f(x).tolist() == [[6.0, 6.0]]
    model.weight = nn.Parameter(torch.full((2, 2), 4.0))
    assert f(x).tolist() == [[8.0, 8.0]]
    model.weight.data = torch.full((2, 2), 5.0)
    assert f(x).tolist() == [[10.0, 10.0]]
    with torch.no_grad():
        model.weight.fill_(1.0)
    assert f(x).tolist() == [[2.0, 2.0]]
    model.register_forward_hook(lambda m, a, out: out + 1)
    for _ in range(3):
        assert f(x).tolist() == [[3.0, 3.0]]


FACTOR = 2.0


def test_numbers_outside_are_guarded():
    global FACTOR
    inside = 1.0

    class Config:
        shift = 0.0

    config = Config()
    f = torch.compile(lambda x: x * FACTOR + inside + config.shift)
    x = torch.tensor([1.0])
    for _ in range(3):
        assert f(x).item() == 3.0
    assert captures(f) == 1
    FACTOR = 5.0
    assert f(x).item() == 6.0
    inside = 2.0
    assert f(x).item() == 7.0
    config.shift = 10.0
    assert f(x).item() == 17.0
    Config.shift = 3.0
    del config.shift
    assert f(x).item() == 10.0
    FACTOR = 2.0


def test_captured_tensors_are_guarded():
    box = {"w": torch.tensor([1.0])}
    f = torch.compile(lambda x: x * box["w"])
    x = torch.tensor([3.0])
    for _ in range(3):
        assert f(x).item() == 3.0
    box["w"].mul_(2)
    assert f(x).item() == 6.0
    box["w"] = torch.tensor([5.0])
    assert f(x).item() == 15.0


def test_memory_shared_by_arguments_is_guarded():
    def fn(x, y):
        y.add_(1)
        return x * 1

    f = torch.compile(fn)
    for _ in range(3):
        x, y = torch.zeros(2), torch.zeros(2)
        assert f(x, y).tolist() == [0.0, 0.0] and y.tolist() == [1.0, 1.0]
    for _ in range(3):
        x = torch.zeros(2)
        assert f(x, x).tolist() == [1.0, 1.0]
    for _ in range(3):
        x = torch.zeros(4)
        assert f(x[:2], x[1:3]).tolist() == [0.0, 1.0]


def test_views_of_a_data_set():
    """Batches that are slices of one tensor are one kind of call, wherever they begin."""
    data = torch.arange(24.0).reshape(12, 2)
    w = torch.ones(2, requires_grad=True)
    f = torch.compile(lambda x: (x.t().t() * w).sin().sum())
    for i in range(6):
        x = data[2 * i : 2 * i + 2]
        w.grad = None
        f(x).backward()
        assert w.grad.tolist() == pytest.approx((x * x.cos()).sum(0).tolist(), rel=1e-5)
    pending = data * 1.0
    x = pending[2:4]
    w.grad = None
    f(x).backward()
    assert w.grad.tolist() == pytest.approx((x * x.cos()).sum(0).tolist(), rel=1e-5)
    assert captures(f) == 1


def test_looking_at_values_runs_as_always():
    def fn(x):
        if x.sum() > 0:
            return x * 2
        return x - 1

    f = torch.compile(fn)
    for _ in range(3):
        assert f(torch.tensor([1.0])).item() == 2.0
        assert f(torch.tensor([-1.0])).item() == -2.0
    assert captures(f) == 0 and "looked at" in reasons(f)[0] and "test_compile.py" in reasons(f)[0]


def test_a_failed_capture_is_an_ordinary_run():
    w = torch.tensor([2.0], requires_grad=True)
    seen = []

    def fn(x):
        y = (x * w).exp()
        seen.append(y.sum().item())
        return y * 3

    f = torch.compile(fn)
    for i in range(4):
        x = torch.tensor([1.0], requires_grad=True)
        z = x * 1
        f(z).backward()
        assert x.grad.item() == pytest.approx(6 * 7.389056)
        assert len(seen) == i + 1
    assert w.grad.item() == pytest.approx(4 * 3 * 7.389056)


@pytest.mark.parametrize("what", ["list", "attribute", "global", "print", "time", "random"])
def test_side_effects_are_not_lost(what, capsys):
    import random

    class Counter:
        n = 0

    counter, seen = Counter(), []

    def fn(x):
        if what == "list":
            seen.append(1)
        elif what == "attribute":
            counter.n += 1
        elif what == "global":
            globals()["CALLS"] = globals().get("CALLS", 0) + 1
        elif what == "print":
            print("here")
        elif what == "time":
            return x * 0 + time.perf_counter()
        else:
            return x * 0 + random.random()
        return x + 1

    f = torch.compile(fn)
    results = [f(torch.zeros(1, dtype=torch.float64)).item() for _ in range(5)]
    if what == "list":
        assert len(seen) == 5
    elif what == "attribute":
        assert counter.n == 5
    elif what == "print":
        assert capsys.readouterr().out == "here\n" * 5
    elif what in ("time", "random"):
        assert len(set(results)) == 5


def test_what_runs_at_garbage_collections_is_not_the_functions_doing():
    def look_at_a_clock(phase, info):
        time.perf_counter()

    thresholds = gc.get_threshold()
    gc.callbacks.append(look_at_a_clock)
    gc.set_threshold(1)  # at nearly every allocation
    try:
        f = torch.compile(lambda x: (x * 2).relu().sum(), fullgraph=True)
        assert [f(torch.ones(3)).item() for _ in range(3)] == [6.0] * 3
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(look_at_a_clock)


def test_fullgraph_says_why():
    f = torch.compile(lambda x: x * x.sum().item(), fullgraph=True)
    with pytest.raises(RuntimeError, match="looked at"):
        for _ in range(2):
            f(torch.ones(2))


def test_disabled_functions_and_is_compiling():
    seen = []

    @torch.compiler.disable
    def outside(x):
        assert not torch.compiler.is_compiling()
        return x + 1

    f = torch.compile(lambda x: outside(x) * 2)
    for _ in range(3):
        assert f(torch.ones(1)).item() == 4.0
    assert captures(f) == 0
    g = torch.compile(lambda x: x + (1 if torch.compiler.is_compiling() else 0))
    for _ in range(3):
        assert g(torch.ones(1)).item() == 2.0
    assert not torch.compiler.is_compiling() and not seen


def test_stances():
    f = torch.compile(lambda x: x + 1)
    with torch.compiler.set_stance("force_eager"):
        for _ in range(3):
            assert f(torch.ones(1)).item() == 2.0
    assert captures(f) == 0
    for _ in range(3):
        f(torch.ones(1))
    assert captures(f) == 1
    with pytest.raises(RuntimeError):
        torch.compiler.set_stance("no such stance")


def test_threads_replay_alike():
    import threading

    w = torch.ones(2, requires_grad=True)
    f = torch.compile(lambda x: (x * w).exp().sum())
    for _ in range(2):
        f(torch.zeros(2))
    found = []

    def work(k):
        found.extend([(k, f(torch.full((2,), float(k))).item()) for _ in range(20)])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 60
    for k, value in found:
        assert value == pytest.approx(2 * 2.718281828**k, rel=1e-5)


def test_the_number_of_captures_is_bounded():
    f = torch.compile(lambda x, n: x * n)
    for n in range(20):
        for _ in range(3):
            assert f(torch.ones(1), n).item() == n
    assert captures(f) == 8
    torch.compiler.reset()
    assert captures(f) == 0
    for _ in range(3):
        assert f(torch.ones(1), 19).item() == 19
    assert captures(f) == 1


@pytest.mark.parametrize("kind", ["lstm", "gru", "encoder", "conv", "tied"])
def test_layers_train_alike(kind):
    def make():
        if kind == "lstm":
            return nn.LSTM(4, 5, 2, dropout=0.3), torch.randn(3, 2, 4)
        if kind == "gru":
            return nn.GRU(4, 5, bidirectional=True), torch.randn(3, 2, 4)
        if kind == "encoder":
            return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.randn(2, 5, 8)
        if kind == "conv":
            layers = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
            return nn.Sequential(*layers, nn.Dropout2d(0.3)), torch.randn(2, 2, 8, 8)
        table = nn.Embedding(7, 4)
        out = nn.Linear(4, 7, bias=False)
        out.weight = table.weight
        return nn.Sequential(table, out), torch.randint(0, 7, (3,))

    out = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model, x = make()
        f = torch.compile(model) if compiled else model
        opt = torch.optim.Adam(model.parameters(), lr=0.01)
        values = []
        for _ in range(4):
            y = f(x)
            loss = (y[0] if isinstance(y, tuple) else y).pow(2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            values.append(loss.item())
        out.append(values + [p.tolist() for p in model.parameters()])
    assert out[0] == out[1]
    assert captures(f.forward) == 1 and not reasons(f.forward)


def test_writes_inside():
    def make():
        w = torch.randn(3, requires_grad=True)

        def f(x, y):
            y.mul_(2)  # an argument
            z = x * w
            z.add_(1)
            z.view(3, 1).mul_(2)
            z[0] = 5.0
            return z.relu_() + y

        f.w = w
        return f

    def calls(f):
        out = []
        for i in range(4):
            x = torch.linspace(i, 1, 3).requires_grad_()
            y = torch.ones(3)
            f(x, y).sum().backward()
            out.append((x.grad.tolist(), f.w.grad.tolist(), y.tolist(), y._version))
        return out

    assert captures(both(make, calls)) == 1


def test_floats_are_run_time_numbers():
    def make():
        w = torch.tensor([1.0, 2.0], requires_grad=True)
        f = lambda x, scale, shift=0.5: ((x * scale + shift) * w).exp().sum()
        f.w = w
        return f

    def calls(f):
        out = []
        for i in range(8):
            x = torch.tensor([0.5, 0.25], requires_grad=True)
            value = f(x, 0.1 * i, shift=0.2 * i)
            (g,) = torch.autograd.grad(value, x, create_graph=True)
            g.sum().backward()
            out.append((value.item(), g.tolist(), x.grad.tolist(), f.w.grad.tolist()))
        return out

    f = both(make, calls)
    assert captures(f) == 1 and f._captured.tries <= 2


@pytest.mark.parametrize(
    "how", ["branch", "hidden branch", "arithmetic", "tensor", "math", "returned", "static"]
)
def test_floats_that_are_looked_at_are_guarded(how):
    import math

    def fn(x, s):
        if how == "branch":
            return x + s if s > 2.5 else x - s
        if how == "hidden branch":
            return x + s if math.sqrt(s) > 1.7 else x - s
        if how == "arithmetic":
            return x * (1 - s)
        if how == "tensor":
            return x * torch.tensor(s)
        if how == "math":
            return x * math.sqrt(s)
        if how == "returned":
            return x * 2, s
        return x * s

    f = torch.compile(fn, dynamic=False if how == "static" else None)
    for s in (1.0, 1.0, 2.0, 3.0, 2.0, 4.0, 1.0, 5.0):
        x = torch.tensor([2.0])
        got, want = f(x, s), fn(x, s)
        if how == "returned":
            assert got[1] == s and type(got[1]) is float
        else:
            assert got.item() == want.item()
    assert f._captured.tries > 2


def test_default_dtype_is_guarded():
    f = torch.compile(lambda x: x + torch.tensor(1.5))
    try:
        for _ in range(3):
            assert f(torch.tensor(1)).dtype is torch.float32
        torch.set_default_dtype(torch.float64)
        for _ in range(3):
            assert f(torch.tensor(1)).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert captures(f) == 2


def test_random_tensors_are_drawn_anew():
    out = []
    for compiled in (False, True):
        torch.manual_seed(1)
        fn = lambda x: x + torch.randn(3) * torch.rand(1) + torch.randint(0, 9, (3,))
        f = torch.compile(fn) if compiled else fn
        out.append([f(torch.zeros(3)).tolist() for _ in range(5)] + [torch.rand(1).item()])
    assert out[0] == out[1] and captures(f) == 1


def test_constants_made_inside_are_kept_apart():
    f = torch.compile(lambda x: (x + torch.tensor([1.0, 2.0]), torch.tensor([3.0])))
    for _ in range(4):
        y, c = f(torch.zeros(2))
        assert y.tolist() == [1.0, 2.0] and c.tolist() == [3.0]
        c.add_(1)
        y.add_(1)


def test_custom_functions_run_as_always():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    f = torch.compile(lambda x: Double.apply(x).sum())
    for _ in range(3):
        x = torch.ones(2, requires_grad=True)
        f(x).backward()
        assert x.grad.tolist() == [2.0, 2.0]
    assert captures(f) == 0


def test_a_whole_step_inside():
    out = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        x, y = torch.randn(5, 3), torch.randn(5, 1)

        def step(x, y, model=model, opt=opt):
            opt.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            opt.step()
            return loss

        f = torch.compile(step) if compiled else step
        out.append([f(x, y).item() for _ in range(5)] + [model.weight.tolist()])
    assert out[0] == out[1]


def test_bad_indices_are_reported():
    table = torch.randn(4, 2)
    f = torch.compile(lambda i: F.embedding(i, table))
    for _ in range(3):
        f(torch.tensor([1, 3])).tolist()
    with pytest.raises(IndexError, match="out of range"):
        f(torch.tensor([1, 4])).tolist()
    assert f(torch.tensor([0])).shape == (1, 2)


def test_optimized_modules_are_modules():
    model = nn.Linear(2, 3)
    f = torch.compile(model)
    assert list(f.state_dict()) == ["_orig_mod.weight", "_orig_mod.bias"]
    assert f.weight is model.weight and f.in_features == 2
    f.tag = "x"
    assert model.tag == "x"
    assert [n for n, _ in f.named_parameters()] == ["_orig_mod.weight", "_orig_mod.bias"]
    model.compile()
    x = torch.ones(1, 2)
    want = F.linear(x, model.weight, model.bias).tolist()
    for _ in range(3):
        assert model(x).tolist() == want
    assert len(model._compiled_call_impl._captured.entries) == 1


def test_numpy_memory_is_written_through():
    np = pytest.importorskip("numpy")
    a = np.zeros(3, np.float32)
    t = torch.from_numpy(a)

    def fn(x, y):
        x.add_(y)
        return x * 2

    f = torch.compile(fn)
    for i in range(4):
        r = f(t, torch.ones(3))
        assert a.tolist() == [i + 1.0] * 3 and r.tolist() == [2 * (i + 1.0)] * 3
    a[:] = 10
    assert f(t, torch.ones(3)).tolist() == [22.0] * 3
    assert COUNTERS["captures"] > 0


def test_importing_is_not_what_a_function_depends_on(tmp_path, monkeypatch):
    """The first call may import modules; what Python's own importing looks like is no guard."""
    import importlib._bootstrap as importing

    (tmp_path / "imported_when_called.py").write_text("number = 2.0\n")
    monkeypatch.syspath_prepend(tmp_path)

    def f(x):
        import imported_when_called

        return x * imported_when_called.number

    f = torch.compile(f)
    x = torch.ones(3)
    for _ in range(3):
        assert f(x).tolist() == [2.0] * 3
    before = COUNTERS["captures"]
    monkeypatch.setattr(importing, "_verbose_message", lambda *args, **kwargs: None)
    monkeypatch.setattr(importing, "_ERR_MSG", "another")
    assert f(x).tolist() == [2.0] * 3
    assert COUNTERS["captures"] == before and captures(f) == 1
    sys.modules["imported_when_called"].number = 3.0  # but this is
    assert f(x).tolist() == [3.0] * 3
