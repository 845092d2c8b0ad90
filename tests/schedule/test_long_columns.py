"""Second passes down long columns are kernels of their own, down short ones part of the first."""

import numpy as np
import pytest
from graphs import compare, lowered

import facula as torch
from facula.schedule.native_plan import Builder


def standardised(g, x, weight):
    """A batch norm of (N, C), and its statistics."""
    mean = g.mean(x, 0)
    rstd = (g.mean((x - mean) * (x - mean), 0) + 1e-5).rsqrt()
    return (x - mean) * rstd * weight, mean, rstd


def arrays(rows, columns):
    rng = np.random.default_rng(rows + columns)
    return [rng.standard_normal(s, dtype=np.float32) for s in ((rows, columns), (1, columns))]


@pytest.mark.parametrize("rows", [1, 100, 2048, 2049, 5000])
@pytest.mark.parametrize("columns", [1, 3, 70, 256])
def test_values(rows, columns):
    compare(standardised, *arrays(rows, columns), tolerance=2e-4)


@pytest.mark.parametrize("rows, passes", [(2048, 1), (2049, 3)])
def test_kernels(rows, passes):
    low = lowered(standardised, arrays(rows, 256))
    plan = Builder(low, (False,) * len(low.leaves), []).build()
    assert len(plan.kernels) == passes
    assert not any(s.op == "stash" for k in plan.kernels for s in k.kernel.program.stmts)


def test_the_centred_values_are_not_kept():
    x = torch.rand(4096, 128)
    y = torch.nn.BatchNorm1d(128)(x)
    assert torch.explain(y).temporaries < 4096


def test_same_bits_for_any_number_of_threads():
    x, weight = map(torch.tensor, arrays(4099, 130))
    before = torch.get_num_threads()
    got = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            got.append(torch.nn.functional.batch_norm(x, None, None, weight[0], None, True).numpy())
    finally:
        torch.set_num_threads(before)
    assert got[0].tobytes() == got[1].tobytes()


def test_a_softmax_down_columns_stays_one_kernel():
    """Else its exponentials would take memory."""
    plan = torch.explain(torch.nn.functional.softmax(torch.rand(4096, 128), 0))
    assert plan.temporaries < 4096
    assert len(plan.kernels) <= 2
