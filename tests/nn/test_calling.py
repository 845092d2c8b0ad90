"""Calls of modules: hooks and the module's path in errors."""

import pytest

import facula as torch
from facula import nn
from facula.nn.modules import module as module_file


class Scale(nn.Module):
    def forward(self, x, factor=1):
        return x * factor


def test_forward_hooks_order_and_effect():
    seen = []
    scale = Scale()
    scale.register_forward_pre_hook(lambda m, args: seen.append("pre"))
    scale.register_forward_pre_hook(
        lambda m, args, kwargs: (args, {"factor": 5}), with_kwargs=True, prepend=True
    )
    scale.register_forward_hook(lambda m, args, out: seen.append(out))
    scale.register_forward_hook(lambda m, args, out: out + 1, prepend=True)
    assert scale(2, factor=3) == 11
    assert seen == ["pre", 11]


def test_handle_removes():
    scale = Scale()
    with scale.register_forward_hook(lambda m, args, out: out * 10):
        assert scale(2) == 20
    assert scale(2) == 2


def test_global_hooks():
    seen = []
    handles = [
        module_file.register_module_forward_pre_hook(lambda m, args: seen.append("pre")),
        module_file.register_module_forward_hook(lambda m, args, out: seen.append("post")),
    ]
    Scale()(1)
    for handle in handles:
        handle.remove()
    Scale()(1)
    assert seen == ["pre", "post"]


def test_registration_hook():
    seen = []
    handle = module_file.register_module_parameter_registration_hook(
        lambda m, name, param: seen.append(name)
    )
    nn.Linear(1, 1)
    handle.remove()
    nn.Linear(1, 1)
    assert seen == ["weight", "bias"]


def test_always_called():
    class Failing(nn.Module):
        def forward(self):
            raise ValueError("no")

    seen = []
    failing = Failing()
    failing.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    failing.register_forward_hook(lambda m, args, out: seen.append("never"))
    with pytest.raises(ValueError, match="no"):
        failing()
    assert seen == [None]


def test_bad_pre_hook():
    scale = Scale()
    scale.register_forward_pre_hook(lambda m, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        scale(1)


# -- backward --------------------------------------------------------------------------


def test_full_backward_hooks():
    seen = []
    scale = Scale()
    scale.register_full_backward_pre_hook(lambda m, grad: (grad[0] * 2,))
    scale.register_full_backward_hook(
        lambda m, grad_in, grad_out: seen.append((grad_in[0].tolist(), grad_out[0].tolist()))
    )
    scale.register_full_backward_hook(lambda m, grad_in, grad_out: (grad_in[0] + 1,))
    x = torch.ones(2, requires_grad=True)
    scale(x, factor=3).sum().backward()
    assert seen == [([6.0, 6.0], [2.0, 2.0])]
    assert x.grad.tolist() == [7.0, 7.0]


def test_backward_hook_without_input_gradient():
    seen = []
    layer = nn.Linear(2, 1)
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].tolist())))
    layer(torch.ones(1, 2)).sum().backward()
    assert seen == [((None,), [[1.0]])]


def test_kinds_do_not_mix():
    layer = nn.Linear(2, 1)
    layer.register_full_backward_hook(lambda *args: None)
    with pytest.raises(RuntimeError, match="Cannot use both"):
        layer.register_backward_hook(lambda *args: None)


# -- errors ------------------------------------------------------------------------------


def notes(call):
    with pytest.raises((RuntimeError, TypeError)) as failure:
        call()
    return failure.value.__notes__


def test_error_names_the_module():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))
    assert notes(lambda: model(torch.ones(1, 2))) == ["in model.1.1 (Linear)"]


def test_error_in_the_module_itself():
    layer = nn.Linear(2, 3)
    assert notes(lambda: layer(torch.ones(1, 2), 3)) == ["in layer (Linear)"]


def test_error_passes_unregistered_modules():
    hidden = nn.Linear(4, 4)

    class Outer(nn.Module):
        def forward(self, x):
            return hidden(x)

    outer = Outer()
    assert notes(lambda: outer(torch.ones(1, 2))) == ["in hidden (Linear)"]
