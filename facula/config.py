"""Switches, read once from the environment. Each is documented here and nowhere else."""

from __future__ import annotations

import os

BACKEND = os.environ.get("FACULA_BACKEND", "native")
"""FACULA_BACKEND: `native` (LLVM), or `reference`: every primitive by its line of NumPy."""

EAGER = os.environ.get("FACULA_EAGER", "") not in ("", "0")
"""FACULA_EAGER=1: each operator is evaluated at once (for finding where a value goes wrong)."""

VERIFY = os.environ.get("FACULA_VERIFY", "") not in ("", "0")
"""FACULA_VERIFY=1: the intermediate forms are checked between stages (on in tests)."""

MAX_PLANS = int(os.environ.get("FACULA_MAX_PLANS", "4096"))
"""FACULA_MAX_PLANS: how many plans are kept in memory."""


def cache() -> str | None:
    """FACULA_CACHE: the directory for compiled kernels (default ~/.cache/facula), or `off`."""
    return os.environ.get("FACULA_CACHE")


def num_threads() -> str:
    """FACULA_NUM_THREADS, else OMP_NUM_THREADS: threads that compute (default: all cores)."""
    return os.environ.get("FACULA_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS", "")
