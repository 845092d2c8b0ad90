"""Where each statement of a loop program is executed, and how wide: what the emitter asks."""

from __future__ import annotations

from dataclasses import dataclass

from facula.kernel.program import ACCESSING, ITEMSIZE, STORES, Program
from facula.llvm.target import Target

# functions that are libm's, called lane by lane, or as slow
_BY_LANE = [
    "asin",
    "acos",
    "atan",
    "asinh",
    "acosh",
    "atanh",
    "erfc",
    "erfinv",
    "lgamma",
    "digamma",
    "atan2",
    "nextafter",
    "hypot",
]
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
    **dict.fromkeys(_BY_LANE, 120),
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
    unrolls: tuple[int, ...]  # for each phase; all the same in outer mode
    weight: int

    @property
    def unroll(self) -> int:
        """The largest of the phases'."""
        return max(self.unrolls)

    @property
    def tile(self) -> int:
        """Elements that one pass of the most unrolled loop does."""
        return self.lanes * self.unroll


def stored_buffers(program: Program) -> frozenset[int]:
    """Operands that the program writes."""
    direct = {s.args[0].buf for s in program.stmts if s.op in STORES}
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
            if s.op in ACCESSING:
                access = s.args[0]
                for d, kind in enumerate(access.strides):
                    if kind != "0":
                        level = max(level, level_of_dim[d])
                        vector = vector or d == vector_dim
                pinned = s.op in STORES or access.buf in written
                if s.op in STORES:
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
    loads = [_load(program, levels, base, p) for p in range(len(program.phases))]
    if outer_mode:
        unrolls = [_outer_unroll(program, loads, target)] * len(loads)
    else:
        unrolls = [_unroll(load) for load in loads]
    weight = max(load.weight for load in loads)
    return Shape(base, tuple(levels), tuple(vectors), lanes, tuple(unrolls), weight)


@dataclass(frozen=True)
class _Load:
    """Of a phase: instructions per vector, loads and stores, reductions."""

    weight: int
    streams: int
    reductions: int


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


def _load(program: Program, levels: list[int], base: int, p: int) -> _Load:
    first = sum(len(phase.stmts) for phase in program.phases[:p])
    weight = streams = n_reductions = 0
    for i, s in enumerate(program.phases[p].stmts, first):
        if levels[i] >= base:
            weight += 0 if s.op in FREE else WEIGHTS.get(s.op, 1)
            streams += s.op in ACCESSING or s.op in ("stash", "unstash")
            n_reductions += s.op == "reduce"
    return _Load(weight, streams, n_reductions)


def _unroll(load: _Load) -> int:
    """Vectors side by side: many where the work is light, so that latencies overlap."""
    if load.reductions and load.weight <= 4 * load.reductions:
        return 8 if load.streams <= 2 and load.reductions == 1 else 4
    cost = load.weight + load.streams
    return 4 if cost <= 10 else 2 if cost <= 32 else 1


def _outer_unroll(program: Program, loads: list[_Load], target: Target) -> int:
    """One number for all phases; column reductions take long pieces of memory at each step."""
    loops = [load for load, phase in zip(loads, program.phases, strict=True) if phase.loop]
    if not loops:
        return min(_unroll(load) for load in loads)
    weight = max(load.weight for load in loops)
    accumulators = max(1, *(load.reductions for load in loops), 1)
    room = target.n_vector_registers // (2 * accumulators)
    wanted = 16 if weight <= 4 else 8 if weight <= 6 else 4 if weight <= 14 else 1
    # a power of two: tiles are counted with masks
    return 1 << max(1, min(wanted, room)).bit_length() - 1
