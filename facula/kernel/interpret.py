"""The meaning of a loop program, on NumPy arrays: slow, plain, and what native code is checked by.

    status = interpret(program, [x, y], [0, 0], [64], [1000], [[1000, 1], [1000, 1]])

Arrays are the operands' storages seen as one dimension; bfloat16 is held as uint16. Every value is
an array over (outer dims, inner dims), with size 1 where it does not vary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from facula.kernel.program import FLOATS, ITEMSIZE, Access, Program, Stmt

Array = np.ndarray


def numpy_dtype(dtype: str) -> np.dtype:
    """How a dtype is held in NumPy."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype)


def interpret(
    program: Program,
    buffers: Sequence[Array],
    offsets: Sequence[int],
    outer_sizes: Sequence[int],
    inner_sizes: Sequence[int],
    strides: Sequence[Sequence[int]],
    scalars: Sequence[float] = (),
    params: Sequence[int] = (),
) -> list[int]:
    """Run a program; stores go to `buffers`. The status: zeros, or a bad index as kernels tell."""
    machine = _Interpreter(program, buffers, offsets, [*outer_sizes, *inner_sizes])
    machine.strides = dict(zip(program.accesses, strides, strict=True))
    machine.scalars, machine.params = scalars, params
    with np.errstate(all="ignore"):
        for i, s in enumerate(program.stmts):
            method = getattr(machine, "do_" + s.op, None)
            machine.values.append(method(i, s) if method else machine.elementwise(s))
    return machine.status


class _Interpreter:
    def __init__(
        self,
        program: Program,
        buffers: Sequence[Array],
        offsets: Sequence[int],
        sizes: Sequence[int],
    ) -> None:
        self.program = program
        self.buffers = buffers
        self.offsets = offsets
        self.sizes = sizes
        self.strides: dict[Access, Sequence[int]] = {}
        self.scalars: Sequence[float] = ()
        self.params: Sequence[int] = ()
        self.values: list[Array] = []
        self.status = [0, 0, 0, 0]
        self.loops = [phase.loop for phase in program.phases for _ in phase.stmts]

    def along(self, d: int) -> Array:
        """Positions along dim d, shaped to broadcast."""
        shape = [1] * len(self.sizes)
        shape[d] = self.sizes[d]
        return np.arange(self.sizes[d]).reshape(shape)

    def full(self, i: int, x: Array) -> Array:
        """One element for every time that statement i runs."""
        n_outer = self.program.n_outer
        inner = self.sizes[n_outer:] if self.loops[i] else [1] * self.program.n_inner
        return np.broadcast_to(x, [*self.sizes[:n_outer], *inner])

    def one(self, x: float, dtype: str) -> Array:
        """A number as a value."""
        value = np.full([1] * len(self.sizes), x)
        return convert(value, "float64" if value.dtype.kind == "f" else "int64", dtype)

    # leaves

    def do_const(self, i: int, s: Stmt) -> Array:
        return self.one(s.args[0], s.dtype)

    def do_scalar(self, i: int, s: Stmt) -> Array:
        return self.one(self.scalars[s.args[0]], s.dtype)

    def do_param(self, i: int, s: Stmt) -> Array:
        return self.one(self.params[s.args[0]], s.dtype)

    def do_size(self, i: int, s: Stmt) -> Array:
        return self.one(self.sizes[s.args[0]], s.dtype)

    def do_index(self, i: int, s: Stmt) -> Array:
        return self.along(s.args[0])

    # memory

    def place(self, access: Access) -> Array:
        """Element numbers that an access touches."""
        where = np.full([1] * len(self.sizes), self.offsets[access.buf])
        for d, kind in enumerate(access.strides):
            if kind != "0":
                step = {"1": 1, "2": 2, "-": -1}.get(kind) or self.strides[access][d]
                where = where + self.along(d) * step
        return where

    def masked(self, s: Stmt, where: Array) -> tuple[Array, Array | None]:
        if s.mask is None:
            return where, None
        mask = self.values[s.mask]
        return np.where(mask, where, 0), mask

    def fetch(self, buf: int, s: Stmt, where: Array, other: float) -> Array:
        where, mask = self.masked(s, where)
        if mask is not None and not mask.any():
            return self.one(other, s.dtype)
        found = self.buffers[buf].reshape(-1)[where]
        return found if mask is None else np.where(mask, found, self.one(other, s.dtype))

    def put(self, i: int, buf: int, where: Array, value: int) -> Array:
        mask = self.program.stmts[i].mask
        places, values = self.full(i, where), self.full(i, self.values[value])
        if mask is not None:
            chosen = self.full(i, self.values[mask])
            places, values = places[chosen], values[chosen]
        self.buffers[buf].reshape(-1)[places] = values
        return np.zeros(1)

    def do_load(self, i: int, s: Stmt) -> Array:
        other = s.args[2] if len(s.args) > 2 else 0
        return self.fetch(s.args[0].buf, s, self.place(s.args[0]), other)

    def do_load_at(self, i: int, s: Stmt) -> Array:
        where = self.values[s.args[1]] + self.offsets[s.args[0]]
        return self.fetch(s.args[0], s, where, s.args[3] if len(s.args) > 3 else 0)

    def do_store(self, i: int, s: Stmt) -> Array:
        return self.put(i, s.args[0].buf, self.place(s.args[0]), s.args[1])

    def do_store2(self, i: int, s: Stmt) -> Array:
        where = self.place(s.args[0])
        self.put(i, s.args[0].buf, where, s.args[1])
        return self.put(i, s.args[0].buf, where + 1, s.args[2])

    def do_accumulate(self, i: int, s: Stmt) -> Array:
        last = self.program.n_outer - 1
        sums = self.full(i, self.values[s.args[1]]).sum(last, keepdims=True)
        where = np.broadcast_to(self.place(s.args[0]), self.full(i, np.zeros(1)).shape)
        self.buffers[s.args[0].buf].reshape(-1)[where.take([0], last)] = sums
        return np.zeros(1)

    def do_store_at(self, i: int, s: Stmt) -> Array:
        where = self.values[s.args[1]] + self.offsets[s.args[0]]
        return self.put(i, s.args[0], where, s.args[2])

    def do_check(self, i: int, s: Stmt) -> Array:
        index, size, tag = s.args[:3]
        if len(s.args) > 3:
            tag = int(np.max(self.values[s.args[3]]))
        x = self.values[index]
        limit = size[1] if isinstance(size, tuple) else self.values[size]
        bad = (x < -limit) | (x >= limit)
        if bad.any():
            first = int(np.broadcast_to(x, bad.shape)[bad][0])
            self.status[:] = [1, first, int(np.max(limit)), tag]
        return np.where(bad, 0, np.where(x < 0, x + limit, x))

    # phases

    def do_stash(self, i: int, s: Stmt) -> Array:
        return self.values[s.args[0]]

    def do_unstash(self, i: int, s: Stmt) -> Array:
        return self.values[s.args[0]]

    def do_reduce(self, i: int, s: Stmt) -> Array:
        kind, operand = s.args
        n_outer = self.program.n_outer
        x = self.values[operand]
        shape = [*x.shape[:n_outer], *self.sizes[n_outer:]]
        x = np.broadcast_to(x, shape).reshape(*x.shape[:n_outer], -1)
        result = REDUCE[kind](x) if x.shape[-1] else _empty(kind, x)
        return result.astype(numpy_dtype(s.dtype)).reshape(
            *shape[:n_outer], *[1] * (len(shape) - n_outer)
        )

    def elementwise(self, s: Stmt) -> Array:
        source = self.program.stmts[s.args[-1]].dtype
        args = [self.values[a] for a in s.args]
        if s.op == "cast":
            return convert(args[0], source, s.dtype)
        if s.op == "bitcast":
            return np.ascontiguousarray(args[0]).view(numpy_dtype(s.dtype))
        if s.op in _WIDE and source in FLOATS:
            wide = _WIDE[s.op](*[a.astype(np.float64) for a in args])
            return np.asarray(wide).astype(numpy_dtype(s.dtype))
        return np.asarray(_PLAIN[s.op](*args)).astype(numpy_dtype(s.dtype))


def _empty(kind: str, x: Array) -> Array:
    if kind in ("sum", "row_sum", "prod", "any", "all"):
        number: float = {"sum": 0, "row_sum": 0, "prod": 1, "any": 0, "all": 1}[kind]
    elif kind in ("argmax", "argmin"):
        number = 0
    elif x.dtype.kind == "f":
        number = -math.inf if kind == "max" else math.inf
    else:
        info = np.iinfo(x.dtype)
        number = info.min if kind == "max" else info.max
    return np.full(x.shape[:-1], number)


REDUCE: dict[str, Callable[[Array], Any]] = {
    "sum": lambda x: np.sum(x, -1, dtype=np.float64 if x.dtype.kind == "f" else x.dtype),
    "prod": lambda x: np.prod(x, -1, dtype=np.float64 if x.dtype.kind == "f" else x.dtype),
    "max": lambda x: np.max(x, -1),
    "min": lambda x: np.min(x, -1),
    "any": lambda x: np.any(x, -1),
    "all": lambda x: np.all(x, -1),
    "argmax": lambda x: np.argmax(x, -1),
    "argmin": lambda x: np.argmin(x, -1),
}
REDUCE["row_sum"] = REDUCE["sum"]


def convert(x: Array, source: str, dtype: str) -> Array:
    """`cast`: as C, with bfloat16 rounded to nearest even."""
    if source == dtype:
        return x
    if source == "bfloat16":
        return convert((x.astype(np.uint32) << 16).view(np.float32), "float32", dtype)
    if dtype == "bfloat16":
        bits = np.ascontiguousarray(convert(x, source, "float32")).view(np.uint32)
        rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        return np.where((bits & 0x7FFFFFFF) > 0x7F800000, 0x7FC0, rounded).astype(np.uint16)
    if dtype == "float16" and source != "float32":
        x = x.astype(np.float32)
    if dtype == "bool":
        return x != 0
    if x.dtype.kind == "f" and dtype not in FLOATS and dtype != "float16":
        wide = x.astype(np.uint64 if dtype == "uint64" else np.int64)
        narrow = wide.astype(np.int32) if ITEMSIZE[dtype] < 4 or dtype == "int32" else wide
        return narrow.astype(dtype)
    return x.astype(dtype)


def _each(function: Callable[..., float]) -> Callable[..., Array]:
    """A function of Python floats on arrays; what it cannot do is NaN."""

    def safe(*args: float) -> float:
        try:
            return function(*args)
        except (ValueError, OverflowError):
            return math.nan

    return np.vectorize(safe, otypes=[np.float64])


def _lgamma(x: float) -> float:
    if math.isinf(x) or (x <= 0 and x == math.floor(x)):
        return math.inf
    return math.lgamma(x)


def digamma(x: float) -> float:
    """By reflection, recurrence up to 10, and the asymptotic series."""
    if math.isnan(x) or x == -math.inf:
        return math.nan
    if x == 0:
        return math.copysign(math.inf, -x)
    if x < 0:
        if x == math.floor(x):
            return math.nan
        return digamma(1.0 - x) - math.pi / math.tan(math.pi * math.remainder(x, 1.0))
    result = 0.0
    while x < 10.0:
        result -= 1.0 / x
        x += 1.0
    if math.isinf(x):
        return x
    z = 1.0 / (x * x)
    series = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
    tail = 0.0
    for c in reversed(series):
        tail = (tail + c) * z
    return result + math.log(x) - 0.5 / x - tail


def erfinv(x: float) -> float:
    """By Newton's and Halley's steps on erfc from Winitzki's estimate."""
    if not -1.0 <= x <= 1.0:
        return math.nan
    if abs(x) == 1.0:
        return math.copysign(math.inf, x)
    a = abs(x)
    if a < 1e-8:
        return x * math.sqrt(math.pi) / 2
    log = math.log1p(-a) + math.log1p(a)
    t = 2 / (math.pi * 0.147) + log / 2
    y = math.sqrt(math.sqrt(t * t - log / 0.147) - t)
    for _ in range(4):
        error = (math.erf(y) - a) if a < 0.5 else ((1.0 - a) - math.erfc(y))
        step = error / (2 / math.sqrt(math.pi) * math.exp(-y * y))
        y -= step / (1 + y * step)
    return math.copysign(y, x)


def _floordiv(x: Array, y: Array) -> Array:
    if x.dtype.kind == "f":
        return np.where(y == 0, x / y, np.floor_divide(x, y))
    return np.floor_divide(x, y)


def _truncdiv(x: Array, y: Array) -> Array:
    if x.dtype.kind == "f":
        return np.trunc(x / y)
    down = np.floor_divide(x, y)
    inexact = (down * y != x) & ((x < 0) != (y < 0))
    return np.where(y == 0, 0, down + inexact)


def _shift(function: Any) -> Callable[[Array, Array], Array]:
    def shift(x: Array, y: Array) -> Array:
        width = 8 * x.dtype.itemsize
        far = (y < 0) | (y >= width)
        zero = np.zeros_like(x)
        beyond = np.where(x < 0, -1, zero) if function is np.right_shift else zero
        return np.where(far, beyond, function(x, np.where(far, 0, y)))

    return shift


def _integer_pow(x: Array, y: Array) -> Array:
    if x.dtype.kind == "f":
        return np.power(x.astype(np.float64), y.astype(np.float64)).astype(x.dtype)
    positive = np.power(x, np.where(y < 0, 0, y))
    parity = np.where(y % 2 == 0, 1, x)
    return np.where(y < 0, np.where(np.abs(x) == 1, parity, 0), positive)


_PLAIN: dict[str, Callable[..., Array]] = {
    "neg": np.negative,
    "abs": np.abs,
    "sign": lambda x: np.where(x > 0, 1, np.where(x < 0, -1, 0)),
    "relu": lambda x: np.where(x <= 0, 0, x),
    "not": np.logical_not,
    "bitwise_not": np.invert,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "mantissa": lambda x: np.frexp(x)[0],
    "exponent": lambda x: np.frexp(x)[1].astype(x.dtype),
    "sqrt": np.sqrt,
    "rsqrt": lambda x: np.ones_like(x) / np.sqrt(x),
    "reciprocal": lambda x: np.ones_like(x) / x,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "floordiv": _floordiv,
    "mod": np.mod,
    "fmod": np.fmod,
    "truncdiv": _truncdiv,
    "pow": _integer_pow,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "fmax": np.fmax,
    "fmin": np.fmin,
    "copysign": np.copysign,
    "nextafter": np.nextafter,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "shl": _shift(np.left_shift),
    "shr": _shift(np.right_shift),
    "where": np.where,
}

# computed in float64 and rounded once
_WIDE: dict[str, Callable[..., Array]] = {
    name: getattr(np, name)
    for name in ("exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh hypot".split())
} | {
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "atan2": np.arctan2,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "erf": _each(math.erf),
    "erfc": _each(math.erfc),
    "erfinv": _each(erfinv),
    "lgamma": _each(_lgamma),
    "digamma": _each(digamma),
    "fma": lambda x, y, z: x * y + z,
}
