"""Random small loop programs with operands to run them on, for Hypothesis."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from loop_native import Call

from facula.kernel.interpret import interpret
from facula.kernel.program import Access, Phase, Program, Stmt
from facula.kernel.verify import verify

UNARY = ["neg", "abs", "relu", "exp", "tanh", "sqrt", "sigmoid", "floor", "sign", "sin", "erf"]
BINARY = ["add", "sub", "mul", "maximum", "minimum", "div"]


@dataclass
class Case:
    """A program under construction, with its operands."""

    n_outer: int
    vector: str
    sizes: list[int]
    buffers: list[str] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    strides: list[list[int]] = field(default_factory=list)
    scalars: list[float] = field(default_factory=list)
    phases: list[tuple[bool, list[Stmt]]] = field(default_factory=list)
    count: int = 0

    def phase(self, loop: bool) -> None:
        self.phases.append((loop, []))

    def stmt(self, op: str, dtype: str, *args) -> int:
        self.phases[-1][1].append(Stmt(op, dtype, args))
        self.count += 1
        return self.count - 1

    def operand(self, array: np.ndarray, dtype: str, moving: list[bool], order, flip) -> Access:
        """A new operand laid out in a given order of the dims that it moves along."""
        steps, step, offset = [0] * len(self.sizes), 1, 0
        kinds = ["0"] * len(self.sizes)
        for d in order:
            if not moving[d]:
                continue
            steps[d], kinds[d] = step, "1" if step == 1 else "n"
            if d in flip:
                steps[d], offset = -step, offset + step * (self.sizes[d] - 1)
                kinds[d] = "-" if step == 1 else "n"
            step *= self.sizes[d]
        self.buffers.append(dtype)
        self.arrays.append(array(step))
        self.offsets.append(offset)
        self.strides.append(steps)
        return Access(len(self.buffers) - 1, tuple(kinds))

    def program(self) -> Program:
        n_inner = len(self.sizes) - self.n_outer
        phases = tuple(Phase(loop, tuple(stmts)) for loop, stmts in self.phases)
        n = len(self.scalars)
        return Program(self.n_outer, n_inner, self.vector, tuple(self.buffers), n, phases)

    def run_both(self, target=None, cuts=False):
        """(program, what the interpreter leaves in the operands, what native code leaves)."""
        program = self.program()
        verify(program)
        outer, inner = self.sizes[: self.n_outer], self.sizes[self.n_outer :]
        expected = [a.copy() for a in self.arrays]
        interpret(program, expected, self.offsets, outer, inner, self.strides, self.scalars)
        got = [a.copy() for a in self.arrays]
        call = Call(
            program, got, outer, inner, self.strides, self.scalars, (), target, self.offsets
        )
        call(list(range(call.ntasks + 1)) if cuts else None)
        assert not call.status.any()
        return program, expected, got


def random_array(draw, dtype: str):
    seed = draw(st.integers(0, 2**32 - 1))

    def make(n: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        if dtype == "bool":
            return rng.integers(0, 2, n).astype(bool)
        if dtype == "bfloat16":
            return (rng.standard_normal(n).astype(np.float32).view(np.uint32) >> 16).astype("u2")
        if dtype.startswith("float"):
            return rng.standard_normal(n).astype(dtype)
        return rng.integers(-50, 50, n).astype(dtype)

    return make


@st.composite
def cases(draw) -> Case:
    """A random program: loads, a reduction if there are inner dims, more work, stores."""
    vector = draw(st.sampled_from(["inner", "outer"]))
    n_inner = draw(st.integers(1 if vector == "inner" else 0, 2))
    n_outer = draw(st.integers(0 if vector == "inner" else 1, 3 - n_inner))
    size = st.one_of(st.integers(1, 5), st.sampled_from([7, 16, 31, 64, 70]))
    sizes = [draw(size) for _ in range(n_outer + n_inner)]
    case = Case(n_outer, vector, sizes)
    case.scalars = [draw(st.sampled_from([0.5, -1.25, 3.0]))]

    def access(dtype: str, moving=None) -> Access:
        dims = list(range(len(sizes)))
        moving = moving or [draw(st.booleans()) for _ in dims]
        order = draw(st.permutations(dims)) if draw(st.booleans()) else dims[::-1]
        flip = [d for d in dims if draw(st.booleans())] if draw(st.booleans()) else []
        return case.operand(random_array(draw, dtype), dtype, moving, order, flip)

    def load(loop: bool) -> int:
        dtype = draw(st.sampled_from(["float32"] * 4 + ["bfloat16", "float16", "int32", "bool"]))
        moving = [draw(st.booleans()) and (loop or d < n_outer) for d in range(len(sizes))]
        i = case.stmt("load", dtype, access(dtype, moving))
        return i if dtype == "float32" else case.stmt("cast", "float32", i)

    def work(values: list[int]) -> int:
        for _ in range(draw(st.integers(0, 4))):
            if draw(st.booleans()):
                op = draw(st.sampled_from(UNARY))
                x = draw(st.sampled_from(values))
                if op == "sqrt":
                    x = case.stmt("abs", "float32", x)
                values.append(case.stmt(op, "float32", x))
            else:
                x, y = draw(st.sampled_from(values)), draw(st.sampled_from(values))
                op = draw(st.sampled_from(BINARY))
                values.append(case.stmt(op, "float32", x, y))
        if draw(st.booleans()):
            x, y = values[0], values[-1]
            c = case.stmt("lt", "bool", x, y)
            values.append(case.stmt("where", "float32", c, x, y))
        return values[-1]

    outer_values: list[int] = []
    if n_inner:
        case.phase(True)
        inner_value = work([load(True) for _ in range(draw(st.integers(1, 3)))])
        kind = draw(st.sampled_from(["sum", "max", "min", "argmax"]))
        stash = case.stmt("stash", "float32", inner_value) if draw(st.booleans()) else None
        dtype = "int64" if kind == "argmax" else "float32"
        reduced = case.stmt("reduce", dtype, kind, inner_value)
        case.phase(False)
        outer_values.append(case.stmt("cast", "float32", reduced) if kind == "argmax" else reduced)
    else:
        case.phase(False)
    outer_values.append(case.stmt("scalar", "float32", 0))
    outer_values.append(load(False))
    outer_value = work(outer_values)
    outer_dims = [d < n_outer for d in range(len(sizes))]
    case.stmt("store", "float32", access("float32", outer_dims), outer_value)
    if n_inner and draw(st.booleans()):
        case.phase(True)
        values = [outer_value, load(True)]
        if stash is not None:
            values.append(case.stmt("unstash", "float32", stash))
        position = case.stmt("index", "int64", draw(st.integers(0, len(sizes) - 1)))
        values.append(case.stmt("cast", "float32", position))
        result = work(values)
        case.stmt("store", "float32", access("float32", [True] * len(sizes)), result)
    return case
