"""What holds for all tests: a kernel cache of their own, and every form verified between stages."""

import os
from pathlib import Path

import pytest

# Before facula is imported; workers of pytest-xdist inherit the variables. The cache outlives the
# session: what is in it is keyed by the sources of its generators, so an old object is never run.
os.environ.setdefault("FACULA_CACHE", str(Path(__file__).parent.parent / ".pytest_cache/kernels"))
os.environ.setdefault("FACULA_VERIFY", "1")


@pytest.fixture(autouse=True)
def whole_tapes():
    """Each test begins as a process does: whether tapes came again before makes no difference."""
    from facula.graph.tape import ENGINE

    ENGINE.varying = ENGINE.new_in_a_row = 0
