"""Where each statement of a loop program is executed, and how wide: what the emitter asks."""

from __future__ import annotations

from dataclasses import dataclass

from facula.kernel.program import ITEMSIZE, Program
from facula.llvm.target import Target

# rough instructions per vector of an elementwise operation; others count one
WEIGHTS = {
    "exp": 12,
    "exp2": 11,
    "expm1": 14,
    "log": 22,
    "log2": 24,
    "log10": 26,
    "log1p": 26,
    "tanh": 22,
    "sigmoid": 18,
    "erf": 34,
    "sin": 20,
    "cos": 20,
    "tan": 24,
    "sinh": 40,
    "cosh": 40,
    "pow": 90,
    "div": 6,
    "sqrt": 6,
    "rsqrt": 10,
    "reciprocal": 6,
    "load_at": 12,
    "store_at": 12,
    "check": 8,
    "floordiv": 40,
    "mod": 40,
    "fmod": 200,
    "truncdiv": 20,
    **dict.fromkeys(
        "asin acos atan asinh acosh atanh erfc erfinv lgamma digamma atan2 nextafter hypot".split(),
        120,
    ),
}
FREE = frozenset({"const", "scalar", "param", "index", "size", "stash", "unstash", "store", "load"})


@dataclass(frozen=True)
class Shape:
    """Levels, vectorness and unrolling of a program on a target.

    Levels: 0 function entry; 1 row; then in outer mode 2 the tile of the last outer dim; then one
    for each inner dim. `base` is the level of statements that run once per outer index.
    """

    base: int
    levels: tuple[int, ...]
    vectors: tuple[bool, ...]
    lanes: int
    unroll: int
    weight: int

    @property
    def tile(self) -> int:
        """Elements that one pass of the unrolled loop does."""
        return self.lanes * self.unroll


def stored_buffers(program: Program) -> frozenset[int]:
    """Operands that the program writes."""
    direct = {s.args[0].buf for s in program.stmts if s.op == "store"}
    return frozenset(direct | {s.args[0] for s in program.stmts if s.op == "store_at"})


def analyse(program: Program, target: Target) -> Shape:
    """The shape of a program's code."""
    outer_mode = program.vector == "outer"
    base = 2 if outer_mode else 1
    n_outer, n_inner = program.n_outer, program.n_inner
    n_dims = n_outer + n_inner
    vector_dim = n_outer - 1 if outer_mode else n_dims - 1
    level_of_dim = [1] * n_outer + [base + 1 + d for d in range(n_inner)]
    if outer_mode:
        level_of_dim[n_outer - 1] = 2
    written = stored_buffers(program)
    levels: list[int] = []
    vectors: list[bool] = []
    i = 0
    for phase in program.phases:
        deepest = base + n_inner if phase.loop else base
        for s in phase.stmts:
            level = max((levels[a] for a in s.operands), default=0)
            vector = any(vectors[a] for a in s.operands)
            pinned = False
            if s.op in ("load", "store"):
                access = s.args[0]
                for d, kind in enumerate(access.strides):
                    if kind != "0":
                        level = max(level, level_of_dim[d])
                        vector = vector or d == vector_dim
                pinned = s.op == "store" or access.buf in written
                if s.op == "store":
                    vector = access.strides[vector_dim] != "0" and (phase.loop or outer_mode)
            elif s.op == "index":
                level, vector = level_of_dim[s.args[0]], s.args[0] == vector_dim
            elif s.op == "load_at":
                pinned = s.args[0] in written
            elif s.op == "store_at":
                pinned = True
                vector = vector and (phase.loop or outer_mode)
            elif s.op in ("stash", "unstash"):
                pinned = vector = True
            elif s.op == "reduce":
                level = base
                vector = vector and outer_mode
            levels.append(deepest if pinned else level)
            vectors.append(vector)
            i += 1
    lanes = _lanes(program, vectors, target)
    weight, accumulators, streams = _weight(program, levels, base)
    unroll = _unroll(program, weight, accumulators, streams, target)
    return Shape(base, tuple(levels), tuple(vectors), lanes, unroll, weight)


def _lanes(program: Program, vectors: list[bool], target: Target) -> int:
    """Lanes: as many as fill a register with what most of the work is done in."""
    sizes = set()
    for s, vector in zip(program.stmts, vectors, strict=True):
        if not vector or s.op in ("index", "check", "const") or s.dtype == "bool":
            continue
        sizes.add(ITEMSIZE[s.dtype])
    if not sizes:
        return target.vector_bytes
    if sizes == {8}:
        item = 8
    elif 4 in sizes or 8 in sizes:
        item = 4
    else:
        item = max(sizes)
    return target.vector_bytes // item


def _weight(program: Program, levels: list[int], base: int) -> tuple[int, int, int]:
    """Of the heaviest phase: instructions per element vector; accumulators; memory streams."""
    most = reductions = streams = 0
    i = 0
    for phase in program.phases:
        weight = n_reductions = n_streams = 0
        for s in phase.stmts:
            if levels[i] >= base:
                weight += 0 if s.op in FREE else WEIGHTS.get(s.op, 1)
                n_streams += s.op in ("load", "store")
                n_reductions += s.op == "reduce"
            i += 1
        most = max(most, weight)
        reductions = max(reductions, n_reductions)
        streams = max(streams, n_streams)
    return most, reductions, streams


def _unroll(program: Program, weight: int, accumulators: int, streams: int, target: Target) -> int:
    """Vectors side by side: many where the work is light, so that latencies overlap."""
    unroll = 4 if weight + streams <= 14 else 2 if weight + streams <= 48 else 1
    if program.vector == "outer" and any(p.loop for p in program.phases):
        # column reductions: long rows of memory at each step keep the prefetcher going
        room = target.n_vector_registers // (2 * max(1, accumulators))
        unroll = max(1, min(16 if weight <= 2 else 8 if weight <= 6 else unroll, room))
    return unroll
