"""Column reductions with many accumulators stay inside their operands."""

import numpy as np
import pytest

import facula as torch
from facula.llvm import analysis
from facula.llvm.target import Target


def test_tiles_are_powers_of_two():
    """Tiles are counted with masks: any other number of vectors would run over the end."""
    target = Target.host()
    for accumulators in range(1, 12):
        load = analysis._Load(weight=2, streams=1, reductions=accumulators)
        program = type("P", (), {"phases": [type("Ph", (), {"loop": True})()]})()
        unroll = analysis._outer_unroll(program, [load], target)
        assert unroll & (unroll - 1) == 0, (accumulators, unroll)


@pytest.mark.parametrize("n", [15, 16, 17, 33, 40, 100])
@pytest.mark.parametrize("k", [3, 5, 6, 8])
def test_many_sums_of_columns(n, k):
    """k column sums in one kernel, between other values in memory."""
    rng = np.random.default_rng(n + k)
    x = rng.standard_normal((3, n)).astype(np.float32)
    t = torch.tensor(x)
    sums = [(t * (i + 1.5)).sum(0) for i in range(k)]
    more = [s * 0.1 + 1 for s in sums]
    for i, (s, m) in enumerate(zip(sums, more, strict=True)):
        want = (x * np.float32(i + 1.5)).sum(0)
        np.testing.assert_allclose(s.tolist(), want, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(m.tolist(), want * 0.1 + 1, rtol=1e-4, atol=1e-5)
