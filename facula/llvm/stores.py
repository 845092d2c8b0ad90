"""Stores of a loop program that do more than write one value: pairs, and sums that go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facula.kernel.program import Stmt

if TYPE_CHECKING:
    from facula.llvm.emit import LoopEmitter


def store_pair(e: LoopEmitter, i: int, s: Stmt, u: int | None) -> str:
    access, memory = s.args[0], e.memory
    dtype, pointer = e.program.buffers[access.buf], e.pointer[access]
    if u is None:
        mask = None if s.mask is None else e._scalar_of(s.mask)
        for k, value in enumerate(s.args[1:3]):
            where = memory.pointer(dtype, pointer, str(k))
            memory.scalar_store(dtype, where, e._scalar_of(value), mask)
        return ""
    mask, names = e._both(s.mask, u), [e._get(value, u) for value in s.args[1:3]]
    if access.strides[e.vector_dim] == "2" and mask is None:
        pointer = memory.pointer(dtype, pointer, str(2 * u * e.shape.lanes))
        memory.store_in_turn(dtype, pointer, names)
        return ""
    for k, name in enumerate(names):
        where = memory.pointer(dtype, pointer, str(k))
        memory.scatter(dtype, e._lane_pointers(access, where, u), name, mask)
    return ""


def accumulate(e: LoopEmitter, i: int, s: Stmt, u: int | None) -> str:
    access, b = s.args[0], e.b
    dtype, pointer = e.program.buffers[access.buf], e.pointer[access]
    starts = b.let(f"icmp eq i64 {e.position[e.program.n_outer - 1]}, 0")
    name = e._get(s.args[1], u)
    if u is None:
        lanes, old = e.scalar, e.memory.scalar_load(dtype, pointer, None, 0)
    else:
        lanes = e.vector
        if access.strides[e.vector_dim] == "1":
            pointer = e.memory.pointer(dtype, pointer, str(u * e.shape.lanes))
            old = e.memory.load(dtype, pointer, e.mask, e._copy_rest(s))
        else:
            pointer = e._lane_pointers(access, pointer, u)
            old = e.memory.gather(dtype, pointer, e.mask)
    v = lanes[dtype]
    name = b.let(f"select i1 {starts}, {v.f} {name}, {v.f} {v.add(old, name)}")
    if u is None:
        e.memory.scalar_store(dtype, pointer, name, None)
    elif access.strides[e.vector_dim] == "1":
        e.memory.store(dtype, pointer, name, e.mask, e._copy_rest(s))
    else:
        e.memory.scatter(dtype, pointer, name, e.mask)
    return ""
