"""Packing operands into panels, and the vector transposes that it takes.

A panel holds `width` rows (of A) or columns (of B) for a stretch of k: number (i, k) lies at
`k * width + i`. Lanes past the last valid row hold anything: their results are never stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from facula.llvm.tile import Emit, Number, Value, vec

_STRETCH = 8  # of k, packed at a time for all panels
_AHEAD = 2 * _STRETCH  # how much of k further on memory is asked for, beyond the next stretch
_LINE = 64  # bytes that are fetched at once


def lanes_of(b: Emit, number: Number) -> int:
    """How many computed numbers fill a register."""
    return b.target.vector_bytes // number.compute_bytes


def _unpack(n: int, unit: int, per: int, high: bool) -> list[int]:
    """Interleave units of two vectors inside 128-bit lanes of `per` numbers, low or high half."""
    out = []
    for lane in range(0, n, per):
        for u in range(per // unit // 2):
            start = lane + (per // 2 if high else 0) + u * unit
            out += range(start, start + unit)
            out += range(n + start, n + start + unit)
    return out


def _lanes(n: int, per: int, picks: Sequence[int]) -> list[int]:
    """A shuffle that moves whole 128-bit lanes; lanes of the second vector follow the first's."""
    return [p * per + j for p in picks for j in range(per)]


def _pair(b: Emit, n: int, ty: str, x: str | None, y: str | None, lanes: list[int]) -> str | None:
    if x is None and y is None:
        return None
    return b.shuffle(n, ty, x or "poison", y or "poison", lanes)


def transpose(b: Emit, n: int, ty: str, rows: Sequence[str | None]) -> list[str | None]:
    """Columns of n vectors of n numbers; rows that are None cost nothing."""
    per = min(n, 16 // {"float": 4, "double": 8, "i32": 4, "i64": 8, "i16": 2, "i8": 1}[ty])
    out = list(rows)
    unit = 1
    while unit < per:  # inside 128-bit lanes: groups of `per` rows
        new: list[str | None] = [None] * n
        half = 1 if unit == 1 else unit
        for base in range(0, n, per):
            block = out[base : base + per]
            new[base : base + per] = _lane_stage(b, n, ty, block, per, half)
        out = new
        unit *= 2
    groups = n // per
    if groups == 1:
        return out
    result: list[str | None] = [None] * n
    for j in range(per):
        column = [out[g * per + j] for g in range(groups)]
        for lane, value in enumerate(_transpose_lanes(b, n, ty, per, column)):
            result[lane * per + j] = value
    return result


def _lane_stage(b, n, ty, block, per, unit):
    """One butterfly of the in-lane transpose: pairs at distance `unit`."""
    new: list[str | None] = [None] * per
    for base in range(0, per, 2 * unit):
        for j in range(unit):
            x, y = block[base + j], block[base + unit + j]
            new[base + 2 * j] = _pair(b, n, ty, x, y, _unpack(n, unit, per, False))
            new[base + 2 * j + 1] = _pair(b, n, ty, x, y, _unpack(n, unit, per, True))
    return new


def _transpose_lanes(b, n, ty, per, column):
    """Transpose a square of 128-bit lanes (2 x 2 or 4 x 4)."""
    if len(column) == 2:
        return [_pair(b, n, ty, *column, _lanes(n, per, p)) for p in ([0, 2], [1, 3])]
    u0, u1, u2, u3 = column
    even, odd = _lanes(n, per, [0, 2, 4, 6]), _lanes(n, per, [1, 3, 5, 7])
    x, z = _pair(b, n, ty, u0, u1, even), _pair(b, n, ty, u2, u3, even)
    v, w = _pair(b, n, ty, u0, u1, odd), _pair(b, n, ty, u2, u3, odd)
    return [
        _pair(b, n, ty, x, z, even),
        _pair(b, n, ty, v, w, even),
        _pair(b, n, ty, x, z, odd),
        _pair(b, n, ty, v, w, odd),
    ]


def sums(b: Emit, n: int, ty: str, rows: Sequence[str]) -> str:
    """The sums of up to n vectors, side by side."""
    per = min(n, 16 // {"float": 4, "double": 8, "i32": 4, "i64": 8}[ty])
    out: list[str | None] = list(rows) + [None] * (n - len(rows))
    unit = 1
    while unit < per:
        low, high = _unpack(n, unit, per, False), _unpack(n, unit, per, True)
        out = [_fold(b, n, ty, out[i], out[i + 1], low, high) for i in range(0, len(out), 2)]
        unit *= 2
    groups = n // per
    if groups == 2:
        even, odd = _lanes(n, per, [0, 2]), _lanes(n, per, [1, 3])
    elif groups == 4:
        even, odd = _lanes(n, per, [0, 2, 4, 6]), _lanes(n, per, [1, 3, 5, 7])
    while len(out) > 1:
        out = [_fold(b, n, ty, out[i], out[i + 1], even, odd) for i in range(0, len(out), 2)]
    return out[0] or "zeroinitializer"


def _fold(b, n, ty, x, y, first, second):
    p, q = _pair(b, n, ty, x, y, first), _pair(b, n, ty, x, y, second)
    return None if p is None else b.plus(n, ty, p, q)


def pack(
    b: Emit,
    number: Number,
    unit: str,
    src: str,
    strides: tuple[Value, Value],
    width: int,
    valid: Value,
    depth: Value,
    dst: str,
    ahead: Value = 0,
) -> None:
    """Pack one panel. `strides` are (along the panel, along k); `unit` names the one that is 1.

    `ahead`, for "k", is how far on in memory what is packed next lies, if it should be brought near.
    """
    if unit == "p":
        _pack_rows(b, number, src, strides[1], width, valid, depth, dst)
    elif unit == "k":
        _pack_columns(b, number, src, strides[0], width, valid, depth, dst, ahead)
    else:
        _pack_any(b, number, src, strides, width, valid, depth, dst)


def pack_panels(
    b: Emit,
    number: Number,
    unit: str,
    src: str,
    strides: tuple[Value, Value],
    width: int,
    panels: tuple[Value, Value],
    size: Value,
    stretch: tuple[Value, Value],
    dst: str,
    dst_depth: Value,
) -> None:
    """Pack panels [lo, hi) of an operand of `size` rows, for k in [lo, hi).

    Where the panels' direction is contiguous in memory, short stretches of k are packed for all
    panels in turn: memory is then read in order.
    """

    def panel(j: Value, k: Value, depth: Value) -> None:
        first = b.mul(j, width)
        shift = b.add(b.mul(first, strides[0]), b.mul(k, strides[1]))
        out = b.add(b.mul(first, dst_depth), b.mul(b.sub(k, stretch[0]), width))
        left = b.sub(size, first)
        start = b.at(src, shift, number.stored)
        to = b.at(dst, out, number.compute)
        pack(b, number, unit, start, strides, width, left, depth, to, ahead)

    # Rows are short and far apart: the processor's own prefetching hardly sees them.
    ahead = 0 if unit == "p" else b.mul(strides[0], width)
    if unit != "p":
        with b.loop(panels[0], panels[1]) as j:
            panel(j.i, stretch[0], b.sub(stretch[1], stretch[0]))
        return
    first = b.at(src, b.mul(panels[0], width), number.stored)
    length = b.mul(b.sub(panels[1], panels[0]), width)
    with b.loop(stretch[0], stretch[1], _STRETCH) as k:
        coming = b.add(k.i, _STRETCH + _AHEAD)
        _fetch_ahead(b, number, first, strides[1], (coming, stretch[1]), length)
        with b.loop(panels[0], panels[1]) as j:
            panel(j.i, k.i, b.least(b.sub(stretch[1], k.i), _STRETCH))


def _fetch_ahead(b, number, src, stride, span, length):
    """Asks for the rows of a stretch to come."""
    with b.loop(span[0], b.least(span[1], b.add(span[0], _STRETCH))) as k:
        row = b.at(src, b.mul(k.i, stride), number.stored)
        with b.loop(0, length, _LINE // number.bytes) as i:
            b.prefetch(b.at(row, i.i, number.stored), write=False, level=2)


def _pack_rows(b, number, src, stride, width, valid, depth, dst):
    """The panel's direction is contiguous in memory: vectors are copied."""
    n = lanes_of(b, number)
    parts = range(0, width, n)

    def one(k: Value, masks, room: int = width) -> None:
        row = b.at(src, b.mul(k, stride), number.stored)
        out = b.at(dst, b.mul(k, width), number.compute)
        for j, mask in zip(parts, masks, strict=True):
            value = b.fetch(n, number, b.at(row, j, number.stored), mask)
            # What runs over is overwritten by the next of k; it must not reach another stretch.
            count = n if j + n <= room else width - j
            _store_part(b, n, number.compute, value, b.at(out, j, number.compute), count)

    def copy(masks):
        with b.choose(b.test("eq", depth, _STRETCH)) as way:
            with way.yes:  # written out: a short loop's end is guessed wrong
                for k in range(_STRETCH):
                    one(k, masks, (_STRETCH - k) * width)
            with way.no, b.loop(0, depth) as k:
                one(k.i, masks)

    reach = -(-width // n) * n  # numbers that whole vectors take
    with b.choose(b.test("sge", valid, reach)) as c:
        with c.yes:
            copy([None for _ in parts])
        with c.no:
            copy([b.mask(n, b.sub(b.least(valid, width), j)) for j in parts])


def _pack_columns(b, number, src, stride, width, valid, depth, dst, ahead):
    """k is contiguous in memory: squares are transposed in registers."""
    n = lanes_of(b, number)
    last = b.sub(valid, 1)
    # The last square overlaps the one before, unless all of k is less than a square.
    limit = b.most(b.sub(depth, n), 0)
    mask = b.mask(n, depth)

    def rows_from(first: Value, count: int) -> None:
        places = (b.mul(b.least(last, b.add(first, r)), stride) for r in range(count))
        rows = [b.at(src, place, number.stored) for place in places]
        with b.loop(0, depth, n) as k:
            start = b.least(k.i, limit)
            out = b.at(dst, b.add(b.mul(start, width), first), number.compute)
            if ahead != 0:
                for row in rows:
                    b.prefetch(b.at(row, b.add(k.i, ahead), number.stored), write=False)
            _square(b, number, n, rows, start, (mask, depth), out, width)

    if width % n == 0:
        with b.loop(0, width, n) as i:
            rows_from(i.i, n)
        return
    for first in range(0, width, n):
        rows_from(first, min(n, width - first))


def _square(b, number, n, rows, k, span, out, width):
    """Transpose up to n rows by n of k (or by all of k, if that is less) and store the columns."""
    ty, count, (mask, depth) = number.compute, len(rows), span
    places = [b.at(row, k, number.stored) for row in rows]

    def masked() -> list[str | None]:
        loaded = [b.fetch(n, number, place, mask) for place in places]
        return transpose(b, n, ty, loaded + [None] * (n - count))

    with b.choose(b.test("sge", depth, n)) as way:
        with way.yes:
            for j, value in enumerate(_turned(b, number, n, places)):
                _store_part(b, n, ty, value, b.at(out, j * width, ty), count)
        with way.no:
            columns = masked()
            room = b.room(f"[{n} x {vec(n, ty)}]")
            for j, value in enumerate(columns):
                b.store(vec(n, ty), value, b.at(room, j * n, ty), ty)
            with b.loop(0, depth) as j:
                value = b.load(vec(n, ty), b.at(room, b.mul(j.i, n), ty), ty)
                _store_part(b, n, ty, value, b.at(out, b.mul(j.i, width), ty), count)


def _turned(b: Emit, number: Number, n: int, places: Sequence[str]) -> list[str | None]:
    """Columns of up to n rows of n numbers in memory.

    Where a register has several 128-bit lanes, each is loaded for itself, to where it belongs in the
    end: loads can do that beside the shuffles, of which only those inside lanes are left.
    """
    ty, count = number.compute, len(places)
    per = min(n, 16 // number.compute_bytes)
    if n == per or not number.is_plain:
        loaded: list[str | None] = [b.fetch(n, number, place) for place in places]
        return transpose(b, n, ty, loaded + [None] * (n - count))
    out: list[str | None] = []
    v, part = vec(n, ty), vec(per, ty)
    for q in range(0, n, per):
        block: list[str | None] = []
        for r in range(per):
            value = None
            for lane in range(n // per):
                row = lane * per + r
                if row >= count:
                    continue
                piece = b.load(part, b.at(places[row], q, ty), ty)
                wide = b.let(
                    f"shufflevector {part} {piece}, {part} poison, "
                    f"<{n} x i32> <{', '.join(f'i32 {i % per}' for i in range(n))}>"
                )
                if value is None:
                    value = wide
                else:
                    bits = ", ".join(f"i1 {int(i // per == lane)}" for i in range(n))
                    value = b.let(f"select <{n} x i1> <{bits}>, {v} {wide}, {v} {value}")
            block.append(value)
        unit = 1
        while unit < per:
            block = _lane_stage(b, n, ty, block, per, unit)
            unit *= 2
        out += block
    return out


def _store_part(b, n, ty, value, place, count) -> None:
    """Store the first lanes of a vector."""
    if count >= n:
        b.store(vec(n, ty), value, place, ty)
    elif b.target.has_mask:
        bits = ", ".join(f"i1 {int(i < count)}" for i in range(n))
        b.masked_store(n, ty, value, place, f"<{bits}>")
    else:
        b.store(vec(count, ty), b.shuffle(n, ty, value, "poison", range(count)), place, ty)


def _pack_any(b, number, src, strides, width, valid, depth, dst):
    """Number by number, for strides that no vector load can follow."""
    with b.loop(0, depth) as k:
        row = b.at(src, b.mul(k.i, strides[1]), number.stored)
        out = b.at(dst, b.mul(k.i, width), number.compute)
        with b.loop(0, b.least(valid, width)) as i:
            value = b.fetch(1, number, b.at(row, b.mul(i.i, strides[0]), number.stored))
            b.store(vec(1, number.compute), value, b.at(out, i.i, number.compute), number.compute)
