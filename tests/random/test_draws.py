"""Draws against PyTorch's figures.

All expected figures are from PyTorch 2.13 on an x86-64 CPU with AVX2 and FMA:
`torch.manual_seed(0)` and the call named beside them.
"""

import hashlib

import numpy as np
import pytest

import facula as torch
from facula.random import draws
from facula.random.generator import Generator


def seeded() -> Generator:
    return Generator().manual_seed(0)


def f32(*values):
    return np.array(values, np.float32)


FIGURES = {
    "rand(4)": (
        lambda g: draws.uniform(g, 4),
        f32(0.49625658988952637, 0.7682217955589294, 0.08847743272781372, 0.13203048706054688),
    ),
    "rand(3), float64": (
        lambda g: draws.uniform(g, 3, "float64"),
        np.array([0.9700530018065531, 0.707819864399788, 0.45938294312745087]),
    ),
    "rand(3), bfloat16": (
        lambda g: draws.uniform(g, 3, "bfloat16"),
        np.array([16126, 16197, 15797], np.uint16),
    ),
    "randn(3)": (
        lambda g: draws.normal(g, 3),
        f32(1.5409960746765137, -0.293428897857666, -2.1787893772125244),
    ),
    "randn(17)": (
        lambda g: draws.normal(g, 17)[[0, 1, 8, 16]],
        f32(-1.1258398294448853, -1.6959311962127686, 0.46809640526771545, 0.9318265914916992),
    ),
    "randn(17), float64": (
        lambda g: draws.normal(g, 17, "float64")[[0, 1, 8, 16]],
        np.array(
            [-2.310411800234176, -0.6332746088675096, 0.23871805816817063, 0.6748575435940039]
        ),
    ),
    "randn(17), float16": (
        lambda g: draws.normal(g, 17, "float16")[[0, 1, 8, 16]],
        np.array([-1.1259765625, -1.3525390625, 1.8525390625, -0.84375], np.float16),
    ),
    "zeros(34)[::2].normal_()": (
        lambda g: draws.normal(g, 17, contiguous=False)[[0, 1, 16]],
        f32(1.5409960746765137, -0.293428897857666, -0.5663174986839294),
    ),
    "randperm(10)": (lambda g: draws.randperm(g, 10), np.array([4, 1, 7, 5, 3, 9, 0, 8, 6, 2])),
    "randint(10)": (lambda g: draws.randint(g, 6, 0, 10), np.array([4, 9, 3, 0, 3, 9])),
    "randint, 41 bits": (
        lambda g: draws.randint(g, 3, -(2**40), 2**40),
        np.array([-358231004625, -593374360384, 291447657211]),
    ),
    "random_(), int8": (
        lambda g: draws.random(g, 5, "int8"),
        np.array([44, 47, 117, 64, 67], np.int8),
    ),
    "random_(), float32": (
        lambda g: draws.random(g, 3, "float32"),
        f32(8325664.0, 12888472.0, 1484222.0),
    ),
    "bernoulli_(0.3)": (lambda g: draws.bernoulli(g, 8, 0.3), f32(0, 0, 0, 0, 0, 0, 1, 0)),
    "bernoulli(full(8, 0.3))": (
        lambda g: draws.bernoulli_each(g, np.full(8, 0.3, np.float32)),
        f32(0, 0, 1, 1, 0, 0, 0, 0),
    ),
    "exponential_(1.5)": (
        lambda g: draws.exponential(g, 3, rate=1.5),
        f32(2.338884115219116, 0.8202565312385559, 0.4100293815135956),
    ),
    "cauchy_(0.5, 2)": (
        lambda g: draws.cauchy(g, 3, median=0.5, sigma=2.0),
        f32(21.695459365844727, 2.0295345783233643, 0.24340131878852844),
    ),
    "log_normal_(0.1, 0.7)": (
        lambda g: draws.log_normal(g, 3, mean=0.1, std=0.7),
        f32(3.2501373291015625, 0.8999642729759216, 0.2404717653989792),
    ),
    "geometric_(0.3)": (lambda g: draws.geometric(g, 6, 0.3), f32(1, 1, 3, 1, 2, 1)),
    "poisson": (
        lambda g: draws.poisson(g, f32(0.5, 2, 9, 10, 50, 1000)),
        f32(2, 3, 9, 7, 56, 1016),
    ),
    "_standard_gamma": (
        lambda g: draws.standard_gamma(g, f32(0.1, 0.9, 2, 30)),
        f32(3.1292356392933324e-16, 0.18114250898361206, 2.243497371673584, 34.46925354003906),
    ),
    "_standard_gamma, float64": (
        lambda g: draws.standard_gamma(g, np.array([0.1, 0.9, 2, 30]), "float64"),
        np.array([3.129235610920794e-16, 0.1811425294260596, 2.243497312040669, 34.46925238426525]),
    ),
    "_sample_dirichlet": (
        lambda g: draws.dirichlet(g, f32(0.1, 0.9, 2, 30)),
        f32(8.481721403939084e-18, 0.00490982411429286, 0.06080945208668709, 0.9342807531356812),
    ),
    "binomial": (
        lambda g: draws.binomial(g, f32(20, 20, 100, 1000), f32(0.2, 0.9, 0.5, 0.3)),
        f32(7, 18, 45, 305),
    ),
    "multinomial": (lambda g: np.argsort(-draws.race(g, f32(1, 2, 3, 4)))[:3], np.array([2, 1, 3])),
    "multinomial, replacement": (
        lambda g: draws.multinomial(g, f32(1, 2, 3, 4), 6),
        np.array([3, 3, 2, 3, 3, 3]),
    ),
    "rrelu(-1)": (
        lambda g: -draws.rrelu_slopes(g, 3),
        f32(-0.3270943760871887, -0.27246248722076416, -0.22070477902889252),
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures(name):
    draw, expected = FIGURES[name]
    got = draw(seeded())
    assert got.dtype == expected.dtype
    assert got.tobytes() == expected.tobytes(), (got, expected)


# sha256 of torch.get_rng_state() after randn(3) and after rand(700)
@pytest.mark.parametrize(
    ("draw", "digest"),
    [
        (
            lambda g: draws.normal(g, 3),
            "5f273c33f4160de64fac7c23955badc140a32e236e861b993e52685fd195d97d",
        ),
        (
            lambda g: draws.uniform(g, 700),
            "f912cc5bd4fc9a7df3dd4b1565d7ef4e36ddf24d24e2aeddce27d27ae2d374b2",
        ),
    ],
)
def test_state_bytes(draw, digest):
    g = seeded()
    draw(g)
    assert hashlib.sha256(g.get_state().tobytes()).hexdigest() == digest


def test_a_saved_state_continues_with_the_normal_in_hand():
    g = seeded()
    draws.normal(g, 3)
    state = g.get_state()
    expected = draws.normal(g, 5)
    assert (draws.normal(Generator().set_state(state), 5) == expected).all()
    assert (draws.normal(g.set_state(state).clone_state(), 5) == expected).all()


def test_a_result_rounded_up_to_the_end_becomes_the_beginning():
    x = draws.uniform(seeded(), 5000, "bfloat16")
    assert x.max() < 0x3F80  # 1.0
    y = draws.uniform(seeded(), 5000, "float32", 1.0, float(np.nextafter(np.float32(1), 2)))
    assert (y == 1).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_draws_do_not_depend_on_how_they_are_asked_for(dtype):
    whole = draws.uniform(seeded(), 1000, dtype)
    g = seeded()
    parts = [draws.uniform(g, n, dtype) for n in (1, 15, 16, 17, 951)]
    assert (np.concatenate(parts) == whole).all()


def test_normals_of_a_tail_are_drawn_anew():
    g = seeded()
    whole = draws.normal(g, 32)
    h = seeded()
    tail = draws.normal(h, 21)
    assert (tail[:5] == whole[:5]).all()
    h2 = seeded()
    h2.random32(21)
    assert (tail[5:] == draws.normal(h2, 16)).all()


def test_randint_of_every_64_bit_integer():
    x = draws.randint(seeded(), 100, -(2**63), 2**63)
    assert (x == seeded().random64(100).view(np.int64)).all()


@pytest.mark.parametrize("n", [0, 1, 2, 255, 256, 257, 258, 600])
def test_randperm_is_a_permutation(n):
    assert sorted(draws.randperm(seeded(), n, "int32").tolist()) == list(range(n))


def test_moments():
    x = draws.normal(seeded(), 100_000, mean=2.0, std=3.0)
    assert abs(x.mean() - 2) < 0.05 and abs(x.std() - 3) < 0.05
    y = draws.binomial(seeded(), np.full(20_000, 50.0), np.full(20_000, 0.3), "float64")
    assert abs(y.mean() - 15) < 0.1 and abs(y.var() - 10.5) < 0.5
    z = draws.poisson(seeded(), np.full(20_000, 12.0), "float64")
    assert abs(z.mean() - 12) < 0.1 and abs(z.var() - 12) < 0.5


def test_in_place_draws_go_by_strides():
    # from PyTorch 2.13: torch.manual_seed(0); torch.zeros(2, 3).t().uniform_()
    array = np.zeros((2, 3), np.float32).T
    draws.place(array, draws.uniform(seeded(), 6))
    assert array[:, 0].tobytes() == draws.uniform(seeded(), 3).tobytes()


def test_a_draw_into_a_tensor_leaves_what_was_recorded_before():
    x = torch.ones(3)
    x.tolist()  # evaluated: the draw writes into its memory
    y = x + 1
    x.normal_()
    assert y.tolist() == [2.0, 2.0, 2.0]
    assert x.tolist() != [1.0, 1.0, 1.0]
