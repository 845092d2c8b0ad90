"""Results of templates that are written where they would be copied to.

Attention's result goes, with its heads side by side, into the next layer; the gradients of its operands go
into the thirds of one array. Such a copy is a view of a template's result, stored as a whole. Where the
template can write rows at any strides it stores right there, and the result lies in the copy's memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from facula.graph.ir import Val
from facula.graph.meta import contiguous_strides, view_strides
from facula.schedule.group import Group
from facula.schedule.templates.common import STRIDED

_VIEWS = ("reshape", "permute", "copy")


@dataclass(frozen=True)
class Direct:
    """Where a template's result lies: in the memory of another value."""

    home: Val
    offset: int
    strides: tuple[int, ...]


def attach(builder: Any) -> None:
    """Finds the copies and takes them out: notes the results, and what need not be stored any more."""
    for number, step in enumerate(builder.steps):
        if isinstance(step, Group):
            if len(step.members) == 1 and not step.axes and step.product is None:
                _try(builder, step.members[0], step.members[0], number)
        elif step.op == "cat" and step.dtype.kind != "c":
            start, axis = 0, step.arg
            for s in step.srcs:
                if s.id not in builder.fusion.candidates and step.srcs.count(s) == 1:
                    _try(builder, s, step, number, start)
                start += s.shape[axis]


def _try(builder: Any, stored: Val, home: Val, number: int, start: int = 0) -> None:
    """Lets a template store what is copied to `home`, if the copy is the whole of its result."""
    strides = contiguous_strides(home.shape)
    got = _whole_result(builder, stored, strides)
    if got is None:
        return
    out, laid = got
    if not _may_move(builder, out, stored, laid):
        return
    offset = start * strides[home.arg] if home.op == "cat" else 0
    builder.direct[out.id] = Direct(home, offset, laid)
    builder.stored_already.add((home.id, stored.id))
    first = builder.first_store.get(home.id, number)
    builder.first_store[home.id] = min(builder.fusion.stage[out.id], first)
    # who reads the result reads the copy's memory
    if later := [n for n in builder.readers.get(out.id, ()) if n != number]:
        builder.readers.setdefault(home.id, []).extend(later)


def _whole_result(
    builder: Any, stored: Val, strides: tuple[int, ...]
) -> tuple[Val, tuple[int, ...]] | None:
    """The result that a value, stored with these strides, is a view of; and that result's strides."""
    v = stored
    while v.op in _VIEWS and (v is stored or v.id not in builder.fusion.candidates):
        below = v.srcs[0]
        if v.op == "permute":
            back = [0] * v.ndim
            for d, s in zip(v.arg, strides, strict=True):
                back[d] = s
            strides = tuple(back)
        elif v.op == "reshape":
            got = view_strides(v.shape, strides, below.shape)
            if got is None:
                return None
            strides = got
        v = below
    return (v, strides) if v.op == "out" and v.srcs[0].op in STRIDED else None


def _may_move(builder: Any, out: Val, stored: Val, strides: tuple[int, ...]) -> bool:
    """Whether everybody else who reads the result takes it at any strides."""
    if out.id in builder.wanted or out.id in builder.direct or out.dtype is not stored.dtype:
        return False
    if 0 in out.shape or (strides[-1] != 1 and out.shape[-1] != 1):
        return False
    return all(
        u.op in STRIDED or _leads_to(builder, u, stored) for u in builder.fusion.users[out.id]
    )


def _leads_to(builder: Any, v: Val, stored: Val) -> bool:
    """Whether a view of the result is read only on the way to what is stored."""
    users = builder.fusion.users
    while v is not stored:
        if v.op not in _VIEWS or len(users.get(v.id, ())) != 1 or v.id in builder.wanted:
            return False
        (v,) = users[v.id]
    # a part of a `cat` has no memory of its own: nobody else may read it
    return v.id in builder.fusion.candidates or len(users.get(v.id, ())) == 1
