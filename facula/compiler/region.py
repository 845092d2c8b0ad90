"""A captured function: replaying it records one operator, and its derivative another one."""

from __future__ import annotations

from typing import Any

from facula.autograd.node import FREED, SECOND_TIME, Node, changed
from facula.autograd.repeat import keeps
from facula.autograd.walk import OPS, hand_over
from facula.compiler.numbers import Traced
from facula.compiler.replays import backward_replay, forward_replay
from facula.graph.meta import Meta
from facula.graph.segment import Recorded, Segment, read_tape
from facula.graph.tape import LEAF, LOCAL, Inst, Storage, Tape, new_storage, next_seq
from facula.ops.apply import entries_of
from facula.tensor import Tensor
from facula.utils._pytree import tree_unflatten

_new = object.__new__


class Output:
    """One value that the function returns.

    kind: 'constant' (a plain value), 'source' (something it was given), 'alias' (a view of that), or
    'result' (computed).
    """

    __slots__ = ("grad", "kind", "meta", "number", "off", "place", "special", "tensor")

    def __init__(self, kind: str, value: Any, place: int = -1, grad: bool = False) -> None:
        self.kind, self.tensor, self.place, self.grad = kind, value, place, grad
        self.number = -1  # which result of the derivative's node it is
        self.special: dict[str, Any] = {}
        if kind in ("alias", "result"):
            self.meta: Meta = value.meta
            self.off: int = value._off
            if value._made is not None and value._base is not None:
                self.special["_made"] = value._made


class CompiledFunctionBackward(Node):
    """The derivative of one replay."""

    op = None
    region: Region
    sources: list[Tensor]

    @property
    def n_outs(self) -> int:
        return len(self.region.wanting)

    @property
    def _input_metadata(self) -> tuple:
        return tuple(o.meta for o in self.region.wanting)

    def backward(self, *grads: Any) -> Any:
        """Gradients of what the function read, for gradients of what it returned."""
        if self.saved is FREED:
            raise RuntimeError(SECOND_TIME)
        if LOCAL.tape.grad:
            for s, version in self.saved:
                if s.version != version:
                    raise changed(None, s.meta, s.version, version, 0)
            return self.region.backward.again(self, grads)
        return self.region.backward.replay(self, grads)

    def reach_leaves(self, seed: Tensor, keep: bool) -> bool:
        """A whole walk where the function's result is differentiated and read only leaves."""
        if self.special or len(self.region.wanting) > 1:
            return False
        for edge in self.edges:
            if not isinstance(edge, Tensor):
                return False
        grads = [*self.backward(seed)]
        if not keep:
            self.saved = FREED
        fresh = self.region.backward.fresh
        if not fresh:  # the seed is not for others to see
            grads = [g.clone() if g is seed else g for g in grads]  # type: ignore[attr-defined]
        hand_over(self.edges, grads, fresh)
        return True


class Numbers:
    """Run-time numbers of a segment; offsets of views are those of the tensors at hand."""

    def __init__(self, segment: Segment, tape: Any, region: Region) -> None:
        given = [tape.scalars[k] for k in segment.slots]
        self.values = tuple([float.__float__(x) if isinstance(x, Traced) else x for x in given])
        # (place among the numbers, which of the floats)
        places = {id(x): i for i, x in enumerate(region.floats)}
        self.floats = [(p, places[id(x)]) for p, x in enumerate(given) if id(x) in places]
        # (place among the numbers, place of the source, what to add to its offset)
        self.offsets: list[tuple[int, int, int]] = []
        at = {slot: p for p, slot in enumerate(segment.slots)}
        for slot, s in tape.offsets:
            k = region.place_of.get(tape.hidden[id(s)][2])
            if slot in at and k is not None:
                delta = tape.scalars[slot] - region.offset_of[k]
                self.offsets.append((at[slot], k, delta))


class Region:
    """What a capture made of a function."""

    code: Any = None  # the function's, for errors that kernels report
    floats: Any = ()  # arguments that are run-time numbers

    # spec: how outputs are put together; None: they are given as a list
    def __init__(self, name: str, forward: Segment, outputs: list[Output], spec: Any,
                 order: dict[int, int], place_of: dict[int, int], tape: Any, watch: Any) -> None:  # fmt: skip
        self.name, self.forward, self.outputs, self.spec = name, forward, outputs, spec
        self.order, self.place_of = order, place_of
        self.wanting = [o for o in outputs if o.grad]
        for number, o in enumerate(self.wanting):
            o.number = number
        self.draws = [(draw, args) for _, draw, args in watch.draws]
        drawn = {tape.hidden[id(s)][2]: k for k, (s, _, _) in enumerate(watch.draws)}
        self.entries_of_draws = drawn
        self.constants: dict[int, Storage] = {}
        self.backward: Any = None
        self.edges: list[int] = []
        self.edge_metas: list[Meta] = []
        self._leaves = dict(leaf_buffers(tape))

    def constant(self, entry: int) -> Storage:
        """A value from the host that the function made, kept for all replays."""
        found = self.constants.get(entry)
        if found is None:
            buf, meta = self._leaves[entry]
            found = self.constants[entry] = new_storage(buf, meta)
        return found

    def link(self, writes: list[tuple[int, int, int, int]], sources: list[Tensor],
             offsets: list[int], tape: Any) -> None:  # fmt: skip
        """Settles which of the sources a replay needs, and in which order."""
        self.offset_of = offsets
        self.writes = writes
        needed = [self.place_of[e] for e in self.forward.inputs if e in self.place_of]
        needed += [k for k, *_ in writes]
        needed += [o.place for o in self.outputs if o.place >= 0]
        if self.wanting:
            needed += self.edges
        self.sources = list(dict.fromkeys(needed))
        self.at = at = {k: i for i, k in enumerate(self.sources)}
        # where each input comes from: index of a source, or a storage, or a draw (negative)
        self.inputs: list[Any] = []
        for e in self.forward.inputs:
            if e in self.place_of:
                self.inputs.append(at[self.place_of[e]])
            elif e in self.entries_of_draws:
                self.inputs.append(-1 - self.entries_of_draws[e])
            else:
                self.inputs.append(self.constant(e))
        metas = [sources[k]._s.meta for k in range(len(sources))]
        self.metas = tuple(
            [metas[self.place_of[e]] if e in self.place_of else self._leaves[e][1]
             for e in self.forward.inputs]
        )  # fmt: skip
        numbers = Numbers(self.forward, tape, self)
        self.numbers = numbers.values
        self.offsets = [(p, at[k], d) for p, k, d in numbers.offsets]
        self.float_places = [(p, len(self.sources) + i) for p, i in numbers.floats]
        self.inst = self.forward.inst(self.metas)
        self.n_plain = len(self.order)
        self.written = [(at[k], dv - 1) for k, _, dv, _ in writes]

    def finish(self) -> None:
        """Drops what only the capture needed."""
        for o in self.outputs:
            if o.kind != "constant":
                if o.kind == "result":
                    o.place = self.order[o.tensor._s.i]
                else:
                    o.place = self.at[o.place]
                    if o.kind == "alias":
                        pass
                o.tensor = None
        self._leaves = {}
        self.single = self.spec is not None and len(self.outputs) == 1 and self.spec.is_leaf()
        tools = {"write": _write, "output": _output, "old": _old, "at_hand": _at_hand,
                 "unflatten": tree_unflatten, "next_seq": next_seq,
                 "Derivative": CompiledFunctionBackward}  # fmt: skip
        self.replay = forward_replay(self, tools)
        if self.backward is not None:
            self.backward.finish()


def leaf_buffers(tape: Any) -> list[tuple[int, tuple[Any, Meta]]]:
    """Of each leaf its entry, with its buffer and its geometry."""
    text = [r for r in read_tape(tape.key) if r.inst.op is LEAF]
    return [(r.first, (buf, r.metas[0])) for r, buf in zip(text, tape.leaves, strict=True)]


def _at_hand(
    numbers: tuple, offsets: list, floats: list[tuple[int, int]], given: list[Any]
) -> tuple[list[Any], tuple[tuple[int, int], ...]]:
    """The numbers with the offsets and floats at hand; offsets that views of pending values need."""
    values = list(numbers)
    for p, i in floats:
        values[p] = given[i]
    known = []
    for p, k, delta in offsets:
        t = given[k]
        values[p] = t._off + delta
        if t._s.buf is None:
            known.append((p, values[p]))
    return values, tuple(known)


def _write(tape: Tape, tensors: list[Tensor], written: list[tuple[int, int]]) -> None:
    """Makes the last results of a region the values of what it wrote in place."""
    for k, more in written:
        s = tensors[k]._s
        if s.pin is not None:
            tape.budget = -1
        entry = tape.n
        tape.values.append(None)
        tape.n += 1
        tape.rebind(s, entry)
        s.version += more


def _output(o: Output, tensors: list[Tensor]) -> Any:
    """What is returned and was not computed."""
    if o.kind == "constant":
        return o.tensor
    source = tensors[o.place]
    if o.kind == "source":
        return source
    t = _new(Tensor)
    t._s, t.meta, off = source._s, o.meta, o.off + source._off
    if off:
        t._off = off
    t._base = source if source._base is None else source._base
    if o.special:
        t.__dict__.update(o.special)
    return t


class Backward:
    """The derivative of a region."""

    def __init__(self, region: Region, segment: Segment, seeds: list[int], grads: list[Any],
                 tape: Any) -> None:  # fmt: skip
        self.region, self.segment = region, segment
        number_of = {e: k for k, e in enumerate(seeds)}
        # where inputs come from: a gradient (negative), or a place among what is kept
        self.inputs: list[int] = []
        self.kept: list[tuple[str, Any]] = []
        self.kept_entries: list[int] = []
        self.written = {k for k, _ in region.written}
        for e in segment.inputs:
            if e in number_of:
                self.inputs.append(-1 - number_of[e])
            else:
                self.inputs.append(len(self.kept))
                self._also_keep(e)
        numbers = Numbers(segment, tape, region)
        self.numbers = numbers.values
        self.offsets = [(p, region.at[k], d) for p, k, d in numbers.offsets]
        self.float_places = [(p, len(region.sources) + i) for p, i in numbers.floats]
        metas = _metas_of(tape)
        self.metas = [metas[e] for e in segment.inputs]
        # what is handed back, for each edge
        entries = {e: k for k, e in enumerate(dict.fromkeys(segment.roots))}
        segment.roots = list(entries)
        segment.results = [metas[e] for e in entries]
        self.outs: list[Any] = []
        seen: dict[int, int] = {}
        for g in grads:
            e = g._s.i
            if e in number_of and g.meta is g._s.meta and not g._off:
                self.outs.append(-1 - number_of[e])
            else:
                self.outs.append((entries[e], g.meta, g._off, seen.setdefault(id(g), len(seen))))
        used = [o[0] for o in self.outs if type(o) is tuple]
        self.shared = len(set(used)) != len(used)
        # whether leaves may keep them
        alone = len(used) == len(self.outs) == len({o[3] for o in self.outs if type(o) is tuple})
        self.fresh = (
            alone
            and not self.shared
            and all(keeps(m, g) for m, g in zip(region.edge_metas, grads, strict=True))
        )
        self.insts: dict[Any, Inst] = {}

    def _also_keep(self, e: int) -> None:
        """Notes that the value of a captured entry has to be kept, and where it is found."""
        region = self.region
        self.kept_entries.append(e)
        if e in region.place_of:
            k = region.at[region.place_of[e]]
            self.kept.append(("old" if k in self.written else "source", k))
        elif e in region.entries_of_draws:
            self.kept.append(("draw", region.entries_of_draws[e]))
        elif e in region.order:
            self.kept.append(("result", region.order[e]))
        else:
            self.kept.append(("constant", region.constant(e)))

    def prepare_again(self, templates: Any, text: list[Recorded], tape: Any) -> None:
        """Makes ready for derivatives of derivatives."""
        for e in templates.segment(text, self.kept_entries):
            self._also_keep(e)
        numbers = Numbers(templates.program, tape, self.region)
        templates.numbers = numbers.values
        templates.offsets = [(templates.program.slots[p], k, d) for p, k, d in numbers.offsets]
        for place in templates.floats_at.values():
            if self.region.floats:
                place.place = len(self.region.sources) + place.number
        templates.floats_at = {}
        templates.floats = [
            (templates.program.slots[p], len(self.region.sources) + i) for p, i in numbers.floats
        ]
        templates.metas = dict(enumerate(_metas_of(tape)))
        templates.at = self.region.at
        self.templates = templates

    def finish(self) -> None:
        """Writes the function that records the derivative as one operator."""
        tools = {"OPS": OPS, "entries_of": entries_of, "at_hand": _at_hand, "changed": changed}
        self.replay = backward_replay(self, tools)

    def all_metas(self, given: tuple[Meta, ...]) -> tuple[Meta, ...]:
        """The inputs' geometries, where gradients have the given ones."""
        return tuple(
            [given[-1 - i] if i < 0 else m for i, m in zip(self.inputs, self.metas, strict=True)]
        )

    def inst(self, given: tuple[Meta, ...]) -> Inst:
        """The operator, where gradients have the given geometries."""
        inst = self.insts.get(given)
        if inst is None:
            inst = self.insts[given] = self.segment.inst(self.all_metas(given))
        return inst

    def again(self, node: CompiledFunctionBackward, grads: tuple) -> Any:
        """The derivative by its ordinary nodes, which have derivatives in turn."""
        return self.templates.gradients(node, grads)


def _metas_of(tape: Any) -> list[Meta]:

    return [m for r in read_tape(tape.key) for m in r.metas]


def _old(s: Storage, tape: Tape) -> Storage:
    """The value of a storage before it is written."""
    old = _new(Storage)
    old.tape, old.i, old.buf, old.meta, old.version, old.pin = s.tape, s.i, s.buf, s.meta, 0, None
    if s.buf is None and s.tape is not None:
        s.tape.values[s.i] = old
    return old
