"""Checks between the stages of planning (FACULA_VERIFY=1): what is wrong is said where it went wrong."""

from __future__ import annotations

from typing import Any

from facula.graph.ir import BINARY, TO_BOOL, UNARY, Val
from facula.kernel.program import ITEMSIZE
from facula.kernel.verify import verify as verify_program
from facula.schedule.codegen import Call
from facula.schedule.fuse import Fusion
from facula.schedule.group import Group


class MalformedPlanError(AssertionError):
    """A stage of planning handed on something that cannot be right."""


def need(condition: bool, text: str) -> None:
    """Raises MalformedPlanError unless the condition holds."""
    if not condition:
        raise MalformedPlanError(text)


# the graph ------------------------------------------------------------------------------------


def _elementwise(v: Val) -> None:
    for s in v.srcs:
        need(s.shape == v.shape, f"{v!r} reads {s!r}: shapes differ")
    need(len({s.dtype for s in v.srcs}) == 1, f"{v!r}: operands of different dtypes")
    want = v.srcs[0].dtype
    if v.op == "abs":
        want = want.to_real()
    need(
        v.dtype.kind == "b" if v.op in TO_BOOL else v.dtype is want,
        f"{v!r}: not the dtype of its operands",
    )


def _where(v: Val) -> None:
    c, a, b = v.srcs
    need(c.dtype.kind == "b", f"{v!r}: the condition is no bool")
    need(
        a.dtype is b.dtype is v.dtype and a.shape == b.shape == c.shape == v.shape,
        f"{v!r}: branches differ",
    )


def _same_numel(v: Val) -> None:
    need(v.numel == v.srcs[0].numel and v.dtype is v.srcs[0].dtype, f"{v!r} of {v.srcs[0]!r}")


def _permute(v: Val) -> None:
    need(
        tuple(v.srcs[0].shape[d] for d in v.arg) == v.shape
        and sorted(v.arg) == list(range(v.ndim)),
        f"{v!r} of {v.srcs[0]!r}",
    )


def _expand(v: Val) -> None:
    src = v.srcs[0].shape
    fits = len(src) == v.ndim and all(a in (1, b) for a, b in zip(src, v.shape, strict=True))
    need(fits, f"{v!r} of {v.srcs[0]!r}")


def _slice(v: Val) -> None:
    starts, steps = v.arg
    for n, start, step, size in zip(v.srcs[0].shape, starts, steps, v.shape, strict=True):
        if size:
            need(
                0 <= start < n and 0 <= start + (size - 1) * step < n, f"{v!r} leaves {v.srcs[0]!r}"
            )


def _inside(v: Val, shape: Any, strides: Any, offset: int, n: int) -> None:
    if 0 not in shape:
        low = offset + sum((k - 1) * s for k, s in zip(shape, strides, strict=True) if s < 0)
        high = offset + sum((k - 1) * s for k, s in zip(shape, strides, strict=True) if s > 0)
        need(low >= 0 and high < n, f"{v!r} leaves its {n} elements")


def _as_strided(v: Val) -> None:
    _inside(v, v.shape, v.arg[0], v.arg[1], v.srcs[0].numel)


def _write(v: Val) -> None:
    shape, strides, offset = v.arg
    old, new = v.srcs
    need(old.shape == v.shape and old.dtype is v.dtype is new.dtype, f"{v!r} of {old!r}")
    need(tuple(shape) == new.shape, f"{v!r}: {new!r} is written to a view of shape {tuple(shape)}")
    if v.op == "write":
        _inside(v, shape, strides, offset, old.numel)


def _reduce(v: Val) -> None:
    _, axes = v.arg
    want = tuple(1 if d in axes else n for d, n in enumerate(v.srcs[0].shape))
    need(v.shape == want, f"{v!r} of {v.srcs[0]!r}")


def _pad(v: Val) -> None:
    lo, hi = v.arg
    want = tuple(a + n + b for a, n, b in zip(lo, v.srcs[0].shape, hi, strict=True))
    need(v.shape == want, f"{v!r} of {v.srcs[0]!r}")


def _cat(v: Val) -> None:
    need(sum(s.shape[v.arg] for s in v.srcs) == v.shape[v.arg], f"{v!r}: parts do not add up")
    need(all(s.dtype is v.dtype for s in v.srcs), f"{v!r}: parts of other dtypes")


def _boxes(v: Val) -> None:
    need(sum(s.numel for s in v.srcs) == v.numel, f"{v!r}: parts do not add up")
    need(all(s.dtype is v.dtype for s in v.srcs), f"{v!r}: parts of other dtypes")
    for s, start in zip(v.srcs, v.arg, strict=True):
        ends = zip(start, s.shape, v.shape, strict=True)
        need(all(k >= 0 and k + n <= m for k, n, m in ends), f"{v!r}: {s!r} sticks out")


def _like_first(v: Val) -> None:
    need(v.shape == v.srcs[0].shape and v.dtype is v.srcs[0].dtype, f"{v!r} of {v.srcs[0]!r}")


def _take(v: Val) -> None:
    x, index = v.srcs
    axis = v.arg[0]
    need(
        v.shape == x.shape[:axis] + index.shape + x.shape[axis + 1 :],
        f"{v!r} of {x!r} at {index!r}",
    )


def _gather(v: Val) -> None:
    need(
        v.shape == v.srcs[1].shape and v.ndim == v.srcs[0].ndim,
        f"{v!r} of {v.srcs[0]!r} at {v.srcs[1]!r}",
    )


def _matmul(v: Val) -> None:
    a, b = v.srcs
    need(
        a.shape[-1] == b.shape[-2] and v.shape == (*a.shape[:-1], b.shape[-1]),
        f"{v!r} of {a!r} and {b!r}",
    )


RULES = {
    **dict.fromkeys(UNARY | BINARY | {"fma"}, _elementwise), "where": _where, "reshape": _same_numel, "permute": _permute,
    "expand": _expand, "slice": _slice, "as_strided": _as_strided, "write": _write, "write_at": _write,
    "reduce": _reduce, "pad": _pad, "cat": _cat, "boxes": _boxes, "put": _like_first, "scatter": _like_first, "copy": _like_first,
    "take": _take, "gather": _gather, "matmul": _matmul,
}  # fmt: skip


def verify_graph(order: list[Val]) -> None:
    """Every value's dtype and shape follow from its operands, which come before it."""
    seen: set[int] = set()
    for v in order:
        need(all(s.id in seen for s in v.srcs), f"{v!r} reads a value that comes after it")
        seen.add(v.id)
        rule = RULES.get(v.op)
        if rule is not None:
            rule(v)


# fusion ---------------------------------------------------------------------------------------


def verify_fusion(fusion: Fusion, wanted: set[int]) -> None:
    """What a step reads was computed by an earlier one, or before it in its own group."""
    done: set[int] = set()
    for number, step in enumerate(fusion.steps):
        for m in step.computed if isinstance(step, Group) else [step]:
            for s in fusion.inputs(m):
                known = s.op == "buffer" or (s.srcs[0].id if s.op == "out" else s.id) in done
                need(
                    known,
                    f"step {number} computes {m!r} from {s!r}, which no step before it computes",
                )
            done.add(m.id)
    for v in fusion.order:
        if v.id in wanted and v.op != "buffer":
            need(
                (v.srcs[0].id if v.op == "out" else v.id) in done,
                f"no step computes the result {v!r}",
            )


# memory ---------------------------------------------------------------------------------------


def verify_memory(builder: Any) -> None:
    """Blocks that live at one time lie apart; kernels touch only memory that lives then."""
    blocks = list(
        {id(b): b for b in builder.blocks.values() if b.slot == builder.arena_slot}.values()
    )
    for i, a in enumerate(blocks):
        for b in blocks[:i]:
            apart = a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
            need(
                apart or a.last < b.first or b.last < a.first,
                f"{a} and {b} overlap while both live",
            )
    for number, calls in builder.calls_of.items():
        for call in calls:
            if isinstance(call, Call):
                verify_program(call.program)
                _verify_call(builder, number, call, blocks)


def _verify_call(builder: Any, number: int, call: Call, blocks: list[Any]) -> None:
    arena = builder.arena_slot
    # where a mask decides what is read, the first element may lie before the block
    masked = {s.args[0].buf for s in call.program.stmts if s.op == "load" and s.mask is not None}
    for k, slot in enumerate(call.slots):
        if slot == arena and k not in masked:
            at = call.offsets[k] * ITEMSIZE[call.program.buffers[k]]
            live = any(
                b.offset <= at < b.offset + b.size and b.first <= number <= b.last for b in blocks
            )
            need(
                live,
                f"step {number} ({builder.steps[number]}) touches byte {at} of the arena, where nothing lives then: {blocks}",
            )


def verify_donation(builder: Any) -> None:
    """A leaf whose memory a result takes over is not read after the step that writes the result."""
    given: dict[int, Any] = {}
    for b in builder.out_slots:
        if b.leaf < 0:
            continue
        need(builder.free[b.leaf], f"leaf {b.leaf} is still referred to, but {b} takes its memory")
        need(b.leaf not in given, f"leaf {b.leaf} is taken over twice: {b} and {given.get(b.leaf)}")
        given[b.leaf] = b
    for v in builder.vals.values():
        b = given.get(v.arg) if v.op == "buffer" else None
        if b is not None:
            last = builder._last(v)
            need(
                last <= b.first,
                f"leaf {v.arg} is read by step {last}, after step {b.first} has written {b} over it",
            )


__all__ = [
    "MalformedPlanError",
    "verify_donation",
    "verify_fusion",
    "verify_graph",
    "verify_memory",
]
