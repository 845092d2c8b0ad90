"""Convolution and pooling run natively and do what NumPy says, on one thread and on two."""

import numpy as np
import pytest
from graphs import compare, lowered, run

from facula.graph import dtypes as dt
from facula.graph import reference_conv
from facula.runtime import threads
from facula.schedule.native_plan import Builder

CASES = [
    # x, w, stride, padding, dilation, groups
    ((2, 4, 9, 10), (6, 4, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 4, 9, 10), (6, 2, 3, 2), (2, 1), (1, 0), (1, 2), 2),
    ((3, 4, 11), (5, 4, 3), (2,), (1,), (1,), 1),
    ((1, 6, 8, 8), (6, 1, 1, 1), (1, 1), (0, 0), (1, 1), 6),
]


def three(g, x, w, d, arg):
    """The convolution and both gradients."""
    out = g.template("conv", [(x.dtype, d.shape)], (x, w), arg)
    gx = g.template("conv_input_grad", [(x.dtype, x.shape)], (d, w), (*arg, x.shape[2:]))
    gw = g.template("conv_weight_grad", [(x.dtype, w.shape)], (d, x), (*arg, w.shape[2:]))
    return [*out, *gx, *gw]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_conv(case, dtype):
    """Operands in order, and permuted."""
    x_shape, w_shape, *arg = case
    rng = np.random.default_rng(0)
    out = reference_conv.conv_out(x_shape[2:], w_shape[2:], *arg[:3])
    shapes = (x_shape, w_shape, (x_shape[0], w_shape[0], *out))
    x, w, d = (rng.standard_normal(s).astype(dtype) for s in shapes)
    compare(lambda g, x, w, d: three(g, x, w, d, tuple(arg)), x, w, d, tolerance=1e-4)
    flipped = tuple(range(x.ndim))[::-1]
    compare(
        lambda g, *xs: three(g, *[g.permute(v, flipped) for v in xs], tuple(arg)),
        *[np.ascontiguousarray(v.transpose(flipped)) for v in (x, w, d)],
        tolerance=1e-4,
    )


@pytest.mark.parametrize("size", [(9, 10), (11,)])
def test_pool(size):
    """Maxima with and without places, means and their gradient."""
    k = len(size)
    kernel, stride, padding, ones = (3,) * k, (2,) * k, (1,) * k, (1,) * k
    x = np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    out = reference_conv.conv_out(size, kernel, stride, padding, ones)
    shape = (2, 3, *out)

    def make(g, x):
        outs = [(x.dtype, shape), (dt.int64, shape)]
        best = g.template("max_pool", outs, (x,), (kernel, stride, padding, ones, out))
        for count, divisor in ((True, None), (False, None), (True, 5)):
            arg = (kernel, stride, padding, out, count, divisor)
            (mean,) = g.template("avg_pool", outs[:1], (x,), arg)
            arg = (kernel, stride, padding, size, count, divisor)
            best += [mean, *g.template("avg_pool_backward", [(x.dtype, x.shape)], (mean,), arg)]
        return best

    compare(make, x, tolerance=1e-6)
    compare(lambda g, x: make(g, x)[:1], x)


def test_threads_do_not_matter():
    """The same bits from tasks in one go and one by one."""
    x, w, d = (
        np.random.default_rng(0).standard_normal(s).astype(np.float32)
        for s in ((8, 16, 20, 20), (32, 16, 3, 3), (8, 32, 20, 20))
    )
    index = np.random.default_rng(0).integers(0, 8, 64)

    def make(g, x, w, d, i):
        put = g.put(g.const(0.0, dt.float32, (8, 800)), i, g.reshape(x, (64, 800)), 0, "add")
        scan = g.scan("sum", g.reshape(x, (2, 25600)), 1)
        return [*three(g, x, w, d, ((1, 1), (1, 1), (1, 1), 1)), put, scan]

    got = []
    for n in (1, 2):
        before = threads.get_num_threads()
        threads.set_num_threads(n)
        try:
            low = lowered(make, [x, w, d, index])
            got.append(run(Builder(low, (False,) * 4, []).build(), low, [x, w, d, index]))
        finally:
            threads.set_num_threads(before)
    for a, b in zip(*got, strict=True):
        np.testing.assert_array_equal(a, b)
