"""The same bytes as another type, copied natively."""

import numpy as np
from graphs import compare

from facula.graph import dtypes as dt


def test_bitcast():
    """Of real and complex numbers, from views."""
    x = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    z = (x + 1j * x[::-1]).astype(np.complex128)
    compare(lambda g, x: g.bitcast(x, dt.int32, (6, 8)), x)
    compare(lambda g, x: g.bitcast(g.permute(x, (1, 0)), dt.int16, (8, 12)), x)
    compare(lambda g, x: g.bitcast(g.slice(x, (1, 0), (5, 8), (1, 1)), dt.float64, (5, 4)), x)
    compare(lambda g, z: g.bitcast(z, dt.float64, (6, 8, 2)), z)
    compare(lambda g, z: g.bitcast(z, dt.float32, (6, 8, 2)), z.astype(np.complex64))
    compare(lambda g, x: g.bitcast(x, dt.complex64, (6, 4)), x)
