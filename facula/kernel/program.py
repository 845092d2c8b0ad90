"""Loop programs: what one fused kernel computes, in data types that no target knows of.

A program has `n_outer` parallel dims and `n_inner` sequential dims. For every outer index its
phases run in order; a looping phase runs over all inner dims, the others run once. Sizes, strides,
offsets and run-time numbers are arguments: never part of a program, hence never part of its key.

    Program(1, 1, vector="inner", buffers=("float32", "float32"), n_scalars=0, phases=(
        Phase(True, (
            Stmt("load", "float32", (Access(0, ("n", "1")),)),          # 0
            Stmt("reduce", "float32", ("sum", 0)),                      # 1
        )),
        Phase(True, (
            Stmt("load", "float32", (Access(0, ("n", "1")),)),          # 2
            Stmt("div", "float32", (2, 1)),                             # 3
            Stmt("store", "float32", (Access(1, ("n", "1")), 3)),       # 4
        )),
    ))

Statements are numbered over the whole program. A value of a looping phase that depends on inner
dims lives in that phase only (`stash`/`unstash` carry it to a later one); every other value, and
the result of a `reduce` once its phase is over, can be used by all later statements.

Operands that overlap in memory with an operand that is stored must address the very same elements.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

ITEMSIZE = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "int64": 8,
    "uint64": 8,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "float64": 8,
}

FLOATS = frozenset({"float32", "float64"})
SMALL_FLOATS = frozenset({"float16", "bfloat16"})  # only loaded, stored, cast
UNSIGNED = frozenset({"uint8", "uint16", "uint32", "uint64"})

_UNARY_FLOAT = """exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal sin cos tan asin acos
    atan sinh cosh tanh asinh acosh atanh erf erfc erfinv lgamma digamma sigmoid floor ceil round
    trunc mantissa exponent"""
UNARY_FLOAT = frozenset(_UNARY_FLOAT.split())
UNARY_TEST = frozenset({"isnan", "isinf"})  # float -> bool
UNARY_NUMBER = frozenset({"neg", "abs", "sign", "relu"})
UNARY_BITS = frozenset({"not", "bitwise_not"})
UNARY = UNARY_FLOAT | UNARY_TEST | UNARY_NUMBER | UNARY_BITS

BINARY_FLOAT = frozenset({"div", "atan2", "copysign", "nextafter", "hypot"})
_BINARY_NUMBER = "add sub mul floordiv mod fmod truncdiv pow maximum minimum fmax fmin"
BINARY_NUMBER = frozenset(_BINARY_NUMBER.split())
COMPARE = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
BINARY_BITS = frozenset({"and", "or", "xor"})
SHIFTS = frozenset({"shl", "shr"})
BINARY = BINARY_FLOAT | BINARY_NUMBER | COMPARE | BINARY_BITS | SHIFTS
TERNARY = frozenset({"where", "fma"})

REDUCTIONS = frozenset({"sum", "row_sum", "prod", "max", "min", "any", "all", "argmax", "argmin"})


STORES = frozenset({"store", "store2", "accumulate"})
ACCESSING = STORES | {"load"}  # statements with an Access


@dataclass(frozen=True, slots=True)
class Access:
    """How a statement walks over operand `buf`: one stride kind per dim, outer dims first.

    '0' does not move, '1' is the next element, '-' is the one before, '2' the one after the next (of
    the vectorised dim only), 'n' is a run-time stride in elements (of any sign).
    """

    buf: int
    strides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stmt:
    """One operation. `dtype` is the result's; `args` are ids of earlier statements or attributes.

    op          args                              meaning
    load        Access [, mask, other]            the element; the number `other` where masked off
    store       Access, value [, mask]            only where mask holds
    store2      Access, value, value [, mask]     the second one to the next element
    accumulate  Access, value                     adds to the element, which begins anew with the
                                                  value where the last outer index is 0
    load_at     buf, index [, mask, other]        element at a run-time offset (int64, unchecked)
    store_at    buf, index, value [, mask]
    check       index, size, tag [, number]       wraps an index; `size` is an id or ("const", n);
                                                  a bad one is reported with tag, or with a number (id)
    const       number
    scalar      k                                 the program's k-th run-time number
    param       k                                 the k-th extra integer of the step (int64)
    index       d                                 int64 position along dim d
    size        d                                 int64 size of dim d
    reduce      kind, value                       over all inner dims
    stash       value                             keep for a later phase
    unstash     stash id
    cast        value                             to `dtype`
    bitcast     value                             same bits, same item size
    others      values                            elementwise, see the tables above
    """

    op: str
    dtype: str
    args: tuple

    @property
    def operands(self) -> tuple[int, ...]:
        """Ids of the statements whose values this one reads (not a stash that it unstashes)."""
        return tuple(self.args[i] for i in self._id_places())

    def _id_places(self) -> tuple[int, ...]:
        op, args = self.op, self.args
        if op == "check":
            return (0, *((1,) if not isinstance(args[1], tuple) else ()), *range(3, len(args)))
        if op in ID_PLACES:
            return tuple(i for i in ID_PLACES[op] if i < len(args) and args[i] is not None)
        return tuple(range(len(args)))

    def renumbered(self, place: Callable[[int], int]) -> Stmt:
        """The same statement with other ids for its operands (a stash that it unstashes stays)."""
        args = list(self.args)
        for i in self._id_places():
            args[i] = place(args[i])
        return Stmt(self.op, self.dtype, tuple(args))

    @property
    def mask(self) -> int | None:
        """Id of the mask of a memory access, if it has one."""
        place = MASK_PLACE.get(self.op)
        return self.args[place] if place is not None and place < len(self.args) else None


# which places of `args` hold ids of values, where not all do
ID_PLACES: dict[str, tuple[int, ...]] = {
    "load": (1,),
    "store": (1, 2),
    "store2": (1, 2, 3),
    "accumulate": (1,),
    "load_at": (1, 2),
    "store_at": (1, 2, 3),
    "const": (),
    "scalar": (),
    "param": (),
    "index": (),
    "size": (),
    "reduce": (1,),
    "unstash": (),
}
MASK_PLACE = {"load": 1, "store": 2, "store2": 3, "load_at": 2, "store_at": 3}


@dataclass(frozen=True, slots=True)
class Phase:
    """Statements that run once per outer index, or once per inner index if `loop`."""

    loop: bool
    stmts: tuple[Stmt, ...]


@dataclass(frozen=True)
class Program:
    """One fused kernel; its last 'inner' or its last 'outer' dim is vectorised."""

    n_outer: int
    n_inner: int
    vector: str
    buffers: tuple[str, ...]
    n_scalars: int
    phases: tuple[Phase, ...]

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        head = (self.n_outer, self.n_inner, self.vector, self.buffers, self.n_scalars)
        return hash((head, self.phases))

    @functools.cached_property
    def stmts(self) -> tuple[Stmt, ...]:
        """All statements; the position is the id."""
        return tuple(s for phase in self.phases for s in phase.stmts)

    @functools.cached_property
    def accesses(self) -> tuple[Access, ...]:
        """The distinct accesses in order of appearance: the order of `pack`'s strides.

        Equal accesses have equal strides; one operand walked in two ways is two operands.
        """
        return tuple(dict.fromkeys(s.args[0] for s in self.stmts if s.op in ACCESSING))

    @functools.cached_property
    def n_params(self) -> int:
        """How many extra integers `param` statements read."""
        return 1 + max((s.args[0] for s in self.stmts if s.op == "param"), default=-1)

    @functools.cached_property
    def varies_inner(self) -> tuple[bool, ...]:
        """For each statement whether its value changes along the inner dims."""
        levels: list[bool] = []
        for i, s in enumerate(self.stmts):
            if s.op in ACCESSING:
                own = any(kind != "0" for kind in s.args[0].strides[self.n_outer :])
            elif s.op == "index":
                own = s.args[0] >= self.n_outer
            else:
                own = s.op in ("stash", "unstash")
            if s.op == "reduce":
                levels.append(False)
            else:
                levels.append(own or any(levels[a] for a in s.operands if a < i))
        return tuple(levels)

    @functools.cached_property
    def key(self) -> str:
        """Canonical text: equal programs and only they have equal keys."""
        head = f"loop {self.n_outer}+{self.n_inner} {self.vector} {self.n_scalars}"
        lines = [head, " ".join(self.buffers)]
        for phase in self.phases:
            lines.append("loop:" if phase.loop else "once:")
            lines.extend(_line(s) for s in phase.stmts)
        return "\n".join(lines)

    def __str__(self) -> str:
        lines = []
        number = 0
        for line in self.key.split("\n"):
            if line.startswith("  "):
                line, number = f"  %{number} ={line[1:]}", number + 1
            lines.append(line)
        return "\n".join(lines)


def _line(s: Stmt) -> str:
    parts = [f"  {s.dtype} {s.op}"]
    for a in s.args:
        if isinstance(a, Access):
            parts.append(f"b{a.buf}[{''.join(a.strides)}]")
        else:
            parts.append(repr(a))
    return " ".join(parts)
