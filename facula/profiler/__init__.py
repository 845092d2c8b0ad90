"""Profiling: `facula.explain` shows the kernels, `torch.utils.benchmark` times them."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable
from typing import Any

__all__ = [
    "ProfilerAction", "ProfilerActivity", "kineto_available", "profile", "record_function",
    "schedule", "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip

INSTEAD = (
    "torch.profiler.profile is not there: facula.explain(x) shows the kernels behind a value, "
    "torch.utils.benchmark.Timer times them, and Python's cProfile shows the program"
)


class ProfilerActivity(enum.Enum):
    """What is watched."""

    CPU, XPU, MTIA, CUDA, HPU, PrivateUse1 = range(6)


class ProfilerAction(enum.Enum):
    """What happens at a step."""

    NONE, WARMUP, RECORD, RECORD_AND_SAVE = range(4)


def schedule(
    *,
    wait: int,
    warmup: int,
    active: int,
    repeat: int = 0,
    skip_first: int = 0,
    skip_first_wait: int = 0,
) -> Callable[[int], ProfilerAction]:
    """What to do at each step: rounds of waiting, warming up and recording."""

    def action(step: int) -> ProfilerAction:
        if step < skip_first:
            return ProfilerAction.NONE
        step -= skip_first
        if skip_first_wait:
            step += wait
        length = wait + warmup + active
        if repeat and step // length >= repeat:
            return ProfilerAction.NONE
        at = step % length
        if at < wait:
            return ProfilerAction.NONE
        if at < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if at < length - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


class profile:
    """Not there; the error names what to use."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(INSTEAD)


def tensorboard_trace_handler(*args: Any, **kwargs: Any) -> Any:
    """Not there, as `profile`."""
    raise NotImplementedError(INSTEAD)


def kineto_available() -> bool:
    """Whether there is a profiler."""
    return False


def supported_activities() -> set[ProfilerActivity]:
    """What could be watched: nothing."""
    return set()


class record_function(contextlib.ContextDecorator):
    """Names a part of the program for a profiler; there is none, so the name is not used."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name, self.args = name, args

    def __enter__(self) -> record_function:
        return self

    def __exit__(self, *exc: Any) -> None:
        return None
