"""What planners of templates share: where operands and results lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.graph.ir import Val
from facula.graph.meta import contiguous_strides
from facula.schedule.codegen import Place

PLANNERS: dict[str, Callable[[Any, Val], list[Any] | None]] = {}


def planner(*names: str) -> Callable[[Callable], Callable]:
    """Registers a planner."""

    def register(fn: Callable) -> Callable:
        for name in names:
            PLANNERS[name] = fn
        return fn

    return register


def result(builder: Any, v: Val, k: int = 0) -> Place | None:
    """Where the k-th result of a template goes; None if nobody reads it."""
    for u in builder.fusion.users.get(v.id, ()):
        if u.op == "out" and u.arg == k:
            return builder.memory.places[u.id]
    return None


def contiguous(builder: Any, v: Val) -> tuple[list[Any], int, int] | None:
    """(steps, slot, offset) of an operand in row-major order, copied if it lies otherwise."""
    where = builder.strided(v)
    if where is None:
        return None
    slot, offset, strides = where
    if same_layout(v.shape, strides, contiguous_strides(v.shape)):
        return [], slot, offset
    steps, place = builder.copied(v)
    return steps, place.slot, place.offset


def same_layout(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two sets of strides lay out the same memory."""
    return all(n == 1 or s == t for n, s, t in zip(shape, a, b, strict=True))


def planned(builder: Any, plan: Callable[[int], Any]) -> list[Any]:
    """The steps of a plan that may want a workspace, given its slot."""
    slot = builder.workspace(0)
    made = plan(slot)
    if made.workspace_bytes:
        builder.workspace(made.workspace_bytes + 64)
    return made.steps
