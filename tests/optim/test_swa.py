"""Averages of weights."""

import pytest

import facula as torch

swa = torch.optim.swa_utils


def linear(value):
    model = torch.nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(value)
        model.bias.fill_(0.0)
    return model


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 2.0),
        ({"avg_fn": swa.get_ema_avg_fn(0.5)}, 2.25),
        ({"multi_avg_fn": swa.get_ema_multi_avg_fn(0.5)}, 2.25),
        ({"multi_avg_fn": swa.get_swa_multi_avg_fn()}, 2.0),
        ({"avg_fn": lambda average, current, count: current}, 3.0),
    ],
)
def test_averages(options, expected):
    average = swa.AveragedModel(linear(0.0), **options)
    for value in (1.0, 2.0, 3.0):
        average.update_parameters(linear(value))
    assert average.module.weight.item() == pytest.approx(expected)
    assert average.n_averaged.item() == 3
    assert list(average.state_dict()) == ["n_averaged", "module.weight", "module.bias"]


def test_update_bn():
    model = torch.nn.BatchNorm1d(1)
    swa.update_bn([torch.tensor([[1.0], [3.0]]), (torch.tensor([[5.0], [7.0]]), None)], model)
    assert model.running_mean.item() == pytest.approx(4.0)
    assert model.momentum == 0.1


def test_swalr():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = swa.SWALR(optimizer, 0.2, anneal_epochs=4, anneal_strategy="linear")
    seen = []
    for _ in range(5):
        optimizer.step()
        scheduler.step()
        seen.append(scheduler.get_last_lr()[0])
    assert seen == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.2])
