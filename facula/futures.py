"""Values that are not there yet."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

__all__ = ["Future", "collect_all", "wait_all"]


class Future:
    """A value that somebody will set."""

    def __init__(self, *, devices: list | None = None) -> None:
        self._inner: concurrent.futures.Future = concurrent.futures.Future()

    def done(self) -> bool:
        """Whether there is a value or an error."""
        return self._inner.done()

    def wait(self) -> Any:
        """The value, once it is there; raises the error if there is one."""
        return self._inner.result()

    def value(self) -> Any:
        """The value, which must be there."""
        if not self.done():
            raise RuntimeError("the Future has no value yet: call wait()")
        return self._inner.result()

    def set_result(self, result: Any) -> None:
        """Sets the value, once."""
        self._inner.set_result(result)

    def set_exception(self, result: BaseException) -> None:
        """Sets an error, which `wait` raises."""
        if not isinstance(result, BaseException):
            raise AssertionError(f"{result} is of type {type(result)}, not an Exception.")
        self._inner.set_exception(result)

    def add_done_callback(self, callback: Callable[[Future], None]) -> None:
        """Calls `callback(self)` when done."""
        self._inner.add_done_callback(lambda _: callback(self))

    def then(self, callback: Callable[[Future], Any]) -> Future:
        """A Future of what `callback(self)` returns."""
        after = Future()

        def run(_: Any) -> None:
            try:
                after.set_result(callback(self))
            except Exception as error:
                after.set_exception(error)

        self._inner.add_done_callback(run)
        return after


def collect_all(futures: list[Future]) -> Future:
    """A Future of the list, done when all are."""
    out = Future()
    left = [len(futures)]

    def one_less(_: Any) -> None:
        left[0] -= 1
        if not left[0]:
            out.set_result(list(futures))

    if not futures:
        out.set_result([])
    for f in futures:
        f.add_done_callback(one_less)
    return out


def wait_all(futures: list[Future]) -> list:
    """The values of all."""
    return [f.wait() for f in futures]
