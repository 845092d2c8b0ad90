"""A group: what is computed together in one kernel, over one domain."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

from facula.graph.ir import Val
from facula.graph.meta import contiguous_strides
from facula.schedule.affine import Expr, Unfusable, dot, split, zero


@dataclass
class Group:
    """One kernel: a domain and the candidates computed over it."""

    number: int
    shape: tuple[int, ...]
    axes: tuple[int, ...] = ()
    members: list[Val] = field(default_factory=list)
    cuts: dict[int, tuple[int, ...]] = field(default_factory=dict)  # domain dim -> loop sizes
    places: dict[int, tuple[Expr, ...]] = field(default_factory=dict)  # member -> where it stands
    reads: set[int] = field(default_factory=set)
    columns: dict[int, Val] = field(default_factory=dict)  # sums over runs of rows -> of what
    product: Val | None = None  # what the group is the epilogue of

    @property
    def computed(self) -> list[Val]:
        """All that its step computes: the members, after the product whose epilogue they are."""
        if self.product is None:
            return self.members
        v = self.product
        return [v.srcs[0] if v.op == "out" else v, *self.members]

    @property
    def loop_sizes(self) -> list[int]:
        """Sizes of the loop dims, in order."""
        if not self.cuts:
            return list(self.shape)
        out: list[int] = []
        for d, n in enumerate(self.shape):
            out.extend(self.cuts.get(d, (n,)))
        return out

    @property
    def loop_inner(self) -> list[bool]:
        """Which loop dims are reduced over."""
        out: list[bool] = []
        for d in range(len(self.shape)):
            out.extend([d in self.axes] * len(self.cuts.get(d, (1,))))
        return out

    def exprs(self) -> tuple[Expr, ...]:
        """The position along each domain dim."""
        if not self.cuts:
            return _units(len(self.shape))
        n = len(self.loop_sizes)
        out: list[Expr] = []
        at = 0
        for d, size in enumerate(self.shape):
            parts = self.cuts.get(d, (size,))
            coefs = [0] * n
            for k, s in enumerate(contiguous_strides(parts)):
                coefs[at + k] = s
            out.append((tuple(coefs), 0))
            at += len(parts)
        return tuple(out)

    def cut(self, loop_dim: int, inner: int) -> None:
        """Cuts a loop dim in two."""
        at = 0
        for d, size in enumerate(self.shape):
            parts = self.cuts.get(d, (size,))
            if loop_dim < at + len(parts):
                k = loop_dim - at
                self.cuts[d] = (*parts[:k], parts[k] // inner, inner, *parts[k + 1 :])
                return
            at += len(parts)
        raise AssertionError("no such loop dim")

    def place(self, v: Val) -> tuple[Expr, ...]:
        """Where v's elements stand in the domain; Unfusable if they don't."""
        exprs = self.exprs()
        if v.shape == self.shape:
            return exprs
        n = len(self.loop_sizes)
        squeezed = [
            (k, e) for d, (k, e) in enumerate(zip(self.shape, exprs, strict=True)) if k != 1
        ]
        outer = [
            (k, e)
            for d, (k, e) in enumerate(zip(self.shape, exprs, strict=True))
            if k != 1 and d not in self.axes
        ]
        mine = [k for k in v.shape if k != 1]
        for dims in (squeezed, outer):
            if mine == [k for k, _ in dims]:
                it = iter([e for _, e in dims])
                return tuple([zero(n) if k == 1 else next(it) for k in v.shape])
        if v.numel == math.prod(self.shape):
            linear = dot(exprs, contiguous_strides(self.shape), n)
            return tuple(split(linear, v.shape, self.loop_sizes)) if v.shape else ()
        raise Unfusable


@functools.lru_cache(64)
def _units(n: int) -> tuple[Expr, ...]:
    """The position along each of n loop dims."""
    return tuple([(tuple([int(d == k) for k in range(n)]), 0) for d in range(n)])
