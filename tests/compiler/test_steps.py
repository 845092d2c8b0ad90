"""Training steps inside of a compiled function: gradients, updates and schedules are as always."""

from __future__ import annotations

import inspect

import pytest

import facula as torch
from facula import nn, overrides
from facula.compiler import observe
from facula.compiler.state import COUNTERS
from facula.compiler.steps import CALLS, HARMLESS
from facula.graph.tape import LEAF, LOCAL
from facula.runtime import buffers

F = nn.functional


class Case:
    """A model that is trained, with data, from one seed."""

    def __init__(self, optimizer=None, dropout=0.0):
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3)
        )
        make = optimizer or (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
        self.opt = make(self.model.parameters())
        self.x, self.y = torch.randn(16, 5), torch.randint(0, 3, (16,))

    def all(self):
        """All that a step changes."""
        state = self.opt.state_dict()["state"]
        return (
            {k: v.tolist() for k, v in self.model.state_dict().items()},
            [None if p.grad is None else p.grad.tolist() for p in self.model.parameters()],
            {
                i: {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in of.items()}
                for i, of in state.items()
            },
            torch.get_rng_state().tolist()[:40],
        )


def alike(make_step, case=Case, calls=6, captured=1, between=None):
    """Runs the same steps as they are and compiled; the compiled function."""
    out = []
    for compiled in (False, True):
        c = case()
        step = make_step(c)
        f = torch.compile(step) if compiled else step
        values = []
        for i in range(calls):
            if between is not None:
                between(c, i)
            got = f(c.x, c.y)
            parts = got if isinstance(got, tuple) else (got,)
            values += [t.tolist() if isinstance(t, torch.Tensor) else t for t in parts]
            values.append(c.all())
        out.append(values)
    assert out[0] == out[1]
    assert (len(f._captured.entries) > 0) == bool(captured), f._captured.reasons
    return f


def plain(c):
    def step(x, y):
        c.opt.zero_grad()
        loss = F.cross_entropy(c.model(x), y)
        loss.backward()
        c.opt.step()
        return loss

    return step


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
        lambda p: torch.optim.AdamW(p, lr=0.01),
        lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
        lambda p: torch.optim.NAdam(p, lr=0.01),
        lambda p: torch.optim.ASGD(p, lr=0.01),
        lambda p: torch.optim.Adafactor(p, lr=0.01),
    ],
)
def test_optimizers_step_as_always(optimizer):
    alike(plain, lambda: Case(optimizer))


def test_the_forward_pass_is_one_operator():
    c = Case()

    def forward(x, y):
        loss = F.cross_entropy(c.model(x), y)
        loss.backward()
        return loss

    f = torch.compile(forward)
    for _ in range(4):
        f(c.x, c.y).item()
    f(c.x, c.y)
    names = [k.op.name for k in LOCAL.tape.key if hasattr(k, "op") and k.op is not LEAF]
    assert names[:2] == ["compiled", "compiled_backward"]


def test_random_numbers_and_what_is_returned():
    def make(c):
        def step(x, y):
            c.model.zero_grad()
            logits = c.model(x)
            loss = F.cross_entropy(logits, y)
            right = (logits.argmax(1) == y).float().mean()
            loss.backward()
            c.opt.step()
            return loss.detach(), right, "done"

        return step

    alike(make, lambda: Case(dropout=0.3))


def test_after_a_mode():
    """A class or mode that is asked about operators leaves them wrapped: steps are captured all the same."""

    class Mode(overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    with Mode():
        torch.ones(2).neg()
    assert overrides._wrap(len).__code__.co_qualname == observe._WRAPPED
    test_random_numbers_and_what_is_returned()
    test_what_cannot_be_replayed_runs_as_always(_looks)


def test_gradients_accumulate_without_zero_grad():
    def make(c):
        def step(x, y):
            loss = F.cross_entropy(c.model(x), y)
            loss.backward()
            return loss

        return step

    alike(make)


def test_gradients_are_zeroed_in_place():
    def make(c):
        def step(x, y):
            loss = F.cross_entropy(c.model(x), y)
            loss.backward()
            c.opt.step()
            c.opt.zero_grad(set_to_none=False)
            return loss

        return step

    kept = []

    def between(c, i):
        grads = [p.grad for p in c.model.parameters()]
        assert i < 2 or all(a is b for a, b in zip(grads, kept, strict=True))
        kept[:] = grads

    alike(make, between=between)


@pytest.mark.parametrize("gather", [iter, list])
def test_gradients_are_new_tensors_and_clipped(gather):
    def make(c):
        def step(x, y):
            c.opt.zero_grad()
            loss = F.cross_entropy(c.model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(gather(c.model.parameters()), 0.05)
            c.opt.step()
            return loss

        return step

    seen = []

    def between(c, i):
        grad = c.model[0].weight.grad
        assert grad is None or all(grad is not g for g in seen)
        seen.append(grad)

    alike(make, between=between)


def test_schedules():
    def make(c):
        c.rates = torch.optim.lr_scheduler.OneCycleLR(c.opt, 0.5, total_steps=8)

        def step(x, y):
            c.opt.zero_grad()
            loss = F.cross_entropy(c.model(x), y)
            loss.backward()
            c.opt.step()
            c.rates.step()
            return loss

        return step

    f = alike(make, lambda: Case(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)))
    assert len(f._captured.entries) == 1


def test_rates_may_be_set_outside():
    def between(c, i):
        c.opt.param_groups[0]["lr"] = 0.1 / (i + 1)

    assert len(alike(plain, between=between)._captured.entries) == 1


def test_hooks_run():
    """Of optimizers, of parameters: a function that was captured without them goes on as always."""
    told = []

    def between(c, i):
        if i == 3:
            c.opt.register_step_post_hook(lambda *_: told.append("step"))
        if i == 4:
            c.model[0].weight.register_hook(lambda g: told.append("grad") or g * 0.5)
        if i == 5:
            c.model[0].bias.register_post_accumulate_grad_hook(lambda p: told.append("post"))

    alike(plain, calls=8, between=between)
    one = ["step", "grad", "step", *["grad", "post", "step"] * 3]
    assert told == one * 2


def test_a_graph_that_is_retained():
    def make(c):
        def step(x, y):
            loss = F.cross_entropy(c.model(x), y)
            loss.backward(retain_graph=True)
            return loss

        return step

    c = Case()
    f = torch.compile(make(c))
    for _ in range(3):
        loss = f(c.x, c.y)
    assert len(f._captured.entries) == 1
    weight = c.model[0].weight
    before = weight.grad.clone()
    weight.grad = None
    loss.backward()
    assert torch.allclose(3 * weight.grad, before, atol=1e-4)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def _looks(c):
    def step(x, y):
        loss = F.cross_entropy(c.model(x), y)
        loss.backward()
        c.opt.step()
        return loss.item()

    return step


def _reads_parameters(c):
    def step(x, y):
        loss = F.cross_entropy(c.model(x), y)
        loss.backward()
        c.opt.step()
        return loss, c.model[0].weight.sum()

    return step


def _reads_gradients(c):
    def step(x, y):
        c.opt.zero_grad()
        loss = F.cross_entropy(c.model(x), y)
        loss.backward()
        return c.model[0].weight.grad.norm()

    return step


def _twice(c):
    def step(x, y):
        c.opt.zero_grad()
        for part in (slice(0, 8), slice(8, 16)):
            F.cross_entropy(c.model(x[part]), y[part]).backward()
        c.opt.step()
        return c.x.sum()

    return step


def _steps_first(c):
    def step(x, y):
        c.opt.step()
        c.opt.zero_grad()
        loss = F.cross_entropy(c.model(x), y)
        loss.backward()
        return loss

    return step


def _counts(c):
    c.n = 0

    def step(x, y):
        loss = F.cross_entropy(c.model(x), y)
        loss.backward()
        c.n += 1
        c.opt.step()
        return loss, c.n

    return step


def _asks_the_optimizer(c):
    def step(x, y):
        loss = F.cross_entropy(c.model(x), y)
        loss.backward()
        c.opt.step()
        return c.opt.state[c.model[0].weight]["step"]

    return step


def _own_optimizer(c):
    class Mine(torch.optim.Optimizer):
        def step(self, closure=None):
            with torch.no_grad():
                for p in self.param_groups[0]["params"]:
                    p.sub_(p.grad, alpha=0.1)

    mine = Mine(c.model.parameters(), {})

    def step(x, y):
        mine.zero_grad()
        loss = F.cross_entropy(c.model(x), y)
        loss.backward()
        mine.step()
        return loss

    return step


def _with_history(c):
    def step(x, y):
        logits = c.model(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        return loss, logits

    return step


@pytest.mark.parametrize(
    "make",
    [_looks, _reads_parameters, _reads_gradients, _twice, _steps_first, _counts,
     _asks_the_optimizer, _own_optimizer, _with_history],
)  # fmt: skip
def test_what_cannot_be_replayed_runs_as_always(make):
    alike(make, lambda: Case(lambda p: torch.optim.Adam(p, lr=0.01)), captured=0)


def test_the_model_may_change():
    """Frozen parameters, evaluation mode and another batch size are noticed."""

    def between(c, i):
        if i == 3:
            c.model[0].weight.requires_grad_(False)
        if i == 5:
            c.model.eval()
        if i == 7:
            c.x, c.y = c.x[:8], c.y[:8]

    f = alike(plain, calls=11, between=between)
    assert len(f._captured.entries) == 4


def test_bad_targets_are_reported():
    c = Case()
    f = torch.compile(plain(c))
    for _ in range(3):
        f(c.x, c.y)
    assert len(f._captured.entries) == 1
    weight = c.model[0].weight.tolist()
    with pytest.raises(IndexError):
        f(c.x, c.y + 3)
    assert c.model[0].weight.tolist() == weight


def test_fullgraph_captures_a_step():
    c = Case()
    before = COUNTERS["captures"]
    f = torch.compile(plain(c), fullgraph=True)
    losses = [f(c.x, c.y).item() for _ in range(5)]
    assert COUNTERS["captures"] == before + 1 and losses[-1] < losses[0]


def test_the_calls_are_named_as_their_code_is():
    rates = torch.optim.lr_scheduler
    c = Case()
    rates.ExponentialLR(c.opt, 0.9)
    code = [
        torch.optim.Optimizer.zero_grad, nn.Module.zero_grad, c.opt.step,
        torch.optim.SGD.step, rates.LRScheduler.step, rates.CosineAnnealingWarmRestarts.step,
        rates.SequentialLR.step, rates.ChainedScheduler.step, nn.utils.clip_grad_norm_,
    ]  # fmt: skip
    backward = inspect.unwrap(torch.Tensor.backward)  # modes of other tests leave wrappers
    names = {f.__code__.co_qualname for f in (backward, *code)}
    assert names == set(CALLS)
    code = [
        inspect.unwrap(torch.Tensor.detach),
        *(nn.Module.__getattr__, nn.Module.parameters, nn.Module.named_parameters),
        *(buffers._Small.__del__, buffers._Large.__del__),
    ]
    assert {f.__code__.co_qualname for f in code} == HARMLESS


def test_a_global_that_names_the_compiled_function():
    """A compiled function that is reached by what it names is looked through."""
    space = {"torch": torch, "x": torch.ones(2)}
    exec("def f(a):\n return (a * 2).f if False else a * 2\ndef g(a):\n return a.f", space)
    space["f"] = f = torch.compile(space["f"])
    for _ in range(3):
        assert f(space["x"]).tolist() == [2.0, 2.0]
    assert len(f._captured.entries) == 1, f._captured.reasons
