"""Triangular systems by substitution in native code: for small ones, whose columns NumPy would take
one at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.random.scalar import f64s, i64, sampler, single

MOST_WORK = 1 << 20  # products; above, NumPy's loops over whole columns take less time


@sampler
def substitute(
    a: f64s, x: f64s, count: i64, n: i64, m: i64, upper: i64, unit: i64, narrow: i64
) -> None:
    """x becomes the solution of a @ x = x for `count` n x n triangles, with m columns each.

    narrow: products are rounded to float32.
    """
    for b in range(count):
        at = b * n * n
        to = b * n * m
        for k in range(n):
            j = k
            first = k + 1
            last = n
            if upper == 1:
                j = n - 1 - k
                first = 0
                last = j
            if unit == 0:
                for c in range(m):
                    x[to + j * m + c] = x[to + j * m + c] / a[at + j * n + j]
            for r in range(first, last):
                factor = a[at + r * n + j]
                for c in range(m):
                    product = factor * x[to + j * m + c]
                    if narrow == 1:
                        product = single(product)
                    x[to + r * m + c] = x[to + r * m + c] - product


_KINDS = {"float32": substitute.of(a="f32s", x="f32s"), "float64": substitute}


def solved(a: np.ndarray, x: np.ndarray, upper: bool, unit: bool) -> bool:
    """Replaces x, which lies row by row, by the solution of a @ solution = x, if that can be done here.

    The numbers are those of the same steps done with NumPy.
    """
    *lead, n, m = x.shape
    count = int(np.prod(lead, dtype=np.int64))
    function: Any = _KINDS.get(x.dtype.name)
    if function is None or a.dtype != x.dtype or count * n * n * m > MOST_WORK:
        return False
    if x.size:
        a = np.ascontiguousarray(np.broadcast_to(a, (*lead, n, n)))
        narrow = x.dtype.itemsize == 4
        function(a.ctypes.data, x.ctypes.data, count, n, m, int(upper), int(unit), int(narrow))
    return True


__all__ = ["solved", "substitute"]
