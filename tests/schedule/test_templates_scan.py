"""Scans run natively and do what NumPy says."""

import numpy as np
import pytest
from graphs import compare

KINDS = ["sum", "prod", "max", "min", "argmax", "argmin"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "int16"])
def test_axes(kind, dtype):
    """Along every axis, of what lies in order, reversed or permuted."""
    x = (
        np.random.default_rng(0)
        .integers(0 if dtype == "uint8" else -3, 4, (3, 37, 75))
        .astype(dtype)
    )
    if x.dtype.kind == "f":
        x = np.where(x == 0, 0.5, x).astype(dtype)
    tolerance = 1e-4 if kind == "prod" and x.dtype.kind == "f" else 0
    with np.errstate(all="ignore"):
        compare(lambda g, x: [g.scan(kind, x, d) for d in range(3)], x, tolerance=tolerance)
        compare(lambda g, x: [g.scan(kind, g.flip(x, (2,)), 2), g.scan(kind, g.permute(x, (2, 0, 1)), 2)],
                x, tolerance=tolerance)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_special_numbers(kind):
    """NaN stays, the last of equals is named."""
    row = np.array([1, np.inf, 1, np.nan, 5, np.nan, -np.inf, 2, 9, 9, 1] * 3, np.float32)
    with np.errstate(all="ignore"):
        compare(
            lambda g, x: [g.scan(kind, x, 1), g.scan(kind, x, 0)], np.stack([row] * 3 + [row[::-1]])
        )


@pytest.mark.parametrize("kind", ["sum", "max"])
def test_long_rows(kind):
    """A row in blocks."""
    x = np.random.default_rng(0).integers(-2, 3, (2, 140001)).astype(np.float32)
    compare(lambda g, x: g.scan(kind, x, 1), x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(7,), (5, 33), (33, 5), (3, 200_000)])
def test_logarithms_of_sums_of_exponentials(dtype, shape):
    """Along both axes; of infinities and NaN as NumPy's logaddexp."""
    x = (np.random.default_rng(1).standard_normal(shape) * 20).astype(dtype)
    x.flat[:2] = -np.inf
    x.flat[-2:] = np.inf, np.nan
    axes = range(x.ndim)
    with np.errstate(all="ignore"):
        compare(lambda g, x: [g.scan("logaddexp", x, d) for d in axes], x,
                tolerance=1e-6 if dtype == "float32" else 1e-13)  # fmt: skip
