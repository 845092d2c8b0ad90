"""The ordinary derivative of a captured function, kept as a description.

It is needed where the derivative is differentiated in turn (`create_graph=True`): then the nodes that
the function would have made are made anew, on the values that the replay kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from facula.autograd.node import Node, Saved
from facula.autograd.walk import Walk, combine
from facula.graph.segment import Recorded, Segment
from facula.graph.tape import (
    LOCAL,
    VIEW,
    VIEW_AT,
    WRITE,
    WRITE_AT,
    Inst,
    Op,
    Storage,
    new_storage,
    next_seq,
)
from facula.ops.gradients import zeros
from facula.tensor import Tensor, wrap

_new = object.__new__


class Boundary(Node):
    """Stands for the history of a tensor from outside: a captured derivative ends here.

    Where a run is not captured after all it stays in the graph, and hands gradients on.
    """

    __slots__ = ("place", "trace")
    place: int
    trace: list[tuple[Any, Any]] | None  # while a derivative is captured: (end, gradient)

    def backward(self, *grads: Any) -> Any:
        """The gradient as it is."""
        if self.trace is None:
            return grads
        self.trace.append((self, grads[0]))
        return None


_BOUNDARY = Op("alias", lambda m: m, lambda g, a: a)


def boundary(k: int, t: Tensor) -> Boundary:
    """The end of the derivative at source k."""
    b = Boundary()
    b.inst = Inst(_BOUNDARY, (t.meta,), (), (t.meta,))
    b.place, b.edges, b.saved, b.scalars = k, (t if t._g is None else t._g,), None, ()
    b.seq, b.trace = next_seq(), None
    return b


class Trace(Walk):
    """The backward pass of a captured function, up to what it was given."""

    def __init__(self, ends: Iterable[Boundary], create_graph: bool = False) -> None:
        super().__init__(True, create_graph)
        self.ends = list(ends)
        self.reached: list[tuple[Any, Any]] = []

    def run(self) -> None:
        """Runs the nodes; gradients that leave are kept in `reached`."""
        for end in self.ends:
            end.trace = self.reached
        try:
            super().run()
        finally:
            for end in self.ends:
                end.trace = None

    def _finish(self) -> None:
        """Gradients stay where they arrived."""

    def found(self) -> list[tuple[Any, Any]]:
        """(edge, gradient) of everything that gradients arrived at."""
        ends: dict[int, tuple[Any, list[Any]]] = {}
        for end, grad in self.reached:
            ends.setdefault(id(end), (end, []))[1].append(grad)
        every = [(e, g if len(g) > 1 else g[0]) for e, g in ends.values()]
        every += [(leaf, grad) for leaf, grad in self.leaves.values()]
        return [(edge, combine(grad)) for edge, grad in every]


class Place:
    """Stands for a float among the arguments."""

    def __init__(self, number: int, x: Any) -> None:
        self.number, self.value, self.place = number, float.__float__(x), -1

    def at_hand(self, given: list[Any]) -> float:
        """The float of this call, or that of the capture where it is always the same."""
        return self.value if self.place < 0 else given[self.place]


class Templates:
    """What the nodes of a captured function were."""

    def __init__(
        self, tape: Any, sources: list[Tensor], roots: list[Any], floats: list[Any]
    ) -> None:
        self.floats_at = {id(x): Place(i, x) for i, x in enumerate(floats)}
        self.tape = tape
        self.place = {id(t): k for k, t in enumerate(sources)}
        self.entries: list[int] = []
        self.constants: dict[int, Storage] = {}
        nodes = _nodes_behind(roots, self.place)
        self.number = {id(n): i for i, n in enumerate(nodes)}
        self.nodes = [self._describe(n) for n in nodes]
        self.roots = [self._edge(e) for e in roots]
        self.tape, self.place, self.number = None, {}, {}

    def _describe(self, n: Node) -> tuple:
        saved = n.saved
        if type(saved) is list:
            saved = [self._kept(x) for x in saved]
        scalars = tuple([self.floats_at.get(id(x), x) for x in n.scalars])
        return type(n), n.inst, scalars, [self._edge(e) for e in n.edges], saved, dict(n.__dict__)

    def _edge(self, e: Any) -> Any:
        if e is None:
            return None
        if type(e) is tuple:
            return ("node", self.number[id(e[0])], e[1])
        if type(e) is Boundary:
            return ("source", e.place)
        if isinstance(e, Node):
            return ("node", self.number[id(e)], None)
        return ("source", self.place[id(e)])

    def _entry(self, s: Storage) -> int:
        if s.tape is self.tape:
            entry = s.i
            self.entries.append(entry)
            return entry
        found = -1 - len(self.constants)  # a constant that nothing read
        self.constants[found] = new_storage(s.buf, s.meta)
        return found

    def _kept(self, x: Any) -> Any:
        if type(x) is tuple:
            t = x[0]
            k = self.place.get(id(t))
            entry = self._entry(t._s)
            if k is not None:
                return ("source", k)
            edge = self._edge(t._g) if t._g is not None else None
            return ("value", entry, t.meta, t._off, t._rg, edge)
        if type(x) is Saved:
            return ("saved", self._entry(x.storage), x.meta, x.offset, x.number, x.made)
        return ("other", x)

    def segment(self, text: list[Recorded], kept: list[int]) -> list[int]:
        """Settles how values are computed from those kept; the leaves needed beside."""
        self.program = Segment("again", text, self.entries, kept)
        return [e for e in self.program.inputs if e not in kept]

    def gradients(self, node: Any, grads: tuple) -> tuple:
        """Gradients of the region's sources, with a history."""
        region = node.region
        made = self._make(node.sources, self._values(region, node))
        roots = [self._real(e, *made, node.sources) for e in self.roots]
        walk = Trace(made[1].values(), True)
        for edge, grad, o in zip(roots, grads, region.wanting, strict=True):
            walk.send(edge, zeros(o.meta) if grad is None else grad)
        walk.run()
        got = {edge.place: grad for edge, grad in walk.found()}
        return tuple([got.get(k) for k in region.edges])

    def _real(
        self, edge: Any, nodes: list[Node], ends: dict[int, Boundary], tensors: list[Tensor]
    ) -> Any:
        if edge is None:
            return None
        if edge[0] == "source":
            k = edge[1]
            if k not in ends:
                ends[k] = boundary(k, tensors[self.at[k]])
            return ends[k]
        clone = nodes[edge[1]]
        return clone if edge[2] is None else (clone, edge[2])

    def _values(self, region: Any, node: Any) -> dict[int, Storage]:
        """A storage for every entry that the nodes' saved values name."""
        tape = LOCAL.tape
        storages = dict(self.constants)
        storages.update(zip(region.backward.kept_entries, [s for s, _ in node.saved], strict=True))
        at = {e: tape.entry(storages[e]) for e in self.program.inputs}
        numbers = dict(zip(self.program.slots, self.numbers, strict=True))
        for slot, k, delta in self.offsets:
            numbers[slot] = node.sources[region.at[k]]._off + delta
        for slot, i in self.floats:
            numbers[slot] = node.sources[i]
        for r in self.program.program:
            _record(r, at, numbers, storages)
        for e in dict.fromkeys(self.entries):
            if e not in storages:
                s = _new(Storage)
                m = self.metas[e]
                s.tape, s.i, s.buf, s.meta, s.version, s.pin = tape, at[e], None, m, 0, None
                tape.values[at[e]] = s
                storages[e] = s
        return storages

    def _make(self, tensors: list[Tensor], storages: dict[int, Storage]) -> tuple[list[Node], dict]:
        nodes: list[Node] = []
        ends: dict[int, Boundary] = {}
        for cls, inst, scalars, edges, saved, extra in self.nodes:
            n = _new(cls)
            n.edges = tuple([self._real(e, nodes, ends, tensors) for e in edges])
            n.scalars = tuple([x.at_hand(tensors) if type(x) is Place else x for x in scalars])
            n.inst, n.seq = inst, next_seq()  # after the ends of its edges
            n.__dict__.update(extra)
            nodes.append(n)
            n.saved = saved
            if type(saved) is list:
                n.saved = [self._unkept(x, tensors, storages, nodes) for x in saved]
        return nodes, ends

    def _unkept(self, x: tuple, tensors: list[Tensor], storages: dict, nodes: list[Node]) -> Any:
        kind = x[0]
        if kind == "other":
            return x[1]
        if kind == "source":
            t = tensors[self.at[x[1]]]
            return t, t._s.version
        if kind == "saved":
            kept = _new(Saved)
            _, entry, kept.meta, kept.offset, kept.number, kept.made = x
            kept.storage = kept.written = storages[entry]
            kept.version = kept.storage.version
            return kept
        _, entry, m, off, rg, edge = x
        t = wrap(storages[entry], m, off)
        if rg:
            t._rg = True
            if edge is not None and edge[0] == "node":
                clone = nodes[edge[1]]
                t._g = clone if edge[2] is None else (clone, edge[2])
            elif edge is not None:
                source = tensors[self.at[edge[1]]]
                t._g = source._g
        return t, t._s.version


def _record(r: Recorded, at: dict[int, int], numbers: dict[int, Any], storages: dict) -> None:
    """Records one captured operator again, as it was."""
    tape = LOCAL.tape
    op = r.inst.op
    given = [numbers[r.slot + k] for k in range(r.n_numbers)]
    if op is VIEW_AT:
        at[r.first] = tape.view(storages[r.inputs[0]], r.inst.params[0], given[0])
        return
    inst = r.inst
    if op is WRITE_AT:
        inst, given = WRITE.inst(r.inst.ins, (r.inst.params[0], given[0])), []
    tape.key += (inst, *[at[i] for i in r.inputs])
    tape.scalars += given
    for k, m in enumerate(r.metas):
        at[r.first + k] = tape.n
        tape.values.append(None)
        tape.n += 1
        if op is not VIEW:
            tape.budget -= m.numel * m.dtype.itemsize


def _nodes_behind(roots: list[Any], sources: Any) -> list[Node]:
    """Nodes in the order in which they were made."""
    stack, seen = list(roots), {}
    while stack:
        e = stack.pop()
        e = e[0] if type(e) is tuple else e
        if isinstance(e, Node) and type(e) is not Boundary and id(e) not in seen:
            seen[id(e)] = e
            stack += e.edges
            for x in e.saved if type(e.saved) is list else ():
                if type(x) is tuple and id(x[0]) not in sources:
                    stack.append(x[0]._g)
    return sorted(seen.values(), key=lambda n: n.seq)
