"""Apple's GPUs: not used; programs that ask first find that there is none."""

from __future__ import annotations

from typing import Any


def is_available() -> bool:
    """Whether such a GPU can be used."""
    return False


def device_count() -> int:
    """How many can be used."""
    return 0


def empty_cache() -> None:
    """There is no cache."""


def manual_seed(seed: int) -> None:
    """There is no generator to seed."""


manual_seed_all = manual_seed


_NEEDS_ONE = """
Event compile_shader current_allocated_memory driver_allocated_memory get_rng_state
load_metallib profiler recommended_max_memory seed set_per_process_memory_fraction set_rng_state
synchronize
""".split()


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module 'torch.mps' has no attribute '{name}'")
    if name not in _NEEDS_ONE:
        raise AttributeError(f"module 'torch.mps' has no attribute '{name}'")

    def function(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"torch.mps.{name}: there is no MPS device")

    function.__name__ = name
    return function
