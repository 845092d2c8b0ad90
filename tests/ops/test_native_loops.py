"""Operators that are loops over single elements: incomplete gamma, histograms, unique runs."""

import math

import numpy as np
import pytest

import facula as torch

# (a, x, P(a, x)) from mpmath 1.3, gammainc(a, 0, x, regularized=True)
_LOWER = [
    (0.5, 0.25, 0.52049987781304654),
    (3.0, 2.0, 0.32332358381693654),
    (2.0, 9.0, 0.99876590195913317),
    (1.0, 1e-8, 9.9999999500000002e-9),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_incomplete_gamma(dtype: torch.dtype) -> None:
    a, x = (torch.tensor(v, dtype=dtype) for v in list(zip(*_LOWER, strict=True))[:2])
    want = np.array([p for _, _, p in _LOWER])
    rtol = 1e-6 if dtype is torch.float32 else 1e-13
    np.testing.assert_allclose(torch.special.gammainc(a, x).numpy(), want, rtol=rtol)
    got = torch.special.gammaincc(a, x).numpy()
    np.testing.assert_allclose(got, 1 - want, rtol=10 * rtol)


def test_integer_orders_of_the_incomplete_gamma_function() -> None:
    """Q(n, x) is exp(-x) times the first n terms of the exponential series; in many parts."""
    x = np.linspace(0.01, 60, 100_000)
    for n in (1, 4, 30):
        want = sum(np.exp(k * np.log(x) - x - math.lgamma(k + 1)) for k in range(n))
        got = torch.special.gammaincc(
            torch.full((100_000,), float(n), dtype=torch.float64), torch.tensor(x)
        )
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-10, atol=1e-14)


def test_special_values_of_the_incomplete_gamma_function() -> None:
    inf, nan = math.inf, math.nan
    a = torch.tensor([0.0, 0.0, 2.0, 2.0, inf, inf, inf, -1.0, 1.0, nan, nan])
    x = torch.tensor([0.0, 1.0, 0.0, inf, 1.0, inf, nan, 1.0, -1.0, 0.0, 1.0])
    want = [nan, 1, 0, 1, 0, nan, 0, nan, nan, 0, nan]  # PyTorch 2.13's
    np.testing.assert_array_equal(torch.special.gammainc(a, x).numpy(), want)
    np.testing.assert_array_equal(torch.special.gammaincc(a, x).numpy(), 1 - np.array(want))


@pytest.mark.parametrize("bins", [1, 7, 100])
@pytest.mark.parametrize("n", [0, 10, 100_000])
def test_histograms(n: int, bins: int) -> None:
    x = np.random.default_rng(0).standard_normal(n)
    edges = np.linspace(-1, 2, bins + 1)
    x[: n // 4] = edges[np.arange(n // 4) % (bins + 1)]  # on an edge: in the upper bin
    weight = np.abs(x) + 1
    t, w = torch.tensor(x), torch.tensor(weight)
    even = torch.histogram(t, torch.tensor(edges))
    assert even.hist.tolist() == np.histogram(x, edges)[0].tolist()
    uneven = np.sort(np.random.default_rng(1).standard_normal(bins + 1))
    got = torch.histogram(t, torch.tensor(uneven), weight=w).hist.numpy()
    np.testing.assert_allclose(got, np.histogram(x, uneven, weights=weight)[0])


def test_histogram_in_two_dimensions() -> None:
    x = np.random.default_rng(0).standard_normal((500, 2))
    lines = [np.linspace(-1, 1, 6), np.array([-2.0, 0.0, 0.1, 3.0])]
    got = torch.histogramdd(torch.tensor(x), [torch.tensor(e) for e in lines])
    np.testing.assert_array_equal(got.hist.numpy(), np.histogramdd(x, lines)[0])


def test_histc_leaves_out_what_is_outside() -> None:
    x = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, math.nan])
    assert torch.histc(x, 4, -1, 1).tolist() == [1.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8", "bool"])
def test_runs(dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 2, 999).astype(dtype)
    new = np.r_[True, x[1:] != x[:-1]]
    values, inverse, counts = torch.unique_consecutive(
        torch.tensor(x), return_inverse=True, return_counts=True
    )
    np.testing.assert_array_equal(values.numpy(), x[new])
    assert values.numpy().dtype == dtype
    np.testing.assert_array_equal(inverse.numpy(), np.cumsum(new) - 1)
    np.testing.assert_array_equal(counts.numpy(), np.diff(np.r_[np.flatnonzero(new), x.size]))


def test_runs_of_special_numbers() -> None:
    assert torch.unique_consecutive(torch.tensor([0.0, -0.0, 1.0])).tolist() == [0.0, 1.0]
    assert len(torch.unique_consecutive(torch.tensor([math.nan] * 3))) == 3
    assert torch.unique_consecutive(torch.tensor([])).tolist() == []


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_divisors(dtype: str) -> None:
    top = min(np.iinfo(dtype).max, 10**6)
    rng = np.random.default_rng(0)
    a, b = rng.integers(-top if dtype[0] == "i" else 0, top, (2, 80_000)).astype(dtype)
    a[:50] = 0
    b[25:75] = 0
    got = torch.gcd(torch.tensor(a), torch.tensor(b)).numpy()
    np.testing.assert_array_equal(got, np.gcd(a, b))
    multiples = torch.lcm(torch.tensor(a), torch.tensor(b)).numpy()
    wide = np.lcm(a.astype(np.int64), b.astype(np.int64))
    here = wide <= np.iinfo(dtype).max
    np.testing.assert_array_equal(multiples[here], wide[here])
    assert multiples.dtype == dtype


def test_divisors_of_large_numbers() -> None:
    least = -(2**63)
    a = torch.tensor([least, least, 2**62, 3 * 2**60, 6])
    b = torch.tensor([0, least, 2**40, 9 * 2**58, 9])
    assert torch.gcd(a, b).tolist() == [least, least, 2**40, 3 * 2**58, 3]  # PyTorch 2.13's
    overflow = torch.lcm(torch.tensor([2**30 + 1], dtype=torch.int32), torch.tensor([6]).int())
    assert overflow.tolist() == [2147483642]  # PyTorch 2.13's


@pytest.mark.parametrize("size", [1, 50, 200_000])
def test_bincount(size: int) -> None:
    x = np.random.default_rng(0).integers(0, size, 100_000)
    weight = np.random.default_rng(1).standard_normal(100_000)
    np.testing.assert_array_equal(torch.bincount(torch.tensor(x)).numpy(), np.bincount(x))
    for w in (weight, weight.astype(np.float32), x):
        got = torch.bincount(torch.tensor(x), torch.tensor(w), minlength=77).numpy()
        np.testing.assert_allclose(got, np.bincount(x, w, 77), rtol=1e-6, atol=1e-5)
    assert torch.bincount(torch.tensor([], dtype=torch.int64), minlength=3).tolist() == [0, 0, 0]
    with pytest.raises(RuntimeError, match="non-negative"):
        torch.bincount(torch.tensor([1, -1]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_frexp(dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal(500)
    low, high = (-24, 10) if dtype == "float16" else (-160, 100)
    x = (x * 2.0 ** np.linspace(low, high, 500)).astype(dtype)
    special = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -0.5, np.finfo(dtype).tiny]
    x = np.r_[x, np.array(special, dtype), np.finfo(dtype).smallest_subnormal]
    mantissa, exponent = torch.frexp(torch.tensor(x))
    np.testing.assert_array_equal(mantissa.numpy(), np.frexp(x)[0])
    np.testing.assert_array_equal(np.signbit(mantissa.numpy()), np.signbit(x))
    np.testing.assert_array_equal(exponent.numpy(), np.frexp(x)[1])
    assert exponent.dtype is torch.int32
    assert mantissa.numpy().dtype == dtype
