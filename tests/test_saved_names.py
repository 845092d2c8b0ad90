"""`grad_fn._saved_*`; what PyTorch 2.13 shows, from running it."""

import pytest

import facula as torch
import facula.nn.functional as F

x = torch.arange(1.0, 10.0).view(3, 3).requires_grad_()
w = torch.ones(3, 3, requires_grad=True)
SHOWN = {
    "exp": (lambda: x.exp(), ["result"]),
    "mul": (lambda: x * w, ["other", "self"]),
    "pow": (lambda: x**2, ["self"]),
    "mm": (lambda: x @ w, ["mat2", "self"]),
    "linear": (lambda: F.linear(x, w, w[0]), ["mat1", "mat2"]),
    "softmax": (lambda: x.softmax(0), ["result"]),
    "mse_loss": (lambda: F.mse_loss(x, w), ["self", "target"]),
    "max": (lambda: x.max(0)[0], ["indices"]),
    "cumprod": (lambda: x.cumprod(0), ["result", "self"]),
    "view": (lambda: x.view(9), []),
}


@pytest.mark.parametrize("name", SHOWN)
def test_saved_tensors_have_pytorchs_names(name):
    make, names = SHOWN[name]
    shown = [n.removeprefix("_saved_") for n in dir(make().grad_fn) if n.startswith("_saved_")]
    assert shown == names


def test_saved_values():
    y = x.exp()
    assert y.equal(y.grad_fn._saved_result)
    assert y is not y.grad_fn._saved_result
    assert (x * w).grad_fn._saved_self is x
    weight = torch.arange(6.0).view(2, 3).requires_grad_()
    assert F.linear(x, weight).grad_fn._saved_mat2.shape == (3, 2)
    with pytest.raises(
        AttributeError, match="'ExpBackward0' object has no attribute '_saved_self'"
    ):
        _ = y.grad_fn._saved_self
    y.sum().backward()
    with pytest.raises(RuntimeError, match="a second time"):
        _ = y.grad_fn._saved_result


def test_hooks_of_one_saved_tensor():
    # the tutorial's: https://docs.pytorch.org/tutorials/intermediate/autograd_saved_tensors_hooks_tutorial.html
    seen = []

    def pack(t):
        seen.append("pack")
        return t * 4

    def unpack(t):
        seen.append("unpack")
        return t

    a = torch.tensor([2.0], requires_grad=True)
    y = a**2
    y.grad_fn._raw_saved_self.register_hooks(pack, unpack)
    y.sum().backward()
    assert seen == ["pack", "unpack"]
    assert a.grad.item() == 16
    z = a.exp()
    z.grad_fn._raw_saved_result.register_hooks(pack, unpack)
    a.grad = None
    z.sum().backward()
    assert a.grad.item() == pytest.approx(4 * z.item())
