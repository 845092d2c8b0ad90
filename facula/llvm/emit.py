"""Loop programs to LLVM IR.

A kernel's function reads its arguments, then walks over rows (all outer dims, but for the last in
outer mode). Within a row each phase is straight code or a loop nest. The vectorised loop runs
`unroll` vectors at a time, then one at a time, what is left under a mask. Statements are written at the outermost
level at which their operands are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from facula.kernel.program import ACCESSING, FLOATS, Access, Program, Stmt
from facula.llvm import accesses, reductions
from facula.llvm.analysis import Shape, analyse
from facula.llvm.build import REGISTER, Builder, dtype_literal
from facula.llvm.checks import write_check
from facula.llvm.elementwise import Values
from facula.llvm.memory import Memory, register_type
from facula.llvm.target import Target

SUM_BLOCK = 64  # float32 terms added up one after the other before a new sum begins
LoopBody = Callable[[str, list[str]], list[str]]
SIGNATURE = (
    "ptr noalias readonly %bufs, ptr noalias readonly %args, ptr noalias readonly %scalars, "
    "i64 %t0, i64 %t1, ptr noalias %scratch, ptr noalias %status"
)


@dataclass(frozen=True)
class Layout:
    """Where things are among a step's args."""

    slots: int
    offsets: int
    sizes: int
    strides: int
    scalars: int
    params: int
    tasking: int

    @staticmethod
    def of(program: Program) -> Layout:
        n_bufs = len(program.buffers)
        n_strides = sum(a.strides.count("n") for a in program.accesses)
        sizes = 2 * n_bufs
        strides = sizes + program.n_outer + program.n_inner
        scalars = strides + n_strides
        params = scalars + program.n_scalars
        return Layout(0, n_bufs, sizes, strides, scalars, params, params + program.n_params)


class LoopEmitter:
    """Writes one program for one target; use once."""

    def __init__(self, program: Program, target: Target) -> None:
        self.program = program
        self.target = target
        self.shape: Shape = analyse(program, target)
        self.outer_mode = program.vector == "outer"
        self.n_dims = program.n_outer + program.n_inner
        self.vector_dim = program.n_outer - 1 if self.outer_mode else self.n_dims - 1
        self.b = Builder(target.has_fma, target.has_mask)
        self.b.avx512, self.b.bfloat16 = target.has_avx512, target.has_bfloat16
        lanes = self.shape.lanes
        self.vector = Values(self.b, lanes)
        self.scalar = Values(self.b, 0)
        self.memory = Memory(self.b, lanes)
        # names: a scalar's, or one vector's for every copy of the body
        self.values: dict[int, str | list[str]] = {}
        self.splats: dict[int, str] = {}
        self.pointer: dict[Access, str] = {}
        self.position: dict[int, str] = {}
        self.accumulators: dict[tuple[int, int], list[str]] = {}
        self.linear = "0"
        self.copies = 1
        self.mask: str | None = None
        self.rest: str | None = None
        self._place_statements()

    def _place_statements(self) -> None:
        """Statements by (phase, level); which scalars are wanted in all lanes; stashes' order."""
        self.at: dict[tuple[int, int], list[int]] = {}
        self.phase_of: list[int] = []
        self.wanted: set[int] = set()
        self.stashes: list[int] = []
        i = 0
        for p, phase in enumerate(self.program.phases):
            for s in phase.stmts:
                self.phase_of.append(p)
                level = self.shape.levels[i]
                if s.op == "reduce" or s.op == "stash":
                    level = self.shape.base + self.program.n_inner
                self.at.setdefault((p, level), []).append(i)
                if self._in_vectors(i, s):
                    self.wanted.update(s.operands)
                if s.op == "stash":
                    self.stashes.append(i)
                i += 1

    def _in_vectors(self, i: int, s: Stmt) -> bool:
        if s.op == "reduce":
            return not self.outer_mode or self.shape.vectors[i]
        return self.shape.vectors[i]

    # the function

    def emit(self, name: str) -> str:
        self._prologue()
        for p in range(len(self.program.phases)):
            self._statements(p, 0)
        if self.outer_mode:
            self._tasks_of_tiles()
        else:
            self._rows_of_tasks()
        self.b.do("ret void")
        self.b.lines[:0] = self.memory.stack_lines()
        return self.b.module(name, SIGNATURE)

    def _arg(self, k: int) -> str:
        b = self.b
        place = b.let(f"getelementptr i64, ptr %args, i64 {k}")
        return b.let(f"load i64, ptr {place}, align 8, !invariant.load !0")

    def _prologue(self) -> None:
        program, b, layout = self.program, self.b, Layout.of(self.program)
        self.layout = layout
        self.base: list[str] = []
        for k, dtype in enumerate(program.buffers):
            slot, offset = self._arg(layout.slots + k), self._arg(layout.offsets + k)
            place = b.let(f"getelementptr i64, ptr %bufs, i64 {slot}")
            address = b.let(f"load ptr, ptr {place}, align 8, !invariant.load !0")
            self.base.append(self.memory.pointer(dtype, address, offset))
        self.size = [self._arg(layout.sizes + d) for d in range(self.n_dims)]
        self.stride: dict[tuple[Access, int], str] = {}
        self.step: dict[Access, tuple[str, list[str]]] = {}
        k = layout.strides
        for access in program.accesses:
            for d, kind in enumerate(access.strides):
                if kind == "n":
                    self.stride[access, d] = self._arg(k)
                    k += 1
            if access.strides and access.strides[self.vector_dim] in "-n2":
                self._vector_steps(access)
        if self.stashes:
            self.area = accesses.stash_areas(self)

    def _iota(self, kind: str = "i64") -> str:
        return "<" + ", ".join(f"{kind} {k}" for k in range(self.shape.lanes)) + ">"

    def _vector_steps(self, access: Access) -> None:
        """Of a strided access: offsets of the lanes, and of the copies."""
        v = self.vector["int64"]
        fixed = {"-": "-1", "2": "2"}.get(access.strides[self.vector_dim], "")
        stride = fixed or self.stride[access, self.vector_dim]
        lanes = v.integer("mul", self._iota(), v.splat("i64", stride))
        n = self.shape.lanes
        copies = [
            "0" if u == 0 else self.b.let(f"mul i64 {stride}, {u * n}")
            for u in range(self.shape.unroll)
        ]
        self.step[access] = lanes, copies

    # rows and tiles

    def _rows_of_tasks(self) -> None:
        """Inner mode: tasks are consecutive runs of rows, so that a range of tasks is one too."""
        b, program = self.b, self.program
        rows, per_task = (
            self._arg(self.layout.tasking),
            self._arg(self.layout.tasking + 1),
        )
        first = b.let(f"mul i64 %t0, {per_task}")
        last = self._smaller(b.let(f"mul i64 %t1, {per_task}"), rows)
        self._rows(first, last, list(range(program.n_outer)), self._row_of_phases)

    def _tasks_of_tiles(self) -> None:
        """Outer mode: a task is a run of rows times a run of columns."""
        b, program = self.b, self.program
        rows, per_task, columns, column_tasks = (
            self._arg(self.layout.tasking + k) for k in range(4)
        )
        n_columns = self.size[self.vector_dim]

        def task(t: str, _: list[str]) -> list[str]:
            row_task = b.let(f"udiv i64 {t}, {column_tasks}")
            column_task = b.let(f"sub i64 {t}, {b.let(f'mul i64 {row_task}, {column_tasks}')}")
            first = b.let(f"mul i64 {row_task}, {per_task}")
            last = self._smaller(b.let(f"add i64 {first}, {per_task}"), rows)
            c0 = b.let(f"mul i64 {column_task}, {columns}")
            c1 = self._smaller(b.let(f"add i64 {c0}, {columns}"), n_columns)
            dims = list(range(program.n_outer - 1))
            self._rows(first, last, dims, lambda: self._tiles(c0, c1))
            return []

        b.loop("%t0", "%t1", 1, [], task)

    def _smaller(self, x: str, y: str) -> str:
        return self.b.let(self.b.intrinsic("llvm.smin.i64", "i64", [("i64", x), ("i64", y)]))

    def _rows(self, first: str, last: str, dims: list[int], body: Callable[[], None]) -> None:
        """Run `body` for every row; coordinates count up like an odometer."""
        b = self.b
        start: dict[int, str] = {}
        left = first
        for d in reversed(dims[1:]):
            quotient = b.let(f"udiv i64 {left}, {self.size[d]}")
            start[d] = b.let(f"sub i64 {left}, {b.let(f'mul i64 {quotient}, {self.size[d]}')}")
            left = quotient
        if dims:
            start[dims[0]] = left

        def row(i: str, names: list[str]) -> list[str]:
            coordinates = dict(zip(dims, names, strict=True)) if len(dims) > 1 else {}
            if len(dims) == 1:
                coordinates = {dims[0]: i}
            self.position.update(coordinates)
            self._point_at_row(dims)
            body()
            following: list[str] = []
            carry = "true"
            for d in reversed(dims if len(dims) > 1 else []):
                up = b.let(f"add i64 {coordinates[d]}, {b.let(f'zext i1 {carry} to i64')}")
                if d == dims[0]:
                    following.append(up)
                    break
                over = b.let(f"icmp eq i64 {up}, {self.size[d]}")
                following.append(b.let(f"select i1 {over}, i64 0, i64 {up}"))
                carry = over
            return following[::-1]

        carried = [("i64", start[d]) for d in dims] if len(dims) > 1 else []
        b.loop(first, last, 1, carried, row)

    def _point_at_row(self, dims: list[int]) -> None:
        for access in self.program.accesses:
            pointer = self.base[access.buf]
            for d in dims:
                pointer = self._moved(access, pointer, d, self.position[d])
            self.pointer[access] = pointer

    def _moved(self, access: Access, pointer: str, d: int, by: str) -> str:
        """`pointer` moved along dim d."""
        kind = access.strides[d]
        if kind == "0":
            return pointer
        if kind == "n":
            by = self.b.let(f"mul i64 {by}, {self.stride[access, d]}")
        elif kind == "-":
            by = self.b.let(f"sub i64 0, {by}")
        elif kind == "2":
            by = self.b.let(f"shl i64 {by}, 1")
        return self.memory.pointer(self.program.buffers[access.buf], pointer, by)

    def _row_of_phases(self) -> None:
        for p, phase in enumerate(self.program.phases):
            self._statements(p, 1)
            if phase.loop:
                self._looping_phase(p)

    def _tiles(self, c0: str, c1: str) -> None:
        """Outer mode: all columns of a row's task, tile by tile, then vector by vector."""
        b, shape = self.b, self.shape
        for p in range(len(self.program.phases)):
            self._statements(p, 1)
        start = c0
        for copies in dict.fromkeys((shape.unroll, max(1, shape.unroll // 4), 1)):
            start = self._whole_tiles(start, c1, copies)

        def tail(c: str, _: list[str]) -> list[str]:
            self.copies = 1
            self._set_mask(c, c1)
            self._tile(c)
            self.mask = self.rest = None
            return []

        b.loop(start, c1, shape.lanes, [], tail)

    def _whole_tiles(self, c0: str, c1: str, copies: int) -> str:
        """Tiles of so many vectors, as far as they fit; where they end."""
        b, width = self.b, copies * self.shape.lanes
        span = b.let(f"sub i64 {c1}, {c0}")
        end = b.let(f"add i64 {c0}, {b.let(f'and i64 {span}, {-width}')}")

        def tile(c: str, _: list[str]) -> list[str]:
            self.copies = copies
            self._tile(c)
            return []

        b.loop(c0, end, width, [], tile)
        return end

    def _tile(self, c: str) -> None:
        kept = dict(self.pointer)
        d = self.vector_dim
        self.position[d] = c
        for access in self.program.accesses:
            self.pointer[access] = self._moved(access, self.pointer[access], d, c)
        for p, phase in enumerate(self.program.phases):
            self._statements(p, 2)
            if phase.loop:
                self._looping_phase(p)
        self.pointer = kept

    def _set_mask(self, i: str, end: str) -> None:
        """Lanes i, i+1, ... that are before `end`."""
        b, n = self.b, self.shape.lanes
        rest = self._smaller(b.let(f"sub i64 {end}, {i}"), str(n))
        self.rest = rest
        v = self.vector["int32"]
        short = b.let(f"trunc i64 {rest} to i32")
        self.mask = v.icmp("ult", self._iota("i32"), v.splat("i32", short))

    # phases

    def _reductions(self, p: int) -> list[int]:
        deepest = self.shape.base + self.program.n_inner
        return [i for i in self.at.get((p, deepest), []) if self.program.stmts[i].op == "reduce"]

    def _reduced(self, i: int) -> tuple[str, str, int]:
        """Kind, dtype of the reduced value, lanes of the accumulator."""
        s = self.program.stmts[i]
        kind, operand = s.args
        lanes = self.shape.lanes if self._in_vectors(i, s) else 0
        return kind, self.program.stmts[operand].dtype, lanes

    def _slots(self, p: int, copies: int) -> list[tuple[int, int]]:
        """The accumulators of a phase: (statement, copy)."""
        return [(i, u) for i in self._reductions(p) for u in range(self._chains(i, copies))]

    def _chains(self, i: int, copies: int) -> int:
        """How many accumulators a reduction has; a row_sum has one, as PyTorch's softmax."""
        kind, _, lanes = self._reduced(i)
        return copies if lanes and (self.outer_mode or kind != "row_sum") else 1

    def _carried(self, slots: list[tuple[int, int]]) -> list[tuple[str, str]]:
        """(type, present value) of accumulators."""
        result = []
        for i, u in slots:
            kind, dtype, lanes = self._reduced(i)
            for part, name in zip(
                reductions.parts(kind, dtype), self.accumulators[i, u], strict=True
            ):
                result.append((register_type(part, lanes), name))
        return result

    def _take(self, slots: list[tuple[int, int]], names: list[str]) -> None:
        """Set accumulators to new names, in the order of `_carried`."""
        rest = list(names)
        for i, u in slots:
            kind, dtype, _ = self._reduced(i)
            n = len(reductions.parts(kind, dtype))
            self.accumulators[i, u] = rest[:n]
            del rest[:n]

    def _looping_phase(self, p: int) -> None:
        copies = self.copies if self.outer_mode else self.shape.unrolls[p]
        slots = self._slots(p, copies)
        for slot in slots:
            self.accumulators[slot] = self._first_accumulator(slot[0])
        self.linear = "0"
        self._nest(p, 0, slots)
        for i in self._reductions(p):
            self._finish(i, copies)

    def _finish(self, i: int, copies: int) -> None:
        """The value of a reduction from its accumulators."""
        kind, dtype, lanes = self._reduced(i)
        names = [self.accumulators[i, u] for u in range(self._chains(i, copies))]
        if self.outer_mode:
            results = [parts[-1] for parts in names]
            self.values[i] = results if lanes else results[0]
            if not lanes:
                self._spread(i)
            return
        while len(names) > 1:
            names = [
                reductions.combine(self.vector, kind, dtype, names[k], names[k + 1], ties=True)
                for k in range(0, len(names), 2)
            ]
        if kind == "row_sum":
            size = self.size[self.vector_dim]
            self.values[i] = reductions.fold_row(self.vector, dtype, names[0][0], size)
        else:
            self.values[i] = reductions.fold_lanes(self.vector, kind, dtype, names[0])[-1]
        self._spread(i)

    def _nest(self, p: int, d: int, slots: list[tuple[int, int]]) -> None:
        """The loops of a phase from inner dim d on; accumulators are left in their places."""
        last = d == self.program.n_inner - 1
        if last and not self.outer_mode:
            self._vector_loop(p, slots)
            return
        dim, level = self.program.n_outer + d, self.shape.base + 1 + d
        outer_linear = self.linear

        def body(i: str, names: list[str]) -> list[str]:
            kept = dict(self.pointer)
            self._take(slots, names)
            self._enter(p, dim, i, outer_linear)
            self._statements(p, level)
            if not last:
                self._nest(p, d + 1, slots)
            self.pointer = kept
            return [name for _, name in self._carried(slots)]

        if last and any(self._is_float_sum(i) for i, _ in slots):
            self._in_blocks(self.size[dim], slots, body)
        else:
            final = self.b.loop("0", self.size[dim], 1, self._carried(slots), body)
            self._take(slots, final)
        self.linear = outer_linear

    def _is_float_sum(self, i: int) -> bool:
        kind, dtype, _ = self._reduced(i)
        return kind in ("sum", "row_sum") and dtype in FLOATS

    def _in_blocks(self, size: str, slots: list[tuple[int, int]], body: LoopBody) -> None:
        """A loop whose float sums are summed up block by block: long sums lose fewer digits."""
        b = self.b
        sums = [slot for slot in slots if self._is_float_sum(slot[0])]

        def block(i: str, names: list[str]) -> list[str]:
            self._take(slots, names)
            totals = {slot: self.accumulators[slot] for slot in sums}
            for slot in sums:
                self.accumulators[slot] = self._first_accumulator(slot[0])
            end = self._smaller(b.let(f"add i64 {i}, {SUM_BLOCK}"), size)
            self._take(slots, b.loop(i, end, 1, self._carried(slots), body))
            for slot in sums:
                kind, dtype, lanes = self._reduced(slot[0])
                values = self.vector if lanes else self.scalar
                total, part = totals[slot], self.accumulators[slot]
                both = reductions.combine(values, kind, dtype, total, part, ties=False)
                self.accumulators[slot] = both
            return [name for _, name in self._carried(slots)]

        self._take(slots, b.loop("0", size, SUM_BLOCK, self._carried(slots), block))

    def _first_accumulator(self, i: int) -> list[str]:
        """Literals that an accumulator begins with."""
        kind, dtype, lanes = self._reduced(i)
        begin = reductions.start(kind, dtype)
        if not lanes:
            return begin
        kinds = [REGISTER[part] for part in reductions.parts(kind, dtype)]
        return [f"splat ({k} {x})" for k, x in zip(kinds, begin, strict=True)]

    def _enter(self, p: int, dim: int, i: str, outer_linear: str) -> None:
        """Be at position i of an inner dim."""
        b = self.b
        self.position[dim] = i
        if outer_linear == "0":
            self.linear = i
        else:
            row = b.let(f"mul i64 {outer_linear}, {self.size[dim]}")
            self.linear = b.let(f"add i64 {row}, {i}")
        stmts = self.program.phases[p].stmts
        for access in dict.fromkeys(s.args[0] for s in stmts if s.op in ACCESSING):
            self.pointer[access] = self._moved(access, self.pointer[access], dim, i)

    def _vector_loop(self, p: int, slots: list[tuple[int, int]]) -> None:
        """The last inner dim: whole tiles, then vectors, one of them masked, into the first accumulators."""
        b, shape, dim = self.b, self.shape, self.vector_dim
        n, level, outer_linear = (
            self.size[dim],
            shape.base + self.program.n_inner,
            self.linear,
        )
        unroll = shape.unrolls[p]
        tile = shape.lanes * unroll
        whole = b.let(f"and i64 {n}, {-tile}")
        first = [slot for slot in slots if slot[1] == 0]

        def body(copies: int, mine: list[tuple[int, int]], masked: bool = False) -> LoopBody:
            def write(i: str, names: list[str]) -> list[str]:
                kept = dict(self.pointer)
                self._take(mine, names)
                self.copies = copies
                if masked:
                    self._set_mask(i, n)
                self._enter(p, dim, i, outer_linear)
                self._statements(p, level)
                self.mask = self.rest = None
                self.pointer = kept
                return [name for _, name in self._carried(mine)]

            return write

        every = list(slots)
        self._take(every, b.loop("0", whole, tile, self._carried(every), body(unroll, every)))
        if unroll > 1:  # short rows are mostly these
            single = b.let(f"and i64 {n}, {-shape.lanes}")
            one = body(1, first)
            self._take(first, b.loop(whole, single, shape.lanes, self._carried(first), one))
            whole = single
        tail = body(1, first, masked=True)
        self._take(first, b.loop(whole, n, shape.lanes, self._carried(first), tail))
        self.linear = outer_linear

    # statements

    def _statements(self, p: int, level: int) -> None:
        for i in self.at.get((p, level), ()):
            s = self.program.stmts[i]
            writer = _WRITERS.get(s.op, LoopEmitter._elementwise)
            if s.op == "reduce":
                self._accumulate(i, s)
            elif self.shape.vectors[i]:
                self.values[i] = [writer(self, i, s, u) for u in range(self.copies)]
            else:
                self.values[i] = writer(self, i, s, None)
                self._spread(i)

    def _spread(self, i: int) -> None:
        """Put a scalar in all lanes here, where it is computed, if a vector wants it."""
        if i in self.wanted:
            kind, name = REGISTER[self.program.stmts[i].dtype], self.values[i]
            assert isinstance(name, str)
            if name.startswith("%"):
                lanes = self.vector[self.program.stmts[i].dtype]
                self.splats[i] = lanes.splat(kind, name)
            elif name:
                self.splats[i] = f"splat ({kind} {name})"

    def get(self, i: int, u: int | None) -> str:
        """Value i for copy u; u None: as a scalar."""
        value = self.values[i]
        if u is None:
            assert isinstance(value, str), "a vector where a scalar is wanted"
            return value
        return self.splats[i] if isinstance(value, str) else value[u]

    def _elementwise(self, i: int, s: Stmt, u: int | None) -> str:
        values = self.scalar if u is None else self.vector
        source = self.program.stmts[s.args[-1]].dtype
        return values.write(s.op, source, s.dtype, [self.get(a, u) for a in s.args])

    def _const(self, i: int, s: Stmt, u: int | None) -> str:
        return dtype_literal(s.dtype, s.args[0])

    def _run_time_number(self, i: int, s: Stmt, u: int | None) -> str:
        b = self.b
        slot = self._arg(self.layout.scalars + s.args[0])
        real = s.dtype.startswith(("float", "bfloat"))
        place = b.let(f"getelementptr i64, ptr %scalars, i64 {slot}")
        kind = "double" if real else "i64"
        name = b.let(f"load {kind}, ptr {place}, align 8, !invariant.load !0")
        return self.scalar.write("cast", "float64" if real else "int64", s.dtype, [name])

    def _param(self, i: int, s: Stmt, u: int | None) -> str:
        return self._arg(self.layout.params + s.args[0])

    def _size(self, i: int, s: Stmt, u: int | None) -> str:
        return self.size[s.args[0]]

    def _index(self, i: int, s: Stmt, u: int | None) -> str:
        position = self.position[s.args[0]]
        return position if u is None else self._lane_numbers(position, u)

    def _lane_numbers(self, first: str, u: int) -> str:
        """first + copy's offset + 0, 1, 2, ..."""
        v = self.vector["int64"]
        n = self.shape.lanes
        lanes = "<" + ", ".join(f"i64 {u * n + k}" for k in range(n)) + ">"
        return v.integer("add", v.splat("i64", first), lanes)

    def masked(self, mask: int | None, u: int | None) -> str | None:
        """A statement's mask and the tail's."""
        own = None if mask is None else self.get(mask, u)
        if u is None or self.mask is None:
            return own
        if own is None:
            return self.mask
        return self.vector["bool"].integer("and", own, self.mask)

    def scalar_of(self, i: int) -> str:
        """A value as a scalar: its first lane if it has lanes (of which only one can count)."""
        value = self.values[i]
        if isinstance(value, str):
            return value
        kind = register_type(self.program.stmts[i].dtype, self.shape.lanes)
        return self.b.let(f"extractelement {kind} {value[0]}, i64 0")

    # reductions

    def _accumulate(self, i: int, s: Stmt) -> None:
        kind, dtype, lanes = self._reduced(i)
        values = self.vector if lanes else self.scalar
        chains = self._chains(i, self.copies)
        for u in range(self.copies if lanes else 1):
            new = [self.get(s.args[1], u if lanes else None)]
            if kind in ("argmax", "argmin"):
                new.append(self._linear_index(u if lanes else None))
            old = self.accumulators[i, u % chains]
            both = reductions.combine(values, kind, dtype, old, new, ties=False)
            if lanes and self.mask is not None and not self.outer_mode:
                both = [
                    self.b.let(
                        f"select <{lanes} x i1> {self.mask}, {register_type(part, lanes)} {y}, "
                        f"{register_type(part, lanes)} {x}"
                    )
                    for part, x, y in zip(reductions.parts(kind, dtype), old, both, strict=True)
                ]
            self.accumulators[i, u % chains] = both

    def _linear_index(self, u: int | None) -> str:
        if u is None:
            return self.linear
        if self.outer_mode:
            return self.vector["int64"].splat("i64", self.linear)
        return self._lane_numbers(self.linear, u)


_WRITERS = {
    "const": LoopEmitter._const,
    "scalar": LoopEmitter._run_time_number,
    "param": LoopEmitter._param,
    "size": LoopEmitter._size,
    "index": LoopEmitter._index,
    "load": accesses.load,
    "store": accesses.store,
    "store2": accesses.store_pair,
    "accumulate": accesses.accumulate,
    "load_at": accesses.load_at,
    "store_at": accesses.store_at,
    "check": write_check,
    "stash": accesses.stash,
    "unstash": accesses.unstash,
}
