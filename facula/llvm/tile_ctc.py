"""Connectionist temporal classification, as LLVM IR: the loss of a sequence and its gradient.

A task is one sequence. Lanes are the states of a path: labels with blanks around them. Logarithms of
probabilities are carried in float64 from one time to the next, forwards (alpha) and, for the gradient,
backwards (beta): http://www.cs.toronto.edu/~graves/icml_2006.pdf
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from facula.llvm import vmath, vmath_log
from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Value, lanes, vec
from facula.llvm.tile_task import TaskFrame

ARGUMENTS = (
    *("x", "x_off", "x_t", "x_n", "targets", "targets_off", "targets_n", "count"),
    *("lengths", "lengths_off", "sizes", "sizes_off", "loss", "loss_off", "grad", "grad_off"),
    *("steps", "batch", "classes", "most", "blank", "zero"),
    *("labels", "barred", "beta", "stands", "sums", "alpha"),
)
_NEVER = "0xFFF0000000000000"  # -infinity: the logarithm of no probability


@dataclass(frozen=True)
class CtcShape:
    """What is fixed in the code."""

    dtype: str
    joined: bool  # the targets of all sequences lie one behind the other
    gradient: bool

    @property
    def key(self) -> str:
        ends = f"{' joined' if self.joined else ''}{' gradient' if self.gradient else ''}"
        return f"ctc {self.dtype}{ends}"


class CtcWriter:
    """Writes the kernel of a `CtcShape`."""

    def __init__(self, shape: CtcShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.number = NUMBERS[shape.dtype]
        self.ty, self.n = self.number.compute, target.vector_bytes // 8
        self.v = vec(self.n, "double")
        self.math = lanes(self.b, self.n, "double")
        self.one = lanes(self.b, 1, "double")
        self.arg = TaskFrame(self.b, list(ARGUMENTS), 0)

    def write(self) -> str:
        b, arg = self.b, self.arg
        arg.load_all()
        rooms = ("labels", "barred", "beta", "stands", "sums", "alpha")
        self.room = {name: b.at("%scratch", arg(name), "double") for name in rooms}
        with b.loop("%t0", "%t1") as t:
            self._sequence(t.i)
        return b.module()

    def _sequence(self, index: str) -> None:
        b, arg, n = self.b, self.arg, self.n
        size = self._clipped("sizes", index, arg("most"))
        self.length = self._clipped("lengths", index, arg("steps"))
        self.states = b.add(b.mul(size, 2), 1)
        self.width = b.mul(b.ceil_div(self.states, n), n)
        self.x = b.at(self.arg.base("x", self.ty), b.mul(index, arg("x_n")), self.ty)
        self._prepare(index, size)
        self.pitch = b.add(self.width, n)  # n states in front that no path comes from
        self._forward()
        total = self._total(size)
        endless = b.let(f"fcmp oeq double {self._call('fabs', total)}, 0x7FF0000000000000")
        spared = b.both(endless, b.test("ne", arg("zero"), 0))
        loss = b.let(f"fneg double {total}")
        loss = b.pick(spared, "double", "0.0", loss)
        if self.ty == "float":
            loss = b.let(f"fptrunc double {loss} to float")
        b.store(self.ty, loss, b.at(self.arg.base("loss", self.ty), index, self.ty))
        if self.shape.gradient:
            # what is spared has a gradient of zeros, like all times after a sequence's end
            self.length = b.pick(spared, "i64", 0, self.length)
            self._backward(index, size, total)

    def _call(self, name: str, x: str) -> str:
        self.b.declare(f"double @llvm.{name}.f64(double)")
        return self.b.let(f"call double @llvm.{name}.f64(double {x})")

    def _clipped(self, name: str, index: Value, most: Value) -> Value:
        """One of the lengths; it has been checked, but not where a compiled function runs again."""
        b = self.b
        return b.least(
            b.most(b.load("i64", b.at(self.arg.base(name, "i64"), index, "i64")), 0), most
        )

    def _each(self, visit: Callable[[Value], None]) -> None:
        """visit(first) for each register of states."""
        with self.b.loop(0, self.width, self.n) as s:
            visit(s.i)

    # -- states ------------------------------------------------------------------------------

    def _prepare(self, index: Value, size: Value) -> None:
        """Labels of the states, and which may be reached past a blank (0, else -infinity)."""
        b, arg, n = self.b, self.arg, self.n
        labels, barred = self.room["labels"], self.room["barred"]
        blank = b.let(f"trunc i64 {arg('blank')} to i32")
        blanks = b.splat(n, "i32", blank)
        with b.loop(0, b.add(self.width, 2 * n), n) as s:
            b.store(vec(n, "i32"), blanks, b.at(labels, s.i, "i32"), "i32")
            b.store(self.v, self.math.c(-math.inf), b.at(barred, s.i, "double"), "double")
        first: Value = b.mul(index, arg("targets_n"))
        if self.shape.joined:
            with b.loop(0, index, 1, [("i64", 0)]) as i:
                i.next = [b.add(i.vars[0], self._clipped("sizes", i.i, arg("most")))]
            first = i.vars[0]
        targets = self.arg.base("targets", "i64")
        with b.loop(0, size, 1, [("i64", arg("blank"))]) as i:
            place = b.least(b.add(first, i.i), b.sub(arg("count"), 1))
            label: Value = b.load("i64", b.at(targets, place, "i64"))
            label = b.least(b.most(label, 0), b.sub(arg("classes"), 1))
            state = b.add(b.mul(i.i, 2), 1)
            narrow = b.let(f"trunc i64 {label} to i32")
            b.store("i32", narrow, b.at(labels, state, "i32"))
            other = b.both(b.test("ne", label, i.vars[0]), b.test("ne", label, arg("blank")))
            other = b.both(other, b.test("sgt", i.i, 0))
            free = b.pick(other, "double", "0.0", _NEVER)
            b.store("double", free, b.at(barred, state, "double"))
            i.next = [label]

    def _seen(self, time: Value, state: Value) -> str:
        """The logarithms of the probabilities of n states' labels at a time."""
        b, n, ty = self.b, self.n, self.ty
        row = b.at(self.x, b.mul(time, self.arg("x_t")), ty)
        places = b.load(vec(n, "i32"), b.at(self.room["labels"], state, "i32"), "i32")
        ones = "<" + ", ".join(["i1 true"] * n) + ">"
        return self._wide(b.collect(n, ty, row, places, ones))

    def _wide(self, value: str) -> str:
        if self.ty == "double":
            return value
        return self.b.let(f"fpext {vec(self.n, 'float')} {value} to {self.v}")

    def _kept(self, mask: str, value: str) -> str:
        """value, and -infinity where the mask is not."""
        never = self.math.c(-math.inf)
        return self.b.let(f"select <{self.n} x i1> {mask}, {self.v} {value}, {self.v} {never}")

    def _ways(self, ways: list[str]) -> str:
        """log(exp(a) + exp(b) + ..)."""
        m = self.math
        top = ways[0]
        for way in ways[1:]:
            top = m.upper(top, way)
        top = m.select(m.cmp("oeq", top, m.c(-math.inf)), m.c(0.0), top)
        total = vmath.exp(m, m.sub(ways[0], top))
        for way in ways[1:]:
            total = m.add(total, vmath.exp(m, m.sub(way, top)))
        return m.add(vmath_log.log(m, total), top)

    # -- forwards ----------------------------------------------------------------------------

    def _alpha(self, time: Value) -> str:
        """Where the states of a time begin; without a gradient only two times are kept."""
        b = self.b
        row = time if self.shape.gradient else b.let(f"and i64 {time}, 1")
        return b.at(self.room["alpha"], b.add(b.mul(row, self.pitch), self.n), "double")

    def _forward(self) -> None:
        b, n, m = self.b, self.n, self.math
        starts = b.least(self.states, 2)
        with b.loop(0, self.length) as t:
            here, before = self._alpha(t.i), self._alpha(b.most(b.sub(t.i, 1), 0))
            b.store(self.v, m.c(-math.inf), b.at(here, -n, "double"), "double")

            def begin(s: Value, here: str = here) -> None:
                value = self._kept(b.mask(n, b.sub(starts, s)), self._seen(0, s))
                b.store(self.v, value, b.at(here, s, "double"), "double")

            def go_on(s: Value, here: str = here, before: str = before, time: str = t.i) -> None:
                ways = [self._load(b.at(before, b.sub(s, k), "double")) for k in range(3)]
                ways[2] = m.add(ways[2], self._load(b.at(self.room["barred"], s, "double")))
                value = m.add(self._ways(ways), self._seen(time, s))
                b.store(self.v, value, b.at(here, s, "double"), "double")

            with b.choose(b.test("eq", t.i, 0)) as way:
                with way.yes:
                    self._each(begin)
                with way.no:
                    self._each(go_on)

    def _load(self, place: str) -> str:
        return self.b.load(self.v, place, "double")

    def _total(self, size: Value) -> str:
        """The logarithm of the probability of all paths that end well."""
        b, m = self.b, self.one
        with b.choose(b.test("sgt", self.length, 0)) as way:
            with way.yes:
                end = b.at(self._alpha(b.sub(self.length, 1)), b.sub(self.states, 1), "double")
                last = [b.load("<1 x double>", b.at(end, k, "double"), "double") for k in (0, -1)]
                top = m.upper(*last)
                top = m.select(m.cmp("oeq", top, m.c(-math.inf)), m.c(0.0), top)
                both = m.add(*(vmath.exp(m, m.sub(x, top)) for x in last))
                value = m.add(vmath_log.log(m, both), top)
                # without labels the state before is in front of all
                found = b.let(f"extractelement <1 x double> {value}, i64 0")
            with way.no:
                nothing = b.pick(b.test("eq", size, 0), "double", "0.0", _NEVER)
        return way.merge("double", found, nothing)

    # -- the gradient ------------------------------------------------------------------------

    def _backward(self, index: Value, size: Value, total: str) -> None:
        b, arg, n = self.b, self.arg, self.n
        whole = b.splat(n, "double", total)
        out = b.at(self.arg.base("grad", self.ty), b.mul(index, arg("classes")), self.ty)
        pitch = b.mul(arg("batch"), arg("classes"))
        with b.loop(0, self.length) as back:
            time = b.sub(b.sub(self.length, 1), back.i)
            parity = b.let(f"and i64 {back.i}, 1")
            rows = [
                b.at(self.room["beta"], b.mul(row, self.pitch), "double")
                for row in (parity, b.sub(1, parity))
            ]
            b.store(self.v, self.math.c(-math.inf), b.at(rows[0], self.width, "double"), "double")
            with b.choose(b.test("eq", back.i, 0)) as way:
                with way.yes:
                    self._each(lambda s: self._stand(time, s, rows, whole, True))
                with way.no:
                    self._each(lambda s: self._stand(time, s, rows, whole, False))
            self._add_up(size)
            self._derive(time, b.at(out, b.mul(time, pitch), self.ty), whole)
        with b.loop(self.length, arg("steps")) as t:
            row = b.at(out, b.mul(t.i, pitch), self.ty)
            with b.loop(0, arg("classes")) as c:
                b.store(self.ty, "0.0", b.at(row, c.i, self.ty))

    def _stand(self, time: Value, s: Value, rows: list[str], whole: str, last: bool) -> None:
        """beta, and how probable it is that a path stands at the states."""
        b, n, m = self.b, self.n, self.math
        seen = self._seen(time, s)
        there = b.mask(n, b.sub(self.states, s))
        if last:
            before = b.mask(n, b.sub(b.sub(self.states, 2), s))
            ends = b.let(f"xor <{n} x i1> {there}, {before}")
            beta = self._kept(ends, seen)
        else:
            ways = [self._load(b.at(rows[1], b.add(s, k), "double")) for k in range(3)]
            barred = self._load(b.at(self.room["barred"], b.add(s, 2), "double"))
            ways[2] = m.add(ways[2], barred)
            beta = self._kept(there, m.add(self._ways(ways), seen))
        b.store(self.v, beta, b.at(rows[0], s, "double"), "double")
        both = m.add(self._load(b.at(self._alpha(time), s, "double")), beta)
        stands = vmath.exp(m, m.sub(m.sub(both, whole), seen))
        stands = m.select(m.cmp("oeq", both, m.c(-math.inf)), m.c(0.0), stands)
        b.store(self.v, stands, b.at(self.room["stands"], s, "double"), "double")

    def _add_up(self, size: Value) -> None:
        """Probabilities of the states, added up for each label."""
        b, arg, n = self.b, self.arg, self.n
        sums, stands, labels = (self.room[x] for x in ("sums", "stands", "labels"))
        with b.loop(0, arg("classes"), n) as c:
            b.store(self.v, "zeroinitializer", b.at(sums, c.i, "double"), "double")
        with b.loop(0, size, 1, [("double", b.load("double", stands))]) as i:
            state = b.add(b.mul(i.i, 2), 1)
            label = b.load("i32", b.at(labels, state, "i32"))
            place = b.at(sums, b.let(f"sext i32 {label} to i64"), "double")
            here = b.load("double", b.at(stands, state, "double"))
            old = b.load("double", place)
            b.store("double", b.let(f"fadd double {old}, {here}"), place)
            after = b.load("double", b.at(stands, b.add(state, 1), "double"))
            i.next = [b.let(f"fadd double {i.vars[0]}, {after}")]
        place = b.at(sums, arg("blank"), "double")
        old = b.load("double", place)
        b.store("double", b.let(f"fadd double {old}, {i.vars[0]}"), place)

    def _derive(self, time: Value, out: str, whole: str) -> None:
        """The row of the gradient: probabilities, less those that the paths make."""
        b, arg, n, m = self.b, self.arg, self.n, self.math
        row = b.at(self.x, b.mul(time, arg("x_t")), self.ty)
        narrow = lanes(b, n, self.ty)
        spoilt = m.sub(whole, whole)  # NaN, if the loss is no number
        with b.loop(0, arg("classes"), n) as c:
            mask = b.mask(n, b.sub(arg("classes"), c.i))
            x = b.masked_load(n, self.ty, b.at(row, c.i, self.ty), mask)
            p = self._wide(vmath.exp(narrow, x))
            value = m.add(m.sub(p, self._load(b.at(self.room["sums"], c.i, "double"))), spoilt)
            value = m.select(m.cmp("oeq", self._wide(x), m.c(-math.inf)), m.c(math.nan), value)
            if self.ty == "float":
                value = b.let(f"fptrunc {self.v} {value} to {vec(n, 'float')}")
            b.store_first(n, self.ty, value, b.at(out, c.i, self.ty), b.sub(arg("classes"), c.i))
