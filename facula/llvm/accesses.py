"""Statements of a loop program that read and write memory: at the element where the loops stand, at
run-time offsets, and in scratch, for a later phase.

Writers have the emitter, the statement with its number, and which copy of the body is written: None
for a scalar.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from facula.kernel.program import ITEMSIZE, Access, Program, Stmt
from facula.llvm.analysis import analyse
from facula.llvm.target import Target

if TYPE_CHECKING:
    from facula.llvm.emit import LoopEmitter


def load(e: LoopEmitter, i: int, s: Stmt, u: int | None) -> str:
    """By how the lanes follow each other: side by side, backwards, every second one, or far apart."""
    access, dtype = s.args[0], s.dtype
    other = s.args[2] if len(s.args) > 2 else 0
    pointer = e.pointer.get(access, e.base[access.buf])
    if u is None:
        mask = None if s.mask is None else e.get(s.mask, None)
        return e.memory.scalar_load(dtype, pointer, mask, other)
    mask, kind = e.masked(s.mask, u), access.strides[e.vector_dim]
    if kind == "1":
        pointer = e.memory.pointer(dtype, pointer, str(u * e.shape.lanes))
        return e.memory.load(dtype, pointer, mask, _copy_rest(e, s), other)
    if kind == "-" and (mask is None or e.target.has_mask):
        back = str(1 - (u + 1) * e.shape.lanes)
        pointer = e.memory.pointer(dtype, pointer, back)
        return e.memory.load_reversed(dtype, pointer, mask, other)
    if kind == "2" and mask is None:
        pointer = e.memory.pointer(dtype, pointer, str(2 * u * e.shape.lanes))
        return e.memory.load_every_second(dtype, pointer)
    return e.memory.gather(dtype, _lane_pointers(e, access, pointer, u), mask, other)


def store(e: LoopEmitter, i: int, s: Stmt, u: int | None) -> str:
    """Side by side, or each lane to its own place."""
    access, value = s.args[0], s.args[1]
    dtype, pointer = e.program.buffers[access.buf], e.pointer[access]
    if u is None:
        mask = None if s.mask is None else e.scalar_of(s.mask)
        name = e.scalar_of(value)
        e.memory.scalar_store(dtype, pointer, name, mask)
        return ""
    mask, name = e.masked(s.mask, u), e.get(value, u)
    if access.strides[e.vector_dim] == "1":
        pointer = e.memory.pointer(dtype, pointer, str(u * e.shape.lanes))
        e.memory.store(dtype, pointer, name, mask, _copy_rest(e, s))
    else:
        e.memory.scatter(dtype, _lane_pointers(e, access, pointer, u), name, mask)
    return ""


def store_pair(e: LoopEmitter, i: int, s: Stmt, u: int | None) -> str:
    """Two values to neighbouring elements: the parts of a complex number."""
    access, memory = s.args[0], e.memory
    dtype, pointer = e.program.buffers[access.buf], e.pointer[access]
    if u is None:
        mask = None if s.mask is None else e.scalar_of(s.mask)
        for k, value in enumerate(s.args[1:3]):
            where = memory.pointer(dtype, pointer, str(k))
            memory.scalar_store(dtype, where, e.scalar_of(value), mask)
        return ""
    mask, names = e.masked(s.mask, u), [e.get(value, u) for value in s.args[1:3]]
    if access.strides[e.vector_dim] == "2" and mask is None:
        pointer = memory.pointer(dtype, pointer, str(2 * u * e.shape.lanes))
        memory.store_in_turn(dtype, pointer, names)
        return ""
    for k, name in enumerate(names):
        where = memory.pointer(dtype, pointer, str(k))
        memory.scatter(dtype, _lane_pointers(e, access, where, u), name, mask)
    return ""


def accumulate(e: LoopEmitter, i: int, s: Stmt, u: int | None) -> str:
    """Adds to what the rows before left; the first row of a run begins anew."""
    access, b = s.args[0], e.b
    dtype, pointer = e.program.buffers[access.buf], e.pointer[access]
    starts = b.let(f"icmp eq i64 {e.position[e.program.n_outer - 1]}, 0")
    name = e.get(s.args[1], u)
    if u is None:
        lanes, old = e.scalar, e.memory.scalar_load(dtype, pointer, None, 0)
    else:
        lanes = e.vector
        if access.strides[e.vector_dim] == "1":
            pointer = e.memory.pointer(dtype, pointer, str(u * e.shape.lanes))
            old = e.memory.load(dtype, pointer, e.mask, _copy_rest(e, s))
        else:
            pointer = _lane_pointers(e, access, pointer, u)
            old = e.memory.gather(dtype, pointer, e.mask)
    v = lanes[dtype]
    name = b.let(f"select i1 {starts}, {v.f} {name}, {v.f} {v.add(old, name)}")
    if u is None:
        e.memory.scalar_store(dtype, pointer, name, None)
    elif access.strides[e.vector_dim] == "1":
        e.memory.store(dtype, pointer, name, e.mask, _copy_rest(e, s))
    else:
        e.memory.scatter(dtype, pointer, name, e.mask)
    return ""


def _lane_pointers(e: LoopEmitter, access: Access, pointer: str, u: int) -> str:
    """Where each lane of a copy is, from where the first lane of the first copy is."""
    dtype = e.program.buffers[access.buf]
    if access.strides[e.vector_dim] == "0":
        return e.vector["int64"].splat("ptr", pointer)
    lanes, copies = e.step[access]
    return e.memory.pointers(dtype, e.memory.pointer(dtype, pointer, copies[u]), lanes)


def _copy_rest(e: LoopEmitter, s: Stmt) -> str | None:
    """How many elements a tail has, where machines have no masks to store under."""
    return e.rest if not e.target.has_mask and s.mask is None else None


def load_at(e: LoopEmitter, i: int, s: Stmt, u: int | None) -> str:
    """At an index that is a value; indices that count up are read side by side."""
    buf, index = s.args[0], s.args[1]
    other = s.args[3] if len(s.args) > 3 else 0
    where = e.get(index, u)
    if u is None:
        pointer = e.memory.pointer(s.dtype, e.base[buf], where)
        mask = None if s.mask is None else e.get(s.mask, None)
        return e.memory.scalar_load(s.dtype, pointer, mask, other)
    mask, first = e.masked(s.mask, u), _first_of_run(e, index)
    if first is not None:
        pointer = _run_pointer(e, buf, first, u)
        return e.memory.load(s.dtype, pointer, mask, _copy_rest(e, s), other)
    pointers = e.memory.pointers(s.dtype, e.base[buf], where)
    return e.memory.gather(s.dtype, pointers, mask, other)


def store_at(e: LoopEmitter, i: int, s: Stmt, u: int | None) -> str:
    """The same, stored."""
    buf, index, value = s.args[:3]
    dtype, where, name = e.program.buffers[buf], e.get(index, u), e.get(value, u)
    if u is None:
        pointer = e.memory.pointer(dtype, e.base[buf], where)
        mask = None if s.mask is None else e.get(s.mask, None)
        e.memory.scalar_store(dtype, pointer, name, mask)
        return ""
    mask, first = e.masked(s.mask, u), _first_of_run(e, index)
    if first is not None:
        pointer = _run_pointer(e, buf, first, u)
        e.memory.store(dtype, pointer, name, mask, _copy_rest(e, s))
    else:
        pointers = e.memory.pointers(dtype, e.base[buf], where)
        e.memory.scatter(dtype, pointers, name, mask)
    return ""


def _first_of_run(e: LoopEmitter, i: int) -> str | None:
    """Where the lanes of an index count up by one (row start + position): its first lane."""
    s = e.program.stmts[i]
    if isinstance(e.values[i], str):
        return None
    if s.op == "index":
        return e.position[s.args[0]]
    moving = [a for a in s.args if s.op == "add" and not isinstance(e.values[a], str)]
    if len(moving) != 1:
        return None
    other = s.args[0] if moving[0] == s.args[1] else s.args[1]
    first = _first_of_run(e, moving[0])
    return first and e.b.let(f"add i64 {first}, {e.values[other]}")


def _run_pointer(e: LoopEmitter, buf: int, first: str, u: int) -> str:
    """Where a copy of a run begins whose first lane is at index `first`."""
    dtype = e.program.buffers[buf]
    pointer = e.memory.pointer(dtype, e.base[buf], first)
    return e.memory.pointer(dtype, pointer, str(u * e.shape.lanes))


def stash(e: LoopEmitter, i: int, s: Stmt, u: int | None) -> str:
    """Keeps a value for a later phase."""
    assert u is not None
    pointer, value = _stash_pointer(e, i, u), e.get(s.args[0], u)
    e.memory.store(s.dtype, pointer, value, None, None)  # areas have room for a full vector
    return ""


def unstash(e: LoopEmitter, i: int, s: Stmt, u: int | None) -> str:
    """What was kept at this place of the row."""
    assert u is not None
    return e.memory.load(s.dtype, _stash_pointer(e, s.args[0], u), None, None)


def _stash_pointer(e: LoopEmitter, i: int, u: int) -> str:
    dtype = e.program.stmts[i].dtype
    index = e.linear
    if e.outer_mode:
        index = e.b.let(f"mul i64 {index}, {e.shape.tile}")
    pointer = e.memory.pointer(dtype, e.area[i], index)
    return e.memory.pointer(dtype, pointer, str(u * e.shape.lanes))


def stash_areas(e: LoopEmitter) -> dict[int, str]:
    """Pointers to the stashes: one after the other, each for all inner elements of a row."""
    b = e.b
    count = "1"
    for d in range(e.program.n_outer, e.n_dims):
        count = b.let(f"mul i64 {count}, {e.size[d]}")
    areas: dict[int, str] = {}
    place = "0"
    for i in e.stashes:
        areas[i] = b.let(f"getelementptr i8, ptr %scratch, i64 {place}")
        size = ITEMSIZE[e.program.stmts[i].dtype]
        if e.outer_mode:
            area = b.let(f"mul i64 {count}, {size * e.shape.tile}")
        else:
            area = b.let(f"mul i64 {b.let(f'add i64 {count}, {e.shape.tile}')}, {size}")
        area = b.let(f"and i64 {b.let(f'add i64 {area}, 63')}, -64")
        place = b.let(f"add i64 {place}, {area}")
    return areas


def scratch_bytes(program: Program, inner_sizes: list[int], target: Target) -> int:
    """Bytes of scratch that the stashes of a program need."""
    if not any(s.op == "stash" for s in program.stmts):
        return 0
    shape, count = analyse(program, target), math.prod(inner_sizes)
    total = 0
    for s in program.stmts:
        if s.op == "stash":
            per_row = count * shape.tile if program.vector == "outer" else count + shape.tile
            total += (per_row * ITEMSIZE[s.dtype] + 63) & -64
    return total
