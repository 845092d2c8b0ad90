"""Values put together from parts that lie in memory, in one step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula.graph.ir import Val
from facula.graph.reference import encode
from facula.kernel.boxes import Part, plan_boxes
from facula.schedule.templates.common import grouped

_MOST_PARTS = 16
_ITEMSIZES = frozenset((1, 2, 4, 8))


def _constant(s: Val) -> tuple[int, int, tuple[int, ...]] | None:
    """A constant as an operand: no slot, and its bits."""
    ndim = s.ndim
    while s.op in ("expand", "reshape"):
        (s,) = s.srcs
    if s.op != "const":
        return None
    raw = encode(np.asarray(s.arg), s.dtype).tobytes()
    return -1, int.from_bytes(raw, "little", signed=len(raw) == 8), (0,) * ndim


def one_step(builder: Any, v: Val) -> list[Any] | None:
    """v = boxes(parts), if no more than two neighbouring dims are cut and no part is computed."""
    parts = [(s, at) for s, at in zip(v.srcs, v.arg, strict=True) if s.numel]
    cut = [d for d, n in enumerate(v.shape) if any(s.shape[d] != n for s, _ in parts)]
    size = v.dtype.itemsize
    if not cut or cut[-1] - cut[0] > 1 or not 1 < len(parts) <= _MOST_PARTS:
        return None
    # one dim: what lies behind it are the columns, or it is them itself
    row = cut[0] if len(cut) == 2 or cut[0] < v.ndim - 1 else v.ndim - 2
    if row < 0 or size not in _ITEMSIZES:
        return None
    boxes = []
    for s, at in parts:
        where = _constant(s) or builder.strided(s)
        strides = where and grouped(s.shape, where[2], (row, row + 1))
        if not where or not strides:
            return None
        inner = math.prod(v.shape[row + 2 :])
        width = math.prod(s.shape[row + 1 :])
        box = (at[row], s.shape[row], at[row + 1] * inner, width)
        boxes.append(Part((*where[:2], strides), *box))  # type: ignore[arg-type]
    sizes = (math.prod(v.shape[:row]), v.shape[row], math.prod(v.shape[row + 1 :]))
    place = builder.memory.places[v.id]
    return [plan_boxes(sizes, boxes, (place.slot, place.offset), size)]
