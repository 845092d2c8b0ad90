"""The accelerator, whichever it is: for now there is none."""

from __future__ import annotations

from typing import Any

NONE = "Cannot access accelerator device when none is available."


def is_available() -> bool:
    """Whether there is an accelerator."""
    return False


def device_count() -> int:
    """How many there are."""
    return 0


def current_accelerator(check_available: bool = False) -> None:
    """The kind of accelerator: None."""


def empty_cache() -> None:
    """There is no cache."""


def _needs_one(name: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(NONE)

    function.__name__, function.__doc__ = name, "Needs an accelerator."
    return function


_NAMES = """
current_device_idx current_device_index get_device_capability current_stream device_index
empty_host_cache get_memory_info max_memory_allocated max_memory_reserved memory_allocated
memory_reserved memory_stats reset_accumulated_memory_stats reset_peak_memory_stats
set_device_idx set_device_index set_stream synchronize
""".split()
globals().update({name: _needs_one(name) for name in _NAMES})
__all__ = ["current_accelerator", "device_count", "empty_cache", "is_available", *_NAMES]
