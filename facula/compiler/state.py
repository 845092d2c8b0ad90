"""What the rooms of `facula.compiler` share."""

from __future__ import annotations

import threading
import weakref
from typing import Any

from facula.compiler.guards import Unsupported

# what was done; tests read it
COUNTERS: dict[str, int] = {"captures": 0, "graph_breaks": 0}


class _State(threading.local):
    compiling = 0  # nested observations and captures in this thread
    stance = ""  # 'force_eager': compiled functions run as always


STATE: Any = _State()
_State.known = weakref.WeakSet()  # type: ignore[attr-defined]

__all__ = ["COUNTERS", "STATE", "Unsupported"]
