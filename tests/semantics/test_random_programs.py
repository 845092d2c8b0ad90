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
