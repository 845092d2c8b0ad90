"""Sums in the order in which PyTorch adds up a contiguous row of doubles."""

from __future__ import annotations

import numpy as np

_LANES = 4  # the lanes of a vector register, of which four are summed side by side
_SIDE = 4
_LEVELS = 4


def cascade_sum(x: np.ndarray) -> np.ndarray:
    """`x.sum(-1, keepdims=True)` of a matrix of doubles, to the bit as PyTorch has it.

    Vectors are added in four columns; partial sums move up a level every `step` rows, so that
    rounding errors grow with the logarithm of the length.
    """
    rows, n = x.shape
    vectors = n // _LANES
    depth = vectors // _SIDE
    v = x[:, : vectors * _LANES].reshape(rows, vectors, _LANES)
    columns = v[:, : depth * _SIDE].reshape(rows, depth, _SIDE, _LANES)
    power = max(4, (max(depth, 1) - 1).bit_length() // _LEVELS)
    step = 1 << power
    levels = np.zeros((_LEVELS, rows, _SIDE, _LANES))
    whole = depth // step * step
    for k in range(depth):
        levels[0] += columns[:, k]
        done = k + 1
        if done % step or done > whole:
            continue
        for level in range(1, _LEVELS):
            levels[level] += levels[level - 1]
            levels[level - 1] = 0
            if done & ((step - 1) << (level * power)):
                break
    for level in range(1, _LEVELS):
        levels[0] += levels[level]
    partial = levels[0]
    for k in range(depth * _SIDE, vectors):
        partial[:, 0] += v[:, k]
    for k in range(1, _SIDE):
        partial[:, 0] += partial[:, k]
    total = np.zeros(rows)
    for k in range(vectors * _LANES, n):
        total += x[:, k]
    for k in range(_LANES):
        total += partial[:, 0, k]
    return total[:, None]
