"""Scaled dot-product attention in blocks, as LLVM IR: no matrix of scores is ever whole.

Lanes are queries: a block of scores is held as [key][query], so that maxima, sums and exponentials
run down the keys without leaving their lane. Rows of K and V are read in place, one broadcast a
number. The backward pass does one key-value head in a task and computes the scores again.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from facula.llvm import vmath, vmath_log
from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Value, lanes, vec
from facula.llvm.tile_pack import lanes_of, pack, sums
from facula.llvm.tile_task import TaskFrame

_NAMES = ("q", "k", "v", "out", "lse", "mask")
FORWARD = (
    *(f"{x}{end}" for x in _NAMES for end in ("", "_off", "_b", "_h", "_t")),
    *("mask_k", "heads", "repeat", "t", "s", "d", "scale", "blocks"),
)
_MORE = ("dout", "dq", "dk", "dv", "delta")
BACKWARD = (*FORWARD, *(f"{x}{end}" for x in _MORE for end in ("", "_off", "_b", "_h", "_t")))


@dataclass(frozen=True)
class AttentionShape:
    """What is fixed in the code of an attention kernel."""

    kind: str  # forward, few (queries, forward), delta, backward
    dtype: str
    vectors: int  # registers of queries in a block
    d_vectors: int  # registers of a row's numbers in a tile, for the backward pass
    causal: bool
    mask: str  # "": none; "k": contiguous along keys, "g": any strides
    rows: int = 8  # of a tile of products: with its vectors no more than there are registers
    whole: bool = False  # d is a multiple of a tile's columns

    @property
    def key(self) -> str:
        return (
            f"attention {self.kind} {self.dtype} {self.rows} q{self.vectors} d{self.d_vectors}"
            f"{' whole' if self.whole else ''}{' causal' if self.causal else ''} mask[{self.mask}]"
        )

    @property
    def keys(self) -> int:
        """The keys of a block."""
        return 66 if self.rows == 6 else 64


class AttentionWriter:
    """What the kernels share: places in scratch, blocks of scores, tiles of products."""

    def __init__(self, shape: AttentionShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.number = NUMBERS[shape.dtype]
        self.ty = self.number.compute
        self.n = lanes_of(self.b, self.number)
        self.v = vec(self.n, self.ty)
        self.width = shape.vectors * self.n  # queries of a block
        names = FORWARD if shape.kind in ("forward", "few") else BACKWARD
        self.arg = TaskFrame(self.b, list(names), 0)
        self.math = lanes(self.b, self.n, self.ty)

    def write(self) -> str:
        b = self.b
        self.arg.load_all()
        scale = b.let(f"bitcast i64 {self.arg('scale')} to double")
        if self.ty == "float":
            scale = b.let(f"fptrunc double {scale} to float")
        self.scale = b.splat(self.n, self.ty, scale)
        with b.loop("%t0", "%t1") as t:
            self.task(t.i)
        return b.module()

    def task(self, t: str) -> None:
        raise NotImplementedError

    # -- places ------------------------------------------------------------------------------

    def base(self, name: str, batch: Value, head: Value) -> str:
        b, arg = self.b, self.arg
        shift = b.add(b.mul(batch, arg(f"{name}_b")), b.mul(head, arg(f"{name}_h")))
        return b.at(b.buffer(arg(name)), b.add(arg(f"{name}_off"), shift), self.ty)

    def row(self, base: str, name: str, t: Value) -> str:
        return self.b.at(base, self.b.mul(t, self.arg(f"{name}_t")), self.ty)

    def take(self, count: Value) -> str:
        """The next `count` numbers of scratch."""
        place = self.b.at("%scratch", self._taken, self.ty)
        self._taken = self.b.add(self._taken, count)
        return place

    _taken: Value = 0

    def load(self, p: str, j: Value = 0) -> str:
        return self.b.load(self.v, self.b.at(p, j, self.ty), self.ty)

    def save(self, value: str, p: str, j: Value = 0) -> None:
        self.b.store(self.v, value, self.b.at(p, j, self.ty), self.ty)

    def exp(self, x: str) -> str:
        """e^x, but 0 below the normal numbers: those take processors many times as long, and masks
        give nothing else."""
        math = self.math
        lowest = math.c({"float": -87.0, "double": -708.0}[self.ty])
        tiny = math.cmp("olt", x, lowest)
        return math.select(tiny, "zeroinitializer", vmath.exp(math, math.upper(lowest, x)))

    # -- products ----------------------------------------------------------------------------

    def product(
        self, a_rows, a_step, b_row, b_step, depth, start, masks=None, first=0
    ) -> list[str]:
        """start[i, j] + sum over k in [first, depth) of a_rows[i][k * a_step] * b_row[k * b_step + lanes j]."""
        b, n, ty = self.b, self.n, self.ty
        count = len(start)
        vectors = count // len(a_rows)
        here = b.at(b_row, b.mul(first, b_step), ty)
        carried = [(self.v, x) for x in start] + [("i64", b.mul(first, a_step)), ("ptr", here)]
        with b.loop(first, depth, 1, carried) as k:
            index, here = k.vars[count:]
            columns = []
            for j in range(vectors):
                p = b.at(here, j * n, ty)
                columns.append(b.masked_load(n, ty, p, masks[j]) if masks else self.load(p))
            for i, row in enumerate(a_rows):
                one = b.splat(n, ty, b.load(ty, b.at(row, index, ty)))
                for j in range(vectors):
                    acc = k.vars[i * vectors + j]
                    k.next.append(b.fma(n, ty, one, columns[j], acc))
            k.next += [b.add(index, a_step), b.at(here, b_step, ty)]
        return k.vars[:count]

    def columns(self, i: Value) -> list[str] | None:
        """Which of a tile's columns there are; None for all."""
        if self.shape.whole:
            return None
        return [
            self.b.mask(self.n, self.b.sub(self.arg("d"), self.b.add(i, j * self.n)))
            for j in range(self.shape.d_vectors)
        ]

    def place_rows(self) -> None:
        """How far apart rows in scratch are: whole tiles."""
        b, width = self.b, self.shape.d_vectors * self.n
        self.d_row = b.mul(b.ceil_div(self.arg("d"), width), width)

    # -- causality ---------------------------------------------------------------------------
    #
    # In a block, query i sees key k where k <= i + edge.

    def place_block(self, q0: Value, k0: Value, keys: Value) -> None:
        """Which keys each register of queries looks at: the first `counts[j]`, all lanes `wholes[j]`."""
        b, n, vectors = self.b, self.n, self.shape.vectors
        self.counts = self.wholes = [keys] * vectors
        if not self.shape.causal:
            return
        self.edge = b.sub(q0, k0)

        def within(count: Value) -> Value:
            return b.most(b.least(b.add(self.edge, count), keys), 0)

        self.counts = [within((j + 1) * n) for j in range(vectors)]
        self.wholes = [within(j * n + 1) for j in range(vectors)]

    def reach(self, query: Value, keys: Value) -> Value:
        """How many of the keys a tile of queries looks at."""
        if not self.shape.causal:
            return keys
        seen = self.b.add(self.b.add(query, self.shape.rows), self.edge)
        return self.b.most(self.b.least(keys, seen), 0)

    def blank(self, scores: str, register: int) -> None:
        """Zeros after the keys that a register looks at: tiles of products go so far beyond."""
        b, count = self.b, self.counts[register]
        with b.loop(count, b.add(count, self.shape.rows)) as key:
            place = b.add(b.mul(key.i, self.width), register * self.n)
            self.save("zeroinitializer", scores, place)

    def sighted(self, key: Value, j: int, score: str) -> str:
        """A score of register j, minus infinity where a query does not see the key."""
        b, n = self.b, self.n
        # Lane i is query j n + i: allowed from lane (key - edge - j n) on.
        ahead = b.mask(n, b.sub(key, b.add(self.edge, j * n)))
        lowest = self.math.c(float("-inf"))
        return b.let(f"select <{n} x i1> {ahead}, {self.v} {lowest}, {self.v} {score}")

    def near(self, rows: list[str], ahead: Value) -> None:
        """Begin to bring the rows of the next tile near: too short for the processor to see them come."""
        b = self.b
        with b.loop(0, self.arg("d"), 64 // self.number.bytes) as j:
            for row in rows:
                b.prefetch(b.at(row, b.add(j.i, ahead), self.ty), write=False)

    def score_block(
        self, rows: str, step: Value, count: Value, packed: str, out: str, scaled: bool
    ):
        """out[key][query] = rows[key] . packed[:, query] for `count` keys."""
        b, shape = self.b, self.shape
        last = b.sub(count, 1)
        with b.loop(0, count, shape.rows) as i:
            places = [b.least(b.add(i.i, r), last) for r in range(shape.rows)]
            a_rows = [b.at(rows, b.mul(p, step), self.ty) for p in places]
            self.near(a_rows, b.mul(step, shape.rows))
            place = b.at(out, b.mul(i.i, self.width), self.ty)
            if shape.causal:
                blind = b.div(b.most(b.sub(i.i, self.edge), 0), self.n)
                for j in range(shape.vectors):  # the registers before see none of these keys
                    with b.when(b.test("eq", blind, j)):
                        self._score_tile(a_rows, packed, place, j, scaled)
            else:
                self._score_tile(a_rows, packed, place, 0, scaled)

    def _score_tile(
        self, a_rows: list[str], packed: str, place: str, first: int, scaled: bool
    ) -> None:
        """A tile of scores, for the registers of queries from `first` on."""
        n, vectors = self.n, self.shape.vectors - first
        zeros = ["zeroinitializer"] * (self.shape.rows * vectors)
        packed = self.b.at(packed, first * n, self.ty)
        acc = self.product(a_rows, 1, packed, self.width, self.arg("d"), zeros)
        for i, value in enumerate(acc):
            r, j = divmod(i, vectors)
            if scaled:
                value = self.b.times(n, self.ty, value, self.scale)
            self.save(value, place, r * self.width + (first + j) * n)

    def limits(self, q0: Value) -> Value:
        """Keys that a block of queries looks at."""
        if not self.shape.causal:
            return self.arg("s")
        return self.b.least(self.arg("s"), self.b.add(q0, self.width))

    def pack_queries(self, rows: str, step: Value, count: Value, dst: str) -> None:
        """dst[d][query] of a block of rows."""
        b = self.b
        ahead = b.mul(step, self.width)
        pack(b, self.number, "k", rows, (step, 1), self.width, count, self.arg("d"), dst, ahead)

    def pack_mask(self, base: str, q0: Value, count: Value, k0: Value, keys: Value, dst: str):
        if not self.shape.mask:
            return
        b, arg = self.b, self.arg
        src = b.add(b.mul(q0, arg("mask_t")), b.mul(k0, arg("mask_k")))
        src = b.at(base, src, self.ty)
        strides = (arg("mask_t"), 1 if self.shape.mask == "k" else arg("mask_k"))
        pack(b, self.number, self.shape.mask, src, strides, self.width, count, keys, dst)

    def masked(self, score: str, mask: str, key: Value, j: Value) -> str:
        """A score with the mask added."""
        if not self.shape.mask:
            return score
        added = self.load(mask, self.b.add(self.b.mul(key, self.width), j))
        return self.b.plus(self.n, self.ty, score, added)


class ForwardWriter(AttentionWriter):
    """out = softmax(scale q k^T + mask) v, and the logarithm of each row's sum."""

    def task(self, t: str) -> None:
        b, arg, width = self.b, self.arg, self.width
        self._taken = 0
        index, block = b.divmod(t, arg("blocks"))
        batch, head = b.divmod(index, arg("heads"))
        kv_head = b.div(head, arg("repeat"))
        q0 = b.mul(block, width)
        count = b.least(width, b.sub(arg("t"), q0))
        self.place_rows()
        self.m, self.l, self.corr, self.factor = (self.take(width) for _ in range(4))
        packed = self.take(b.mul(arg("d"), width))
        self.sums = self.take(b.mul(self.d_row, width + self.shape.rows))
        scores = self.take((self.shape.keys + self.shape.rows) * width)
        mask = self.take((self.shape.keys + 2) * width) if self.shape.mask else ""
        self.spare = self.take(self.d_row)
        q = self.row(self.base("q", batch, head), "q", q0)
        self.pack_queries(q, arg("q_t"), count, packed)
        for j in range(self.shape.vectors):
            self.save(self.math.c(float("-inf")), self.m, j * self.n)
            self.save("zeroinitializer", self.l, j * self.n)
        k, v = self.base("k", batch, kv_head), self.base("v", batch, kv_head)
        out, lse = self.base("out", batch, head), self.base("lse", batch, head)
        given = self.base("mask", batch, head) if self.shape.mask else ""
        end = self.limits(q0)
        with b.loop(0, end, self.shape.keys) as k0:
            keys = b.least(self.shape.keys, b.sub(end, k0.i))
            self.place_block(q0, k0.i, keys)
            self.score_block(self.row(k, "k", k0.i), arg("k_t"), keys, packed, scores, True)
            self.pack_mask(given, q0, count, k0.i, keys, mask)
            for j in range(self.shape.vectors):
                self._softmax(scores, mask, j)
            last = b.test("sge", b.add(k0.i, self.shape.keys), end)
            with b.when(last):
                self._divide(b.at(lse, q0, self.ty), count)
            at = b.test("eq", k0.i, 0), last
            here = self.row(v, "v", k0.i), scores, self.row(out, "out", q0)
            self._accumulate(*here, keys, count, at)

    def _softmax(self, scores: str, mask: str, register: int) -> None:
        """One register of queries: scores become exponentials; maximum and sum move on."""
        b, n, ty, math = self.b, self.n, self.ty, self.math
        j, count, whole = register * n, self.counts[register], self.wholes[register]
        before = top = self.load(self.m, j)
        for first, end, all_see in ((0, whole, True), (whole, count, False)):
            if not all_see and not self.shape.causal:
                break
            with b.loop(first, end, 1, [(self.v, top)]) as key:
                place = b.at(scores, b.add(b.mul(key.i, self.width), j), ty)
                score = self.masked(self.load(place), mask, key.i, j)
                if not all_see:
                    score = self.sighted(key.i, register, score)
                if self.shape.mask or not all_see:
                    self.save(score, place)
                top = key.vars[0]
                key.next = [math.select(math.cmp("ogt", top, score), top, score)]
        self.save(top, self.m, j)
        # A row of minus infinities: subtract nothing, so that its exponentials are 0.
        none = math.cmp("oeq", top, math.c(float("-inf")))
        top = math.select(none, "zeroinitializer", top)
        with b.loop(0, count, 1, [(self.v, "zeroinitializer")]) as key:
            place = b.at(scores, b.add(b.mul(key.i, self.width), j), ty)
            p = self.exp(math.sub(self.load(place), top))
            self.save(p, place)
            key.next = [b.plus(n, ty, key.vars[0], p)]
        if self.shape.causal:
            self.blank(scores, register)
        corr = self.exp(math.sub(before, top))
        self.save(corr, self.corr, j)
        self.save(b.fma(n, ty, self.load(self.l, j), corr, key.vars[0]), self.l, j)

    def _divide(self, lse: str, count: Value) -> None:
        """What the sums are multiplied by in the end: one over the row's sum of exponentials."""
        b, n, ty, math = self.b, self.n, self.ty, self.math
        for j in range(0, self.width, n):
            total = self.load(self.l, j)
            some = math.cmp("ogt", total, "zeroinitializer")
            some = math.logic("or", some, math.cmp("uno", total, total))
            inverse = math.select(some, math.div(math.c(1.0), total), "zeroinitializer")
            self.save(inverse, self.factor, j)
            value = math.add(self.load(self.m, j), vmath_log.log(math, total))
            b.masked_store(n, ty, value, b.at(lse, j, ty), b.mask(n, b.sub(count, j)))

    def _accumulate(self, v: str, scores: str, out: str, keys: Value, count: Value, at) -> None:
        """sums[query][d] = sums * corr + sum over keys of p[key][query] * v[key][d]; the last to out."""
        b, shape = self.b, self.shape
        few = self.width % shape.rows or shape.rows
        with b.loop(0, self.arg("d"), shape.d_vectors * self.n) as i:
            masks = self.columns(i.i)
            with b.loop(0, count, shape.rows) as q:
                here = (q.i, i.i, masks)
                with b.choose(b.test("sle", b.sub(count, q.i), few)) as way:
                    with way.yes:
                        self._add_values(few, here, v, scores, out, keys, count, at)
                    with way.no:
                        self._add_values(shape.rows, here, v, scores, out, keys, count, at)

    def _add_values(self, rows: int, here, v, scores, out, keys, count, at) -> None:
        """A tile of `rows` queries."""
        b, n, ty, (q, d, masks), (first, last) = self.b, self.n, self.ty, here, at
        vectors = self.shape.d_vectors
        tile = [(r, j * n) for r in range(rows) for j in range(vectors)]
        queries = [b.add(q, r) for r in range(rows)]
        sums = [b.at(self.sums, b.add(b.mul(x, self.d_row), d), ty) for x in queries]
        with b.choose(first) as way:
            with way.yes:
                pass
            with way.no:
                corr = [b.splat(n, ty, b.load(ty, b.at(self.corr, x, ty))) for x in queries]
                old = [b.times(n, ty, self.load(sums[r], j), corr[r]) for r, j in tile]
        start = [way.merge(self.v, "zeroinitializer", x) for x in old]
        a_rows, end = [b.at(scores, x, ty) for x in queries], self.reach(q, keys)
        step = self.arg("v_t")
        total = self.product(a_rows, self.width, b.at(v, d, ty), step, end, start, masks)
        with b.choose(last) as way:
            with way.yes:
                factor = [b.splat(n, ty, b.load(ty, b.at(self.factor, x, ty))) for x in queries]
                for (r, j), value in zip(tile, total, strict=True):
                    if j == 0:
                        line = b.at(self.row(out, "out", queries[r]), d, ty)
                        there = b.test("slt", queries[r], count)
                        line = b.pick(there, "ptr", line, self.spare)
                    value, place = b.times(n, ty, value, factor[r]), b.at(line, j, ty)
                    if masks:
                        b.masked_store(n, ty, value, place, masks[j // n])
                    else:
                        self.save(value, place)
            with way.no:
                for (r, j), value in zip(tile, total, strict=True):
                    self.save(value, sums[r], j)


class DeltaWriter(AttentionWriter):
    """delta[q] = dout[q] . out[q], for every row; a task does one block of rows."""

    def task(self, t: str) -> None:
        b, n, ty, arg = self.b, self.n, self.ty, self.arg
        index, block = b.divmod(t, arg("blocks"))
        batch, head = b.divmod(index, arg("heads"))
        out, dout = self.base("out", batch, head), self.base("dout", batch, head)
        delta = self.base("delta", batch, head)
        first = b.mul(block, self.width)
        end = b.least(b.add(first, self.width), arg("t"))
        with b.loop(first, end, n) as q:
            rows = [b.least(b.add(q.i, r), b.sub(arg("t"), 1)) for r in range(n)]
            a_rows = [self.row(out, "out", r) for r in rows]
            b_rows = [self.row(dout, "dout", r) for r in rows]
            with b.loop(0, arg("d"), n, [(self.v, "zeroinitializer")] * n) as i:
                mask = b.mask(n, b.sub(arg("d"), i.i))
                for x, y, acc in zip(a_rows, b_rows, i.vars, strict=True):
                    one = b.masked_load(n, ty, b.at(x, i.i, ty), mask)
                    two = b.masked_load(n, ty, b.at(y, i.i, ty), mask)
                    i.next.append(b.fma(n, ty, one, two, acc))
            mask = b.mask(n, b.sub(end, q.i))
            b.masked_store(n, ty, sums(b, n, ty, i.vars), b.at(delta, q.i, ty), mask)


class BackwardWriter(AttentionWriter):
    """dq, dk, dv; a task does one key-value head of one image with all of its query heads."""

    def task(self, t: str) -> None:
        b, arg, shape = self.b, self.arg, self.shape
        self._taken = 0
        kv_heads = b.div(arg("heads"), arg("repeat"))
        batch, kv_head = b.divmod(t, kv_heads)
        self.place_rows()
        self.lse, self.delta = self.take(self.width), self.take(self.width)
        self.packed_q = self.take(b.mul(arg("d"), self.width))
        self.packed_do = self.take(b.mul(arg("d"), self.width))
        rows = shape.keys + shape.rows
        self.p, self.ds = self.take(rows * self.width), self.take(rows * self.width)
        self.dk, self.dv = (self.take(b.mul(self.d_row, rows)) for _ in range(2))
        self.spare = self.take(self.d_row)
        self.mask = self.take((shape.keys + 2) * self.width) if shape.mask else ""
        k, v = self.base("k", batch, kv_head), self.base("v", batch, kv_head)
        with b.loop(0, arg("s"), shape.keys) as k0:
            keys = b.least(shape.keys, b.sub(arg("s"), k0.i))
            for sum_ in (self.dk, self.dv):
                with b.loop(0, b.mul(self.d_row, rows), self.n) as j:
                    self.save("zeroinitializer", sum_, j.i)
            here = (self.row(k, "k", k0.i), self.row(v, "v", k0.i))
            with b.loop(0, arg("repeat")) as r:
                head = b.add(b.mul(kv_head, arg("repeat")), r.i)
                # With causality, earlier queries do not see these keys.
                first = b.mul(b.div(k0.i, self.width), self.width) if shape.causal else 0
                with b.loop(first, arg("t"), self.width) as q0:
                    self._block(batch, head, q0.i, k0.i, keys, here)
            for name, sum_ in (("dk", self.dk), ("dv", self.dv)):
                self._write(self.row(self.base(name, batch, kv_head), name, k0.i), name, keys, sum_)

    def _block(self, batch, head, q0, k0, keys, kv) -> None:
        b, arg = self.b, self.arg
        count = b.least(self.width, b.sub(arg("t"), q0))
        if self.shape.causal:  # whole tiles of keys, up to the last that these queries see
            seen = b.ceil_div(b.add(b.sub(q0, k0), self.width), self.shape.rows)
            keys = b.least(keys, b.mul(seen, self.shape.rows))
        q = self.row(self.base("q", batch, head), "q", q0)
        do = self.row(self.base("dout", batch, head), "dout", q0)
        self.pack_queries(q, arg("q_t"), count, self.packed_q)
        self.pack_queries(do, arg("dout_t"), count, self.packed_do)
        for name, place in (("lse", self.lse), ("delta", self.delta)):
            src = b.at(self.base(name, batch, head), q0, self.ty)
            with b.loop(0, self.width, self.n) as j:
                mask = b.mask(self.n, b.sub(count, j.i))
                self.save(b.masked_load(self.n, self.ty, b.at(src, j.i, self.ty), mask), place, j.i)
        if self.shape.mask:
            given = self.base("mask", batch, head)
            self.pack_mask(given, q0, count, k0, keys, self.mask)
        self.place_block(q0, k0, keys)
        self.score_block(kv[0], arg("k_t"), keys, self.packed_q, self.p, True)
        self.score_block(kv[1], arg("v_t"), keys, self.packed_do, self.ds, False)
        for register in range(self.shape.vectors):
            self._differentiate(register)
        self._add_keys(self.dv, self.p, do, arg("dout_t"), keys, count)
        self._add_keys(self.dk, self.ds, q, arg("q_t"), keys, count)
        dq = self.row(self.base("dq", batch, head), "dq", q0)
        self._add_queries(dq, kv[0], keys, count, b.test("eq", k0, 0))

    def _differentiate(self, register: int) -> None:
        """p = exp(score - lse), ds = scale p (dp - delta), in place, for one register of queries."""
        b, n, ty, math = self.b, self.n, self.ty, self.math
        j, count, whole = register * n, self.counts[register], self.wholes[register]
        lse, delta = self.load(self.lse, j), self.load(self.delta, j)
        none = math.cmp("oeq", lse, math.c(float("-inf")))
        lse = math.select(none, math.c(float("inf")), lse)
        for first, end, all_see in ((0, whole, True), (whole, count, False)):
            if not all_see and not self.shape.causal:
                return
            with b.loop(first, end) as key:
                shift = b.add(b.mul(key.i, self.width), j)
                score = self.masked(self.load(self.p, shift), self.mask, key.i, j)
                if not all_see:
                    score = self.sighted(key.i, register, score)
                p = self.exp(math.sub(score, lse))
                self.save(p, self.p, shift)
                ds = b.times(n, ty, p, math.sub(self.load(self.ds, shift), delta))
                self.save(b.times(n, ty, ds, self.scale), self.ds, shift)
        for scores in (self.p, self.ds):
            self.blank(scores, register)

    def _add_keys(self, sum_: str, a: str, rows: str, step: Value, keys: Value, count: Value):
        """sum[key][d] += sum over queries of a[key][query] * rows[query][d]."""
        b, n, ty, shape = self.b, self.n, self.ty, self.shape
        with b.loop(0, self.arg("d"), shape.d_vectors * n) as i:
            masks = self.columns(i.i)
            with b.loop(0, keys, shape.rows) as key:
                first = b.mul(key.i, self.width)
                a_rows = [b.at(a, b.add(first, r * self.width), ty) for r in range(shape.rows)]
                places = []
                for r in range(shape.rows):
                    line = b.add(b.mul(b.add(key.i, r), self.d_row), i.i)
                    line = b.at(sum_, line, ty)
                    places += [b.at(line, j * n, ty) for j in range(shape.d_vectors)]
                start = [self.load(p) for p in places]
                here = b.at(rows, i.i, ty)
                seen = b.most(b.sub(key.i, self.edge), 0) if shape.causal else 0
                total = self.product(a_rows, 1, here, step, count, start, masks, seen)
                for value, p in zip(total, places, strict=True):
                    self.save(value, p)

    def _add_queries(self, dq: str, k: str, keys: Value, count: Value, fresh: str) -> None:
        """dq[query][d] += sum over keys of ds[key][query] * k[key][d]."""
        b, n, ty, shape = self.b, self.n, self.ty, self.shape
        with b.loop(0, self.arg("d"), shape.d_vectors * n) as i:
            masks = self.columns(i.i)
            with b.loop(0, count, shape.rows) as q:
                a_rows = [b.at(self.ds, b.add(q.i, r), ty) for r in range(shape.rows)]
                places = []
                for r in range(shape.rows):
                    line = b.at(self.row(dq, "dq", b.add(q.i, r)), i.i, ty)
                    valid = b.test("slt", b.add(q.i, r), count)
                    line = b.pick(valid, "ptr", line, self.spare)
                    places += [b.at(line, j * n, ty) for j in range(shape.d_vectors)]
                with b.choose(fresh) as way:
                    with way.yes:
                        pass
                    with way.no:
                        old = [
                            b.masked_load(n, ty, p, masks[j % shape.d_vectors])
                            if masks
                            else self.load(p)
                            for j, p in enumerate(places)
                        ]
                start = [way.merge(self.v, "zeroinitializer", x) for x in old]
                here = b.at(k, i.i, ty)
                step, end = self.arg("k_t"), self.reach(q.i, keys)
                total = self.product(a_rows, self.width, here, step, end, start, masks)
                for j, (value, p) in enumerate(zip(total, places, strict=True)):
                    if masks:
                        b.masked_store(n, ty, value, p, masks[j % shape.d_vectors])
                    else:
                        self.save(value, p)

    def _write(self, out: str, name: str, keys: Value, sum_: str) -> None:
        b, n, ty = self.b, self.n, self.ty
        with b.loop(0, keys) as key, b.loop(0, self.arg("d"), n) as i:
            value = self.load(sum_, b.add(b.mul(key.i, self.d_row), i.i))
            mask = b.mask(n, b.sub(self.arg("d"), i.i))
            b.masked_store(n, ty, value, b.at(self.row(out, name, key.i), i.i, ty), mask)


@functools.cache
def writer_of(kind: str) -> type[AttentionWriter]:
    """The class that writes kernels of a kind."""
    return {"forward": ForwardWriter, "delta": DeltaWriter, "backward": BackwardWriter}[kind]
