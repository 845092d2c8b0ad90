"""Into which of evenly spaced bins elements fall."""

from __future__ import annotations

from facula.random.scalar import f64, f64s, i64, i64s, sampler


@sampler
def even_places(x: f64s, place: i64s, n: i64, bins: i64, low: f64, high: f64) -> None:
    """Of each element the bin, or `bins` where it is outside or NaN."""
    for k in range(n):
        v = x[k]
        if v >= low and v <= high:
            place[k] = min(int((v - low) * bins / (high - low)), bins - 1)
        else:
            place[k] = bins


@sampler
def edge_places(x: f64s, place: i64s, n: i64, edges: f64s, bins: i64) -> None:
    """The same for bins whose edges are rounded: an element on an edge is in the upper bin."""
    low = edges[0]
    high = edges[bins]
    scale = bins / (high - low)
    for k in range(n):
        v = x[k]
        if v >= low and v <= high:
            at = min(int((v - low) * scale), bins - 1)
            if v < edges[at]:
                at = at - 1
            if v >= edges[at + 1]:
                at = at + 1
            place[k] = min(at, bins - 1)
        else:
            place[k] = bins
