"""Programs of groups are written once for each structure, and loops that nobody looks at come again."""

import numpy as np
import pytest

import facula as torch
from facula import engine
from facula.engine import Counters
from facula.graph.tape import MAX_PASSES
from facula.schedule import codegen, programs


@pytest.fixture
def written(monkeypatch):
    """The programs that are written from now on."""
    made = []
    finish = codegen.Writer._finish

    def noted(self):
        made.append(finish(self))
        return made[-1]

    monkeypatch.setattr(codegen.Writer, "_finish", noted)
    programs._known.clear()
    engine.forget_plans()
    return made


def unrolled(steps):
    torch.manual_seed(0)
    cell = torch.nn.Linear(24, 16)
    h, xs = torch.zeros(1, 16), torch.randn(steps, 1, 8)
    loss = torch.zeros(())
    for x in xs:
        h = torch.tanh(cell(torch.cat((x, h), 1)))
        loss += h.exp().sum()
    loss.backward()
    return loss.item(), cell.weight.grad


def test_more_steps_write_no_programs(written):
    unrolled(6)
    unrolled(7)
    before = len(written)
    unrolled(13)
    assert len(written) - before <= 5  # sums of as many gradients as there are steps
    assert before < 20


def test_a_program_found_again_gives_what_a_new_one_gives(written):
    loss, grad = unrolled(9)
    engine.forget_plans()
    n = len(written)
    again, other = unrolled(9)
    assert len(written) == n
    assert again == loss and torch.equal(grad, other)


def test_other_places_of_the_same_memory_are_no_other_program(written):
    whole = torch.arange(64.0)
    for k in range(6):
        # results of a plan that lie at other places in memory
        parts = torch.cat([whole[k : k + 3] * 2.0, whole[:k] + 1.0, whole[k : k + 5] * 2.0])
        a = np.arange(64, dtype=np.float32)
        expected = np.concatenate([a[k : k + 3] * 2, a[:k] + 1, a[k : k + 5] * 2])
        assert np.array_equal(parts.numpy(), expected)


def test_numbers_of_a_program_are_its_calls(written):
    x = torch.randn(4, 32)
    a = torch.nn.functional.layer_norm(x, (32,), eps=1e-5)
    b = torch.nn.functional.layer_norm(x + 1, (32,), eps=0.25)
    c, d = torch.nn.functional.layer_norm(x, (32,), eps=0.25), x * 0.3 + 0.7
    n = x.numpy().astype(np.float64)
    for got, eps in ((a, 1e-5), (b, 0.25), (c, 0.25)):
        expected = (n - n.mean(1, keepdims=True)) / np.sqrt(n.var(1, keepdims=True) + eps)
        assert np.allclose(got.numpy(), expected, atol=1e-5)
    assert np.allclose(d.numpy(), n * 0.3 + 0.7, atol=1e-6)


def test_signs_of_zero_are_told_apart(written):
    x = torch.tensor([-1.0, 2.0])
    up, down = torch.where(x > 0, x, 0.0), torch.where(x > 0, x, -0.0)
    assert not np.signbit(up.numpy()[0])
    assert np.signbit(down.numpy()[0])


def test_a_bad_index_is_reported_of_the_operator_that_has_it(written):
    table = torch.randn(5, 3)
    good, bad = torch.tensor([1, 4]), torch.tensor([1, 7])
    a = table[good].exp()
    with pytest.raises(IndexError, match="index 7 is out of bounds for dimension 0 with size 5"):
        (a + table[bad].exp()).sum().item()
    assert torch.equal(a, table[good].exp())


def test_parts_of_complex_numbers_stand_where_they_are(written):
    z = torch.complex(torch.arange(12.0), -torch.arange(12.0))
    z = torch.stack([z[:6] + 0, z[6:] + 0])
    for k in range(4):
        row = z[1, k : k + 2] * 1
        assert (row.real + 1).tolist() == [7.0 + k, 8.0 + k]
        assert (row.imag - 1).tolist() == [-7.0 - k, -8.0 - k]


def kernels_of(n):
    """The kernels of a sum over a loop's products with one number each."""
    p = torch.rand(1, requires_grad=True)
    logs = [torch.log(p * (k + 1)) for k in range(n)]
    values = [x.item() for x in logs]
    returns = torch.tensor(values)
    engine.forget_plans()
    torch.cat([-x * r for x, r in zip(logs, returns, strict=True)]).sum().backward()
    p.grad.tolist()
    return {s.kernel.key for plan in engine._plans.values() for s in plan.kernels}


def test_kernels_do_not_grow_with_the_length_of_a_loop():
    assert len(kernels_of(72) - kernels_of(56)) <= 1


def test_loops_that_nobody_looks_at_are_evaluated_between_steps():
    torch.manual_seed(0)
    a = torch.randn(4, 4).log_softmax(1).requires_grad_()
    built = 0
    grads = []
    for k in range(12 * MAX_PASSES):
        h = torch.zeros(4)
        for _ in range(30):
            h = torch.logsumexp(h.unsqueeze(1) + a, 0)
        (grad,) = torch.autograd.grad(h.logsumexp(0), a)
        grads.append(grad)
        if k == 4 * MAX_PASSES:
            built = Counters.plans_built
            grads.clear()
    assert Counters.plans_built <= built + 1  # what it began with is new: the gradients were let go
    assert torch.equal(grads[0], grads[-1])


def test_training_by_hand_that_nobody_looks_at_comes_again():
    """Updates without an optimizer, after `loss.backward()`, do not end a step's plan."""
    torch.manual_seed(0)
    layers = [part for _ in range(12) for part in (torch.nn.Linear(8, 8), torch.nn.Tanh())]
    model = torch.nn.Sequential(*layers)
    x = torch.randn(4, 8)
    built = 0
    for k in range(20 * MAX_PASSES):
        model(x).pow(2).mean().backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.01 * p.grad
                p.grad = None
        if k == 10 * MAX_PASSES:
            built = Counters.plans_built
    assert Counters.plans_built == built


def test_short_tapes_are_one_plan():
    model = torch.nn.Linear(4, 2)
    run = Counters.plans_run
    for _ in range(2 * MAX_PASSES):
        model(torch.ones(3, 4)).sum().backward()
    assert Counters.plans_run == run
    model.weight.grad.tolist()
    assert Counters.plans_run == run + 1


def test_long_steps_are_evaluated_after_the_second():
    w = torch.rand(8, requires_grad=True)

    def step():
        h = torch.zeros(2, 8)
        for _ in range(150):
            h = torch.tanh(h * w + 0.5).exp()
        return torch.autograd.grad(h.sum(), w)[0]

    run = Counters.plans_run
    first = step()
    assert Counters.plans_run == run
    second = step()
    assert Counters.plans_run == run + 1
    assert torch.equal(first, second)
