"""Whether an error that is raised now would meet a handler of the user's.

An operator that can fail raises on the user's line if somebody may wait for that there: a `try`, or a
`with` block. Where nothing does, the error ends the program anyway, and it is as good to find it out
when values are looked at.
"""

from __future__ import annotations

import sys
from types import CodeType, FrameType

# where in a function's code handlers apply: (first byte, byte behind)
_ranges: dict[CodeType, list[tuple[int, int]]] = {}
MAX_KEPT = 4096


def nobody_waits() -> bool:
    """Whether no `try` or `with` of the calls outside of this package surrounds the calling line."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_exceptiontable and not _is_ours(frame):
            at = frame.f_lasti
            if any(first <= at < end for first, end in _handled(code)):
                return False
        frame = frame.f_back
    return True


def _is_ours(frame: FrameType) -> bool:
    """Whether a frame is this package's, or what starts a program (`python -m`, `facula run`)."""
    name = frame.f_globals.get("__name__", "")
    return name in ("facula", "runpy") or name.startswith("facula.")


def _handled(code: CodeType) -> list[tuple[int, int]]:
    found = _ranges.get(code)
    if found is None:
        if len(_ranges) >= MAX_KEPT:
            _ranges.clear()
        found = _ranges[code] = _read_table(code.co_exceptiontable)
    return found


def _read_table(table: bytes) -> list[tuple[int, int]]:
    """The ranges of an exception table, which has four numbers for each: its start and size in code
    units of two bytes, the handler and the stack's depth; six bits a byte, the seventh where more follow."""
    numbers: list[int] = []
    value = 0
    for byte in table:
        value = value << 6 | byte & 63
        if not byte & 64:
            numbers.append(value)
            value = 0
    return [(2 * a, 2 * (a + n)) for a, n in zip(numbers[::4], numbers[1::4], strict=True)]


__all__ = ["nobody_waits"]
