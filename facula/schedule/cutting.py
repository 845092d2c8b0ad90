"""Which new tapes get plans in pieces."""

from __future__ import annotations

from typing import Any, ClassVar

from facula import config


class Cutting:
    """Whether new tapes get plans in pieces: where they are new every time, and the pieces are not.

    Tapes that begin or end alike are taken for those of one loop, whatever others do.
    """

    least = 120  # elements of a tape's key
    after = 4  # new tapes; each that is not new takes off half of one
    pause = 64  # tapes that are left whole when pieces turned out to be new as well

    fresh: ClassVar[dict[tuple, float]] = {}
    known = 0.8  # of a tape's length, new pieces have more where cutting does not help
    credit = 1.0  # goes down with each tape that is so
    waiting = 0

    @classmethod
    def tries(cls, new: bool, key: list[Any]) -> bool:
        """Notes a tape; whether it gets a plan in pieces."""
        if len(key) < cls.least or config.BACKEND == "reference":
            return False
        fresh, most = cls.fresh, 0.0
        if len(fresh) > config.MAX_PLANS:
            fresh.clear()
        for kind in _kinds(key):
            count = fresh.get(kind, 0.0)
            most = max(most, count)
            fresh[kind] = min(count + 1.0, 2.0 * cls.after) if new else max(count - 0.5, 0.0)
        if not new or most < cls.after:
            return False
        cls.waiting = max(cls.waiting - 1, 0)
        return not cls.waiting

    @classmethod
    def forget(cls) -> None:
        """No tape was seen before."""
        cls.fresh.clear()
        cls.credit, cls.waiting = 1.0, 0

    @classmethod
    def note(cls, built: int, length: int) -> None:
        """Notes the length of those pieces of a tape that were new, and of all."""
        cls.credit = min(cls.credit + cls.known - built / length, 4.0)
        if cls.credit <= 0:
            cls.credit, cls.waiting = 0.5, cls.pause


def _kinds(key: list[Any]) -> list[tuple]:
    """What a tape is taken for one of: all, those that begin as it does, and those that end so."""
    last = len(key) - 1
    while type(key[last]) is int:
        last -= 1
    return [(), (False, *key[:4]), (True, key[last])]


__all__ = ["Cutting"]
