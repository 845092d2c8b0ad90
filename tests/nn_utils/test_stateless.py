"""functional_call with other tensors than a module's own."""

import pytest

import facula
from facula import nn
from facula.nn.utils.stateless import functional_call


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        self.b.weight = self.a.weight
        self.register_buffer("count", facula.zeros(()))

    def forward(self, x):
        self.count += 1
        return self.b(self.a(x))


X = facula.tensor([[1.0, 2.0]])
TWICE = facula.tensor([[2.0, 0.0], [0.0, 2.0]])


def test_own_tensors_come_back():
    model = Tied()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given = {"a.weight": TWICE, "count": facula.tensor(5.0)}
    assert functional_call(model, given, X).tolist() == [[4, 8]]
    assert given["count"].item() == 6
    for name, value in model.state_dict().items():
        assert value.tolist() == before[name].tolist()
    assert model.b.weight is model.a.weight


def test_ties():
    model = Tied()
    untied = functional_call(
        model, {"a.weight": TWICE, "b.weight": facula.eye(2)}, (X,), tie_weights=False
    )
    assert untied.tolist() == [[2, 4]]
    with pytest.raises(ValueError, match="which are tied"):
        functional_call(model, {"a.weight": TWICE, "b.weight": facula.eye(2)}, X)


def test_gradients_reach_what_was_given():
    weight = facula.eye(2, requires_grad=True)
    layer = nn.Linear(2, 2, bias=False)
    functional_call(layer, {"weight": weight}, (), {"input": X}).sum().backward()
    assert weight.grad.tolist() == [[1, 2], [1, 2]] and layer.weight.grad is None


def test_strict():
    layer = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match=r"Missing key\(s\): 'bias'"):
        functional_call(layer, {"weight": TWICE}, X, strict=True)
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\): 'other'"):
        functional_call(layer, {"other": TWICE}, X, strict=True)


def test_an_error_in_the_call():
    layer = nn.Linear(2, 2)
    weight = layer.weight
    with pytest.raises(Exception):  # noqa: B017
        functional_call(layer, {"weight": facula.ones(2, 3)}, X)
    assert layer.weight is weight
