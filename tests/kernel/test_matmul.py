"""Matrix products against NumPy in float64."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import native
from epilogues import (
    ADD,
    ADD_SCALED,
    BIAS_M,
    BIAS_N,
    GELU,
    RELU,
    RELU_GRADIENT,
    SCALE,
    SIGMOID,
    SILU,
    TANH,
)

from facula.kernel.matmul import Extra, Mat, plan_matmul
from facula.llvm.tile_dot import DotShape
from facula.llvm.tile_gemm import HEADER, GemmShape, PackShape, ReduceShape


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
    (95, 50, 333),
    (310, 290, 337),
    (64, 850, 700),
    (2, 1300, 500),
    (1, 9000, 70),
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


def test_bfloat16(rng):
    def rounded(shape):
        bits = rng.standard_normal(shape).astype(np.float32).view(np.uint32)
        return (bits >> 16).astype(np.uint16)

    def wide(x):
        return (x.astype(np.uint32) << 16).view(np.float32)

    for m, n, k in ((20, 30, 40), (2, 20, 300), (300, 300, 300)):
        a, b, c = rounded((m, k)), rounded((n, k)).T, np.zeros((m, n), np.uint16)
        plan = plan_matmul(
            *(m, n, k, (), mat(0, a), mat(1, b), mat(2, c), "bfloat16"), workspace_slot=3
        )
        native.run(plan.steps, [a, b, c, native.aligned(plan.workspace_bytes + 64)])
        want = wide(a).astype(np.float64) @ wide(b)
        scale = np.abs(wide(a)) @ np.abs(wide(b))
        assert np.max(np.abs(wide(c) - want) / (np.abs(want) * 2**-8 + scale * 1e-6)) < 1


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int64, np.float16])
def test_other_dtypes(dtype, rng):
    a = (rng.standard_normal((37, 50)) * 4).astype(dtype)
    b = (rng.standard_normal((50, 41)) * 4).astype(dtype)
    for kinds in ("nn", "nt", "tn"):
        check(
            layout(a, kinds[0]), layout(b, kinds[1]), dtype, 1e-3 if dtype is np.float16 else 1e-6
        )


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_few_rows_and_a_large_matrix(dtype, rng):
    a = (rng.standard_normal((20, 1010)) * 4).astype(dtype)
    b = (rng.standard_normal((1010, 1090)) * 4).astype(dtype)
    for kinds in ("nn", "nt", "tn"):
        given = layout(a, kinds[0]), layout(b, kinds[1])
        check(*given, dtype, 1e-3 if dtype is np.float16 else 1e-6)
        check(given[0][:2], given[1], dtype, 1e-3 if dtype is np.float16 else 1e-6)


def kernels(m, n, k, kinds):
    """The shapes of a product's steps."""
    a = Mat(0, k, 1) if kinds[0] == "n" else Mat(0, 1, m)
    b = Mat(1, n, 1) if kinds[1] == "n" else Mat(1, 1, k)
    return [s.kernel.shape for s in plan_matmul(m, n, k, (), a, b, Mat(2, n, 1)).steps]


def test_weights_from_afar_are_packed():
    """Dot products read all of A for each few rows of B: good while both are near."""
    assert [type(s) for s in kernels(64, 128, 784, "nt")] == [DotShape]
    assert [type(s) for s in kernels(64, 2304, 768, "nt")] == [GemmShape]
    assert [type(s) for s in kernels(1, 2304, 768, "nt")] == [DotShape]


def test_columns_of_a_large_operand_are_packed_once():
    pack_a, pack_b, product = kernels(1536, 384, 1024, "tn")
    assert isinstance(pack_a, PackShape) and isinstance(pack_b, PackShape)
    assert (product.a_unit, product.b_unit) == ("packed", "packed")


def test_rows_that_one_row_meets_are_read_in_long_stretches():
    mats = Mat(0, 4096, 1), Mat(1, 4096, 1), Mat(2, 4096, 1)
    product, adding = plan_matmul(1, 4096, 4096, (), *mats).steps
    assert isinstance(adding.kernel.shape, ReduceShape)
    assert product.args[HEADER.index("block_n")] == 4096
    assert product.ntasks == 16


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


ACTIVATIONS = {
    GELU: lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    SILU: lambda x: x / (1 + np.exp(-x)),
    TANH: np.tanh,
    SIGMOID: lambda x: 1 / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("fused", ACTIVATIONS, ids=lambda f: f.stmts[-1][0])
@pytest.mark.parametrize("m", [3, 40])
def test_activation(fused, m, rng):
    a, b = rng.standard_normal((m, 60)), rng.standard_normal((60, 50))
    arrays = [x.astype(np.float32) for x in (a, b, np.zeros((m, 50)))]
    plan = plan_matmul(
        *(m, 50, 60, (), mat(0, arrays[0]), mat(1, arrays[1]), mat(2, arrays[2])),
        epilogue=(fused,),
    )
    native.run(plan.steps, arrays, chunk=1)
    np.testing.assert_allclose(arrays[2], ACTIVATIONS[fused](a @ b), atol=2e-5, rtol=1e-5)


def test_relu_gradient(rng):
    a, b, x = (rng.standard_normal(s).astype(np.float32) for s in ((30, 9), (9, 44), (30, 44)))
    c = np.zeros((30, 44), np.float32)
    plan = plan_matmul(
        *(30, 44, 9, (), mat(0, a), mat(1, b), mat(2, c)),
        epilogue=(RELU_GRADIENT,),
        extras=(Extra(3, 44),),
    )
    native.run(plan.steps, [a, b, c, x])
    np.testing.assert_allclose(c, np.where(x > 0, a @ b, 0), atol=1e-5)


@pytest.mark.parametrize(("m", "n", "k"), [(512, 512, 4096), (64, 64, 8192)])
def test_a_long_product_of_columns_is_shared_out(m, n, k):
    """The gradient of a weight over many rows, whose A lies by columns: no core does most of it alone."""
    a, b, c = Mat(0, 1, m), Mat(1, n, 1), Mat(2, n, 1)
    plan = plan_matmul(m, n, k, (), a, b, c, workspace_slot=3)
    product = max(plan.steps, key=lambda step: step.cost)
    assert product.ntasks >= 8
