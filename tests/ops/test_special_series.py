"""The series of special functions against the slow, exact NumPy functions they were made from."""

import functools
import math

import numpy as np
import pytest

import facula as torch
from facula.ops import special_numpy as sn
from facula.ops import special_series as series
from facula.ops.special_series import FORMULAS
from tests.ops import zeta_oracle as oracle

RANGES = {
    "ndtri": (1e-6, 1.0),
    **dict.fromkeys(("ndtr", "log_ndtr", "erfcx"), (-5.0, 5.0)),
    **{n: (1e-3, 60.0) for n in FORMULAS if "_y" in n or "_k" in n},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_series(name: str, dtype: str) -> None:
    low, high = RANGES.get(name, (-60.0, 60.0))
    x = np.random.default_rng(0).uniform(low, high, 3000).astype(dtype)
    x[:500] *= 0.1 if name != "ndtri" else 1
    got = getattr(torch.special, name)(torch.tensor(x)).numpy()
    want = getattr(sn, name)(x.astype(np.float64))
    exact, unit = (3e-6, 1e-6) if dtype == "float32" else (3e-12, 1e-13)
    np.testing.assert_allclose(got, want, rtol=exact, atol=unit if "bessel" in name else 1e-30)


def test_trigamma() -> None:
    x = np.random.default_rng(1).uniform(-5, 40, 3000)
    got = torch.polygamma(1, torch.tensor(x)).numpy()
    np.testing.assert_allclose(got, oracle.trigamma(x), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["fmod", "atan2", "hypot", "nextafter"])
def test_two_operands(name: str, dtype: str) -> None:
    rng = np.random.default_rng(2)
    special = np.array([0.0, -0.0, 1, -1, 3, np.inf, -np.inf, np.nan, 1e-40, 3e38, 1e-310], dtype)
    size = np.float64(10) ** rng.uniform(-6, 6, 3000)
    x = np.concatenate([rng.standard_normal(3000) * size, np.repeat(special, 11)]).astype(dtype)
    y = np.concatenate([rng.standard_normal(3000), np.tile(special, 11)]).astype(dtype)
    reference = {"atan2": np.arctan2}.get(name) or getattr(np, name)
    with np.errstate(all="ignore"):
        want = reference(x, y)
    got = getattr(torch, name)(torch.tensor(x), torch.tensor(y)).numpy()
    rtol = 0 if name in ("fmod", "nextafter") else 3e-7 if dtype == "float32" else 1e-15
    np.testing.assert_allclose(got, want, rtol=rtol)
    np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zeta(dtype: str) -> None:
    rng = np.random.default_rng(3)
    order = np.concatenate([rng.uniform(1.01, 25, 3000), rng.integers(2, 12, 3000)]).astype(dtype)
    q = np.concatenate([rng.uniform(0.05, 40, 3000), rng.uniform(-9, 9, 3000)]).astype(dtype)
    want = oracle.zeta(order.astype(np.float64), q.astype(np.float64))
    got = torch.special.zeta(torch.tensor(order), torch.tensor(q)).numpy()
    # sums of both signs: as exact as their largest terms
    scale = np.maximum(np.abs(want), np.abs(q - np.round(q)).astype(np.float64) ** -order)
    np.testing.assert_array_less(np.abs(got - want) / scale, 1e-6 if dtype == "float32" else 1e-12)


def test_special_values_of_zeta() -> None:
    inf, nan = np.inf, np.nan
    cases = [(1, 2), (0.5, 2), (2, 0), (2, -3), (2.5, -0.5), (nan, 1), (nan, -1), (2, nan), (2, inf),
             (inf, 0.5), (inf, -1.5), (3, -inf), (2, 0.5), (3, -0.5)]  # fmt: skip
    # PyTorch 2.13's
    want = [
        inf,
        nan,
        inf,
        inf,
        nan,
        nan,
        inf,
        nan,
        nan,
        inf,
        inf,
        inf,
        4.934802200544679,
        0.41439832211716,
    ]
    order, q = torch.tensor(cases, dtype=torch.float64).unbind(1)
    np.testing.assert_allclose(torch.special.zeta(order, q).numpy(), want, rtol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_polygamma(n: int) -> None:
    x = np.random.default_rng(1).uniform(-5, 40, 3000)
    got = torch.polygamma(n, torch.tensor(x)).numpy()
    np.testing.assert_allclose(got, oracle.polygamma(x, n), rtol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_polynomials(dtype: str) -> None:
    """Of all degrees up to 9, against NumPy's; a negative degree and NaN give 0, as in PyTorch."""
    rng = np.random.default_rng(4)
    x = rng.uniform(0.1, 0.9, 40_000).astype(dtype)
    degree = rng.integers(-1, 10, x.size).astype(dtype)
    evaluated = {
        "chebyshev_polynomial_t": np.polynomial.chebyshev.chebval,
        "hermite_polynomial_h": np.polynomial.hermite.hermval,
        "hermite_polynomial_he": np.polynomial.hermite_e.hermeval,
        "laguerre_polynomial_l": np.polynomial.laguerre.lagval,
        "legendre_polynomial_p": np.polynomial.legendre.legval,
        "shifted_chebyshev_polynomial_t": lambda x, c: np.polynomial.chebyshev.chebval(2 * x - 1, c),
    }  # fmt: skip
    for name, value in evaluated.items():
        got = getattr(torch.special, name)(torch.tensor(x), torch.tensor(degree)).numpy()
        assert not got[degree < 0].any()
        for k in range(10):
            want = value(x[degree == k].astype(np.float64), [0] * k + [1])
            tolerance = 1e-6 if dtype == "float32" else 1e-13
            np.testing.assert_allclose(got[degree == k] / (abs(want).max() + 1),
                                       want / (abs(want).max() + 1), atol=tolerance)  # fmt: skip
    nan = torch.tensor([np.nan])
    assert torch.special.legendre_polynomial_p(torch.tensor([0.5]), nan).tolist() == [0.0]


def test_complex_numbers_in_many_runs() -> None:
    """Elementwise operators on complex numbers are run by run: operands of any strides."""
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((2, 300, 200)) + 1j * rng.standard_normal((2, 300, 200))
    s, t = torch.tensor(a), torch.tensor(b)
    np.testing.assert_array_equal((s + t).numpy(), a + b)
    np.testing.assert_array_equal((s.t() * 2 - t.t()).numpy(), a.T * 2 - b.T)
    np.testing.assert_allclose((s[:, ::2].exp() * t[0, ::2]).numpy(), np.exp(a[:, ::2]) * b[0, ::2], rtol=1e-13)  # fmt: skip
    s.mul_(s.clone()).add_(t)
    np.testing.assert_allclose(s.numpy(), a * a + b, rtol=1e-12)


def test_series_hold_no_terms_of_rounding() -> None:
    # of 49 terms only so many say something in float64
    near = functools.partial(series._near_j, 0)
    for f, high, most in (
        (series._body_ndtri, 0.1225, 24),
        (series._far_i0, 1.0, 24),
        (near, 64.0, 20),
    ):
        terms = series.powers(f, 0.0, high)
        assert len(terms) <= most
        t = np.linspace(-0.98, 0.98, 99)
        got = np.polyval(terms[::-1], t)
        np.testing.assert_allclose(got, f(high * (t + 1) / 2), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ndtri_far_out_and_in_the_middle(dtype: str) -> None:
    p = torch.tensor([0.0, 0.5, 1.0, -0.1, 1.1, math.nan], dtype=getattr(torch, dtype))
    got = torch.special.ndtri(p)
    assert got[:3].tolist() == [-math.inf, 0.0, math.inf] and bool(got[3:].isnan().all())
    assert math.copysign(1.0, got[1].item()) == 1.0
    x = np.concatenate([[-8.0, -5.0, -2.0, 1.5], np.linspace(-0.9, 0.9, 31) ** 3])
    p = torch.tensor(sn.ndtr(x).astype(dtype))
    got, exact = torch.special.ndtri(p).numpy(), sn.ndtr(x)
    slope = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    rounding = np.abs(p.numpy().astype(np.float64) - exact) / slope
    unit = np.finfo(dtype).eps
    assert (np.abs(got - x) <= 1.1 * rounding + 8 * unit * np.abs(x) + unit).all()
    small = torch.special.ndtri(torch.tensor([1e-300, 5e-324], dtype=torch.float64))
    np.testing.assert_allclose(small.numpy(), [-37.0471, -38.467405617144344], rtol=1e-6)


@pytest.mark.parametrize("name", ["i0e", "i1e", "i0", "i1"])
def test_series_in_float32_lose_little(name: str) -> None:
    """Powers of t in place of Clenshaw's recurrence lost half a digit."""
    x = np.linspace(-60, 60, 20001).astype(np.float32)
    got = getattr(torch.special, name)(torch.tensor(x)).numpy()
    np.testing.assert_allclose(
        got, getattr(sn, name)(x.astype(np.float64)), rtol=1.5e-6, atol=1e-30
    )
