"""Exceptions on their way from a worker to the process that waits for it."""

from __future__ import annotations

import sys
import traceback
from typing import Any, NoReturn


class KeyErrorMessage(str):
    """A message that `KeyError`, which shows the repr of its argument, shows as it is."""

    def __repr__(self) -> str:
        return str(self)


class ExceptionWrapper:
    """The type and the text of an exception; `reraise` raises it again elsewhere."""

    def __init__(self, exc_info: Any = None, where: str = "in background") -> None:
        exc_info = sys.exc_info() if exc_info is None else exc_info
        # Text and not the traceback itself: a traceback keeps frames alive and is not picklable.
        self.exc_type = exc_info[0]
        self.exc_msg = "".join(traceback.format_exception(*exc_info))
        self.where = where

    def reraise(self) -> NoReturn:
        message = f"Caught {self.exc_type.__name__} {self.where}.\nOriginal {self.exc_msg}"
        if self.exc_type is KeyError:
            raise KeyError(KeyErrorMessage(message))
        if getattr(self.exc_type, "message", None):
            raise self.exc_type(message=message)
        try:
            exception = self.exc_type(message)
        except Exception:  # a type that wants other arguments
            raise RuntimeError(message) from None
        raise exception
