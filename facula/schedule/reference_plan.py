"""Plans of the reference backend: each primitive by its line of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.graph.ir import Val
from facula.graph.reference import Failed, compute_type, decode, encode, evaluate, strided
from facula.runtime.buffers import Buffer
from facula.schedule.lower import Lowered


def reachable(roots: list[Val]) -> list[Val]:
    """What the roots depend on, in order of making (a topological one)."""
    seen: set[int] = set()
    stack = list(roots)
    out = []
    while stack:
        v = stack.pop()
        if v.id not in seen:
            seen.add(v.id)
            out.append(v)
            stack.extend(v.srcs)
    out.sort(key=lambda v: v.id)
    return out


class ReferencePlan:
    """Evaluates values one by one."""

    fails = True

    def __init__(self, low: Lowered) -> None:
        self.low = low
        self.order = reachable([low.values[i] for i in low.wanted])

    def run(self, leaves: list[Any], scalars: list[Any]) -> list[tuple[int, Any]]:
        """Values of wanted entries as buffers."""
        env: dict[int, Any] = {}
        for v in self.order:
            try:
                env[v.id] = value_of(v, [env[s.id] for s in v.srcs], self.low, leaves, scalars)
            except Exception as error:
                raise Failed(self.low.graph.origins.get(v.id, -1)) from error
        out = []
        for entry in self.low.wanted:
            v = self.low.values[entry]
            stored = np.array(
                encode(np.asarray(env[v.id]), v.dtype), v.dtype.storage, copy=True, order="C"
            )
            out.append(
                (
                    entry,
                    Buffer.from_numpy(
                        np.atleast_1d(stored) if stored.size else np.empty(1, stored.dtype)
                    ),
                )
            )
        return out


def scalar_value(v: Val, scalars: list[Any]) -> Any:
    """A run-time number as an array."""
    with np.errstate(all="ignore"):
        return np.asarray(scalars[v.arg[0]]).astype(compute_type(v.dtype))


def value_of(v: Val, args: list[Any], low: Lowered, leaves: list[Any], scalars: list[Any]) -> Any:
    """One primitive's value."""
    if v.op == "buffer":
        return decode(leaves[v.arg].numpy(v.dtype.storage, v.shape), v.dtype)
    if v.op == "scalar":
        return scalar_value(v, scalars)
    if v.op == "buffer_at":
        strides, slot = v.arg
        return strided(np.ascontiguousarray(args[0]).reshape(-1), v.shape, strides, scalars[slot])
    if v.op == "write_at":
        shape, strides, slot = v.arg
        out = np.array(args[0], copy=True, order="C")
        strided(out.reshape(-1), shape, strides, scalars[slot])[...] = args[1]
        return out
    return evaluate(v, args)
