"""Pointwise groups that become the epilogue of the product they read.

A group without reductions that reads a matrix product, or a convolution, at the very element it computes
runs where the product's tiles are stored: a layer's bias, activation and residual then cost no pass
over memory of their own. The group's loop program is taken as it is. Its loops are laid over the product's
rows, columns and batch, which every operand has to walk through evenly; what does not fit stays a
kernel of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from facula.graph.ir import Val
from facula.graph.meta import contiguous_strides
from facula.kernel.matmul import Extra, Fused, stores_once
from facula.kernel.program import Access, Program
from facula.schedule.affine import Unfusable
from facula.schedule.codegen import Call, Memory, Place
from facula.schedule.group import Group
from facula.schedule.programs import group_call
from facula.schedule.templates.conv import conv_epilogue_shape, images_in, plan_conv_product
from facula.schedule.templates.matmul import is_planned, matmul_shape, plan_product

_PRODUCT = -7  # the slot that stands for the product's result, which may have no memory
_HALVES = ("float16", "bfloat16")
_FLOATS = ("float32", "float64")
_FLOAT_OPS = frozenset(
    "neg abs sign relu sqrt rsqrt reciprocal floor ceil trunc round isnan isinf add sub mul div fma maximum "
    "minimum fmax fmin copysign eq ne lt le gt ge where exp exp2 expm1 log log2 log10 log1p tanh sigmoid erf".split()
)
_BOOL_OPS = frozenset("and or xor not".split())
_DEAR = frozenset("exp exp2 expm1 log log2 log10 log1p tanh sigmoid erf div sqrt rsqrt".split())
_LIGHT = 12  # statements that may be repeated for each register of a tile
_STREAMS = 4  # whole matrices beside C: a block's rows are too short for more of them


class _Misfit(Exception):
    """The group cannot be an epilogue."""


@dataclass
class Fitted:
    """An epilogue and its operands; `c` is the access that the product's own result takes."""

    fused: Fused
    extras: tuple[Extra, ...]
    c: Place
    out: str


def attach(builder: Any) -> None:
    """Makes groups epilogues of the products they read, where that can be done."""
    taken: set[int] = set()
    places = _places(builder)
    for number, group in enumerate(builder.steps):
        if not isinstance(group, Group) or group.axes or group.columns or not group.members:
            continue
        products = [v for v in _products(builder, group) if _step_of(v).id not in taken]
        products.sort(key=lambda v: builder.fusion.stage[v.id])
        for v in reversed(products):
            if _fits(builder, number, group, v, places):
                heavy = _step_of(v)
                builder.steps[builder.fusion.stage[heavy.id]] = Group(-1, ())
                builder.fusion.stage[heavy.id] = builder.fusion.stage[v.id] = number
                group.product = v
                taken.add(heavy.id)
                break


def _step_of(v: Val) -> Val:
    return v.srcs[0] if v.op == "out" else v


def matrix_shape(v: Val) -> tuple[int, ...] | None:
    """(batch..., rows, columns) of a product's result; None if it is not one."""
    if v.op == "matmul":
        return matmul_shape(v) if is_planned(v) else None
    if v.op == "out" and v.srcs[0].op == "template:conv":
        return conv_epilogue_shape(v)
    return None


def _products(builder: Any, group: Group) -> list[Val]:
    found: dict[int, Val] = {}
    for m in group.members:
        for s in builder.fusion.inputs(m):
            if matrix_shape(s) is not None:
                found[s.id] = s
    return list(found.values())


def _places(builder: Any) -> dict[int, Place]:
    """Stand-ins for the memory of values, which has not been laid out yet."""
    places: dict[int, Place] = {}
    for k, u in enumerate(builder.vals.values()):
        if u.op == "buffer_at":
            places[u.id] = Place(k, 0, u.arg[0])
        elif u.op in ("buffer", "out") or u.id in builder.fusion.stage:
            places[u.id] = Place(k, 0)
    return places


def _fits(builder: Any, number: int, group: Group, v: Val, places: dict[int, Place]) -> bool:
    """Whether everybody else reads the product after the group, and the group's program fits."""
    if any(n < number for n in builder.readers.get(v.id, ())):
        return False
    stored = {m.id for m in group.members if m.id in builder.wanted or builder.readers.get(m.id)}
    kept = v.id in builder.wanted or any(n > number for n in builder.readers.get(v.id, ()))
    memory = Memory(places, n_scalars=builder.memory.n_scalars)
    try:
        fit = _fitted(
            _call(builder.fusion, group, memory, stored, v),
            v,
            memory.places[v.id] if kept else None,
        )
    except (_Misfit, Unfusable):
        return False
    return v.op == "matmul" or images_in(v, fit.c, fit.out) is not None


def _call(fusion: Any, group: Group, memory: Memory, stored: set[int], v: Val) -> Call:
    """The group's loop program, reading the product from a slot that stands for it."""
    place = memory.places.get(v.id)
    memory.places[v.id] = Place(_PRODUCT, 0)
    try:
        return group_call(fusion, group, memory, stored)
    finally:
        if place is None:
            del memory.places[v.id]
        else:
            memory.places[v.id] = place


def write(builder: Any, group: Group) -> list[Any]:
    """The steps of a product with its epilogue."""
    v = group.product
    assert v is not None
    kept = builder.memory.places.get(v.id)
    fit = _fitted(_call(builder.fusion, group, builder.memory, builder.stored, v), v, kept)
    builder.copy_used = 0
    plan = plan_product if v.op == "matmul" else plan_conv_product
    steps = plan(builder, v, fit.c, fit.out, (fit.fused,), fit.extras)
    if steps is None:
        raise AssertionError(f"no steps for {v!r}, which was taken for a product with code")
    if v.op == "matmul":
        builder.replaced[id(group)] = _replaced(builder, v, fit, stores_once(steps[-1]))
    return steps


def _replaced(builder: Any, v: Val, fit: Fitted, once: bool) -> dict[int, set[int]]:
    """For slots that are stored: those whose elements are read only right before, at the same place.

    `once`: C is stored only by the epilogue, and not the sums of some of k before.
    """
    fused, rows = fit.fused, list(zip(fit.fused.kinds, fit.extras, strict=True))
    stored = {args[0]: number for number, (op, _, args) in enumerate(fused.stmts) if op == "store"}
    targets = [(rows[k][1], number) for k, number in stored.items()]
    if once and fit.c.strides is not None:
        *batch, row, _ = fit.c.strides
        targets.append((Extra(fit.c.slot, row, tuple(batch), fit.c.offset), len(fused.stmts)))
    operands = {where[0] for s in v.srcs if (where := builder.strided(s)) is not None}
    found: dict[int, set[int]] = {}
    for target, number in targets:
        taken, other = set(), set(operands)
        for k, (kind, extra) in enumerate(rows):
            late = ("load", (k,)) in [(op, args) for op, _, args in fused.stmts[number:]]
            if kind == "mn" and replace(extra, slot=target.slot) == target and not late:
                taken.add(extra.slot)
            elif kind not in ("s", "out"):
                other.add(extra.slot)
        found[target.slot] = taken - other
    return found


# the program as an epilogue -----------------------------------------------------------------------


def _fitted(call: Call, v: Val, kept: Place | None) -> Fitted:
    """The epilogue that a program is; `kept`: where the product itself has to be stored as well."""
    program = call.program
    shape = matrix_shape(v)
    assert shape is not None
    if program.n_inner:
        raise _Misfit
    walks = _walks(call, shape)
    if _streams(call, walks) - (kept is None) > _STREAMS:
        raise _Misfit
    operands: list[tuple[str, str, Extra]] = []  # kind, dtype, where
    stmts: list[tuple[str, str, tuple]] = []
    places: dict[Any, int] = {}
    stores: list[tuple[int, int, Access]] = []  # statement in the chain, value, access
    number: list[int] = []  # of a statement of the program, in the chain

    def operand(kind: str, dtype: str, extra: Extra, key: Any) -> int:
        if key not in places:
            places[key] = len(operands)
            operands.append((kind, dtype, extra))
        return places[key]

    def extra_of(access: Access) -> tuple[str, Extra]:
        *batch, row, col = walks[access.buf]
        kind = "mn" if col and row else "n" if col else "m"
        where = Extra(call.slots[access.buf], row, tuple(batch), call.offsets[access.buf])
        return kind, where

    for s in program.stmts:
        if s.op in ("load", "store") and len(s.args) > (1 if s.op == "load" else 2):
            raise _Misfit
        args: tuple = tuple(number[a] for a in s.operands)
        op = s.op
        if op == "load" and call.slots[s.args[0].buf] == _PRODUCT:
            op, args = "sum", ()
        elif op == "load":
            kind, where = extra_of(s.args[0])
            args = (operand(kind, program.buffers[s.args[0].buf], where, s.args[0]),)
        elif op == "scalar":
            args = (
                operand("s", s.dtype, Extra(call.scalars[s.args[0]]), ("s", s.args[0], s.dtype)),
            )
        elif op == "const":
            args = s.args
        elif op == "store":
            stores.append((len(stmts), args[0], s.args[0]))
        elif not _allowed(program, s):
            raise _Misfit
        number.append(len(stmts))
        stmts.append((op, s.dtype, args))
    return _results(call, v, shape, kept, walks, operands, stmts, stores)


def _streams(call: Call, walks: dict[int, tuple[int, ...]]) -> int:
    """How many whole matrices a program reads beside the product, or stores."""
    read: set[Access] = set()
    stored = 0
    for s in call.program.stmts:
        if s.op == "store":
            stored += 1
        elif s.op == "load" and call.slots[s.args[0].buf] != _PRODUCT:
            *_, row, col = walks[s.args[0].buf]
            if row and col:
                read.add(s.args[0])
    return len(read) + stored


def _results(call, v, shape, kept, walks, operands, stmts, stores) -> Fitted:
    """Decides what is stored as C; everything else is written on the side."""
    dtype = v.dtype.name
    for _, _, access in stores:
        *_, row, col = walks[access.buf]
        if (shape[-1] > 1 and not col) or (shape[-2] > 1 and not row):
            raise _Misfit
    if kept is not None:
        sums = [i for i, s in enumerate(stmts) if s[0] == "sum"]
        result, place, out, own = sums[0], Place(kept.slot, kept.offset), dtype, None
    else:
        own = next(
            (s for s in stores if call.program.buffers[s[2].buf] == dtype),
            next((s for s in stores if call.program.buffers[s[2].buf] in _HALVES), None)
            if dtype == "float32"
            else None,
        )
        if own is None:
            raise _Misfit
        buf = own[2].buf
        out, result = call.program.buffers[buf], own[1]
        if out in _HALVES:
            # rounded as it is stored; the statement before is the float32 value
            if stmts[result][0] != "cast" or stmts[stmts[result][2][0]][1] != "float32":
                raise _Misfit
            result = stmts[result][2][0]
        place = Place(call.slots[buf], call.offsets[buf], tuple(walks[buf]))
    for i, value, access in stores:
        if own is not None and i == own[0]:
            stmts[i] = ("const", "bool", (False,))
            continue
        *batch, row, _ = walks[access.buf]
        stmts[i] = ("store", stmts[value][1], (len(operands), value))
        where = Extra(call.slots[access.buf], row, tuple(batch), call.offsets[access.buf])
        operands.append(("out", call.program.buffers[access.buf], where))
    ops = [op for op, _, _ in stmts]
    heavy = len(ops) > _LIGHT or any(op in _DEAR for op in ops) or "store" in ops
    kinds, types = (tuple(x[k] for x in operands) for k in (0, 1))
    return Fitted(
        Fused(kinds, types, tuple(stmts), result, heavy),
        tuple(e for _, _, e in operands),
        place,
        out,
    )


def _allowed(program: Program, s: Any) -> bool:
    """Whether an elementwise statement can be part of an epilogue."""
    source = program.stmts[s.args[-1]].dtype if s.operands else ""
    if s.op == "cast":
        return {s.dtype, source} <= {*_FLOATS, *_HALVES, "bool", "int64"}  # a scalar may be int64
    if s.op == "where":
        return source in (*_FLOATS, "bool")
    return s.op in _FLOAT_OPS if source in _FLOATS else source == "bool" and s.op in _BOOL_OPS


def _walks(call: Call, shape: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    """For each operand a stride for each dim of the product's result."""
    walks = dict(zip([a.buf for a in call.program.accesses], call.strides, strict=True))
    mine = [k for k in walks if call.slots[k] == _PRODUCT]
    if len(mine) != 1 or call.offsets[mine[0]]:
        raise _Misfit
    pieces = _pieces(call.outer, walks[mine[0]], shape)
    out: dict[int, tuple[int, ...]] = {}
    for k, strides in walks.items():
        got: list[int] = []
        for dim in pieces:
            step, span = 0, 1
            for d, times, size in dim:
                stride = strides[d] * times
                if span == 1:
                    step = stride
                elif stride != step * span:
                    raise _Misfit
                span *= size
            got.append(step)
        *_, row, col = got
        if col not in (0, 1) or row < 0:
            raise _Misfit
        out[k] = tuple(got)
    return out


def _pieces(
    sizes: list[int], strides: list[int], shape: tuple[int, ...]
) -> list[list[tuple[int, int, int]]]:
    """Which parts of which loop dims make each dim of the product, innermost first.

    A part is (loop dim, how many of its steps one step of the part is, size).
    """
    if math.prod(sizes) != math.prod(shape):
        raise _Misfit
    bounds = contiguous_strides(shape)
    parts: list[tuple[int, int, int, int]] = []  # stride in the product, loop dim, times, size
    for d, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        if size == 1:
            continue
        if stride < 1:
            raise _Misfit
        times = 1
        for b in sorted(set(bounds)):
            at = stride * times
            if at < b < stride * size:
                if b % at or size % (b // stride):
                    raise _Misfit
                parts.append((at, d, times, b // at))
                times = b // stride
        parts.append((stride * times, d, times, size // times))
    parts.sort()
    out: list[list[tuple[int, int, int]]] = [[] for _ in shape]
    expected, dim = 1, len(shape) - 1
    for at, d, times, size in parts:
        if at != expected:
            raise _Misfit
        while dim > 0 and at >= bounds[dim] * shape[dim]:
            dim -= 1
        out[dim].append((d, times, size))
        expected *= size
    return out
