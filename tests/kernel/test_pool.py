"""Pooling against plain loops."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import native

from facula.kernel.conv import Image
from facula.kernel.pool import (
    Pool,
    plan_avg_pool,
    plan_avg_pool_gradient,
    plan_bins_max,
    plan_bins_mean,
    plan_bins_mean_gradient,
    plan_max_pool,
    plan_max_pool_gradient,
    pooled_size,
)

CASES = [
    # h, w, kernel, stride, padding, dilation, ceil
    (8, 8, (2, 2), (2, 2), (0, 0), (1, 1), False),
    (9, 37, (3, 3), (2, 2), (1, 1), (1, 1), True),
    (7, 20, (3, 2), (1, 1), (1, 1), (2, 3), False),
    (10, 11, (4, 5), (3, 3), (2, 2), (1, 1), True),
    (1, 30, (1, 2), (1, 2), (0, 0), (1, 1), False),
]


def make(case, rng):
    h, w, kernel, stride, padding, dilation, ceil = case
    sizes = zip((h, w), kernel, stride, padding, dilation, strict=True)
    out = tuple(pooled_size(*s, ceil) for s in sizes)
    pool = Pool(3, 2, h, w, out, kernel, stride, padding, dilation)
    x = np.round(rng.standard_normal((3, 2, h, w)) * 3).astype(np.float32)  # with ties
    return pool, x, np.zeros((3, 2, *out), np.float32)


def windows(pool):
    """For each output: its window's places inside the image, and the window's padded size."""
    for o in np.ndindex(*pool.out):
        start = [o[d] * pool.stride[d] - pool.padding[d] for d in (0, 1)]
        size = (pool.h, pool.w)
        places = [[start[d] + t * pool.dilation[d] for t in range(pool.kernel[d])] for d in (0, 1)]
        padded = [min(pool.kernel[d], size[d] + pool.padding[d] - start[d]) for d in (0, 1)]
        inside = [[p for p in places[d] if 0 <= p < size[d]] for d in (0, 1)]
        yield o, [(i, j) for i in inside[0] for j in inside[1]], math.prod(padded)


def image(slot, x):
    return Image(slot, tuple(s // x.itemsize for s in x.strides[:3]))


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_max(case, rng):
    pool, x, y = make(case, rng)
    x[0, 0, 0, 3] = np.nan
    x[1, 1] = -np.inf
    index = np.zeros(y.shape, np.int64)
    steps = plan_max_pool(pool, image(0, x), image(1, y), (2, 0))
    native.run(steps, [x, y, index], chunk=1)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    want_dx = np.zeros(x.shape)
    for o, places, _ in windows(pool):
        for plane in np.ndindex(3, 2):
            values = np.array([x[(*plane, *p)] for p in places])
            at = places[int(np.argmax(values))]  # argmax takes the first NaN, or the first maximum
            assert index[(*plane, *o)] == at[0] * pool.w + at[1]
            np.testing.assert_equal(y[(*plane, *o)], x[(*plane, *at)])
            want_dx[(*plane, *at)] += dy[(*plane, *o)]
    dx = np.full(x.shape, 9, np.float32)
    native.run(plan_max_pool_gradient(pool, image(0, dx), image(1, dy), (2, 0)), [dx, dy, index])
    np.testing.assert_allclose(dx, want_dx, atol=1e-5)
    again = np.zeros_like(y)
    native.run(plan_max_pool(pool, image(0, x), image(1, again)), [x, again])
    np.testing.assert_array_equal(again, y)


@pytest.mark.parametrize("include,divisor", [(True, 0), (False, 0), (True, 7)])
@pytest.mark.parametrize("case", [c for c in CASES if c[5] == (1, 1)], ids=str)
def test_mean(case, include, divisor, rng):
    pool, x, y = make(case, rng)
    native.run(plan_avg_pool(pool, image(0, x), image(1, y), include, divisor), [x, y], chunk=1)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    want, want_dx = np.zeros(y.shape), np.zeros(x.shape)
    for o, places, padded in windows(pool):
        count = divisor or (padded if include else len(places))
        for p in places:
            want[(..., *o)] += x[(..., *p)] / count
            want_dx[(..., *p)] += dy[(..., *o)] / count
    np.testing.assert_allclose(y, want, atol=1e-5)
    dx = np.full(x.shape, 9, np.float32)
    steps = plan_avg_pool_gradient(pool, image(0, dx), image(1, dy), include, divisor)
    native.run(steps, [dx, dy])
    np.testing.assert_allclose(dx, want_dx, atol=1e-5)


@pytest.mark.parametrize("out", [(1, 1), (3, 5), (7, 20), (9, 30)])
def test_bins(out, rng):
    """Means, maxima and the means' gradient over [floor(i n / o), ceil((i + 1) n / o))."""
    h, w = 7, 20
    pool = Pool(2, 3, h, w, out, (1, 1), (1, 1))
    x = np.round(rng.standard_normal((2, 3, h, w)) * 2).astype(np.float32)  # with ties
    dy = rng.standard_normal((2, 3, *out)).astype(np.float32)
    y, best, index = np.zeros_like(dy), np.zeros_like(dy), np.zeros(dy.shape, np.int64)
    dx = np.full(x.shape, 9, np.float32)
    native.run(plan_bins_mean(pool, image(0, x), image(1, y)), [x, y], chunk=1)
    native.run(plan_bins_max(pool, image(0, x), image(1, best), (2, 0)), [x, best, index], chunk=1)
    native.run(plan_bins_mean_gradient(pool, image(0, dx), image(1, dy)), [dx, dy], chunk=1)
    want_dx = np.zeros(x.shape)
    for i, j in np.ndindex(out):
        rows = range(i * h // out[0], math.ceil((i + 1) * h / out[0]))
        columns = range(j * w // out[1], math.ceil((j + 1) * w / out[1]))
        for plane in np.ndindex(2, 3):
            part = x[plane][rows.start : rows.stop, columns.start : columns.stop]
            want_dx[plane][rows.start : rows.stop, columns.start : columns.stop] += (
                dy[(*plane, i, j)] / part.size
            )
            np.testing.assert_allclose(y[(*plane, i, j)], part.mean(), atol=1e-6)
            r, c = divmod(int(part.argmax()), len(columns))  # the first of equals
            assert best[(*plane, i, j)] == part.max()
            assert index[(*plane, i, j)] == (rows.start + r) * w + columns.start + c
    np.testing.assert_allclose(dx, want_dx, atol=1e-6)


@pytest.mark.parametrize("out", [(1, 1), (2, 3), (4, 9)])
def test_maxima_of_bins_that_are_not_numbers(out, rng):
    """The last NaN of a bin in reading order is its maximum; of minus infinities the first."""
    pool = Pool(1, 3, 6, 40, out, (1, 1), (1, 1))
    x = np.full((1, 3, 6, 40), -np.inf, np.float32)
    x[0, 1] = rng.integers(0, 3, (6, 40))
    x[0, 2] = np.where(rng.random((6, 40)) < 0.1, np.nan, 1)
    best, alone = (np.zeros((1, 3, *out), np.float32) for _ in range(2))
    index = np.zeros(best.shape, np.int64)
    native.run(plan_bins_max(pool, image(0, x), image(1, best), (2, 0)), [x, best, index], chunk=1)
    native.run(plan_bins_max(pool, image(0, x), image(1, alone)), [x, alone], chunk=1)
    for c, i, j in np.ndindex(3, *out):
        place = -1
        for r in range(i * 6 // out[0], -(-(i + 1) * 6 // out[0])):
            for s in range(j * 40 // out[1], -(-(j + 1) * 40 // out[1])):
                value = x[0, c, r, s]
                if place < 0 or value > x[0, c].flat[place] or np.isnan(value):
                    place = r * 40 + s
        assert index[0, c, i, j] == place
        np.testing.assert_equal(best[0, c, i, j], x[0, c].flat[place])
    np.testing.assert_array_equal(best, alone)


def test_the_inside_of_wide_rows(rng):
    """Registers that need no masks give what those at the edges do; a NaN wins, and stays."""
    for kernel, stride, padding in ((2, 2, 0), (3, 1, 1), (3, 2, 1), (5, 1, 2), (4, 3, 1)):
        ow = pooled_size(75, kernel, stride, padding, 1, False)
        pool = Pool(1, 2, 1, 75, (1, ow), (1, kernel), (1, stride), (0, padding))
        x = rng.standard_normal((1, 2, 1, 75)).astype(np.float32)
        x[0, 1, 0, 40] = np.nan
        y, index = np.zeros((1, 2, 1, ow), np.float32), np.zeros((1, 2, 1, ow), np.int64)
        native.run(plan_max_pool(pool, image(0, x), image(1, y)), [x, y])
        again = np.zeros_like(y)
        native.run(plan_max_pool(pool, image(0, x), image(1, again), (2, 0)), [x, again, index])
        for o, places, _ in windows(pool):
            for c in (0, 1):
                values = np.array([x[(0, c, *p)] for p in places])
                np.testing.assert_equal(y[(0, c, *o)], values.max())
                assert index[(0, c, *o)] == places[int(values.argmax())][1]
        np.testing.assert_array_equal(again, y)
