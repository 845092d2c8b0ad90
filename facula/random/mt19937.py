"""The Mersenne Twister MT19937 with PyTorch's seeding and PyTorch's order of draws.

The twist and the tempering are native: 16 words at a time, a block of 624 words at once.
`_twist` and `_temper` below say the same in NumPy; they are the tests' oracle.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from facula.random.native import address_of, compile_functions

N = 624
M = 397
MATRIX_A = 0x9908B0DF
UPPER, LOWER = 0x80000000, 0x7FFFFFFF
# An engine is one block of memory: the words, two counters, the normal in hand (its value, and 1.0
# if there is one), and the addresses of `mt_twist` and `mt_draw`, by which other modules call them.
LEFT, NEXT = N, N + 1  # places of the counters, in words
HAND, TWIST, DRAW = 313, 315, 316  # places of the rest, in 8-byte units
_UNITS = 317

_LANES = 16


def _splat(value: int) -> str:
    signed = value - (1 << 32) if value >= 1 << 31 else value
    return f"splat (i32 {signed})"


def _engine_ir() -> str:
    """Functions `mt_seed(engine, seed)`, `mt_twist(engine)` and `mt_draw(engine, out, n)`.

    As in PyTorch, `left - 1` words of the current block are still to be drawn, beginning at word
    `next`.
    """
    v = f"<{_LANES} x i32>"
    temper = [
        ("u11", "lshr", "y0", _splat(11)),
        ("y1", "xor", "y0", "%u11"),
        ("u7", "shl", "y1", _splat(7)),
        ("m7", "and", "u7", _splat(0x9D2C5680)),
        ("y2", "xor", "y1", "%m7"),
        ("u15", "shl", "y2", _splat(15)),
        ("m15", "and", "u15", _splat(0xEFC60000)),
        ("y3", "xor", "y2", "%m15"),
        ("u18", "lshr", "y3", _splat(18)),
        ("y4", "xor", "y3", "%u18"),
    ]
    vector = "\n".join(f"  %{r} = {op} {v} %{a}, {b}" for r, op, a, b in temper)
    scalar = "\n".join(
        f"  %s.{r} = {op} i32 %s.{a}, {b.removeprefix('splat (i32 ').rstrip(')')}"
        for r, op, a, b in temper
    ).replace(", %", ", %s.")

    def twist_loop(tag: str, first: int, last: int, source: str, shift: int) -> str:
        """Words first..last from `old` and from `source` `shift` words on; blocks may overlap."""
        return f"""
{tag}:
  %{tag}.k = phi i64 [ {first}, %{tag}.in ], [ %{tag}.next, %{tag} ]
  %{tag}.k1 = add i64 %{tag}.k, 1
  %{tag}.km = add i64 %{tag}.k, {shift}
  %{tag}.pu = getelementptr i32, ptr %old, i64 %{tag}.k
  %{tag}.pv = getelementptr i32, ptr %old, i64 %{tag}.k1
  %{tag}.pm = getelementptr i32, ptr {source}, i64 %{tag}.km
  %{tag}.po = getelementptr i32, ptr %engine, i64 %{tag}.k
  %{tag}.u = load {v}, ptr %{tag}.pu, align 4
  %{tag}.v = load {v}, ptr %{tag}.pv, align 4
  %{tag}.m = load {v}, ptr %{tag}.pm, align 4
  %{tag}.hi = and {v} %{tag}.u, {_splat(UPPER)}
  %{tag}.lo = and {v} %{tag}.v, {_splat(LOWER)}
  %{tag}.y = or {v} %{tag}.hi, %{tag}.lo
  %{tag}.half = lshr {v} %{tag}.y, {_splat(1)}
  %{tag}.odd = and {v} %{tag}.v, {_splat(1)}
  %{tag}.all = sub {v} zeroinitializer, %{tag}.odd
  %{tag}.mag = and {v} %{tag}.all, {_splat(MATRIX_A)}
  %{tag}.x = xor {v} %{tag}.m, %{tag}.half
  %{tag}.r = xor {v} %{tag}.x, %{tag}.mag
  store {v} %{tag}.r, ptr %{tag}.po, align 4
  %{tag}.step = add i64 %{tag}.k, {_LANES}
  %{tag}.over = icmp ugt i64 %{tag}.step, {last - _LANES + 1}
  %{tag}.next = select i1 %{tag}.over, i64 {last - _LANES + 1}, i64 %{tag}.step
  %{tag}.end = icmp eq i64 %{tag}.k, {last - _LANES + 1}
  br i1 %{tag}.end, label %{tag}.out, label %{tag}
"""

    return f"""
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define void @mt_seed(ptr %engine, i64 %seed) {{
entry:
  %first = trunc i64 %seed to i32
  store i32 %first, ptr %engine, align 4
  br label %more
more:
  %k = phi i64 [ 1, %entry ], [ %k.next, %more ]
  %word = phi i32 [ %first, %entry ], [ %new, %more ]
  %high = lshr i32 %word, 30
  %mixed = xor i32 %word, %high
  %product = mul i32 %mixed, 1812433253
  %k32 = trunc i64 %k to i32
  %new = add i32 %product, %k32
  %p = getelementptr i32, ptr %engine, i64 %k
  store i32 %new, ptr %p, align 4
  %k.next = add i64 %k, 1
  %end = icmp eq i64 %k.next, {N}
  br i1 %end, label %exit, label %more
exit:
  %left.p = getelementptr i32, ptr %engine, i64 {LEFT}
  %next.p = getelementptr i32, ptr %engine, i64 {NEXT}
  store i32 1, ptr %left.p, align 4
  store i32 0, ptr %next.p, align 4
  ret void
}}

define void @mt_twist(ptr %engine) {{
  %old = alloca [{N} x i32], align 64
  call void @llvm.memcpy.p0.p0.i64(ptr align 64 %old, ptr align 4 %engine, i64 {4 * N}, i1 false)
  br label %a.in
a.in:
  br label %a
{twist_loop("a", 0, N - M - 1, "%old", M)}
a.out:
  br label %b.in
b.in:
  br label %b
{twist_loop("b", N - M, N - 2, "%engine", M - N)}
b.out:
  %pu = getelementptr i32, ptr %old, i64 {N - 1}
  %pm = getelementptr i32, ptr %engine, i64 {M - 1}
  %po = getelementptr i32, ptr %engine, i64 {N - 1}
  %u = load i32, ptr %pu, align 4
  %v = load i32, ptr %engine, align 4
  %m = load i32, ptr %pm, align 4
  %hi = and i32 %u, {UPPER}
  %lo = and i32 %v, {LOWER}
  %y = or i32 %hi, %lo
  %half = lshr i32 %y, 1
  %odd = and i32 %v, 1
  %all = sub i32 0, %odd
  %mag = and i32 %all, {MATRIX_A}
  %x = xor i32 %m, %half
  %r = xor i32 %x, %mag
  store i32 %r, ptr %po, align 4
  ret void
}}

define void @mt_draw(ptr %engine, ptr %out, i64 %n) {{
entry:
  %left.p = getelementptr i32, ptr %engine, i64 {LEFT}
  %next.p = getelementptr i32, ptr %engine, i64 {NEXT}
  %left32 = load i32, ptr %left.p, align 4
  %next32 = load i32, ptr %next.p, align 4
  %left0 = zext i32 %left32 to i64
  %next0 = zext i32 %next32 to i64
  br label %block
block:
  %left = phi i64 [ %left0, %entry ], [ %left.new, %done ]
  %next = phi i64 [ %next0, %entry ], [ %next.new, %done ]
  %at = phi i64 [ 0, %entry ], [ %at.new, %done ]
  %togo = sub i64 %n, %at
  %finished = icmp eq i64 %togo, 0
  br i1 %finished, label %exit, label %some
some:
  %empty = icmp eq i64 %left, 1
  br i1 %empty, label %refill, label %take
refill:
  call void @mt_twist(ptr %engine)
  br label %take
take:
  %l = phi i64 [ %left, %some ], [ {N + 1}, %refill ]
  %p = phi i64 [ %next, %some ], [ 0, %refill ]
  %avail = sub i64 %l, 1
  %fewer = icmp ult i64 %togo, %avail
  %count = select i1 %fewer, i64 %togo, i64 %avail
  %src = getelementptr i32, ptr %engine, i64 %p
  %dst = getelementptr i32, ptr %out, i64 %at
  %nvec = and i64 %count, {-_LANES}
  br label %vec.test
vec.test:
  %i = phi i64 [ 0, %take ], [ %i.next, %vec ]
  %vec.more = icmp ult i64 %i, %nvec
  br i1 %vec.more, label %vec, label %tail.test
vec:
  %sp = getelementptr i32, ptr %src, i64 %i
  %dp = getelementptr i32, ptr %dst, i64 %i
  %y0 = load {v}, ptr %sp, align 4
{vector}
  store {v} %y4, ptr %dp, align 4
  %i.next = add i64 %i, {_LANES}
  br label %vec.test
tail.test:
  %j = phi i64 [ %nvec, %vec.test ], [ %j.next, %tail ]
  %tail.more = icmp ult i64 %j, %count
  br i1 %tail.more, label %tail, label %done
tail:
  %tsp = getelementptr i32, ptr %src, i64 %j
  %tdp = getelementptr i32, ptr %dst, i64 %j
  %s.y0 = load i32, ptr %tsp, align 4
{scalar}
  store i32 %s.y4, ptr %tdp, align 4
  %j.next = add i64 %j, 1
  br label %tail.test
done:
  %left.new = sub i64 %l, %count
  %next.new = add i64 %p, %count
  %at.new = add i64 %at, %count
  br label %block
exit:
  %left.t = trunc i64 %left to i32
  %next.t = trunc i64 %next to i32
  store i32 %left.t, ptr %left.p, align 4
  store i32 %next.t, ptr %next.p, align 4
  ret void
}}
"""


@functools.cache
def _native() -> dict[str, Callable[..., None]]:
    return compile_functions(_engine_ir(), {"mt_seed": "pi", "mt_twist": "p", "mt_draw": "ppi"})


def _twist(words: np.ndarray) -> np.ndarray:
    """The next block of state words, in NumPy."""
    new = np.empty_like(words)

    def mixed(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        y = (u & np.uint32(UPPER)) | (v & np.uint32(LOWER))
        return (y >> np.uint32(1)) ^ (v & np.uint32(1)) * np.uint32(MATRIX_A)

    old = mixed(words[:-1], words[1:])
    for lo, hi in ((0, N - M), (N - M, 2 * (N - M)), (2 * (N - M), N - 1)):
        far = words[lo + M : hi + M] if lo == 0 else new[lo + M - N : hi + M - N]
        new[lo:hi] = far ^ old[lo:hi]
    new[-1:] = new[M - 1 : M] ^ mixed(words[-1:], new[:1])
    return new


def _temper(y: np.ndarray) -> np.ndarray:
    y = y ^ (y >> np.uint32(11))
    y = y ^ ((y << np.uint32(7)) & np.uint32(0x9D2C5680))
    y = y ^ ((y << np.uint32(15)) & np.uint32(0xEFC60000))
    return y ^ (y >> np.uint32(18))


class MT19937:
    """One engine, and the normal that a generator keeps in hand."""

    def __init__(self, seed: int) -> None:
        native = _native()
        self._memory = np.zeros(_UNITS, np.uint64)
        self.engine = self._memory.view(np.uint32)[: N + 2]  # the words and the counters
        self.hand = self._memory.view(np.float64)[HAND : HAND + 2]
        self._memory[TWIST] = address_of(native["mt_twist"])
        self._memory[DRAW] = address_of(native["mt_draw"])
        self.address = self._memory.ctypes.data  # what native code is given
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Start from the low 32 bits of `seed`, as PyTorch does."""
        _native()["mt_seed"](self.address, seed & 0xFFFFFFFF)
        self.hand[:] = 0.0

    def random32(self, n: int) -> np.ndarray:
        """The next n 32-bit draws."""
        out = np.empty(n, np.uint32)
        _native()["mt_draw"](self.address, out.ctypes.data, n)
        return out

    def random64(self, n: int) -> np.ndarray:
        """The next n 64-bit draws; each is two 32-bit draws, the high half first."""
        draws = self.random32(2 * n).view("<u8")
        return (draws << np.uint64(32)) | (draws >> np.uint64(32))
