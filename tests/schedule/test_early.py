"""What the backward pass needs of several values is computed where they are, and alone kept."""

import math

import numpy as np
from graphs import compare, lowered

from facula.schedule.native_plan import Builder

ROWS, INNER, COLUMNS = 300, 40, 200


def arrays():
    rng = np.random.default_rng(0)
    shapes = [(ROWS, INNER), (INNER, COLUMNS), (COLUMNS, INNER), (ROWS, INNER)]
    return [rng.standard_normal(s, dtype=np.float32) * 0.3 for s in shapes]


def gelu(g, h):
    """The value and the derivative; both read h and 1 + erf(h / sqrt(2))."""
    both = (h * math.sqrt(0.5)).erf() + 1.0
    slope = both * 0.5 + h * (h * h * -0.5).exp() * (1.0 / math.sqrt(2.0 * math.pi))
    return h * both * 0.5, slope


def two_layers(activation, keep=False):
    """The gradient of h for the squared distance to a target."""

    def make(g, x, w, v, target):
        h = g.matmul(x, w)
        y, slope = activation(g, h)
        back = g.matmul(g.matmul(y, v) - target, g.permute(v, (1, 0))) * slope
        return (back, h) if keep else (back,)

    return make


def streams(make):
    """For each product with an epilogue: the kinds of its whole matrices beside C."""
    low = lowered(make, arrays())
    plan = Builder(low, (False,) * len(low.leaves), []).build()
    fused = [step.kernel.shape.fused for step in plan.kernels if step.kernel.key[:4] == "gemm"]
    return [[k for k in f[0].kinds if k in ("mn", "out")] for f in fused if f]


def test_values():
    compare(two_layers(gelu), *arrays(), tolerance=2e-5)
    compare(two_layers(gelu, keep=True), *arrays(), tolerance=2e-5)


def test_the_derivative_is_kept_in_place_of_what_it_is_computed_from():
    assert streams(two_layers(gelu)) == [["out"], ["mn"], ["mn"]]


def test_not_where_as_much_is_kept_without():
    # h is a result: the derivative or 1 + erf beside it
    assert streams(two_layers(gelu, keep=True)) == [["out", "out"], ["mn"], ["mn", "mn"]]


def test_not_where_one_value_is_enough():
    def relu(g, h):
        y = h.relu()
        return y, (y > 0.0).to(h.dtype)

    assert streams(two_layers(relu)) == [[], ["mn"], ["mn"]]
