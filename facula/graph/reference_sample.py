"""The NumPy meaning of sampling: weighted sums of picked pixels, and their gradients.

Images are (N, C, *space). Places and weights are (N, dims * taps, points): there is a tap for each
choice of a number along each dim, its place the sum and its weight the product of what is chosen. A
negative place picks nothing. Weights that are not `parted` are (N, all taps, points).
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable

import numpy as np

from facula.graph.reference import TEMPLATES

Array = np.ndarray


def _taps(parts: Array, dims: int, join: Callable) -> Array:
    """(N, all taps, points)."""
    n, _, points = parts.shape
    lines = [
        p.reshape(n, *[-1 if i == d else 1 for i in range(dims)], points)
        for d, p in enumerate(np.split(parts, dims, 1))
    ]
    whole = functools.reduce(join, lines)
    return whole.reshape(n, math.prod(whole.shape[1:-1]), points)


def _picked(x: Array, place: Array) -> Array:
    """(N, C, taps, points)."""
    n, c = x.shape[:2]
    flat = np.maximum(place, 0).reshape(n, 1, -1)
    got = np.take_along_axis(x.reshape(n, c, -1), np.broadcast_to(flat, (n, c, flat.shape[2])), 2)
    return np.where(place[:, None] < 0, x.dtype.type(0), got.reshape(n, c, *place.shape[1:]))


def sample(x: Array, place: Array, weight: Array, dims: int, parted: bool, shape: tuple) -> Array:
    """The sum over a point's taps of weight times pixel."""
    weight = _taps(weight, dims, operator.mul) if parted else weight
    return (_picked(x, _taps(place, dims, operator.add)) * weight[:, None]).sum(2)


def sample_input_grad(
    y: Array, place: Array, weight: Array, dims: int, parted: bool, shape: tuple
) -> Array:
    """The gradient of the images, which have a shape, for samples y."""
    n, c = y.shape[:2]
    size = math.prod(shape[2:])
    weight = _taps(weight, dims, operator.mul) if parted else weight
    place = _taps(place, dims, operator.add)
    x = np.zeros((n, c, size + 1), y.dtype)  # the last stands for outside
    at = np.where(place < 0, size, place)
    lead = np.ogrid[:n, :c, :1, :1][:2]
    np.add.at(x, (*lead, at[:, None]), weight[:, None] * y.reshape(n, c, 1, -1))
    return x[:, :, :size]


def sample_weight_grad(x: Array, y: Array, place: Array, dims: int) -> Array:
    """The gradient (N, all taps, points) of the taps' weights."""
    n, c = y.shape[:2]
    picked = _picked(x, _taps(place, dims, operator.add))
    return (picked * y.reshape(n, c, 1, -1)).sum(1)


TEMPLATES["sample"] = sample
TEMPLATES["sample_input_grad"] = sample_input_grad
TEMPLATES["sample_weight_grad"] = sample_weight_grad
