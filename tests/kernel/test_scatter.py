"""Adding rows at given places against np.add.at."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import native

from facula.kernel.scatter import RowsOf, plan_scatter_rows


@pytest.mark.parametrize("index_dtype", [np.int64, np.int32])
@pytest.mark.parametrize("rows,columns,count,clear", [(50, 40, 999, True), (700, 33, 2000, False)])
def test_scatter(rows, columns, count, clear, index_dtype, rng):
    index = rng.integers(0, rows, count).astype(index_dtype)
    src = rng.standard_normal((count, columns)).astype(np.float32)
    start = rng.standard_normal((rows, columns)).astype(np.float32)
    want = np.zeros((rows, columns)) if clear else start.astype(np.float64)
    keep = index != 3
    np.add.at(want, index[keep], src[keep])
    results = []
    for chunk in (None, 1):
        out = start.copy()
        steps = plan_scatter_rows(
            *((0, 0), RowsOf(1, columns), RowsOf(2, columns), count, rows, columns),
            *("float32", np.dtype(index_dtype).name, 3, clear),
        )
        native.run(steps, [index, src, out], chunk=chunk)
        np.testing.assert_allclose(out, want, atol=1e-4)
        results.append(out)
    assert np.array_equal(*results)
