"""Pointwise groups run where a product's or a convolution's tiles are stored."""

import numpy as np
import pytest
from graphs import compare, host_steps, lowered, run

from facula.graph import dtypes as dt
from facula.graph import reference_conv
from facula.runtime import threads
from facula.schedule.native_plan import Builder

# in every way that products are cut: small, ragged, packed, dots, parts of k, a column, a row, batches
SIZES = [
    ((), 5, 7, 9),
    ((), 64, 128, 784),
    ((), 300, 170, 1100),
    ((), 3, 90, 400),
    ((), 30, 20, 9000),
    ((), 40, 1, 17),
    ((), 1, 40, 17),
    ((3,), 20, 33, 17),
    ((2, 3), 20, 33, 50),
]


def operands(batch, m, n, k, transposed):
    """Products of small integers are exact, in whatever order they are added."""
    rng = np.random.default_rng(0)
    a = rng.integers(-2, 3, (*batch, m, k)).astype(np.float32)
    b = rng.integers(-2, 3, (*batch, *((n, k) if transposed else (k, n)))).astype(np.float32)
    bias = rng.standard_normal(n).astype(np.float32)
    residual = rng.standard_normal((*batch, m, n)).astype(np.float32)
    return a, b, bias, residual


def product(g, a, b, transposed):
    if transposed:
        b = g.permute(b, (*range(a.ndim - 2), a.ndim - 1, a.ndim - 2))
    return g.matmul(a, b)


def spread(g, v, shape):
    """A value of fewer dims over a shape."""
    return g.expand(g.reshape(v, (1,) * (len(shape) - v.ndim) + v.shape), shape)


def kernels(make, *arrays):
    """The kinds of the kernels of a graph's plan."""
    low = lowered(make, arrays)
    plan = Builder(low, (False,) * len(arrays), []).build()
    assert not host_steps(plan)
    return [step.kernel.key.split()[0] for step in plan.kernels if step.kernel.key[:5] != "pack "]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_bias_activation_residual(size, transposed):
    arrays = operands(*size, transposed)

    def light(g, a, b, bias, residual):
        y = product(g, a, b, transposed)
        return g.unary("relu", g.binary("add", y, spread(g, bias, y.shape)))

    def heavy(g, a, b, bias, residual):
        y = product(g, a, b, transposed)
        z = g.binary("add", y, spread(g, bias, y.shape))
        return g.binary("add", g.unary("tanh", z), residual)

    def several(g, a, b, bias, residual):
        """What a backward pass reads is stored as well: the sums before, and what was compared."""
        y = product(g, a, b, transposed)
        z = g.binary("add", y, spread(g, bias, y.shape))
        return [y, z, g.unary("sigmoid", z), g.binary("gt", z, residual)]

    for make in (light, heavy, several):
        compare(make, *arrays, tolerance=0.0 if make is light else 1e-6)
        assert "loop" not in kernels(make, *arrays)


def test_dims_of_the_user_are_laid_over_rows_and_columns():
    """A flat product whose readers see (4, 16, 3, 11); the bias of heads has no stride of its own."""
    a, b, bias, _ = operands((), 64, 33, 50, False)

    def make(g, a, b, bias):
        y = g.reshape(g.matmul(a, b), (4, 16, 3, 11))
        return g.binary("mul", y, spread(g, g.reshape(bias, (3, 11)), y.shape))

    compare(make, a, b, bias)
    assert kernels(make, a, b, bias) == ["gemm"]


def test_numbers_per_row():
    a, b, _, residual = operands((), 64, 33, 50, False)

    def make(g, a, b, row):
        y = g.matmul(a, b)
        return g.binary("div", y, g.expand(row, y.shape))

    row = np.abs(residual[:, :1]) + 1
    compare(make, a, b, row)
    assert kernels(make, a, b, row) == ["gemm"]


def test_masks_and_choices():
    a, b, _, residual = operands((), 64, 33, 50, False)

    def make(g, a, b, keep, other):
        return g.where(keep, g.matmul(a, b), other)

    arrays = a, b, residual > 0, residual
    compare(make, *arrays)
    assert kernels(make, *arrays) == ["gemm"]


@pytest.mark.parametrize("half", [dt.float16, dt.bfloat16])
def test_results_of_sixteen_bits(half):
    a, b, bias, _ = operands((), 64, 33, 50, False)

    def make(g, a, b, bias):
        x, y = (g.cast(g.cast(v, half), dt.float32) for v in (a, b))
        z = g.matmul(x, y)
        out = g.cast(g.unary("relu", g.binary("add", z, spread(g, bias, z.shape))), half)
        return g.cast(out, dt.float32), out

    compare(lambda *v: make(*v)[:1], a, b, bias)
    low = lowered(lambda *v: make(*v)[1:], (a, b, bias))
    plan = Builder(low, (False,) * 3, []).build()
    assert any("chain" in step.kernel.key for step in plan.kernels)


def test_two_products_added():
    """The later one takes the sum; the earlier one is an operand."""
    a, b, _, _ = operands((), 64, 33, 50, False)

    def make(g, a, b):
        return g.binary("add", g.matmul(a, b), g.matmul(g.unary("neg", a), b))

    compare(make, a, b)
    assert kernels(make, a, b).count("gemm") == 2


def test_a_reader_before_keeps_the_product_apart():
    """What reads the product otherwise comes first: no epilogue, and right all the same."""
    a, b, _, _ = operands((), 64, 64, 50, False)

    def make(g, a, b):
        y = g.matmul(a, b)
        z = g.matmul(y, y)
        return g.binary("add", y, z), g.binary("add", g.permute(y, (1, 0)), y)

    compare(make, a, b)


def test_other_layouts_stay_kernels():
    a, b, bias, _ = operands((), 64, 33, 50, False)

    def make(g, a, b, bias):
        y = g.matmul(a, b)
        return g.unary("neg", g.permute(y, (1, 0))), g.binary("add", y, spread(g, bias, y.shape))

    compare(make, a, b, bias)


IMAGES = [
    # x, w, stride, padding, groups: small, by Winograd, strided, grouped, 1 x 1, one space dim
    ((2, 4, 9, 10), (6, 4, 3, 3), (1, 1), (1, 1), 1),
    ((4, 32, 28, 28), (32, 32, 3, 3), (1, 1), (1, 1), 1),
    ((2, 4, 9, 10), (6, 4, 5, 3), (2, 1), (1, 0), 1),
    ((2, 8, 9, 10), (6, 4, 3, 3), (2, 2), (1, 1), 2),
    ((2, 4, 9, 10), (6, 4, 1, 1), (1, 1), (0, 0), 1),
    ((40, 16, 4, 4), (8, 16, 3, 3), (1, 1), (1, 1), 1),
    ((3, 4, 11), (5, 4, 3), (2,), (1,), 1),
]


@pytest.mark.parametrize("case", IMAGES)
def test_convolution(case):
    """A scale and a shift for each channel, a residual, an activation; the sums are kept, or not."""
    x_shape, w_shape, stride, padding, groups = case
    ones = (1,) * len(stride)
    out = reference_conv.conv_out(x_shape[2:], w_shape[2:], stride, padding, ones)
    shape = (x_shape[0], w_shape[0], *out)
    rng = np.random.default_rng(0)
    x, w, residual, bias = (
        rng.standard_normal(s).astype(np.float32) for s in (x_shape, w_shape, shape, w_shape[:1])
    )

    def make(keep):
        def graph(g, x, w, residual, bias):
            arg = (stride, padding, ones, groups)
            (y,) = g.template("conv", [(x.dtype, shape)], (x, w), arg)
            channel = g.expand(g.reshape(bias, (1, bias.numel, *ones)), shape)
            z = g.binary("add", g.binary("mul", y, channel), channel)
            last = g.unary("relu", g.binary("add", z, residual))
            return [last, y, g.unary("tanh", z)] if keep else [last]

        return graph

    for keep in (False, True):
        compare(make(keep), x, w, residual, bias, tolerance=1e-4)
        assert "loop" not in kernels(make(keep), x, w, residual, bias)


def test_threads_do_not_matter():
    """The same bits on one thread and on two."""
    arrays = operands((), 300, 500, 400, False)

    def make(g, a, b, bias, residual):
        z = g.binary("add", g.matmul(a, b), spread(g, bias, residual.shape))
        return [g.unary("tanh", z), g.binary("mul", z, residual)]

    before = threads.get_num_threads()
    got = []
    try:
        for n in (1, 2):
            threads.set_num_threads(n)
            low = lowered(make, arrays)
            got.append(run(Builder(low, (False,) * 4, []).build(), low, arrays))
    finally:
        threads.set_num_threads(before)
    for one, two in zip(*got, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("size", [((), 5, 7, 9), ((), 128, 784, 64), ((), 30, 20, 9000)])
@pytest.mark.parametrize("kept", [False, True])
def test_a_weight_is_replaced_where_it_lies(size, kept):
    """weight - rate * (a @ b): the new weight takes over the old one's memory, element by element,
    whether the product itself is kept (a gradient that somebody looks at) or not."""
    a, b, _, weight = operands(*size, False)

    def make(g, a, b, weight):
        grad = g.matmul(a, b)
        new = g.binary("sub", weight, g.binary("mul", grad, g.const(0.5, dt.float32)))
        return [new, grad] if kept else [new]

    compare(make, a, b, weight, free=True)
    low = lowered(make, (a, b, weight))
    plan = Builder(low, (False, False, True), []).build()
    assert sorted(plan.sources) == ([-1, 2] if kept else [2])


def test_an_operand_of_the_product_keeps_its_memory():
    """A square matrix that the product reads and that is added to it as well."""
    a = np.random.default_rng(0).integers(-2, 3, (40, 40)).astype(np.float32)
    b = a[::-1].copy()

    def make(g, a, b):
        return g.binary("add", g.matmul(a, b), b)

    def twice(g, a, b):
        y = g.binary("add", g.matmul(a, a), b)
        return g.binary("mul", y, g.permute(b, (1, 0)))

    for graph in (make, twice):
        compare(graph, a, b, free=True)
    assert Builder(lowered(make, (a, b)), (True, True), []).build().sources == [-1]
