"""The meaning of each primitive: one line of NumPy.

This is the specification of the compiler, the oracle of its tests (`FACULA_BACKEND=reference` runs
everything on it), and what serves values that have no native kernel. bfloat16 values are float32
arrays here, rounded after each primitive.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.dtypes import dtype
from facula.graph.ir import Val

Array = np.ndarray


def compute_type(d: dtype) -> np.dtype:
    """The NumPy type that values of d are computed in."""
    if d is dt.bfloat16 or d.name.startswith("float8"):
        return np.dtype(np.float32)
    if d is dt.complex32:
        return np.dtype(np.complex64)
    return d.storage


def decode(stored: Array, d: dtype) -> Array:
    """Values of stored bytes."""
    if d is dt.bfloat16:
        return dt.bf16_to_f32(stored)
    if d is dt.complex32:
        halves = np.ascontiguousarray(stored).reshape(-1).view(np.float16)
        return halves.astype(np.float32).view(np.complex64).reshape(stored.shape)
    if d.name.startswith("float8"):
        return _float8_table(d)[stored]
    return stored


def encode(values: Array, d: dtype) -> Array:
    """Bytes to store for values."""
    if d is dt.bfloat16:
        return dt.f32_to_bf16(values)
    if d is dt.complex32:
        parts = np.ascontiguousarray(values, np.complex64).reshape(-1).view(np.float32)
        return parts.astype(np.float16).view(np.uint32).reshape(values.shape)
    if d.name.startswith("float8"):
        return _to_float8(values, d)
    return np.asarray(values, d.storage)


def round_to(values: Array, d: dtype) -> Array:
    """Values rounded to what d can hold, in its compute type."""
    values = np.asarray(values)
    if compute_type(d) is not d.storage and compute_type(d) != d.storage:
        return decode(encode(np.asarray(values.astype(compute_type(d)), order="C"), d), d)
    return values if values.dtype == d.storage else values.astype(d.storage)


_float8: dict[str, Array] = {}


def _float8_table(d: dtype) -> Array:
    """The 256 values of a float8 type."""
    if d.name not in _float8:
        m = d.mantissa
        table = np.zeros(256, np.float32)
        for bits in range(256):
            table[bits] = _float8_value(d.name, m, bits)
        _float8[d.name] = table
    return _float8[d.name]


def _float8_value(name: str, m: int, bits: int) -> float:
    if name == "float8_e8m0fnu":
        return math.nan if bits == 255 else 2.0 ** (bits - 127)
    sign = -1.0 if bits & 128 else 1.0
    fnuz = name.endswith("fnuz")
    bias = {3: 7, 2: 15}[m] + fnuz
    e, f = (bits & 127) >> m, bits & ((1 << m) - 1)
    if fnuz and bits == 128:
        return math.nan
    if name == "float8_e4m3fn" and bits & 127 == 127:
        return math.nan
    if name == "float8_e5m2" and e == 31:
        return sign * (math.inf if f == 0 else math.nan)
    if e == 0:
        return sign * f * 2.0 ** (1 - bias - m)
    return sign * (1 + f / (1 << m)) * 2.0 ** (e - bias)


def _to_float8(values: Array, d: dtype) -> Array:
    table = _float8_table(d).astype(np.float64)
    half = 255 if d.name == "float8_e8m0fnu" else 128
    positive = table[:half]
    finite = np.flatnonzero(np.isfinite(positive))
    grid = positive[finite]
    x = np.abs(np.asarray(values, np.float64))
    hi = np.clip(np.searchsorted(grid, x), 1, len(grid) - 1)
    below, above = grid[hi - 1], grid[hi]
    up = (x - below > above - x) | ((x - below == above - x) & (finite[hi] % 2 == 0))
    code = finite[np.where(up, hi, hi - 1)].astype(np.uint8)
    top = grid[-1] + (grid[-1] - grid[-2]) / 2
    overflow = 0x7C if d.name == "float8_e5m2" else 0x7F
    nan = {"float8_e8m0fnu": 255}.get(d.name, 128 if d.name.endswith("fnuz") else 0x7F)
    if d.name.endswith("fnuz"):
        overflow = 128
    code = np.where(x > top, overflow, code)
    if half == 128:
        code = np.where(
            np.signbit(values) & ~((code == 0) & d.name.endswith("fnuz")), code | 128, code
        )
    return np.where(np.isnan(values), nan, code).astype(np.uint8)


def _vectorised(fn: Callable[[float], float]) -> Callable[[Array], Array]:
    table = np.frompyfunc(fn, 1, 1)
    return lambda x: np.asarray(table(x.astype(np.float64)), np.float64)


def _lgamma(x: float) -> float:
    if math.isnan(x):
        return x
    if math.isinf(x) or (x <= 0 and x == math.floor(x)):
        return math.inf
    return math.lgamma(x)


def _digamma(x: float) -> float:
    if x == 0:
        return math.copysign(math.inf, -x)
    if math.isinf(x):
        return x if x > 0 else math.nan
    if x < 0 and x == math.floor(x):
        return math.nan
    if x < 0:
        return _digamma(1 - x) - math.pi / math.tan(math.pi * (x - math.floor(x)))
    total = 0.0
    while x < 10:
        total -= 1 / x
        x += 1
    z = 1 / (x * x)
    series = z * (
        1 / 12
        - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z * (5 / 660 - z * (691 / 32760 - z / 12)))))
    )
    return total + math.log(x) - 0.5 / x - series


def _erfinv(y: Array) -> Array:
    """Newton on erf from a rational start (Giles 2010)."""
    y = np.asarray(y, np.float64)
    with np.errstate(all="ignore"):
        w = -np.log((1 - y) * (1 + y))
        small = w < 5
        a, b = w - 2.5, np.sqrt(np.where(small, 5, w)) - 3
        p = np.polyval([2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
                        -0.00125372503, -0.00417768164, 0.246640727, 1.50140941], a)  # fmt: skip
        q = np.polyval([-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
                        -0.0076224613, 0.00943887047, 1.00167406, 2.83297682], b)  # fmt: skip
        x = np.where(small, p, q) * y
        erf = _vectorised(math.erf)
        erfc = _vectorised(math.erfc)
        for _ in range(3):
            miss = np.where(
                np.abs(y) < 0.5, erf(x) - y, np.sign(y) * ((1 - np.abs(y)) - erfc(np.abs(x)))
            )
            step = miss / (2 / math.sqrt(math.pi) * np.exp(-x * x))
            x = np.where(np.isfinite(step), x - step / (1 + x * step), x)
    return np.where(np.abs(y) == 1, np.copysign(np.inf, y), np.where(np.abs(y) > 1, np.nan, x))


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def _sign(x: Array) -> Array:
    if x.dtype.kind == "f":
        return np.where(np.isnan(x), 0, np.sign(x))
    return np.where(x > 0, 1, 0) if x.dtype.kind in "bu" else np.sign(x)


def _c_div(a: Array, b: Array) -> Array:
    if a.dtype.kind in "iu":
        q = (
            np.floor_divide(np.abs(a.astype(object)), np.abs(b.astype(object)))
            if a.dtype.kind == "i" and a.dtype.itemsize == 8
            else None
        )
        if q is None:
            return np.trunc(a.astype(np.float64) / b).astype(a.dtype)
        return (q * np.sign(a) * np.sign(b)).astype(a.dtype)
    return np.trunc(a / b)


def _floordiv(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        mod = np.fmod(a, b)
        quotient = (a - mod) / b
        quotient = np.where((mod != 0) & ((b < 0) != (mod < 0)), quotient - 1, quotient)
        floor = np.floor(quotient)
        floor = np.where(quotient - floor > 0.5, floor + 1, floor)
        floor = np.where(quotient == 0, np.copysign(np.zeros_like(a), a / b), floor)
        return np.where(b == 0, a / b, floor)
    return np.floor_divide(a, b)


def _mod(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        m = np.fmod(a, b)
        return np.where((m != 0) & ((b < 0) != (m < 0)), m + b, m)
    return np.mod(a, b)


def _fmod(a: Array, b: Array) -> Array:
    return np.fmod(a, b)


def _pow(a: Array, b: Array) -> Array:
    if a.dtype.kind in "iu":
        if a.dtype.kind == "i":
            negative = b < 0
            good = np.power(a, np.where(negative, 0, b))
            one = np.where(a == 1, 1, np.where(a == -1, np.where(b % 2 == 0, 1, -1), 0))
            return np.where(negative, one, good).astype(a.dtype)
        return np.power(a, b)
    return np.power(a, b)


def _shift(fn: Callable, fill_sign: bool) -> Callable[[Array, Array], Array]:
    def shift(a: Array, b: Array) -> Array:
        bits = 8 * a.dtype.itemsize
        bad = (b < 0) | (b >= bits)
        good = fn(a, np.where(bad, 0, b).astype(a.dtype))
        over = (
            np.where(a < 0, -1, 0).astype(a.dtype)
            if fill_sign and a.dtype.kind == "i"
            else np.zeros_like(a)
        )
        return np.where(bad, over, good)

    return shift


UNARY: dict[str, Callable[[Array], Array]] = {
    "neg": np.negative, "abs": np.abs, "sign": _sign, "exp": np.exp, "exp2": np.exp2,
    "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10, "log1p": np.log1p,
    "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "reciprocal": lambda x: 1 / x,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh,
    "acosh": np.arccosh, "atanh": np.arctanh, "erf": _vectorised(math.erf),
    "erfc": _vectorised(math.erfc), "erfinv": _erfinv, "lgamma": _vectorised(_lgamma),
    "digamma": _vectorised(_digamma), "sigmoid": _sigmoid, "floor": np.floor, "ceil": np.ceil,
    "round": np.rint, "trunc": np.trunc, "mantissa": lambda x: np.frexp(x)[0],
    "exponent": lambda x: np.frexp(x)[1].astype(x.dtype),
    "not": lambda x: np.logical_not(x) if x.dtype.kind == "b" else np.invert(x),
    "isnan": np.isnan, "isinf": np.isinf,
    "relu": lambda x: np.where(x < 0, 0, x).astype(x.dtype),
}  # fmt: skip

BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide,
    "floordiv": _floordiv, "mod": _mod, "fmod": _fmod, "truncdiv": _c_div, "pow": _pow,
    "maximum": np.maximum, "minimum": np.minimum, "fmax": np.fmax, "fmin": np.fmin,
    "atan2": np.arctan2, "copysign": np.copysign, "nextafter": np.nextafter, "hypot": np.hypot,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "shl": _shift(np.left_shift, False), "shr": _shift(np.right_shift, True),
}  # fmt: skip


def _reduce(kind: str, x: Array, axes: tuple[int, ...]) -> Array:
    if kind.startswith("arg"):
        return _arg_reduce(kind, x, axes)
    if kind in ("sum", "row_sum"):
        wide = np.float64 if x.dtype == np.float32 and x.size < 1 << 16 else None
        return np.sum(x, axis=axes, keepdims=True, dtype=wide).astype(x.dtype)
    if kind == "prod":
        return np.prod(x, axis=axes, keepdims=True, dtype=x.dtype)
    fn: Any = {"max": np.max, "min": np.min, "any": np.any, "all": np.all}[kind]
    return fn(x, axis=axes, keepdims=True)


def _arg_reduce(kind: str, x: Array, axes: tuple[int, ...]) -> Array:
    rest = [i for i in range(x.ndim) if i not in axes]
    flat = np.transpose(x, rest + list(axes)).reshape([x.shape[i] for i in rest] + [-1])
    if flat.dtype.kind == "b":
        flat = flat.astype(np.uint8)
    found = (np.argmax if kind == "argmax" else np.argmin)(flat, axis=-1)
    return found.reshape([1 if i in axes else n for i, n in enumerate(x.shape)]).astype(np.int64)


def _scan(kind: str, x: Array, axis: int) -> Array:
    if x.ndim == 0:
        return np.zeros((), np.int64) if kind.startswith("arg") else x
    if kind in ("sum", "prod"):
        return (np.cumsum if kind == "sum" else np.cumprod)(x, axis=axis, dtype=x.dtype)
    if kind == "logaddexp":
        return np.logaddexp.accumulate(x.astype(np.float64), axis=axis).astype(x.dtype)
    best = (np.maximum if kind.endswith("max") else np.minimum).accumulate(x, axis=axis)
    if not kind.startswith("arg"):
        return best
    here = (x == best) | (np.isnan(x) if x.dtype.kind == "f" else False)
    line = np.arange(x.shape[axis]).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    return np.maximum.accumulate(np.where(here, line, 0), axis=axis)


class BadIndex(IndexError):
    """An index out of range, found while evaluating."""

    def __init__(self, index: int, size: int, tag: Any) -> None:
        super().__init__(index, size, tag)
        self.index, self.size, self.tag = index, size, tag


class Failed(Exception):
    """The operator recorded as this tape entry failed; why is the exception's cause."""

    def __init__(self, entry: int) -> None:
        super().__init__(entry)
        self.entry = entry


def checked(index: Array, size: int, tag: Any, wrap: bool = True) -> Array:
    """Indices made non-negative; BadIndex where one is out of range."""
    if tag is None:
        return index
    bad = (index < (-size if wrap else 0)) | (index >= size)
    if bad.any():
        raise BadIndex(int(index[bad].flat[0]), size, tag)
    return np.where(index < 0, index + size, index)


_COMBINE = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _complex(d: dtype, re: Array, im: Array) -> Array:
    out = np.empty(re.shape, d.storage)
    out.real, out.imag = re, im
    return out


def _boxes(shape: tuple[int, ...], parts: list[Array], starts: Any) -> Array:
    out = np.empty(shape, parts[0].dtype)
    for x, start in zip(parts, starts, strict=True):
        out[tuple(slice(k, k + n) for k, n in zip(start, x.shape, strict=True))] = x
    return out


def _take(x: Array, index: Array, axis: int, tag: Any) -> Array:
    return np.take(x, checked(index, x.shape[axis], tag), axis=axis)


def _gather(x: Array, index: Array, axis: int, tag: Any) -> Array:
    if x.ndim == 0:
        return np.broadcast_to(x, index.shape)
    where: list[Any] = list(np.indices(index.shape, sparse=True))
    where[axis] = checked(index, x.shape[axis], tag)
    return x[tuple(where)]


def _put(x: Array, index: Array, src: Array, axis: int, mode: str, tag: Any) -> Array:
    out = x.copy()
    where: Any = (slice(None),) * axis + (checked(index, x.shape[axis], tag),)
    if mode == "set":
        out[where] = src
    else:
        _COMBINE[mode].at(out, where, src)
    return out


def _scatter(x: Array, index: Array, src: Array, axis: int, mode: str, tag: Any) -> Array:
    out = x.copy()
    if x.ndim == 0:
        out, src, index = out.reshape(1), src.reshape(1), index.reshape(1)
    where: list[Any] = list(np.indices(index.shape, sparse=True))
    where[axis] = checked(index, out.shape[axis], tag)
    src = src[tuple(slice(n) for n in index.shape)]
    if mode == "set":
        out[tuple(where)] = src
    else:
        _COMBINE[mode].at(out, tuple(where), src)
    return out.reshape(x.shape)


def strided(flat: Array, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Array:
    """A strided view of a flat array."""
    byte_strides = [s * flat.itemsize for s in strides]
    if 0 in shape:
        return np.empty(shape, flat.dtype)
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, byte_strides)


def _write(
    old: Array, new: Array, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> Array:
    out = np.array(old, copy=True, order="C")
    strided(out.reshape(-1), shape, strides, offset)[...] = new
    return out


def _slice(
    x: Array, out_shape: tuple[int, ...], starts: tuple[int, ...], steps: tuple[int, ...]
) -> Array:
    index = []
    for start, step, n in zip(starts, steps, out_shape, strict=True):
        stop = start + step * n
        index.append(slice(start, stop if stop >= 0 else None, step))
    return x[tuple(index)]


def cast(x: Array, d: dtype) -> Array:
    """An array as values of another dtype, as they are computed with."""
    if d.kind == "b":
        return x != 0
    if x.dtype.kind == "c" and d.kind != "c":
        x = x.real
    if d.kind in "iu" and x.dtype.kind == "f":
        # what x86-64 does: through int64, wrapping to the narrower type
        wide = np.where(np.isfinite(x), x, 0).astype(np.int64)
        return wide.astype(d.storage)
    return round_to(x, d)


def evaluate(v: Val, args: list[Array]) -> Array | list[Array]:
    """The value of v for the values of its sources."""
    with np.errstate(all="ignore"):
        got = _evaluate(v, args)
    if isinstance(got, list):
        return got
    return round_to(got, v.dtype)


def _matmul(a: Array, b: Array) -> Array:
    if a.dtype.kind == "b":
        return np.matmul(a.astype(np.int64), b.astype(np.int64)) != 0
    if a.dtype == np.float16:
        return np.matmul(a.astype(np.float32), b.astype(np.float32))  # rounded to the result's type
    return np.matmul(a, b)


def _fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c in the next wider type, so that it is rounded nearly once."""
    wide = np.float64 if a.dtype == np.float32 else np.longdouble
    return (a.astype(wide) * b + c).astype(a.dtype)


_SIMPLE: dict[str, Callable[[Val, list[Array]], Array]] = {
    "copy": lambda v, a: a[0],
    "where": lambda v, a: np.where(a[0], a[1], a[2]),
    "fma": lambda v, a: _fma(*a),
    "cast": lambda v, a: cast(a[0], v.dtype),
    "const": lambda v, a: np.asarray(v.arg, compute_type(v.dtype)),
    "iota": lambda v, a: np.arange(max(v.shape, default=1) if v.shape else 1, dtype=np.int64)[: v.numel].reshape(v.shape),
    "bitcast": lambda v, a: decode(np.ascontiguousarray(encode(a[0], v.srcs[0].dtype)).reshape(-1).view(v.dtype.storage).reshape(v.shape), v.dtype),
    "reshape": lambda v, a: a[0].reshape(v.shape),
    "permute": lambda v, a: a[0].transpose(v.arg),
    "expand": lambda v, a: np.broadcast_to(a[0], v.shape),
    "slice": lambda v, a: _slice(a[0], v.shape, *v.arg),
    "as_strided": lambda v, a: strided(np.ascontiguousarray(a[0]).reshape(-1), v.shape, *v.arg),
    "pad": lambda v, a: np.pad(a[0], list(zip(*v.arg, strict=True)), constant_values=a[1]),
    "real": lambda v, a: np.real(a[0]),
    "imag": lambda v, a: np.imag(a[0]),
    "complex": lambda v, a: _complex(v.dtype, *a),
    "cat": lambda v, a: np.concatenate(a, axis=v.arg),
    "boxes": lambda v, a: _boxes(v.shape, a, v.arg),
    "reduce": lambda v, a: _reduce(v.arg[0], a[0], v.arg[1]),
    "scan": lambda v, a: _scan(v.arg[0], a[0], v.arg[1]),
    "check": lambda v, a: checked(a[0], *v.arg),
    "take": lambda v, a: _take(a[0], a[1], *v.arg),
    "gather": lambda v, a: _gather(a[0], a[1], *v.arg),
    "put": lambda v, a: _put(a[0], a[1], a[2], *v.arg),
    "scatter": lambda v, a: _scatter(a[0], a[1], a[2], *v.arg),
    "write": lambda v, a: _write(a[0], a[1], *v.arg),
    "matmul": lambda v, a: _matmul(a[0], a[1]),
    "out": lambda v, a: a[0][v.arg],
}  # fmt: skip


def _evaluate(v: Val, args: list[Array]) -> Any:
    if v.op in UNARY:
        x = args[0]
        if v.op == "abs" and x.dtype.kind == "c":
            return np.abs(x)
        return UNARY[v.op](x)
    if v.op in BINARY:
        return BINARY[v.op](args[0], args[1])
    if v.op in _SIMPLE:
        return _SIMPLE[v.op](v, args)
    if v.op == "host":
        fn, outs, arg = v.arg
        got = fn(*args, *(arg or ()))
        got = list(got) if isinstance(got, (tuple, list)) else [got]
        return [round_to(np.asarray(x).reshape(s), d) for x, (d, s) in zip(got, outs, strict=True)]
    if v.op.startswith("template:"):
        outs, arg = v.arg
        got = TEMPLATES[v.op[9:]](*args, *(arg or ()))
        got = list(got) if isinstance(got, (tuple, list)) else [got]
        return [round_to(np.asarray(x).reshape(s), d) for x, (d, s) in zip(got, outs, strict=True)]
    raise NotImplementedError(f"the reference backend has no meaning for {v!r}")


# NumPy meanings of templates, registered beside the operators that use them
TEMPLATES: dict[str, Callable[..., Any]] = {}
