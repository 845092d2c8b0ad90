"""Copies between layouts turn squares in registers."""

import numpy as np
import pytest
from graphs import compare, lowered

from facula.schedule.native_plan import Builder


def copy(g, x, order):
    return g.make("copy", x.dtype, [x.shape[d] for d in order], (g.permute(x, order),))


@pytest.mark.parametrize("dtype", ["bool", "int16", "float16", "float32", "float64"])
def test_types(dtype):
    """Squares of every size of number, with a ragged edge."""
    x = (np.random.default_rng(0).standard_normal((3, 70, 93)) * 9).astype(dtype)
    compare(lambda g, x: [copy(g, x, (0, 2, 1)), copy(g, x, (2, 1, 0)), copy(g, x, (1, 2, 0))], x)


def test_parts():
    """Into a part of something, from a part of something."""
    x = np.arange(40 * 60, dtype=np.float32).reshape(40, 60)

    def make(g, x):
        part = g.permute(g.slice(x, (3, 5), (20, 33), (1, 1)), (1, 0))
        return [g.cat([part, part], 0), g.write(x, part, (33, 20), (60, 1), 61)]

    compare(make, x)


def test_is_used():
    """A plain transpose is one step of the kernel."""
    low = lowered(lambda g, x: copy(g, x, (1, 0)), [np.zeros((64, 64), np.float32)])
    (step,) = Builder(low, (False,), []).build().kernels
    assert step.kernel.key == "transpose 4 0"
