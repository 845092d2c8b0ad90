"""Intel's GPUs: not used; programs that ask first find that there is none."""

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
Event Stream current_device current_stream get_device_capability get_device_name
get_device_properties get_rng_state init max_memory_allocated mem_get_info memory_allocated
memory_reserved reset_peak_memory_stats seed set_device set_rng_state stream synchronize
""".split()


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module 'torch.xpu' has no attribute '{name}'")
    if name not in _NEEDS_ONE:
        raise AttributeError(f"module 'torch.xpu' has no attribute '{name}'")

    def function(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"torch.xpu.{name}: there is no XPU device")

    function.__name__ = name
    return function
