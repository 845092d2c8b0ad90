"""A plan: what evaluating one tape takes, ready to run again for other numbers and buffers."""

from __future__ import annotations

from typing import Any, Protocol

from facula import config
from facula.graph.collection import uncollected


class Plan(Protocol):
    """Runs with the tape's buffers and numbers; gives (entry, buffer) of wanted entries.

    fails: whether something in it can, a bad index for one.
    """

    fails: bool

    def run(self, leaves: list[Any], scalars: list[Any]) -> list[tuple[int, Any]]: ...


def build_plan(
    key: list[Any], live: tuple[bool, ...], free: tuple[bool, ...], scalars: list[Any]
) -> Plan:
    """Lowers, fuses and compiles a tape (or sets it up for the reference backend)."""
    # of what a builder makes nothing is garbage before its end; looking for some took a third of its time
    with uncollected():
        return _build(key, live, free, scalars)


def _build(
    key: list[Any], live: tuple[bool, ...], free: tuple[bool, ...], scalars: list[Any]
) -> Plan:
    from facula.schedule.lower import lower
    from facula.schedule.native_plan import Builder
    from facula.schedule.reference_plan import ReferencePlan

    low = lower(key, live, scalars)
    if config.BACKEND == "reference":
        return ReferencePlan(low)
    return Builder(low, free, scalars).build()
