"""What holds for all tests: a kernel cache of their own, and every form verified between stages."""

import os
from pathlib import Path

# Before facula is imported; workers of pytest-xdist inherit the variables. The cache outlives the
# session: what is in it is keyed by the sources of its generators, so an old object is never run.
os.environ.setdefault("FACULA_CACHE", str(Path(__file__).parent.parent / ".pytest_cache/kernels"))
os.environ.setdefault("FACULA_VERIFY", "1")
