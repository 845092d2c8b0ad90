"""Not offered yet: timing operators. The names exist so that programs which only import them run."""

from __future__ import annotations

from typing import Any


class record_function:
    """Names a part of a program for a profiler; without one it does nothing."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name, self.args = name, args

    def __enter__(self) -> record_function:
        return self

    def __exit__(self, *exc: Any) -> None:
        """Nothing to record."""

    def __call__(self, fn: Any) -> Any:
        return fn


def _refuse(name: str) -> None:
    raise NotImplementedError(
        f"torch.autograd.profiler.{name}: facula does not record operators' times; use facula.explain "
        "or Python's cProfile instead"
    )


class profile:
    """Not offered."""

    def __init__(self, enabled: bool = True, *, use_cuda: bool = False, use_device: Any = None,
                 record_shapes: bool = False, with_flops: bool = False, profile_memory: bool = False,
                 with_stack: bool = False, with_modules: bool = False, use_kineto: bool = False,
                 use_cpu: bool = True, experimental_config: Any = None, acc_events: bool = False,
                 custom_trace_id_callback: Any = None, post_processing_timeout_s: Any = None,
                 activity_filters: Any = None) -> None:  # fmt: skip
        if enabled:
            _refuse("profile")

    def __enter__(self) -> profile:
        return self

    def __exit__(self, *exc: Any) -> None:
        """Switched off: nothing to write."""


class _Emit:
    """Not offered."""

    def __init__(self, enabled: bool = True, record_shapes: bool = False) -> None:
        if enabled:
            _refuse(type(self).__name__)

    def __enter__(self) -> _Emit:
        return self

    def __exit__(self, *exc: Any) -> None:
        """Switched off: nothing to write."""


class emit_nvtx(_Emit):
    """Not offered: ranges for NVIDIA's profiler."""


class emit_itt(_Emit):
    """Not offered: ranges for Intel's profiler."""


class EventList(list):
    """Not offered: what a profile recorded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse("EventList")


class FunctionEvent:
    """Not offered: one operator in a profile."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse("FunctionEvent")


class MemRecordsAcc:
    """Not offered: memory in a profile."""

    def __init__(self, mem_records: Any) -> None:
        _refuse("MemRecordsAcc")


def load_nvprof(path: str) -> Any:
    """Not offered."""
    _refuse("load_nvprof")


def parse_nvprof_trace(path: str) -> Any:
    """Not offered."""
    _refuse("parse_nvprof_trace")


class EnforceUnique:
    """Raises when a key is seen twice."""

    def __init__(self) -> None:
        self.seen: set[Any] = set()

    def see(self, *key: Any) -> None:
        """Notes a key; RuntimeError if it was there."""
        if key in self.seen:
            raise RuntimeError("duplicate key: " + str(key))
        self.seen.add(key)


class KinetoStepTracker:
    """Counts steps under several names; the step of all is the largest."""

    _current_step = 0
    _step_dict: dict[str, int] = {}

    @classmethod
    def init_step_count(cls, requester: str) -> None:
        """Starts counting under a name."""
        cls._step_dict[requester] = cls._current_step

    @classmethod
    def erase_step_count(cls, requester: str) -> bool:
        """Stops counting under a name; whether it was known."""
        return cls._step_dict.pop(requester, None) is not None

    @classmethod
    def increment_step(cls, requester: str) -> int:
        """Counts one step; the step of all."""
        if requester not in cls._step_dict:
            cls.init_step_count(requester)
        cls._step_dict[requester] += 1
        cls._current_step = max(cls._step_dict.values())
        return cls._current_step

    @classmethod
    def current_step(cls) -> int:
        """The step of all."""
        return cls._current_step
