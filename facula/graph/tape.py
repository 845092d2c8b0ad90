"""Recording: operators are written on a tape; the tape's own text is the key of its plan.

A `Storage` is the handle of a value. It is either evaluated (`buf`) or pending: entry `i` of `tape`.
Recording an operator appends its `Inst` (operator, static parameters and geometries, interned) and
the entries it reads to `tape.key`. Python numbers go to `tape.scalars`: they are arguments of the
plan and never part of its key. Writing to a storage gives it a new entry, so what was recorded
before keeps reading the old one: aliasing is exact and the graph stays functional.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from facula import config
from facula.graph import dtypes
from facula.graph.meta import META, Meta, meta_of

# bounds on what is recorded before it is evaluated
MAX_NODES = 6000
MANY_NODES = 1000  # a tape with so many is long
MAX_PASSES = 4  # backward passes on a long tape; fewer on one that is longer by as much
MAX_BYTES = 6 << 30
MAX_KNOWN = 50_000  # what an operator keeps of geometries and arguments it has seen


class Storage:
    """A value that tensors share: pending on a tape, or a buffer."""

    __slots__ = ("__weakref__", "buf", "i", "meta", "pin", "span", "tape", "version")

    buf: Any  # a runtime buffer, or None while pending
    i: int
    meta: Meta  # natural geometry: contiguous
    pin: Any  # weak reference to what shows this memory outside, or None
    # (version, least, largest) element of an index that was looked at; unset on most
    span: tuple[int, int, int]
    tape: Tape | None
    version: int


OPERATORS: list[Op] = []  # all there are


class Op:
    """An operator: how shapes follow, what it expands to, its derivative.

    infer(*metas, *params) -> Meta or tuple of Metas; raises PyTorch's errors.
    expand(g, *vals, *params) -> Val or sequence; `vals` are the tensors, then run-time numbers.
    backward(ctx, *grads) -> gradients of the tensor inputs (None where there is none).
    """

    __slots__ = (
        "backward",
        "calls",
        "expand",
        "grad_class",
        "infer",
        "insts",
        "lies",
        "marks",
        "materialize",
        "n_scalars",
        "name",
        "saves_inputs",
        "saves_outputs",
        "shows",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        infer: Callable[..., Any],
        expand: Callable[..., Any],
        backward: Callable[..., Any] | None = None,
        *,
        saves: str = "",
        grad_name: str | None = None,
        materialize: bool = True,
        marks: bool = False,
        shows: str | Callable[[Any], Sequence[Any]] | None = None,
        lies: Callable[..., tuple[Meta, ...]] | None = None,
    ) -> None:
        """`saves`: what the derivative reads: input numbers and 'out' (or out0, out1), as
        in "0 1 out". `marks`: it checks indices, so the tape notes where it is recorded.
        `shows`: what PyTorch's node has for `next_functions` where that is not an edge for each
        input: input numbers and '-' for None, or what gives the edges of a node.
        `lies`: how results lie in memory, where that is not always row-major: (ins, outs, params) ->
        outs with other strides, of the same dims without gaps in another order."""
        OPERATORS.append(self)
        self.name = name
        self.infer, self.expand, self.backward = infer, expand, backward
        self.insts: dict[Any, Inst] = {}
        # what calls with plain arguments were settled to, by (geometry, arguments): see `ops/apply`
        self.calls: dict[Any, Any] = {}
        words = saves.split()
        self.saves_inputs = tuple(int(w) for w in words if w.isdigit())
        self.saves_outputs = tuple(int(w[3:] or 0) for w in words if w.startswith("out"))
        self.materialize = materialize
        self.marks = marks
        self.shows = shows
        self.lies = lies
        self.grad_class: Any = grad_name or (
            "".join(w[:1].upper() + w[1:] for w in name.strip("_").split("_")) + "Backward0"
        )

    def __repr__(self) -> str:
        return f"<operator {self.name}>"

    def inst(self, metas: tuple[Meta, ...], params: tuple = (), n_scalars: int = 0) -> Inst:
        """The interned instance for these input geometries and parameters."""
        found = self.insts.get((metas, params))
        # 1, 1.0 and True are equal as keys but not as parameters
        if found is not None and (found.types is None or found.types == tuple(map(type, params))):
            return found
        key = (metas, params) if found is None else (metas, params, tuple(map(type, params)))
        found = self.insts.get(key)
        if found is not None:
            return found
        out = self.infer(*metas, *params)
        outs = out if isinstance(out, tuple) else (out,)
        if any(m.device is META for m in metas):
            outs = tuple([meta_of(m.dtype, m.shape, META) for m in outs])
        shown = outs if self.lies is None else self.lies(metas, outs, params)
        found = Inst(self, metas, params, outs, n_scalars)
        if any(a is not b for a, b in zip(shown, outs, strict=True)):
            found.show(shown)
        if len(self.insts) > MAX_KNOWN:
            self.insts.clear()
        self.insts[key] = found
        return found

    def remember(self, geometry: Any, args: Any, found: Any) -> None:
        """Notes what a call was settled to."""
        if len(self.calls) > MAX_KNOWN:
            self.calls.clear()
        self.calls[geometry, args] = found


def order_in_memory(m: Meta) -> tuple[int, ...]:
    """The dims of a geometry without gaps, from the one that lies outermost."""
    return tuple(sorted(range(m.ndim), key=lambda d: (-m.strides[d], d)))


class Inst:
    """An operator applied to geometries; what stands on tapes.

    Results are values in row-major order: `outs`. Where a result's dims lie in another order, its
    tensor has the strides that say so (`shown`) and the value has its dims in that order (`orders`).
    """

    __slots__ = (
        "fast",
        "ins",
        "meta",
        "multi",
        "n_in",
        "n_scalars",
        "nbytes",
        "op",
        "orders",
        "outs",
        "params",
        "reads",
        "record",
        "shown",
        "types",
    )

    def __init__(self, op: Op, ins: tuple[Meta, ...], params: tuple, outs: tuple[Meta, ...],
                 n_scalars: int = 0) -> None:  # fmt: skip
        self.op, self.ins, self.params, self.outs = op, ins, params, outs
        self.n_in = len(ins)
        self.meta = outs[0] if outs else None
        self.multi = len(outs) != 1
        self.n_scalars = n_scalars  # run-time numbers it reads
        self.record: Any = None  # what records it, kept by `ops/apply` for the next time
        # types of the parameters, where numbers of different types could be taken for each other
        self.types = (
            tuple(map(type, params))
            if any(isinstance(p, (int, float, complex)) for p in params)
            else None
        )
        # whether operands are read as they lie: what recording without detours needs
        self.reads = not any(m.offset or m.device.type == "meta" for m in (*ins, *outs))  # type: ignore[attr-defined]
        self.fast = self.reads  # and whether results are row-major besides
        self.nbytes = sum(m.numel * m.dtype.itemsize for m in outs)
        self.shown = outs
        self.orders: tuple[tuple[int, ...], ...] | None = None

    def show(self, shown: tuple[Meta, ...]) -> None:
        """Gives the results these geometries."""
        self.shown, self.meta = shown, shown[0]
        self.orders = tuple([order_in_memory(m) for m in shown])
        self.outs = tuple(
            [meta_of(m.dtype, [m.shape[d] for d in order], m.device)
             for m, order in zip(shown, self.orders, strict=True)]
        )  # fmt: skip
        self.fast = False

    def __repr__(self) -> str:
        return f"<{self.op.name}{self.params or ''} {list(self.ins)} -> {list(self.outs)}>"


def _no_expansion(*_: Any) -> Any:
    raise AssertionError("leaves and views are read by the planner itself")


LEAF = Op("leaf", lambda meta: meta, _no_expansion)
VIEW = Op("view", lambda src, meta, offset: meta.plain(), _no_expansion)
VIEW_AT = Op("view_at", lambda src, meta: meta.plain(), _no_expansion)
WRITE = Op("write", lambda old, new, meta, offset: old, _no_expansion)
WRITE_AT = Op("write_at", lambda old, new, meta: old, _no_expansion)


def leaf_inst(m: Meta) -> Inst:
    """What stands on tapes for a value from outside."""
    m.leaf = inst = LEAF.inst((), (m,))
    return inst


INFERENCE = -(1 << 62)  # versions of storages made in inference mode count up from here: negative


class Tape:
    """What one thread has recorded since it last evaluated."""

    __slots__ = (
        "born",
        "budget",
        "grad",
        "home",
        "key",
        "leaves",
        "marks",
        "n",
        "passes",
        "rebound",
        "scalars",
        "values",
        "varies",
        "views",
        "watch",
    )

    def __init__(self, home: dict[str, Any], grad: bool = True, born: int = 0) -> None:
        self.home = home  # the attributes of LOCAL in the thread that records here
        self.key: list[Any] = []
        self.values: list[Storage | None] = []  # per entry; None for leaves and overwritten ones
        self.leaves: list[Any] = []  # buffers, in order of their entries
        self.scalars: list[Any] = []
        self.views: dict[tuple, int] = {}
        # of operators that check: (entry, code, place in it, modules that were running)
        self.marks: list[tuple[int, Any, int, Sequence]] = []
        # leaves written in place: (storage, its entry before)
        self.rebound: list[tuple[Storage, int]] = []
        self.n = 0
        self.passes = 0  # backward passes that were recorded whole, see `passed`
        self.budget = -1 if config.EAGER else MAX_BYTES
        self.grad = grad
        # whether what is recorded has sizes that are others every time: an optimizer's step then
        # gets a plan of its own, which is built once
        self.varies = False
        self.born = born  # the version that new storages begin with; INFERENCE in inference mode
        self.watch: Any = None  # what `facula.compile` notes while it captures

    def leaf(self, s: Storage) -> int:
        """The entry of a storage that is not pending here."""
        if s.buf is None:
            if s.tape is None or s.tape is self:
                raise RuntimeError("the tensor's value was lost when its evaluation failed")
            ENGINE.flush(s.tape)
            if s.buf is None:
                raise RuntimeError("the tensor's value was lost when its evaluation failed")
        if s.pin is not None:
            if s.pin() is None:
                s.pin = None
            else:
                self.budget = -1  # visible outside: what reads it is evaluated at once
        i = self.n
        m = s.meta
        self.key.append(m.leaf or leaf_inst(m))
        self.leaves.append(s.buf)
        self.values.append(None)
        self.n = i + 1
        s.tape, s.i = self, i
        return i

    def entry(self, s: Storage) -> int:
        """The entry of a storage's current value."""
        return s.i if s.tape is self else self.leaf(s)

    def view(self, s: Storage, meta: Meta, offset: int) -> int:
        """The entry of a strided view, as a value with the contiguous geometry of its shape."""
        i = s.i if s.tape is self else self.leaf(s)
        seen = self.views.get((i, meta, offset))
        if seen is not None:
            return seen
        if s.buf is not None:
            self.key += (VIEW_AT.inst((s.meta,), (meta,), 1), i)
            self.scalars.append(offset)
        else:
            self.key += (VIEW.inst((s.meta,), (meta, offset)), i)
        self.values.append(None)
        self.views[i, meta, offset] = self.n
        self.n += 1
        return self.n - 1

    def element(self, s: Storage, meta: Meta, offset: int) -> None:
        """Has one element of a pending value read at a place that is a number, as it will be written.

        What loops count at ever other places (`seen[k] += 1`) is the same plan then.
        """
        if s.tape is self and s.buf is None and self.watch is None:
            if (s.i, meta, offset) not in self.views:
                self.key += (VIEW_AT.inst((s.meta,), (meta,), 1), s.i)
                self.scalars.append(offset)
                self.values.append(None)
                self.views[s.i, meta, offset] = self.n
                self.n += 1

    def record(self, inst: Inst, entries: tuple[int, ...], scalars: tuple = ()) -> list[Storage]:
        """Appends one operator; the storages of its results."""
        self.key += (inst, *entries)
        if scalars:
            self.scalars += scalars
        made = []
        for meta in inst.outs:
            s = Storage()
            s.tape, s.i, s.buf, s.meta, s.version, s.pin = self, self.n, None, meta, self.born, None
            self.values.append(s)
            self.n += 1
            made.append(s)
        self.budget -= inst.nbytes
        return made

    def rebind(self, s: Storage, i: int) -> None:
        """Makes entry i the value of storage s (an in-place write)."""
        if s.buf is not None:
            self.rebound.append((s, s.i))
        elif s.tape is self and self.values[s.i] is s:
            self.values[s.i] = None
        s.tape, s.i, s.buf = self, i, None
        s.version += 1
        self.values[i] = s

    def rebind_all(self, storages: Sequence[Storage]) -> None:
        """Makes new entries the values of storages that have entries here (in-place writes).

        As `rebind`, written out: an optimizer does it for each parameter in every step.
        """
        values, i = self.values, self.n
        for s in storages:
            if s.buf is not None:
                self.rebound.append((s, s.i))
                s.buf = None
            elif values[s.i] is s:
                values[s.i] = None
            s.i = i
            s.version += 1
            values.append(s)
            i += 1
        self.n = i


class Local(threading.local):
    """The calling thread's tape."""

    tape: Tape

    def __init__(self) -> None:
        self.tape = Tape(self.__dict__)


LOCAL = Local()


# numbers nodes of the graph of derivatives, and the evaluations between them
next_seq = itertools.count(1).__next__


class Engine:
    """Filled in by `facula.engine`: the graph room must not know who evaluates."""

    flush: Callable[[Tape], None]
    # above 0 while long tapes are new every time, as where values decide on sizes: what is recorded
    # is then evaluated in parts that may come again
    varying: int = 0
    new_in_a_row: float = 0.0  # long tapes, less those that came again
    cuts: deque[int] = deque(maxlen=1024)  # when tapes were evaluated meanwhile, by `next_seq`


ENGINE = Engine()


def new_storage(buf: Any, meta: Meta) -> Storage:
    """A storage with an evaluated value."""
    s = Storage()
    s.tape, s.i, s.buf, s.meta, s.version, s.pin = None, -1, buf, meta, LOCAL.tape.born, None
    return s


def flush() -> None:
    """Evaluates what the calling thread has recorded."""
    tape = LOCAL.tape
    if tape.key:
        ENGINE.flush(tape)


def passed() -> None:
    """Notes the end of a backward pass.

    Where nobody looks at what a loop computes, its steps gather on one tape. A long one is evaluated
    here, where a step's work is done and the next one's begins: then the same tape comes again.
    """
    tape = LOCAL.tape
    tape.passes += 1
    if tape.passes > 1 and tape.n > MANY_NODES and tape.watch is None:
        if tape.passes * tape.n > MAX_PASSES * MANY_NODES:
            ENGINE.flush(tape)


def set_default_dtype(d: Any) -> None:
    """Sets the type that Python floats become. What was recorded before keeps the one before."""
    if d is dtypes.default_dtype():
        return
    flush()
    dtypes.set_default_dtype(d)
    for op in OPERATORS:  # results' types were inferred with the other one
        op.insts.clear()
        op.calls.clear()


def evaluate(s: Storage) -> Any:
    """The buffer of a storage, evaluated if it is pending."""
    if s.buf is None:
        if s.tape is None:
            raise RuntimeError("the tensor's value was lost when its evaluation failed")
        ENGINE.flush(s.tape)
        if s.buf is None:
            raise RuntimeError("the tensor's value was lost when its evaluation failed")
    return s.buf


def settle(s: Storage) -> None:
    """Evaluates a storage and what was recorded to read it, before its memory is written directly."""
    flush()
    if s.tape is not None and s.tape.key:  # another thread's
        ENGINE.flush(s.tape)
    evaluate(s)


__all__ = ["ENGINE", "LEAF", "LOCAL", "VIEW", "VIEW_AT", "WRITE", "WRITE_AT", "Inst", "Op",
           "Storage", "Tape", "evaluate", "flush", "meta_of", "new_storage", "passed", "settle"]  # fmt: skip
