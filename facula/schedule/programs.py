"""Programs of groups. A group with the structure of one that was written before has its program.

The steps of a recurrence, the layers of a model and the parameters of an optimizer are the same again
and again: which memory they read and which numbers are arguments of a call and no part of a program.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from facula.graph.ir import Val
from facula.schedule.codegen import Call, Memory, Place, Writer
from facula.schedule.fuse import Fusion, Group

MAX_KEPT = 4096  # structures
_known: dict[tuple, Written] = {}


@dataclass
class Written:
    """A call whose slots and numbers are those of one structure: of its first, second, ... memory."""

    call: Call
    slots: list[int]
    scalars: list[
        tuple[bool, Any]
    ]  # whether it is given at run time, and which; or the number itself
    checks: list[tuple[int, int]]  # which parameters are numbers of checks, and of which value


class Structure:
    """What the program of a group depends on, with names of its own for memory and numbers."""

    def __init__(
        self, fusion: Fusion, group: Group, memory: Memory, stored: set[int], store: Val | None
    ) -> None:
        self.values: dict[int, int] = {}  # id -> name
        self.order: list[Val] = []
        self.slots: dict[int, int] = {}
        self.scalars: dict[int, int] = {}
        self._fusion, self._places, self._stored = fusion, memory.places, stored
        self._members = {m.id for m in group.members}
        roots = [*group.members, *group.columns.values()]
        if store is not None:
            roots.append(store)
        self.key: tuple = (
            group.shape, group.axes, tuple(sorted(group.cuts.items())),
            tuple([(m.op, group.places.get(m.id)) for m in group.members]),
            tuple(self._described(roots)),
            tuple([(self.values[m], self.values[x.id]) for m, x in group.columns.items()]),
            store and self.values[store.id],
        )  # fmt: skip

    def slot(self, slot: int) -> int:
        """The structure's name for a slot."""
        return self.slots.setdefault(slot, len(self.slots))

    def _described(self, roots: list[Val]) -> Iterable[Any]:
        """Every value that is read, in an order that the structure alone decides."""
        values, order, scalars = self.values, self.order, self.scalars
        places, members, stored = self._places, self._members, self._stored
        candidates, heavy = self._fusion.candidates, self._fusion.heavy
        out: list[Any] = []
        stack = roots[::-1]
        while stack:
            v = stack.pop()
            i = v.id
            name = values.get(i)
            if name is not None:
                out.append(name)
                continue
            values[i] = len(order)
            order.append(v)
            place, mine, arg = places.get(i), i in members, v.arg
            if v.op == "scalar":
                arg = (scalars.setdefault(arg[0], len(scalars)), arg[1])
            elif v.op == "const":
                arg = (type(arg), repr(arg))
            where = None
            if place is not None:
                where = (self.slot(place.slot), place.offset, place.strides)
            own = (i in stored) if mine else (i in candidates or i in heavy)
            out.append((v.op, v.dtype, v.shape, len(v.srcs), arg, where, mine, own))
            if place is None or mine:
                stack.extend(v.srcs[::-1])
        return out


def group_call(fusion: Fusion, group: Group, memory: Memory, stored: set[int]) -> Call:
    """The call that computes a group and stores those of its members."""
    structure = Structure(fusion, group, memory, stored, None)
    return _call(structure, structure.key, Writer(fusion, group, memory, stored))


def store_call(fusion: Fusion, group: Group, memory: Memory, v: Val, place: Place | None) -> Call:
    """The call that computes a value and stores it at a place, if one is given."""
    structure = Structure(fusion, group, memory, set(), v)
    target = None if place is None else (structure.slot(place.slot), place.offset, place.strides)
    key = (*structure.key, "store", target)
    return _call(structure, key, StoreWriter(fusion, group, memory, v, place))


def _call(structure: Structure, key: tuple, writer: Writer) -> Call:
    memory = writer.memory
    written = _known.get(key)
    if written is None:
        call = writer.write()
        if len(_known) >= MAX_KEPT:
            _known.clear()
        _known[key] = _taken_apart(structure, call, writer)
        return call
    slots, numbers = list(structure.slots), list(structure.scalars)
    c = written.call
    params = list(c.params)
    for k, name in written.checks:
        params[k] = writer.check_number(structure.order[name])
    scalars = [
        numbers[x] if given else memory.constant(x, isinstance(x, float))
        for given, x in written.scalars
    ]
    return Call(c.program, [slots[k] for k in written.slots], c.offsets, c.outer, c.inner, c.strides,
                scalars, params)  # fmt: skip


def _taken_apart(structure: Structure, call: Call, writer: Writer) -> Written:
    memory = writer.memory
    n = memory.n_scalars
    scalars = [
        (True, structure.scalars[k]) if k < n else (False, memory.constants[k - n])
        for k in call.scalars
    ]
    return Written(call, [structure.slots[s] for s in call.slots], scalars,
                   [(k, structure.values[v.id]) for k, v in writer.checks])  # fmt: skip


class StoreWriter(Writer):
    """Writes a program that computes one value and stores it at a place, if one is given."""

    def __init__(
        self, fusion: Fusion, group: Group, memory: Memory, v: Val, place: Place | None
    ) -> None:
        super().__init__(fusion, group, memory, set())
        self.v, self.place = v, place

    def write(self) -> Call:
        """The program."""
        exprs = self.group.exprs()
        self._open(False)
        if self.place is not None:
            self.store(self.v, self.place, exprs)
        elif self.v.dtype.kind == "c":
            self.pair(self.v, exprs, None)
        else:
            self.value(self.v, exprs, None)
        self._close()
        return self._finish()


__all__ = ["group_call", "store_call"]
