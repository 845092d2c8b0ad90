"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

from collections import OrderedDict

import pytest

import facula as torch
from facula import nn


def three(kind):
    modules = [nn.ReLU(), nn.Tanh(), nn.Sigmoid()]
    return kind(*modules) if kind is nn.Sequential else kind(modules)


def names(modules):
    return [type(m).__name__ for m in modules]


@pytest.mark.parametrize("kind", [nn.Sequential, nn.ModuleList])
def test_like_a_list(kind):
    modules = three(kind)
    assert len(modules) == 3 and names(modules[:2]) == ["ReLU", "Tanh"]
    assert isinstance(modules[-1], nn.Sigmoid) and isinstance(modules[:2], kind)
    with pytest.raises(IndexError, match="index 3 is out of range"):
        modules[3]
    del modules[0]
    assert list(modules._modules) == ["0", "1"]
    modules.append(nn.ReLU()).extend([nn.Tanh()])
    modules.insert(1, nn.SiLU())
    assert names(modules) == ["Tanh", "SiLU", "Sigmoid", "ReLU", "Tanh"]
    assert isinstance(modules.pop(1), nn.SiLU)
    modules[0] = nn.SiLU()
    assert names(modules + three(kind)) == ["SiLU", "Sigmoid", "ReLU", "Tanh"] + names(three(kind))
    assert "0" not in dir(modules)


def test_sequential():
    model = nn.Sequential(OrderedDict(first=nn.ReLU(), second=nn.Tanh()))
    assert model.second(torch.zeros(1)).item() == 0
    assert len(model * 2) == 4 and len(2 * model) == 4
    with pytest.raises(ValueError, match="Non-positive"):
        model * 0
    with pytest.raises(ValueError, match="only objects of Sequential"):
        model + [nn.ReLU()]


def test_module_list_repr_joins_equal_lines():
    layers = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()])
    assert repr(layers) == "ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Tanh()\n)"


def test_module_dict():
    modules = nn.ModuleDict({"a": nn.ReLU()})
    modules.update([("b", nn.Tanh())])
    assert list(modules) == ["a", "b"] and "a" in modules and len(modules) == 2
    assert isinstance(modules.pop("a"), nn.ReLU)
    with pytest.raises(KeyError, match="already exists"):
        modules["keys"] = nn.ReLU()
    with pytest.raises(ValueError, match="2 is required"):
        modules.update([("a", 1, 2)])


def test_parameter_list():
    values = nn.ParameterList([torch.ones(2), 3])
    assert isinstance(values[0], nn.Parameter) and values[1] == 3
    values += [torch.zeros(1)]
    assert len(values) == 3 and len(values[1:]) == 2
    assert list(values.state_dict()) == ["0", "2"]
    assert "(0): Parameter containing: [torch.float32 of size 2]" in repr(values)
    with pytest.raises(RuntimeError, match="should not be called"):
        values(1)


def test_parameter_dict():
    values = nn.ParameterDict({"b": torch.ones(2), "a": 1})
    assert list(values) == ["a", "b"]  # plain dicts are sorted, as PyTorch does
    assert isinstance(values["b"], nn.Parameter)
    assert values.get("c", 5) == 5 and values.setdefault("c", 6) == 6
    assert values.popitem() == ("c", 6)
    joined = values | nn.ParameterDict({"z": 2})
    assert list(joined) == ["a", "b", "z"] and len(values) == 2
    values.clear()
    assert len(values) == 0
    with pytest.raises(TypeError, match="not a string"):
        values[1] = 2
