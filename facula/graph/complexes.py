"""Complex arithmetic written out in real and imaginary parts.

Kernels know real types: a complex value is taken apart where it is read and put together where it
is stored. `RULES` says how; operations that are not in it stay whole and are NumPy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from facula.graph.meta import broadcast_shapes

PARTED = frozenset({"complex64", "complex128"})  # the types that are taken apart

Pair = tuple[Any, Any]  # real and imaginary part


def part(g: Any, v: Any, name: str) -> Any:
    """The "real" or "imag" part of a complex value."""
    if v.op == "complex":
        return v.srcs[name == "imag"]
    if v.op == "expand":
        return g.expand(part(g, v.srcs[0], name), v.shape)
    if v.op == "const":
        return g.const(getattr(v.arg, name), v.dtype.to_real(), v.shape)
    return g.make(name, v.dtype.to_real(), v.shape, (v,))


def parts(g: Any, v: Any) -> Pair:
    """Both parts; of a real value itself and 0."""
    if v.dtype.kind != "c":
        return v, g.const(0, v.dtype, v.shape)
    return part(g, v, "real"), part(g, v, "imag")


def joined(g: Any, re: Any, im: Any) -> Any:
    """The complex value of two parts of one real type."""
    if re.op == "real" and im.op == "imag" and re.srcs == im.srcs:
        return re.srcs[0]
    shape = broadcast_shapes(re.shape, im.shape)
    pair = (g.expand(re, shape), g.expand(im, shape))
    return g.make("complex", re.dtype.to_complex(), shape, pair)


def cast(g: Any, x: Any, d: Any) -> Any:
    """A conversion from or to a complex type."""
    re, im = parts(g, x)
    if d.kind == "c":
        return joined(g, g.cast(re, d.to_real()), g.cast(im, d.to_real()))
    return g.cast(re, d) | g.cast(im, d) if d.kind == "b" else g.cast(re, d)


def _mul(x: Pair, y: Pair) -> Pair:
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


def _div(x: Pair, y: Pair) -> Pair:
    """As PyTorch: both are divided by the larger part of the divisor first."""
    scale = y[0].abs().maximum(y[1].abs())
    (a, b), (c, d) = [(p / scale, q / scale) for p, q in (x, y)]
    size = c * c + d * d
    return (a * c + b * d) / size, (b * c - a * d) / size


def _reciprocal(x: Pair) -> Pair:
    size = x[0] * x[0] + x[1] * x[1]
    return x[0] / size, -x[1] / size


def _exp(x: Pair) -> Pair:
    size = x[0].exp()
    return size * x[1].cos(), size * x[1].sin()


# operands as pairs -> a pair, or a real value
RULES: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: (x[0] + y[0], x[1] + y[1]),
    "sub": lambda x, y: (x[0] - y[0], x[1] - y[1]),
    "mul": _mul,
    "div": _div,
    "eq": lambda x, y: x[0].eq(y[0]) & x[1].eq(y[1]),
    "ne": lambda x, y: x[0].ne(y[0]) | x[1].ne(y[1]),
    "neg": lambda x: (-x[0], -x[1]),
    "abs": lambda x: x[0].hypot(x[1]),
    "exp": _exp,
    "reciprocal": _reciprocal,
    "isnan": lambda x: x[0].isnan() | x[1].isnan(),
    "isinf": lambda x: x[0].isinf() | x[1].isinf(),
}


def apply(g: Any, name: str, *operands: Any) -> Any:
    """A primitive of complex values by its rule; None where there is none."""
    rule = RULES.get(name)
    if rule is None or operands[0].dtype.name not in PARTED:
        return None
    got = rule(*[parts(g, x) for x in operands])
    return joined(g, *got) if isinstance(got, tuple) else got


def product(g: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """Products along axes (sizes 1 afterwards): eighths times each other until one element is left.

    Each round is a kernel that reads all that is there, and eight places are read at a time with ease.
    """
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    if len(axes) == x.ndim > 1:
        x, axes = g.reshape(x, (math.prod(x.shape),)), (0,)

    def part(axis: int, start: int, size: int) -> Any:
        starts = [start if i == axis else 0 for i in range(x.ndim)]
        sizes = [size if i == axis else n for i, n in enumerate(x.shape)]
        return g.slice(x, starts, sizes, [1] * x.ndim)

    for axis in axes:
        left = []
        while (n := x.shape[axis]) > 1:
            size = max(n // 8, 1)
            pieces = [part(axis, start, size) for start in range(0, n - size + 1, size)]
            left += [part(axis, k, 1) for k in range(len(pieces) * size, n)]
            x = _balanced(pieces)
        x = _balanced([x, *left])
    return g.reshape(x, shape)


def _balanced(factors: list[Any]) -> Any:
    """Their product, by halves."""
    if len(factors) == 1:
        return factors[0]
    middle = len(factors) // 2
    return _balanced(factors[:middle]) * _balanced(factors[middle:])


def where(g: Any, c: Any, a: Any, b: Any) -> Any:
    """a where c holds, else b."""
    pairs = zip(parts(g, a), parts(g, b), strict=True)
    return joined(g, *[g.where(c, x, y) for x, y in pairs])
