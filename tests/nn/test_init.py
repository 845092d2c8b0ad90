"""nn.init: the numbers that PyTorch 2.13 draws on the CPU under seed 0."""

import math

import pytest

import facula as torch
from facula import nn


def drawn(fill, *shape, **kwargs):
    torch.manual_seed(0)
    return [round(v, 4) for v in fill(torch.empty(*shape), **kwargs).flatten().tolist()]


# Expected numbers are those real torch gives for the same calls, to four digits.
@pytest.mark.parametrize(("fill", "shape", "kwargs", "expected"), [
    (nn.init.uniform_, (3,), {"a": -1.0}, [-0.0075, 0.5364, -0.823]),
    (nn.init.normal_, (3,), {"std": 2.0}, [3.0820, -0.5869, -4.3576]),
    (nn.init.trunc_normal_, (3,), {}, [1.5410, -0.2934, -1.3986]),
    (nn.init.trunc_normal_, (3,), {"a": 1.0}, [1.4963, 1.7682, 1.0885]),
    (nn.init.xavier_uniform_, (2, 2), {}, [-0.0092, 0.6570, -1.0080, -0.9013]),
    (nn.init.xavier_normal_, (2, 2), {"gain": 2.0}, [2.1793, -0.4150, -3.0813, 0.8039]),
    (nn.init.kaiming_uniform_, (2, 2), {"a": math.sqrt(5)}, [-0.0053, 0.3793, -0.5820, -0.5204]),
    (nn.init.kaiming_normal_, (2, 2), {"mode": "fan_out"}, [1.5410, -0.2934, -2.1788, 0.5684]),
    (nn.init.sparse_, (4, 2), {"sparsity": 0.5}, None),
    (nn.init.eye_, (2, 3), {}, [1, 0, 0, 0, 1, 0]),
    (nn.init.dirac_, (2, 1, 3), {"groups": 2}, [0, 1, 0, 0, 1, 0]),
])  # fmt: skip
def test_numbers(fill, shape, kwargs, expected):
    got = drawn(fill, *shape, **kwargs)
    if expected is None:
        assert got.count(0.0) == 4
    else:
        assert got == pytest.approx(expected, abs=2e-4)


def test_orthogonal():
    torch.manual_seed(0)
    rows = nn.init.orthogonal_(torch.empty(3, 5), gain=2.0)
    assert torch.allclose(rows @ rows.T, 4 * torch.eye(3), atol=1e-5)


def test_layers_draw_in_pytorchs_order():
    torch.manual_seed(0)
    layer = nn.Linear(2, 2)
    assert layer.weight.flatten().tolist() == pytest.approx(
        [-0.0053, 0.3793, -0.5820, -0.5204], abs=1e-4
    )
    assert layer.bias.tolist() == pytest.approx([-0.2723, 0.1896], abs=1e-4)


def test_gains():
    assert nn.init.calculate_gain("relu") == math.sqrt(2)
    assert nn.init.calculate_gain("tanh") == 5 / 3
    with pytest.raises(ValueError, match="Unsupported nonlinearity"):
        nn.init.calculate_gain("sine")
    with pytest.raises(ValueError, match="not a valid number"):
        nn.init.calculate_gain("leaky_relu", True)


def test_errors_and_warnings():
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        nn.init.xavier_uniform_(torch.empty(3))
    with pytest.raises(ValueError, match="Mode fan not supported"):
        nn.init.kaiming_uniform_(torch.empty(3, 3), mode="fan")
    with pytest.warns(UserWarning, match="no-op"):
        nn.init.kaiming_uniform_(torch.empty(0, 3))
    with pytest.warns(FutureWarning, match="nn.init.uniform_"):
        nn.init.uniform(torch.empty(3))
