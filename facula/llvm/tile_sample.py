"""Weighted sums of picked pixels, and their gradients, as LLVM IR: what samples images at places.

    gather:  y[n, c, p]      = sum over taps k of weight[n, k, p] * x[n, c, place[n, k, p]]
    scatter: x[n, c, i]      = sum over k, p with place[n, k, p] = i of weight[n, k, p] * y[n, c, p]
    weigh:   weight[n, k, p] = sum over c of y[n, c, p] * x[n, c, place[n, k, p]]

There is a tap for each choice of a number along each dim: its place is the sum of the dims' places, its
weight their product, or (`full`) one of as many numbers as there are taps. A negative place picks
nothing. A point's taps are read once for a few channels. Tasks of a scatter own planes and go through
the points in order; the others own points.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Value, splat_text, vec, zero
from facula.llvm.tile_task import TaskFrame

ARGUMENTS = (
    *("x", "x_off", "x_n", "x_c", "y", "y_off", "y_n", "y_c", "place", "place_off"),
    *("weight", "weight_off", "channels", "points", "size", "block", "blocks"),
)
Planes = Sequence[tuple[str, str]]  # (x, y) of channels
TOGETHER = 4  # channels that share a point's places and weights, at most


def stretch_of(taps: int) -> int:
    """Points whose taps are made at once."""
    return max(16, 512 // taps)


def scratch_bytes(taps: int) -> int:
    """What a stretch of points needs."""
    return stretch_of(taps) * 8 * (2 * taps + 1)


@dataclass(frozen=True)
class SampleShape:
    """What is fixed in the code of a kernel that samples."""

    kind: str  # gather, scatter, weigh
    dtype: str
    place: str  # dtype of the places
    dims: int
    per: int  # taps along each dim
    full: bool  # weights stand for taps, not along the dims
    together: int  # channels that share a point's places and weights

    @property
    def taps(self) -> int:
        return self.per**self.dims

    @property
    def weights(self) -> int:
        """Weights of a point in memory."""
        return self.taps if self.full else self.dims * self.per

    @property
    def key(self) -> str:
        return f"sample {self.kind} {self.dtype} by {self.place} taps{self.per}^{self.dims}{' full' if self.full else ''} by{self.together}"


class SampleWriter:
    """Writes the kernel of a `SampleShape`."""

    def __init__(self, shape: SampleShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.number, self.index = NUMBERS[shape.dtype], NUMBERS[shape.place]
        self.ty = self.number.stored
        self.arg = TaskFrame(self.b, list(ARGUMENTS), 0)

    def write(self) -> str:
        b, arg = self.b, self.arg
        arg.load_all()
        with b.loop("%t0", "%t1") as t:
            image, block = b.divmod(t.i, arg("blocks"))
            first = b.mul(block, arg("block"))
            lines = b.mul(image, arg("points"))
            places = b.mul(lines, self.shape.dims * self.shape.per)
            self.place = b.at(self._base("place", self.index.stored), places, self.index.stored)
            weights = b.mul(lines, self.shape.weights)
            self.weight = b.at(self._base("weight", self.ty), weights, self.ty)
            self.x = b.at(self._base("x", self.ty), b.mul(image, arg("x_n")), self.ty)
            self.y = b.at(self._base("y", self.ty), b.mul(image, arg("y_n")), self.ty)
            getattr(self, "_" + self.shape.kind)(first)
        return b.module()

    def _base(self, name: str, ty: str) -> str:
        return self.b.at(self.b.buffer(self.arg(name)), self.arg(f"{name}_off"), ty)

    # -- who does what -----------------------------------------------------------------------

    def _gather(self, first: Value) -> None:
        last = self._last(first)
        if self.b.target.has_mask and self.index.stored == "i32":
            self._gather_registers(first, last)
        else:
            self._points(first, last, 0, self.arg("channels"))

    def _weigh(self, first: Value) -> None:
        self._points(first, self._last(first), 0, self.arg("channels"))

    def _last(self, first: Value) -> Value:
        return self.b.least(self.b.add(first, self.arg("block")), self.arg("points"))

    def _scatter(self, first: Value) -> None:
        b, arg = self.b, self.arg
        last = b.least(b.add(first, arg("block")), arg("channels"))
        n = b.target.vector_bytes // self.number.compute_bytes
        with b.loop(first, last) as c:
            plane = b.at(self.x, b.mul(c.i, arg("x_c")), self.ty)
            with b.loop(0, arg("size"), n) as i:
                mask = b.mask(n, b.sub(arg("size"), i.i))
                b.masked_store(n, self.ty, "zeroinitializer", b.at(plane, i.i, self.ty), mask)
        self._points(0, arg("points"), first, last)

    def _points(self, first: Value, last: Value, low: Value, high: Value) -> None:
        """Points [first, last) of channels [low, high).

        A stretch of points has its taps made in scratch, side by side: in the lines, which may lie a
        power of two apart, they would push each other out of the cache.
        """
        b = self.b
        stretch = stretch_of(self.shape.taps)
        with b.loop(first, last, stretch) as s:
            count = b.least(b.sub(last, s.i), stretch)
            with b.loop(0, count) as p:
                self._make_taps(p.i, b.add(s.i, p.i))
            whole = b.sub(high, b.rem(b.sub(high, low), self.shape.together))
            for begin, end, together in ((low, whole, self.shape.together), (whole, high, 1)):
                with b.loop(begin, end, together) as c:
                    channels = [b.add(c.i, j) for j in range(together)]
                    planes = [
                        (
                            b.at(self.x, b.mul(i, self.arg("x_c")), self.ty),
                            b.at(b.at(self.y, b.mul(i, self.arg("y_c")), self.ty), s.i, self.ty),
                        )
                        for i in channels
                    ]
                    with b.loop(0, count) as p:
                        self._point(p.i, planes)
            if self.shape.kind == "weigh":
                with b.loop(0, count) as p:
                    self._put_weights(p.i, b.add(s.i, p.i))

    def _gather_registers(self, first: Value, last: Value) -> None:
        """Samples of a register of points at a time, where pixels can be collected."""
        b, arg, ty, shape = self.b, self.arg, self.ty, self.shape
        n = b.target.vector_bytes // self.number.compute_bytes
        nothing = "zeroinitializer"
        with b.loop(first, last, n) as p:
            there = b.mask(n, b.sub(last, p.i))

            def lines(base: str, count: int, ty: str) -> list[str]:
                places = [self._line(base, k, p.i, ty) for k in range(count)]
                return [b.masked_load(n, ty, place, there) for place in places]

            along = lines(self.place, shape.dims * shape.per, "i32")
            places = self._products(along, lambda x, y: b.plus(n, "i32", x, y))
            weights = lines(self.weight, shape.weights, ty)
            if not shape.full:
                weights = self._products(weights, lambda x, y: b.times(n, ty, x, y))
            inside = []
            for place in places:
                mask = b.let(f"icmp sge {vec(n, 'i32')} {place}, {nothing}")
                inside.append(b.let(f"and <{n} x i1> {mask}, {there}"))
            with b.loop(0, arg("channels")) as c:
                plane = b.at(self.x, b.mul(c.i, arg("x_c")), ty)
                total = nothing
                for place, weight, mask in zip(places, weights, inside, strict=True):
                    pixels = b.collect(n, ty, plane, place, mask)
                    total = b.fma(n, ty, weight, pixels, total)
                out = b.at(b.at(self.y, b.mul(c.i, arg("y_c")), ty), p.i, ty)
                b.masked_store(n, ty, total, out, there)

    # -- taps in scratch: places and whether one is outside, then weights ---------------------

    def _place_at(self, p: Value, k: int) -> str:
        taps = self.shape.taps
        return self.b.at("%scratch", self.b.add(self.b.mul(p, taps + 1), k), "i64")

    def _weight_at(self, p: Value, k: int) -> str:
        b, taps = self.b, self.shape.taps
        start = b.at("%scratch", stretch_of(taps) * (taps + 1), "i64")
        return b.at(start, b.add(b.mul(p, taps), k), self.ty)

    def _line(self, base: str, k: int, p: Value, ty: str) -> str:
        """Where a line has the number of a point."""
        b = self.b
        return b.at(base, b.add(b.mul(k, self.arg("points")), p), ty)

    def _make_taps(self, to: Value, p: Value) -> None:
        b, per, stored, ty = self.b, self.shape.per, self.index.stored, self.ty
        lines = []
        for k in range(self.shape.dims * per):
            place = b.load(stored, self._line(self.place, k, p, stored))
            lines.append(place if stored == "i64" else b.let(f"sext {stored} {place} to i64"))
        places = self._products(lines, b.add)
        signs = functools.reduce(lambda x, y: b.let(f"or i64 {x}, {y}"), lines)
        for k, place in enumerate([*places, signs]):
            b.store("i64", place, self._place_at(to, k))
        weights = [splat_text(1, ty, zero(ty))] * self.shape.taps  # a weigh's sums begin
        if self.shape.kind != "weigh":
            weights = [
                b.fetch(1, self.number, self._line(self.weight, k, p, ty))
                for k in range(self.shape.weights)
            ]
            if not self.shape.full:
                weights = self._products(weights, lambda x, y: b.times(1, ty, x, y))
        for k, weight in enumerate(weights):
            b.put(1, self.number, weight, self._weight_at(to, k))

    def _products(self, numbers: list[str], join: Any) -> list[str]:
        """For each tap, its numbers along the dims as one."""
        per = self.shape.per
        lines = [numbers[i : i + per] for i in range(0, len(numbers), per)]
        return [functools.reduce(join, choice) for choice in itertools.product(*lines)]

    def _put_weights(self, at: Value, p: Value) -> None:
        b = self.b
        for k in range(self.shape.taps):
            weight = b.fetch(1, self.number, self._weight_at(at, k))
            b.put(1, self.number, weight, self._line(self.weight, k, p, self.ty))

    # -- one point ---------------------------------------------------------------------------

    def _point(self, p: Value, planes: Planes) -> None:
        b, taps = self.b, self.shape.taps
        places = [b.load("i64", self._place_at(p, k)) for k in range(taps)]
        weights = [b.fetch(1, self.number, self._weight_at(p, k)) for k in range(taps)]
        body = getattr(self, f"_{self.shape.kind}_point")
        inside = b.test("sge", b.load("i64", self._place_at(p, taps)), 0)
        with b.choose(inside) as way:
            with way.yes:
                body(p, planes, places, weights, False)
            with way.no:
                body(p, planes, places, weights, True)

    def _picked(self, x: str, place: str, outside: bool) -> str:
        """A pixel, 0 where the place is negative."""
        b = self.b
        if not outside:
            return b.fetch(1, self.number, b.at(x, place, self.ty))
        value = b.fetch(1, self.number, b.at(x, b.most(place, 0), self.ty))
        v = vec(1, self.ty)
        return b.pick(b.test("slt", place, 0), v, "zeroinitializer", value)

    def _gather_point(
        self, p: Value, planes: Planes, places: list[str], weights: list[str], outside: bool
    ) -> None:
        b = self.b
        for x, y in planes:
            total = ""
            for place, weight in zip(places, weights, strict=True):
                value = self._picked(x, place, outside)
                if total:
                    total = b.fma(1, self.ty, weight, value, total)
                else:
                    total = b.times(1, self.ty, weight, value)
            b.put(1, self.number, total, b.at(y, p, self.ty))

    def _weigh_point(
        self, p: Value, planes: Planes, places: list[str], weights: list[str], outside: bool
    ) -> None:
        b = self.b
        grads = [b.fetch(1, self.number, b.at(y, p, self.ty)) for _, y in planes]
        for k, (place, total) in enumerate(zip(places, weights, strict=True)):
            for (x, _), grad in zip(planes, grads, strict=True):
                total = b.fma(1, self.ty, grad, self._picked(x, place, outside), total)
            b.put(1, self.number, total, self._weight_at(p, k))

    def _scatter_point(
        self, p: Value, planes: Planes, places: list[str], weights: list[str], outside: bool
    ) -> None:
        b = self.b
        grads = [b.fetch(1, self.number, b.at(y, p, self.ty)) for _, y in planes]

        def add(place: str, weight: str) -> None:
            for (x, _), grad in zip(planes, grads, strict=True):
                at = b.at(x, place, self.ty)
                old = b.fetch(1, self.number, at)
                b.put(1, self.number, b.fma(1, self.ty, weight, grad, old), at)

        for place, weight in zip(places, weights, strict=True):
            if outside:
                with b.when(b.test("sge", place, 0)):
                    add(place, weight)
            else:
                add(place, weight)
