"""Plans that run natively: groups and heavy steps over one table of addresses."""

from __future__ import annotations

import bisect
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from facula import config
from facula.graph import reference
from facula.graph.ir import BINARY, TERNARY, UNARY, Val
from facula.graph.meta import contiguous_strides
from facula.graph.reference import BadIndex, Failed, decode, encode
from facula.kernel.program import ITEMSIZE
from facula.kernel.step import Step
from facula.kernel.transpose import plan_transpose
from facula.llvm.loops import LoopKernel, pack
from facula.runtime.buffers import alloc_arranged, arrange
from facula.runtime.jit import compile_kernels
from facula.runtime.parts import in_parts
from facula.runtime.plan import NativePlan as NativeRun
from facula.runtime.workspace import workspace
from facula.runtime.written_run import Slots, written_run
from facula.schedule import direct, epilogue
from facula.schedule.candidates import stores
from facula.schedule.codegen import Call, Memory, Place
from facula.schedule.fuse import Fusion
from facula.schedule.group import Group
from facula.schedule.lower import Lowered
from facula.schedule.programs import group_call, store_call
from facula.schedule.reference_plan import reachable, value_of
from facula.schedule.templates import PLANNERS
from facula.schedule.templates.boxes import one_step


@dataclass
class Block:
    """Memory of one or several values that share it."""

    size: int
    first: int
    last: int
    wanted: bool = False
    slot: int = -1
    offset: int = 0  # bytes, in the arena
    leaf: int = -1  # the leaf whose memory it takes over


# values made by replacing parts of another, their first operand
REPLACING = frozenset(("write", "write_at", "put", "scatter"))


_offset = operator.attrgetter("offset")


@dataclass
class HostStep:
    """A primitive evaluated by its NumPy meaning."""

    val: Val
    outs: list[tuple[Val, Place]]


_BY_ELEMENTS = UNARY | BINARY | TERNARY
_RUN = 1 << 14  # elements whose intermediate values stay in the cache


def evaluate_into(v: Val, args: list[Any], target: Any) -> None:
    """The NumPy meaning of an elementwise primitive, run by run, on all threads."""
    flat = target.reshape(-1)
    many = [
        x if x.size == 1 else np.ascontiguousarray(np.broadcast_to(x, v.shape)).reshape(-1)
        for x in (np.asarray(x) for x in args)
    ]
    function: Any = reference.UNARY.get(v.op) or reference.BINARY.get(v.op)
    direct = isinstance(function, np.ufunc) and v.dtype.kind == "c"
    direct = direct and all(x.dtype == flat.dtype for x in many)

    def part(first: int, last: int) -> None:
        for low in range(first, last, _RUN):
            out = flat[low : min(low + _RUN, last)]
            here = [x.reshape(()) if x.size == 1 else x[low : low + out.size] for x in many]
            if direct:
                with np.errstate(all="ignore"):
                    function(*here, out=out)
            else:
                out[...] = encode(np.ascontiguousarray(reference.evaluate(v, here)), v.dtype)

    in_parts(flat.size, part)


AGAIN = 16  # runs of a plan before its run is written out: that takes a millisecond
WRITTEN_SLOTS = 200  # of a plan with more, what is decided in loops is a small part


class NativePlan:
    """Runs a tape: address table, one native call per stretch of native steps."""

    def __init__(self, builder: Builder) -> None:
        self.n_leaves = builder.n_leaves
        self.derived = builder.derived
        self.out_sizes = builder.out_sizes
        self.arranged = arrange(builder.out_sizes)
        self.sources = builder.sources  # for each slot after the leaves: a leaf taken over, or -1
        self.arena_bytes = builder.arena_bytes
        self.constants = builder.memory.constants
        self.segments = builder.segments
        self.results = builder.results
        self.n_slots = builder.n_slots
        self.kernels = builder.kernels
        self.complex_numbers = builder.complex_numbers
        self.fails = builder.last_failing >= 0
        self.runs = 0
        self.written: Any = None  # the run of a plan that comes again, see `written_run`
        origins = builder.low.graph.origins
        self.checks = [(tag, wrap, origins.get(v, -1)) for tag, wrap, v in builder.memory.checks]

    def run(self, leaves: list[Any], scalars: list[Any]) -> list[tuple[int, Any]]:
        """Buffers of the wanted entries."""
        if self.written is not None:
            found: list[tuple[int, Any]] = self.written(leaves, scalars)
            return found
        self.runs += 1
        if self.runs == AGAIN:
            self.written = self._written(len(scalars))
        outs = iter(alloc_arranged(self.arranged))
        bufs = leaves + [next(outs) if leaf < 0 else leaves[leaf] for leaf in self.sources]
        bufs.append(workspace(self.arena_bytes))
        addrs = [b.addr for b in bufs]
        for base, k, item in self.derived:
            addrs.append(addrs[base] + (scalars[k] * item if k >= 0 else item))
        numbers = scalars + self.constants if self.constants else scalars
        if self.complex_numbers:  # only host steps read them
            numbers = [0 if isinstance(x, complex) else x for x in numbers]
        for segment in self.segments:
            if type(segment) is NativeRun:
                if segment.run(addrs, numbers):
                    self._raise(segment.status)
            else:
                segment(bufs, addrs, scalars)
        return [(entry, bufs[slot]) for entry, slot in self.results]

    def _written(self, n_scalars: int) -> Any:
        """The run as a function of its own, where it is one native call of few buffers."""
        native = self.segments[0] if len(self.segments) == 1 else None
        if type(native) is not NativeRun or self.complex_numbers or self.n_slots > WRITTEN_SLOTS:
            return None
        slots = Slots(self.n_leaves, self.sources, self.arranged, self.arena_bytes, self.derived)
        return written_run(native, slots, n_scalars, self.constants, self.results, self._raise)

    def _raise(self, status: tuple[int, int, int, int]) -> None:
        _, index, size, number = status
        tag, wrap, entry = self.checks[number]
        raise Failed(entry) from BadIndex(
            index + size if index < 0 and not wrap else index, size, tag
        )


class Builder:
    """Builds one native plan."""

    def __init__(self, low: Lowered, free: tuple[bool, ...], scalars: list[Any]) -> None:
        self.low, self.free = low, free
        self.n_leaves = len(low.leaves)
        self.memory = Memory(n_scalars=len(scalars))
        self.kinds = "".join("d" if isinstance(x, float) else "q" for x in scalars)
        self.complex_numbers = any(isinstance(x, complex) for x in scalars)
        self.wanted = {low.values[entry].id for entry in low.wanted}
        order = reachable([low.values[e] for e in low.wanted])
        self.fusion = Fusion(order, self.wanted)
        self.vals = {v.id: v for v in self.fusion.order}
        self.steps = self.fusion.steps
        self.derived: list[tuple[int, int, int]] = []
        self.results: list[tuple[int, int]] = []
        self.kernels: list[Any] = []
        self.descriptions: list[Any] = []
        self.readers: dict[int, list[int]] = {}
        self.blocks: dict[int, Block] = {}
        self.skip_copy: set[int] = set()
        # by the id of a product with an epilogue: for its results, slots that they may lie in
        self.replaced: dict[int, dict[int, set[int]]] = {}
        self.direct: dict[int, direct.Direct] = {}  # results that lie in another value's memory
        self.stored_already: set[tuple[int, int]] = set()  # copies, and what of them is in place
        self.first_store: dict[int, int] = {}  # value -> the step that stores the first of it
        self.work_slot, self.work_at, self.work_bytes = -1, 0, 0
        self.copy_slot, self.copy_bytes, self.copy_used, self.copy_entry = -1, 0, 0, -1

    def build(self) -> NativePlan:
        """All decisions, in order."""
        self._find_readers()
        epilogue.attach(self)
        self._find_readers()
        direct.attach(self)
        self.stored = self._stored()
        self.last_failing = self._last_failing()
        self._make_blocks()
        self._assign_slots()
        calls = self._write_all()
        if self.work_bytes:
            self.arena_bytes = self.work_at + self.work_bytes
        if self.copy_bytes:
            at = (self.arena_bytes + 63) // 64 * 64
            self.derived[self.copy_entry] = (self.arena_slot, -1, at)
            self.arena_bytes = at + self.copy_bytes
        self._donate()
        if config.VERIFY:
            self._verify(order=list(self.vals.values()))
        self._compile(calls)
        self._name_results()
        return NativePlan(self)

    def _verify(self, order: list[Val]) -> None:
        from facula.schedule import verify

        verify.verify_graph(order)
        verify.verify_fusion(self.fusion, self.wanted)
        verify.verify_memory(self)
        verify.verify_donation(self)

    # who reads what -----------------------------------------------------------------------------

    def _find_readers(self) -> None:
        self.readers.clear()
        for number, step in enumerate(self.steps):
            fused = isinstance(step, Group)
            for m in step.computed if isinstance(step, Group) else [step]:
                for s in self.fusion.inputs(m):
                    own = fused and (self.fusion.group_of.get(s.id) is step or s is step.product)
                    if not own:
                        self.readers.setdefault(s.id, []).append(number)

    def _stored(self) -> set[int]:
        return {c for c in self.fusion.candidates if c in self.wanted or self.readers.get(c)}

    def _last_failing(self) -> int:
        """The last step that can find a bad index, or runs on the host, where anything is raised.

        Memory of leaves is only taken over after it: up to there all can be had back.
        """
        risky = {v.id for v in self.vals.values() if v.op in ("check", "host")}
        last = -1
        for number, step in enumerate(self.steps if risky else ()):
            seen: set[int] = set()
            stack = list(step.computed) if isinstance(step, Group) else [step]
            for m in list(stack):
                stack += m.srcs
            while stack and number > last:
                v = stack.pop()
                if v.id in risky:
                    last = number
                if v.id not in seen and v.id not in self.fusion.stage:
                    seen.add(v.id)
                    stack += v.srcs
        return last

    # memory ---------------------------------------------------------------------------------------

    def _bytes(self, v: Val) -> int:
        return max(v.numel * v.dtype.itemsize, 1)

    def _make_blocks(self) -> None:
        for number, step in enumerate(self.steps):
            if isinstance(step, Group):
                for m in step.members:
                    if m.id in self.stored:
                        self._block(m, number)
                v = step.product
                if v is not None and (v.id in self.wanted or self.readers.get(v.id)):
                    self._block(v, number)
            elif step.op in REPLACING:
                self._write_block(step, number)
            elif step.op == "host" or step.op.startswith("template:"):
                for out in self.fusion.users.get(step.id, ()):
                    if out.op == "out" and out.id not in self.direct:
                        self._block(out, number)
            else:
                self._block(step, number)

    def _last(self, v: Val) -> int:
        return max(self.readers.get(v.id, [-1]))

    def _block(self, v: Val, number: int) -> None:
        first = self.first_store.get(v.id, number)
        self.blocks[v.id] = Block(
            self._bytes(v), first, max(self._last(v), number), v.id in self.wanted
        )

    def _write_block(self, v: Val, number: int) -> None:
        """A write takes over the memory of the old value if nobody reads that any more."""
        old = v.srcs[0]
        while old.op == "reshape" and old.id not in self.blocks:
            old = old.srcs[0]
        reads_old = old.id not in self.wanted and self._last(old) <= number and stores(v)
        if reads_old and not any(self._touches(s, old) for s in v.srcs[1:]):
            block = self.blocks.get(old.id)
            if block is not None:
                block.last = max(block.last, self._last(v), number)
                block.wanted = v.id in self.wanted
                self.blocks[v.id] = block
                self.skip_copy.add(v.id)
                return
            # a put looks at its own indices before it writes
            own = number == self.last_failing and v.op in ("put", "scatter")
            if old.op == "buffer" and self.free[old.arg] and (number > self.last_failing or own):
                self._block(v, number)
                self.blocks[v.id].leaf = old.arg
                self.skip_copy.add(v.id)
                return
        self._block(v, number)

    def _touches(self, s: Val, old: Val) -> bool:
        """Whether reading an operand reads the old value."""
        return s is old or (
            s.id not in self.fusion.stage and any(x is old for x in self.fusion.inputs(s))
        )

    def _assign_slots(self) -> None:
        """Leaves, results, memory taken over from leaves, the arena, then views with offsets."""
        slot = self.n_leaves
        self.out_slots: list[Block] = []
        unique = {id(b): b for b in self.blocks.values()}.values()
        for b in unique:
            if b.wanted or b.leaf >= 0:
                b.slot = slot
                slot += 1
                self.out_slots.append(b)
        self.arena_slot = slot
        slot += 1
        for b in unique:
            if b.slot < 0:
                b.slot = self.arena_slot
        self._arena_now([b for b in unique if b.slot == self.arena_slot])
        self.n_slots = slot
        for v in self.vals.values():
            if v.op == "buffer":
                self.memory.places[v.id] = Place(v.arg, 0)
            elif v.id in self.blocks:
                self._set_place(v)
        for number, where in self.direct.items():
            home = self.memory.places[where.home.id]
            self.memory.places[number] = Place(home.slot, home.offset + where.offset, where.strides)
        for v in self.vals.values():
            if v.op == "buffer_at":
                self._derive(v, v.srcs[0], v.arg[0], v.arg[1])

    def _set_place(self, v: Val) -> None:
        b = self.blocks[v.id]
        self.memory.places[v.id] = Place(b.slot, b.offset // v.dtype.itemsize)

    def _derive(self, v: Val, base: Val, strides: tuple[int, ...], scalar: int) -> Place:
        """A slot whose address is another's plus a run-time offset."""
        item = base.dtype.itemsize
        at = self.memory.places[base.id]
        self.derived.append((at.slot, scalar, item))
        place = Place(self.n_slots, at.offset, strides)
        self.n_slots += 1
        if v.op == "buffer_at":
            self.memory.places[v.id] = place
        return place

    def _arena_now(self, blocks: list[Block]) -> None:
        """First fit by lifetime."""
        placed: list[Block] = []  # by offset
        top = 0
        for b in sorted(blocks, key=lambda b: (-b.size, b.first)):
            at, first, last, size = 0, b.first, b.last, b.size
            for other in placed:
                if other.offset >= at + size:
                    break
                if other.first <= last and first <= other.last and other.offset + other.size > at:
                    at = (other.offset + other.size + 63) // 64 * 64
            b.offset = at
            bisect.insort(placed, b, key=_offset)
            top = max(top, at + size)
        self.arena_bytes = top
        self._placed = placed

    def workspace(self, nbytes: int) -> int:
        """A slot with memory for the step being written; steps share it."""
        if self.work_slot < 0:
            self.work_slot = self.n_slots
            self.n_slots += 1
            self.work_at = (self.arena_bytes + 63) // 64 * 64
            self.derived.append((self.arena_slot, -1, self.work_at))
        self.work_bytes = max(self.work_bytes, nbytes)
        return self.work_slot

    def copied(self, v: Val) -> tuple[list[Call], Place]:
        """Steps that copy an operand of the step being written, row-major, and where to."""
        place = self.spare(v)
        return [self.store(v, place)], place

    def spare(self, v: Val) -> Place:
        """Memory for a value like v while the step is written; not shared within it."""
        if self.copy_slot < 0:
            self.copy_slot = self.n_slots
            self.n_slots += 1
            self.copy_entry = len(self.derived)
            self.derived.append((self.arena_slot, -1, 0))
        at = self.copy_used
        self.copy_used = at + (self._bytes(v) + 63) // 64 * 64
        self.copy_bytes = max(self.copy_bytes, self.copy_used)
        return Place(self.copy_slot, at // v.dtype.itemsize)

    # steps ----------------------------------------------------------------------------------------

    def _write_all(self) -> list[Any]:
        """Native steps (as Calls or Steps) and host steps, in order."""
        out: list[Any] = []
        self.calls_of: dict[int, list[Any]] = {}
        for number, step in enumerate(self.steps):
            made = []
            if not isinstance(step, Group):
                made = self._heavy(step)
            elif step.product is not None:
                made = epilogue.write(self, step)
            elif any(
                m.id in self.stored and (m.id, m.id) not in self.stored_already
                for m in step.members
            ):
                made = [group_call(self.fusion, step, self.memory, self.stored)]
            self.calls_of[number] = made
            if made:
                self.descriptions.append((step, made))
            out += made
        return out

    def _heavy(self, v: Val) -> list[Any]:
        if stores(v):
            writer = {"cat": self._cat, "boxes": self._boxes}.get(v.op, self._write)
            return writer(v)
        name = v.op.removeprefix("template:")
        if name == "host":
            name = f"host:{v.arg[0].__name__}"
        planner = PLANNERS.get(name)
        if planner is not None:
            self.copy_used = 0
            steps = planner(self, v)
            if steps is not None:
                return steps
        return [self._host(v)]

    def store(self, v: Val, place: Place) -> Call:
        """Computes v and stores it, row-major, at a strided place."""
        group = self.fusion.store_group(v) or Group(-1, v.shape)
        return store_call(self.fusion, group, self.memory, v, place)

    def checked(self, v: Val) -> Call:
        """Looks whether indices are in range, and writes nothing."""
        group = self.fusion.store_group(v) or Group(-1, v.shape)
        return store_call(self.fusion, group, self.memory, v, None)

    def _cat(self, v: Val) -> list[Any]:
        out = self.memory.places[v.id]
        strides = contiguous_strides(v.shape)
        steps = []
        start = 0
        for s in v.srcs:
            if (v.id, s.id) not in self.stored_already:
                place = Place(out.slot, out.offset + start * strides[v.arg], strides)
                steps.append(self.store(s, place))
            start += s.shape[v.arg]
        return steps

    def _boxes(self, v: Val) -> list[Any]:
        whole = one_step(self, v)
        if whole is not None:
            return whole
        out = self.memory.places[v.id]
        strides = contiguous_strides(v.shape)
        steps = []
        for s, start in zip(v.srcs, v.arg, strict=True):
            at = out.offset + sum(k * n for k, n in zip(start, strides, strict=True))
            steps.append(self.store(s, Place(out.slot, at, strides)))
        return steps

    def _write(self, v: Val) -> list[Any]:
        steps = []
        place = self.memory.places[v.id]
        if v.id not in self.skip_copy:
            steps.append(self.store(v.srcs[0], place))
        shape, strides, offset = v.arg
        if v.op == "write_at":
            target = self._derive(v, v, strides, offset)
        else:
            target = Place(place.slot, place.offset + offset, strides)
        new = v.srcs[1]
        steps.append(self.store(new, target))
        return steps

    def _host(self, v: Val) -> HostStep:
        if v.op == "host" or v.op.startswith("template:"):
            outs = [
                (u, self.memory.places[u.id])
                for u in self.fusion.users.get(v.id, ())
                if u.op == "out"
            ]
        else:
            outs = [(v, self.memory.places[v.id])]
        return HostStep(v, outs)

    def strided(self, v: Val) -> tuple[int, int, tuple[int, ...]] | None:
        """(slot, offset, strides) of an operand with memory, in elements; None if it has none."""
        return self.memory.strided(v)

    # the end ---------------------------------------------------------------------------------------

    def _donate(self) -> None:
        """Results take over the memory of leaves that nobody needs afterwards."""
        last_read = {v.arg: self._last(v) for v in self.vals.values() if v.op == "buffer"}
        viewed = {
            v.srcs[0].arg
            for v in self.vals.values()
            if v.op == "buffer_at" and v.srcs[0].op == "buffer"
        }
        sizes = [m.numel * m.dtype.itemsize for m in self.low.leaves]
        taken = {b.leaf for b in self.out_slots if b.leaf >= 0} | viewed
        by_size: dict[int, list[int]] = {}
        for k, size in enumerate(sizes):
            if self.free[k] and k not in taken:
                by_size.setdefault(size, []).append(k)
        for b in self.out_slots:
            choices = by_size.get(b.size, [])
            for k in choices if b.leaf < 0 and b.first > self.last_failing else ():
                if self._safe(k, b, last_read.get(k, -1)):
                    b.leaf = k
                    choices.remove(k)
                    break
        self.sources = [b.leaf for b in self.out_slots]
        self.out_sizes = [b.size for b in self.out_slots if b.leaf < 0]

    def _safe(self, leaf: int, b: Block, last: int) -> bool:
        """Whether the block may lie where the leaf does."""
        if last < b.first:
            return True
        if last > b.first:
            return False
        if leaf in self.replaced.get(id(self.steps[b.first]), {}).get(b.slot, ()):
            return True
        calls = self.calls_of.get(b.first, ())
        return len(calls) == 1 and isinstance(calls[0], Call) and _same_walk(calls[0], leaf, b.slot)

    def _compile(self, calls: list[Any]) -> None:
        kinds = self.kinds + "".join(
            "d" if isinstance(x, float) else "q" for x in self.memory.constants
        )
        runs: list[list[Step]] = []
        self.segments: list[Any] = []
        plan: list[Any] = []
        for call in calls:
            if isinstance(call, HostStep):
                plan.append(self._host_closure(call))
                continue
            step = call if isinstance(call, Step) else _step(call)
            if not plan or not isinstance(plan[-1], list):
                plan.append([])
                runs.append(plan[-1])
            if step.ntasks:
                plan[-1].append(step)
        table = compile_kernels([s.kernel for run in runs for s in run])
        self.kernels = [s for run in runs for s in run]
        for part in plan:
            if isinstance(part, list):
                if part:
                    self.segments.append(NativeRun(part, table, self.n_slots, kinds))
            else:
                self.segments.append(part)

    def _host_closure(self, step: HostStep) -> Any:
        v = step.val
        reads = [self._reader(s) for s in v.srcs]
        writes = [(place, o) for o, place in step.outs]
        origin = self.low.graph.origins.get(v.id, -1)
        multi = v.op == "host" or v.op.startswith("template:")
        low = self.low
        by_elements = v.op in _BY_ELEMENTS and v.numel > _RUN

        def target_of(bufs: list[Any], place: Place, out: Val) -> Any:
            if place.strides is not None:
                item = out.dtype.itemsize
                flat = bufs[place.slot].numpy(out.dtype.storage, (bufs[place.slot].nbytes // item,))
                steps = [s * item for s in place.strides]
                return np.lib.stride_tricks.as_strided(flat[place.offset :], out.shape, steps)
            flat = bufs[place.slot].numpy(out.dtype.storage, (place.offset + out.numel,))
            return flat[place.offset :].reshape(out.shape)

        def run(bufs: list[Any], addrs: list[int], scalars: list[Any]) -> None:
            try:
                args = [read(bufs, scalars) for read in reads]
                if by_elements:
                    ((place, _),) = writes
                    evaluate_into(v, args, target_of(bufs, place, v))
                    return
                got = value_of(v, args, low, bufs, scalars)
            except Exception as error:
                raise Failed(origin) from error
            for place, out in writes:
                value = got[out.arg] if multi else got
                target = target_of(bufs, place, out)
                target[...] = encode(np.ascontiguousarray(value), out.dtype)

        return run

    def _reader(self, v: Val) -> Any:
        """A function that gives v's values as an array."""
        where = self.strided(v)
        if where is None:
            low = self.low
            srcs = [self._reader(s) for s in v.srcs]
            return lambda bufs, scalars: value_of(
                v, [r(bufs, scalars) for r in srcs], low, bufs, scalars
            )
        slot, offset, strides = where
        shape, d = v.shape, v.dtype
        first = self.arena_slot + 1
        derived = self.derived

        def read(bufs: list[Any], scalars: list[Any]) -> Any:
            at, start = slot, offset
            if slot >= first:
                base, k, _ = derived[slot - first]
                at, start = base, offset + scalars[k]
            if 0 in shape:
                return decode(np.empty(shape, d.storage), d)
            item = d.itemsize
            flat = bufs[at].numpy(d.storage, (bufs[at].nbytes // item,))
            return decode(
                np.lib.stride_tricks.as_strided(flat[start:], shape, [s * item for s in strides]), d
            )

        return read

    def _name_results(self) -> None:
        self.results = [
            (entry, self.blocks[self.low.values[entry].id].slot) for entry in self.low.wanted
        ]
        self.arena_bytes = max(self.arena_bytes, 64)


def _same_walk(call: Call, leaf: int, slot: int) -> bool:
    """Whether a call reads a leaf only at the element it is about to store in a slot."""
    if call.program.n_inner:
        return False
    walks = dict(zip([a.buf for a in call.program.accesses], call.strides, strict=True))
    mine = [k for k, s in enumerate(call.slots) if s in (leaf, slot)]
    if any(k not in walks for k in mine):
        return False
    kinds = {(call.offsets[k], tuple(walks[k]), call.program.buffers[k]) for k in mine}
    if len(kinds) != 1:
        return False
    stored = False
    for s in call.program.stmts:
        if s.op == "store" and call.slots[s.args[0].buf] == slot:
            stored = True
        elif s.op == "load" and call.slots[s.args[0].buf] == leaf and stored:
            return False  # it would read what was just stored
    return True


_kernels: dict[Any, LoopKernel] = {}


def _transposed(call: Call) -> Step | None:
    """The step of a call that only copies, between layouts contiguous along different dims."""
    program = call.program
    ops = [s.op for s in program.stmts]
    if (
        program.n_inner
        or len(call.slots) != 2
        or ops not in (["load", "store"], ["load", "cast", "cast", "store"])
    ):
        return None
    load, store = program.stmts[0].args[0].buf, program.stmts[-1].args[0].buf
    dtype = program.buffers[load]
    if dtype != program.buffers[store] or len(program.stmts[0].args) > 1:
        return None
    walks = dict(zip([a.buf for a in program.accesses], call.strides, strict=True))
    src, dst = ((call.slots[k], call.offsets[k], walks[k]) for k in (load, store))
    return plan_transpose(call.outer, src, dst, ITEMSIZE[dtype])


def _step(call: Call) -> Step:
    copy = _transposed(call)
    if copy is not None:
        return copy
    kernel = _kernels.get(call.program)
    if kernel is None:
        if config.VERIFY:
            from facula.kernel.verify import verify

            verify(call.program)
        kernel = _kernels[call.program] = LoopKernel(call.program)
    args, ntasks, scratch, cost = pack(kernel.program, call.slots, call.offsets, call.outer, call.inner,
                                       call.strides, call.scalars, call.params)  # fmt: skip
    return Step(kernel, args, ntasks, scratch, cost)


__all__ = ["Builder", "NativePlan"]
