"""Kernels whose last dim is shorter than a vector run along a longer one: values stay the same."""

import numpy as np
import pytest
from graphs import compare


@pytest.mark.parametrize("r", [2, 3, 4])
def test_interleaving(r):
    """As in pixel_shuffle: neighbouring results lie in different channels."""
    x = np.random.default_rng(0).standard_normal((2, r * r * 3, 5, 19)).astype(np.float32)

    def make(g, x):
        split = g.reshape(x, (2, 3, r, r, 5, 19))
        order = (0, 1, 4, 2, 5, 3)
        mixed = g.make("copy", x.dtype, [split.shape[d] for d in order], (g.permute(split, order),))
        return g.reshape(mixed, (2, 3, 5 * r, 19 * r))

    (got,) = compare(make, x)
    want = x.reshape(2, 3, r, r, 5, 19).transpose(0, 1, 4, 2, 5, 3).reshape(got.shape)
    np.testing.assert_array_equal(got, want)


def test_a_number_for_each_colour():
    x = np.random.default_rng(1).standard_normal((40, 50, 3)).astype(np.float32)
    compare(lambda g, x, b: x * 2.0 + b, x, np.arange(3, dtype=np.float32))
