"""Powers of two: they are `exp2`, with the types and the derivative of any power."""

import math

import pytest

import facula as torch


@pytest.mark.parametrize("base", [2, 2.0])
@pytest.mark.parametrize("name", ["float32", "float64", "float16", "bfloat16", "int64", "bool"])
def test_types(base, name):
    x = torch.tensor([0, 1, 1, 0]).to(getattr(torch, name))
    whole = "float32" if isinstance(base, float) else "int64"
    got = base**x
    assert got.dtype is getattr(torch, name if "float" in name else whole)
    assert got.tolist() == torch.pow(base, x).tolist() == [1, 2, 2, 1]


def test_values_are_exact_where_they_can_be():
    x = torch.tensor([-math.inf, -149.0, -126.0, -1.0, -0.0, 10.0, 127.0, 128.0, math.inf])
    want = [0.0, 2.0**-149, 2.0**-126, 0.5, 1.0, 1024.0, 2.0**127, math.inf, math.inf]
    assert (2**x).tolist() == want
    assert math.isnan((2 ** torch.tensor(math.nan)).item())


def test_derivatives():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = 2**x
    assert y.grad_fn.name() == "PowBackward2"
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert first.tolist() == pytest.approx([2 * math.log(2), math.log(2) / 4])
    assert second.tolist() == pytest.approx([2 * math.log(2) ** 2, math.log(2) ** 2 / 4])


def test_the_kernel_is_that_of_exp2():
    (kernel,) = torch.explain(2 ** torch.ones(64)).kernels
    assert "exp2" in str(kernel) and "pow" not in str(kernel)
