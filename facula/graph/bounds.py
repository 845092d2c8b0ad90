"""What an index out of range is reported as: in PyTorch's words, by the tag of its check."""

from __future__ import annotations

from typing import Any


class OutOfRange(IndexError, RuntimeError):
    """An index out of range where PyTorch raises RuntimeError: it is both."""


OutOfRange.__name__ = OutOfRange.__qualname__ = "IndexError"

_REPORTS: dict[str, tuple[type[Exception], str]] = {
    "self": (IndexError, "index out of range in self"),
    "target": (IndexError, "Target {index} is out of bounds."),
    "gather": (OutOfRange, "index {index} is out of bounds for dimension {dim} with size {size}"),
    "copy": (
        IndexError,
        "index_copy_(): index {index} is out of bounds for dimension {dim} with size {size}",
    ),
    "take": (
        IndexError,
        "out of range: tried to access index {index} on a tensor of {size} elements.",
    ),
    "divisor": (RuntimeError, "ZeroDivisionError"),
    "dim": (IndexError, "index {index} is out of bounds for dimension {dim} with size {size}"),
}


def report(tag: Any, index: int, size: int) -> tuple[type[Exception], str]:
    """The error's class and text. A tag is a name, (name, dim), or the number of a dim."""
    tag = ("dim", tag) if isinstance(tag, int) else tag
    name, dim = tag if isinstance(tag, tuple) else (tag, None)
    kind, text = _REPORTS.get(
        name, (IndexError, "index {index} out of range for size {size} in " + str(name))
    )
    return kind, text.format(index=index, size=size, dim=dim)
