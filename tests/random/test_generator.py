import numpy as np
import pytest

from facula.random import mt19937
from facula.random.generator import DEFAULT_SEED, Generator


def test_native_engine_is_the_published_one():
    # from the reference implementation: the 10000th draw of seed 5489 is 4123659995
    assert mt19937.MT19937(5489).random32(10_000)[-1] == 4123659995


def test_native_engine_is_the_numpy_one():
    engine = mt19937.MT19937(7)
    words, blocks = engine.engine[: mt19937.N].copy(), []
    for _ in range(4):
        words = mt19937._twist(words)
        blocks.append(mt19937._temper(words))
    expected = np.concatenate(blocks)
    parts = [engine.random32(n) for n in (0, 1, 15, 623, 1, 700, 1000)]
    got = np.concatenate(parts)
    assert (got == expected[: got.size]).all()


def test_random64_takes_the_high_half_first():
    low, high = mt19937.MT19937(3), mt19937.MT19937(3)
    halves = low.random32(20).astype(np.uint64)
    assert (high.random64(10) == (halves[::2] << np.uint64(32) | halves[1::2])).all()


@pytest.mark.parametrize(
    ("seed", "initial"),
    [(-1, 2**64 - 1), (2**64 - 1, 2**64 - 1), (-(2**63), 2**63), (1.0, 1), (True, 1)],
)
def test_seeds(seed, initial):
    assert Generator().manual_seed(seed).initial_seed() == initial


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_seeds_out_of_range(seed):
    with pytest.raises(ValueError, match="Overflow when unpacking long long"):
        Generator().manual_seed(seed)


def test_only_32_bits_of_the_seed_count():
    a, b = Generator().manual_seed(5), Generator().manual_seed(2**32 + 5)
    assert (a.random32(9) == b.random32(9)).all()
    assert b.initial_seed() == 2**32 + 5


def test_a_new_generator_has_the_default_seed():
    assert Generator().initial_seed() == DEFAULT_SEED
    g = Generator()
    assert g.seed() == g.initial_seed()


def test_state_round_trip():
    g = Generator().manual_seed(9)
    g.random32(1000)
    state = g.get_state()
    assert state.dtype == np.uint8 and state.shape == (5056,)
    h = Generator().set_state(state)
    assert (h.get_state() == state).all() and h.initial_seed() == 9
    assert (h.random32(700) == g.random32(700)).all()


def test_bad_states():
    g = Generator()
    with pytest.raises(TypeError, match="ByteTensor"):
        g.set_state(np.zeros(5056, np.float32))
    with pytest.raises(RuntimeError, match="size 5056"):
        g.set_state(np.zeros(100, np.uint8))
    with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
        g.set_state(np.zeros(5056, np.uint8))
