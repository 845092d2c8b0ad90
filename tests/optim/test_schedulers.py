"""Schedules agree with PyTorch's to nine digits, and schedulers save, load, chain and warn."""

import pytest

import facula as torch

from .figures import SCHEDULERS, rates

schedulers = torch.optim.lr_scheduler

EXPECTED = [
    [1.0, 0.9, 0.81, 0.729, 0.6561, 0.59049, 0.531441, 0.4782969],
    [1.0, 0.9, 0.81, 0.729, 0.6561, 0.59049, 0.531441, 0.4782969],
    [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25],
    [1.0, 1.0, 0.1, 0.1, 0.1, 0.001, 0.001, 0.001],
    [0.333333333, 0.333333333, 0.333333333, 1.0, 1.0, 1.0, 1.0, 1.0],
    [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.7],
    [1.0, 0.9, 0.81, 0.729, 0.6561, 0.59049, 0.531441, 0.4782969],
    [1.0, 0.694444444, 0.444444444, 0.25, 0.111111111, 0.027777778, 0.0, 0.0],
    [1.0, 0.868198052, 0.55, 0.231801948, 0.1, 0.231801948, 0.55, 0.868198052],
    [1.0, 0.5, 1.0, 0.853553391, 0.5, 0.146446609, 1.0, 0.961939766],
    [0.1, 0.55, 1.0, 0.7, 0.4, 0.1, 0.325, 0.55],
    [0.04, 0.819275105, 0.971941777, 0.811745654, 0.555984014, 0.283060998, 0.076641594, 4e-06],
    [0.04, 0.725714286, 0.588571429, 0.038095429, 0.028572571, 0.019049714, 0.009526857, 4e-06],
]


@pytest.mark.parametrize("case", range(len(SCHEDULERS)), ids=lambda i: f"{SCHEDULERS[i][0]}{i}")
def test_eight_steps(case):
    assert rates(torch, *SCHEDULERS[case]) == pytest.approx(EXPECTED[case], abs=1e-9)


def optimizer(lr=1.0):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.9)


def go(scheduler, steps, *args):
    seen = []
    for _ in range(steps):
        scheduler.optimizer.step()
        scheduler.step(*args)
        seen.append(scheduler.get_last_lr()[0])
    return seen


def test_sequence_and_chain():
    o = optimizer()
    sequence = schedulers.SequentialLR(
        o, [schedulers.ConstantLR(o, 0.1, 9), schedulers.ExponentialLR(o, 0.5)], [2]
    )
    assert go(sequence, 4) == pytest.approx([0.1, 1.0, 0.5, 0.25])
    o = optimizer()
    chain = schedulers.ChainedScheduler(
        [schedulers.ConstantLR(o, 0.1, 2), schedulers.ExponentialLR(o, 0.5)]
    )
    assert go(chain, 3) == pytest.approx([0.05, 0.25, 0.125])


def test_plateau():
    scheduler = schedulers.ReduceLROnPlateau(optimizer(), patience=1, cooldown=1, min_lr=0.05)
    assert go(scheduler, 6, 3.0) == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.1, 0.05])
    assert scheduler.best == 3.0


@pytest.mark.parametrize("case", range(len(SCHEDULERS)), ids=lambda i: f"{SCHEDULERS[i][0]}{i}")
def test_a_loaded_state_goes_on_the_same_way(case):
    name, args, options = SCHEDULERS[case]
    one = getattr(schedulers, name)(optimizer(), *args, **options)
    go(one, 3)
    two = getattr(schedulers, name)(optimizer(), *args, **options)
    two.optimizer.load_state_dict(one.optimizer.state_dict())
    two.load_state_dict(one.state_dict())
    assert go(one, 4) == go(two, 4)


def test_functions_stay_out_of_state_dicts():
    scheduler = schedulers.LambdaLR(optimizer(), lambda epoch: 1.0)
    assert scheduler.state_dict()["lr_lambdas"] == [None]
    assert "optimizer" not in scheduler.state_dict()


def test_momentum_moves_against_the_rate():
    o = optimizer()
    scheduler = schedulers.OneCycleLR(o, 1.0, total_steps=8)
    go(scheduler, 2)
    assert o.param_groups[0]["momentum"] == pytest.approx(0.852806, abs=1e-6)
    adam = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    schedulers.CyclicLR(adam, 0.1, 1.0)
    assert adam.param_groups[0]["betas"] == (0.9, 0.999)


def test_rates_may_be_tensors():
    rate = torch.tensor(1.0)
    scheduler = schedulers.ExponentialLR(optimizer(rate), 0.5)
    go(scheduler, 2)
    assert rate.item() == 0.25
    assert scheduler.optimizer.param_groups[0]["lr"] is rate


def test_wrong_order_is_warned_about():
    scheduler = schedulers.StepLR(optimizer(), 1)
    with pytest.warns(UserWarning, match=r"before `optimizer\.step\(\)`"):
        scheduler.step()


def test_epochs_as_arguments_are_deprecated():
    scheduler = schedulers.StepLR(optimizer(), 3)
    scheduler.optimizer.step()
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(7)
    assert scheduler.get_last_lr() == pytest.approx([0.01])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda o: schedulers.StepLR(3, 1), TypeError, "int is not an Optimizer"),
        (lambda o: schedulers.StepLR(o, 1, last_epoch=2), KeyError, "initial_lr"),
        (lambda o: schedulers.LambdaLR(o, [abs, abs]), ValueError, "Expected 1 lr_lambdas"),
        (lambda o: schedulers.LinearLR(o, 0), ValueError, "Starting multiplicative factor"),
        (lambda o: schedulers.OneCycleLR(o, 1.0), ValueError, "total_steps OR"),
        (lambda o: schedulers.CyclicLR(o, 0.1, 1.0, mode="x"), ValueError, "mode is invalid"),
        (lambda o: schedulers.ReduceLROnPlateau(o, factor=1.0), ValueError, "Factor"),
        (lambda o: schedulers.ChainedScheduler([]), ValueError, "at least one scheduler"),
    ],
)
def test_errors(make, error, words):
    with pytest.raises(error, match=words):
        make(optimizer())


def test_stepping_beyond_the_cycle():
    scheduler = schedulers.OneCycleLR(optimizer(), 1.0, total_steps=2)
    with pytest.raises(ValueError, match="Tried to step 3 times"):
        go(scheduler, 4)
