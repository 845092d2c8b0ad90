"""Operators that go over pairs, triples or bits: frexp, cross, cdist. Expected figures from PyTorch 2.13."""

import math

import numpy as np
import pytest

import facula as torch

SMALLEST = 2.0**-149  # of float32


@pytest.mark.parametrize(
    ("x", "mantissa", "exponent"),
    [(0.0, 0.0, 0), (-0.0, -0.0, 0), (math.inf, math.inf, 0), (-math.inf, -math.inf, 0), (1.0, 0.5, 1),
     (-3.0, -0.75, 2), (0.75, 0.75, 0), (SMALLEST, 0.5, -148), (-3 * SMALLEST, -0.75, -147), (2.0**-126, 0.5, -125)],
)  # fmt: skip
def test_frexp(x, mantissa, exponent):
    """Zeros keep their sign, infinities are themselves, the smallest numbers have an exponent too."""
    got = torch.frexp(torch.tensor([x]))
    assert got.mantissa.item() == mantissa
    assert math.copysign(1, got.mantissa.item()) == math.copysign(1, mantissa)
    assert (got.exponent.item(), got.exponent.dtype) == (exponent, torch.int32)


def test_frexp_of_other_types():
    """NaN, and what ldexp makes of the parts again."""
    got = torch.frexp(torch.tensor([math.nan]))
    assert math.isnan(got.mantissa.item())
    assert got.exponent.item() == 0
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        x = torch.randn(50).to(dtype)
        mantissa, exponent = torch.frexp(x)
        assert mantissa.dtype is dtype
        assert torch.equal(torch.ldexp(mantissa.double(), exponent), x.double())


@pytest.mark.parametrize(
    ("a", "b", "dim"),
    [((5, 3), (5, 3), 1), ((3, 7), (3, 1), 0), ((2, 3, 4), (1, 3, 4), 1)],
)
def test_cross(a, b, dim):
    """Values as NumPy's, and each gradient the cross product of the other operand and the result's."""
    x, y = torch.randn(a, requires_grad=True), torch.randn(b, requires_grad=True)
    got = torch.linalg.cross(x, y, dim=dim)
    p, q = (np.moveaxis(np.broadcast_to(v.detach().numpy(), a), dim, -1) for v in (x, y))
    np.testing.assert_allclose(
        np.moveaxis(got.detach().numpy(), dim, -1), np.cross(p, q), 1e-5, 1e-6
    )
    got.sum().backward()
    ones = np.ones_like(p)
    for v, want in ((x, np.cross(q, ones)), (y, np.cross(ones, p))):
        want = np.moveaxis(want, -1, dim)
        over = tuple(i for i, n in enumerate(v.shape) if n != want.shape[i])
        np.testing.assert_allclose(v.grad.numpy(), want.sum(over, keepdims=True), 1e-4, 1e-5)


def test_cross_of_types_that_it_does_not_take():
    with pytest.raises(RuntimeError, match="expected scalar type Int but found Float"):
        torch.linalg.cross(torch.ones(3, dtype=torch.int32), torch.ones(3))
    with pytest.raises(RuntimeError, match="\"cross\" not implemented for 'Bool'"):
        torch.linalg.cross(torch.ones(3).bool(), torch.ones(3).bool())


@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize(("a", "b"), [((30, 5), (40, 5)), ((2, 30, 5), (1, 40, 5)), ((7, 9), (3, 9)), ((4, 300), (20, 300))])  # fmt: skip
def test_cdist(a, b, p):
    """Few rows or many, short or long: as NumPy's norm of the differences."""
    x, y = torch.randn(a), torch.randn(b)
    got = torch.cdist(x, y, p=p, compute_mode="donot_use_mm_for_euclid_dist")
    want = np.linalg.norm(x.numpy()[..., :, None, :] - y.numpy()[..., None, :, :], p, -1)
    np.testing.assert_allclose(got.numpy(), want, 1e-4, 1e-5)
