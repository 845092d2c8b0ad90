"""Checks that a loop program is well formed, with a message that names the statement."""

from __future__ import annotations

from facula.kernel import program as p
from facula.kernel.program import Access, Program, Stmt


class MalformedProgramError(ValueError):
    """A loop program that no emitter may be given."""


def verify(program: Program) -> None:
    """Raise MalformedProgramError unless ids, dtypes, levels and phases fit together."""
    _Verifier(program).run()


class _Verifier:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.n_dims = program.n_outer + program.n_inner
        self.phase_of = [k for k, ph in enumerate(program.phases) for _ in ph.stmts]
        self.i = -1

    def fail(self, why: str) -> None:
        where = f"statement {self.i}: " if self.i >= 0 else ""
        raise MalformedProgramError(f"{where}{why}\n{self.program}")

    def need(self, condition: bool, why: str) -> None:
        if not condition:
            self.fail(why)

    def run(self) -> None:
        program = self.program
        self.need(program.vector in ("inner", "outer"), f"vector={program.vector!r}")
        self.need(0 <= program.n_inner <= 3, f"{program.n_inner} inner dims")
        if program.vector == "inner":
            self.need(program.n_inner >= 1, "inner mode without inner dims")
        else:
            self.need(program.n_outer >= 1, "outer mode without outer dims")
        for dtype in program.buffers:
            self.need(dtype in p.ITEMSIZE, f"unknown dtype {dtype!r} of an operand")
        if program.n_inner == 0:
            self.need(not any(ph.loop for ph in program.phases), "a loop without inner dims")
        for i, s in enumerate(program.stmts):
            self.i = i
            self.statement(i, s)

    def statement(self, i: int, s: Stmt) -> None:
        self.need(s.dtype in p.ITEMSIZE, f"unknown dtype {s.dtype!r}")
        self.operands(i, s)
        checker = getattr(self, "check_" + s.op, None)
        if checker is not None:
            checker(s)
        elif s.op in ("stash", "unstash", "cast", "bitcast"):
            self.need(len(s.args) == 1, f"{s.op} takes one value")
            self.one_place(i, s)
        else:
            self.elementwise(s)
        if s.op not in _NEED_LOOP:
            return
        self.need(self.loops(i), f"{s.op} outside a looping phase")

    def loops(self, i: int) -> bool:
        return self.program.phases[self.phase_of[i]].loop

    def dtype(self, a: int) -> str:
        return self.program.stmts[a].dtype

    def operands(self, i: int, s: Stmt) -> None:
        """Ids are of earlier statements with values, and of this phase or of the outer level."""
        for a in s.operands:
            self.need(isinstance(a, int) and 0 <= a < i, f"operand {a!r} is no earlier statement")
            other = self.program.stmts[a]
            self.need(other.op not in _NO_VALUE, f"operand {a} ({other.op}) has no value")
            same = self.phase_of[a] == self.phase_of[i]
            if other.op == "reduce":
                self.need(not same, f"operand {a} is reduced in this same phase")
            elif not same and self.program.varies_inner[a]:
                self.fail(f"operand {a} varies along inner dims of another phase; stash it")
            elif not self.loops(i) and self.program.varies_inner[a]:
                self.fail(f"operand {a} varies along inner dims, but this phase does not loop")
        if s.mask is not None:
            self.need(self.dtype(s.mask) == "bool", "the mask is not bool")

    def check_access(self, access: object) -> Access:
        self.need(isinstance(access, Access), "the first argument is no Access")
        assert isinstance(access, Access)
        self.need(0 <= access.buf < len(self.program.buffers), f"no operand {access.buf}")
        self.need(len(access.strides) == self.n_dims, f"{len(access.strides)} strides")
        self.need(set(access.strides) <= {"0", "1", "2", "-", "n"}, f"strides {access.strides}")
        lanes = (self.program.n_outer if self.program.vector == "outer" else self.n_dims) - 1
        others = access.strides[:lanes] + access.strides[lanes + 1 :]
        self.need("2" not in others, "a stride '2' of another dim than the vectorised one")
        if not self.loops(self.i):
            inner = access.strides[self.program.n_outer :]
            self.need(set(inner) <= {"0"}, "moves along inner dims, but this phase does not loop")
        return access

    def check_load(self, s: Stmt) -> None:
        access = self.check_access(s.args[0])
        self.same(s.dtype, self.program.buffers[access.buf], "the operand")

    def check_store(self, s: Stmt) -> None:
        access = self.check_access(s.args[0])
        self.same(self.dtype(s.args[1]), self.program.buffers[access.buf], "the operand")

    def check_store2(self, s: Stmt) -> None:
        self.check_store(s)
        self.same(self.dtype(s.args[2]), self.dtype(s.args[1]), "the second value")

    def check_accumulate(self, s: Stmt) -> None:
        self.check_store(s)
        self.need(self.program.vector == "inner", "accumulate where the last outer dim has lanes")
        last = s.args[0].strides[self.program.n_outer - 1]
        self.need(last == "0", "accumulate moves along the last outer dim")
        self.need(s.dtype in p.FLOATS, f"accumulate of {s.dtype}")

    def check_load_at(self, s: Stmt) -> None:
        self.need(0 <= s.args[0] < len(self.program.buffers), f"no operand {s.args[0]}")
        self.same(self.dtype(s.args[1]), "int64", "an index")
        self.same(s.dtype, self.program.buffers[s.args[0]], "the operand")

    def check_store_at(self, s: Stmt) -> None:
        self.need(0 <= s.args[0] < len(self.program.buffers), f"no operand {s.args[0]}")
        self.same(self.dtype(s.args[1]), "int64", "an index")
        self.same(self.dtype(s.args[2]), self.program.buffers[s.args[0]], "the operand")

    def check_check(self, s: Stmt) -> None:
        self.need(len(s.args) in (3, 4), "check takes index, size, tag and perhaps a number")
        for a in s.operands:
            self.same(self.dtype(a), "int64", "an index")
            if a == s.args[1]:
                self.need(
                    self.program.stmts[a].op in ("size", "param", "scalar", "const"),
                    "the size of a check is no size, param, scalar or const",
                )

    def check_const(self, s: Stmt) -> None:
        self.need(len(s.args) == 1 and isinstance(s.args[0], (int, float)), "const takes a number")

    def check_scalar(self, s: Stmt) -> None:
        self.need(0 <= s.args[0] < self.program.n_scalars, f"no scalar {s.args[0]}")

    def check_param(self, s: Stmt) -> None:
        self.same(s.dtype, "int64", "a param")

    def check_index(self, s: Stmt) -> None:
        self.same(s.dtype, "int64", "an index")
        self.need(0 <= s.args[0] < self.n_dims, f"no dim {s.args[0]}")
        if s.args[0] >= self.program.n_outer:
            self.need(self.loops(self.i), "an inner index outside a looping phase")

    def check_size(self, s: Stmt) -> None:
        self.same(s.dtype, "int64", "a size")
        self.need(0 <= s.args[0] < self.n_dims, f"no dim {s.args[0]}")

    def check_reduce(self, s: Stmt) -> None:
        kind, operand = s.args
        self.need(kind in p.REDUCTIONS, f"no reduction {kind!r}")
        want = self.dtype(operand)
        if kind in ("any", "all"):
            self.same(want, "bool", "what any and all reduce")
        self.need(want not in p.SMALL_FLOATS, f"a reduction of {want}; cast first")
        self.same(s.dtype, "int64" if kind in ("argmax", "argmin") else want, "the reduction")

    def one_place(self, i: int, s: Stmt) -> None:
        if s.op == "unstash":
            a = s.args[0]
            self.need(0 <= a < i and self.program.stmts[a].op == "stash", f"{a} is no stash")
            self.need(self.phase_of[a] < self.phase_of[i], "a stash of this same phase")
            self.same(s.dtype, self.dtype(a), "the stash")
        elif s.op == "stash":
            self.same(s.dtype, self.dtype(s.args[0]), "the value")
        elif s.op == "bitcast":
            sizes = p.ITEMSIZE[s.dtype], p.ITEMSIZE[self.dtype(s.args[0])]
            self.need(
                sizes[0] == sizes[1] and "bool" not in (s.dtype, self.dtype(s.args[0])),
                "a bitcast between sizes, or of bool",
            )

    def elementwise(self, s: Stmt) -> None:
        count = 1 if s.op in p.UNARY else 2 if s.op in p.BINARY else 3
        self.need(count < 3 or s.op in p.TERNARY, f"unknown operation {s.op!r}")
        self.need(len(s.args) == count, f"{s.op} takes {count} values")
        kinds = [self.dtype(a) for a in s.args]
        if s.op == "where":
            self.same(kinds[0], "bool", "the condition")
            kinds = kinds[1:]
        self.need(len(set(kinds)) == 1, f"operands of different dtypes: {', '.join(kinds)}")
        kind = kinds[0]
        bits = s.op in p.BINARY_BITS | p.UNARY_BITS | p.SHIFTS
        if kind in p.SMALL_FLOATS and s.op != "where":
            self.fail(f"arithmetic in {kind}; cast to float32 first")
        if s.op in p.UNARY_FLOAT | p.BINARY_FLOAT | p.UNARY_TEST | {"fma"}:
            self.need(kind in p.FLOATS, f"{s.op} of {kind}")
        if bits and s.op != "not":
            self.need(kind not in p.FLOATS, f"{s.op} of {kind}")
        if kind == "bool":
            self.need(s.op in _ON_BOOL, f"{s.op} of bool; cast first")
        truth = s.op in p.COMPARE | p.UNARY_TEST | {"not"}
        self.same(s.dtype, "bool" if truth else kind, "the result")

    def same(self, dtype: str, want: str, what: str) -> None:
        self.need(dtype == want, f"{what} is {want}, not {dtype}" if want else what)


_NO_VALUE = frozenset({"store", "store2", "accumulate", "store_at", "stash"})
_NEED_LOOP = frozenset({"reduce", "stash", "unstash"})
_ON_BOOL = p.COMPARE | p.BINARY_BITS | {"where", "not", "bitwise_not", "maximum", "minimum"}
