"""Sorting runs natively and does what NumPy says."""

import numpy as np
import pytest
from graphs import compare

from facula.graph import dtypes as dt
from facula.ops import sorting


def order(x, dim, descending):
    """Stable order, NaN above all."""
    if x.dtype.kind == "b":
        x = x.astype(np.uint8)
    if descending:
        back = np.flip(np.argsort(np.flip(x, dim), axis=dim, kind="stable"), dim)
        return x.shape[dim] - 1 - back
    return np.argsort(x, axis=dim, kind="stable")


def np_sort(x, dim, descending):
    """Values in order, and where they were."""
    places = order(x, dim, descending)
    return [np.take_along_axis(x, places, dim), places]


def np_topk(x, k, dim, largest):
    """The first k."""
    places = np.take(order(x, dim, largest), np.arange(k), dim)
    return [np.take_along_axis(x, places, dim), places]


def sort(g, x, dim, descending):
    return g.host(np_sort, [(x.dtype, x.shape), (dt.int64, x.shape)], [x], (dim, descending))


def topk(g, x, k, dim, largest):
    shape = tuple(k if d == dim else n for d, n in enumerate(x.shape))
    outs = [(x.dtype, shape), (dt.int64, shape)]
    return g.host(np_topk, outs, [x], (k, dim, largest))


def numbers(dtype, *shape):
    x = np.random.default_rng(0).standard_normal(shape) * 60
    if dtype == "bool":
        return x > 0
    if dtype.startswith("float"):
        x = x.astype(dtype)
        x.flat[::7] = np.nan
        x.flat[1::7] = -0.0
        x.flat[2::7] = 0.0
        x.flat[3::11] = -np.inf
        return x
    return (np.abs(x) if dtype[0] == "u" else x).astype(dtype)


@pytest.mark.parametrize(
    "dtype", "bool int8 uint8 int16 uint32 int64 float16 float32 float64".split()
)
@pytest.mark.parametrize("descending", [False, True])
def test_sort(dtype, descending):
    """By insertion and by radix, along both axes."""
    x = numbers(dtype, 3, 90)
    compare(lambda g, x: [*sort(g, x, 0, descending), *sort(g, x, 1, descending)], x)
    compare(lambda g, x: sort(g, g.permute(x, (1, 0)), 0, descending)[1], x)


@pytest.mark.parametrize("span", [1, 300, 1 << 31, 1 << 33, 1 << 62])
@pytest.mark.parametrize("n", [700, 30_000])
def test_sort_by_span(span, n):
    """Keys are counted from the least: in one word or in two, by few digits or by many."""
    rng = np.random.default_rng(0)
    x = rng.integers(-span // 2, span // 2 + 1, (2, n))
    x[1] = x[1] // 3 + np.iinfo(np.int64).min // 3
    compare(lambda g, x: [*sort(g, x, 1, False), *sort(g, x, 1, True)], x)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_long_sort(dtype):
    x = numbers(dtype, 1, 30_000)
    compare(lambda g, x: [*sort(g, x, 1, False), *sort(g, x, 1, True)], x)


@pytest.mark.parametrize("dtype", "int16 uint64 int64 float32 float64".split())
@pytest.mark.parametrize("k", [1, 5, 30, 40, 70, 200])
def test_topk(dtype, k):
    """With a list, by selection, and all of them."""
    x = numbers(dtype, 4, 200)
    compare(lambda g, x: [*topk(g, x, k, 1, True), *topk(g, x, k, 1, False)], x)


@pytest.mark.parametrize("dtype", "int8 uint32 int64 float16 float32 float64".split())
@pytest.mark.parametrize("shape", [(3, 17), (2, 700), (1, 9000)])
def test_ranks(dtype, shape):
    """The k-th and the medians, few and many, of equals the one that a stable sort puts there."""
    x = numbers(dtype, *shape)
    if dtype == "float32":
        x[-1] = np.nan_to_num(x[-1], neginf=0)

    def make(g, x):
        found = []
        for d in range(2):
            outs = [(t, tuple(1 if i == d else n for i, n in enumerate(shape)))
                    for t in (x.dtype, dt.int64)]  # fmt: skip
            for k in (1, (shape[d] + 1) // 2, shape[d]):
                found += g.host(sorting.np_kthvalue, outs, [x], (k, d))
            for ignore_nan in (False, True):
                found += g.host(sorting.np_median, outs, [x], (d, ignore_nan))
        return found

    compare(make, x)


def test_rank_among_equals():
    """Bytes down to the last are the same."""
    x = np.full((2, 300), 7, np.int64)
    x[1, 5:200] = 6
    outs = [(dt.int64, (2, 1))] * 2
    compare(lambda g, x: g.host(sorting.np_kthvalue, outs, [x], (150, 1)), x)
