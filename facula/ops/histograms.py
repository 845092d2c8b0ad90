"""How many elements fall into each bin: bincount, histc, histogram."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.reference import round_to
from facula.ops.bins import counted, counted_even, edge_places, least_and_greatest
from facula.ops.host import tensor_of
from facula.ops.reduce import return_type
from facula.ops.registry import TORCH, both, to_out
from facula.ops.without_values import needs_values, shape_rule
from facula.random.native import in_parts
from facula.tensor import Tensor, adopt_array


@both("bincount")
@needs_values("aten::bincount")
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each number occurs (or the sum of its weights)."""
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if input.meta.dtype.kind not in "iu":
        raise NotImplementedError(
            f"\"bincount_cpu\" not implemented for '{input.meta.dtype.short}'"
        )
    x = input._values()
    low, high = least_and_greatest(x) if x.size else (0, -1)
    if input.meta.ndim != 1 or low < 0:
        if input.meta.ndim == 0 or (input.meta.numel or input.meta.ndim != 1):
            raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None and (weights.meta.ndim != 1 or weights.meta.numel != input.meta.numel):
        raise RuntimeError("weights should be 1-d and have the same length as input")
    size = max(minlength, high + 1)
    if weights is None:
        return adopt_array(counted(x, size))
    d = weights.meta.dtype if weights.meta.dtype in (dt.float32, dt.float64) else dt.float64
    return tensor_of(counted(x, size, weights._values()), d)


def _edges(values: np.ndarray, lo: float, hi: float) -> tuple[float, float]:
    if lo == hi and values.size:
        lo, hi = values.min(), values.max()
    if lo == hi:
        lo, hi = lo - 1, hi + 1
    return lo, hi


@both("histc")
def histc(
    input: Tensor, bins: int = 100, min: Any = 0, max: Any = 0, *, out: Tensor | None = None
) -> Tensor:
    """Counts of elements in equal bins."""
    if bins <= 0:
        raise RuntimeError("bins must be > 0")
    if input.meta.dtype.kind not in "fiu":
        raise NotImplementedError(
            f"\"histogram_cpu\" not implemented for '{input.meta.dtype.short}'"
        )
    if min > max:
        raise RuntimeError("max must be larger than min")
    return to_out(_even_counts(input, bins, min, max), out, exact=True)


@shape_rule(lambda input, bins, *_: (input.meta.dtype, (bins,)))
def _even_counts(input: Tensor, bins: int, low: Any, high: Any) -> Tensor:
    x = input._values().reshape(-1)
    lo, hi = _edges(x, low, high)
    if not (math.isfinite(lo) and math.isfinite(hi)):
        raise RuntimeError(f"range of [{lo}, {hi}] is not finite")
    d = input.meta.dtype
    if d.kind == "f" and d.itemsize == 2:
        return tensor_of(counted(_rounded_places(x, bins, lo, hi, d), bins), d)
    return tensor_of(counted_even(x, bins, float(lo), float(hi)), d)


def _rounded_places(x: np.ndarray, bins: int, low: Any, high: Any, d: Any) -> np.ndarray:
    """The bin of each element inside, computed as PyTorch does: every step is rounded to d."""

    def rounded(v: Any) -> np.ndarray:
        return round_to(np.asarray(v, np.float32), d).astype(np.float32)

    low, high = rounded(low), rounded(high)
    x = x[(x >= low) & (x <= high)].astype(np.float32)
    at = rounded(rounded(rounded(x - low) * rounded(bins)) / rounded(high - low))
    return np.minimum(at.astype(np.int64), bins - 1)


_HISTOGRAM = return_type("histogram", "hist", "bin_edges")
_HISTOGRAMDD = return_type("histogramdd", "hist", "bin_edges")


def _bin_lines(x: np.ndarray, bins: Any, range: Any, d: Any) -> list[np.ndarray]:
    """Edges of the bins along each column of x."""
    k = x.shape[1]
    if isinstance(bins, int):
        bins = [bins] * k
    if len(bins) != k:
        raise RuntimeError(
            f"histogramdd: expected {k} sequences of bin edges for a {k}-dimensional histogram but got {len(bins)}"
        )
    lines = []
    for i, b in enumerate(bins):
        if isinstance(b, Tensor):
            if b.meta.dtype is not d:
                raise RuntimeError(
                    "torch.histogramdd: input tensor and bins tensors should have the same dtype, but got "
                    f"input with dtype {d.short} and bins with dtype {b.meta.dtype.short}"
                )
            if b.meta.ndim != 1 or b.meta.numel < 1:
                raise RuntimeError(
                    "histogramdd: bins tensor should have one dimension and at least 1 edge"
                )
            lines.append(b._values())
            continue
        if b <= 0:
            raise RuntimeError(f"histogramdd: bins must be > 0, but got {b} for dimension {i}")
        column = x[:, i]
        lo, hi = (range[2 * i], range[2 * i + 1]) if range is not None else (
            (column.min(), column.max()) if column.size else (0.0, 1.0))  # fmt: skip
        if not (math.isfinite(lo) and math.isfinite(hi)):
            raise RuntimeError(f"histogramdd: dimension {i}'s range [{lo}, {hi}] is not finite")
        if lo > hi:
            raise RuntimeError(
                f"histogramdd: min should not exceed max, but got min {lo} max {hi} for dimension {i}"
            )
        if lo == hi:
            lo, hi = lo - 0.5, hi + 0.5
        lines.append(TORCH["linspace"](float(lo), float(hi), b + 1, dtype=d)._values())
    return lines


def _bins_of(x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each element; the number of bins for one outside."""
    n, wide = len(edges) - 1, edges.astype(np.float64)
    step = (wide[-1] - wide[0]) / max(n, 1)
    # within a tenth of a bin of where they would be if they were evenly spaced
    if n > 0 and np.abs(wide - wide[0] - step * np.arange(n + 1)).max() < 0.1 * step:
        place = np.empty(x.size, np.int64)
        x = np.ascontiguousarray(x, np.float64)
        a, b, c = x.ctypes.data, place.ctypes.data, wide.ctypes.data
        in_parts(x.size, lambda i, j: edge_places(a + 8 * i, b + 8 * i, j - i, c, n))
        return place
    place = np.searchsorted(edges, x, side="right") - 1
    place = np.where(x == edges[-1], n - 1, place)
    return np.where((place >= 0) & (place < n), place, n)


def _histogram(x: np.ndarray, lines: list[np.ndarray], weight: Any, density: bool) -> np.ndarray:
    sizes = [len(e) - 1 for e in lines]
    flat: Any = 0
    for column, edges, n in zip(x.T, lines, sizes):
        flat = flat * (n + 1) + _bins_of(column, edges)  # one more, for what is outside
    hist = counted(flat, math.prod(n + 1 for n in sizes), weight)
    hist = hist.astype(np.float64).reshape([n + 1 for n in sizes])[tuple(map(slice, sizes))]
    if density:
        total = hist.sum()
        for i, edges in enumerate(lines):
            width = np.diff(edges).reshape([-1 if j == i else 1 for j in range(len(sizes))])
            hist = hist / width
        hist = hist / total
    return hist


def _check_histogram(name: str, input: Tensor, weight: Any) -> None:
    if input.meta.dtype not in (dt.float32, dt.float64):
        raise NotImplementedError(f"\"{name}\" not implemented for '{input.meta.dtype.short}'")
    if weight is not None and weight.meta.dtype is not input.meta.dtype:
        raise RuntimeError(
            f"{name}: if weight tensor is provided, it should have the same dtype as input tensor, but got input "
            f"with dtype {input.meta.dtype.short} and weight with dtype {weight.meta.dtype.short}"
        )


@both("histogramdd")
@needs_values("aten::_histogramdd_bin_edges")
def histogramdd(input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None,
                density: bool = False) -> Any:  # fmt: skip
    """(counts, edges) of rows in a grid of bins."""
    _check_histogram("histogramdd", input, weight)
    if input.meta.ndim < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    k = input.meta.shape[-1]
    if weight is not None and weight.meta.shape != input.meta.shape[:-1]:
        raise RuntimeError("histogramdd: if weight tensor is provided it should have the same shape as the input "
                           "tensor excluding its innermost dimension")  # fmt: skip
    x = input._values().reshape(-1, k)
    lines = _bin_lines(x, bins, range, input.meta.dtype)
    w = None if weight is None else weight._values().reshape(-1)
    hist = tensor_of(_histogram(x, lines, w, density), input.meta.dtype)
    return _HISTOGRAMDD(hist, tuple(tensor_of(e, input.meta.dtype) for e in lines))


@both("histogram")
@needs_values("aten::histogram")
def histogram(input: Tensor, bins: Any = 100, *, range: Any = None, weight: Tensor | None = None,
              density: bool = False, out: Any = None) -> Any:  # fmt: skip
    """(counts, edges) of elements in bins."""
    _check_histogram("histogramdd", input, weight)
    if weight is not None and weight.meta.shape != input.meta.shape:
        raise RuntimeError("histogramdd: if weight tensor is provided it should have the same shape as the input "
                           "tensor excluding its innermost dimension")  # fmt: skip
    x = input._values().reshape(-1, 1)
    lines = _bin_lines(x, [bins], range, input.meta.dtype)
    w = None if weight is None else weight._values().reshape(-1)
    hist = tensor_of(_histogram(x, lines, w, density), input.meta.dtype)
    return to_out(_HISTOGRAM(hist, tensor_of(lines[0], input.meta.dtype)), out)


__all__ = ["bincount", "histc", "histogram", "histogramdd"]
