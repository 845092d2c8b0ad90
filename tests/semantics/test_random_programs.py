"""Random programs of views, writes, reads and backward passes: facula against the NumPy model."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import facula
from facula import config
from tests.semantics.programs import Library, Model, Player, same

INSTRUCTION = st.tuples(*[st.integers(0, 63)] * 6)


def play_both(program):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        want = Player(Model()).play(program)
        got = Player(Library(facula)).play(program)
    difference = same(got, want)
    assert difference is None, difference


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(INSTRUCTION, min_size=4, max_size=24))
def test_random_programs(program):
    """What a program shows, its errors and its gradients are those of eager evaluation."""
    play_both(program)


@pytest.mark.parametrize("seed", range(20))
def test_evaluated_at_once(seed, monkeypatch):
    """The same when every operator is evaluated at once (FACULA_EAGER=1)."""
    from facula.graph.tape import LOCAL, Tape, flush

    flush()
    monkeypatch.setattr(config, "EAGER", True)
    LOCAL.tape = Tape(LOCAL.tape.home)
    try:
        rng = np.random.default_rng(seed)
        play_both([tuple(map(int, rng.integers(0, 64, 6))) for _ in range(8)])
    finally:
        monkeypatch.undo()
        flush()
        LOCAL.tape = Tape(LOCAL.tape.home)


# what tools/play_programs.py found: (what it was, the program)
FOUND = {
    "a written empty tensor keeps what its node saves": [
        (50, 59, 48, 17, 7, 21), (7, 12, 47, 45, 2, 16), (22, 43, 43, 60, 12, 39),
        (13, 47, 2, 51, 10, 1), (22, 55, 18, 7, 13, 41), (26, 24, 11, 0, 41, 24),
    ],
    "the gradient of a write through a view of a transposed base": [
        (2, 33, 14, 29, 27, 43), (8, 28, 2, 41, 57, 9), (33, 1, 31, 62, 1, 48),
        (48, 3, 53, 23, 21, 34), (42, 27, 47, 30, 0, 34),
    ],
    "a view of a view that does not lie row by row": [
        (56, 9, 28, 20, 61, 41), (42, 21, 30, 52, 33, 43), (13, 43, 28, 15, 46, 6),
        (59, 7, 25, 50, 43, 24), (8, 30, 24, 12, 51, 26), (13, 21, 52, 9, 33, 35),
        (7, 56, 50, 44, 52, 24), (10, 2, 30, 21, 63, 20), (21, 24, 23, 53, 53, 34),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_found_before(name):
    play_both(FOUND[name])


@pytest.mark.parametrize("turned", [False, True])
def test_gradients_of_masked_writes_through_views(turned):
    """Figures from PyTorch 2.13: a base of strides (1, 3, 3), written as it is and transposed."""
    x = facula.from_numpy(np.arange(6.0).reshape(2, 1, 3).T)
    mask = facula.tensor([[[True, False]], [[True, True]], [[True, True]]])
    if turned:
        mask = facula.tensor([[[True, False, True]], [[True, True, True]]])
    y = facula.arange(1.0, 6, dtype=facula.float64).requires_grad_()
    (x.transpose(0, 2) if turned else x[...])[mask] = y * 2
    (x * facula.arange(6.0, dtype=facula.float64).reshape(3, 1, 2)).sum().backward()
    assert y.grad.tolist() == ([0, 8, 2, 6, 10] if turned else [0, 4, 6, 8, 10])


def test_a_write_through_a_view_is_walked_once():
    x = facula.ones(3, requires_grad=True) * 1
    x[:1] = 5
    loss = x.sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()
