"""Fusion: which values get memory, and which are computed together in one kernel.

Candidates are values that may need memory: results, what heavy operators read, reductions, and what
is dear and used twice. They are placed, in order, into groups: a group is one kernel over a domain
(`shape`, with the axes it reduces over). A candidate joins the last group it depends on, or another
with its domain, if everything it reads from that group is read at the very element being computed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field

from facula.graph.complexes import PARTED
from facula.graph.ir import BINARY, TERNARY, UNARY, Val
from facula.graph.meta import contiguous_strides
from facula.schedule.affine import (
    Expr,
    NeedSplit,
    Unfusable,
    dot,
    row_major,
    split,
    strided_base,
    through_view,
    zero,
)
from facula.schedule.early import Early

LEAVES = frozenset({"buffer", "const", "scalar", "iota", "buffer_at"})
VIEWS = frozenset({"reshape", "permute", "expand", "slice"})
POINTWISE = UNARY | BINARY | TERNARY | {"cast", "copy", "check", "pad", "take", "gather"}
# what kernels do with complex numbers: they take them apart, put them together and move them
COMPLEX = frozenset({"real", "imag", "complex"})
MOVES = LEAVES - {"scalar"} | VIEWS | {"copy", "as_strided"}
POINTWISE |= COMPLEX
DEAR = frozenset(
    "exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc erfinv "
    "lgamma digamma sigmoid pow atan2 hypot take gather div sqrt rsqrt floordiv mod fmod truncdiv".split()
)
NATIVE = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64".split()
)
STORES = frozenset(
    {"cat", "boxes", "write", "write_at"}
)  # their operands are computed where they are stored
LOOKBACK = 12
COLUMN_ROWS = 2048  # a stripe of columns this high has left the cache when its end is reached
MAX_READS = 24  # operands of one kernel
MAX_LOADS = 14  # of one value
MAX_MEMBERS = 16  # of one kernel: what a loop has made many of gets kernels that come again


def is_native(v: Val) -> bool:
    """Whether loop programs can compute this value."""
    names = {v.dtype.name, *(s.dtype.name for s in v.srcs)}
    if names & PARTED:
        return names <= NATIVE | PARTED and (v.op in COMPLEX or v.op in MOVES)
    if not names <= NATIVE:
        return False
    return v.op in LEAVES or v.op in VIEWS or v.op in POINTWISE or v.op in ("reduce", "as_strided")


def stores(v: Val) -> bool:
    """Whether v's operands are computed where it stores them; what NumPy stores reads them from memory."""
    return v.op in STORES and v.dtype.name in NATIVE | PARTED


def puts_natively(v: Val) -> bool:
    """Whether there is a kernel for this put or scatter."""
    _, mode, tag = v.arg
    if tag is not None or v.dtype.name not in NATIVE or not v.numel or not v.ndim:
        return False
    return v.srcs[1].dtype.name == "int64" and not (v.dtype.name == "bfloat16" and mode != "set")


def _checked_memory(v: Val) -> bool:
    """Whether v is an index that lies in memory and has only been checked."""
    if v.op != "check" or v.srcs[0].dtype.name != "int64":
        return False
    got = strided_base(v.srcs[0], frozenset())
    return got is not None and got[0].op in ("buffer", "buffer_at", "out")


class _StartAgain(Exception):
    """A value that was inlined needs memory: placing has to begin anew."""


@dataclass
class Group:
    """One kernel: a domain and the candidates computed over it."""

    number: int
    shape: tuple[int, ...]
    axes: tuple[int, ...] = ()
    members: list[Val] = field(default_factory=list)
    cuts: dict[int, tuple[int, ...]] = field(default_factory=dict)  # domain dim -> loop sizes
    places: dict[int, tuple[Expr, ...]] = field(default_factory=dict)  # member -> where it stands
    reads: set[int] = field(default_factory=set)
    columns: dict[int, Val] = field(default_factory=dict)  # sums over runs of rows -> of what
    product: Val | None = None  # what the group is the epilogue of

    @property
    def computed(self) -> list[Val]:
        """All that its step computes: the members, after the product whose epilogue they are."""
        if self.product is None:
            return self.members
        v = self.product
        return [v.srcs[0] if v.op == "out" else v, *self.members]

    @property
    def loop_sizes(self) -> list[int]:
        """Sizes of the loop dims, in order."""
        if not self.cuts:
            return list(self.shape)
        out: list[int] = []
        for d, n in enumerate(self.shape):
            out.extend(self.cuts.get(d, (n,)))
        return out

    @property
    def loop_inner(self) -> list[bool]:
        """Which loop dims are reduced over."""
        out: list[bool] = []
        for d in range(len(self.shape)):
            out.extend([d in self.axes] * len(self.cuts.get(d, (1,))))
        return out

    def exprs(self) -> tuple[Expr, ...]:
        """The position along each domain dim."""
        if not self.cuts:
            return _units(len(self.shape))
        n = len(self.loop_sizes)
        out: list[Expr] = []
        at = 0
        for d, size in enumerate(self.shape):
            parts = self.cuts.get(d, (size,))
            coefs = [0] * n
            for k, s in enumerate(contiguous_strides(parts)):
                coefs[at + k] = s
            out.append((tuple(coefs), 0))
            at += len(parts)
        return tuple(out)

    def cut(self, loop_dim: int, inner: int) -> None:
        """Cuts a loop dim in two."""
        at = 0
        for d, size in enumerate(self.shape):
            parts = self.cuts.get(d, (size,))
            if loop_dim < at + len(parts):
                k = loop_dim - at
                self.cuts[d] = (*parts[:k], parts[k] // inner, inner, *parts[k + 1 :])
                return
            at += len(parts)
        raise AssertionError("no such loop dim")

    def place(self, v: Val) -> tuple[Expr, ...]:
        """Where v's elements stand in the domain; Unfusable if they don't."""
        exprs = self.exprs()
        if v.shape == self.shape:
            return exprs
        n = len(self.loop_sizes)
        squeezed = [
            (k, e) for d, (k, e) in enumerate(zip(self.shape, exprs, strict=True)) if k != 1
        ]
        outer = [
            (k, e)
            for d, (k, e) in enumerate(zip(self.shape, exprs, strict=True))
            if k != 1 and d not in self.axes
        ]
        mine = [k for k in v.shape if k != 1]
        for dims in (squeezed, outer):
            if mine == [k for k, _ in dims]:
                it = iter([e for _, e in dims])
                return tuple([zero(n) if k == 1 else next(it) for k in v.shape])
        if v.numel == _prod(self.shape):
            linear = dot(exprs, contiguous_strides(self.shape), n)
            return tuple(split(linear, v.shape, self.loop_sizes)) if v.shape else ()
        raise Unfusable


@functools.lru_cache(64)
def _units(n: int) -> tuple[Expr, ...]:
    """The position along each of n loop dims."""
    return tuple([(tuple([int(d == k) for k in range(n)]), 0) for d in range(n)])


def _prod(xs: Iterable[int]) -> int:
    out = 1
    for x in xs:
        out *= x
    return out


def _picks(u: Val, index: Val) -> bool:
    """Whether a value is the index of a take, which reads it again for each row."""
    return u.op == "take" and u.srcs[1] is index and u.numel > index.numel


def _to_whole(v: Val) -> bool:
    """Whether a value is a cast that AVX2 has no instruction for: it is done number by number."""
    return v.op == "cast" and v.dtype.name == "int64" and v.srcs[0].dtype.kind == "f"


def _under_views(v: Val) -> Val:
    """The value that views are views of."""
    while v.op in VIEWS:
        v = v.srcs[0]
    return v


def _shared_places(index: Val) -> set[int]:
    """What an index computes for few elements and then reads for many: it is computed once."""
    out: set[int] = set()
    stack, seen = [index], set()
    while stack:
        v = stack.pop()
        base = _under_views(v)
        if base.op not in POINTWISE or base.id in seen:
            continue
        seen.add(base.id)
        if base.numel < v.numel:
            if base.op not in ("take", "gather"):
                out.add(base.id)
        elif base.numel > 1:
            stack.extend(base.srcs)
    return out


class Fusion:
    """Groups and heavy steps of one graph, in order of running."""

    def __init__(self, order: list[Val], wanted: set[int]) -> None:
        self.order = order
        self.wanted = wanted
        self.users: dict[int, list[Val]] = {}
        for v in order:
            for s in {s.id: s for s in v.srcs}.values():
                self.users.setdefault(s.id, []).append(v)
        self.heavy = {
            v.id for v in order
            if not is_native(v) and v.op != "out" and (v.op not in LEAVES or v.op in ("const", "scalar"))
        }  # fmt: skip
        self.forced: set[int] = set()
        self.partial: dict[int, Val] = {}  # sums over runs of rows -> of what
        self.made: dict[int, tuple[Val, ...]] = {}  # value -> what was made to come before it
        self._inputs: dict[int, list[Val]] = {}
        while not self._placed():
            pass

    def _placed(self) -> bool:
        """Places everything; False if a value turned out to need memory after it had been inlined."""
        self.candidates = self._candidates() | self.forced
        self._inputs.clear()
        self.stage: dict[int, int] = {}  # candidate or heavy value -> number of its step
        self.steps: list[Group | Val] = []
        self.group_of: dict[int, Group] = {}
        self.inlined: set[int] = set()
        self._blocked: Val | None = None
        self._current: Group | None = None
        try:
            self._place_all()
        except _StartAgain:
            return False
        finally:
            if self.made:
                self.order = [x for v in self.order for x in (*self.made.get(v.id, ()), v)]
                self.made = {}
        return True

    def _force(self, v: Val) -> None:
        """Gives v memory, computed now."""
        self.forced.add(v.id)
        if v.id in self.inlined:
            raise _StartAgain
        self.candidates.add(v.id)
        self._inputs.clear()
        self._place(v)

    # candidates

    def _candidates(self) -> set[int]:
        found: set[int] = set()
        for v in self.order:
            if v.op in ("const", "scalar", "buffer", "iota"):
                if v.id in self.wanted and v.op != "buffer" and v.id not in self.heavy:
                    found.add(v.id)
                continue
            if v.id in self.heavy:
                for s in () if stores(v) else self._operands_of(v):
                    self._needs_memory(s, found)
                if v.op in ("write", "write_at") and stores(v):
                    self._needs_memory(v.srcs[0], found)
            elif v.op in ("as_strided", "buffer_at"):
                self._needs_memory(v.srcs[0], found, flat=True)
            elif v.op in ("take", "gather"):
                self._needs_memory(v.srcs[0], found)
                found |= _shared_places(v.srcs[1])
            if v.op == "reduce":
                found.add(v.id)
            if v.id in self.wanted and v.id not in self.heavy and v.op != "out":
                found.add(v.id)
        self._add_shared(found)
        found |= Early(
            self.order, self.users, self.heavy, found, self.wanted, lambda v: v.op in POINTWISE
        ).values()
        self._bound_reads(found)
        return found

    @staticmethod
    def _operands_of(v: Val) -> tuple[Val, ...]:
        """What a heavy operator reads from memory: a put takes indices as they were before a check."""
        if v.op in ("put", "scatter") and puts_natively(v) and _checked_memory(v.srcs[1]):
            return v.srcs[0], v.srcs[1].srcs[0], v.srcs[2]
        return v.srcs

    def _needs_memory(self, v: Val, found: set[int], flat: bool = False) -> None:
        """v is read by something that wants an address: the base of its views, or v itself.

        `flat`: the reader wants its elements one after the other.
        """
        if (
            v.op in ("buffer", "buffer_at", "out")
            or v.id in self.heavy
            or v.dtype.name not in NATIVE | PARTED
        ):
            return
        if v.op in VIEWS or v.op == "as_strided":
            got = strided_base(v, found)
            if flat and got is not None and not row_major(v.shape, got[1]):
                got = None
            if got is not None and got[0].op not in ("const", "scalar", "iota"):
                base = got[0]
                if base.op not in ("buffer", "buffer_at", "out") and base.id not in self.heavy:
                    found.add(base.id)
                return
        found.add(v.id)

    def _add_shared(self, found: set[int]) -> None:
        """Dear values with several users, and what would make a kernel too large."""
        cost: dict[int, int] = {}
        loads: dict[int, int] = {}
        for v in self.order:
            if v.op in LEAVES or v.id in self.heavy or v.op == "out" or v.id in found:
                cost[v.id] = loads[v.id] = 0 if v.op in ("const", "scalar") else 1
                continue
            total = sum(cost[s.id] for s in v.srcs) + (
                8 if v.op in DEAR or _to_whole(v) else 0 if v.op in VIEWS else 1
            )
            reads = sum(loads[s.id] for s in v.srcs)
            users = self.users.get(v.id, ())
            spread = any(u.op == "expand" or _picks(u, v) for u in users)
            mean = spread and v.op in DEAR and any(_under_views(s).op == "reduce" for s in v.srcs)
            shared = len(users) > 1 or spread
            if v.op in POINTWISE and (
                mean or (total > 10 and shared) or total > 200 or reads > MAX_LOADS
            ):
                found.add(v.id)
                total = reads = 1
            cost[v.id], loads[v.id] = total, reads

    def _bound_reads(self, found: set[int]) -> None:
        """Parts of long sums get memory, so that no kernel has to read more than it may."""
        reads: dict[int, set[int]] = {}  # what computing a value reads

        def of(v: Val) -> set[int]:
            base = _under_views(v)
            return {base.id} if base.id in found else reads[base.id]

        for v in self.order:
            if v.op in LEAVES or v.id in self.heavy or v.op == "out":
                reads[v.id] = set() if v.op in ("const", "scalar", "iota") else {v.id}
                continue
            total = set[int]().union(*map(of, v.srcs))
            while len(total) > MAX_READS:
                part = max(v.srcs, key=lambda s: len(of(s)))
                if len(of(part)) < 2:
                    break
                found.add(_under_views(part).id)
                total = set[int]().union(*map(of, v.srcs))
            reads[v.id] = total

    # placing

    def _place_all(self) -> None:
        for v in self.order:
            if v.op == "out":
                self.stage[v.id] = self.stage[v.srcs[0].id]
            elif v.id in self.heavy:
                if stores(v):
                    self._prepare_stores(v)
                else:
                    for s, below in zip(v.srcs, self._operands_of(v), strict=True):
                        if s is not below and s.id not in self.candidates:
                            self.inlined.add(s.id)
                            s = below
                        self._read_in_place(s)
                self.stage[v.id] = len(self.steps)
                self.steps.append(v)
            elif v.id in self.candidates:
                self._place(v)

    def _prepare_stores(self, v: Val) -> None:
        """Operands that cannot be computed in place, or read what is overwritten, get memory."""
        whole = v.op in ("cat", "boxes")
        operands = v.srcs if whole else v.srcs[1:]
        for s in operands:
            if (
                s.id in self.candidates
                or s.id in self.heavy
                or s.op in ("out", "buffer", "const", "scalar")
            ):
                continue
            safe = whole or all(x is not v.srcs[0] for x in self.inputs(s))
            if not safe or not self.store_group(s):
                if s.id not in self.stage:
                    self._force(s)

    def store_group(self, s: Val) -> Group | None:
        """A domain over which s can be computed and stored somewhere, or None."""
        group = Group(-1, s.shape)
        if s.id in self.candidates or s.id in self.heavy or s.op in ("out", "buffer"):
            group.places = {s.id: group.exprs()}
            return group
        for _ in range(6):
            try:
                group.places = {s.id: group.exprs()}
                self.inlined |= self._check(group, s) | {s.id}
                return group
            except NeedSplit as need:
                group.cut(need.dim, need.inner)
            except Unfusable:
                return None
        return None

    def inputs(self, v: Val) -> list[Val]:
        """Values with memory (or in groups) that computing v reads."""
        found = self._inputs.get(v.id)
        if found is None:
            found = self._inputs[v.id] = self._inputs_of(v)
        return found

    def _inputs_of(self, v: Val) -> list[Val]:
        out: dict[int, Val] = {}
        seen: set[int] = set()
        stack = list(v.srcs)
        while stack:
            s = stack.pop()
            if s.id in seen:
                continue
            seen.add(s.id)
            if s.id in self.candidates or s.id in self.heavy or s.op in ("buffer", "out"):
                out[s.id] = s
            else:
                stack.extend(s.srcs)
        return list(out.values())

    def _place(self, v: Val) -> None:
        reads = self.inputs(v)
        after = max((self.stage[s.id] for s in reads if s.id in self.stage), default=-1)
        domain = v.srcs[0].shape if v.op == "reduce" else v.shape
        axes = v.arg[1] if v.op == "reduce" else ()
        after = self._together(reads, after)
        if v.id in self.partial:
            if any(self._add_columns(g, v, self.partial[v.id], reads) for g in self._rows_of(v)):
                return
        elif v.op == "reduce" and self._in_rows(v, reads):
            reads = self.inputs(v)
            domain, after = v.srcs[0].shape, self.stage[reads[0].id]
        for number in self._choices(after, reads):
            group = self.steps[number]
            if isinstance(group, Group) and self._join(group, v, domain, axes, reads):
                return
        for _ in range(20):
            group = Group(len(self.steps), tuple(domain), tuple(axes))
            self._blocked = None
            if self._join(group, v, domain, axes, reads):
                self.steps.append(group)
                return
            blocked = self._blocked
            if blocked is None or blocked.id in self.stage or blocked is v:
                break
            self._force(blocked)  # what cannot be read in place gets memory first
            reads = self.inputs(v)
        raise AssertionError(f"{v!r} cannot be computed by itself")

    def _together(self, reads: list[Val], after: int) -> int:
        """Makes one of the row groups that a value reads from, where the later ones could have been
        computed with the first: rows then stay in cache from one to the next. The last step read."""
        numbers = {self.group_of[s.id].number for s in reads if s.id in self.group_of}
        groups = [self.steps[k] for k in sorted(numbers)]
        rows = [g for g in groups if isinstance(g, Group) and g.axes]
        for k, later in enumerate(rows):
            for first in rows[:k]:
                if (first.shape, first.axes) == (later.shape, later.axes) and first.members:
                    if self._absorb(first, later):
                        break
        return max((self.stage[s.id] for s in reads if s.id in self.stage), default=after)

    def _absorb(self, first: Group, later: Group) -> bool:
        """Moves a group's members to an earlier one; False, and nothing moved, if some cannot."""
        mine = {m.id for m in later.members}
        inputs = {m.id: self.inputs(m) for m in later.members}
        for s in (s for m in later.members for s in inputs[m.id]):
            if s.id not in mine and self.stage.get(s.id, -1) > first.number:
                return False
        kept = (list(first.members), first.axes, dict(first.cuts), dict(first.places),
                set(first.reads), dict(first.columns))  # fmt: skip
        for m in later.members:
            axes = m.arg[1] if m.op == "reduce" else ()
            domain = m.srcs[0].shape if m.op == "reduce" else m.shape
            if m.id in later.columns:
                joined = self._add_columns(first, m, later.columns[m.id], inputs[m.id])
            else:
                joined = self._join(first, m, domain, axes, inputs[m.id])
            if not joined:
                (first.members, first.axes, first.cuts, first.places, first.reads,
                 first.columns) = kept  # fmt: skip
                for back in later.members:
                    self.group_of[back.id], self.stage[back.id] = later, later.number
                return False
        later.members, later.places, later.reads, later.columns = [], {}, set(), {}
        return True

    # sums over rows, in kernels that go through the rows

    def _rows_of(self, v: Val) -> list[Group]:
        """Groups that go through the rows which v, partial sums over them, is of; latest first."""
        x = self.partial[v.id]
        inner = tuple(range(v.arg[1][0], x.ndim))
        recent = self.steps[-LOOKBACK:]
        return [g for g in reversed(recent)
                if isinstance(g, Group) and g.members and g.shape == x.shape and g.axes == inner]  # fmt: skip

    def _in_rows(self, v: Val, reads: list[Val]) -> bool:
        """Sums over all leading dims (a layer norm's weight gradient) are summed up run by run in a
        kernel that goes through the same rows anyway; v becomes the sum of those partial sums."""
        x = v.srcs[0]
        kind, axes = v.arg
        k = len(axes)
        if kind != "sum" or axes != tuple(range(k)) or x.dtype.name not in ("float32", "float64"):
            return False
        if not 0 < k < x.ndim or _prod(x.shape[k:]) < 64:
            return False
        most = min(64, _prod(x.shape[:k]) // 16)  # as many runs as keep a few threads busy
        run = next((n for n in range(most, 3, -1) if x.shape[k - 1] % n == 0), 0)
        if not run:
            return False
        lead, inner, n = x.shape[: k - 1], x.shape[k:], x.shape[k - 1] // run
        cut = v.g.make("reshape", x.dtype, (*lead, n, run, *inner), (x,))
        part = v.g.make("reduce", x.dtype, (*lead, n, 1, *inner), (cut,), ("sum", (k,)))
        self.partial[part.id] = x
        late = max((self.stage[s.id] for s in reads if s.id in self.stage), default=-1)
        ids = {s.id for s in reads}
        for group in self._rows_of(part):
            near = group.number == late or (group.number > late and group.reads & ids)
            if near and self._add_columns(group, part, x, reads):
                whole = v.g.make("reshape", x.dtype, (*lead, n, *inner), (part,))
                self.users[x.id] = [u for u in self.users[x.id] if u is not v] + [cut]
                self.users[cut.id], self.users[part.id], self.users[whole.id] = [part], [whole], [v]
                v.srcs = (whole,)
                self.candidates.add(part.id)
                self._inputs.clear()
                self.made[v.id] = (cut, part, whole)
                return True
        del self.partial[part.id]
        return False

    def _add_columns(self, group: Group, part: Val, x: Val, reads: list[Val]) -> bool:
        """Partial sums join a group that goes through the rows of x."""
        group.columns[part.id] = x
        if len(group.reads | {s.id for s in reads}) <= MAX_READS:
            if self._settle(group, part, reads, group.axes, dict(group.cuts)):
                return True
        del group.columns[part.id]
        return False

    @staticmethod
    def _run_place(group: Group, m: Val) -> tuple[Expr, ...]:
        """Where partial sums stand: the innermost loop over rows must be the run that they are over."""
        x, k, sizes = group.columns[m.id], m.arg[1][0], group.loop_sizes
        exprs = group.exprs()
        run = x.shape[k - 1] // m.shape[k - 1]
        which, within = split(exprs[k - 1], (m.shape[k - 1], run), sizes)
        outer = [d for d, inner in enumerate(group.loop_inner) if not inner and sizes[d] != 1]
        unit = tuple(int(d == outer[-1]) for d in range(len(sizes)))
        if within != (unit, 0) or sizes[outer[-1]] != run:
            raise Unfusable
        return (*exprs[: k - 1], which, zero(len(sizes)), *exprs[k:])

    def _choices(self, after: int, reads: list[Val]) -> list[int]:
        """Groups to try: the one depended on, then later ones that share operands, latest first."""
        ids = {s.id for s in reads}
        first = [after] if after >= 0 else []
        rest = []
        for number in range(len(self.steps) - 1, max(after, len(self.steps) - 1 - LOOKBACK), -1):
            group = self.steps[number]
            if isinstance(group, Group) and number != after and (group.reads & ids):
                rest.append(number)
        return first + rest

    def _join(
        self, group: Group, v: Val, domain: tuple[int, ...], axes: tuple[int, ...], reads: list[Val]
    ) -> bool:
        before = (group.axes, dict(group.cuts))
        if tuple(domain) == group.shape and (v.op == "reduce" or v.id in self.wanted):
            if _far_below(group, reads):
                return False
        if v.op == "reduce":
            if tuple(domain) != group.shape:
                return False
            if group.axes and group.axes != tuple(axes):
                return False
            if not group.axes and group.members and not self._may_reduce(group, axes):
                return False
            group.axes = tuple(axes)
        elif not _fits(group, v):
            return False
        full = len(group.members) >= MAX_MEMBERS
        if full or (group.members and len(group.reads | {s.id for s in reads}) > MAX_READS):
            group.axes, group.cuts = before
            return False
        return self._settle(group, v, reads, *before)

    def _settle(self, group: Group, v: Val, reads: list[Val], axes: tuple[int, ...],
                cuts: dict[int, tuple[int, ...]]) -> bool:  # fmt: skip
        """Makes v a member if everything it reads can be had there; else the group is as it was,
        with these axes and cuts."""
        for _ in range(6):
            try:
                if group.axes == axes and group.cuts == cuts:  # members stand where they stood
                    group.places = {**group.places, v.id: self._where(group, v)}
                else:
                    members = [*group.members, v]
                    group.places = {m.id: self._where(group, m) for m in members}
                seen: set[int] = set()
                for m in [*group.members, v] if group.cuts != cuts else [v]:
                    seen |= self._check(group, m)
                if _inner_loops(group) > 3:
                    raise Unfusable(v.srcs[0] if v.op == "reduce" else None)
                self.inlined |= seen
                group.members.append(v)
                group.reads |= {s.id for s in reads}
                self.group_of[v.id] = group
                self.stage[v.id] = group.number
                return True
            except NeedSplit as need:
                group.cut(need.dim, need.inner)
            except Unfusable as blocked:
                self._blocked = blocked.source
                break
        group.axes, group.cuts = axes, cuts
        group.places = {m.id: self._where(group, m) for m in group.members}
        return False

    @staticmethod
    def _may_reduce(group: Group, axes: tuple[int, ...]) -> bool:
        return len(group.members) < 6

    def _where(self, group: Group, m: Val) -> tuple[Expr, ...]:
        if m.id in group.columns:
            return self._run_place(group, m)
        if m.op == "reduce":
            exprs = group.exprs()
            n = len(group.loop_sizes)
            return tuple([zero(n) if d in m.arg[1] else e for d, e in enumerate(exprs)])
        return group.place(m)

    def _check(self, group: Group, m: Val) -> set[int]:
        """What m inlines when it is computed in the group; NeedSplit or Unfusable where it can't be."""
        sizes = group.loop_sizes
        self._current = group
        exprs = group.exprs() if m.op == "reduce" else group.places[m.id]
        members = {x.id for x in group.members}
        seen: set[tuple] = set()
        inlined: set[int] = set()
        stack = (
            list(self._operands(m, exprs, sizes))
            if m.op not in ("buffer", "const", "scalar", "iota", "out")
            else []
        )
        if m.id in group.columns:
            stack = [(group.columns[m.id], exprs)]
        while stack:
            v, at = stack.pop()
            if (v.id, at) in seen:
                continue
            seen.add((v.id, at))
            if v.id in members:
                if group.places[v.id] != at:
                    raise Unfusable
                continue
            if (
                v.id in self.candidates
                or v.id in self.heavy
                or v.op in ("buffer", "out", "const", "scalar", "iota")
            ):
                continue
            inlined.add(v.id)
            stack.extend(self._operands(v, at, sizes))
        return inlined

    def _operands(
        self, v: Val, at: tuple[Expr, ...], sizes: list[int]
    ) -> list[tuple[Val, tuple[Expr, ...]]]:
        if v.op in ("buffer_at", "as_strided"):
            self._is_memory(v.srcs[0])
            return []
        if v.op in VIEWS:
            return self._viewed(v, at, sizes)
        if v.op == "reduce":
            return [(v.srcs[0], at)]
        if v.op == "pad":
            lo, _ = v.arg
            return [(v.srcs[0], tuple([(e[0], e[1] - k) for e, k in zip(at, lo, strict=True)]))]
        if v.op == "take":
            self._is_memory(v.srcs[0])
            axis = v.arg[0]
            return [(v.srcs[1], at[axis : axis + v.srcs[1].ndim])]
        if v.op == "gather":
            self._is_memory(v.srcs[0])
            return [(v.srcs[1], at)]
        return [(s, at) for s in v.srcs]

    def _viewed(
        self, v: Val, at: tuple[Expr, ...], sizes: list[int]
    ) -> list[tuple[Val, tuple[Expr, ...]]]:
        """What a view reads: its source, or memory directly where the index map is not affine."""
        try:
            return [(v.srcs[0], through_view(v, at, sizes))]
        except Unfusable:
            got = strided_base(v, self.candidates - {v.id})
            if got is not None:
                base = got[0]
                placed = base.id in self.stage and self.group_of.get(base.id) is not self._current
                if placed or base.op == "buffer":
                    self._read_in_place(v.srcs[0])
                    return []
            raise Unfusable(v.srcs[0]) from None

    def _is_memory(self, v: Val) -> None:
        """v must be a strided view of memory written by an earlier step."""
        got = strided_base(v, self.candidates)
        if got is None:
            raise Unfusable
        if self.group_of.get(got[0].id) is self._current:
            raise Unfusable  # still being written by this very kernel
        self._read_in_place(v)

    def _read_in_place(self, v: Val) -> None:
        """Views between v and its memory are read as they lie: they must not get memory later."""
        while (v.op in VIEWS or v.op == "as_strided") and v.id not in self.candidates:
            self.inlined.add(v.id)
            v = v.srcs[0]


def _inner_loops(group: Group) -> int:
    """How many nested loops a row takes; kernels have three at most."""
    return sum(
        1 for n, inner in zip(group.loop_sizes, group.loop_inner, strict=True) if inner and n != 1
    )


def _far_below(group: Group, reads: list[Val]) -> bool:
    """Whether what reads these over the group's domain is a second pass down long columns.

    Columns are summed in stripes. Where one does not stay in cache until it is read again, kernels
    of their own, of which each walks in the order of memory, take less time. Not so where the group
    computes elements that would then need memory (the exponentials of a softmax).
    """
    last = len(group.shape) - 1
    if not group.axes or last in group.axes or group.shape[last] == 1:
        return False
    if _prod(group.shape[d] for d in group.axes) <= COLUMN_ROWS:
        return False
    members, full = {m.id for m in group.members}, _prod(group.shape)
    if any(m.numel == full for m in group.members):
        return False
    return any(s.id in members and s.numel < full for s in reads)


def _fits(group: Group, v: Val) -> bool:
    """A quick look whether v's elements could stand in the group's domain."""
    if v.shape == group.shape:
        return True
    n = v.numel
    full = _prod(group.shape)
    if n == full and n > 1:
        return True
    outer = _prod(k for d, k in enumerate(group.shape) if d not in group.axes)
    return bool(group.axes) and n == outer
