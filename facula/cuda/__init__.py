"""NVIDIA GPUs: facula runs on CPUs for now; programs that ask first find that there is none."""

from __future__ import annotations

from typing import Any

NO_GPU = "Torch not compiled with CUDA enabled"


class AcceleratorError(RuntimeError):
    """An error of a GPU."""


class OutOfMemoryError(RuntimeError):
    """A GPU's memory is exhausted."""


def is_available() -> bool:
    """Whether a GPU can be used: not yet."""
    return False


def device_count() -> int:
    """How many GPUs can be used."""
    return 0


def is_initialized() -> bool:
    """Whether a GPU was used already."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the GPU computes in bfloat16."""
    return False


def _none(*_: Any, **__: Any) -> None:
    """Seeds and caches of GPUs: there is nothing to do."""


manual_seed = manual_seed_all = seed = seed_all = empty_cache = synchronize = ipc_collect = _none
reset_peak_memory_stats = reset_max_memory_allocated = _none


def memory_allocated(device: Any = None) -> int:
    """Bytes in use on the GPU."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def _missing(name: str) -> Any:
    def function(*_: Any, **__: Any) -> Any:
        raise AssertionError(NO_GPU)

    function.__name__ = name
    return function


current_device = _missing("current_device")
get_device_name = _missing("get_device_name")
get_device_properties = _missing("get_device_properties")
get_device_capability = _missing("get_device_capability")
set_device = _missing("set_device")
current_stream = _missing("current_stream")
init = _missing("init")


_NEED_A_GPU = """
CUDAGraph Event ExternalStream Stream caching_allocator_alloc can_device_access_peer clock_rate
current_blas_handle default_stream get_arch_list get_sync_debug_mode graph
graph_pool_handle host_memory_stats list_gpu_processes make_graphed_callables mem_get_info
memory_snapshot memory_stats memory_summary power_draw set_per_process_memory_fraction
set_rng_state set_stream set_sync_debug_mode temperature utilization get_rng_state initial_seed
""".split()
globals().update({name: _missing(name) for name in _NEED_A_GPU})


def get_rng_state_all() -> list:
    """The states of all GPUs' generators: of none."""
    return []


def set_rng_state_all(new_states: Any) -> None:
    """Sets the states of all GPUs' generators: of none."""


def is_current_stream_capturing() -> bool:
    """Whether a CUDA graph is being recorded."""
    return False


class device:
    """`with torch.cuda.device(None)`: nothing changes."""

    def __init__(self, device: Any) -> None:
        self.idx = device
        if device is not None and device != -1:
            raise AssertionError(NO_GPU)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: Any) -> bool:
        return False


class stream(device):
    """`with torch.cuda.stream(None)`: nothing changes."""


device_of = device


def __getattr__(name: str) -> Any:
    if name == "amp":
        import importlib

        return importlib.import_module("facula.cuda.amp")
    raise AttributeError(f"module 'torch.cuda' has no attribute '{name}'")
