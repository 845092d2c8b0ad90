"""Sums of bags of rows run natively, do what NumPy says, and have the same bits on any threads."""

import numpy as np
import pytest
from graphs import compare, lowered, run

from facula.graph import reference_bag  # noqa: F401  (the meaning of the template)
from facula.runtime import threads
from facula.schedule.native_plan import Builder


def make(scaled, counted, skip):
    def build(g, table, index, offsets, *scale):
        outs = [(table.dtype, (offsets.numel, table.shape[1])), (table.dtype, (offsets.numel,))]
        operands = (table, index, offsets, *scale[: int(scaled)])
        made = g.template("bag_sum", outs, operands, (skip,))
        return made if counted else made[:1]

    return build


def operands(width, dtype):
    rng = np.random.default_rng(width)
    table, scale = (
        rng.standard_normal((30, width)).astype(dtype),
        rng.standard_normal(500).astype(dtype),
    )
    return table, rng.integers(0, 30, 500), np.array([0, 3, 3, 300, 499]), scale


@pytest.mark.parametrize("width", [3, 70])
@pytest.mark.parametrize("scaled, counted, skip", [(False, True, -1), (True, False, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums(width, scaled, counted, skip, dtype):
    compare(make(scaled, counted, skip), *operands(width, dtype), tolerance=1e-5)


def test_same_bits_on_any_number_of_threads():
    arrays, before, got = operands(200, "float32"), threads.get_num_threads(), []
    low = lowered(make(False, True, -1), arrays)
    plan = Builder(low, (False,) * 4, []).build()
    for n in (1, 2):
        threads.set_num_threads(n)
        got.append(run(plan, low, arrays))
    threads.set_num_threads(before)
    for a, b in zip(*got, strict=True):
        np.testing.assert_array_equal(a, b)
