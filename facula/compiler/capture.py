"""Capture: a function runs once on a tape of its own, and what it recorded becomes a region.

While it runs, the storages of everything it may read look pending, so that whoever looks at a value
is noticed. If something defeats the capture the tape goes on as an ordinary one: the run was then
simply a run of the function.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from facula.autograd.node import Node, Packed, PackedResult
from facula.compiler.guards import Guards, Unsupported
from facula.compiler.numbers import Floats, Sample, Traced
from facula.compiler.observe import Observer
from facula.compiler.region import Backward, Output, Region, leaf_buffers
from facula.compiler.steps import Page, Steps
from facula.compiler.templates import Boundary, Templates, Trace, boundary
from facula.graph.meta import META
from facula.graph.segment import Segment, read_tape
from facula.graph.tape import (
    LEAF,
    LOCAL,
    VIEW,
    VIEW_AT,
    Storage,
    Tape,
    evaluate,
    flush,
    next_seq,
)
from facula.ops import autocast
from facula.ops.random import default_generator
from facula.random.generator import Generator
from facula.runtime.buffers import alloc
from facula.tensor import Tensor, wrap
from facula.utils._pytree import tree_flatten, tree_map


class Watch:
    """What a capture notes; `defeated` says why it is none any more."""

    def __init__(self) -> None:
        self.defeated: str | None = None
        self.fresh: dict[int, Storage] = {}  # made by the function itself
        self.draws: list[tuple[Any, Callable, tuple]] = []
        self.tape: CaptureTape | None = None
        self.steps: Steps | None = None

    def called(self, frame: Any) -> None:
        """A call that changes gradients or parameters is about to run."""
        if self.steps is not None:
            self.steps.note(frame)

    @property
    def late(self) -> bool:
        """Whether the function has called `backward()`, and nothing was amiss."""
        steps = self.steps
        return steps is not None and steps.page is not None and self.defeated is None

    def defeat(self, reason: str) -> None:
        """This run cannot be replayed."""
        if self.defeated is None:
            self.defeated = reason

    def evaluated(self) -> None:
        """The tape is about to be evaluated."""
        frame: Any = sys._getframe(2)
        home = __file__.rpartition("compiler")[0]
        while frame is not None and frame.f_code.co_filename.startswith(home):
            frame = frame.f_back
        at = "" if frame is None else f" at {frame.f_code.co_filename}:{frame.f_lineno}"
        self.defeat("a value is looked at while the function runs" + at)
        if self.tape is not None:
            self.tape.show()

    def made(self, s: Storage) -> None:
        """A storage with a value from the host."""
        self.fresh[id(s)] = s

    def drew(self, t: Tensor, draw: Callable, args: tuple) -> None:
        """Random numbers were drawn."""
        self.draws.append((t._s, draw, args))
        if self.tape is not None:
            self.tape.hide(t._s)


class CaptureTape(Tape):
    """A tape on which the values of leaves are hidden."""

    __slots__ = ("hidden", "offsets", "sources")

    def __init__(self, grad: bool, watch: Watch) -> None:
        super().__init__(LOCAL.__dict__, grad)
        self.watch = watch
        watch.tape = self
        self.hidden: dict[int, tuple[Storage, Any, int]] = {}  # id -> storage, buffer, entry
        self.sources: set[int] = set()  # ids of storages whose views may begin elsewhere next time
        self.offsets: list[tuple[int, Storage]] = []  # (place among the numbers, whose view)

    def leaf(self, s: Storage) -> int:
        if self.watch is not None and id(s) not in self.watch.fresh:
            self.watch.defeat("a tensor is read that the guards do not know")
        return super().leaf(s)

    def hide(self, s: Storage) -> None:
        """Makes an evaluated storage a leaf that looks pending."""
        i = Tape.leaf(self, s)
        self.hidden[id(s)] = (s, s.buf, i)
        s.buf = None

    def view(self, s: Storage, meta: Any, offset: int) -> int:
        hidden = self.hidden.get(id(s))
        if id(s) not in self.sources or hidden is None or s.tape is not self or s.i != hidden[2]:
            return super().view(s, meta, offset)
        s.buf = hidden[1]
        try:
            before = len(self.scalars)
            entry = super().view(s, meta, offset)
        finally:
            s.buf = None
        if len(self.scalars) > before:
            self.offsets.append((before, s))
        return entry

    def show(self) -> None:
        """Goes on as an ordinary tape: leaves have their values, those written in place are pending."""
        for s, buf, i in self.hidden.values():
            if s.tape is self and s.buf is None:
                if s.i == i:
                    s.buf = buf
                else:
                    self.rebound.append((s, i))
        self.hidden, self.watch = {}, None

    def written(self, versions: dict[int, int]) -> list[tuple[int, int, int]]:
        """(entry, entry of the new value, how many writes) of sources that were written in place."""
        return [
            (leaf, s.i, s.version - versions[id(s)])
            for s, _, leaf in self.hidden.values()
            if id(s) in versions and s.i != leaf
        ]

    def place(self) -> Any:
        """How far the tape is, for `back_to`."""
        lists = (self.key, self.values, self.leaves, self.scalars, self.marks, self.offsets)
        return [(x, len(x)) for x in lists], self.n, self.budget, dict(self.views), set(self.hidden)

    def back_to(self, place: Any) -> None:
        """Forgets what was recorded since, of which nothing is used any more."""
        lists, n, self.budget, self.views, hidden = place
        for x, length in lists:
            del x[length:]
        for s in self.watch.fresh.values():
            if s.tape is self and s.i >= n:
                s.tape, s.i = None, -1
        self.n, self.hidden = n, {k: x for k, x in self.hidden.items() if k in hidden}

    def undo(self, versions: dict[int, int]) -> None:
        """Makes everything as it was before the function ran."""
        for s, buf, _ in self.hidden.values():
            s.buf, s.tape, s.i = buf, None, -1
            if id(s) in versions:
                s.version = versions[id(s)]


class Attempt:
    """One try at capturing a function for some arguments."""

    def __init__(self, fn: Callable, observer: Observer, earlier: Sample | None = None) -> None:
        self.fn, self.observer = fn, observer
        self.earlier = earlier  # of a capture for other floats
        self.sample: Sample | None = None
        self.dynamic = False  # whether floats among the arguments are run-time numbers
        self.watch = Watch()
        self.watch.steps = self.steps = Steps(self)
        self.guards = Guards(observer.names, observer.by_string)
        self.region: Region | None = None
        self.entry: tuple[Callable, Callable] | None = None
        self.result: Any = None

    def run(self, args: tuple, kwargs: dict) -> Any:
        """The function's result; afterwards `entry` is (check, replay), or `watch.defeated` says why not."""
        guards = self.guards
        try:
            guards.modes()
            self.floats = Floats(args, kwargs, self.earlier is not None)
            guards.arguments_of(args, kwargs, self.floats.values)
            guards.walk("fn", self.fn)
            for space, names in self.observer.frames():
                guards.globals_of(space, names)
            guards.space["fn"] = self.fn
            sources = list(guards.tensors.values())
            check = guards.function([e for _, e in sources])
            self._prepare([t for t, _ in sources])
        except Unsupported as reason:
            self.watch.defeat(str(reason))
            return self.fn(*args, **kwargs)
        got = check(args, kwargs)
        if got is None or [id(t) for t in got] != [id(t) for t in self.sources]:
            self.watch.defeat("its guards do not hold for the call they were made for")
            return self.fn(*args, **kwargs)
        return self._traced(check, args, kwargs)

    # before

    def _prepare(self, sources: list[Tensor]) -> None:
        self.sources = sources
        flush()
        for t in sources:
            if t.meta.device is META:
                raise Unsupported("it can reach a tensor on the meta device")
            evaluate(t._s)
            if t._retains or (t.meta.dtype is not t._s.meta.dtype):
                raise Unsupported("it can reach a view of another dtype")
        flush()

    def _traced(self, check: Callable, args: tuple, kwargs: dict) -> Any:
        watch, sources = self.watch, self.sources
        outer = LOCAL.tape
        tape = self.tape = CaptureTape(outer.grad, watch)
        self.before = [(t._rg, t._g, t._s, t.meta, t._off, t._grad) for t in sources]
        self.versions = {id(t._s): t._s.version for t in sources}
        self.start = next_seq()
        storages = {id(t._s): t._s for t in sources}
        tape.sources = set(storages)
        for s in storages.values():
            tape.hide(s)
        self._set_boundaries()
        states = _random_states(self.guards.generators)
        casts, autocast.STATE.cache = autocast.STATE.cache, {}
        LOCAL.tape = tape
        done = False
        try:
            with self.observer.watching(watch):
                given, named = self.floats.instead(args, kwargs)
                result = self.fn(*given, **named)
            done = True
        finally:
            self.restore_histories()
            if not done or (autocast.STATE.cache and watch.defeated):
                autocast.STATE.cache.update(casts)
            else:
                autocast.STATE.cache = casts
            if not done:
                self._go_on()
        if self.steps.page is not None:
            self._finish_steps(check, args, kwargs, states, result)
            return result
        if watch.defeated is None:
            try:
                if self.steps.calls:
                    raise Unsupported("it calls zero_grad() and not backward()")
                self._check_state(check, args, kwargs, states)
                self._make_region(result)
            except Unsupported as reason:
                watch.defeat(str(reason))
            except Exception as error:
                watch.defeat(f"{type(error).__name__} in its derivative: {error}")
        if watch.defeated is not None:
            self._go_on()
            if self.floats.found:
                result = tree_map(lambda x: float(x) if type(x) is Traced else x, result)
            return result
        tape.undo(self.versions)
        tape.watch = None
        LOCAL.tape = Tape(LOCAL.__dict__, outer.grad, outer.born)
        for g, state in states:
            g.set_state(state)
        region: Any = self.region
        names = [self.guards.tensors[id(sources[k])][1] for k in region.sources]
        for expression, x in self.floats.values.items():
            if self.dynamic:
                self.guards.need(f"type({expression}) is float")
            else:
                self.guards.walk(expression, x)
        names += self.floats.found if self.dynamic else ()
        check = self.guards.function(names)
        self.entry = (check, region.replay)
        tape.key, tape.leaves, tape.values, tape.views = [], [], [], {}
        found = check(args, kwargs)
        if found is None:
            raise AssertionError("guards fail for the call they were made for")
        return region.replay(found)

    def _finish_steps(
        self, check: Callable, args: tuple, kwargs: dict, states: list, result: Any
    ) -> None:
        """As the end of `_traced` for a function with steps, which was run for good."""
        watch, steps, guards = self.watch, self.steps, self.guards
        if watch.defeated is not None:
            return
        try:
            self._check_state(check, args, kwargs, states)
            page: Any = steps.page
            self.text = read_tape(page.key)
            outputs, places, spec = steps.outputs(result)
            region = self._region(page, outputs, None, page.n, [outputs[0]], steps.grads)
            for expression, x in self.floats.values.items():
                guards.walk(expression, x)
            steps.guard(guards)
            check = guards.function(
                [guards.tensors[id(self.sources[k])][1] for k in region.sources]
            )
            if check(args, kwargs) is None:
                raise Unsupported("its guards do not hold for the call they were made for")
            self.entry = (check, steps.replay(region, places, spec))
        except Unsupported as reason:
            watch.defeat(str(reason))

    def _set_boundaries(self) -> None:
        self.ends = []
        for k, t in enumerate(self.sources):
            if t._g is not None:
                t._g = end = boundary(k, t)
                self.ends.append(end)

    def restore_histories(self) -> None:
        for t, (_, g, *_rest) in zip(self.sources, self.before, strict=True):
            if type(t._g) is Boundary:
                t._g = g

    def _go_on(self) -> None:
        """The captured tape becomes the thread's ordinary one, unless it was evaluated."""
        self.tape.show()

    # after

    def _check_state(self, check: Callable, args: tuple, kwargs: dict, states: list) -> None:
        stepped = self.steps.page is not None
        if LOCAL.tape is not self.tape and not stepped:
            raise Unsupported("a value is looked at while the function runs")
        now = [(t._rg, t._g, t._s, t.meta, t._off, t._grad) for t in self.sources]
        if any(
            x is not y
            for a, b in zip(self.before, now, strict=True)
            for x, y in zip(a[:5] if stepped else a, b, strict=not stepped)
        ):
            raise Unsupported("it changes a tensor's history, gradient or memory")
        got = check(args, kwargs)
        if got is None or [id(t) for t in got] != [id(t) for t in self.sources]:
            raise Unsupported("it changes what it depends on")
        known = [g for g, _ in states]
        for _, _, arguments in self.watch.draws:
            if any(isinstance(x, Generator) and x not in known for x in arguments):
                raise Unsupported("it draws from a generator that the guards do not know")
        after = [g.get_state() for g, _ in states]
        for g, state in states:
            g.set_state(state)
        for _, draw, arguments in self.watch.draws:
            draw(*arguments)
        again = [g.get_state() for g, _ in states]
        same = all(_equal(a, b) for a, b in zip(after, again, strict=True))
        if not same:
            for (g, _), state in zip(states, after, strict=True):
                g.set_state(state)
            raise Unsupported("it draws random numbers in a way that cannot be repeated")

    def _make_region(self, result: Any) -> None:
        tape = self.tape
        leaves, spec = tree_flatten(result)
        outputs = [self.output(x) for x in leaves]
        n_forward = tape.n
        wanting = [o for o in outputs if o.grad]
        storages = [o.tensor._s for o in outputs if o.kind == "result"]
        if wanting and len({id(s) for s in storages}) != len(storages):
            raise Unsupported("two results share memory")
        grads = self.trace_backward(wanting) if wanting else None
        self.text = read_tape(tape.key)
        if self.floats.values:
            hidden = {i for _, _, i in tape.hidden.values()}
            constants = [
                b.numpy("uint8", (b.nbytes,)).tobytes()
                for e, (b, _) in leaf_buffers(tape)
                if e not in hidden
            ]
            self.sample = Sample(tape, self.floats, constants)
            seen = self.observer.computes or not self.floats.untouched()
            if self.earlier is not None and not seen:
                self.dynamic = self.sample.follows(self.earlier)
        self.region = self._region(tape, outputs, spec, n_forward, wanting, grads)

    def output(self, x: Any) -> Output:
        """How a replay makes something that the function returns."""
        if not isinstance(x, Tensor):
            if type(x) is Traced:
                x = float(x)
            if isinstance(x, (int, float, complex, str, bool, type(None))):
                return Output("constant", x)
            raise Unsupported(f"it returns a {type(x).__name__}")
        place = {id(t): k for k, t in enumerate(self.sources)}.get(id(x))
        if place is not None:
            return Output("source", x, place)
        if type(x) is not Tensor or x.meta.device is META or set(x.__dict__) - _TENSOR_FIELDS:
            raise Unsupported(f"it returns a {type(x).__name__} of a special kind")
        hidden = self.tape.hidden.get(id(x._s))
        owners = [k for k, t in enumerate(self.sources) if t._s is x._s]
        if owners:
            if x._rg or (x._base is not None and x._base._rg):
                raise Unsupported("it returns a view of an argument that wants gradients")
            return Output("alias", x, owners[0])
        if x.meta.dtype is not x._s.meta.dtype:
            raise Unsupported("it returns a view of another dtype")
        if hidden is None and x._s.tape is not self.tape:
            self.tape.leaf(x._s)  # a constant that nothing read
            if self.watch.defeated:
                raise Unsupported(self.watch.defeated)
        return Output("result", x, grad=x._rg)

    def trace_backward(self, wanting: list[Output]) -> tuple[list[int], list[Any]]:
        """Records the derivative; (entries of the results' gradients, gradients of the sources)."""
        self._check_nodes([o.tensor._g for o in wanting])
        self.templates = Templates(
            self.tape,
            self.sources,
            [o.tensor._g for o in wanting],
            list(self.floats.found.values()),
        )
        tape = self.tape
        trace = Trace(self.ends)
        entries = []
        tape.grad, before = False, tape.grad
        sources = {id(t): k for k, t in enumerate(self.sources)}
        got: list[Any] = [None] * len(self.sources)
        self.seeds = []
        try:
            for o in wanting:
                m = o.tensor.meta.plain()
                seed = wrap(_fresh_storage(m), m)
                tape.hide(seed._s)
                entries.append(seed._s.i)
                self.seeds.append(seed)
                trace.send(o.tensor._g, seed)
            trace.run()
            for edge, grad in trace.found():
                k = edge.place if type(edge) is Boundary else sources.get(id(edge))
                if k is None:
                    raise Unsupported("it makes tensors that want gradients of their own")
                want = self.sources[k].meta.dtype
                got[k] = grad if grad.meta.dtype is want else grad.to(want)
        finally:
            tape.grad = before
        if LOCAL.tape is not tape or self.watch.defeated:
            raise Unsupported(self.watch.defeated or "its derivative looks at values")
        return entries, got

    def _check_nodes(self, edges: list[Any]) -> None:
        stack, seen = list(edges), set()
        while stack:
            node = stack.pop()
            node = node[0] if type(node) is tuple else node
            if not isinstance(node, Node) or type(node) is Boundary or node in seen:
                continue
            seen.add(node)
            if node.seq < self.start:
                raise Unsupported("gradients go to a tensor that the guards do not know")
            if type(node).op is None:
                raise Unsupported(f"it uses the custom function {type(node).__name__}")
            if node.special:
                raise Unsupported("a hook hangs on one of its intermediate values")
            if any(type(k) in (Packed, PackedResult) for k in node.saved or ()):
                raise Unsupported("hooks take part in saving its values")
            stack += node.edges

    def _region(self, tape: CaptureTape | Page, outputs: list[Output], spec: Any, n_forward: int,
                wanting: list[Output], grads: Any) -> Region:  # fmt: skip
        text, sources = self.text, self.sources
        owner = {r.first + k: r for r in text for k in range(len(r.metas))}
        place_of = {}  # entry of a leaf -> place of its source
        for k in reversed(range(len(sources))):
            place_of[tape.hidden[id(sources[k]._s)][2]] = k
        seeds: list[int] = []
        results: list[Any] = []
        edges: list[int] = []
        kept: list[int] = []
        back = None
        if grads is not None:
            seeds = grads[0]
            edges = [k for k, g in enumerate(grads[1]) if g is not None]
            results = [grads[1][k] for k in edges]
            given = [
                e
                for e, r in owner.items()
                if e < n_forward and r.inst.op not in (LEAF, VIEW, VIEW_AT)
            ]
            back = Segment("compiled_backward", text, [g._s.i for g in results], [*given, *seeds])
            kept = [e for e in back.inputs if e < n_forward and owner[e].inst.op is not LEAF]
        writes = [
            (place_of[leaf], entry, more, leaf)
            for leaf, entry, more in tape.written(self.versions)
            if leaf in place_of
        ]
        order: dict[int, int] = {}
        for e in [*(o.tensor._s.i for o in outputs if o.kind == "result"), *kept]:
            order.setdefault(e, len(order))
        forward = Segment("compiled", text, [*order, *(w[1] for w in writes)], ())
        forward.inputs += [w[3] for w in writes if w[3] not in forward.inputs]
        region = Region(self._name(), forward, outputs, spec, order, place_of, tape, self.watch)
        region.edges, region.edge_metas = edges, [sources[k].meta for k in edges]
        region.code = getattr(getattr(self.fn, "__func__", self.fn), "__code__", None)
        for o in outputs:
            if o.kind == "alias":
                o.off -= sources[o.place]._off
        if self.dynamic:
            region.floats = list(self.floats.found.values())
        region.link(writes, sources, [t._off for t in sources], tape)
        self._guard_memory([sources[w[0]] for w in writes])
        if back is not None:
            region.backward = Backward(region, back, seeds, results, tape)
            region.backward.prepare_again(self.templates, text, tape)
        region.finish()
        return region

    def _guard_memory(self, written: list[Tensor]) -> None:
        """Guards who shares memory with whom, as far as a replay depends on it."""
        guards = self.guards
        groups: dict[int, list[Tensor]] = {}
        for t in self.sources:
            groups.setdefault(id(t._s), []).append(t)
        for group in groups.values():
            names = [guards.tensors[id(t)][1] for t in group]
            for name in names[1:]:
                guards.need(f"{name}._s is {names[0]}._s")
            if len(group) > 1 or any(group[0]._s is t._s for t in written):
                for name, t in zip(names, group, strict=True):
                    guards.need(f"{name}._off == {t._off}")
        if written and guards.arguments:
            firsts = [guards.tensors[id(group[0])][1] + "._s" for group in groups.values()]
            guards.need(f"len({{{', '.join(firsts)}}}) == {len(firsts)}")

    def _name(self) -> str:
        return getattr(self.fn, "__qualname__", type(self.fn).__name__)


_TENSOR_FIELDS = {"_s", "meta", "_off", "_rg", "_g", "_grad", "_base", "_made", "_views", "_quiet"}


def _fresh_storage(m: Any) -> Storage:
    s = Storage()
    s.tape, s.i, s.meta, s.version, s.pin = None, -1, m, 0, None
    s.buf = alloc(max(m.numel * m.dtype.itemsize, 1))
    s.buf.numpy("uint8", (s.buf.nbytes,))[:] = 0
    return s


def _random_states(found: list[Any]) -> list[tuple[Any, Any]]:
    generators = {id(g): g for g in (default_generator, *found)}
    return [(g, g.get_state()) for g in generators.values()]


def _equal(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a._values(), b._values()))


__all__ = ["Attempt"]
