"""torch.cuda where no GPU can be used: programs that ask first run on the CPU.

There is no GPU support yet. Questions get a truthful answer (`is_available()` is False); whatever
would need a GPU raises the `AssertionError` that PyTorch without CUDA raises.

>>> device_count(), is_available()
(0, False)
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NoReturn

_MISSING = "Torch not compiled with CUDA enabled: facula has no GPU support yet, use device 'cpu'"


def _no_gpu(*args: Any, **kwargs: Any) -> NoReturn:
    """Raises: there is no GPU to do this with."""
    raise AssertionError(_MISSING)


def is_available() -> bool:
    """Whether a GPU can be used: not yet."""
    return False


def is_initialized() -> bool:
    """Whether a GPU is in use."""
    return False


def device_count() -> int:
    """Number of GPUs that can be used."""
    return 0


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the GPU computes with bfloat16."""
    return False


def get_arch_list() -> list[str]:
    """GPU architectures that code can be generated for."""
    return []


def empty_cache() -> None:
    """Gives unused GPU memory back: there is none."""


def memory_allocated(device: Any = None) -> int:
    """Bytes of GPU memory in use."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def memory_stats(device: Any = None) -> OrderedDict[str, Any]:
    """Statistics of GPU memory: none."""
    return OrderedDict()


def manual_seed(seed: int) -> None:
    """Seeds the GPU's generator, of which there is none; `torch.manual_seed` seeds the CPU's."""
    int(seed)


def manual_seed_all(seed: int) -> None:
    """Seeds the generators of all GPUs, of which there are none."""
    int(seed)


def seed() -> None:
    """Seeds the GPU's generator from chance: there is none."""


seed_all = seed


def get_rng_state_all() -> list[Any]:
    """States of the generators of all GPUs: none."""
    return []


def set_rng_state_all(new_states: list[Any]) -> None:
    """Sets the states of the generators of all GPUs, which must be none as well."""
    for _ in new_states:
        _no_gpu()


for _name in (
    "init current_device set_device get_device_name get_device_capability get_device_properties "
    "synchronize current_stream default_stream set_stream ipc_collect mem_get_info initial_seed "
    "get_rng_state set_rng_state reset_peak_memory_stats memory_summary utilization device "
    "device_of stream Stream Event CUDAGraph graph"
).split():
    globals()[_name] = _no_gpu
del _name


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'torch.cuda' has no attribute {name!r} (no GPU support yet)")
