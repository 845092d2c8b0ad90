"""The tape's text becomes a graph of primitives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.dtypes import dtype
from facula.graph.ir import VIEWS, Graph, Val
from facula.graph.meta import Meta
from facula.graph.segment import as_geometry, decode, expanded
from facula.graph.tape import LEAF, VIEW, VIEW_AT, WRITE, WRITE_AT, Inst


@dataclass
class Lowered:
    """A tape as primitives: one value per entry, and which of them somebody wants."""

    graph: Graph
    values: list[Val]
    leaves: list[Meta] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)  # entries
    # inst, inputs, first
    entries: list[tuple[Inst, tuple[int, ...], int]] = field(default_factory=list)


def _number_dtype(x: Any) -> tuple[dtype, bool]:
    if isinstance(x, int):  # bool is one as well
        return dt.int64, False
    if isinstance(x, complex):
        return dt.complex128, True
    return dt.float64, True


def lower(key: list[Any], live: tuple[bool, ...], scalars: list[Any]) -> Lowered:
    """Expands every recorded operator."""
    g = Graph()
    low = Lowered(g, [])
    values = low.values
    slot = 0
    for inst, ins in decode(key):
        op = inst.op
        low.entries.append((inst, ins, len(values)))
        if op is LEAF:
            (m,) = inst.params
            values.append(g.buffer(len(low.leaves), m.dtype, m.shape))
            low.leaves.append(m)
            continue
        if op is VIEW_AT:
            (m,) = inst.params
            base = values[ins[0]]
            if base.op in VIEWS:  # it needs memory of its own
                base = values[ins[0]] = g.make("copy", base.dtype, base.shape, (base,), share=False)
            values.append(g.make("buffer_at", m.dtype, m.shape, (base,), (m.strides, slot)))
            slot += 1
            continue
        if op is WRITE_AT:
            (m,) = inst.params
            old = values[ins[0]]
            values.append(g.make("write_at", old.dtype, old.shape, (old, values[ins[1]]),
                                 (tuple(m.shape), m.strides, slot)))  # fmt: skip
            slot += 1
            continue
        if op is VIEW:
            m, offset = inst.params
            values.append(g.view_of(values[ins[0]], tuple(m.shape), m.strides, offset))
            continue
        if op is WRITE:
            m, offset = inst.params
            values.append(g.write(values[ins[0]], values[ins[1]], m.shape, m.strides, offset))
            continue
        operands = [as_geometry(g, values[i], m) for i, m in zip(ins, inst.ins, strict=True)]
        numbers = []
        for x in scalars[slot : slot + inst.n_scalars]:
            d, floating = _number_dtype(x)
            numbers.append(g.scalar(slot, d, floating))
            slot += 1
        g.entry = len(values)
        made = expanded(g, inst, operands, numbers)
        for v, m in zip(made, inst.outs, strict=True):
            if v.shape != tuple(m.shape) or v.dtype is not m.dtype:
                raise AssertionError(f"{inst!r} expands to {v!r}, not to {m!r}")
            values.append(v)
    low.wanted = [i for i, wanted in enumerate(live) if wanted]
    given: set[int] = set()
    _box_pads(low)
    for i in low.wanted:
        v = values[i]
        if v.id in given or v.op in ("buffer", "buffer_at") or (v.dtype.kind == "c" and not v.srcs):
            # each result has memory of its own
            v = values[i] = g.make("copy", v.dtype, v.shape, (v,), share=False)
        given.add(v.id)
    return low


def _box_pads(low: Lowered) -> None:
    """Large padded results that nothing else reads are put together from parts.

    A loop over all of a padded value asks at each element whether it is inside.
    """
    pads = {i: v for i in low.wanted if (v := low.values[i]).op == "pad" and v.numel >= _LARGE}
    if not pads:
        return
    read = {s.id for v in low.graph.vals for s in v.srcs}
    for i, v in pads.items():
        if v.id not in read and 2 * v.srcs[0].numel >= v.numel:
            low.values[i] = _in_boxes(low.graph, v)


_LARGE = 1 << 14


def _in_boxes(g: Graph, v: Val) -> Val:
    """A padded value as boxes: those before and behind, dim by dim, around what is left within."""
    (lo, hi), (x, fill) = v.arg, v.srcs
    start, size = [0] * v.ndim, list(v.shape)
    parts = []
    for d, n in enumerate(x.shape):
        for at, width in ((0, lo[d]), (lo[d] + n, hi[d])):
            where = tuple(at if i == d else k for i, k in enumerate(start))
            parts.append(
                (where, g.expand(fill, [width if i == d else k for i, k in enumerate(size)]))
            )
        start[d], size[d] = lo[d], n
    return g.boxes([*parts, (tuple(lo), x)], v.shape)


__all__ = ["Lowered", "decode", "lower"]
