"""Matrix products against NumPy in float64."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import native

from facula.kernel.matmul import Extra, Mat, plan_matmul
from facula.llvm.tile_epilogue import ADD, ADD_SCALED, BIAS_M, BIAS_N, RELU, SCALE


def mat(slot, x):
    s = [v // x.itemsize for v in x.strides]
    return Mat(slot, s[-2], s[-1], tuple(s[:-2]))


def layout(x, kind):
    """The same values, laid out in rows, in columns, or with gaps."""
    if kind == "t":
        return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    if kind == "g":
        wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    return np.ascontiguousarray(x)


SIZES = [
    (1, 1, 1),
    (32, 32, 32),
    (33, 65, 17),
    (5, 3, 70),
    (1, 100, 50),
    (129, 70, 300),
    (64, 10, 128),
    (40, 48, 1000),
    (7, 1, 9),
    (100, 33, 0),
    (3, 40, 37),
    (50, 17, 300),
    (270, 290, 280),
    (30, 60, 4000),
]


@pytest.mark.parametrize("kinds", ["nn", "nt", "tn", "tt", "gn", "ng"])
@pytest.mark.parametrize("size", SIZES)
def test_float32(size, kinds, rng):
    m, n, k = size
    a = layout(rng.standard_normal((m, k)).astype(np.float32), kinds[0])
    b = layout(rng.standard_normal((k, n)).astype(np.float32), kinds[1])
    check(a, b, np.float32)


def check(a, b, dtype, tolerance=2e-5, **given):
    m, k = a.shape[-2:]
    n = b.shape[-1]
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a_, b_ = np.broadcast_to(a, (*batch, m, k)), np.broadcast_to(b, (*batch, k, n))
    name = given.get("name", np.dtype(dtype).name)
    first = None
    for chunk in (None, 1):
        c = np.full((*batch, m, n), 7, dtype)
        plan = plan_matmul(
            m, n, k, batch, mat(0, a_), mat(1, b_), mat(2, c), name, workspace_slot=3
        )
        work = native.aligned(max(plan.workspace_bytes, 64))
        native.run(plan.steps, [a, b, c, work], chunk=chunk)
        want = a_.astype(np.float64) @ b_.astype(np.float64)
        scale = np.abs(a_.astype(np.float64)) @ np.abs(b_.astype(np.float64)) + 1e-6
        assert np.max(np.abs(c - want) / scale, initial=0) < tolerance
        assert first is None or np.array_equal(first, c)
        first = c


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int64, np.float16])
def test_other_dtypes(dtype, rng):
    a = (rng.standard_normal((37, 50)) * 4).astype(dtype)
    b = (rng.standard_normal((50, 41)) * 4).astype(dtype)
    for kinds in ("nn", "nt", "tn"):
        check(
            layout(a, kinds[0]), layout(b, kinds[1]), dtype, 1e-3 if dtype is np.float16 else 1e-6
        )


def test_batches(rng):
    a = rng.standard_normal((3, 1, 2, 20, 30)).astype(np.float32)
    b = rng.standard_normal((4, 1, 30, 10)).astype(np.float32)
    check(a, b, np.float32)
    check(a[0, 0], b[:1, 0], np.float32)
    heads = rng.standard_normal((2, 9, 3, 16)).astype(np.float32).transpose(0, 2, 1, 3)
    check(heads, heads.swapaxes(-1, -2), np.float32)
    large = rng.standard_normal((2, 1, 260, 250)).astype(np.float32)
    check(large, rng.standard_normal((3, 250, 256)).astype(np.float32), np.float32)


def test_epilogue(rng):
    m, n, k = 45, 70, 500
    a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
    bias, rows, residual = (
        rng.standard_normal(n),
        rng.standard_normal(m),
        rng.standard_normal((m, n)),
    )
    arrays = [x.astype(np.float32) for x in (a, b, np.zeros((m, n)), bias, rows, residual)]
    plan = plan_matmul(
        *(m, n, k, (), mat(0, arrays[0]), mat(1, arrays[1]), mat(2, arrays[2])),
        epilogue=(SCALE, BIAS_N, BIAS_M, ADD, ADD_SCALED, RELU),
        extras=(Extra(0), Extra(3), Extra(4, 1), Extra(5, n), Extra(5, n), Extra(1)),
    )
    native.run(plan.steps, arrays, [0.5, -3.0])
    want = np.maximum(0.5 * (a @ b) + bias + rows[:, None] + residual - 3 * residual, 0)
    np.testing.assert_allclose(arrays[2], want, atol=1e-4)
