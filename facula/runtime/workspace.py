"""Memory for the temporaries of plans, kept from one run to the next."""

from __future__ import annotations

from typing import Any

from facula.runtime.buffers import alloc

KEPT: list[Any] = [None]  # one buffer, or None


def most_kept(nbytes: int) -> int:
    """The bytes of a buffer that is not given back for one of `nbytes`: plans of one program differ."""
    return 4 * nbytes + (64 << 20)


def workspace(nbytes: int) -> Any:
    """A buffer of at least so many bytes; what was in it is lost."""
    have = KEPT[0]
    if have is None or have.nbytes < nbytes or have.nbytes > most_kept(nbytes):
        KEPT[0] = have = None  # given back before more is asked for
        KEPT[0] = have = alloc(nbytes)
    return have


__all__ = ["KEPT", "most_kept", "workspace"]
