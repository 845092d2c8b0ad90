"""The series of special functions against the slow, exact NumPy functions they were made from."""

import numpy as np
import pytest

import facula as torch
from facula.ops import special_numpy as sn
from facula.ops.special_series import FORMULAS

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
    np.testing.assert_allclose(got, sn.trigamma(x), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["fmod", "atan2", "hypot", "nextafter"])
def test_two_operands(name: str, dtype: str) -> None:
    rng = np.random.default_rng(2)
    special = np.array([0.0, -0.0, 1, -1, 3, np.inf, -np.inf, np.nan, 1e-40, 3e38], dtype)
    size = np.float64(10) ** rng.uniform(-6, 6, 3000)
    x = np.concatenate([rng.standard_normal(3000) * size, np.repeat(special, 10)]).astype(dtype)
    y = np.concatenate([rng.standard_normal(3000), np.tile(special, 10)]).astype(dtype)
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
    want = sn.zeta(order.astype(np.float64), q.astype(np.float64))
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
    np.testing.assert_allclose(got, sn.polygamma(x, n), rtol=1e-8)
