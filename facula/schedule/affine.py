"""Index maps: where a value is read, as affine expressions of loop variables.

An expression is (coefficients, constant): one coefficient per loop dim. A view turns the expressions
of its own dims into those of its source.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence, Set

from facula.graph.ir import Val
from facula.graph.meta import contiguous_strides, view_strides

Expr = tuple[tuple[int, ...], int]


class Unfusable(Exception):
    """A value cannot be read this way inside a kernel: `source` needs memory of its own."""

    def __init__(self, source: Val | None = None) -> None:
        super().__init__(source)
        self.source = source


class NeedSplit(Exception):
    """The map is affine if loop dim `dim` is cut into outer parts and inner ones of `inner`."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__(dim, inner)
        self.dim, self.inner = dim, inner


def zero(n: int) -> Expr:
    """The constant 0."""
    return (0,) * n, 0


def scaled(e: Expr, k: int, add: int = 0) -> Expr:
    """k * e + add."""
    return tuple([c * k for c in e[0]]), e[1] * k + add


def dot(exprs: Sequence[Expr], strides: Sequence[int], n: int) -> Expr:
    """Sum of expressions times strides."""
    coefs, const = [0] * n, 0
    for (c, k), s in zip(exprs, strides, strict=True):
        if s:
            const += k * s
            for d, x in enumerate(c):
                if x:
                    coefs[d] += x * s
    return tuple(coefs), const


def _divmod(e: Expr, n: int, sizes: Sequence[int]) -> tuple[Expr, Expr]:
    """(e // n, e % n) if both are affine over the loop ranges."""
    q = [0] * len(e[0])
    r = [0] * len(e[0])
    for d, c in enumerate(e[0]):
        if c % n == 0:
            q[d] = c // n
        else:
            r[d] = c
    qk, rk = divmod(e[1], n)
    low = rk + sum(c * (sizes[d] - 1) for d, c in enumerate(r) if c < 0)
    high = rk + sum(c * (sizes[d] - 1) for d, c in enumerate(r) if c > 0)
    if low < 0 or high >= n:
        for d, c in enumerate(r):
            if c > 0 and n % c == 0:
                inner = n // c
                if inner < sizes[d] and sizes[d] % inner == 0:
                    raise NeedSplit(d, inner)
        raise Unfusable
    return (tuple(q), qk), (tuple(r), rk)


def split(e: Expr, shape: Sequence[int], sizes: Sequence[int]) -> list[Expr]:
    """Row-major coordinates in `shape` of the linear position e."""
    out: list[Expr] = []
    for n in reversed(shape[1:]):
        e, r = _divmod(e, n, sizes) if n != 1 else (e, zero(len(e[0])))
        out.append(r)
    out.append(e)
    return out[::-1]


def reshaped(
    exprs: Sequence[Expr], out_shape: Sequence[int], src_shape: Sequence[int], sizes: Sequence[int]
) -> tuple[Expr, ...]:
    """Source coordinates of a reshape: matched in groups of dims with equal products."""
    return _reshaped(tuple(exprs), tuple(out_shape), tuple(src_shape), tuple(sizes))


@functools.lru_cache(4096)
def _reshaped(
    exprs: tuple[Expr, ...],
    out_shape: tuple[int, ...],
    src_shape: tuple[int, ...],
    sizes: tuple[int, ...],
) -> tuple[Expr, ...]:
    n = len(sizes)
    if 0 in out_shape:
        return tuple([zero(n)] * len(src_shape))
    result: list[Expr] = []
    i, j = len(out_shape) - 1, len(src_shape) - 1
    while i >= 0 or j >= 0:
        group_out, group_src = [], []
        po = ps = 1
        if i >= 0:
            group_out.append(i)
            po *= out_shape[i]
            i -= 1
        if j >= 0:
            group_src.append(j)
            ps *= src_shape[j]
            j -= 1
        while po != ps:
            if po < ps and i >= 0:
                group_out.append(i)
                po *= out_shape[i]
                i -= 1
            elif ps < po and j >= 0:
                group_src.append(j)
                ps *= src_shape[j]
                j -= 1
            else:
                raise Unfusable
        group_out.reverse()
        group_src.reverse()
        shape = [out_shape[d] for d in group_out]
        linear = dot([exprs[d] for d in group_out], contiguous_strides(shape), n)
        if not group_src:
            continue
        result[:0] = split(linear, [src_shape[d] for d in group_src], sizes)
    return tuple(result)


def through_view(v: Val, exprs: Sequence[Expr], sizes: Sequence[int]) -> tuple[Expr, ...]:
    """Coordinates in v's source of the element of v at `exprs`."""
    src = v.srcs[0].shape
    n = len(sizes)
    if v.op == "permute":
        out: list[Expr] = [zero(n)] * len(exprs)
        for e, d in zip(exprs, v.arg, strict=True):
            out[d] = e
        return tuple(out)
    if v.op == "expand":
        return tuple(
            [e if m == k else zero(n) for e, m, k in zip(exprs, src, v.shape, strict=True)]
        )
    if v.op == "slice":
        starts, steps = v.arg
        return tuple([scaled(e, k, s) for e, s, k in zip(exprs, starts, steps, strict=True)])
    if v.op == "reshape":
        return reshaped(exprs, v.shape, src, sizes)
    raise Unfusable


def strided_base(v: Val, stop: Set[int]) -> tuple[Val, tuple[int, ...], int] | None:
    """(base, strides, offset) if v is a strided view of a base: a value in `stop` or not a view."""
    chain = []
    base = v
    while base.op in ("reshape", "permute", "expand", "slice") and base.id not in stop:
        chain.append(base)
        base = base.srcs[0]
    if base.op == "as_strided" and base.id not in stop:
        strides: tuple[int, ...] = base.arg[0]
        offset = base.arg[1]
        shape, inner = base.shape, base.srcs[0]
        under = strided_base(inner, stop)
        if under is None or not row_major(inner.shape, under[1]):
            return None
        base, offset = under[0], offset + under[2]
    else:
        strides, offset, shape = contiguous_strides(base.shape), 0, base.shape
        if base.op == "buffer_at":
            strides = base.arg[0]
    for view in reversed(chain):
        got = _viewed(view, shape, strides, offset)
        if got is None:
            return None
        strides, offset = got
        shape = view.shape
    return base, strides, offset


def _viewed(
    v: Val, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> tuple[tuple[int, ...], int] | None:
    """Strides and offset of a view of something strided, as tensors' own views have them."""
    if v.op == "permute":
        return tuple([strides[d] for d in v.arg]), offset
    if v.op == "expand":
        return tuple(
            [0 if n == 1 and m != 1 else s for n, m, s in zip(shape, v.shape, strides, strict=True)]
        ), offset
    if v.op == "slice":
        starts, steps = v.arg
        moved = offset + sum(a * s for a, s in zip(starts, strides, strict=True))
        return tuple([s * k for s, k in zip(strides, steps, strict=True)]), moved
    new = view_strides(shape, strides, v.shape)
    return None if new is None else (new, offset)


def row_major(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether elements lie one after the other, in order."""
    return all(
        n == 1 or s == t for n, s, t in zip(shape, strides, contiguous_strides(shape), strict=True)
    )
