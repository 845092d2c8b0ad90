"""The NumPy meaning of sums of bags of a table's rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.graph.reference import TEMPLATES

Array = np.ndarray


def bag_sum(table: Array, index: Array, offsets: Array, *rest: Any) -> list[Array]:
    """Sums (bags, columns) of the rows that index[offsets[b] : offsets[b + 1]] names, each times
    `scale[i]` where that is given, and how many they are; rows `skip` do not count."""
    *scale, skip = rest
    n = len(index)
    starts = np.clip(offsets, 0, n)
    wide = np.float32 if table.dtype == np.float16 else table.dtype
    sums, counts = np.zeros((len(starts), table.shape[1]), wide), np.zeros(len(starts), wide)
    for b, (start, end) in enumerate(zip(starts, [*starts[1:], n], strict=True)):
        kept = np.flatnonzero(index[start:end] != skip) + start
        rows = table[index[kept]].astype(wide)
        sums[b] = (rows * scale[0][kept, None] if scale else rows).sum(0)
        counts[b] = len(kept)
    return [sums, counts]


TEMPLATES["bag_sum"] = bag_sum
