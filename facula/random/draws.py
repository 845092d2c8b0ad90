"""Draws as NumPy arrays: PyTorch's CPU algorithms, in PyTorch's order.

Every function takes the generator and how many values to draw. A result is in the order in which
PyTorch visits memory: for a tensor that is not contiguous that is the order of its strides, not of
its indices. bfloat16 results are uint16 bit patterns. `dtype` is a name: "float32", "int64", ...
"""

from __future__ import annotations

import numpy as np

from facula.random import samplers
from facula.random.cascade import cascade_sum
from facula.random.generator import Generator
from facula.random.transforms import normal_fill, uniform_fill

HALVES = ("float16", "bfloat16")


def round_to(x: np.ndarray, dtype: str) -> np.ndarray:
    """Floating `x` as `dtype`; to bfloat16 through float32, ties to even."""
    if dtype == "float16":
        x = x.astype(np.float32, copy=False)  # PyTorch goes through float32
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return x.astype(dtype, copy=False)
    bits = x.astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), np.uint32(0x7FC0), rounded).astype(np.uint16)


def _span(low: float, high: float, dtype: str) -> float:
    return float(np.float32(high) - np.float32(low)) if dtype == "float32" else high - low


def place(array: np.ndarray, values: np.ndarray) -> None:
    """Write drawn values into a strided array in the order in which PyTorch visits its memory.

    In-place draws go by falling strides, whatever the order of the dimensions. (Results of
    functions of tensors, as `bernoulli(p)`, are drawn in the order of their indices.)
    """
    order = sorted(range(array.ndim), key=lambda d: -abs(array.strides[d]))
    view = array.transpose(order)
    view[...] = values.reshape(view.shape)


def uniform_into(
    generator: Generator, address: int, n: int, dtype: str, low: float = 0.0, high: float = 1.0
) -> None:
    """Write n values in [low, high) to memory; dtype is float32 or float64."""
    fill = uniform_fill(dtype)
    fill(generator.address, address, n, low, high, _span(low, high, dtype))


def uniform(
    generator: Generator, n: int, dtype: str = "float32", low: float = 0.0, high: float = 1.0
) -> np.ndarray:
    """n values in [low, high): what `rand` and `uniform_` draw."""
    work = "float32" if dtype in HALVES else dtype
    x = np.empty(n, work)
    uniform_into(generator, x.ctypes.data, n, work, low, high)
    if work == dtype:
        return x
    x = round_to(x, dtype)
    end, begin = (round_to(np.array([e], np.float32), dtype) for e in (high, low))
    return np.where(x == end, begin, x)


def uniform_doubles(generator: Generator, n: int) -> np.ndarray:
    """n doubles in [0, 1) of 53 bits: what most scalar samplers start from."""
    return uniform(generator, n, "float64")


def scalar_normals(generator: Generator, n: int, mean: float = 0.0, std: float = 1.0) -> np.ndarray:
    """n doubles drawn one at a time, the second of a pair kept in hand.

    This is how PyTorch draws fewer than 16 values, values for a tensor that is not contiguous,
    and normals inside other samplers.
    """
    out = np.empty(n)
    samplers.normals(generator.address, out.ctypes.data, n, mean, std)
    return out


def normal_into(
    generator: Generator,
    address: int,
    n: int,
    dtype: str,
    mean: float = 0.0,
    std: float = 1.0,
    redraw: bool = True,
) -> None:
    """Write n >= 16 normal values to memory, in blocks of 16; dtype is float32 or float64."""
    fill = normal_fill(dtype)
    engine = generator.address
    size = 4 if dtype == "float32" else 8
    whole = n & ~15
    fill(engine, address, whole, mean, std)
    if whole != n:  # the rest was drawn with the others; then the last 16 are drawn anew
        if redraw:
            generator.random32((n - whole) * (size // 4))
        fill(engine, address + (n - 16) * size, 16, mean, std)


def normal(
    generator: Generator,
    n: int,
    dtype: str = "float32",
    mean: float = 0.0,
    std: float = 1.0,
    contiguous: bool = True,
) -> np.ndarray:
    """n normal values: what `randn` and `normal_` draw. 16 and more are drawn in blocks."""
    if n < 16 or not contiguous:
        return round_to(scalar_normals(generator, n, mean, std), dtype)
    work = "float32" if dtype in HALVES else dtype
    out = np.empty(n, work)
    # float16 and bfloat16 go straight to the last 16
    normal_into(generator, out.ctypes.data, n, work, mean, std, redraw=work == dtype)
    return round_to(out, dtype)


# -- integers ----------------------------------------------------------------------

# How many values `random_()` draws from; floating types: the integers they hold exactly.
_FULL = {
    "int64": 2**63, "int32": 2**31, "int16": 2**15, "int8": 2**7, "uint8": 2**8, "bool": 2,
    "float64": 2**53 + 1, "float32": 2**24 + 1, "float16": 2**11 + 1, "bfloat16": 2**8 + 1,
}  # fmt: skip
_WIDE = 2**28  # from this many values on, a draw is 64 bits


def _stored(x: np.ndarray, dtype: str) -> np.ndarray:
    """Integers or doubles as the target type."""
    return round_to(x, dtype) if dtype in HALVES else x.astype(dtype)


def random(generator: Generator, n: int, dtype: str = "int64") -> np.ndarray:
    """What `random_()` draws: all non-negative values of an integer type."""
    wide = dtype in ("int64", "float64")
    bits = generator.random64(n) if wide else generator.random32(n)
    x = bits % bits.dtype.type(_FULL[dtype])
    return _stored(x.astype(np.float64) if dtype in HALVES else x, dtype)


def randint(generator: Generator, n: int, low: int, high: int, dtype: str = "int64") -> np.ndarray:
    """n integers in [low, high): `randint` and `random_(from, to)`; 2**64 values at most."""
    span = high - low
    if span == 2**64:
        return generator.random64(n).view(np.int64)
    x = np.empty(n, np.int64)
    draw = samplers.integers if span < _WIDE else samplers.wide_integers
    draw(generator.address, x.ctypes.data, n, low, span)
    if dtype == "int64":
        return x
    return _stored(x.astype(np.float64) if dtype in HALVES else x, dtype)


def randint_limit(dtype: str) -> int:
    """One above the greatest value: the end of `random_(from, None)`."""
    return _FULL[dtype]


def randperm(generator: Generator, n: int, dtype: str = "int64") -> np.ndarray:
    """A permutation of 0 .. n - 1."""
    out = np.arange(n, dtype=np.int64)
    if n < 0xFFFFFFFF // 20:
        scratch = np.empty(samplers.PERMUTE_BLOCK, np.uint32)
        samplers.permute(generator.address, out.ctypes.data, n, scratch.ctypes.data)
    else:  # 32 bits would be skewed
        samplers.permute_long(generator.address, out.ctypes.data, n)
    return out if dtype == "int64" else _stored(out, dtype)


# -- one distribution for all values -----------------------------------------------


def bernoulli(generator: Generator, n: int, p: float, dtype: str = "float32") -> np.ndarray:
    """1 with probability p: `bernoulli_(p)`, and the mask of `dropout(1 - p)`."""
    return _stored(uniform_doubles(generator, n) < p, dtype)


def exponential(
    generator: Generator, n: int, rate: float = 1.0, dtype: str = "float32"
) -> np.ndarray:
    """Exponential values. (PyTorch with MKL on Intel CPUs takes them from another generator.)"""
    out = np.empty(n)
    samplers.exponentials(generator.address, out.ctypes.data, n, rate)
    return _stored(out, dtype)


def cauchy(
    generator: Generator, n: int, median: float = 0.0, sigma: float = 1.0, dtype: str = "float32"
) -> np.ndarray:
    out = np.empty(n)
    samplers.cauchies(generator.address, out.ctypes.data, n, median, sigma)
    return _stored(out, dtype)


def log_normal(
    generator: Generator, n: int, mean: float = 1.0, std: float = 2.0, dtype: str = "float32"
) -> np.ndarray:
    out = np.empty(n)
    samplers.log_normals(generator.address, out.ctypes.data, n, mean, std)
    return _stored(out, dtype)


def geometric(generator: Generator, n: int, p: float, dtype: str = "float32") -> np.ndarray:
    """The number of tries up to the first success."""
    out = np.empty(n)
    samplers.geometrics(generator.address, out.ctypes.data, n, p)
    return _stored(out, dtype)


# -- a parameter for each value ----------------------------------------------------


def widened(x: np.ndarray, dtype: str) -> np.ndarray:
    """`x` of type `dtype` as contiguous doubles."""
    if dtype == "bfloat16":
        x = (x.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.ascontiguousarray(x, np.float64)


def bernoulli_each(
    generator: Generator, p: np.ndarray, p_dtype: str = "float32", dtype: str = "float32"
) -> np.ndarray:
    """1 with probability p[k]: `bernoulli(p)`; p's type decides the draws."""
    chances = widened(p, p_dtype)
    if p_dtype == "float64":
        u = uniform_doubles(generator, p.size)
    else:
        u = uniform(generator, p.size, "float32").astype(np.float64)
    return _stored((u < chances.ravel()).reshape(p.shape), dtype)


def poisson(generator: Generator, rate: np.ndarray, dtype: str = "float32") -> np.ndarray:
    rates = widened(rate, dtype)
    out = np.empty(rate.shape)
    samplers.poissons(generator.address, out.ctypes.data, rates.ctypes.data, rates.size)
    return _stored(out, dtype)


def standard_gamma(generator: Generator, alpha: np.ndarray, dtype: str = "float32") -> np.ndarray:
    """Gamma values of rate 1, at least the smallest normal number."""
    alphas = widened(alpha, dtype)
    out = np.empty(alpha.shape)
    narrow = dtype != "float64"
    samplers.standard_gammas(
        generator.address, out.ctypes.data, alphas.ctypes.data, alphas.size, narrow
    )
    tiny = np.finfo(np.float32 if dtype == "bfloat16" else dtype).tiny
    return np.maximum(_stored(out, dtype), tiny)


def dirichlet(generator: Generator, alpha: np.ndarray, dtype: str = "float32") -> np.ndarray:
    """Rows that sum to 1, kept off 0 and 1; float32 or float64, computed in double."""
    gammas = standard_gamma(generator, widened(alpha, dtype), "float64")
    rows = gammas.reshape(-1, alpha.shape[-1])
    x = _stored((rows / cascade_sum(rows)).reshape(alpha.shape), dtype)
    kind = np.dtype("float32" if dtype == "bfloat16" else dtype).type
    return np.clip(x, np.finfo(kind).tiny, np.nextafter(kind(1), kind(0)))


def rrelu_slopes(
    generator: Generator, n: int, dtype: str = "float32", lower: float = 1 / 8, upper: float = 1 / 3
) -> np.ndarray:
    """A slope for each of the n inputs that are not positive, in the order of memory.

    For float16 and bfloat16 they come as float32, in which the product is to be taken.
    """
    work = "float64" if dtype == "float64" else "float32"
    low, high = (float(np.dtype(work).type(x)) for x in (lower, upper))
    return (uniform_doubles(generator, n) * (high - low) + low).astype(work)


def binomial(
    generator: Generator, count: np.ndarray, p: np.ndarray, dtype: str = "float32"
) -> np.ndarray:
    counts, chances = widened(count, dtype), widened(p, dtype)
    out = np.empty(count.shape)
    samplers.binomials(
        generator.address,
        out.ctypes.data,
        counts.ctypes.data,
        chances.ctypes.data,
        out.size,
        dtype != "float64",
    )
    return _stored(out, dtype)


def race(generator: Generator, p: np.ndarray, dtype: str = "float32") -> np.ndarray:
    """p over exponential values: the places of a row's n greatest are a sample without replacement."""
    q = exponential(generator, p.size, dtype=dtype).reshape(p.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        return p / q


def multinomial(generator: Generator, p: np.ndarray, n: int) -> np.ndarray:
    """n category numbers from each row of weights p (a vector or a matrix), with replacement."""
    rows = p.reshape(-1, p.shape[-1])
    out = np.empty((len(rows), n), np.int64)
    for row, result in zip(rows, out, strict=True):
        total = np.cumsum(row, dtype=row.dtype)  # one after another, in the type of p
        cumulative = (total / total[-1]).astype(np.float64)
        cumulative[-1] = 1.0
        samplers.search_many(
            generator.address, result.ctypes.data, n, cumulative.ctypes.data, row.size
        )
    return out.reshape(*p.shape[:-1], n)
