"""Products of 16-bit floats read them as they are, and give float32."""

import numpy as np
import pytest
from graphs import compare, host_steps, lowered

from facula.graph import dtypes as dt
from facula.schedule.native_plan import Builder

SHAPES = [
    ((), 5, 7, 9),
    ((), 70, 90, 200),
    ((3,), 20, 40, 17),
    ((), 2, 300, 64),
    ((), 30, 20, 9000),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("half", [dt.float16, dt.bfloat16])
def test_halves(shape, half):
    """In every layout of the operands, in every way that products are cut."""
    batch, m, n, k = shape
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, (*batch, *s)).astype(np.float32) for s in ((m, k), (k, n)))
    last = (*range(len(batch)), len(batch) + 1, len(batch))

    def make(g, a, b):
        x, y = (g.cast(g.cast(v, half), dt.float32) for v in (a, b))
        return [g.matmul(x, y), g.matmul(g.permute(y, last), g.permute(x, last))]

    def other(g, a, b):
        return make(g, a, g.permute(b, last))[:1]

    compare(make, a, b)
    compare(other, a, np.ascontiguousarray(np.swapaxes(b, -1, -2)))
    low = lowered(make, [a, b])
    plan = Builder(low, (False, False), []).build()
    assert not host_steps(plan)
    assert any(half.name in s.kernel.key and s.kernel.key[:4] != "loop" for s in plan.kernels)


@pytest.mark.parametrize("shape", [*SHAPES, ((), 700, 1, 300), ((2,), 1, 700, 300)])
@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int64])
def test_other_numbers(shape, dtype):
    """Columns and rows too; integers wrap."""
    batch, m, n, k = shape
    rng = np.random.default_rng(0)
    big = 2 if dtype is np.float64 else np.iinfo(dtype).max // 3
    a = rng.integers(-big, big, (*batch, m, k)).astype(dtype)
    b = rng.integers(-big, big, (*batch, n, k)).astype(dtype)
    last = (*range(len(batch)), len(batch) + 1, len(batch))
    compare(lambda g, a, b: [g.matmul(a, g.permute(b, last))], a, b)
    compare(lambda g, a, b: [g.matmul(a, b)], a, np.ascontiguousarray(np.swapaxes(b, -1, -2)))
