"""Programs of groups. A group with the structure of one that was written before has its program.

The steps of a recurrence, the layers of a model and the parameters of an optimizer are the same again
and again: which memory they read and which numbers are arguments of a call and no part of a program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from facula.graph.ir import Val
from facula.schedule.codegen import Call, Memory, Place, Writer
from facula.schedule.fuse import Fusion
from facula.schedule.group import Group

MAX_KEPT = 4096  # structures
_APART = (
    1 << 40
)  # elements between places while a program is written: more than any distance within one
_known: dict[tuple, Written] = {}


@dataclass
class Written:
    """A call in the names of its structure: the first, second, ... slot, place and number."""

    call: Call
    slots: list[int]
    offsets: list[tuple[int, int]]  # place, elements from there
    scalars: list[
        tuple[bool, Any]
    ]  # whether it is given at run time, and which; or the number itself
    checks: list[tuple[int, int]]  # which parameters are numbers of checks, and of which value


class Structure:
    """What the program of a group depends on, with names of its own for memory and numbers.

    `store`: a value that is to be stored at a place, or at none.
    """

    def __init__(
        self, fusion: Fusion, group: Group, memory: Memory, stored: set[int], store: Val | None = None,
        place: Place | None = None,
    ) -> None:  # fmt: skip
        self.fusion, self.group, self.memory, self.stored = fusion, group, memory, stored
        self.store = store
        self.values: dict[int, int] = {}  # id -> name
        self.order: list[Val] = []
        self.slots: dict[int, int] = {}
        self.starts: dict[tuple[int, int], int] = {}  # (slot, offset) -> name
        self.scalars: dict[int, int] = {}
        self.places: dict[int, Place] = {}  # as the program is written: far apart
        self.target = place and self._apart(place)
        roots = [*group.members, *group.columns.values()]
        if store is not None:
            roots.append(store)
        described = self._described(roots)
        # parts of complex numbers are twice as far from the beginning
        self.parted = any(v.dtype.kind == "c" for v in self.order)
        names = self.values
        self.key: tuple = (
            group.shape, group.axes, tuple(sorted(group.cuts.items())),
            tuple([group.places.get(m.id) for m in group.members]), described,
            tuple([(names[m], names[x.id]) for m, x in group.columns.items()]),
            None if store is None else names[store.id], place and self._where(place),
        )  # fmt: skip

    def _apart(self, place: Place) -> Place:
        start = self.starts.setdefault((place.slot, place.offset), len(self.starts))
        return Place(place.slot, start * _APART, place.strides)

    def _where(self, place: Place) -> tuple[int, int, tuple[int, ...] | None]:
        slot = self.slots.setdefault(place.slot, len(self.slots))
        return slot, self.starts[place.slot, place.offset], place.strides

    def _described(self, roots: list[Val]) -> tuple[Any, ...]:
        """Every value that is read, in an order that the structure alone decides."""
        values, order, scalars = self.values, self.order, self.scalars
        places, stored = self.memory.places, self.stored
        members = {m.id for m in self.group.members}
        candidates, heavy = self.fusion.candidates, self.fusion.heavy
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
            elif v.op in ("buffer", "buffer_at") and place is not None:
                arg = None  # which one: its place says all of it
            where = None
            if place is not None:
                self.places[i] = self._apart(place)
                where = self._where(place)
            own = (i in stored) if mine else (i in candidates or i in heavy)
            out.append((v.op, v.dtype, v.shape, len(v.srcs), arg, where, mine, own))
            if place is None or mine:
                stack.extend(v.srcs[::-1])
        return tuple(out)

    def written(self) -> Written:
        """The program, written anew."""
        m = self.memory
        apart = Memory(self.places, m.scalar_slots, m.constants, m.n_scalars, m.checks)
        writer = Writer(self.fusion, self.group, apart, self.stored)
        call = writer.write() if self.store is None else writer.write_store(self.store, self.target)
        scalars = [
            (True, self.scalars[k]) if k < m.n_scalars else (False, m.constants[k - m.n_scalars])
            for k in call.scalars
        ]
        return Written(
            call,
            [self.slots[s] for s in call.slots],
            [_start_and_rest(k) for k in call.offsets],
            scalars,
            [(k, self.values[v.id]) for k, v in writer.checks],
        )

    def call(self, written: Written) -> Call:
        """A call of a program of this structure."""
        c, memory = written.call, self.memory
        slots, numbers = list(self.slots), list(self.scalars)
        starts = [offset for _, offset in self.starts]
        params = list(c.params)
        for k, name in written.checks:
            params[k] = memory.check_of(self.order[name])
        scalars = [
            numbers[x] if given else memory.constant(x, isinstance(x, float))
            for given, x in written.scalars
        ]
        offsets = [starts[k] + rest for k, rest in written.offsets]
        return Call(c.program, [slots[k] for k in written.slots], offsets, c.outer, c.inner, c.strides,
                    scalars, params)  # fmt: skip


def _start_and_rest(offset: int) -> tuple[int, int]:
    start = (offset + _APART // 2) // _APART
    return start, offset - start * _APART


def group_call(fusion: Fusion, group: Group, memory: Memory, stored: set[int]) -> Call:
    """The call that computes a group and stores those of its members."""
    structure = Structure(fusion, group, memory, stored)
    if structure.parted:
        return Writer(fusion, group, memory, stored).write()
    return _call(structure)


def store_call(fusion: Fusion, group: Group, memory: Memory, v: Val, place: Place | None) -> Call:
    """The call that computes a value and stores it at a place, if one is given."""
    structure = Structure(fusion, group, memory, set(), v, place)
    if structure.parted:
        return Writer(fusion, group, memory, set()).write_store(v, place)
    return _call(structure)


def _call(structure: Structure) -> Call:
    written = _known.get(structure.key)
    if written is None:
        written = structure.written()
        if len(_known) >= MAX_KEPT:
            _known.clear()
        _known[structure.key] = written
    return structure.call(written)


__all__ = ["group_call", "store_call"]
