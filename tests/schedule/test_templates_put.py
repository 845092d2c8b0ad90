"""Writing at given places runs natively and does what NumPy says."""

import numpy as np
import pytest
from graphs import compare

import facula as torch
from facula.graph import dtypes as dt

DTYPES = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64".split()


def numbers(dtype, *shape, seed=0):
    """Small whole numbers, which add up exactly."""
    drawn = np.random.default_rng(seed).integers(-4, 5, shape)
    return (
        (drawn > 0)
        if dtype == "bool"
        else np.abs(drawn).astype(dtype)
        if dtype[0] == "u"
        else drawn.astype(dtype)
    )


@pytest.mark.parametrize("mode", ["set", "add", "mul", "max", "min"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type(dtype, mode):
    """Rows and points of every type in every way."""
    index = np.random.default_rng(1).integers(0, 6, 11)
    x, src = numbers(dtype, 6, 21), numbers(dtype, 11, 21, seed=2)
    places = np.random.default_rng(3).integers(0, 6, (11, 20))
    compare(
        lambda g, x, i, s, p: [g.put(x, i, s, 0, mode), g.scatter(x, p, s, 0, mode)],
        x,
        index,
        src,
        places,
    )


@pytest.mark.parametrize("shape", [(7, 5, 9), (64, 3, 2), (1, 40, 300), (2, 5, 1)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axes(shape, axis):
    """Along any axis, with indices of several dims and a source that lies otherwise."""
    rng = np.random.default_rng(0)
    index = rng.integers(0, shape[axis], (2, 3))
    wide = numbers("float32", *shape[axis + 1 :], *shape[:axis], 2, 3)
    n = len(shape) - axis - 1
    order = (*range(n, n + axis), n + axis, n + axis + 1, *range(n))
    places = rng.integers(0, shape[axis], shape)
    x, src = numbers("float32", *shape), numbers("float32", *[k + 1 for k in shape])
    compare(
        lambda g, x, i, w, p, s: [g.put(x, i, g.permute(w, order), axis, "add"), g.scatter(x, p, s, axis, "add")],
        *(x, index, wide, places, src),
    )  # fmt: skip


def test_one_hot():
    """An expanded index, an index smaller than the result, in place of a dead operand."""
    label = np.array([[2], [0], [1]])
    compare(
        lambda g, i: g.scatter(g.const(0.0, dt.float32, (3, 4)), i,
                               g.const(1.0, dt.float32, (3, 1)), 1, "set"),
        label,
    )  # fmt: skip
    x = numbers("float32", 8, 16)
    index = np.random.default_rng(0).integers(0, 8, 30)
    src = numbers("float32", 30, 16)
    for free in (False, True):
        compare(lambda g, x, i, s: g.put(x, i, s, 0, "add"), x, index, src, free=free)
        compare(lambda g, x, i, s: g.put(x + x, i, s, 0, "add"), x, index, src, free=free)
        # the old value is read by what is put
        compare(
            lambda g, x, i: g.put(x, i, g.slice(x, (1, 0), (3, 16), (1, 1)), 0, "set"),
            x,
            np.array([3, 4, 5]),
            free=free,
        )


@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize("width", [1, 9])
def test_indices_are_read_as_they_were_given(wrap, width):
    """Checked indices, also negative ones, of rows and of points; one check that two puts share."""
    index = np.array([-3, 0, 5, -1, 2] if wrap else [3, 0, 5, 5, 2])
    x, src = numbers("float32", 6, width), numbers("float32", 5, width, seed=1)
    places = np.repeat(index[:, None], width, 1)

    def build(g, x, i, s, p):
        rows, points = g.check(i, 6, ("gather", 0), wrap), g.check(p, 6, ("gather", 0), wrap)
        twice = g.scatter(g.scatter(x, points, s, 0, "add"), points, s, 0, "max")
        return [g.put(x, rows, s, 0, "add"), twice, g.take(x, rows, 0)]

    compare(build, x, index, src, places)


@pytest.mark.parametrize("bad", [7, -1, -8])
@pytest.mark.parametrize("name", ["scatter_add_", "index_add_", "put_"])
def test_a_bad_index_writes_nothing(name, bad):
    """In place of a tensor that stays: it keeps its value, whichever index is reported."""
    x = torch.arange(7.0)
    before = x.tolist()
    index, src = torch.tensor([1, 2, bad if name != "put_" or bad != -1 else -9]), torch.ones(3)
    said = f"index {index[2].item()} (is out of bounds|on a tensor of 7)"
    with pytest.raises(IndexError, match=said):
        getattr(x, name)(*([] if name == "put_" else [0]), index, src).sum().item()
    assert x.tolist() == before
    y = torch.arange(7.0)
    with pytest.raises(IndexError, match=said):
        getattr(y, name.rstrip("_"))(*([] if name == "put_" else [0]), index, src).sum().item()
