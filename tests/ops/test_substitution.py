"""Small triangular systems: native code gives the very numbers of NumPy's steps."""

from __future__ import annotations

import numpy as np
import pytest

from facula.ops import linalg_numpy, substitution


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (16, 1), (2, 3, 7, 4), (3, 0, 2), (0, 4, 4)])
def test_bits_are_those_of_numpys_steps(kind, upper, unit, shape, monkeypatch):
    rng = np.random.default_rng(0)
    *lead, n, m = shape
    a = (rng.standard_normal((*lead, n, n)) + 2 * np.eye(n)).astype(kind)
    b = rng.standard_normal((*lead, n, m)).astype(kind)
    calls = []
    plain = substitution.solved
    monkeypatch.setattr(linalg_numpy, "solved", lambda *args: calls.append(0) or plain(*args))
    got = linalg_numpy.solve_triangular(a, b, upper, unit)
    assert calls
    monkeypatch.setattr(linalg_numpy, "solved", lambda *args: False)
    assert got.tobytes() == linalg_numpy.solve_triangular(a, b, upper, unit).tobytes()


def test_other_systems_are_left_to_numpy():
    big = np.ones((128, 128), np.float32)
    assert not substitution.solved(big, np.ones((128, 128), np.float32), True, False)
    complex_one = np.ones((2, 2), np.complex64)
    assert not substitution.solved(complex_one, np.ones((2, 2), np.complex64), True, False)
    assert not substitution.solved(big, np.ones((128, 1)), True, False)  # another type
