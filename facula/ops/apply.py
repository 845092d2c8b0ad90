"""Recording one operator on tensors: entries on the tape, results, and their derivative node."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any
from weakref import ref as _ref

from facula.autograd.node import HOOKS, Node, Saved, grad_class, save, save_result
from facula.graph.blame import wrong_type
from facula.graph.meta import META, Meta, meta_of
from facula.graph.tape import (
    ENGINE,
    LOCAL,
    MAX_KNOWN,
    MAX_NODES,
    VIEW,
    WRITE,
    WRITE_AT,
    Inst,
    Op,
    Storage,
    Tape,
    evaluate,
    flush,
    next_seq,
)
from facula.ops.recorders import recorder
from facula.running import RUNNING
from facula.runtime.buffers import alloc
from facula.tensor import Tensor, empty_meta, storage_array, wrap

_new = object.__new__
_HOME = str(Path(__file__).parent.parent)
metas_of, _wants = attrgetter("meta"), attrgetter("_rg")

_kinds: dict[str, bool] = {}  # by file name: whether its code is the user's


def _is_users(filename: str) -> bool:
    if len(_kinds) > MAX_KNOWN:
        _kinds.clear()
    kind = _kinds[filename] = not filename.startswith(_HOME)
    return kind


def mark(tape: Tape, entry: int, depth: int = 3) -> None:
    """Notes the user's line that records an operator, and the modules whose forward is running.

    Which line it is, and the modules' names, are looked up in need. It is not among the innermost
    `depth` frames: this function, what records, and what calls that.
    """
    frame: Any = sys._getframe(depth)
    while frame is not None:
        code = frame.f_code
        users = _kinds.get(code.co_filename)
        if users or (users is None and _is_users(code.co_filename)):
            running = RUNNING.modules
            modules = [_ref(module) for module in reversed(running)] if running else ()
            tape.marks.append((entry, code, frame.f_lasti, modules))
            return
        frame = frame.f_back


def entries_of(tape: Tape, tensors: Sequence[Tensor]) -> tuple[list[int], list[Meta]]:
    """Tape entries and geometries of operands."""
    entries, metas = [], []
    for t in tensors:
        m, s = t.meta, t._s
        if m.dtype is not s.meta.dtype and m.numel:
            entries.append(_reinterpreted(tape, t))
            m = m.plain()
        elif m.offset:
            entries.append(tape.view(s, m, t._off))
            m = m.plain()
        else:
            entries.append(s.i if s.tape is tape else tape.leaf(s))
        metas.append(m)
    return entries, metas


def _bitcast_expand(g: Any, a: Any, flat: Meta) -> Any:
    count = flat.numel * flat.dtype.itemsize // a.dtype.itemsize
    a = g.slice(g.reshape(a, (a.numel,)), [0], [count], [1])
    return g.bitcast(a, flat.dtype, tuple(flat.shape))


BITCAST = Op("bitcast", lambda a, flat: flat, _bitcast_expand)


def _reinterpreted(tape: Tape, t: Tensor) -> int:
    """The entry of a tensor whose dtype is not its storage's (after `view(dtype)`, `.real`)."""
    m, s = t.meta, t._s
    flat = meta_of(m.dtype, (s.meta.numel * s.meta.dtype.itemsize // m.dtype.itemsize,))
    entry = tape.entry(s)
    tape.key += (BITCAST.inst((s.meta,), (flat,)), entry)
    tape.values.append(None)
    tape.key += (VIEW.inst((flat,), (m, t._off)), tape.n)
    tape.values.append(None)
    tape.n += 2
    return tape.n - 1


def apply(op: Op, tensors: Sequence[Tensor], params: tuple = (), scalars: tuple = ()) -> Any:
    """Records op; a tensor, or a tuple of them where the operator has several results."""
    try:
        inst = op.insts.get((tuple(map(metas_of, tensors)), params))
    except AttributeError:
        raise _not_a_tensor(op, tensors) from None
    if (
        inst is not None
        and inst.reads
        and (inst.types is None or inst.types == tuple(map(type, params)))
    ):
        if inst.multi:
            return record_several(op, inst, tensors, scalars)
        return record(op, inst, tensors, scalars)
    for t in tensors:
        if t.meta.device is META:
            return _apply_meta(op, tensors, params, scalars)
    tape = LOCAL.tape
    entries, metas = entries_of(tape, tensors)
    inst = op.inst(tuple(metas), params, len(scalars))
    if op.marks:
        mark(tape, tape.n)
    storages = tape.record(inst, tuple(entries), scalars)
    outs = tuple([wrap(s, m) for s, m in zip(storages, inst.shown, strict=True)])
    if tape.grad and op.backward is not None:
        attach(op, inst, tensors, outs, scalars)
    if tape.budget < 0 or tape.n > MAX_NODES:
        ENGINE.flush(tape)
    return outs if inst.multi else outs[0]


def apply_settled(op: Op, t: Tensor, args: tuple, settle: Callable[..., tuple]) -> Any:
    """apply(op, (t,), settle(t's number of dims, *args)), settled once for each geometry and args.

    Args that compare equal must mean the same, as 1 and True do for a dim.
    """
    try:
        inst = op.calls.get((t.meta, args))
    except TypeError:  # a list among args
        return apply(op, (t,), settle(t.meta.ndim, *args))
    except AttributeError:
        raise _not_a_tensor(op, (t,)) from None
    if inst is not None:
        return record(op, inst, (t,))
    return apply_known(op, (t,), settle(t.meta.ndim, *args), t.meta, args)


def apply_known(op: Op, tensors: Sequence[Tensor], params: tuple, geometry: Any, args: Any) -> Any:
    """apply(op, tensors, params), noted in `op.calls` as what (geometry, args) comes to.

    The next such call is one `record` of what is found there.
    """
    out = apply(op, tensors, params)
    inst = op.insts.get((tuple(map(metas_of, tensors)), params))
    if inst is not None and inst.reads and not inst.multi:
        op.remember(geometry, args, inst)
    return out


def record(op: Op, inst: Inst, tensors: Sequence[Tensor], scalars: tuple = ()) -> Tensor:
    """Records an instance with one result whose operands are read as they lie (`inst.reads`)."""
    write = inst.record
    if write is None:
        write = inst.record = recorder(inst, mark) or partial(_record_any, inst)
    out: Tensor = write(tensors, scalars)
    return out


def _record_any(inst: Inst, tensors: Sequence[Tensor], scalars: tuple) -> Tensor:
    """As `record`, for any number of operands."""
    op = inst.op
    tape = LOCAL.tape
    wanted = False
    entries = [inst]
    for t in tensors:
        s = t._s
        entries.append(s.i if s.tape is tape else tape.leaf(s))
        if t._rg:
            wanted = True
    tape.key += entries
    if scalars:
        tape.scalars += scalars
    if op.marks:
        mark(tape, tape.n)
    s = _new(Storage)
    s.tape, s.i, s.buf, s.version, s.pin = tape, tape.n, None, tape.born, None
    tape.n += 1
    tape.values.append(s)
    out = _new(Tensor)
    s.meta, out.meta = inst.outs[0], inst.meta
    m, out._s = inst.meta, s
    tape.budget -= inst.nbytes
    if wanted and tape.grad and op.backward is not None and m.dtype.kind in "fc":
        # as `_node_of`, written out: the call is 1 % of a small network's step
        cls = op.grad_class
        if type(cls) is str:
            cls = grad_class(op)
        node = _new(cls)
        node.inst, node.scalars, node.seq = inst, scalars, next_seq()
        node.edges = tuple([(t._g or t) if t._rg else None for t in tensors])
        out._rg, out._g = True, node
        node.saved = saved = []
        for i in op.saves_inputs:
            if i >= len(tensors):
                saved.append(None)
            else:
                t = tensors[i]
                version = t._s.version
                saved.append(save(t) if HOOKS or version < 0 else (t, version))
        if op.saves_outputs:
            saved.append(save_result(out, 0))
    if tape.budget < 0 or tape.n > MAX_NODES:
        ENGINE.flush(tape)
    return out


def record_several(op: Op, inst: Inst, tensors: Sequence[Tensor], scalars: tuple) -> Any:
    """As `record`, for several results: a tuple of them."""
    tape = LOCAL.tape
    entries: list[Any] = [inst]
    for t in tensors:
        s = t._s
        entries.append(s.i if s.tape is tape else tape.leaf(s))
    tape.key += entries
    if scalars:
        tape.scalars += scalars
    if op.marks:
        mark(tape, tape.n)
    outs = []
    for natural, m in zip(inst.outs, inst.shown, strict=True):
        s = _new(Storage)
        s.tape, s.i, s.buf, s.version, s.pin = tape, tape.n, None, tape.born, None
        tape.n += 1
        tape.values.append(s)
        out = _new(Tensor)
        s.meta, out.meta = natural, m
        out._s = s
        outs.append(out)
    tape.budget -= inst.nbytes
    if tape.grad and op.backward is not None:
        attach(op, inst, tensors, outs, scalars)
    if tape.budget < 0 or tape.n > MAX_NODES:
        ENGINE.flush(tape)
    return tuple(outs)


def _not_a_tensor(op: Op, tensors: Sequence[Any]) -> TypeError:
    place, bad = next((i, t) for i, t in enumerate(tensors, 1) if not isinstance(t, Tensor))
    found = wrong_type(bad, "Tensor")
    if "argument" in str(found):
        return found
    return TypeError(f"{op.name}(): argument {place} must be Tensor, not {type(bad).__name__}")


def _apply_meta(op: Op, tensors: Sequence[Tensor], params: tuple, scalars: tuple) -> Any:
    if op.name not in _ANY_DEVICE:
        check_devices(tensors)
    inst = op.inst(tuple([t.meta for t in tensors]), params, len(scalars))
    outs = tuple([empty_meta(m) for m in inst.shown])
    if LOCAL.tape.grad and op.backward is not None:
        attach(op, inst, tensors, outs, scalars)
    return outs if inst.multi else outs[0]


# operators that may read CPU tensors (indices, say) beside meta tensors, as in PyTorch
_ANY_DEVICE = frozenset({
    "addmm", "baddbmm", "bmm", "convolution", "convolution_backward", "dot", "embedding",
    "embedding_dense_backward", "gather", "index", "index_add", "index_copy", "index_put",
    "index_select", "linear", "linear_backward", "mm", "mv", "scatter", "scatter_add", "scatter_reduce",
})  # fmt: skip


def check_devices(tensors: Sequence[Tensor]) -> None:
    """RuntimeError where tensors, 0-d ones aside, are not all on the device of the first."""
    first = None
    for t in tensors:
        m = t.meta
        if first is None or not first.ndim:
            first = m
        elif m.ndim and m.device is not first.device:
            raise RuntimeError(
                f"Tensor on device {m.device} is not on the expected device {first.device}!"
            )


def attach(
    op: Op, inst: Inst, tensors: Sequence[Tensor], outs: Sequence[Tensor], scalars: tuple
) -> None:
    """Gives results their derivative node if an input wants a gradient."""
    if not any(map(_wants, tensors)):
        return
    node = _node_of(op, inst, tensors, scalars)
    if inst.multi:
        for i, out in enumerate(outs):
            if out.meta.dtype.kind in "fc":
                out._rg, out._g = True, (node, i)
    elif outs[0].meta.dtype.kind in "fc":
        outs[0]._rg, outs[0]._g = True, node
    for i in op.saves_outputs:
        node.saved.append(save_result(outs[i], i))


def _node_of(op: Op, inst: Inst, tensors: Sequence[Tensor], scalars: tuple) -> Node:
    """A derivative node with its edges and what it keeps of the inputs."""
    cls: Any = op.grad_class
    if type(cls) is str:
        cls = grad_class(op)
    node = _new(cls)
    node.inst, node.scalars, node.seq = inst, scalars, next_seq()
    node.edges = tuple([(t._g or t) if t._rg else None for t in tensors])
    node.saved = saved = []
    for i in op.saves_inputs:
        if i >= len(tensors):
            saved.append(None)
        else:
            t = tensors[i]
            version = t._s.version
            saved.append(save(t) if HOOKS or version < 0 else (t, version))
    return node


# writing in place --------------------------------------------------------------------


def check_writable(t: Tensor, wanted: bool = False) -> None:
    """PyTorch's rules on in-place writes where gradients are wanted, by t or by what is written."""
    tape = LOCAL.tape
    if t._s.version < 0 and not tape.born:
        raise RuntimeError(_MAY_NOT["inference"])
    if not tape.grad:
        return
    base = t._base
    if base is not None and (wanted or t._rg or base._rg):
        if t._made is not None:
            raise RuntimeError(_MAY_NOT[t._made])
        if t._rg and base._g is None:
            raise RuntimeError(
                "a view of a leaf Variable that requires grad is being used in an in-place operation."
            )
    if t._rg and t._g is None:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )


_MAY_NOT = {
    "inference": "Inplace update to inference tensor outside InferenceMode is not allowed. "
    "You can make a clone to get a normal tensor before doing inplace update.",
    "no_grad": "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Given "
    "that this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both "
    "the view and the inplace either both inside the no_grad block (if you don't want the inplace to be tracked) "
    "or both outside (if you want the inplace to be tracked).",
    "multi": "Output of a function that returns multiple views is a view and is being modified inplace. Such "
    "functions do not allow the output views to be modified inplace. You should replace the inplace operation by "
    "an out-of-place one.",
}


_OVERLAP = (
    "unsupported operation: some elements of the input tensor and the written-to tensor refer to a "
    "single memory location. Please clone() the tensor before performing the operation."
)


def before_write(t: Tensor, operands: Sequence[Any]) -> None:
    """What t's own operator does first: one element is read where the plan does not know its place."""
    check_overlap(t, operands)
    m = t.meta
    if m.numel == 1 and m.offset:
        LOCAL.tape.element(t._s, m, t._off)


def check_overlap(t: Tensor, operands: Sequence[Any]) -> None:
    """RuntimeError where t is written from a tensor that lies across it in the same memory."""
    for o in operands:
        if isinstance(o, Tensor) and o._s is t._s and o is not t and _lies_across(t, o):
            check_writable(t, o._rg)
            raise RuntimeError(_OVERLAP)


def check_disjoint(t: Tensor, operands: Sequence[Any]) -> None:
    """RuntimeError where t, about to be written, has memory in common with an operand."""
    m = t.meta
    for o in operands:
        if o is t:  # even without elements: it would be resized under the operator
            raise RuntimeError(_OVERLAP)
        if not isinstance(o, Tensor) or o._s is not t._s or not m.numel or not o.meta.numel:
            continue
        size = m.dtype.itemsize
        start, other = t._off * size, o._off * size
        if start < other + extent(o.meta) * size and other < start + extent(m) * size:
            raise RuntimeError(_OVERLAP)


def extent(m: Meta) -> int:
    """Elements of the storage from a tensor's first to its last."""
    return 1 + sum((n - 1) * s for n, s in zip(m.shape, m.strides, strict=True))


def _lies_across(t: Tensor, o: Tensor) -> bool:
    """Whether two tensors that each fill a range of one storage meet without being the same."""
    a, b = t.meta, o.meta
    if not a.numel or not b.numel or not (fills_range(a) and fills_range(b)):
        return False
    start, other = t._off * a.dtype.itemsize, o._off * b.dtype.itemsize
    end, other_end = start + a.numel * a.dtype.itemsize, other + b.numel * b.dtype.itemsize
    if (start, end) == (other, other_end):
        return a.strides != b.strides
    return start < other_end and other < end


def fills_range(m: Meta) -> bool:
    """Whether the elements lie side by side, in any order of dims."""
    if m.contiguous:
        return True
    at = 1
    for s, n in sorted((s, n) for n, s in zip(m.shape, m.strides, strict=True) if n != 1):
        if s != at:
            return False
        at *= n
    return True


def check_no_repeats(t: Tensor) -> None:
    """RuntimeError where elements of t are one in memory (an expanded dim)."""
    m = t.meta
    if (
        not m.contiguous
        and m.numel > 1
        and any(s == 0 and n > 1 for s, n in zip(m.strides, m.shape, strict=True))
    ):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a "
            "single memory location. Please clone() the tensor before performing the operation."
        )


def overwrite(t: Tensor, value: Tensor, fresh: bool = False) -> Tensor:
    """Makes t's elements those of value (same shape and dtype), with the history of value.

    `fresh`: value was made for this and is used nowhere else, so its entry may be taken over.
    """
    check_writable(t, value._rg)
    check_no_repeats(t)
    record_write(t, value, fresh)
    return t


def record_write(t: Tensor, value: Tensor, fresh: bool = False) -> None:
    """The write with its history, after all checks; on the meta device there is only the history."""
    if t.meta.device is META:
        t._s.version += 1
    else:
        write_value(t, value, fresh)
    if t._quiet or (t._base is not None and t._base._quiet):
        t._s.version -= 1
    if LOCAL.tape.grad and (value._rg or t._rg):
        _rebase_history(t, value)
    tape = LOCAL.tape
    if tape.budget < 0 or tape.n > MAX_NODES:
        ENGINE.flush(tape)


def write_value(t: Tensor, value: Tensor, fresh: bool = False) -> None:
    """The write itself, without history."""
    tape = LOCAL.tape
    s, m = t._s, t.meta
    if m.numel == 0:
        s.version += 1
        return
    if m.dtype is not s.meta.dtype:
        _write_reinterpreted(t, value)
        return
    (entry,), _ = entries_of(tape, (value,))
    if m is s.meta or (m.contiguous and not t._off and m.numel == s.meta.numel):
        taken = fresh and value.meta is s.meta and tape.values[entry] is value._s
        if not taken:
            entry = _copy_entry(tape, value, s.meta)
        pin = _pinned(s)
        if s.tape is not tape and s.buf is not None:
            tape.leaf(s)  # holds the old buffer until the plan has run, for reuse
        tape.rebind(s, entry)
        if fresh and value._g is not None:
            _move_saved(value, t)
    else:
        old = s.i if s.tape is tape else tape.leaf(s)
        pin = _pinned(s)
        plain = m.plain()
        if value.meta is not plain or value.meta.offset:
            entry = _copy_entry(tape, value, plain)
        if s.buf is not None or (m.numel == 1 and tape.watch is None):
            # a single element's place is a number: loops fill tables at ever other ones
            inst = WRITE_AT.inst((s.meta, plain), (m,), 1)
            tape.scalars.append(t._off)
        else:
            inst = WRITE.inst((s.meta, plain), (m, t._off))
        tape.key += (inst, old, entry)
        tape.values.append(None)
        tape.n += 1
        tape.budget -= s.meta.numel * s.meta.dtype.itemsize
        tape.rebind(s, tape.n - 1)
        if fresh and value._g is not None:
            _move_saved(value, t)
    if pin:
        tape.budget = -1


def _move_saved(value: Tensor, t: Tensor) -> None:
    """A node that saved the result it wrote into t keeps t's memory, and is spoiled by writes to t.

    What goes past the version counter (`t.data`, an array that shares the memory) it sees as well.
    """
    node = value.grad_fn
    if type(node.saved) is list:  # type: ignore[union-attr]
        for kept in node.saved:  # type: ignore[union-attr]
            if type(kept) is Saved and kept.storage is value._s:
                kept.storage, kept.meta, kept.offset = t._s, t.meta, t._off
                kept.written, kept.version = t._s, t._s.version


def _pinned(s: Any) -> bool:
    if s.pin is None:
        return False
    if s.pin() is None:
        s.pin = None
        return False
    return True


def _copy_entry(tape: Tape, value: Tensor, m: Meta) -> int:
    """An entry of its own with value's elements in geometry m."""
    from facula.ops.shape import COPY

    entries, metas = entries_of(tape, (value,))
    inst = COPY.inst((metas[0],), (tuple(m.shape),))
    tape.key += (inst, *entries)
    tape.values.append(None)
    tape.n += 1
    return tape.n - 1


def _write_reinterpreted(t: Tensor, value: Tensor) -> None:
    """A write through a view of another dtype: done on the bytes at once."""
    array = value._array()
    flush()  # what was recorded before keeps reading the old bytes
    s = t._s
    old = evaluate(s)
    if not _pinned(s):
        s.buf = alloc(max(old.nbytes, 1))
        s.buf.numpy("uint8", (old.nbytes,))[:] = old.numpy("uint8", (old.nbytes,))
        s.tape = None
    storage_array(s, t.meta, t._off)[...] = array
    s.version += 1


def _rebase_history(t: Tensor, value: Tensor) -> None:
    base = t._base
    if base is None:
        if t._retains:
            _move_retained(t, value)
        t._rg, t._g = value._rg, value._g
        _refresh_views(t)
        return
    from facula.ops.shape import as_strided_history
    from facula.ops.written_views import strided_scatter_history

    strided_scatter_history(base, t, value)
    as_strided_history(base, t)
    _refresh_views(base, but=t)


def _move_retained(t: Tensor, value: Tensor) -> None:
    """A tensor that keeps its gradient keeps that of its new value."""
    node, number = t._g if type(t._g) is tuple else (t._g, 0)
    refs = node.retained[number]
    refs[:] = [r for r in refs if r() is not t]
    t._retains = False
    if value._g is not None:
        t._rg, t._g = value._rg, value._g
        t.retain_grad()


def _refresh_views(base: Tensor, but: Tensor | None = None) -> None:
    """Other views of a base that was written to get their history from it anew."""
    from facula.ops.shape import as_strided_history

    views = base._views
    if views:
        for ref in views:
            v = ref()
            if v is not None and v is not but and v._base is base:
                as_strided_history(base, v)


__all__ = [
    "apply",
    "attach",
    "check_no_repeats",
    "before_write",
    "check_writable",
    "entries_of",
    "mark",
    "overwrite",
    "record_write",
    "write_value",
]
