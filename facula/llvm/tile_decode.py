"""Attention of few queries, as LLVM IR: a step of decoding reads each key and value once.

Lanes are the numbers of a row. A task is one key-value head with all its queries; a block of keys
stays in cache while they take their turns. Dot products are summed up sixteen keys at a time.
"""

from __future__ import annotations

from facula.llvm import vmath, vmath_log
from facula.llvm.tile import Value
from facula.llvm.tile_attention import AttentionWriter
from facula.llvm.tile_pack import sums

KEYS = 64  # of a block
_WIDE = 4  # registers of a value's row at a time


class FewWriter(AttentionWriter):
    """out = softmax(scale q k^T + mask) v, and the logarithm of each row's sum."""

    def task(self, t: str) -> None:
        b, arg = self.b, self.arg
        self._taken = 0
        batch, kv_head = b.divmod(t, b.div(arg("heads"), arg("repeat")))
        queries = b.mul(arg("repeat"), arg("t"))
        self.whole = b.mul(b.div(arg("d"), self.n), self.n)
        self.pitch = b.add(self.whole, self.n)
        self.sums = self.take(b.mul(queries, self.pitch))
        self.tops, self.totals = self.take(queries), self.take(queries)
        self.scores = self.take(KEYS + self.n)
        with b.loop(0, queries) as i:
            self._begin(i.i)
        k, v = self.base("k", batch, kv_head), self.base("v", batch, kv_head)
        with b.loop(0, arg("s"), KEYS) as k0:
            keys = b.least(KEYS, b.sub(arg("s"), k0.i))
            with b.loop(0, queries) as i:
                nth, row = b.divmod(i.i, arg("t"))
                head = b.add(b.mul(kv_head, arg("repeat")), nth)
                count = keys
                if self.shape.causal:
                    count = b.least(keys, b.sub(b.add(row, 1), k0.i))
                with b.when(b.test("sgt", count, 0)):
                    q = self.row(self.base("q", batch, head), "q", row)
                    self._scores(q, self.row(k, "k", k0.i), batch, head, row, k0.i, count)
                    corr = self._softmax(i.i, count)
                    self._add_values(i.i, self.row(v, "v", k0.i), count, corr)
        with b.loop(0, queries) as i:
            nth, row = b.divmod(i.i, arg("t"))
            self._finish(i.i, batch, b.add(b.mul(kv_head, arg("repeat")), nth), row)

    def _place(self, base: str, i: Value) -> str:
        return self.b.at(base, i, self.ty)

    def _begin(self, i: Value) -> None:
        b, ty = self.b, self.ty
        b.store(ty, "0xFFF0000000000000", self._place(self.tops, i))
        b.store(ty, "0.0", self._place(self.totals, i))
        with b.loop(0, self.pitch, self.n) as j:
            self.save("zeroinitializer", self.sums, b.add(b.mul(i, self.pitch), j.i))

    # -- scores ------------------------------------------------------------------------------

    def _scores(self, q: str, k: str, batch: Value, head: Value, row: Value, k0: Value,
                count: Value) -> None:  # fmt: skip
        """Scores of `count` keys, minus infinity up to a whole register."""
        b, n, ty, math = self.b, self.n, self.ty, self.math
        last = b.sub(count, 1)
        end = b.mask(n, b.sub(self.arg("d"), self.whole))
        with b.loop(0, count, n) as j:
            rows = [self.row(k, "k", b.least(b.add(j.i, u), last)) for u in range(n)]
            start = [(self.v, "zeroinitializer")] * n
            with b.loop(0, self.whole, n, start) as d:
                one = self.load(q, d.i)
                d.next = [
                    b.fma(n, ty, one, self.load(p, d.i), acc)
                    for p, acc in zip(rows, d.vars, strict=True)
                ]
            with b.loop(
                self.whole, self.arg("d"), n, list(zip([self.v] * n, d.vars, strict=True))
            ) as rest:
                one = b.masked_load(n, ty, self._place(q, rest.i), end)
                for p, acc in zip(rows, rest.vars, strict=True):
                    numbers = b.masked_load(n, ty, self._place(p, rest.i), end)
                    rest.next.append(b.fma(n, ty, one, numbers, acc))
            score = b.times(n, ty, sums(b, n, ty, rest.vars), self.scale)
            if self.shape.mask:
                mask = self._mask(batch, head, row, b.add(k0, j.i), b.sub(count, j.i))
                score = b.plus(n, ty, score, mask)
            here = b.mask(n, b.sub(count, j.i))
            lowest = math.c(float("-inf"))
            self.save(
                b.let(f"select <{n} x i1> {here}, {self.v} {score}, {self.v} {lowest}"),
                *(self.scores, j.i),
            )

    def _mask(self, batch: Value, head: Value, row: Value, key: Value, count: Value) -> str:
        """What is added to the scores of a register of keys."""
        b, n, ty, arg = self.b, self.n, self.ty, self.arg
        base = self.row(self.base("mask", batch, head), "mask", row)
        if self.shape.mask == "k":
            return b.masked_load(n, ty, self._place(base, key), b.mask(n, count))
        value, last = "zeroinitializer", b.sub(count, 1)
        for u in range(n):
            at = b.mul(b.add(key, b.least(last, u)), arg("mask_k"))
            number = b.load(ty, self._place(base, at))
            value = b.let(f"insertelement {self.v} {value}, {ty} {number}, i64 {u}")
        return value

    # -- sums --------------------------------------------------------------------------------

    def _first(self, vector: str) -> str:
        return self.b.let(f"extractelement {self.v} {vector}, i64 0")

    def _softmax(self, i: Value, count: Value) -> str:
        """Scores become exponentials; maximum and sum move on. What older sums are scaled by."""
        b, n, ty, math = self.b, self.n, self.ty, self.math
        before = b.splat(n, ty, b.load(ty, self._place(self.tops, i)))
        with b.loop(0, count, n, [(self.v, before)]) as j:
            score = self.load(self.scores, j.i)
            j.next = [math.select(math.cmp("ogt", j.vars[0], score), j.vars[0], score)]
        top, step = j.vars[0], n // 2
        while step:
            turned = b.shuffle(n, ty, top, "poison", [(u + step) % n for u in range(n)])
            top = math.select(math.cmp("ogt", top, turned), top, turned)
            step //= 2
        b.store(ty, self._first(top), self._place(self.tops, i))
        # all minus infinities: subtract nothing, so that the exponentials are 0
        none = math.cmp("oeq", top, math.c(float("-inf")))
        top = math.select(none, "zeroinitializer", top)
        with b.loop(0, count, n, [(self.v, "zeroinitializer")]) as j:
            p = vmath.exp(math, math.sub(self.load(self.scores, j.i), top))
            self.save(p, self.scores, j.i)
            j.next = [b.plus(n, ty, j.vars[0], p)]
        corr = vmath.exp(math, math.sub(before, top))
        total = self._first(sums(b, n, ty, [j.vars[0]]))
        place = self._place(self.totals, i)
        scaled = b.let(f"fmul {ty} {b.load(ty, place)}, {self._first(corr)}")
        b.store(ty, b.let(f"fadd {ty} {scaled}, {total}"), place)
        return corr

    def _add_values(self, i: Value, v: str, count: Value, corr: str) -> None:
        """sums = sums * corr + sum over keys of p[key] * v[key]."""
        b, n, arg = self.b, self.n, self.arg
        acc = self._place(self.sums, b.mul(i, self.pitch))
        wide = b.mul(b.div(arg("d"), _WIDE * n), _WIDE * n)
        with b.loop(0, wide, _WIDE * n) as d:
            self._add_columns(acc, v, d.i, count, corr, [None] * _WIDE)
        with b.loop(wide, arg("d"), n) as d:
            mask = b.mask(n, b.sub(arg("d"), d.i))
            self._add_columns(acc, v, d.i, count, corr, [mask])

    def _add_columns(self, acc: str, v: str, d: Value, count: Value, corr: str,
                     masks: list[str | None]) -> None:  # fmt: skip
        b, n, ty = self.b, self.n, self.ty
        places = [b.at(acc, b.add(d, u * n), ty) for u in range(len(masks))]
        start = [(self.v, b.times(n, ty, self.load(p), corr)) for p in places]
        with b.loop(0, count, 1, start) as key:
            p = b.splat(n, ty, b.load(ty, self._place(self.scores, key.i)))
            row = self._place(self.row(v, "v", key.i), d)
            for u, (mask, total) in enumerate(zip(masks, key.vars, strict=True)):
                at = b.at(row, u * n, ty)
                numbers = b.masked_load(n, ty, at, mask) if mask else self.load(at)
                key.next.append(b.fma(n, ty, p, numbers, total))
        for place, value in zip(places, key.vars, strict=True):
            self.save(value, place)

    def _finish(self, i: Value, batch: Value, head: Value, row: Value) -> None:
        b, n, ty, math, arg = self.b, self.n, self.ty, self.math, self.arg
        total = b.splat(n, ty, b.load(ty, self._place(self.totals, i)))
        top = b.splat(n, ty, b.load(ty, self._place(self.tops, i)))
        some = math.cmp("ogt", total, "zeroinitializer")
        some = math.logic("or", some, math.cmp("uno", total, total))
        inverse = math.select(some, math.div(math.c(1.0), total), "zeroinitializer")
        lse = self._first(math.add(top, vmath_log.log(math, total)))
        b.store(ty, lse, self._place(self.base("lse", batch, head), row))
        out = self.row(self.base("out", batch, head), "out", row)
        with b.loop(0, arg("d"), n) as d:
            value = self.load(self.sums, b.add(b.mul(i, self.pitch), d.i))
            mask = b.mask(n, b.sub(arg("d"), d.i))
            b.masked_store(n, ty, b.times(n, ty, value, inverse), self._place(out, d.i), mask)
