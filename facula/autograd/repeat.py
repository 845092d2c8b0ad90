"""Backward passes that come again are recorded as one operator.

What the nodes of a graph record depends on the graph's structure alone: which operators, on which
geometries, joined how. The first pass over a structure is traced on a tape of its own; what it recorded
becomes one operator (`graph/segment.py`), and one generated function records it, then and later. Where
that cannot be done (hooks, custom functions, derivatives that look at values) the nodes run as always.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from facula import config
from facula.autograd.node import FREED, Node, Saved
from facula.autograd.walk import ANOMALY, OPS, Walk, combine, cuts_before, hand_over
from facula.autograd.written import ROOM, Text, entry_of
from facula.autograd.written_reader import Read, written_reader
from facula.graph.dtypes import default_dtype
from facula.graph.meta import META, Meta
from facula.graph.segment import Segment, read_tape
from facula.graph.tape import ENGINE, LOCAL, MAX_BYTES, VIEW, Inst, Storage, Tape
from facula.tensor import Tensor, wrap

_new = object.__new__

MAX_KEPT = 512  # structures
MAX_GRAPH = 4000  # nodes
MAX_MISSES = 16  # passes in a row from one kind of loss that had to be traced or refused
LEAST = 1  # operators that a pass has to record for a replay to be quicker

AGAIN = 8  # passes over one structure before its reader is written, a tenth of a millisecond for each node
SLOWER = 16  # nodes that make it wait for as many passes again: small programs gain most
WRITTEN_NODES = 400  # of larger graphs, the writing would take long
READERS = 4  # structures with roots of one kind

_NEW: Any = object()
_known: dict[tuple, Repeated | None] = {}
_misses: dict[Inst, int] = {}  # by what computed the root
# by what computed the root: readers of structures, and for which gradient and default type
_readers: dict[Inst, list[tuple[Callable[[Node], Read | None], Repeated, Meta, Any]]] = {}


class Graph:
    """The graph behind a node, in the order of the backward walk, and the key of its structure."""

    def __init__(self) -> None:
        self.key: list[Any] = []
        self.nodes: list[Node] = []
        self.leaves: list[Any] = []
        # what the nodes keep: storages, or (storage, geometry, offset) of views
        self.given: list[Any] = []

    def read(self, root: Node) -> bool:
        """Follows the edges; False where a replay could not stand for the nodes.

        Written out: it is what a replay costs.
        """
        key, nodes, leaves = self.key, self.nodes, self.leaves
        add, number = key.append, {id(root): 0}
        heap: list[tuple[int, Node]] = []
        # as in the walk: the node reached last waits outside of the heap
        pop, push, latest = heapq.heappop, heapq.heappush, (-root.seq, root)
        while heap or latest:
            node = (heapq.heappushpop(heap, latest) if latest else pop(heap))[1]
            latest = None  # type: ignore[assignment]
            inst = node.inst
            op = inst.op
            if node.op is not op or op.backward is None or node.__dict__:  # hooks stand there
                return False
            nodes.append(node)
            add(inst)
            if node.scalars and not self._read_numbers(node.scalars):
                return False
            for edge in node.edges:
                if edge is None:
                    add(None)
                    continue
                if type(edge) is tuple:
                    edge, place = edge
                    add((place,))
                known = number.get(id(edge))
                if known is None:
                    if isinstance(edge, Node):
                        known = len(nodes) + len(heap) + (latest is not None)
                        if latest:
                            push(heap, latest)
                        latest = (-edge.seq, edge)
                    else:
                        known = -1 - len(leaves)
                        leaves.append(edge)
                        add(edge.meta)
                    number[id(edge)] = known
                add(known)
            if node.saved and not self._read_saved(node.saved):
                return False
        return len(nodes) <= MAX_GRAPH

    def _read_numbers(self, numbers: tuple) -> bool:
        for x in numbers:
            kind = type(x)
            if kind is float:
                if x == 0 or x != x:  # its sign is part of it, which keys do not see
                    return False
            elif kind is not int:
                return False
            self.key.append(kind)
            self.key.append(x)
        return True

    def _read_saved(self, saved: Any) -> bool:
        if saved is FREED:
            return False
        key, given = self.key, self.given
        for kept in saved:
            kind = type(kept)
            if kind is tuple:
                t, version = kept
                s, m = t._s, t.meta
                if s.version != version or not (type(t) in _ORDINARY or _is_ordinary(type(t))):
                    return False
                if m.offset:
                    if m.dtype is not s.meta.dtype:
                        return False
                    key.append(m)
                    given.append((s, m, t._off))
                    continue
            elif kind is Saved:
                s, m = kept.storage, kept.meta
                if kept.written.version != kept.version or kept.made is not Tensor or m.offset:
                    return False
            elif kept is None:
                key.append(None)
                continue
            else:
                return False
            key += (m, s.meta)
            given.append(s)
        return True


def repeat(root: Node, seed: Tensor, keep: bool) -> bool:
    """Does the backward pass from a node with one result; False where the nodes have to run."""
    tape = LOCAL.tape
    if not isinstance(root, Node) or ANOMALY[0]:
        return False
    if root.op is None:
        return root.reach_leaves(seed, keep)
    if (_misses.get(root.inst, 0) > MAX_MISSES or tape.watch is not None or tape.budget < 0
            or type(seed) is not Tensor or seed.meta is not seed._s.meta
            or (ENGINE.varying and cuts_before(root.seq))):  # fmt: skip
        return False
    for read, found, seed_meta, default in _readers.get(root.inst, ()):
        if seed_meta is seed.meta and default is default_dtype():
            got = read(root)
            if got is not None:
                given, leaves, keepers = got
                _record(found, tape, seed, given, leaves, () if keep else keepers)
                return True
    graph = Graph()
    if not graph.read(root):
        return _missed(root)
    graph.key += (seed.meta, default_dtype())
    key = tuple(graph.key)
    found = _known.get(key, _NEW)
    if found is _NEW:
        _missed(root)
        if len(_known) >= MAX_KEPT:
            _known.clear()
        found = _known[key] = _traced(graph, seed.meta)
    elif found is not None:
        _misses[root.inst] = 0
    if found is None:
        return _missed(root)
    leaves = [graph.leaves[k] for k in found.order]
    found.seen += 1
    n = len(graph.nodes)
    if found.seen == AGAIN * (1 + n // SLOWER) and n <= WRITTEN_NODES:
        reader = written_reader(graph.nodes, graph.leaves, found.order, _ORDINARY)
        if len(_readers) >= MAX_KEPT:
            _readers.clear()
        kept = _readers.setdefault(root.inst, [])
        kept.insert(0, (reader, found, seed.meta, default_dtype()))
        del kept[READERS:]
    _record(found, tape, seed, graph.given, leaves, () if keep else graph.nodes)
    return True


def _record(
    found: Repeated, tape: Tape, seed: Tensor, given: list[Any], leaves: list[Any],
    done_with: Sequence[Node],
) -> None:  # fmt: skip
    """Records a pass and adds the gradients to the leaves'."""
    if found.marks:
        OPS.mark(tape)
    grads = found.replay(tape, seed, given)
    for node in done_with:
        if node.saved:
            node.saved = FREED
    hand_over(leaves, grads, found.fresh)


def _missed(root: Node) -> bool:
    if len(_misses) > MAX_KEPT:
        _misses.clear()
    _misses[root.inst] = _misses.get(root.inst, 0) + 1
    return False


_ORDINARY: set[type] = {Tensor}


def _is_ordinary(kind: type) -> bool:
    """Whether operators do with tensors of this class what they do with any."""
    if kind.__module__ == "facula.nn.parameter":
        _ORDINARY.add(kind)
    return kind in _ORDINARY


# tracing ------------------------------------------------------------------------------------------


class CannotRepeat(Exception):
    """A derivative does something that depends on more than the structure."""


class TraceTape(Tape):
    """A tape whose leaves are stand-ins without values."""

    __slots__ = ()

    def leaf(self, s: Storage) -> int:
        raise CannotRepeat("a value from the host is read")

    def stand_in(self, held: Meta) -> Storage:
        """A storage that looks pending."""
        s = _new(Storage)
        s.tape, s.i, s.meta, s.version, s.pin, s.buf = None, -1, held, 0, None, self
        Tape.leaf(self, s)
        s.buf = None
        return s


class _Watch:
    """Told of what a replay would leave out."""

    def evaluated(self) -> None:
        raise CannotRepeat("a value is looked at")

    def made(self, s: Storage) -> None:
        """A value from the host; it is noticed where it is read."""

    def drew(self, *_: Any) -> None:
        raise CannotRepeat("random numbers are drawn")

    def defeat(self, reason: str) -> None:
        raise CannotRepeat(reason)


class _Trace(Walk):
    """A walk that leaves gradients where they arrived."""

    def _finish(self) -> None:
        for entry in self.leaves.values():
            entry[1] = combine(entry[1])


class Repeated:
    """What the passes over one structure record.

    order: which of the graph's leaves get the gradients that `replay` gives. fresh: as for `hand_over`.
    """

    def __init__(
        self, replay: Callable[..., list[Tensor]], order: list[int], marks: bool, fresh: bool
    ) -> None:
        self.replay, self.order, self.marks, self.fresh = replay, order, marks, fresh
        self.seen = 0


def _traced(graph: Graph, seed_meta: Meta) -> Repeated | None:
    """Runs copies of the nodes on a tape of their own."""
    if config.EAGER or seed_meta.device is META:
        return None
    outer = LOCAL.tape
    tape = TraceTape(LOCAL.__dict__, False)
    tape.watch = _Watch()
    LOCAL.tape = tape
    try:
        seed = wrap(tape.stand_in(seed_meta), seed_meta)
        storages = [seed._s]
        copies = _copies(graph, tape, storages)
        walk = _Trace(False, False)
        walk.send(copies[0], seed)
        walk.run()
    except Exception:  # also what the nodes themselves will raise
        return None
    finally:
        tape.watch = None
        LOCAL.tape = outer
    if any(c.saved and c.saved is not FREED for c in copies):
        return None  # no gradient reaches it: it has to keep what it saved
    if tape.budget < MAX_BYTES // 2:
        return None
    return _written(graph, tape, storages, walk)


def _copies(graph: Graph, tape: TraceTape, storages: list[Storage]) -> list[Node]:
    """The nodes with stand-ins for what they keep; `storages` gets those, in order."""
    copies = [_new(type(n)) for n in graph.nodes]
    copy_of = dict(zip(graph.nodes, copies, strict=True))

    def stand_in(s: Storage, m: Meta) -> tuple[Storage, Meta]:
        made = tape.stand_in(m.plain() if m.offset else s.meta)
        storages.append(made)
        return made, m.plain() if m.offset else m

    for n, c in zip(graph.nodes, copies, strict=True):
        c.inst, c.scalars, c.seq = n.inst, n.scalars, n.seq
        c.edges = tuple(
            [(copy_of[e[0]], e[1]) if type(e) is tuple else copy_of[e] if isinstance(e, Node) else e
             for e in n.edges]
        )  # fmt: skip
        c.saved = n.saved
        if type(n.saved) in (list, tuple):
            c.saved = []
            for kept in n.saved:
                if kept is None:
                    c.saved.append(None)
                elif type(kept) is tuple:
                    c.saved.append((wrap(*stand_in(kept[0]._s, kept[0].meta)), 0))
                else:
                    made, m = stand_in(kept.storage, kept.meta)
                    c.saved.append(Saved(wrap(made, m), kept.number))
    return copies


def _written(graph: Graph, tape: TraceTape, storages: list[Storage], walk: Walk) -> Repeated | None:
    """The function that records the pass."""
    number = {id(leaf): k for k, leaf in enumerate(graph.leaves)}
    got = [(number[place], leaf_grad[1]) for place, leaf_grad in walk.leaves.items()]
    grads = [g for _, g in got]
    if any(type(g) is not Tensor or g._s.tape is not tape or g.meta.dtype is not g._s.meta.dtype
           for g in grads):  # fmt: skip
        return None
    text = read_tape(tape.key)
    segment = Segment("backward", text, list(dict.fromkeys(g._s.i for g in grads)), ())
    work = sum(r.inst.op is not VIEW for r in segment.program)
    if work < LEAST or len(graph.nodes) > max(4 * work, WRITTEN_NODES):
        return None
    place = {s.i: k for k, s in enumerate(storages)}
    inputs = [place[e] for e in segment.inputs]
    inst = segment.inst(tuple([storages[k].meta for k in inputs]))
    out = Text("def replay(tape, seed, given):")
    row = []
    for k in inputs:
        if k and type(graph.given[k - 1]) is tuple:
            row.append(f"tape.view(*given[{k - 1}])")
            continue
        out.say(f"s{k} = " + (f"given[{k - 1}]" if k else "seed._s"))
        row.append(entry_of(f"s{k}"))
    out.say(f"row = ({''.join(f'{entry}, ' for entry in row)})")
    numbers = [tape.scalars[k] for k in segment.slots]
    if numbers:
        out.say(f"tape.scalars += {out.const(tuple(numbers))}")
    out.say(f"tape.key += ({out.const(inst)}, *row)")
    out.storages(segment.results)
    out.say(f"tape.budget -= {inst.nbytes}")
    at = {e: j for j, e in enumerate(segment.roots)}
    made: dict[int, str] = {}
    names = []
    for g in grads:
        name = made.get(id(g))
        if name is None:
            name = made[id(g)] = f"t{len(made)}"
            out.tensor(name, f"r{at[g._s.i]}", g.meta, g._off)
            if len({id(x._s) for x in grads}) < len(grads):  # one memory may not serve two leaves
                out.say(f"{name}._base = {name}.detach()")
        names.append(name)
    out.say(f"del {', '.join(f'r{k}' for k in range(len(segment.results)))}")
    out.say(ROOM)
    out.say(f"return [{', '.join(names)}]")
    alone = len({id(g._s) for g in grads}) == len(grads)
    fresh = alone and all(keeps(graph.leaves[k].meta, g) for k, g in got)
    return Repeated(out.function("replay"), [k for k, _ in got], segment.marks, fresh)


def keeps(leaf: Meta, grad: Tensor) -> bool:
    """Whether a leaf may keep a gradient as it is, where nobody else has its memory."""
    return grad.meta.contiguous and not grad._off and grad.meta.dtype is leaf.dtype
