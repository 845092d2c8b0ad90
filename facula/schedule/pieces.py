"""Plans of long tapes that are new again and again, put together from plans of pieces.

A loop that runs for another number of steps every time (an episode, a word, a sentence) writes a tape
that never was before, of stretches that were. Here such a tape is cut between two steps of what it
repeats, where least passes from one side to the other, and each piece gets a plan as a tape of its own
would. What a piece reads from outside is a leaf of it, and where views of that lie is a number: so the
pieces of all steps are the same, and those of the next tape.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container
from typing import Any

from facula.graph.meta import Meta, meta_of
from facula.graph.reference import Failed
from facula.graph.segment import Recorded, Segment, read_tape
from facula.graph.tape import LEAF, VIEW, VIEW_AT, WRITE, WRITE_AT, Inst, leaf_inst
from facula.schedule.plan import Plan

SHORTEST, LONGEST = 40, 160  # operators of a piece and what they read
ALIKE = 3  # rows before one that say which step of a loop it is
NEAR = 3  # rows
LEAST_STEPS = 3  # of a loop
LOOPS = 0.1  # of the rows; tapes that belong to no loop have none, others 0.2 to 1
AGAIN = 128  # runs of a tape in pieces before it gets a plan for the whole

Lookup = Callable[[list[Any], tuple[bool, ...], tuple[bool, ...], list[Any]], Plan]


class Row:
    """One operator of a tape without segments: what it reads and makes by numbers of values.

    slots: its run-time numbers. origin: the entry that the tape's operator has there.
    """

    __slots__ = ("first", "inputs", "inst", "metas", "origin", "slots")

    def __init__(self, r: Recorded, inputs: tuple[int, ...], first: int, slots: range,
                 origin: int) -> None:  # fmt: skip
        self.inst, self.metas = r.inst, r.metas
        self.inputs, self.first, self.slots, self.origin = inputs, first, slots, origin

    @property
    def is_view(self) -> bool:
        """Whether it is no work: each piece takes the view anew."""
        return self.inst.op is VIEW or self.inst.op is VIEW_AT


class CannotCut(Exception):
    """A tape that is left whole."""


class Flat:
    """A tape's operators, those of segments among them."""

    def __init__(self, key: list[Any]) -> None:
        self.rows: list[Row] = []
        self.metas: list[Meta] = []  # of each value
        self.maker: list[Row | None] = []  # of each value; None for leaves
        self.leaves: list[int] = []  # values
        self.values: list[int] = []  # of each entry of the tape
        for r in read_tape(key):
            if r.inst.op is LEAF:
                self.values.append(len(self.metas))
                self.leaves.append(len(self.metas))
                self.metas += r.metas
                self.maker.append(None)
                continue
            inputs = tuple([self.values[e] for e in r.inputs])
            self.values += self._add(r, inputs, r.slot, r.first)

    def _add(self, r: Recorded, inputs: tuple[int, ...], slot: int, origin: int) -> list[int]:
        segment = getattr(r.inst.op.expand, "__self__", None)
        if isinstance(segment, Segment):
            return self._add_segment(segment, r.inst, inputs, slot, origin)
        first = len(self.metas)
        row = Row(r, inputs, first, range(slot, slot + r.n_numbers), origin)
        self.rows.append(row)
        self.metas += r.metas
        self.maker += [row] * len(r.metas)
        return list(range(first, len(self.metas)))

    def _add_segment(self, segment: Segment, inst: Inst, inputs: tuple[int, ...], slot: int,
                     origin: int) -> list[int]:  # fmt: skip
        if inst.params != ((),) or any(
            self.metas[v] is not m for v, m in zip(inputs, inst.ins, strict=True)
        ):
            raise CannotCut
        values = dict(zip(segment.inputs, inputs, strict=True))
        for r in segment.program:
            made = self._add(r, tuple([values[e] for e in r.inputs]), slot, origin)
            slot += r.n_numbers
            for k, v in enumerate(made):
                values.setdefault(r.first + k, v)
        return [values[e] for e in segment.roots]

    def source(self, v: int) -> int:
        """The value with memory that a view is a view of."""
        while (row := self.maker[v]) is not None and row.is_view:
            v = row.inputs[0]
        return v


class Stretch:
    """Rows a to b: steps of `period` rows each from a on, or rows that repeat nothing (period 0)."""

    def __init__(self, a: int, b: int, period: int) -> None:
        self.a, self.b, self.period = a, b, period


def stretches(rows: list[Row], crossing: list[int]) -> list[Stretch]:
    """The loops of a tape, and what is between them.

    A row belongs to a loop if it and those before it are what stood there some rows before, as for
    its neighbours. Steps begin where least passes from one to the next.
    """
    ids = [id(row.inst) for row in rows]
    seen: dict[tuple[int, ...], int] = {}
    back = []
    for k in range(len(rows)):
        context = tuple(ids[max(k - ALIKE, 0) : k + 1])
        back.append(k - seen.get(context, k))
        seen[context] = k
    found: list[Stretch] = []
    end = k = 0
    while k < len(rows):
        p, first = back[k], k
        while k < len(rows) and back[k] == p:
            k += 1
        begin = max(first - ALIKE - p, end)
        if p and k - begin >= LEAST_STEPS * p:
            begin = min(range(begin, begin + p), key=crossing.__getitem__)
            last = begin + (k - begin) // p * p
            if sum(len(row.inputs) + 1 for row in rows[begin:last]) > SHORTEST:
                found += [Stretch(end, begin, 0), Stretch(begin, last, p)]
                end = last
    found.append(Stretch(end, len(rows), 0))
    return [s for s in found if s.a < s.b]


def cuts(flat: Flat, rows: list[Row]) -> list[int]:
    """Where pieces begin, and the end.

    The steps of a loop are taken so many at a time, then half as many, and so on: whatever their
    number, the pieces are the same. A tape with hardly a loop is not cut: what is new about it are
    sizes, and those of its pieces would be new as well.
    """
    crossing = _crossing(flat, rows)
    size = [len(row.inputs) + 1 for row in rows]
    found = []
    parts = stretches(rows, crossing)
    if sum(s.b - s.a for s in parts if s.period) < LOOPS * len(rows):
        raise CannotCut
    for s in parts:
        at = s.a
        if s.period:
            count, step = 1, sum(size[s.a : s.a + s.period])
            while 2 * count * step <= LONGEST:
                count *= 2
            while at < s.b:
                while at + count * s.period > s.b:
                    count //= 2
                found.append(at)
                at += count * s.period
            continue
        for k in _narrows(crossing, s.a, s.b):
            while at < k:
                found.append(at)
                at = _next_cut(size, crossing, at, k)
    return [*found, len(rows)]


def _narrows(crossing: list[int], a: int, b: int) -> list[int]:
    """Places between a and b where less passes than near before and no more than near behind; and b.

    What stands there alone decides, so that a tape is cut there whatever comes before.
    """
    found = []
    for k in range(max(a + 1, NEAR), b):
        here = crossing[k]
        if here < min(crossing[k - NEAR : k]) and here <= min(crossing[k + 1 : k + NEAR + 1]):
            found.append(k)
    return [*found, b]


def _next_cut(size: list[int], crossing: list[int], a: int, b: int) -> int:
    """Where a piece that begins at a ends, not behind b."""
    total, k, best = 0, a, b
    while k < b:
        total += size[k]
        k += 1
        if total > LONGEST:
            return k if best == b else best
        if total >= SHORTEST and (best == b or crossing[k] < crossing[best]):
            best = k
    return b


def _crossing(flat: Flat, rows: list[Row]) -> list[int]:
    """For each row, how many reads behind that place are of values made shortly before it."""
    at = {id(row): k for k, row in enumerate(rows)}
    change = [0] * (len(rows) + 2)
    for k, row in enumerate(rows):
        for v in row.inputs:
            maker = flat.maker[flat.source(v)]
            if maker is not None and k - (made := at[id(maker)]) <= SHORTEST:
                change[made + 1] += 1
                change[k + 1] -= 1
    return list(itertools.accumulate(change))


class Piece:
    """A stretch of rows as a tape of its own."""

    def __init__(self, flat: Flat, rows: list[Row], constant: Callable[[int], int]) -> None:
        self.flat, self.constant = flat, constant
        self.key: list[Any] = []
        self.reads: list[int] = []  # values that are leaves here
        self.numbers: list[int] = []
        self.values: list[int] = []  # of each entry here; -1 for those of views and leaves
        self.origins: list[int] = []  # of each entry here: the entry of the whole tape
        self.plan: Plan = None  # type: ignore[assignment]
        self.done: list[int] = []  # values that no later piece reads
        self._entries: dict[int, int] = {}
        self._begins: dict[tuple[int, Meta], int] = {}
        self._memory: dict[int, int] = {}  # of a value: the entry of what views of it are taken of
        self._own = {v for row in rows for v in range(row.first, row.first + len(row.metas))}
        for row in rows:
            self._add(row)

    def _add(self, row: Row) -> None:
        inst = row.inst
        inputs = [self._operand(v, m) for v, m in zip(row.inputs, inst.ins, strict=True)]
        numbers = list(row.slots)
        if inst.op is WRITE and row.inputs[0] not in self._own:
            m, offset = inst.params
            inst, numbers = WRITE_AT.inst(inst.ins, (m,), 1), [self.constant(offset)]
        self._append(row, inst, inputs, numbers, range(row.first, row.first + len(row.metas)))

    def _append(self, row: Row, inst: Inst, inputs: list[int], numbers: list[int],
                values: Any) -> None:  # fmt: skip
        for k, v in enumerate(range(row.first, row.first + len(row.metas))):
            self._entries[v] = len(self.values) + k
        self.key += (inst, *inputs)
        self.numbers += numbers
        self.values += values
        self.origins += [row.origin] * len(row.metas)

    def _operand(self, v: int, m: Meta) -> int:
        """The entry here of a value that is read with a geometry: its beginning may be all of it."""
        held = self.flat.metas[v]
        if (
            m.numel == held.numel
            or not m.contiguous
            or m.dtype is not held.dtype
            or self._inside(v)
        ):
            return self._entry(v)
        entry = self._begins.get((v, m))
        if entry is None:
            entry = self._begins[v, m] = len(self.values) + (v not in self._memory)
            self._read_at(v, m, self.constant(0))
        return entry

    def _inside(self, v: int) -> bool:
        """Whether a value, or what it is a view of, is made here."""
        return self.flat.source(v) != v or v in self._own

    def _read_at(self, v: int, m: Meta, number: int) -> None:
        """A view of something from outside is read at a place that is a number, whatever the size
        of the whole may be."""
        memory = meta_of(self.flat.metas[v].dtype, (1,))
        entry = self._memory.get(v)
        if entry is None:
            entry = self._memory[v] = self._leaf(v, memory)
        self.key += (VIEW_AT.inst((memory,), (m,), 1), entry)
        self.numbers.append(number)
        self.values.append(-1)
        self.origins.append(-1)

    def _entry(self, v: int) -> int:
        """The entry here of a value; of a view or a value from outside it is made first."""
        entry = self._entries.get(v)
        if entry is not None:
            return entry
        row = self.flat.maker[v]
        if row is not None and row.is_view:
            self._add_view(row)
            return self._entries[v]
        self._entries[v] = self._leaf(v, self.flat.metas[v])
        return self._entries[v]

    @property
    def viewed(self) -> Container[int]:
        """Values from outside of which views are read."""
        return self._memory

    def _leaf(self, v: int, m: Meta) -> int:
        self.reads.append(v)
        self.key.append(m.leaf or leaf_inst(m))
        self.values.append(-1)
        self.origins.append(-1)
        return len(self.values) - 1

    def _add_view(self, row: Row) -> None:
        inst, numbers, v = row.inst, list(row.slots), row.inputs[0]
        if self._inside(v):
            self._append(row, inst, [self._entry(v)], numbers, [-1])
            return
        self._entries[row.first] = len(self.values) + (v not in self._memory)
        number = self.constant(inst.params[1]) if inst.op is VIEW else numbers[0]
        self._read_at(v, inst.params[0], number)


class Pieces:
    """The plan of a tape that is new: those of its pieces, one after the other.

    lookup: the plan for a tape, from those known, or new. whole: makes the plan for the whole tape.
    """

    def __init__(self, key: list[Any], live: tuple[bool, ...], free: tuple[bool, ...],
                 scalars: list[Any], lookup: Lookup, whole: Callable[[], Plan]) -> None:  # fmt: skip
        flat = Flat(key)
        self.whole, self.runs = whole, 0
        self.plan: Plan | None = None  # for the whole, where the tape came again
        self.leaves, self.n_values = flat.leaves, len(flat.metas)
        self.results = [(e, flat.values[e]) for e, wanted in enumerate(live) if wanted]
        wanted = {v for _, v in self.results}
        if len(wanted) < len(self.results) or any(
            (row := flat.maker[v]) is None or row.is_view for v in wanted
        ):
            raise CannotCut
        self.constants: list[int] = []
        self.n_numbers = len(scalars)
        self._places: dict[int, int] = {}
        rows = [row for row in flat.rows if not row.is_view]
        at = cuts(flat, rows)
        self.pieces = [Piece(flat, rows[a:b], self._constant) for a, b in itertools.pairwise(at)]
        self._find_plans(flat, wanted, free, scalars + self.constants, lookup)
        self.fails = any(piece.plan.fails for piece in self.pieces)

    def _constant(self, offset: int) -> int:
        place = self._places.get(offset)
        if place is None:
            place = self._places[offset] = self.n_numbers + len(self.constants)
            self.constants.append(offset)
        return place

    def _find_plans(self, flat: Flat, wanted: set[int], free: tuple[bool, ...], numbers: list[Any],
                    lookup: Lookup) -> None:  # fmt: skip
        """From the last piece to the first: memory of what a piece reads last may be taken over.

        That of the tape's leaves only where nothing can fail any more: they are then read again.
        """
        read_later: set[int] = set()
        loose = {v for v, given in zip(flat.leaves, free, strict=True) if given}
        for piece in reversed(self.pieces):
            piece.done = [v for v in piece.reads if v not in read_later and v not in wanted]
            done = set(piece.done)
            taken = tuple(
                [
                    v in done
                    and v not in piece.viewed
                    and (v in loose or flat.maker[v] is not None)
                    for v in piece.reads
                ]
            )
            live = tuple([v >= 0 and (v in wanted or v in read_later) for v in piece.values])
            given = [numbers[k] for k in piece.numbers]
            piece.plan = lookup(piece.key, live, taken, given)
            if piece.plan.fails:
                loose = set()
            read_later.update(piece.reads)

    @property
    def kernels(self) -> list[Any]:
        """The steps of all plans that run."""
        plans: list[Any] = (
            [piece.plan for piece in self.pieces] if self.plan is None else [self.plan]
        )
        return [step for plan in plans for step in plan.kernels]

    def run(self, leaves: list[Any], scalars: list[Any]) -> list[tuple[int, Any]]:
        """Buffers of the wanted entries."""
        self.runs += 1
        if self.runs == AGAIN:
            self.plan, self.pieces = self.whole(), []
        if self.plan is not None:
            return self.plan.run(leaves, scalars)
        held: list[Any] = [None] * self.n_values
        for v, buf in zip(self.leaves, leaves, strict=True):
            held[v] = buf
        numbers = scalars + self.constants
        for piece in self.pieces:
            try:
                made = piece.plan.run(
                    [held[v] for v in piece.reads], [numbers[k] for k in piece.numbers]
                )
            except Failed as failed:
                raise Failed(piece.origins[failed.entry]) from failed.__cause__
            for v in piece.done:
                held[v] = None
            for entry, buf in made:
                held[piece.values[entry]] = buf
        return [(entry, held[v]) for entry, v in self.results]


__all__ = ["CannotCut", "Pieces"]
