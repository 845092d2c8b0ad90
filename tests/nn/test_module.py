"""Module: registration, traversal, state, conversion, text."""

import copy
import pickle

import pytest

import facula as torch
from facula import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(3, 4)
        self.body = nn.Sequential(nn.ReLU(), nn.Linear(4, 2))
        self.tied = self.fc1
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("cache", torch.zeros(1), persistent=False)
        self.register_parameter("absent", None)

    def forward(self, x):
        return self.body(self.fc1(x)) * self.scale


KEYS = [
    "scale",
    "mean",
    "fc1.weight",
    "fc1.bias",
    "body.1.weight",
    "body.1.bias",
    "tied.weight",
    "tied.bias",
]


def test_names_in_order():
    net = Net()
    assert list(net.state_dict()) == KEYS
    assert [n for n, _ in net.named_parameters()] == [k for k in KEYS[:6] if k != "mean"]
    both = [n for n, _ in net.named_parameters(remove_duplicate=False)]
    assert both[-2:] == ["tied.weight", "tied.bias"]
    assert [n for n, _ in net.named_modules()] == ["", "fc1", "body", "body.0", "body.1"]
    assert [n for n, _ in net.named_children()] == ["fc1", "body"]
    assert [n for n, _ in net.named_buffers()] == ["mean", "cache"]
    assert net.state_dict()._metadata["body.1"] == {"version": 1}
    assert list(net.state_dict(prefix="net.body.")) == ["net.body." + k for k in KEYS]


def test_repr():
    assert repr(Net()) == (
        "Net(\n"
        "  (fc1): Linear(in_features=3, out_features=4, bias=True)\n"
        "  (body): Sequential(\n"
        "    (0): ReLU()\n"
        "    (1): Linear(in_features=4, out_features=2, bias=True)\n"
        "  )\n"
        "  (tied): Linear(in_features=3, out_features=4, bias=True)\n"
        ")"
    )


def test_assignment_moves_names_between_kinds():
    net = Net()
    net.mean = torch.ones(3)  # stays a buffer
    assert net._buffers["mean"].shape == (3,)
    net.scale = None
    assert "scale" in net._parameters and net.scale is None
    with pytest.raises(TypeError, match="cannot assign 'int' as parameter 'scale'"):
        net.scale = 3
    net.fc1 = nn.ReLU()
    assert isinstance(net.fc1, nn.ReLU)
    net.body = nn.Parameter(torch.ones(1))
    assert "body" in net._parameters and "body" not in net._modules
    net.extra = nn.Buffer(torch.ones(1), persistent=False)
    assert "extra" in net._buffers and "extra" not in net.state_dict()
    del net.mean
    assert not hasattr(net, "mean")


def test_before_init():
    class Early(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match="cannot assign module before Module"):
        Early()


@pytest.mark.parametrize(
    ("name", "error"), [("a.b", KeyError), ("", KeyError), ("scale", KeyError), (3, TypeError)]
)
def test_bad_names(name, error):
    with pytest.raises(error):
        Net().register_buffer(name, None)


def test_paths():
    net = Net()
    assert net.get_submodule("body.1") is net.body[1]
    assert net.get_parameter("body.1.weight") is net.body[1].weight
    assert net.get_buffer("mean") is net.mean
    for get, path in (
        (net.get_submodule, "body.9"),
        (net.get_submodule, "fc1.weight"),
        (net.get_parameter, "mean"),
        (net.get_buffer, "scale"),
    ):
        with pytest.raises(AttributeError):
            get(path)
    net.set_submodule("body.0", nn.Tanh())
    assert isinstance(net.body[0], nn.Tanh)
    with pytest.raises(AttributeError, match="no attribute `nope`"):
        net.set_submodule("body.nope", nn.Tanh(), strict=True)


# -- state ---------------------------------------------------------------------------


def test_load_copies_in_place():
    net, other = Net(), Net()
    weight = net.fc1.weight
    assert repr(net.load_state_dict(other.state_dict())) == "<All keys matched successfully>"
    assert net.fc1.weight is weight
    assert torch.equal(net.fc1.weight, other.fc1.weight)
    assert net.fc1.weight.data_ptr() != other.fc1.weight.data_ptr()


def test_load_assign():
    layer = nn.Linear(2, 2)
    given = torch.ones(2, 2)
    layer.load_state_dict({"weight": given, "bias": torch.zeros(2)}, assign=True)
    assert layer.weight.data_ptr() == given.data_ptr()
    assert isinstance(layer.weight, nn.Parameter) and layer.weight.requires_grad


def test_load_errors():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    with pytest.raises(RuntimeError) as failure:
        net.load_state_dict({"0.weight": torch.ones(3, 3), "x": torch.ones(1), "1.a": 1})
    assert str(failure.value) == (
        "Error(s) in loading state_dict for Sequential:\n"
        '\tMissing key(s) in state_dict: "0.bias". \n'
        '\tUnexpected key(s) in state_dict: "x", "1.a". \n'
        "\tsize mismatch for 0.weight: copying a param with shape torch.Size([3, 3]) from "
        "checkpoint, the shape in current model is torch.Size([3, 2])."
    )
    keys = net.load_state_dict({"0.weight": torch.ones(3, 2), "x": 1}, strict=False)
    assert keys.missing_keys == ["0.bias"] and keys.unexpected_keys == ["x"]
    with pytest.raises(TypeError, match="dict-like"):
        net.load_state_dict([])


def test_extra_state():
    class Counting(nn.Module):
        count = 3

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    module = Counting()
    state = module.state_dict()
    assert list(state) == ["_extra_state"]
    module.count = 5
    module.load_state_dict(state)
    assert module.count == 3
    with pytest.raises(RuntimeError, match=r'Missing key.*"_extra_state"'):
        module.load_state_dict({})


def test_state_hooks():
    seen = []
    net = Net()
    net.register_state_dict_pre_hook(lambda module, prefix, keep: seen.append(("pre", prefix)))
    net.body.register_state_dict_post_hook(
        lambda module, state, prefix, metadata: state.__setitem__(prefix + "note", 1)
    )
    state = net.state_dict()
    assert state["body.note"] == 1 and seen == [("pre", "")]
    net.register_load_state_dict_pre_hook(
        lambda module, state, *rest: state.pop("body.note") and None
    )
    net.register_load_state_dict_post_hook(lambda module, keys: seen.append(keys.missing_keys))
    net.load_state_dict(state)
    assert seen == [("pre", ""), []]


# -- conversion ------------------------------------------------------------------------


def test_dtype_in_place():
    net = Net()
    weight = net.fc1.weight
    net(torch.ones(1, 3)).sum().backward()
    net.double()
    assert net.fc1.weight is weight is net.tied.weight
    assert weight.dtype == weight.grad.dtype == net.mean.dtype == torch.float64
    assert net.to(torch.float16).scale.dtype == torch.float16
    assert net.to("cpu", torch.float32).scale.dtype == torch.float32
    assert net.to(torch.ones(1, dtype=torch.float64)).scale.dtype == torch.float64
    with pytest.raises(TypeError, match="only accepts floating point or complex"):
        net.to(torch.int32)


def test_modes():
    net = Net()
    assert net.eval() is net and not net.body[0].training
    assert net.train().body[0].training
    with pytest.raises(ValueError, match="boolean"):
        net.train(1)
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_zero_grad():
    net = Net()
    net(torch.ones(1, 3)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert net.scale.grad.tolist() == [0.0, 0.0]
    net.zero_grad()
    assert net.scale.grad is None


def test_copies():
    net = Net()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert twin.tied is twin.fc1
        assert twin.scale is not net.scale and isinstance(twin.scale, nn.Parameter)
        assert torch.equal(twin(torch.ones(1, 3)), net(torch.ones(1, 3)))


def test_unknown_arguments():
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        nn.Module(1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'a'"):
        nn.Module(a=1)
    with pytest.raises(NotImplementedError, match='missing the required "forward"'):
        nn.Module()(1)


def test_hooks_survive_copies():
    layer = nn.Identity()
    layer.register_forward_hook(double)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin(2) == 4


def double(module, args, output):
    return output * 2


def test_parameter_of_a_subclass():
    class Tagged(torch.Tensor):
        pass

    data = torch.ones(2).as_subclass(Tagged)
    param = nn.Parameter(data)
    assert isinstance(param, Tagged) and isinstance(param, nn.Parameter) and param.requires_grad
    module = nn.Identity()
    module.weight = param
    assert "weight" in module.state_dict()
