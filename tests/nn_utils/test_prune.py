"""Pruning; expected masks by hand."""

import pytest

import facula
from facula import nn
from facula.nn.utils import prune


def layer():
    linear = nn.Linear(3, 2)
    linear.weight.data = facula.tensor([[1.0, -6.0, 3.0], [-2.0, 5.0, 4.0]])
    return linear


def mask(linear):
    return linear.weight_mask.tolist()


def test_l1_unstructured():
    linear = prune.l1_unstructured(layer(), "weight", amount=0.5)
    assert mask(linear) == [[0, 1, 0], [0, 1, 1]]
    assert linear.weight.tolist() == [[0, -6, 0], [0, 5, 4]]
    assert sorted(linear.state_dict()) == ["bias", "weight_mask", "weight_orig"]
    linear(facula.ones(1, 3)).sum().backward()
    assert linear.weight_orig.grad.tolist() == mask(linear)
    prune.remove(linear, "weight")
    assert linear.weight.tolist() == [[0, -6, 0], [0, 5, 4]]
    assert sorted(linear.state_dict()) == ["bias", "weight"] and not prune.is_pruned(linear)


def test_structured():
    assert mask(prune.ln_structured(layer(), "weight", 1, n=1, dim=1)) == [[0, 1, 1]] * 2
    facula.manual_seed(0)
    rows = mask(prune.random_structured(layer(), "weight", 1, dim=0))
    assert sorted(map(sum, rows)) == [0, 3]


def test_random_unstructured():
    facula.manual_seed(0)
    assert sum(map(sum, mask(prune.random_unstructured(layer(), "weight", 4)))) == 2


def test_pruning_goes_on_where_it_ended():
    linear = prune.l1_unstructured(layer(), "weight", 2)
    prune.l1_unstructured(linear, "weight", 0.5)
    assert mask(linear) == [[0, 1, 0], [0, 1, 0]]
    (hook,) = linear._forward_pre_hooks.values()
    assert isinstance(hook, prune.PruningContainer) and len(hook) == 2
    linear = prune.ln_structured(layer(), "weight", 1, 1, 1)
    prune.l1_unstructured(linear, "weight", 1)
    assert mask(linear) == [[0, 1, 0], [0, 1, 1]]


def test_custom_and_scores():
    given = facula.tensor([[1, 0, 1], [0, 1, 1]])
    assert mask(prune.custom_from_mask(layer(), "weight", given)) == given.tolist()
    scores = facula.tensor([[9.0, 8, 7], [6, 5, 4]])
    linear = prune.l1_unstructured(layer(), "weight", 2, importance_scores=scores)
    assert mask(linear) == [[1, 1, 1], [1, 0, 0]]
    assert mask(prune.identity(layer(), "weight")) == [[1] * 3] * 2
    assert prune.L1Unstructured(1).prune(facula.tensor([3.0, 1.0])).tolist() == [3, 0]


def test_global_unstructured():
    model = nn.Sequential(layer(), layer())
    model[1].weight.data.mul_(10)
    pairs = [(model[0], "weight"), (model[1], "weight")]
    prune.global_unstructured(pairs, prune.L1Unstructured, amount=6)
    assert mask(model[0]) == [[0] * 3] * 2 and mask(model[1]) == [[1] * 3] * 2
    with pytest.raises(TypeError, match='Only "unstructured" PRUNING_TYPE supported'):
        prune.global_unstructured(pairs, prune.LnStructured, amount=0.5, n=2)


@pytest.mark.parametrize(
    "amount, error", [(-1, ValueError), (1.5, ValueError), ("a", TypeError), (7, ValueError)]
)
def test_wrong_amounts(amount, error):
    with pytest.raises(error, match="amount"):
        prune.l1_unstructured(layer(), "weight", amount)


def test_a_failed_pruning_leaves_the_module_as_it_was():
    linear = layer()
    with pytest.raises(IndexError, match="Invalid index 5"):
        prune.ln_structured(linear, "weight", 0.5, 2, dim=5)
    assert sorted(linear.state_dict()) == ["bias", "weight"]
    with pytest.raises(ValueError, match="Structured pruning can only be applied"):
        prune.ln_structured(linear, "bias", 0.5, 2, dim=0)
    with pytest.raises(ValueError, match="has to be pruned before"):
        prune.remove(linear, "weight")
