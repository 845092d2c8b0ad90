"""Updates recorded by a generated function are those recorded by the loop, whatever changes between steps."""

from __future__ import annotations

import pytest

import facula as torch
from facula.ops import update

OPTIMIZERS = {
    "sgd": lambda ps: torch.optim.SGD(ps, lr=0.1),
    "momentum": lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda ps: torch.optim.Adam(ps, lr=0.1),
    "amsgrad": lambda ps: torch.optim.AdamW(ps, lr=0.1, amsgrad=True),
    "rmsprop": lambda ps: torch.optim.RMSprop(ps, lr=0.01, centered=True, momentum=0.5),
}


def fresh(seed=0):
    torch.manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(*shape)) for shape in ((3, 4), (4,), (2, 3))]


def bits(tensors):
    return [t.detach().numpy().tobytes() for t in tensors]


def run(make, change):
    """The parameters after each of some steps; `change` may do anything before one."""
    ps = fresh()
    opt = make(ps)
    seen = []
    for k in range(7):
        torch.manual_seed(k)
        for p in ps:
            p.grad = torch.randn(*p.shape)
        change(k, ps, opt)
        opt.step()
        seen.append(bits(ps))
    return seen


def learning_rate(k, ps, opt):
    opt.param_groups[0]["lr"] = 0.1 / (k + 1)


def integer_rate(k, ps, opt):
    opt.param_groups[0]["lr"] = [0, 1, 0.5, 1, 0.0, 0.25, 1][k]


def weight_decay(k, ps, opt):
    opt.param_groups[0]["weight_decay"] = [0, 0, 0, 0.5, 1, 0, 0.25][k]


def maximize(k, ps, opt):
    opt.param_groups[0]["maximize"] = k >= 4


def a_gradient_is_missing(k, ps, opt):
    if k in (3, 5):
        ps[1].grad = None


def frozen(k, ps, opt):
    ps[2].requires_grad_(k % 3 != 2)


def pinned(k, ps, opt):
    if k == 3:
        opt.shown = ps[0].detach().numpy()  # its memory is visible from here on
    if k > 3:
        opt.shown += 1


def edited_in_place(k, ps, opt):
    with torch.no_grad():
        ps[0].mul_(2)


def other_memory(k, ps, opt):
    if k == 4:
        ps[0].data = torch.randn(4, 3).t()
    if k == 5:
        ps[1].data = torch.randn(8)[4:]


def gradients_are_views(k, ps, opt):
    if k >= 3:
        ps[0].grad = ps[0].grad[:]
    if k == 5:
        opt.shown = ps[1].grad.numpy()
        opt.shown[0] = 7


def new_state(k, ps, opt):
    if k == 4:
        opt.load_state_dict(opt.state_dict())


CHANGES = [learning_rate, integer_rate, weight_decay, maximize, a_gradient_is_missing, frozen, pinned,
           edited_in_place, other_memory, gradients_are_views, new_state]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_changes_between_steps(name, change, monkeypatch):
    update._written.clear()
    mine = run(OPTIMIZERS[name], change)
    assert update._written
    update._written.clear()
    monkeypatch.setattr(update, "WRITTEN_SIZE", -1)
    assert run(OPTIMIZERS[name], change) == mine
    assert not update._written


def test_pending_values_and_two_groups():
    """Gradients and parameters that are not evaluated yet, groups of their own options."""

    def work():
        ps = fresh()
        opt = torch.optim.SGD(
            [{"params": ps[:1], "lr": 0.5}, {"params": ps[1:2]}, {"params": ps[2:]}], lr=0.1
        )
        for _ in range(5):
            opt.zero_grad()
            loss = (ps[0] @ ps[1]).exp().sum() + (ps[2].tanh() @ ps[0]).sum()
            loss.backward()
            opt.step()
        return bits(ps)

    update._written.clear()
    mine = work()
    torch._forget_plans()
    update._written.clear()
    assert work() == mine


def test_one_parameter_twice():
    p = torch.nn.Parameter(torch.ones(2))
    q = torch.nn.Parameter(torch.ones(2))
    with pytest.warns(UserWarning, match="duplicate parameters"):
        opt = torch.optim.SGD([p, p], lr=0.5)
    other = torch.optim.SGD([q, torch.nn.Parameter(torch.ones(2))], lr=0.5)
    for opt_ in (other, other, opt, opt):
        for group in opt_.param_groups:
            for x in group["params"]:
                x.grad = torch.ones(2)
        opt_.step()
    assert p.tolist() == [-1.0, -1.0] and q.tolist() == [0.0, 0.0]  # PyTorch's


def test_gradients_that_are_no_tensors_leave_the_parameters():
    ps = fresh()
    opt = torch.optim.SGD(ps, lr=0.5)
    for k in range(4):
        for p in ps:
            p.grad = torch.ones(*p.shape)
        if k == 3:
            before = bits(ps)
            with pytest.raises((TypeError, AttributeError)):
                torch.optim.sgd.sgd(ps, [p.grad for p in ps[:2]] + ["no"], [None] * 3, weight_decay=0.0,
                                    momentum=0, lr=0.5, dampening=0, nesterov=False, maximize=False)  # fmt: skip
            assert bits(ps[2:]) == before[2:]
        opt.step()
