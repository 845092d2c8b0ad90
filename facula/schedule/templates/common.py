"""What planners of templates share: where operands and results lie."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from facula.graph.ir import Val
from facula.graph.meta import contiguous_strides
from facula.kernel.put import Walk
from facula.schedule.codegen import Place

PLANNERS: dict[str, Callable[[Any, Val], list[Any] | None]] = {}
STRIDED: set[str] = set()  # operators that read and write rows at any strides


def planner(*names: str, strided: bool = False) -> Callable[[Callable], Callable]:
    """Registers a planner; `strided` if operands and results may have any strides but along rows."""

    def register(fn: Callable) -> Callable:
        for name in names:
            PLANNERS[name] = fn
            if strided:
                STRIDED.add(f"template:{name}")
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


def merged(sizes: Sequence[int], strides: Sequence[int]) -> int | None:
    """The one stride of neighbouring dims seen as one; None if there is none."""
    step, at = 0, None
    for n, s in zip(reversed(sizes), reversed(strides), strict=True):
        if n == 1:
            continue
        if at is None:
            step, at = s, s * n
        elif s != at:
            return None
        else:
            at = s * n
    return step


def grouped(
    shape: Sequence[int], strides: Sequence[int], cuts: Sequence[int]
) -> tuple[int, ...] | None:
    """A stride for each group of dims that `cuts` make."""
    ends = [0, *cuts, len(shape)]
    got = [merged(shape[a:b], strides[a:b]) for a, b in itertools.pairwise(ends)]
    return None if None in got else tuple(got)  # type: ignore[arg-type]


def walk_of(
    builder: Any,
    v: Val,
    cuts: Sequence[int],
    good: Callable[[tuple[int, ...]], bool] = lambda strides: True,
) -> tuple[list[Any], Walk] | None:
    """An operand with a stride for each group of dims, copied if it has none or not good ones."""
    where = builder.strided(v)
    if where is None:
        return None
    slot, offset, strides = where
    got = grouped(v.shape, strides, cuts)
    if got is not None and good(got):
        return [], Walk(slot, offset, got)
    steps, place = builder.copied(v)
    dense = grouped(v.shape, contiguous_strides(v.shape), cuts)
    assert dense is not None  # what lies in order has one stride for any neighbours
    return steps, Walk(place.slot, place.offset, dense)
