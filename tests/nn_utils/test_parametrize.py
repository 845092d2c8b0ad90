"""Parametrizations: registering, assigning, removing; the ready-made ones."""

import copy
import pickle

import pytest

import facula
from facula import nn
from facula.llvm.target import Target
from facula.nn.utils import (
    parametrizations,
    parametrize,
    remove_spectral_norm,
    remove_weight_norm,
    spectral_norm,
    weight_norm,
)


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT

    def right_inverse(self, x):
        return x.triu()


class Doubled(nn.Module):
    calls = 0

    def forward(self, x):
        Doubled.calls += 1
        return 2 * x


class Sum(nn.Module):
    def forward(self, a, b):
        return a + b

    def right_inverse(self, x):
        return 0.25 * x, 0.75 * x


class FirstRow(nn.Module):
    def forward(self, x):
        return x[:1]


def square(*parametrized_by, **options):
    layer = nn.Linear(3, 3)
    layer.weight.data = facula.arange(9.0).reshape(3, 3)
    for parametrization in parametrized_by:
        parametrize.register_parametrization(layer, "weight", parametrization, **options)
    return layer


SYMMETRIC = [[0, 1, 2], [1, 4, 5], [2, 5, 8]]


def test_registering():
    layer = square(Symmetric())
    assert layer.weight.tolist() == SYMMETRIC
    assert sorted(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert type(layer).__name__ == "ParametrizedLinear"
    assert parametrize.type_before_parametrizations(layer) is nn.Linear
    assert parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias")
    layer(facula.ones(1, 3)).sum().backward()
    assert layer.parametrizations.weight.original.grad.tolist() == [[1, 2, 2], [0, 1, 2], [0, 0, 1]]


def test_several_originals_and_chains():
    layer = square(Sum(), Doubled())
    assert layer.weight.tolist() == (2 * facula.arange(9.0).reshape(3, 3)).tolist()
    names = [name for name, _ in layer.named_parameters()]
    assert names == [
        "bias", "parametrizations.weight.original0", "parametrizations.weight.original1",
    ]  # fmt: skip


def test_assigning():
    layer = square(Symmetric())
    original = layer.parametrizations.weight.original
    layer.weight = facula.ones(3, 3)
    assert layer.weight.tolist() == [[1] * 3] * 3
    assert layer.parametrizations.weight.original is original
    with pytest.raises(RuntimeError, match="Doubled does not implement right_inverse"):
        square(Doubled()).weight = facula.ones(3, 3)


@pytest.mark.parametrize("by, leave, rows", [
    (Symmetric, True, SYMMETRIC), (Symmetric, False, [[0, 1, 2], [0, 4, 5], [0, 0, 8]]),
    (Sum, True, [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
])  # fmt: skip
def test_removing(by, leave, rows):
    layer = square(by())
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=leave)
    assert layer.weight.tolist() == rows and type(layer.weight) is nn.Parameter
    assert type(layer) is nn.Linear and not hasattr(layer, "parametrizations")


@pytest.mark.parametrize("act, message", [
    (lambda: square(FirstRow()), "may not change the shape"),
    (lambda: square(Symmetric(), FirstRow()), "may not change the shape"),
    (lambda: parametrize.register_parametrization(square(), "w", Sum()), "does not have a"),
    (lambda: parametrize.remove_parametrizations(square(), "weight"), "does not have a"),
    (lambda: parametrize.remove_parametrizations(square(Sum()), "weight", False), "Cannot leave"),
])  # fmt: skip
def test_refusals(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_copies():
    layer = square(Symmetric())
    clone = copy.deepcopy(layer)
    layer.weight = facula.zeros(3, 3)
    assert clone.weight.tolist() == SYMMETRIC
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        pickle.dumps(layer)
    other = square()
    parametrize.transfer_parametrizations_and_params(clone, other)
    assert other.weight.tolist() == SYMMETRIC


def test_cached():
    layer = square(Doubled())
    before = Doubled.calls
    with parametrize.cached():
        assert layer.weight is layer.weight
    assert Doubled.calls == before + 1
    assert layer.weight is not layer.weight


# -- ready-made -------------------------------------------------------------------------------


def layer_34():
    layer = nn.Linear(3, 2, bias=False)
    layer.weight.data = facula.tensor([[3.0, 0.0, 4.0], [0.0, 2.0, 0.0]])
    return layer


def test_weight_norm():
    layer = parametrizations.weight_norm(layer_34())
    original = layer.parametrizations.weight
    assert original.original0.tolist() == [[5], [2]]
    assert layer.weight.tolist() == [[3, 0, 4], [0, 2, 0]]
    with facula.no_grad():
        original.original0.mul_(2)
    assert layer.weight.tolist() == [[6, 0, 8], [0, 4, 0]]
    old = {"weight_g": facula.ones(2, 1), "weight_v": facula.tensor([[0.0, 3, 0], [1.0, 0, 0]])}
    layer.load_state_dict(old)
    assert layer.weight.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_spectral_norm():
    facula.manual_seed(0)
    layer = parametrizations.spectral_norm(layer_34(), n_power_iterations=5)
    assert layer.eval().weight.tolist()[0] == pytest.approx([0.6, 0, 0.8], abs=1e-5)
    names = sorted(layer.state_dict())
    assert names == [f"parametrizations.weight.{n}" for n in ("0._u", "0._v", "original")]
    with pytest.raises(ValueError, match="n_power_iterations to be positive"):
        parametrizations.spectral_norm(layer_34(), n_power_iterations=0)


def test_old_weight_norm():
    with pytest.warns(FutureWarning, match="is deprecated"):
        layer = weight_norm(layer_34())
    assert sorted(name for name, _ in layer.named_parameters()) == ["weight_g", "weight_v"]
    assert layer(facula.ones(1, 3)).tolist() == [[7, 2]]
    remove_weight_norm(layer)
    assert layer.weight.tolist() == [[3, 0, 4], [0, 2, 0]] and not layer._forward_pre_hooks
    with pytest.raises(ValueError, match="not found"):
        remove_weight_norm(layer)


def test_old_spectral_norm():
    facula.manual_seed(0)
    layer = spectral_norm(layer_34(), n_power_iterations=20)
    assert layer(facula.ones(1, 3)).tolist()[0] == pytest.approx([1.4, 0.4], abs=1e-4)
    assert sorted(layer.state_dict()) == ["weight_orig", "weight_u", "weight_v"]
    remove_spectral_norm(layer)
    assert sorted(layer.state_dict()) == ["weight"]


@pytest.mark.parametrize("name", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
def test_orthogonal(name, shape):
    facula.manual_seed(0)
    layer = parametrizations.orthogonal(nn.Linear(*shape), orthogonal_map=name)
    q = layer.weight if shape[1] >= shape[0] else layer.weight.mT
    product = (q.mT @ q - facula.eye(q.size(1))).abs().max().item()
    assert product < 1e-5
    with pytest.raises(ValueError, match="Expected a matrix"):
        parametrizations.orthogonal(nn.Linear(2, 2), "bias")


# What PyTorch 2.13 draws: seed -> norms of the weight, and the vectors of the power iteration;
# with AVX2, and with AVX-512, where its products add up in another order.
_DRAWN = {
    0: (
        ("0x1.3a3f9ap-1", "0x1.d7d9f6p-2", "0x1.d2dd8ap-3"),
        ("-0x1.1ee27cp-1", "-0x1.19a2dcp-1", "0x1.3d0d66p-1"),
        ("0x1.c51f64p-2", "-0x1.5a2686p-2", "-0x1.e33454p-2", "0x1.5dfb5cp-1"),
    ),
    1: (
        ("0x1.b1e734p-2", "0x1.3e6b7ep-1", "0x1.594214p-3"),
        ("0x1.6e56eap-1", "-0x1.66fe1ep-2", "0x1.356322p-1"),
        ("-0x1.806738p-2", "0x1.1fc696p-5", "0x1.a51d68p-3", "0x1.ce6156p-1"),
    ),
}

_DRAWN_WIDE = {
    0: (
        ("0x1.3a3f9ap-1", "0x1.d7d9f6p-2", "0x1.d2dd8ap-3"),
        ("-0x1.1ee27cp-1", "-0x1.19a2dcp-1", "0x1.3d0d66p-1"),
        ("0x1.c51f62p-2", "-0x1.5a2682p-2", "-0x1.e33454p-2", "0x1.5dfb5cp-1"),
    ),
    1: (
        ("0x1.b1e734p-2", "0x1.3e6b7ep-1", "0x1.594214p-3"),
        ("0x1.6e56eap-1", "-0x1.66fe1ep-2", "0x1.356322p-1"),
        ("-0x1.806736p-2", "0x1.1fc6a2p-5", "0x1.a51d68p-3", "0x1.ce6156p-1"),
    ),
}


@pytest.mark.parametrize("seed", _DRAWN)
def test_initial_norms_are_pytorchs_to_the_bit(seed):
    facula.manual_seed(seed)
    split = parametrizations.weight_norm(nn.Linear(4, 3)).parametrizations.weight.original0
    estimate = parametrizations.spectral_norm(nn.Linear(4, 3)).parametrizations.weight[0]
    got = (split.detach().flatten(), estimate._u, estimate._v)
    drawn = _DRAWN_WIDE if Target.host().vector_bytes == 64 else _DRAWN
    for have, want in zip(got, drawn[seed], strict=True):
        assert have.tolist() == [float.fromhex(x) for x in want]
