"""The version as a string that compares as versions do."""

from __future__ import annotations

import re
from typing import Any

RELEASE = "2.13.0"
"""The PyTorch that facula follows."""

_PART = re.compile(r"\d+|[a-z]+", re.IGNORECASE)


def _key(version: Any) -> tuple:
    """Release numbers, then whether it is final: "2.1.0a1" comes before "2.1", "2.1+cpu" is "2.1"."""
    if isinstance(version, tuple | list):
        version = ".".join(map(str, version))
    public = str(version).lstrip("v").partition("+")[0]
    numbers = re.match(r"\d+(?:\.\d+)*", public)
    if not numbers:
        raise ValueError(f"Invalid version: '{version}'")
    release = [int(n) for n in numbers[0].split(".")]
    while release and release[-1] == 0:
        release.pop()
    tail = [p.lower() for p in _PART.findall(public[numbers.end() :])]
    if not tail:
        rank: tuple = (1,)
    else:
        kind = {"post": 2, "dev": -1}.get(tail[0], 0)
        rank = (kind, tail[0], *(int(p) for p in tail[1:] if p.isdigit()))
    return tuple(release), rank


class TorchVersion(str):
    """PyTorch's version; comparable to strings and to tuples.

    >>> TorchVersion("2.13.0") > "2.4", TorchVersion("2.13.0") >= (2, 13)
    (True, True)
    """

    def __lt__(self, other: Any) -> bool:
        return _key(self) < _key(other)

    def __le__(self, other: Any) -> bool:
        return _key(self) <= _key(other)

    def __gt__(self, other: Any) -> bool:
        return _key(self) > _key(other)

    def __ge__(self, other: Any) -> bool:
        return _key(self) >= _key(other)

    def __eq__(self, other: Any) -> bool:
        try:
            return _key(self) == _key(other)
        except ValueError:
            return str.__eq__(self, other)

    def __ne__(self, other: Any) -> bool:
        return not self == other

    __hash__ = str.__hash__
