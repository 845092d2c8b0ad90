"""Which modules' forward is running in a thread, for errors that name the path to the module."""

from __future__ import annotations

import threading
from typing import Any


class _Running(threading.local):
    """`modules`: those being called, the innermost last."""

    def __init__(self) -> None:
        self.modules: list[Any] = []


RUNNING = _Running()
