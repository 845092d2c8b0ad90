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


class profile:
    """Not offered."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            "torch.autograd.profiler.profile: use facula.explain or Python's cProfile instead"
        )
