"""A group becomes a loop program with the arguments of its call."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.dtypes import dtype
from facula.graph.ir import BINARY, TERNARY, UNARY, Val
from facula.graph.meta import contiguous_strides
from facula.kernel.program import ACCESSING, STORES, Access, Phase, Program, Stmt
from facula.schedule.affine import Expr, Unfusable, dot, scaled, strided_base, through_view
from facula.schedule.candidates import VIEWS
from facula.schedule.fuse import Fusion
from facula.schedule.group import Group
from facula.schedule.keep import Keeper

# constants that change what code is best; all others are run-time numbers, so that kernels are
# shared between shapes (a mean divides by a size)
KEPT = frozenset((0, 1, -1, 2, 0.5, 3, 4, -2))
STASH_LIMIT = 1 << 18  # bytes of a row that may be kept between phases
OUTER_TILE = 64  # rows that a kernel with columns side by side works on at once, at most
SHORT_ROW = 4  # vectors go along the dim before a last one of so few elements
LONG_ROW = 16  # or, where nothing is reduced, along another of at least so many
HALVES = ("float16", "bfloat16")


@dataclass
class Place:
    """Where a value's elements are: a slot of the plan's address table, in elements from there."""

    slot: int
    offset: int
    strides: tuple[int, ...] | None = None  # None: contiguous


@dataclass
class Memory:
    """What codegen asks of the plan being built."""

    places: dict[int, Place] = field(default_factory=dict)  # value -> its memory
    scalar_slots: dict[tuple[str, Any], int] = field(default_factory=dict)
    constants: list[Any] = field(default_factory=list)
    n_scalars: int = 0
    checks: list[tuple[Any, bool, int]] = field(
        default_factory=list
    )  # tag, counts from the end, value

    def strided(self, v: Val, behind: bool = False) -> tuple[int, int, tuple[int, ...]] | None:
        """(slot, offset, strides) of a value in memory or a strided view of one, in elements.

        None if there is none. `behind`: not v's own memory, but what it is a view of.
        """
        places = self.places
        place = None if behind else places.get(v.id)
        if place is not None:
            return place.slot, place.offset, place.strides or contiguous_strides(v.shape)
        got = strided_base(v, places.keys() - {v.id} if v.id in places else places.keys())
        if got is None or got[0].id not in places:
            return None
        base, strides, offset = got
        place = places[base.id]
        if place.strides is not None and base.op != "buffer_at":
            return None
        return place.slot, place.offset + offset, strides

    def check_number(self, v: Val, tag: Any, wrap: bool = True) -> int:
        """What a bad index found by this value is reported with."""
        check = (tag, wrap, v.id)
        if check not in self.checks:
            self.checks.append(check)
        return self.checks.index(check)

    def check_of(self, v: Val) -> int:
        """The same, of a value that is a check."""
        _, tag, wrap = v.arg
        return self.check_number(v, tag, wrap)

    def constant(self, value: Any, floating: bool) -> int:
        """The scalar slot of a number known now."""
        key = ("d" if floating else "q", value)
        found = self.scalar_slots.get(key)
        if found is None:
            found = self.scalar_slots[key] = self.n_scalars + len(self.constants)
            self.constants.append(float(value) if floating else int(value))
        return found


@dataclass
class Call:
    """A loop program with everything `pack` wants."""

    program: Program
    slots: list[int]
    offsets: list[int]
    outer: list[int]
    inner: list[int]
    strides: list[list[int]]
    scalars: list[int]
    params: list[int]


class Writer:
    """Writes one group's program."""

    def __init__(self, fusion: Fusion, group: Group, memory: Memory, stored: set[int]) -> None:
        self.fusion, self.group, self.memory = fusion, group, memory
        self.stored = stored
        self.sizes = group.loop_sizes
        self.inner_dims = group.loop_inner
        self.has_inner = any(i and n != 1 for i, n in zip(self.inner_dims, self.sizes, strict=True))
        self.stmts: list[Stmt] = []
        self.known: dict[tuple, int] = {}
        self.phases: list[tuple[bool, int, int]] = []  # loop, first stmt, end
        self.operands: list[tuple[str, int, int]] = []  # dtype, slot, offset
        self.operand_of: dict[tuple, int] = {}
        self.access_strides: list[
            tuple[int, tuple[int, ...]]
        ] = []  # per operand: coefs over loop dims
        self.fetches: list[tuple[int, tuple[int, ...]]] = []  # picked place, coefs of the rest
        self.scalars: list[int] = []
        self.params: list[int] = []
        self.checks: list[tuple[int, Val]] = []  # which parameters are numbers of checks
        self.ready: dict[int, int] = {}  # member -> first phase in which it can be read
        self.reduced: dict[int, int] = {}  # reduce member -> its statement
        self.uses_index: set[int] = set()
        self.phase = 0
        self.members = {m.id: m for m in group.members}

    # order ------------------------------------------------------------------------------------

    def write(self) -> Call:
        """The program of the group."""
        phases = self._phases()
        last = max(phases.values(), default=0)
        in_loops = self.has_inner
        for p in range(last + 1):
            self.phase = p
            now = [m for m in self.group.members if phases[m.id] == p]
            full = [m for m in now if m.op == "reduce" or not self._outer(m)]
            outer = [m for m in now if m.op != "reduce" and self._outer(m)]
            if not in_loops:
                self._open(False)
                for m in now:
                    self._member(m)
                self._close()
                continue
            if outer:
                self._open(False)
                for m in outer:
                    self._member(m)
                self._close()
            if full:
                self._open(True)
                for m in full:
                    self._member(m)
                self._close()
            reduces = [m for m in full if m.id in self.reduced and m.id in self.stored]
            if reduces:
                self._open(False)
                for m in reduces:
                    self._store(m, self.reduced[m.id], self.group.places[m.id])
                self._close()
        return self._finish()

    def write_store(self, v: Val, place: Place | None) -> Call:
        """A program that computes one value and stores it at a place, if one is given."""
        exprs = self.group.exprs()
        self._open(False)
        if place is not None:
            self.store(v, place, exprs)
        elif v.dtype.kind == "c":
            self.pair(v, exprs, None)
        else:
            self.value(v, exprs, None)
        self._close()
        return self._finish()

    def _phases(self) -> dict[int, int]:
        """In which pass over the inner dims each member is computed."""
        out: dict[int, int] = {}
        after: dict[int, int] = {}  # when a member can be read
        for m in self.group.members:
            p = 0
            for s in self._member_reads(m):
                p = max(p, after[s])
            out[m.id] = p
            after[m.id] = p + 1 if m.op == "reduce" else p
        return out

    def _member_reads(self, m: Val) -> set[int]:
        found: set[int] = set()
        seen: set[int] = set()
        stack = list(m.srcs)
        while stack:
            s = stack.pop()
            if s.id in seen:
                continue
            seen.add(s.id)
            if s.id in self.members:
                found.add(s.id)
            elif not self.fusion.in_memory(s):
                stack.extend(s.srcs)
        return found

    def _outer(self, m: Val) -> bool:
        """Whether a member has one value per outer index."""
        return self._is_outer(self.group.places[m.id])

    def _is_outer(self, at: tuple[Expr, ...]) -> bool:
        return not any(c and self.inner_dims[d] for e in at for d, c in enumerate(e[0]))

    def _open(self, loop: bool) -> None:
        self.phases.append((loop, len(self.stmts), -1))

    def _close(self) -> None:
        loop, first, _ = self.phases.pop()
        if len(self.stmts) > first:
            self.phases.append((loop, first, len(self.stmts)))

    def _member(self, m: Val) -> None:
        if m.id in self.group.columns:
            value = self.value(self.group.columns[m.id], self.group.exprs(), None)
            self._store(m, value, self.group.places[m.id], "accumulate")
            outer = [d for d, n in enumerate(self.sizes) if n != 1 and not self.inner_dims[d]]
            self.uses_index.add(outer[-1])  # a loop of its own, over the rows of one sum
            return
        if m.op == "reduce":
            value = self.value(m.srcs[0], self.group.exprs(), None)
            if not self.has_inner:  # one element: itself
                value = self.stmt("const", m.dtype, (0,)) if m.arg[0].startswith("arg") else value
                self.reduced[m.id] = value
                if m.id in self.stored:
                    self._store(m, value, self.group.places[m.id])
            else:
                self.reduced[m.id] = self.stmt("reduce", m.dtype, (m.arg[0], value))
            return
        at = self.group.places[m.id]
        if m.id in self.stored:
            self.store(m, self.memory.places[m.id], at)
        elif m.dtype.kind != "c":
            self.value(m, at, None)

    # values -----------------------------------------------------------------------------------

    def stmt(self, op: str, d: dtype | str, args: tuple) -> int:
        """Appends a statement; its number."""
        self.stmts.append(Stmt(op, d if isinstance(d, str) else d.name, args))
        return len(self.stmts) - 1

    def value(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> int:
        """The statement that computes v's element at `at` (where the mask holds)."""
        outer = self._is_outer(at)
        key = (v.id, at, mask, -1 if outer else self.phase)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = self._value(v, at, mask)
        return found

    def _value(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> int:
        if v.id in self.members:
            if v.id in self.reduced:
                return self.reduced[v.id]
        elif v.id in self.memory.places:
            return self._load(v, at, mask)
        if v.op in ("buffer_at", "as_strided"):
            return self._load(v, at, mask)
        if v.op in VIEWS:
            try:
                inner = through_view(v, at, self.sizes)
            except Unfusable:
                return self._load(v, at, mask)
            return self.value(v.srcs[0], inner, mask)
        handler = getattr(self, "_do_" + v.op, None)
        if handler is not None:
            return handler(v, at, mask)
        args = [self.value(s, at, mask) for s in v.srcs]
        return self._elementwise(v, args)

    def _elementwise(self, v: Val, args: list[int]) -> int:
        name = v.op
        if name == "not" and v.dtype.kind != "b":
            name = "bitwise_not"
        if v.dtype.name in HALVES and name in UNARY | BINARY | TERNARY and name != "cast":
            return self._half(v, name, args)
        if v.srcs and v.srcs[0].dtype.name in HALVES and v.dtype.kind == "b" and name != "where":
            return self.stmt(
                name, v.dtype, tuple(args)
            )  # comparisons: halves are float32 values here
        return self.stmt(name, v.dtype, tuple(args))

    def _half(self, v: Val, name: str, args: list[int]) -> int:
        return self._rounded(self.stmt(name, dt.float32, tuple(args)), v.dtype)

    def _rounded(self, wide: int, d: dtype) -> int:
        """A float32 value rounded to a 16-bit type and widened again."""
        return self.stmt("cast", dt.float32, (self.stmt("cast", d, (wide,)),))

    def _do_cast(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> int:
        value = self.value(v.srcs[0], at, mask)
        have = v.srcs[0].dtype
        if v.dtype.name in HALVES:
            if have is not dt.float32 and have.name not in HALVES:
                value = self.stmt("cast", dt.float32, (value,))
            return self._rounded(value, v.dtype)
        if have.name in HALVES and v.dtype is dt.float32:
            return value
        return self.stmt("cast", v.dtype, (value,))

    def _do_copy(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> int:
        return self.value(v.srcs[0], at, mask)

    def _do_const(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> int:
        return self._number(v.arg, dt.float32 if v.dtype.name in HALVES else v.dtype)

    def _number(self, x: Any, d: dtype) -> int:
        if d.kind == "b" or x in KEPT or x != x or x in (math.inf, -math.inf):
            return self.stmt("const", d, (x,))
        if d.kind == "u" and d.itemsize == 8 and x >= 1 << 63:
            return self.stmt("const", d, (x,))
        return self._scalar(self.memory.constant(x, d.kind == "f"), d, d.kind == "f")

    def _do_scalar(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> int:
        slot, floating = v.arg
        d = dt.float32 if v.dtype.name in HALVES else v.dtype
        return self._scalar(slot, d, floating)

    def _scalar(self, slot: int, d: dtype, floating: bool) -> int:
        if slot not in self.scalars:
            self.scalars.append(slot)
        k = self.scalars.index(slot)
        as_stored = dt.float64 if floating else dt.int64
        if (d.kind == "f") == floating:
            return self.stmt("scalar", d, (k,))
        return self.stmt("cast", d, (self.stmt("scalar", as_stored, (k,)),))

    def _do_iota(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> int:
        return self.position(at[v.arg])

    def position(self, e: Expr) -> int:
        """An affine expression as an int64 value."""
        total: int | None = None
        for d, c in enumerate(e[0]):
            if not c:
                continue
            self.uses_index.add(d)
            term = self._index(d)
            if c != 1:
                term = self.stmt("mul", dt.int64, (term, self._param(c)))
            total = term if total is None else self.stmt("add", dt.int64, (total, term))
        if total is None:
            return self._param(e[1])
        return total if not e[1] else self.stmt("add", dt.int64, (total, self._param(e[1])))

    def _index(self, d: int) -> int:
        key = ("index", d, self.phase if self.inner_dims[d] else -1)
        if key not in self.known:
            self.known[key] = self.stmt("index", dt.int64, (d,))
        return self.known[key]

    def _param(self, n: int) -> int:
        if n in (0, 1, -1):
            return self.stmt("const", dt.int64, (n,))
        self.params.append(n)
        return self.stmt("param", dt.int64, (len(self.params) - 1,))

    def _do_check(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> int:
        size, tag, wrap = v.arg
        index = self.value(v.srcs[0], at, mask)
        if tag is None:
            return index
        zero = self.stmt("const", dt.int64, (0,))
        if mask is not None:
            index = self.stmt("where", dt.int64, (mask, index, zero))
        limit = self._param(size)
        if not wrap:  # far enough below 0 that no counting from the end helps
            below = self.stmt("sub", dt.int64, (index, limit))
            index = self.stmt(
                "where", dt.int64, (self.stmt("lt", dt.bool_, (index, zero)), below, index)
            )
        # its number is an argument: which operator it belongs to must not make another kernel
        self.checks.append((len(self.params), v))
        self.params.append(self.memory.check_of(v))
        number = self.stmt("param", dt.int64, (len(self.params) - 1,))
        return self.stmt("check", dt.int64, (index, limit, 0, number))

    def _do_pad(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> int:
        lo, _ = v.arg
        src, fill = v.srcs
        inside: int | None = None
        moved = []
        for e, k, n, whole in zip(at, lo, src.shape, v.shape, strict=True):
            moved.append((e[0], e[1] - k))
            if n == whole:
                continue
            p = self.position(e)
            for test, bound in (("ge", k), ("lt", k + n)):
                if (test, bound) in (("ge", 0), ("lt", whole)):
                    continue
                c = self.stmt(test, dt.bool_, (p, self._param(bound)))
                inside = c if inside is None else self.stmt("and", dt.bool_, (inside, c))
        if inside is None:
            return self.value(src, tuple(moved), mask)
        both = inside if mask is None else self.stmt("and", dt.bool_, (inside, mask))
        value = self.value(src, tuple(moved), both)
        d = dt.float32 if v.dtype.name in HALVES else v.dtype
        return self.stmt("where", d, (inside, value, self.value(fill, (), mask)))

    def _do_take(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> int:
        axis = v.arg[0]
        src, index = v.srcs
        picked = self.value(index, at[axis : axis + index.ndim], mask)
        rest = (*at[:axis], None, *at[axis + index.ndim :])
        return self._fetch(src, rest, axis, picked, mask, v.dtype)

    def _do_gather(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> int:
        axis = v.arg[0]
        src, index = v.srcs
        picked = self.value(index, at, mask)
        return self._fetch(src, (*at[:axis], None, *at[axis + 1 :]), axis, picked, mask, v.dtype)

    def _fetch(
        self, src: Val, at: tuple, axis: int, picked: int, mask: int | None, d: dtype
    ) -> int:
        """An element of src whose position along one axis is a value."""
        slot, offset, strides = self.memory_of(src)
        n = len(self.sizes)
        rest = [e for i, e in enumerate(at) if i != axis]
        affine = dot(rest, [s for i, s in enumerate(strides) if i != axis], n)
        where = picked
        if strides[axis] != 1:
            where = self.stmt("mul", dt.int64, (picked, self._param(strides[axis])))
        if any(affine[0]) or affine[1]:
            where = self.stmt("add", dt.int64, (where, self.position(affine)))
        operand = self.operand(src.dtype, slot, offset, None)
        self.fetches.append((picked, affine[0]))
        return self._loaded("load_at", d, (operand, where), mask)

    # complex values: two statements each

    def pair(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> tuple[int, int]:
        """The statements that compute the parts of a complex value's element."""
        placed = v.id not in self.members and v.id in self.memory.places
        if placed or v.op in ("buffer_at", "as_strided"):
            return self._load_parts(v, at, mask)
        if v.op in VIEWS:
            try:
                inner = through_view(v, at, self.sizes)
            except Unfusable:
                return self._load_parts(v, at, mask)
            return self.pair(v.srcs[0], inner, mask)
        if v.op == "complex":
            return self.value(v.srcs[0], at, mask), self.value(v.srcs[1], at, mask)
        if v.op == "copy":
            return self.pair(v.srcs[0], at, mask)
        if v.op == "const":
            d = v.dtype.to_real()
            return self._number(v.arg.real, d), self._number(v.arg.imag, d)
        raise Unfusable

    def _do_real(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> int:
        return self.pair(v.srcs[0], at, mask)[0]

    def _do_imag(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> int:
        return self.pair(v.srcs[0], at, mask)[1]

    def _load_parts(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> tuple[int, int]:
        slot, offset, strides = self.memory_of(v)
        e, d = scaled(dot(at, strides, len(self.sizes)), 2), v.dtype.to_real()
        re, im = (self._load_affine(d, slot, 2 * offset + k, e, mask) for k in (0, 1))
        return re, im

    # memory -----------------------------------------------------------------------------------

    def memory_of(self, v: Val) -> tuple[int, int, tuple[int, ...]]:
        """(slot, offset, strides) of a value that is a strided view of memory."""
        # what is being computed is not read where it will be
        found = self.memory.strided(v, v.id in self.members)
        if found is None:
            raise Unfusable
        return found

    def _load(self, v: Val, at: tuple[Expr, ...], mask: int | None) -> int:
        slot, offset, strides = self.memory_of(v)
        return self._load_affine(v.dtype, slot, offset, dot(at, strides, len(self.sizes)), mask)

    def _load_affine(self, d: dtype, slot: int, offset: int, e: Expr, mask: int | None) -> int:
        operand = self.operand(d, slot, offset + e[1], e[0])
        outer = not any(c and self.inner_dims[i] for i, c in enumerate(e[0]))
        key = ("load", operand, mask, -1 if outer else self.phase)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = self._loaded("load", d, (("access", operand),), mask)
        return found

    def _loaded(self, op: str, d: dtype, args: tuple, mask: int | None) -> int:
        if mask is not None:
            args = (*args, mask, 0)
        loaded = self.stmt(op, d, args)
        return self.stmt("cast", dt.float32, (loaded,)) if d.name in HALVES else loaded

    def operand(self, d: dtype, slot: int, offset: int, coefs: tuple[int, ...] | None) -> int:
        """The number of an operand: memory with one way of walking through it."""
        key = (d.name, slot, offset, coefs)
        found = self.operand_of.get(key)
        if found is None:
            found = self.operand_of[key] = len(self.operands)
            self.operands.append((d.name, slot, offset))
            self.access_strides.append((found, coefs or (0,) * len(self.sizes)))
        return found

    def store(self, v: Val, place: Place, at: tuple[Expr, ...]) -> None:
        """Computes the element of a value at `at` and stores it where it belongs."""
        if v.dtype.kind != "c":
            self._store_at(v, place, self.value(v, at, None), at)
            return
        parts = self.pair(v, at, None)
        strides, d = place.strides or contiguous_strides(v.shape), v.dtype.to_real()
        e = scaled(dot(at, strides, len(self.sizes)), 2)
        operand = self.operand(d, place.slot, 2 * place.offset + e[1], e[0])
        self.stmt("store2", d, (("access", operand), *parts))

    def _store(self, m: Val, value: int, at: tuple[Expr, ...], op: str = "store") -> None:
        self._store_at(m, self.memory.places[m.id], value, at, op)

    def _store_at(
        self, m: Val, place: Place, value: int, at: tuple[Expr, ...], op: str = "store"
    ) -> None:
        strides = place.strides or contiguous_strides(m.shape)
        e = dot(at, strides, len(self.sizes))
        if m.dtype.name in HALVES:
            value = self.stmt("cast", m.dtype, (value,))
        operand = self.operand(m.dtype, place.slot, place.offset + e[1], e[0])
        self.stmt(op, m.dtype, (("access", operand), value))

    # the end ----------------------------------------------------------------------------------

    def _finish(self) -> Call:
        """Merges loop dims where every access allows it, and builds the program."""
        dims = [d for d, n in enumerate(self.sizes) if n != 1]
        outer = [[d] for d in dims if not self.inner_dims[d]]
        inner = [[d] for d in dims if self.inner_dims[d]]
        coefs = [c for _, c in self.access_strides]
        outer = _merge(outer, self.sizes, coefs, self.uses_index)
        inner = _merge(inner, self.sizes, coefs, self.uses_index)
        if len(inner) > 3:
            raise Unfusable
        if not inner and not self.group.columns:
            outer = _long_last(outer, self.sizes, coefs)
        if not outer:
            outer = [[]]
        if not inner and len(outer) > 1:
            short, long = (math.prod(self.sizes[d] for d in run) for run in outer[:-3:-1])
            if short <= SHORT_ROW and long >= 8 * short:
                outer[-2:] = outer[:-3:-1]
        loops = outer + inner
        position = {d: k for k, run in enumerate(loops) for d in run}
        outer_sizes = [math.prod(self.sizes[d] for d in run) for run in outer]
        inner_sizes = [math.prod(self.sizes[d] for d in run) for run in inner]
        strides = {k: [c[run[-1]] if run else 0 for run in loops] for k, c in self.access_strides}
        has_inner = bool(inner)
        vector = self._vector(outer_sizes, inner_sizes, loops, strides)
        lanes = (len(outer) if vector == "outer" else len(loops)) - 1
        if sum(loop for loop, _, _ in self.phases) > 1:
            self._keep(math.prod(inner_sizes) * (OUTER_TILE if vector == "outer" else 1))
        accesses: dict[int, Access] = {}
        for k, steps in strides.items():
            kinds = [_KINDS.get(s, "n") for s in steps]
            if steps[lanes] == 2:
                kinds[lanes] = "2"
            accesses[k] = Access(k, tuple(kinds))
        stmts = [self._resolved(s, accesses, position) for s in self.stmts]
        phases = tuple(Phase(loop and has_inner, tuple(stmts[a:b])) for loop, a, b in self.phases)
        if not has_inner:
            phases = (Phase(False, tuple(s for ph in phases for s in ph.stmts)),)
        program = Program(len(outer), len(inner), vector, tuple(d for d, _, _ in self.operands),
                          len(self.scalars), phases)  # fmt: skip
        return Call(program, [s for _, s, _ in self.operands], [o for _, _, o in self.operands], outer_sizes,
                    inner_sizes, [strides[a.buf] for a in program.accesses], self.scalars, self.params)  # fmt: skip

    def _keep(self, row: int) -> None:
        """What several passes over the inner dims need is computed once, if rows are not too long."""
        stored = {self.operands[s.args[0][1]][1] for s in self.stmts if s.op in STORES}

        def read_only(s: Stmt) -> bool:
            k = s.args[0][1] if s.op == "load" else s.args[0]
            return self.operands[k][1] not in stored

        room = STASH_LIMIT // (row * 4)
        inner = [d for d, n in enumerate(self.sizes) if self.inner_dims[d] and n != 1]
        keeper = Keeper(self.stmts, self.phases, self._varying(inner), read_only, room)
        self.stmts, self.phases = keeper.run()

    def _varying(self, dims: list[int]) -> list[bool]:
        """Of each statement, whether its value changes along some of these loop dims."""
        steps = dict(self.access_strides)
        out: list[bool] = []
        for s in self.stmts:
            if s.op in ACCESSING:
                own = any(steps[s.args[0][1]][d] for d in dims)
            else:
                own = s.op == "index" and s.args[0] in dims
            out.append(s.op != "reduce" and (own or any(out[a] for a in s.operands)))
        return out

    def _vector(
        self,
        outer: list[int],
        inner: list[int],
        loops: list[list[int]],
        strides: dict[int, list[int]],
    ) -> str:
        """Vectorise the dim along which most accesses are contiguous, of those in the inner loops."""
        if not inner:
            return "outer"
        if self.group.columns:
            return "inner"
        last_outer, last_inner = len(outer) - 1, len(loops) - 1
        walks = [s for s in strides.values() if any(s[len(outer) :])]
        along_inner = sum(s[last_inner] in (1, 2) for s in walks)
        along_outer = sum(s[last_outer] in (1, 2) for s in walks) if loops[last_outer] else 0
        if self.fetches and loops[last_outer]:  # picked rows count, and cost more, than numbers do
            picks = self._runs(loops[last_outer][-1]), self._runs(loops[last_inner][-1])
            along_outer, along_inner = along_outer + 2 * picks[0], along_inner + 2 * picks[1]
        if along_inner == along_outer and loops[last_outer]:  # what is not picked apart decides
            apart = [sum(s[d] not in (0, 1, 2) for s in walks) for d in (last_outer, last_inner)]
            along_inner -= apart[0] < apart[1]
        if along_inner >= along_outer or outer[-1] < 4:
            return "inner"
        return "outer"

    def _runs(self, d: int) -> int:
        """How many picked elements lie one after the other along a loop dim."""
        moves = self._varying([d])
        return sum(coefs[d] == 1 and not moves[picked] for picked, coefs in self.fetches)

    def _resolved(self, s: Stmt, accesses: dict[int, Access], position: dict[int, int]) -> Stmt:
        if s.op in ACCESSING:
            return Stmt(s.op, s.dtype, (accesses[s.args[0][1]], *s.args[1:]))
        if s.op == "index":
            d = s.args[0]
            return (
                Stmt("index", s.dtype, (position[d],))
                if d in position
                else Stmt("const", s.dtype, (0,))
            )
        return s


_KINDS = {0: "0", 1: "1", -1: "-"}  # of strides, in `Access`


def _long_last(
    runs: list[list[int]], sizes: list[int], coefs: list[tuple[int, ...]]
) -> list[list[int]]:
    """With a long dim last, along which vectors run, if the last is shorter than they are."""
    lengths = [math.prod(sizes[d] for d in run) for run in runs]
    if len(runs) < 2 or lengths[-1] > SHORT_ROW:
        return runs
    even = [sum(c[run[-1]] == 1 for c in coefs) for run in runs]
    best = max(range(len(runs)), key=lambda k: (lengths[k] >= LONG_ROW, even[k], lengths[k]))
    if lengths[best] < LONG_ROW or not even[best]:
        return runs
    return [*runs[:best], *runs[best + 1 :], runs[best]]


def _merge(
    runs: list[list[int]], sizes: list[int], coefs: list[tuple[int, ...]], pinned: set[int]
) -> list[list[int]]:
    """Joins neighbouring dims that every access walks through evenly."""
    out: list[list[int]] = []
    for run in runs:
        d = run[0]
        if out:
            last = out[-1][-1]
            even = all(c[last] == c[d] * sizes[d] for c in coefs)
            if even and d not in pinned and not any(x in pinned for x in out[-1]):
                out[-1].append(d)
                continue
        out.append(list(run))
    return out


__all__ = ["Call", "Memory", "Place", "Writer"]
