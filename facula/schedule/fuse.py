"""Fusion: which values get memory, and which are computed together in one kernel.

Values that may need memory (`candidates.py`) are placed, in order, into groups (`group.py`): a group is
one kernel over a domain, a shape with the axes it reduces over. A candidate joins the last group it depends on, or another
with its domain, if everything it reads from that group is read at the very element being computed.
"""

from __future__ import annotations

import math

from facula.graph.ir import Val
from facula.schedule.affine import (
    Expr,
    NeedSplit,
    Unfusable,
    split,
    strided_base,
    through_view,
    zero,
)
from facula.schedule.candidates import (
    LEAVES,
    MAX_READS,
    VIEWS,
    Candidates,
    is_native,
    read_from_memory,
    stores,
)
from facula.schedule.group import Group

LOOKBACK = 12
COLUMN_ROWS = 2048  # a stripe of columns this high has left the cache when its end is reached
MAX_MEMBERS = 16  # of one kernel: what a loop has made many of gets kernels that come again
MAX_REDUCED_LATE = 6  # members from which on an elementwise kernel takes no reduction any more
MAX_CUTS = 6  # loop dims cut until an index map is affine
MAX_FORCED = 20  # values that get memory so that one can be computed


class _StartAgain(Exception):
    """A value that was inlined needs memory: placing has to begin anew."""


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
        self.candidates = (
            Candidates(self.order, self.users, self.heavy, self.wanted).found() | self.forced
        )
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

    # placing

    def _place_all(self) -> None:
        for v in self.order:
            if v.op == "out":
                self.stage[v.id] = self.stage[v.srcs[0].id]
            elif v.id in self.heavy:
                if stores(v):
                    self._prepare_stores(v)
                else:
                    for s, below in zip(v.srcs, read_from_memory(v), strict=True):
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
            if self.in_memory(s) or s.op in ("const", "scalar"):
                continue
            safe = whole or all(x is not v.srcs[0] for x in self.inputs(s))
            if not safe or not self.store_group(s):
                if s.id not in self.stage:
                    self._force(s)

    def store_group(self, s: Val) -> Group | None:
        """A domain over which s can be computed and stored somewhere, or None."""
        group = Group(-1, s.shape)
        if self.in_memory(s):
            group.places = {s.id: group.exprs()}
            return group
        for _ in range(MAX_CUTS):
            try:
                group.places = {s.id: group.exprs()}
                self.inlined |= self._check(group, s) | {s.id}
                return group
            except NeedSplit as need:
                group.cut(need.dim, need.inner)
            except Unfusable:
                return None
        return None

    def in_memory(self, v: Val) -> bool:
        """Whether v is not computed where it is read: it lies in memory, or is in a group."""
        return v.id in self.candidates or v.id in self.heavy or v.op in ("buffer", "out")

    def inputs(self, v: Val) -> list[Val]:
        """The values in memory that computing v reads."""
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
            if self.in_memory(s):
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
        for _ in range(MAX_FORCED):
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
        if not 0 < k < x.ndim or math.prod(x.shape[k:]) < 64:
            return False
        most = min(64, math.prod(x.shape[:k]) // 16)  # as many runs as keep a few threads busy
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
            if not group.axes and len(group.members) >= MAX_REDUCED_LATE:
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
        for _ in range(MAX_CUTS):
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
            if self.in_memory(v) or v.op in ("const", "scalar", "iota"):
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
    if math.prod(group.shape[d] for d in group.axes) <= COLUMN_ROWS:
        return False
    members, full = {m.id for m in group.members}, math.prod(group.shape)
    if any(m.numel == full for m in group.members):
        return False
    return any(s.id in members and s.numel < full for s in reads)


def _fits(group: Group, v: Val) -> bool:
    """A quick look whether v's elements could stand in the group's domain."""
    if v.shape == group.shape:
        return True
    n = v.numel
    full = math.prod(group.shape)
    if n == full and n > 1:
        return True
    outer = math.prod(k for d, k in enumerate(group.shape) if d not in group.axes)
    return bool(group.axes) and n == outer
