"""Complex arithmetic in kernels: parts taken out of and put into memory, against NumPy's."""

import numpy as np
import pytest

import facula as torch
from facula.schedule.native_plan import HostStep, NativePlan

_RNG = np.random.default_rng(0)


def _numbers(shape, name):
    return (_RNG.normal(size=shape) + 1j * _RNG.normal(size=shape)).astype(name)


CASES = {
    "add": lambda t, x, y: x + y,
    "mul": lambda t, x, y: x * y - 1,
    "div": lambda t, x, y: x / y,
    "scalars": lambda t, x, y: (2 - 1j) * x * 2.5 + 1j,
    "exp": lambda t, x, y: t.exp(x),
    "abs": lambda t, x, y: abs(x),
    "reciprocal": lambda t, x, y: 1 / x,
    "equal": lambda t, x, y: x + 0 == x,
    "sum": lambda t, x, y: (x * y).sum(0),
    "mean": lambda t, x, y: x.mean(),
    "prod": lambda t, x, y: x.prod(-1),
    "parts": lambda t, x, y: (x * y).real - y.imag,
    "where": lambda t, x, y: t.where(x.real > 0, x, y),
    "every second": lambda t, x, y: x[..., ::2] * y[..., 1::2][..., :1],
    "columns": lambda t, x, y: x.swapaxes(0, -1) + y.swapaxes(0, -1),
}


@pytest.mark.parametrize("name", ["complex64", "complex128"])
@pytest.mark.parametrize("shape", [(9,), (3, 37), (2, 5, 64)])
@pytest.mark.parametrize("case", CASES)
def test_as_numpy(case, shape, name):
    x, y = _numbers(shape, name), _numbers(shape, name)
    got = CASES[case](torch, torch.tensor(x), torch.tensor(y)).numpy()
    want = CASES[case](np, x, y)
    tolerance = 2e-5 if name == "complex64" else 1e-13
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def test_lengths_are_exact_and_do_not_overflow():
    numbers = [3 + 4j, 1e200 + 1e200j, 3e-320 + 4e-320j, complex("inf+nanj"), 0j]
    lengths = torch.tensor(numbers, dtype=torch.complex128).abs()
    assert lengths.tolist() == [5.0, 1.4142135623730951e200, 5e-320, float("inf"), 0.0]


def test_writes_through_views():
    x = _numbers((4, 10), "complex64")
    t = torch.tensor(x)
    t[:, ::2] = t[:, 1::2] * 2
    x[:, ::2] = x[:, 1::2] * 2
    t.real.mul_(3)
    x.real *= 3
    t[1] += 1j
    x[1] += 1j
    np.testing.assert_allclose(t.numpy(), x, rtol=1e-6)
    both = torch.cat([t, t.conj()], 1).numpy()
    np.testing.assert_allclose(both, np.concatenate([x, x.conj()], 1), rtol=1e-6)


def test_zeros_keep_their_signs():
    x = torch.tensor([complex(0.0, -0.0), complex(-0.0, 0.0)])
    assert np.signbit((-x).numpy().real).tolist() == [True, False]
    assert np.signbit(torch.full((2,), complex(0.0, -0.0)).numpy().imag).all()


def test_gradients():
    x = torch.tensor(_numbers((5, 3), "complex128"), requires_grad=True)
    y = torch.tensor(_numbers((5, 3), "complex128"), requires_grad=True)
    ok = torch.autograd.gradcheck(lambda x, y: (x * y.conj() / (y + 3)).exp().sum(0), (x, y))
    assert ok


def test_no_step_is_numpys(monkeypatch):
    steps = []
    build = NativePlan.__init__

    def seen(self, builder):
        steps.extend(made for _, made in builder.descriptions)
        build(self, builder)

    monkeypatch.setattr(NativePlan, "__init__", seen)
    x = torch.tensor(_numbers((6, 6), "complex64"))
    assert ((x * x + 2).exp() / x.abs().sum(0)).sum().isfinite().item()
    assert steps and not any(isinstance(s, HostStep) for made in steps for s in made)


def test_without_elements():
    x = torch.randn(0, 3, 3, dtype=torch.complex64, requires_grad=True)
    torch.logdet(x).abs().sum().backward()
    assert x.grad.shape == (0, 3, 3)


def test_gradients_of_complex_exponents():
    # from PyTorch 2.13; where base and exponent are 0 and real the slope in the exponent is 0
    a = torch.tensor([0j, 1 + 1j], requires_grad=True)
    b = torch.tensor([1 + 0j, 2 + 1j], requires_grad=True)
    (a**b).abs().sum().backward()
    assert torch.allclose(b.grad, torch.tensor([0j, 0.3160 - 0.7162j]), atol=1e-4)
    assert torch.allclose(a.grad[1], torch.tensor(1.3678 + 0.4559j), atol=1e-4)


def test_parts_of_views_are_read_where_they_are() -> None:
    """One kernel, which reads every second number: nothing is copied first."""
    z = torch.complex(torch.arange(12.0).reshape(3, 4), -torch.arange(12.0).reshape(3, 4))
    want = z.numpy().copy()
    for view, part in (
        (lambda t: t.real, want.real),
        (lambda t: t.T.imag, want.T.imag),
        (lambda t: t[1:, ::2].imag, want[1:, ::2].imag),
    ):
        plain = view(z) * 2.0
        assert str(torch.explain(plain)).startswith("1 kernel,")
        np.testing.assert_array_equal(plain.numpy(), part * 2)


@pytest.mark.parametrize("shape", [(1,), (7,), (1000,), (9, 5, 13), (130, 2, 9), (0, 3)])
def test_products_of_all_and_along_each_dim(shape):
    x = np.exp(1j * _RNG.uniform(0, 6, shape))
    for dim in (None, *range(len(shape))):
        got = torch.tensor(x).transpose(0, -1).prod(*(() if dim is None else (dim,)))
        want = np.prod(x.swapaxes(0, -1), axis=dim)
        assert tuple(got.shape) == want.shape
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)


def test_a_large_product_takes_few_kernels():
    x = torch.tensor(_numbers((300, 400), "complex64"))
    assert len(torch.explain(x.prod()).kernels) <= 9
