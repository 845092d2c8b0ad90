"""The scale of the loss: steps, skipped steps, growth, checkpoints."""

import pickle

import pytest

import facula as torch


def training():
    w = torch.nn.Parameter(torch.ones(2))
    return w, torch.optim.SGD([w], lr=0.5)


def test_a_step_sees_unscaled_gradients():
    w, optimizer = training()
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
    scaler.scale((3 * w).sum()).backward()
    assert w.grad.tolist() == [24.0, 24.0]
    scaler.step(optimizer)
    scaler.update()
    assert w.tolist() == [-0.5, -0.5]
    assert scaler.get_scale() == 16.0


def test_overflow_skips_the_step():
    w, optimizer = training()
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale((float("inf") * w).sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called on this optimizer"):
        scaler.unscale_(optimizer)
    assert scaler.step(optimizer) is None
    scaler.update()
    assert w.tolist() == [1.0, 1.0]
    assert scaler.get_scale() == 4.0


def test_order_of_calls():
    _, optimizer = training()
    scaler = torch.amp.GradScaler("cpu")
    with pytest.raises(AssertionError, match="Attempted step but _scale is None"):
        scaler.step(optimizer)
    scaler.scale(torch.ones(1))
    with pytest.raises(AssertionError, match="No inf checks were recorded for this optimizer"):
        scaler.step(optimizer)


def test_state():
    w, optimizer = training()
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    for _ in range(3):
        optimizer.zero_grad()
        scaler.scale(w.sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    state = scaler.state_dict()
    assert state == {
        "scale": 16.0,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2,
        "_growth_tracker": 1,
    }
    other = torch.amp.GradScaler("cpu")
    other.load_state_dict(state)
    assert other.state_dict() == pickle.loads(pickle.dumps(scaler)).state_dict() == state


def test_disabled():
    w, optimizer = training()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    loss = scaler.scale(w.sum())
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert w.tolist() == [0.5, 0.5]
    assert scaler.state_dict() == {}
    assert scaler.get_scale() == 1.0
