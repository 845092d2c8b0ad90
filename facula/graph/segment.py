"""A stretch of a tape as one operator: what `facula.compile` replays.

A `Segment` is the part of a tape's text that some results need. Its leaves become the inputs of one
`Op`, whose expansion expands what was recorded, one operator after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facula.graph.meta import Meta
from facula.graph.tape import LEAF, OPERATORS, VIEW, VIEW_AT, WRITE, WRITE_AT, Inst, Op


def decode(key: list[Any]) -> list[tuple[Inst, tuple[int, ...]]]:
    """(operator, entries it reads) in order of recording."""
    out = []
    i, n = 0, len(key)
    while i < n:
        inst = key[i]
        end = i + 1 + inst.n_in
        if inst.op is LEAF:
            end = i + 1
        out.append((inst, tuple(key[i + 1 : end])))
        i = end
    return out


def as_geometry(g: Any, v: Any, m: Meta) -> Any:
    """A value in the geometry that an operator reads it with."""
    if v.dtype is not m.dtype and not m.numel:  # memory seen as another type, without elements
        v = g.cast(v, m.dtype)
    if v.shape == tuple(m.shape) and m.contiguous:
        return v
    return g.view_of(v, tuple(m.shape), m.strides, 0)


def expanded(g: Any, inst: Inst, operands: list[Any], numbers: list[Any]) -> list[Any]:
    """The primitives of one operator, with each result's dims in the order that they lie in.

    What reads the result turns them back. So inside of a plan the order is no matter: it is only
    taken where the result gets memory that somebody sees.
    """
    made = inst.op.expand(g, *operands, *numbers, *inst.params)
    values = list(made) if isinstance(made, (tuple, list)) else [made]
    if inst.orders is None:
        return values
    return [g.permute(v, order) for v, order in zip(values, inst.orders, strict=True)]


class Recorded:
    """One operator of a tape: its instance, inputs, first entry, and first run-time number."""

    __slots__ = ("first", "inputs", "inst", "metas", "slot")

    def __init__(self, inst: Inst, inputs: tuple[int, ...], first: int, slot: int,
                 metas: tuple[Meta, ...]) -> None:  # fmt: skip
        self.inst, self.inputs, self.first, self.slot, self.metas = inst, inputs, first, slot, metas

    @property
    def n_numbers(self) -> int:
        """How many run-time numbers it reads."""
        return 1 if self.inst.op in (VIEW_AT, WRITE_AT) else self.inst.n_scalars


def read_tape(key: list[Any]) -> list[Recorded]:
    """Everything on a tape, with the geometries of its values."""
    out: list[Recorded] = []
    metas: list[Meta] = []
    slot = 0
    for inst, inputs in decode(key):
        op = inst.op
        if op is LEAF:
            made: tuple[Meta, ...] = inst.params
        elif op is VIEW or op is VIEW_AT:
            made = (inst.params[0].plain(),)
        elif op is WRITE or op is WRITE_AT:
            made = (metas[inputs[0]],)
        else:
            made = inst.outs
        done = Recorded(inst, inputs, len(metas), slot, made)
        out.append(done)
        metas += made
        slot += done.n_numbers
    return out


class Segment:
    """What some entries of a tape need, from given entries on.

    text: the tape. roots: entries wanted. given: entries that come from outside, beside leaves.
    """

    def __init__(
        self, name: str, text: list[Recorded], roots: Sequence[int], given: Sequence[int]
    ) -> None:
        owner = {r.first + k: r for r in text for k in range(len(r.metas))}
        self.roots = list(roots)
        inputs: dict[int, Meta] = {}
        wanted: set[int] = set()
        known = set(given)
        stack = list(roots)
        while stack:
            entry = stack.pop()
            r = owner[entry]
            if entry in known or r.inst.op is LEAF:
                inputs[entry] = r.metas[entry - r.first]
            elif r.first not in wanted:
                wanted.add(r.first)
                stack += r.inputs
        self.program = [r for r in text if r.first in wanted]
        self.inputs = sorted(inputs)
        self.slots = [r.slot + k for r in self.program for k in range(r.n_numbers)]
        self.results = [owner[e].metas[e - owner[e].first] for e in roots]
        self.op = Op(name, lambda *_: tuple(self.results), self._expand)
        OPERATORS.remove(self.op)  # what it results in is settled, and it may be forgotten
        self.marks = any(r.inst.op.marks for r in self.program)

    def inst(self, metas: tuple[Meta, ...], offsets: tuple[tuple[int, int], ...] = ()) -> Inst:
        """The operator on inputs of these geometries; offsets: (place among the numbers, offset)
        of views that must be known beforehand, since what they look at is not evaluated."""
        found = self.op.insts.get((metas, (offsets,)))
        if found is None:
            found = Inst(self.op, metas, (offsets,), tuple(self.results), len(self.slots))
            self.op.insts[metas, (offsets,)] = found
        return found

    def _expand(self, g: Any, *args: Any) -> list[Any]:
        n = len(self.inputs)
        fixed = dict(args[-1])
        env: dict[int, Any] = dict(zip(self.inputs, args[:n], strict=True))
        numbers = list(args[n:-1])
        at = 0
        for r in self.program:
            count = r.n_numbers
            given = numbers[at : at + count]
            values = [env[i] for i in r.inputs]
            made = _expand_one(g, r, values, given, fixed.get(at))
            at += count
            for k, v in enumerate(made):
                env.setdefault(r.first + k, v)
        return [env[e] for e in self.roots]


def _expand_one(g: Any, r: Recorded, values: list[Any], numbers: list[Any], offset: Any) -> Any:
    inst = r.inst
    op = inst.op
    if op is VIEW_AT:
        (m,) = inst.params
        if values[0].op == "buffer":
            slot = numbers[0].arg[0]
            return [g.make("buffer_at", m.dtype, m.shape, (values[0],), (m.strides, slot))]
        return [g.view_of(values[0], tuple(m.shape), m.strides, offset)]
    if op is WRITE_AT:
        (m,) = inst.params
        old, slot = values[0], numbers[0].arg[0]
        return [
            g.make("write_at", old.dtype, old.shape, (old, values[1]),
                   (tuple(m.shape), m.strides, slot))
        ]  # fmt: skip
    if op is VIEW:
        m, start = inst.params
        return [g.view_of(values[0], tuple(m.shape), m.strides, start)]
    if op is WRITE:
        m, start = inst.params
        return [g.write(values[0], values[1], m.shape, m.strides, start)]
    operands = [as_geometry(g, v, m) for v, m in zip(values, inst.ins, strict=True)]
    return expanded(g, inst, operands, numbers)
