"""Runs a graph of primitives natively and by its NumPy meaning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.ir import Graph
from facula.graph.meta import meta_of
from facula.runtime.buffers import Buffer
from facula.schedule.lower import Lowered
from facula.schedule.native_plan import Builder, NativePlan
from facula.schedule.reference_plan import ReferencePlan


def type_of(a: np.ndarray) -> Any:
    """The dtype of an array."""
    return dt.bool_ if a.dtype == bool else getattr(dt, a.dtype.name)


def lowered(make: Callable, arrays: Sequence[np.ndarray]) -> Lowered:
    """The graph that `make(graph, *values)` builds."""
    g = Graph()
    low = Lowered(g, [])
    low.leaves = [meta_of(type_of(a), a.shape) for a in arrays]
    made = make(g, *[g.buffer(k, m.dtype, m.shape) for k, m in enumerate(low.leaves)])
    low.values = list(made) if isinstance(made, (list, tuple)) else [made]
    low.wanted = list(range(len(low.values)))
    return low


def buffer_of(a: np.ndarray) -> Buffer:
    """A copy of an array's memory."""
    copy = np.array(a, copy=True, order="C").reshape(-1)
    return Buffer.from_numpy(copy if copy.size else np.empty(1, a.dtype))


def run(plan: Any, low: Lowered, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The plan's results."""
    out = []
    for entry, buf in plan.run([buffer_of(a) for a in arrays], []):
        v = low.values[entry]
        out.append(buf.numpy(v.dtype.storage, (v.numel,)).copy().reshape(v.shape))
    return out


def host_steps(plan: NativePlan) -> int:
    """How many stretches of a plan are evaluated by NumPy."""
    return sum(callable(s) for s in plan.segments)


def compare(
    make: Callable, *arrays: np.ndarray, tolerance: float = 0.0, free: bool = False, host: int = 0
) -> list[np.ndarray]:
    """Checks that both backends agree, without steps on the host; gives the results."""
    low = lowered(make, arrays)
    plan = Builder(low, (free,) * len(arrays), []).build()
    assert host_steps(plan) == host
    got = run(plan, low, arrays)
    again = lowered(make, arrays)
    want = run(ReferencePlan(again), again, arrays)
    for g, w in zip(got, want, strict=True):
        if tolerance:
            np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(g, w)
    return got
