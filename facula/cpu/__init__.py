"""The CPU as a device, for programs that treat every device alike."""

from __future__ import annotations

import contextlib
from typing import Any


class Stream:
    """On the CPU work is done in the order it is asked for: a stream is only a name."""

    def __init__(self, priority: int = -1) -> None:
        pass

    def wait_stream(self, stream: Any) -> None:
        """Nothing to wait for."""

    def record_event(self) -> None:
        """Nothing to record."""

    def wait_event(self, event: Any) -> None:
        """Nothing to wait for."""


class Event:
    """A moment on a stream; always past."""

    def query(self) -> bool:
        """Whether it is past."""
        return True

    def record(self, stream: Any = None) -> None:
        """Nothing to record."""

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def wait(self, stream: Any = None) -> None:
        """Nothing to wait for."""


class StreamContext(contextlib.AbstractContextManager):
    """`with torch.cpu.stream(s)`: nothing changes."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __exit__(self, *exc: Any) -> None:
        return None


_THE_STREAM = Stream()


def is_available() -> bool:
    """There is always a CPU."""
    return True


def is_initialized() -> bool:
    """It is always ready."""
    return True


def synchronize(device: Any = None) -> None:
    """Nothing to wait for."""


def current_stream(device: Any = None) -> Stream:
    """The one stream."""
    return _THE_STREAM


def stream(stream: Stream) -> StreamContext:
    """A context in which nothing changes."""
    return StreamContext(stream)


def device_count() -> int:
    """One."""
    return 1


def set_device(device: Any) -> None:
    """Nothing to choose."""


def current_device() -> str:
    """The CPU."""
    return "cpu"


def __getattr__(name: str) -> Any:
    if name == "amp":
        import importlib

        return importlib.import_module("facula.cpu.amp")
    raise AttributeError(f"module 'torch.cpu' has no attribute '{name}'")
