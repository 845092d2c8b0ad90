"""Sums of picked pixels and their gradients run natively and do what NumPy says."""

import numpy as np
import pytest
from graphs import compare

from facula.graph import reference_sample  # noqa: F401  (the meaning of the templates)


@pytest.mark.parametrize("dims, per", [(1, 5), (2, 1), (2, 2), (3, 2), (2, 4)])
@pytest.mark.parametrize("parted", [True, False])
@pytest.mark.parametrize("channels", [1, 4, 7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sample(dims, per, parted, channels, dtype):
    """Some places are outside; images come in order, and permuted."""
    rng = np.random.default_rng(0)
    n, size, points = 2, (6, 5), (90, 3)
    x = rng.standard_normal((n, channels, *size)).astype(dtype)
    y = rng.standard_normal((n, channels, *points)).astype(dtype)
    lines = (n, dims * per, 270)
    place = rng.integers(0, 30 // dims, lines).astype(np.int32)
    place[rng.random(lines) < 0.1] = -30
    weight = rng.standard_normal(lines if parted else (n, per**dims, 270)).astype(dtype)

    def make(g, x, y, place, weight):
        d = x.dtype
        arg = (dims, parted)
        samples = g.template("sample", [(d, y.shape)], (x, place, weight), (*arg, y.shape))
        operands = (y, place, weight)
        images = g.template("sample_input_grad", [(d, x.shape)], operands, (*arg, x.shape))
        outs = [(d, (n, per**dims, 270))]
        return [*samples, *images, *g.template("sample_weight_grad", outs, (x, y, place), (dims,))]

    compare(make, x, y, place, weight, tolerance=1e-4)
    order = (2, 0, 1, 3)
    back = tuple(np.argsort(order))
    compare(
        lambda g, x, y, *rest: make(g, g.permute(x, back), g.permute(y, back), *rest),
        *[np.ascontiguousarray(v.transpose(order)) for v in (x, y)],
        place,
        weight,
        tolerance=1e-4,
    )
