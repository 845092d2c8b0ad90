"""Which argument of which public function holds a value that turned out to be of a wrong type.

Operators do not look at their arguments' types before they use them: that would be paid for in every
call. Where using one fails, the call's frames tell whose argument it was.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

# PyTorch's names of what stands behind a public name
_NAMES = {"cross_entropy": "cross_entropy_loss"}
_PREFIXES = {"facula.ops.linalg": "linalg_", "facula.ops.fourier": "fft_"}


def wrong_type(value: Any, kind: str) -> TypeError:
    """PyTorch's TypeError for the argument that holds value: the one furthest out on the call stack."""
    frame: FrameType | None = sys._getframe(1)
    found = None
    while frame is not None and frame.f_globals.get("__name__", "").startswith("facula."):
        if frame.f_globals["__name__"].startswith("facula.ops."):
            found = _argument(frame, value) or found
        frame = frame.f_back
    got = type(value).__name__
    if found is None:
        return TypeError(f"must be {kind}, not {got}")
    function, argument, place = found
    at = f" (position {place})" if place else ""
    return TypeError(f"{function}(): argument '{argument}'{at} must be {kind}, not {got}")


def _argument(frame: FrameType, value: Any) -> tuple[str, str, int] | None:
    """(function, argument, its position or 0 for a keyword) of a frame that was given value."""
    code, values = frame.f_code, frame.f_locals
    name = code.co_name
    if name.endswith("function"):  # written once for several operators, which `name` tells apart
        name = values.get("name", "<function>")
    if name.startswith("<"):
        return None
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for i, argument in enumerate(names):
        if values.get(argument, frame) is value and argument != "self":
            place = i + (names[0] != "self") if i < code.co_argcount else 0
            return _public(frame, name), argument, place
    return None


def _public(frame: FrameType, name: str) -> str:
    room = frame.f_globals["__name__"]
    prefix = next((p for r, p in _PREFIXES.items() if room.startswith(r)), "")
    name = name.lstrip("_")
    return prefix + _NAMES.get(name, name)
