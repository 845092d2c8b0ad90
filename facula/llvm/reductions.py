"""Accumulators of reductions: how they begin, take a value, and are combined in a fixed order."""

from __future__ import annotations

import math

from facula.kernel.program import FLOATS, ITEMSIZE, UNSIGNED
from facula.llvm.build import REGISTER, literal
from facula.llvm.elementwise import FLOAT, INTEGER, Values

_COMBINE = {
    "sum": "add",
    "row_sum": "add",
    "prod": "mul",
    "max": "maximum",
    "min": "minimum",
    "any": "or",
    "all": "and",
}


def parts(kind: str, dtype: str) -> list[str]:
    """dtypes of an accumulator's parts: the value, and for argmax/argmin the index."""
    return [dtype, "int64"] if kind in ("argmax", "argmin") else [dtype]


def start(kind: str, dtype: str) -> list[str]:
    """Literals that the parts of an accumulator begin with (of scalar type)."""
    register = REGISTER[dtype]
    if kind in ("sum", "row_sum", "prod", "any", "all"):
        return [literal(register, {"sum": 0, "row_sum": 0, "prod": 1, "any": 0, "all": 1}[kind])]
    greatest = kind in ("max", "argmax")
    if dtype in FLOATS:
        number: float | int = -math.inf if greatest else math.inf
    elif dtype == "bool":
        number = not greatest
    else:
        bits = 8 * ITEMSIZE[dtype]
        if dtype in UNSIGNED:
            number = 0 if greatest else -1
        else:
            number = -(1 << (bits - 1)) if greatest else (1 << (bits - 1)) - 1
    value = literal(register, number)
    return [value] if kind in ("max", "min") else [value, "0"]


def combine(
    values: Values, kind: str, dtype: str, old: list[str], new: list[str], ties: bool
) -> list[str]:
    """The accumulator that has seen both. `ties`: indices may come in any order."""
    if kind not in ("argmax", "argmin"):
        table = FLOAT if dtype in FLOATS else INTEGER
        if kind == "sum" and dtype == "bool":
            kind = "any"
        return [table[_COMBINE[kind]](values[dtype], dtype, old[0], new[0])]
    v, w = values[dtype], values["int64"]
    better = _better(values, kind, dtype, old[0], new[0])
    if ties:
        table = FLOAT if dtype in FLOATS else INTEGER
        equal = table["eq"](v, dtype, old[0], new[0])
        if dtype in FLOATS:
            both = v.logic("and", v.cmp("uno", old[0], old[0]), v.cmp("uno", new[0], new[0]))
            equal = v.logic("or", equal, both)
        first = w.icmp("slt", new[1], old[1])
        better = v.logic("or", better, v.logic("and", equal, first))
    return [
        v.let(f"select {v.b} {better}, {v.f} {new[0]}, {v.f} {old[0]}"),
        w.let(f"select {w.b} {better}, {w.f} {new[1]}, {w.f} {old[1]}"),
    ]


def _better(values: Values, kind: str, dtype: str, old: str, new: str) -> str:
    v = values[dtype]
    how = "gt" if kind == "argmax" else "lt"
    if dtype not in FLOATS:
        return INTEGER[how](v, dtype, new, old)
    beyond = v.cmp("o" + how, new, old)
    first_nan = v.logic("and", v.cmp("uno", new, new), v.cmp("ord", old, old))
    return v.logic("or", beyond, first_nan)


def fold_row(values: Values, dtype: str, total: str, n: str) -> str:
    """The sum of all lanes; of doubles, and of a row of n that is shorter than the register, one by one.

    So PyTorch's softmax adds up rows, whose last digits are in what users print.
    """
    v, b = values[dtype], values.builder
    name = f"llvm.vector.reduce.fadd.{v.suffix}"
    in_order = b.intrinsic(name, REGISTER[dtype], [(REGISTER[dtype], "0.0"), (v.f, total)])
    if dtype == "float64":
        return b.let(in_order)
    short, long, done = b.label("short"), b.label("long"), b.label("summed")
    b.do(f"br i1 {b.let(f'icmp slt i64 {n}, {values.n}')}, label %{short}, label %{long}")
    b.begin(short)
    ordered = b.let(in_order)
    b.do(f"br label %{done}")
    b.begin(long)
    (folded,) = fold_lanes(values, "sum", dtype, [total])
    after = b.block
    b.do(f"br label %{done}")
    b.begin(done)
    return b.let(f"phi {REGISTER[dtype]} [ {ordered}, %{short} ], [ {folded}, %{after} ]")


def fold_lanes(values: Values, kind: str, dtype: str, parts_: list[str]) -> list[str]:
    """One number from all lanes: halves are combined until one lane is left."""
    builder, n = values.builder, values.n
    dtypes = parts(kind, dtype)
    while n > 1:
        half = Values(builder, n // 2)
        low = ", ".join(f"i32 {k}" for k in range(n // 2))
        high = ", ".join(f"i32 {k}" for k in range(n // 2, n))
        halves = []
        for order in (low, high):
            names = []
            for part, name in zip(dtypes, parts_, strict=True):
                full = f"<{n} x {REGISTER[part]}>"
                names.append(
                    builder.let(
                        f"shufflevector {full} {name}, {full} poison, <{n // 2} x i32> <{order}>"
                    )
                )
            halves.append(names)
        parts_ = combine(half, kind, dtype, halves[0], halves[1], ties=True)
        n //= 2
    return [
        builder.let(f"extractelement <1 x {REGISTER[part]}> {name}, i64 0")
        for part, name in zip(dtypes, parts_, strict=True)
    ]
