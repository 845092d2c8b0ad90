"""Stable sorting of rows with their indices, as LLVM IR.

Numbers become unsigned keys in the order wanted (NaN above all, -0 like 0), paired with their
index: one 64-bit word where the keys of a row span at most 32 bits, two words else. Few pairs are
sorted by insertion, more by radix, from the lowest digit up; a row's keys are counted from its least,
so that numbers close together have few digits. The best of a few are kept in order, and most numbers
are only compared with the last of them, a register at a time. One pair by its rank is found from the
highest byte down: only those that share its bytes so far are looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from facula.llvm.target import Target
from facula.llvm.tile import Emit, Value, splat_text, vec
from facula.llvm.tile_task import TaskFrame

ARGUMENTS = (
    *("x", "x_off", "y", "y_off", "places", "places_off", "x_a", "x_i", "x_b"),
    *("rows", "count", "columns", "k", "flip", "per_task", "room", "rank", "digit"),
)
_LOT = 2  # registers that are compared at once
FEW = 40  # pairs that insertion sorts
DIGIT = 11  # bits of a digit at most
# bits, and the bits of infinity
_FLOATS = {
    "float16": (16, 0x7C00),
    "bfloat16": (16, 0x7F80),
    "float32": (32, 0x7F800000),
    "float64": (64, 0x7FF0000000000000),
}


def bits_of(dtype: str) -> int:
    """The size of a key."""
    if dtype in _FLOATS:
        return _FLOATS[dtype][0]
    return 8 if dtype == "bool" else int(dtype.removeprefix("u").removeprefix("int"))


def words_of(dtype: str) -> int:
    """64-bit words of a pair."""
    return 2 if bits_of(dtype) == 64 else 1


@dataclass(frozen=True)
class SortShape:
    """What is fixed in the code of a sort."""

    dtype: str
    first_k: bool = False  # far fewer than all
    few: bool = False  # so few that they are kept in order
    values: bool = True
    places: bool = True
    pick: str = ""  # one of a rank: nth, median, nanmedian

    @property
    def key(self) -> str:
        what = self.pick or ("few" if self.few else "first" if self.first_k else "all")
        return f"sort {self.dtype} {what} {self.values:d}{self.places:d}"


class SortWriter:
    """Writes the kernel of a `SortShape`."""

    def __init__(self, shape: SortShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.bits, self.words = bits_of(shape.dtype), words_of(shape.dtype)
        self.ty = f"i{self.bits}"
        self.low = 0 if self.words == 2 else 32  # where the key begins in its word
        self.arg = TaskFrame(self.b, list(ARGUMENTS), 0)

    def write(self) -> str:
        b, arg = self.b, self.arg
        arg.load_all()
        self.x = arg.base("x", self.ty)
        if self.shape.values:
            self.y = arg.base("y", self.ty)
        if self.shape.places:
            self.places = arg.base("places", "i64")
        self.counts = "%scratch"
        self.room = arg("room")
        self.one = b.at("%scratch", (1 << DIGIT) // 2, "i64")  # counts are 32 bits
        self.two = b.at(self.one, b.mul(b.add(self.room, 1), self.words), "i64")
        last = b.least(b.mul("%t1", arg("per_task")), arg("rows"))
        with b.loop(b.mul("%t0", arg("per_task")), last) as row:
            self._row(row.i)
        return b.module()

    def _row(self, row: Value) -> None:
        b, arg = self.b, self.arg
        a, column = b.divmod(row, arg("columns"))
        start = b.add(b.mul(a, arg("x_a")), b.mul(column, arg("x_b")))
        x = b.at(self.x, start, self.ty)
        to = b.add(b.mul(b.mul(a, arg("k")), arg("columns")), column)
        if self.shape.pick:
            self._put(self._nth(x), x, to)
        elif self.shape.few:
            self._put(self._listed(x), x, to)
        elif self.shape.first_k:
            self._put(self._best(x), x, to)
        elif self.words == 1:
            self._whole(x, to, *self._range(x))
        else:
            low, span = self._range(x)
            with b.choose(b.test("ult", span, 1 << 32)) as c:
                with c.yes, self._narrow():
                    self._whole(x, to, low, span)
                with c.no:
                    self._whole(x, to, low, span)

    @contextmanager
    def _narrow(self) -> Iterator[None]:
        """Pairs of 64-bit keys in one word, where their span allows it."""
        before = self.words, self.low
        self.words, self.low = 1, 32
        yield
        self.words, self.low = before

    def _range(self, x: str) -> tuple[str, str]:
        """The least key of a row, and how far the greatest is above it."""
        b = self.b
        for name in ("umin", "umax"):
            b.declare(f"i64 @llvm.{name}.i64(i64, i64)")
        first = self._key(x, 0)
        with b.loop(1, self.arg("count"), 1, [("i64", first), ("i64", first)]) as i:
            key = self._key(x, i.i)
            i.next = [
                b.let(f"call i64 @llvm.{name}.i64(i64 {old}, i64 {key})")
                for name, old in zip(("umin", "umax"), i.vars, strict=True)
            ]
        return i.vars[0], b.let(f"sub i64 {i.vars[1]}, {i.vars[0]}")

    def _whole(self, x: str, to: Value, low: str, span: str) -> None:
        """All of a row in order."""
        b = self.b
        with b.loop(0, self.arg("count")) as i:
            self._set(self.one, i.i, self._pair(x, i.i, low))
        self._put(self._sorted(self.one, self.two, self.arg("count"), span), x, to)

    def _put(self, done: str, x: str, to: Value) -> None:
        """Writes the first pairs' numbers and places."""
        b, arg = self.b, self.arg
        with b.loop(0, arg("k")) as i:
            pair = self._get(done, i.i)
            place = pair[1] if self.words == 2 else b.let(f"and i64 {pair[0]}, {0xFFFFFFFF}")
            at = b.add(to, b.mul(i.i, arg("columns")))
            if self.shape.values:
                value = b.load(self.ty, b.at(x, b.mul(place, arg("x_i")), self.ty))
                b.store(self.ty, value, b.at(self.y, at, self.ty))
            if self.shape.places:
                b.store("i64", place, b.at(self.places, at, "i64"))

    # -- pairs -------------------------------------------------------------------------------

    def _key(self, x: str, i: Value) -> str:
        """A number as an unsigned key, in 64 bits."""
        b, ty = self.b, self.ty
        key = self._ordered(b.load(ty, b.at(x, b.mul(i, self.arg("x_i")), ty)))
        wide = key if self.bits == 64 else b.let(f"zext {ty} {key} to i64")
        return b.let(f"xor i64 {wide}, {self.arg('flip')}")

    def _ordered(self, raw: str, n: int = 0) -> str:
        """Bits of one number (or of n side by side) as unsigned keys, rising."""
        b, dtype, sign = self.b, self.shape.dtype, -(1 << self.bits - 1)
        ty, truth = (vec(n, self.ty), vec(n, "i1")) if n else (self.ty, "i1")

        def constant(value: int) -> Value:
            return splat_text(n, self.ty, value) if n else value

        if dtype.startswith("int"):
            return b.let(f"xor {ty} {raw}, {constant(sign)}")
        if dtype not in _FLOATS:
            return raw
        double = b.let(f"shl {ty} {raw}, {constant(1)}")
        zero = b.let(f"icmp eq {ty} {double}, {constant(0)}")
        plain = b.let(f"select {truth} {zero}, {ty} {constant(0)}, {ty} {raw}")
        spread = b.let(f"ashr {ty} {plain}, {constant(self.bits - 1)}")
        turn = b.let(f"or {ty} {spread}, {constant(sign)}")
        ordered = b.let(f"xor {ty} {plain}, {turn}")
        nan = b.let(f"icmp ugt {ty} {double}, {constant(2 * _FLOATS[dtype][1])}")
        return b.let(f"select {truth} {nan}, {ty} {constant(-1)}, {ty} {ordered}")

    def _pair(self, x: str, i: Value, low: Value = 0) -> list[Value]:
        """The key above `low`, with its index."""
        key = self.b.sub(self._key(x, i), low)
        if self.words == 2:
            return [key, i]
        high = self.b.let(f"shl i64 {key}, 32")
        return [self.b.let(f"or i64 {high}, {i}")]

    def _get(self, base: str, i: Value) -> list[Value]:
        at = self.b.at(base, self.b.mul(i, self.words), "i64")
        return [self.b.load("i64", self.b.at(at, w, "i64")) for w in range(self.words)]

    def _set(self, base: str, i: Value, pair: list[Value]) -> None:
        at = self.b.at(base, self.b.mul(i, self.words), "i64")
        for w, value in enumerate(pair):
            self.b.store("i64", value, self.b.at(at, w, "i64"))

    # -- sorting -----------------------------------------------------------------------------

    def _sorted(self, one: str, two: str, count: Value, span: Value = -1) -> str:
        """Sorts the pairs at `one`, whose keys are at most `span`; where they are afterwards."""
        b = self.b
        with b.choose(b.test("sle", count, FEW)) as c:
            with c.yes, b.loop(1, count) as i:
                self._insert(one, i.i, self._get(one, i.i))
            with c.no:
                end = self._radix(one, two, count, span)
        return c.merge("ptr", one, end)

    def _insert(self, base: str, i: Value, pair: list[Value]) -> None:
        """Moves a pair down from position i to where it belongs."""
        b, tag = self.b, self.b.fresh("W")
        before = b.block
        b.do(f"br label %{tag}.head")
        b.label(f"{tag}.head")
        place = len(b.lines)
        b.lines.append("")
        j = f"%{tag}.j"
        b.do(f"br i1 {b.test('sgt', j, 0)}, label %{tag}.look, label %{tag}.done")
        b.label(f"{tag}.look")
        below = b.sub(j, 1)
        other = self._get(base, below)
        b.do(f"br i1 {b.test('ugt', other[0], pair[0])}, label %{tag}.move, label %{tag}.done")
        b.label(f"{tag}.move")
        self._set(base, j, other)
        b.do(f"br label %{tag}.head")
        b.lines[place] = f"  {j} = phi i64 [ {i}, %{before} ], [ {below}, %{tag}.move ]"
        b.label(f"{tag}.done")
        self._set(base, j, pair)

    def _clear(self, size: Value) -> None:
        b, n = self.b, self.b.target.vector_bytes // 4
        with b.loop(0, size, n) as i:
            b.store(vec(n, "i32"), "zeroinitializer", b.at(self.counts, i.i, "i32"), "i32")

    def _digit(self, key: Value, shift: Value, mask: Value = 255) -> str:
        b = self.b
        return b.let(f"and i64 {b.let(f'lshr i64 {key}, {shift}')}, {mask}")

    def _count(self, digit: str) -> None:
        b = self.b
        at = b.at(self.counts, digit, "i32")
        b.store("i32", b.let(f"add i32 {b.load('i32', at)}, 1"), at)

    def _radix(self, one: str, two: str, count: Value, span: Value) -> str:
        b = self.b
        if span == -1:
            bits: Value = self.bits
        else:
            b.declare("i64 @llvm.ctlz.i64(i64, i1)")
            bits = b.sub(64, b.let(f"call i64 @llvm.ctlz.i64(i64 {span}, i1 false)"))
        widest = self.arg("digit")
        passes = b.div(b.sub(b.add(bits, widest), 1), widest)
        width = b.div(b.sub(b.add(bits, passes), 1), b.most(passes, 1))  # as wide as the others
        size = b.let(f"shl i64 1, {width}")
        mask = b.sub(size, 1)
        with b.loop(0, passes, 1, [("ptr", one), ("ptr", two)]) as p:
            here, there = p.vars
            shift = b.add(b.mul(p.i, width), self.low)
            self._clear(size)
            with b.loop(0, count) as i:
                self._count(self._digit(self._get(here, i.i)[0], shift, mask))
            first = self._digit(self._get(here, 0)[0], shift, mask)
            same = b.load("i32", b.at(self.counts, first, "i32"))
            many = b.let(f"zext i32 {same} to i64")
            with b.choose(b.test("ne", many, count)) as c:
                with c.yes:
                    self._starts(size)
                    with b.loop(0, count) as i:
                        pair = self._get(here, i.i)
                        at = b.at(self.counts, self._digit(pair[0], shift, mask), "i32")
                        to = b.load("i32", at)
                        b.store("i32", b.let(f"add i32 {to}, 1"), at)
                        self._set(there, b.let(f"zext i32 {to} to i64"), pair)
                with c.no:
                    pass
            p.next = [c.merge("ptr", there, here), c.merge("ptr", here, there)]
        return p.vars[0]

    def _starts(self, size: Value) -> None:
        """Counts become where each digit's pairs begin."""
        b = self.b
        with b.loop(0, size, 1, [("i32", 0)]) as d:
            at = b.at(self.counts, d.i, "i32")
            have = b.load("i32", at)
            b.store("i32", d.vars[0], at)
            d.next = [b.let(f"add i32 {d.vars[0]}, {have}")]

    # -- the first k -------------------------------------------------------------------------

    def _best(self, x: str) -> str:
        """The k least pairs, sorted: candidates are gathered and, when many, thinned out."""
        b, k, count = self.b, self.arg("k"), self.arg("count")
        last = b.sub(count, 1)
        start: list[tuple[str, Value]] = [
            ("i64", 0),
            ("i64", -1),
            ("ptr", self.one),
            ("ptr", self.two),
        ]
        with b.loop(0, count, 1, start) as i:
            _, limit, here, there = i.vars
            have: Value = i.vars[0]
            pair = self._pair(x, i.i)
            self._set(here, have, pair)
            wanted = b.let(f"or i1 {b.test('ult', pair[0], limit)}, {b.test('slt', have, k)}")
            have = b.add(have, b.let(f"zext i1 {wanted} to i64"))
            full = b.let(f"or i1 {b.test('eq', have, self.room)}, {b.test('eq', i.i, last)}")
            with b.choose(full) as c:
                with c.yes:
                    end = self._sorted(here, there, have)
                    moved = b.let(f"icmp ne ptr {end}, {here}")
                    other = b.pick(moved, "ptr", here, there)
                    worst = self._get(end, b.sub(k, 1))[0]
                with c.no:
                    pass
            i.next = [
                c.merge("i64", k, have),
                c.merge("i64", worst, limit),
                c.merge("ptr", end, here),
                c.merge("ptr", other, there),
            ]
        return i.vars[2]

    def _listed(self, x: str) -> str:
        """The k least pairs, kept in order; registers of numbers that are no better are passed over."""
        b, k, count, one = self.b, self.arg("k"), self.arg("count"), self.one
        with b.loop(0, k) as i:
            self._insert(one, i.i, self._pair(x, i.i))
        last = b.sub(k, 1)
        n = self.b.target.vector_bytes // (self.bits // 8)
        lot = n * _LOT
        whole = b.add(k, b.mul(b.div(b.sub(count, k), lot), lot))
        end = b.pick(b.test("eq", self.arg("x_i"), 1), "i64", whole, k)
        with b.loop(k, end, lot) as block:
            with b.when(self._any_better(b.at(x, block.i, self.ty), n, self._worst(last))):
                self._consider(x, block.i, b.add(block.i, lot), last)
        self._consider(x, end, count, last)
        return one

    def _worst(self, last: Value) -> str:
        """The key of the last pair kept."""
        key = self._get(self.one, last)[0]
        return str(key) if self.words == 2 else self.b.let(f"lshr i64 {key}, 32")

    def _any_better(self, x: str, n: int, limit: str) -> str:
        """Whether one of some registers of numbers has a key below the limit."""
        b, ty = self.b, vec(n, self.ty)

        def spread(value: Value) -> str:
            narrow = value if self.bits == 64 else b.let(f"trunc i64 {value} to {self.ty}")
            return b.splat(n, self.ty, narrow)

        flip, worst, found = spread(self.arg("flip")), spread(limit), ""
        for r in range(_LOT):
            key = self._ordered(b.load(ty, b.at(x, r * n, self.ty), self.ty), n)
            key = b.let(f"xor {ty} {key}, {flip}")
            better = b.let(f"icmp ult {ty} {key}, {worst}")
            found = b.let(f"or {vec(n, 'i1')} {found}, {better}") if found else better
        bits = b.let(f"bitcast {vec(n, 'i1')} {found} to i{n}")
        return b.let(f"icmp ne i{n} {bits}, 0")

    def _consider(self, x: str, first: Value, end: Value, last: Value) -> None:
        """Takes up those of the numbers that are better than the last pair kept."""
        b = self.b
        with b.loop(first, end) as i, b.when(b.test("ult", self._key(x, i.i), self._worst(last))):
            self._insert(self.one, last, self._pair(x, i.i))

    # -- one of a rank -----------------------------------------------------------------------

    def _nth(self, x: str) -> str:
        """Where the pair of the rank wanted is, as a stable sort would order them."""
        b, count = self.b, self.arg("count")
        with b.choose(b.test("sle", count, FEW)) as c:
            with c.yes:
                with b.loop(0, count, 1, [("i64", 0)]) as i:
                    self._set(self.one, i.i, self._pair(x, i.i))
                    i.next = [b.add(i.vars[0], self._is_nan(self._key(x, i.i)))]
                few_rank = self._rank(i.vars[0])
            with c.no:
                self._clear(256)
                with b.loop(0, count, 1, [("i64", 0)]) as i:
                    key = self._key(x, i.i)
                    self._count(self._digit(key, self.bits - 8))
                    i.next = [b.add(i.vars[0], self._is_nan(key))]
                wanted = self._rank(i.vars[0])
                bucket, below = self._bucket(wanted)
                with b.loop(0, count, 1, [("i64", 0)]) as i:
                    pair = self._pair(x, i.i)
                    i.next = [self._append(i.vars[0], pair, self.low + self.bits - 8, bucket)]
                have, rank = self._narrowed(i.vars[0], b.sub(wanted, below))
        have, rank = c.merge("i64", count, have), c.merge("i64", few_rank, rank)
        with b.when(b.test("sle", have, FEW)), b.loop(1, have) as i:
            self._insert(self.one, i.i, self._get(self.one, i.i))
        # more are all equal, in the order of their places
        return b.at(self.one, b.mul(rank, self.words), "i64")

    def _narrowed(self, have: Value, rank: Value) -> tuple[Value, Value]:
        """Candidates thinned out by one byte after the other while they are many."""
        b, passes = self.b, self.bits // 8
        with b.loop(1, passes, 1, [("i64", have), ("i64", rank)]) as p:
            many, wanted = p.vars
            shift = b.sub(self.low + self.bits - 8, b.mul(p.i, 8))
            with b.choose(b.test("sgt", many, FEW)) as c:
                with c.yes:
                    self._clear(256)
                    with b.loop(0, many) as i:
                        self._count(self._digit(self._get(self.one, i.i)[0], shift))
                    bucket, below = self._bucket(wanted)
                    with b.loop(0, many, 1, [("i64", 0)]) as i:
                        pair = self._get(self.one, i.i)
                        i.next = [self._append(i.vars[0], pair, shift, bucket)]
                    left = b.sub(wanted, below)
                with c.no:
                    pass
            p.next = [c.merge("i64", i.vars[0], many), c.merge("i64", left, wanted)]
        return p.vars[0], p.vars[1]

    def _append(self, have: Value, pair: list[Value], shift: Value, bucket: Value) -> Value:
        """Keeps a pair if its digit is the bucket's; how many there are then."""
        b = self.b
        self._set(self.one, have, pair)
        same = b.test("eq", self._digit(pair[0], shift), bucket)
        return b.add(have, b.let(f"zext i1 {same} to i64"))

    def _bucket(self, rank: Value) -> tuple[Value, Value]:
        """The digit of what has this rank, and how many have a lower one."""
        b = self.b
        with b.loop(0, 256, 1, [("i64", 0)] * 3) as d:
            seen: Value = d.vars[0]
            bucket: Value = d.vars[1]
            here = b.load("i32", b.at(self.counts, d.i, "i32"))
            seen = b.add(seen, b.let(f"zext i32 {here} to i64"))
            lower = b.test("sle", seen, rank)
            bucket = b.add(bucket, b.let(f"zext i1 {lower} to i64"))
            d.next = [seen, bucket, b.pick(lower, "i64", seen, d.vars[2])]
        return d.vars[1], d.vars[2]

    def _is_nan(self, key: str) -> Value:
        """1 for the key of NaN."""
        if self.shape.dtype not in _FLOATS:
            return 0
        most = -1 if self.bits == 64 else (1 << self.bits) - 1
        return self.b.let(f"zext i1 {self.b.test('eq', key, most)} to i64")

    def _rank(self, nans: Value) -> Value:
        """Of a median: the first NaN if there is one, unless they are left out."""
        b, count = self.b, self.arg("count")
        if self.shape.pick == "nth":
            return self.arg("rank")
        if self.shape.pick == "nanmedian":
            return b.div(b.most(b.sub(b.sub(count, nans), 1), 0), 2)
        middle = b.div(b.sub(count, 1), 2)
        return b.pick(b.test("sgt", nans, 0), "i64", b.sub(count, nans), middle)
