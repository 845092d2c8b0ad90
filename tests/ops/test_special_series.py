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
