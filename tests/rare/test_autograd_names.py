"""Names of autograd, func and utils; expected figures are PyTorch 2.13's."""

from __future__ import annotations

import pytest

import facula as torch
from facula.autograd import graph, profiler


def test_function_has_the_names_of_its_contexts():
    for name in (
        "mark_dirty",
        "needs_input_grad",
        "saved_tensors",
        "set_materialize_grads",
        "name",
    ):
        assert hasattr(torch.autograd.Function, name)
    seen = {}

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            seen.update(name=ctx.name(), needs=ctx.needs_input_grad)
            return g * 3 * ctx.saved_tensors[0] ** 2

    x = torch.tensor(2.0, requires_grad=True)
    Cube.apply(x).backward()
    assert x.grad.item() == 12
    assert seen == {"name": "CubeBackward", "needs": (True,)}


def test_saved_tensors_may_change_where_that_is_allowed():
    x = torch.ones(2, requires_grad=True)
    with graph.allow_mutation_on_saved_tensors():
        y = x.clone()
        z = y**3
        y.sin_()
        with torch.no_grad():
            x.mul_(5)
        (g,) = torch.autograd.grad(z.sum(), x, create_graph=True)
        assert g.tolist() == [3, 3]
        assert torch.autograd.grad(g.sum(), x)[0].tolist() == [6, 6]


def test_profilers_refuse_unless_switched_off():
    with profiler.emit_nvtx(enabled=False), profiler.profile(enabled=False):
        pass
    with pytest.raises(NotImplementedError, match=r"facula\.explain"):
        profiler.emit_nvtx()


def test_grad_takes_only_inputs_in_its_place():
    x = torch.ones(1, requires_grad=True)
    assert torch.autograd.grad(x.sum(), x, None, False, False, True, True)[0].item() == 1
    with pytest.warns(FutureWarning, match="only_inputs"):
        torch.autograd.grad(x.sum(), x, only_inputs=False)


@pytest.mark.parametrize(
    "pattern, sizes, shape",
    [
        ("a b c -> (a c) b", {}, (8, 3)),
        ("a (b d) c -> a d b c", {"d": 3}, (2, 3, 1, 4)),
        ("a ... -> ... a", {}, (3, 4, 2)),
        ("a b c -> c () a b 1", {}, (4, 1, 2, 3, 1)),
    ],
)
def test_rearrange(pattern, sizes, shape):
    assert torch.func.rearrange(torch.zeros(2, 3, 4), pattern, **sizes).shape == shape


@pytest.mark.parametrize(
    "pattern", ["a b c -> a b", "a b b -> a b", "a b -> b a", "a (b ...) -> a b ...", "(a b c"]
)
def test_rearrange_refuses(pattern):
    with pytest.raises(ValueError):
        torch.func.rearrange(torch.zeros(2, 3, 4), pattern)


def test_batch_norms_forget_their_statistics():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    assert torch.func.replace_all_batch_norm_modules_(net) is net
    assert net[1].running_mean is None and not net[1].track_running_stats


def test_tensors_are_swapped_with_their_class():
    a, b = torch.nn.Parameter(torch.zeros(1)), torch.ones(2)
    torch.utils.swap_tensors(a, b)
    assert a.tolist() == [1, 1] and type(b) is torch.nn.Parameter and b.requires_grad
