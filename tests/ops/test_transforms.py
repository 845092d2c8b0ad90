"""torch.func, autograd.functional, checkpoints, saved-tensor hooks, overrides."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import facula as torch
from facula.utils.checkpoint import checkpoint


def test_nested_gradients():
    slope = torch.func.grad(torch.func.grad(torch.sin))
    assert slope(torch.tensor(0.5)).item() == pytest.approx(-np.sin(0.5), abs=1e-6)


def test_jacobians_agree():
    x = torch.randn(3)
    forward, reverse = torch.func.jacfwd(torch.sin)(x), torch.func.jacrev(torch.sin)(x)
    assert torch.allclose(forward, torch.diag(x.cos()), atol=1e-6)
    assert torch.allclose(forward, reverse)


def test_vmap_with_dims():
    a, b = torch.randn(4, 2, 3), torch.randn(3)
    got = torch.vmap(lambda p, q: p @ q, in_dims=(0, None), out_dims=1)(a, b)
    assert torch.allclose(got, (a @ b).T)


def test_results_forget_the_transform_but_not_the_caller():
    w = torch.tensor(2.0, requires_grad=True)
    got = torch.func.grad(lambda x: w * x * x)(torch.tensor(3.0))
    got.backward()
    assert w.grad.item() == 6.0
    assert not torch.func.grad(torch.sin)(torch.tensor(1.0)).requires_grad


def test_forward_mode():
    with torch.autograd.forward_ad.dual_level():
        x = torch.autograd.forward_ad.make_dual(torch.tensor(2.0), torch.tensor(1.0))
        assert torch.autograd.forward_ad.unpack_dual(x**3).tangent.item() == 12.0


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpoint(use_reentrant):
    layer = torch.nn.Linear(3, 3)
    x = torch.randn(2, 3, requires_grad=True)
    layer(x).tanh().sum().backward()
    want, x.grad, layer.weight.grad = (x.grad, layer.weight.grad), None, None
    checkpoint(lambda t: layer(t).tanh(), x, use_reentrant=use_reentrant).sum().backward()
    assert torch.allclose(x.grad, want[0])
    assert torch.allclose(layer.weight.grad, want[1])


def test_saved_tensors_hooks_see_results_too():
    kept = []
    x = torch.ones(2, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = x.exp()
    y.sum().backward()
    assert len(kept) == 1


def test_anomaly_mode_names_the_function():
    x = torch.tensor([-1.0], requires_grad=True)
    with (
        torch.autograd.set_detect_anomaly(True),
        pytest.raises(RuntimeError, match="SqrtBackward0"),
    ):
        x.sqrt().backward()


def test_subclasses_take_part():
    class Logged(torch.Tensor):
        calls: list = []

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            cls.calls.append(func.__name__)
            return super().__torch_function__(func, types, args, kwargs or {})

    t = torch.ones(2).as_subclass(Logged)
    assert type(torch.add(t, 1)) is Logged
    assert Logged.calls == ["add"]


def test_pickle_and_dlpack():
    t = torch.arange(6.0).reshape(2, 3).t().requires_grad_()
    back = pickle.loads(pickle.dumps(t))
    assert back.requires_grad
    assert torch.equal(back, t)
    shared = torch.from_dlpack(np.arange(3))
    assert np.from_dlpack(shared).tolist() == [0, 1, 2]


def test_old_constructors():
    assert torch.Tensor(2, 3).shape == (2, 3)
    assert torch.Tensor([1, 2]).dtype is torch.float32
    assert isinstance(torch.ones(1), torch.FloatTensor)
    assert torch.LongTensor([3]).tolist() == [3]


def test_forward_mode_gives_back_what_needs_gradients_only():
    fw = torch.autograd.forward_ad
    x, t = torch.tensor([1.0, 2.0]), torch.tensor([1.0, -1.0])
    with fw.dual_level():
        value, tangent = fw.unpack_dual(fw.make_dual(x, t).exp())
        assert not value.requires_grad and not tangent.requires_grad
        with pytest.raises(RuntimeError, match="different size"):
            fw.make_dual(x, t[:1])
        x.requires_grad_()
        slope = fw.unpack_dual(fw.make_dual(x, t).exp()).tangent
        (got,) = torch.autograd.grad(slope.sum(), x)
    assert torch.allclose(got, t * x.exp())


def test_forward_mode_of_running_logsumexp():
    x, t = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([1.0, -2.0, 0.5])
    _, got = torch.func.jvp(lambda a: a.logcumsumexp(0), (x,), (t,))
    e = x.exp()
    assert torch.allclose(got, (e * t).cumsum(0) / e.cumsum(0))
    assert not got.requires_grad


def test_strict_names_the_input():
    x = torch.ones(2)
    with pytest.raises(RuntimeError, match=r"Output 0 .* independent of input 1"):
        torch.autograd.functional.jacobian(lambda a, b: a * 2, (x, x), strict=True)
    with pytest.raises(RuntimeError, match="does not require gradients"):
        torch.autograd.functional.vjp(lambda a: x * 1, x, x, strict=True)
    with pytest.raises(RuntimeError, match="respect to input 0 is independent"):
        torch.autograd.functional.vhp(lambda a: a.sum(), x, x, strict=True)


def test_gradients_at_an_edge():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    edges = [torch.autograd.graph.get_gradient_edge(t) for t in (y, x)]
    at_y, at_x = torch.autograd.grad((y * y).sum(), edges)
    assert at_y.tolist() == [4.0, 8.0] and at_x.tolist() == [8.0, 16.0]


def test_gradients_of_custom_functions_must_fit():
    class Wide(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, wanted):
            ctx.wanted = wanted
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return torch.ones(ctx.wanted), None

    x = torch.ones(3, requires_grad=True)
    Wide.apply(x, (2, 3)).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(RuntimeError, match=r"invalid gradient at index 0 - got \[2\]"):
        Wide.apply(x, (2,)).sum().backward()


def test_inference_mode_false_records():
    x = torch.ones(2, requires_grad=True)
    with torch.inference_mode(), torch.inference_mode(False):
        y = x * 2
    assert y.requires_grad


def test_checkpoint_is_reentrant_unless_told():
    layer = torch.nn.Linear(2, 2)
    with pytest.warns(UserWarning, match="use_reentrant parameter should be passed"):
        out = checkpoint(layer, torch.ones(1, 2, requires_grad=True))
    assert out.grad_fn.name() == "CheckpointFunctionBackward"
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        out = checkpoint(layer, torch.ones(1, 2), use_reentrant=True)
    assert not out.requires_grad
    with pytest.raises(ValueError, match="only supported when use_reentrant=False"):
        checkpoint(layer, torch.ones(1, 2), use_reentrant=True, debug=True)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return g * 2


def test_a_second_derivative_of_what_has_one_is_an_error():
    x = torch.ones(2, requires_grad=True)
    assert "torch.autograd.function.OnceBackward object at" in repr(Once.apply(x).grad_fn)
    (slope,) = torch.autograd.grad(Once.apply(x).sum(), x, create_graph=True)
    assert not slope.requires_grad  # the gradient that came in was a constant
    (slope,) = torch.autograd.grad(Once.apply(x).pow(2).sum(), x, create_graph=True)
    assert repr(slope) == "tensor([8., 8.], grad_fn=<Error>)"
    with pytest.raises(RuntimeError, match="marked with @once_differentiable"):
        slope.sum().backward()


def test_instances_of_functions_warn_and_cannot_be_called():
    with pytest.warns(DeprecationWarning, match="should not be instantiated"):
        made = Once()
    with pytest.raises(RuntimeError, match="Legacy autograd function"):
        made(torch.ones(1))


def test_gradcheck_warns_of_single_precision():
    x = torch.ones(1, requires_grad=True)
    with pytest.warns(UserWarning, match="Input #0 requires gradient and is not a double"):
        torch.autograd.gradcheck(lambda t: t * 2, x, atol=0.1)
