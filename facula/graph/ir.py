"""The primitive graph that recorded operators expand to.

A `Val` is a value with dtype and shape, made by one primitive from others. A `Graph` makes them,
shares equal ones and folds the trivial. What each primitive means is one line of NumPy in
`reference.py`.

In an operator's expansion values are written like arrays: `e = (x - m).exp()`; operands must have
one dtype already, shapes broadcast.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from facula.graph import complexes
from facula.graph import dtypes as dt
from facula.graph.dtypes import dtype
from facula.graph.meta import broadcast_shapes, contiguous_strides

UNARY = frozenset(
    "neg abs sign exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal sin cos tan asin acos "
    "atan sinh cosh tanh asinh acosh atanh erf erfc erfinv lgamma digamma sigmoid floor ceil round "
    "trunc mantissa exponent not isnan isinf relu".split()
)
BINARY = frozenset(
    "add sub mul div floordiv mod fmod truncdiv pow maximum minimum fmax fmin atan2 copysign "
    "nextafter hypot eq ne lt le gt ge and or xor shl shr".split()
)
TERNARY = frozenset({"where", "fma"})
COMPARE = frozenset("eq ne lt le gt ge".split())
TO_BOOL = COMPARE | {"isnan", "isinf"}
LONG_ROW = 16384  # longer ones are cut, if there are few
LONG_AXIS = 4096  # one of them that is worth cutting
# a row_sum adds up as PyTorch's softmax: vectors in turn, and then their lanes
REDUCTIONS = frozenset("sum row_sum prod max min any all argmax argmin".split())
VIEWS = frozenset("reshape permute expand slice as_strided".split())


# without elements these are all the same: nothing is computed for them
_NOTHING = (
    UNARY
    | BINARY
    | TERNARY
    | VIEWS
    | {"cast", "copy", "pad", "cat", "take", "gather", "check", "scan"}
)


def _zero(d: dtype) -> Any:
    return {"b": False, "f": 0.0, "c": 0j}.get(d.kind, 0)


class Val:
    """A value of the primitive graph."""

    __slots__ = ("arg", "dtype", "g", "id", "op", "shape", "srcs")

    g: Graph
    id: int
    op: str
    dtype: dtype
    shape: tuple[int, ...]
    srcs: tuple[Val, ...]
    arg: Any

    def __repr__(self) -> str:
        srcs = ", ".join(f"%{s.id}" for s in self.srcs)
        arg = "" if self.arg is None else f" {self.arg}"
        return f"%{self.id}: {self.dtype.name}{list(self.shape)} = {self.op}({srcs}){arg}"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    # arithmetic as it is written in expansions
    def __add__(self, o: Any) -> Val:
        return self.g.binary("add", self, o)

    def __radd__(self, o: Any) -> Val:
        return self.g.binary("add", o, self)

    def __sub__(self, o: Any) -> Val:
        return self.g.binary("sub", self, o)

    def __rsub__(self, o: Any) -> Val:
        return self.g.binary("sub", o, self)

    def __mul__(self, o: Any) -> Val:
        return self.g.binary("mul", self, o)

    def __rmul__(self, o: Any) -> Val:
        return self.g.binary("mul", o, self)

    def __truediv__(self, o: Any) -> Val:
        return self.g.binary("div", self, o)

    def __rtruediv__(self, o: Any) -> Val:
        return self.g.binary("div", o, self)

    def __and__(self, o: Any) -> Val:
        return self.g.binary("and", self, o)

    def __or__(self, o: Any) -> Val:
        return self.g.binary("or", self, o)

    def __neg__(self) -> Val:
        return self.g.unary("neg", self)

    def __invert__(self) -> Val:
        return self.g.unary("not", self)

    def __lt__(self, o: Any) -> Val:
        return self.g.binary("lt", self, o)

    def __le__(self, o: Any) -> Val:
        return self.g.binary("le", self, o)

    def __gt__(self, o: Any) -> Val:
        return self.g.binary("gt", self, o)

    def __ge__(self, o: Any) -> Val:
        return self.g.binary("ge", self, o)

    def eq(self, o: Any) -> Val:
        return self.g.binary("eq", self, o)

    def ne(self, o: Any) -> Val:
        return self.g.binary("ne", self, o)

    def __getattr__(self, name: str) -> Callable[..., Val]:
        if name in UNARY:
            return lambda: self.g.unary(name, self)
        if name in BINARY:
            return lambda o: self.g.binary(name, self, o)
        raise AttributeError(f"values of the primitive graph have no {name!r}")

    def to(self, d: dtype) -> Val:  # type: ignore[valid-type]
        return self.g.cast(self, d)

    def sum(self, axes: Sequence[int] | int, keepdim: bool = True) -> Val:
        return self.g.reduce("sum", self, axes, keepdim)

    def max(self, axes: Sequence[int] | int, keepdim: bool = True) -> Val:
        return self.g.reduce("max", self, axes, keepdim)

    def reshape(self, *shape: int) -> Val:
        return self.g.reshape(self, shape)

    def permute(self, *order: int) -> Val:
        return self.g.permute(self, order)

    def expand(self, *shape: int) -> Val:
        return self.g.expand(self, shape)


class Graph:
    """Makes values; equal ones are made once."""

    def __init__(self) -> None:
        self.vals: list[Val] = []
        self._known: dict[tuple, Val] = {}
        self._unique = 0
        self.entry = -1  # the tape entry whose operator is being expanded
        self.origins: dict[int, int] = {}  # what can fail -> entry of the operator it belongs to

    def make(self, op: str, d: dtype, shape: Sequence[int], srcs: tuple[Val, ...] = (),
             arg: Any = None, share: bool = True) -> Val:  # fmt: skip
        """A value, the known one if an equal one was made before."""
        shape = tuple(shape)
        if 0 in shape and srcs and op in _NOTHING and srcs[0].op != "const":
            return self.expand(self.make("const", d, (1,) * len(shape), (), _zero(d)), shape)
        key: tuple | None = None
        if share:
            # the type of a constant matters: 1, 1.0 and True are equal keys in Python
            key = (op, d, shape, tuple([s.id for s in srcs]), arg, type(arg))
            if op == "const" and isinstance(arg, (float, complex)):
                key = (*key, repr(arg))  # -0.0 equals 0.0
            found = self._known.get(key)
            if found is not None:
                return found
        v = Val()
        v.g, v.op, v.dtype, v.shape, v.srcs, v.arg = self, op, d, shape, srcs, arg
        v.id = len(self.vals)
        self.vals.append(v)
        if key is not None:
            self._known[key] = v
        return v

    # leaves

    def buffer(self, slot: int, d: dtype, shape: Sequence[int]) -> Val:
        """A contiguous input."""
        return self.make("buffer", d, shape, (), slot)

    def const(self, value: Any, d: dtype, shape: Sequence[int] = ()) -> Val:
        """A number, in any shape."""
        value = bool(value) if d.kind == "b" else value
        if d.kind == "f":
            value = float(value)
        elif d.kind in "iu":
            value = int(value)
        elif d.kind == "c":
            value = complex(value)
        return self.expand(self.make("const", d, (), (), value), shape)

    def scalar(self, slot: int, d: dtype, floating: bool) -> Val:
        """A number that is an argument of the plan; `floating` says how its slot is filled."""
        return self.make("scalar", d, (), (), (slot, floating))

    def iota(self, shape: Sequence[int], axis: int) -> Val:
        """int64 index along an axis."""
        shape = tuple(shape)
        line = tuple(n if i == axis else 1 for i, n in enumerate(shape))
        return self.expand(self.make("iota", dt.int64, line, (), axis), shape)

    # elementwise

    def _operand(self, x: Any, like: Val) -> Val:
        return x if isinstance(x, Val) else self.const(x, like.dtype)

    def unary(self, name: str, x: Val) -> Val:
        if x.dtype.kind == "c":
            parted = complexes.apply(self, name, x)
            if parted is not None:
                return parted
        d = dt.bool_ if name in TO_BOOL else x.dtype.to_real() if name == "abs" else x.dtype
        return self.make(name, d, x.shape, (x,))

    def binary(self, name: str, a: Any, b: Any) -> Val:
        like = a if isinstance(a, Val) else b
        a, b = self._operand(a, like), self._operand(b, like)
        if a.dtype is not b.dtype:
            raise TypeError(f"{name} of {a.dtype.name} and {b.dtype.name}: cast them first")
        if a.dtype.kind == "c":
            parted = complexes.apply(self, name, a, b)
            if parted is not None:
                return parted
        shape = broadcast_shapes(a.shape, b.shape)
        d = dt.bool_ if name in TO_BOOL else a.dtype
        if name == "add" and a.shape == b.shape:
            joined = self._side_by_side(a, b)
            if joined is not None:
                return joined
        return self.make(name, d, shape, (self.expand(a, shape), self.expand(b, shape)))

    def _side_by_side(self, a: Val, b: Val) -> Val | None:
        """Slices' gradients, each padded with zeros, as one `cat`, where they fit together: three that
        are the whole tensor (queries, keys and values), and from four on any.

        Added up they would be one kernel for every number of slices, and a quadratic one, which looks
        at each element for the slice that it is in.
        """
        left, right = _pieces(a), _pieces(b)
        pieces = [*left, *right]
        if not left or not right:
            return None
        axis = pieces[0][0]
        if len(pieces) < 4 and all(src.op != "cat" for _, _, src in pieces):
            covered = sum(src.shape[axis] for _, _, src in pieces)
            if len(pieces) < 3 or covered < a.shape[axis]:
                return None
        pieces.sort(key=lambda p: p[1])
        fit = all(p[1] + p[2].shape[axis] == q[1] for p, q in itertools.pairwise(pieces))
        if not fit or any(p[0] != axis for p in pieces):
            return None
        parts: list[Val] = []
        for _, _, src in pieces:
            parts += src.srcs if src.op == "cat" and src.arg == axis else (src,)
        whole = self.cat(parts, axis)
        lo, hi = [0] * a.ndim, [0] * a.ndim
        lo[axis] = pieces[0][1]
        hi[axis] = a.shape[axis] - lo[axis] - whole.shape[axis]
        return self.pad(whole, lo, hi)

    def where(self, c: Val, a: Any, b: Any) -> Val:
        """a where c holds, else b."""
        like = a if isinstance(a, Val) else b
        a, b = self._operand(a, like), self._operand(b, like)
        if a.dtype.name in complexes.PARTED:
            return complexes.where(self, c, a, b)
        shape = broadcast_shapes(c.shape, a.shape, b.shape)
        c, a, b = (self.expand(v, shape) for v in (c, a, b))
        return self.make("where", a.dtype, shape, (c, a, b))

    def fma(self, a: Val, b: Val, c: Val) -> Val:
        """a * b + c of one float dtype, rounded once where the machine can."""
        shape = broadcast_shapes(a.shape, b.shape, c.shape)
        a, b, c = (self.expand(v, shape) for v in (a, b, c))
        return self.make("fma", a.dtype, shape, (a, b, c))

    def cast(self, x: Val, d: dtype) -> Val:
        """Values converted to another type."""
        if x.dtype is d:
            return x
        if x.op == "const":
            folded = self._cast_const(x, d)
            if folded is not None:
                return folded
        if x.op == "scalar" and (x.dtype.kind == "c" or d.kind != "c"):
            return self.make("scalar", d, (), (), x.arg)
        if x.op == "expand":
            return self.expand(self.cast(x.srcs[0], d), x.shape)
        names = {v.name for v in (x.dtype, d) if v.kind == "c"}
        if names and names <= complexes.PARTED:
            return complexes.cast(self, x, d)
        return self.make("cast", d, x.shape, (x,))

    def parts(self, x: Val) -> tuple[Val, Val]:
        """Real and imaginary part of a complex value."""
        return complexes.parts(self, x)

    def complex(self, re: Val, im: Val) -> Val:
        """The complex value of two parts of one real type."""
        return complexes.joined(self, re, im)

    def _cast_const(self, x: Val, d: dtype) -> Val | None:
        value = x.arg
        if isinstance(value, complex) and d.kind != "c":
            return None
        if d.kind in "iu":
            if not math.isfinite(value):
                return None
            limits = dt.iinfo(d)
            if not limits.min <= int(value) <= limits.max:
                return None
        return self.const(value, d)

    def bitcast(self, x: Val, d: dtype, shape: Sequence[int]) -> Val:
        """The same bytes seen as another type; contiguous."""
        return self.make("bitcast", d, shape, (x,))

    # views: they never copy by themselves

    def reshape(self, x: Val, shape: Sequence[int]) -> Val:
        shape = tuple(shape)
        if shape == x.shape:
            return x
        if x.op == "reshape":
            return self.reshape(x.srcs[0], shape)
        if x.op == "expand" and x.srcs[0].numel == 1:
            return self.expand(self.reshape(x.srcs[0], ()), shape)
        return self.make("reshape", x.dtype, shape, (x,))

    def permute(self, x: Val, order: Sequence[int]) -> Val:
        order = tuple(order)
        if order == tuple(range(len(order))):
            return x
        if x.op == "permute":
            return self.permute(x.srcs[0], [x.arg[i] for i in order])
        return self.make("permute", x.dtype, [x.shape[i] for i in order], (x,), order)

    def expand(self, x: Val, shape: Sequence[int]) -> Val:
        shape = tuple(shape)
        if shape == x.shape:
            return x
        if x.op == "expand":
            return self.expand(x.srcs[0], shape)
        if len(shape) > len(x.shape):
            x = self.reshape(x, (1,) * (len(shape) - len(x.shape)) + x.shape)
            return self.expand(x, shape)
        return self.make("expand", x.dtype, shape, (x,))

    def slice(
        self, x: Val, starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int]
    ) -> Val:
        """x[start : : step] with `size` elements per axis; steps may be negative."""
        starts, sizes, steps = tuple(starts), tuple(sizes), tuple(steps)
        if sizes == x.shape and all(s == 1 or n <= 1 for s, n in zip(steps, sizes, strict=True)):
            return x
        return self.make("slice", x.dtype, sizes, (x,), (starts, steps))

    def flip(self, x: Val, axes: Sequence[int]) -> Val:
        """Reversed along axes."""
        starts = [n - 1 if i in axes else 0 for i, n in enumerate(x.shape)]
        steps = [-1 if i in axes else 1 for i in range(x.ndim)]
        return self.make("slice", x.dtype, x.shape, (x,), (tuple(starts), tuple(steps)))

    def as_strided(
        self, x: Val, shape: Sequence[int], strides: Sequence[int], offset: int = 0
    ) -> Val:
        """Any strided view of x's elements in row-major order."""
        if x.op == "buffer_at" and not _same_strides(
            x.shape, x.arg[0], contiguous_strides(x.shape)
        ):
            x = self.make("copy", x.dtype, x.shape, (x,))  # it lies in another order
        return self.make("as_strided", x.dtype, shape, (x,), (tuple(strides), offset))

    def pad(self, x: Val, lo: Sequence[int], hi: Sequence[int], value: Any = 0) -> Val:
        """x surrounded by a constant."""
        lo, hi = tuple(lo), tuple(hi)
        if not any(lo) and not any(hi):
            return x
        shape = [a + n + b for a, n, b in zip(lo, x.shape, hi, strict=True)]
        fill = self.const(value, x.dtype)
        return self.make("pad", x.dtype, shape, (x, fill), (lo, hi))

    def cat(self, xs: Sequence[Val], axis: int) -> Val:
        """Values joined along an axis."""
        xs = [x for x in xs if x.shape[axis]] or list(xs[:1])
        if len(xs) == 1:
            return xs[0]
        shape = list(xs[0].shape)
        shape[axis] = sum(x.shape[axis] for x in xs)
        return self.make("cat", xs[0].dtype, shape, tuple(xs), axis)

    def boxes(self, parts: Sequence[tuple[tuple[int, ...], Val]], shape: Sequence[int]) -> Val:
        """Parts, each with the position of its first element, that together fill a shape."""
        if 0 in shape:
            return self.const(0, parts[0][1].dtype, shape)
        parts = [(start, x) for start, x in parts if x.numel]
        starts, xs = tuple(start for start, _ in parts), tuple(x for _, x in parts)
        return self.make("boxes", xs[0].dtype, shape, xs, starts)

    # reductions and scans

    def reduce(self, kind: str, x: Val, axes: Sequence[int] | int, keepdim: bool = True) -> Val:
        """Along axes; argmax/argmin give the int64 row-major index over the reduced axes."""
        axes = (axes,) if isinstance(axes, int) else tuple(axes)
        axes = tuple(sorted(a % max(x.ndim, 1) for a in axes))
        if x.ndim == 0:
            axes = ()
        if len(axes) > 3 and not kind.startswith("arg"):  # kernels have three inner dims at most
            part = self.reduce(kind, self.reduce(kind, x, axes[3:]), axes[:3])
            return (
                part
                if keepdim
                else self.reshape(part, tuple(n for i, n in enumerate(x.shape) if i not in axes))
            )
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        kept = tuple(n for i, n in enumerate(shape) if i not in axes)
        d = {"argmax": dt.int64, "argmin": dt.int64, "any": dt.bool_, "all": dt.bool_}.get(
            kind, x.dtype
        )
        if kind in ("any", "all"):
            x = self.cast(x, dt.bool_)
        if kind == "sum" and x.dtype.name in complexes.PARTED:
            return self.complex(*[self.reduce(kind, p, axes, keepdim) for p in self.parts(x)])
        if kind == "prod" and x.dtype.name in complexes.PARTED and x.numel:
            out = complexes.product(self, x, axes)
            return out if keepdim else self.reshape(out, kept)
        axes = tuple(a for a in axes if x.shape[a] != 1)  # along one element nothing is done
        if kind == "row_sum" and math.prod(x.shape[a] for a in axes) >= LONG_ROW:
            kind = "sum"
        if axes:
            out = self._staged(kind, x, axes)
            if out is None:
                out = self.make("reduce", d, shape, (x,), (kind, axes))
        else:
            out = self.const(0, d, shape) if kind.startswith("arg") else x
        if keepdim:
            return out
        return self.reshape(out, kept)

    def _staged(self, kind: str, x: Val, axes: tuple[int, ...]) -> Val | None:
        """A long reduction to few results in two stages, cut by shape, so that it can be shared out."""
        if kind.startswith("arg") or not axes:
            return None
        length = math.prod(x.shape[a] for a in axes)
        rows = x.numel // max(length, 1)
        # a row that stays in the second cache is better gone through again in one kernel
        if length < LONG_ROW or rows >= (16 if length <= 65536 else 64):
            return None
        last = axes[-1] if x.shape[axes[-1]] >= LONG_AXIS else max(axes, key=x.shape.__getitem__)
        if len(axes) > 1 and length // x.shape[axes[0]] >= 64 and x.shape[axes[0]] > 1:
            return self.reduce(kind, self.reduce(kind, x, axes[1:]), axes[:1])
        n = x.shape[last]
        if n < LONG_AXIS:
            return None
        part = _divisor(n)
        if part is None:
            main = n // 1024 * 1024
            ones = [1] * x.ndim
            cut = [main if i == last else k for i, k in enumerate(x.shape)]
            rest = [n - main if i == last else k for i, k in enumerate(x.shape)]
            start = [main if i == last else 0 for i in range(x.ndim)]
            a = self.reduce(kind, self.slice(x, [0] * x.ndim, cut, ones), axes)
            b = self.reduce(kind, self.slice(x, start, rest, ones), axes)
            joined = {
                "sum": "add",
                "prod": "mul",
                "max": "maximum",
                "min": "minimum",
                "any": "or",
                "all": "and",
            }[kind]
            return self.binary(joined, a, b)
        wide = self.reshape(x, (*x.shape[:last], n // part, part, *x.shape[last + 1 :]))
        first = self.reduce(kind, wide, last + 1)
        rest_axes = tuple(a if a <= last else a + 1 for a in axes)
        out = self.reduce(kind, first, rest_axes)
        return self.reshape(out, tuple(1 if i in axes else k for i, k in enumerate(x.shape)))

    def mean(self, x: Val, axes: Sequence[int] | int, keepdim: bool = True) -> Val:
        axes = (axes,) if isinstance(axes, int) else tuple(axes)
        n = math.prod(x.shape[a] for a in axes) if x.ndim else 1
        return self.reduce("sum", x, axes, keepdim) / n

    def scan(self, kind: str, x: Val, axis: int) -> Val:
        """Running sum, prod, max, min (also argmax/argmin: the index of the running extreme)."""
        d = dt.int64 if kind.startswith("arg") else x.dtype
        return self.make("scan", d, x.shape, (x,), (kind, axis))

    # indexing; `tag` is what a bad index is reported as (None: indices are known to be good)

    def check(self, index: Val, size: int, tag: Any, wrap: bool = True) -> Val:
        """int64 indices, negative ones counted from the end if `wrap`; one out of range is
        reported with `tag`, at the place where the operator was recorded."""
        if index.op == "iota" and index.shape and index.shape[index.arg] <= size:
            return index
        v = self.make("check", dt.int64, index.shape, (index,), (size, tag, wrap))
        self.origins.setdefault(v.id, self.entry)
        return v

    def take(self, x: Val, index: Val, axis: int, tag: Any = None) -> Val:
        """Slices of x along an axis: out[a, idx..., b] = x[a, index[idx...], b]."""
        shape = x.shape[:axis] + index.shape + x.shape[axis + 1 :]
        return self.make("take", x.dtype, shape, (x, index), (axis, tag))

    def gather(self, x: Val, index: Val, axis: int, tag: Any = None) -> Val:
        """out[.., i, ..] = x[.., index[.., i, ..], ..]; index has x's number of dims."""
        return self.make("gather", x.dtype, index.shape, (x, index), (axis, tag))

    def put(self, x: Val, index: Val, src: Val, axis: int, mode: str, tag: Any = None) -> Val:
        """The converse of `take`: x with src written ('set') or combined ('add', 'mul', 'max',
        'min') at the slices that index names, in index order."""
        return self.make("put", x.dtype, x.shape, (x, index, src), (axis, mode, tag))

    def scatter(self, x: Val, index: Val, src: Val, axis: int, mode: str, tag: Any = None) -> Val:
        """The converse of `gather`."""
        return self.make("scatter", x.dtype, x.shape, (x, index, src), (axis, mode, tag))

    def write(
        self, old: Val, new: Val, shape: Sequence[int], strides: Sequence[int], offset: int
    ) -> Val:
        """old with the elements of one of its strided views replaced."""
        return self.make(
            "write", old.dtype, old.shape, (old, new), (tuple(shape), tuple(strides), offset)
        )

    # the heavy ones

    def matmul(self, a: Val, b: Val) -> Val:
        """(..., m, k) @ (..., k, n) with equal or broadcasting leading dims.

        Operands that were widened from a 16-bit type are read as they were before.
        """
        d = a.dtype
        narrow = self._unwidened(a), self._unwidened(b)
        if narrow[0] and narrow[1] and narrow[0].dtype is narrow[1].dtype:
            a, b = narrow  # type: ignore[assignment]
        lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a = self.expand(a, lead + a.shape[-2:])
        b = self.expand(b, lead + b.shape[-2:])
        return self.make("matmul", d, (*lead, a.shape[-2], b.shape[-1]), (a, b))

    def _unwidened(self, v: Val) -> Val | None:
        """A view of 16-bit floats that v is the float32 value of."""
        if (
            v.op == "cast"
            and v.dtype is dt.float32
            and v.srcs[0].dtype in (dt.float16, dt.bfloat16)
        ):
            return v.srcs[0]
        if v.op not in ("reshape", "permute", "expand"):
            return None
        src = self._unwidened(v.srcs[0])
        return None if src is None else self.make(v.op, src.dtype, v.shape, (src,), v.arg)

    def template(self, name: str, outs: Sequence[tuple[dtype, tuple[int, ...]]],
                 srcs: Sequence[Val], arg: Any = None) -> list[Val]:  # fmt: skip
        """A kernel with a generator of its own (convolution, pooling, attention, sort, ...)."""
        whole = self.make(
            "template:" + name, outs[0][0], outs[0][1], tuple(srcs), (tuple(outs), arg)
        )
        return [self.make("out", d, s, (whole,), i) for i, (d, s) in enumerate(outs)]

    def host(self, fn: Callable, outs: Sequence[tuple[dtype, tuple[int, ...]]],
             srcs: Sequence[Val], arg: Any = None) -> list[Val]:  # fmt: skip
        """A Python function on NumPy arrays: fn(*arrays, *arg) -> array(s) of the given types."""
        whole = self.make("host", outs[0][0], outs[0][1], tuple(srcs), (fn, tuple(outs), arg))
        self.origins.setdefault(whole.id, self.entry)
        return [self.make("out", d, s, (whole,), i) for i, (d, s) in enumerate(outs)]

    def view_of(self, x: Val, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Val:
        """A strided view of x's row-major elements, written with simple views where it can be."""
        if (
            offset == 0
            and shape == x.shape
            and _same_strides(shape, strides, contiguous_strides(x.shape))
        ):
            return x
        if x.op == "bitcast" and x.srcs[0].dtype.name in complexes.PARTED and x.dtype.kind == "f":
            z, steps = x.srcs[0], [s for s, n in zip(strides, shape, strict=True) if n > 1]
            if x.numel == 2 * z.numel and not any(s % 2 for s in steps):  # every second: one part
                half = tuple(s // 2 for s in strides)
                return self.parts(self.view_of(z, shape, half, offset // 2))[offset % 2]
        simple = _simple_view(self, x, shape, strides, offset)
        return self.as_strided(x, shape, strides, offset) if simple is None else simple


def _pieces(v: Val) -> list[tuple[int, int, Val]]:
    """(axis, start, part) of a sum of a few parts that are padded with zeros along one axis, or none."""
    if v.op == "add":
        a, b = (
            _pieces(s) if s.op == "pad" or (s.op == "add" and s.srcs[1].op == "pad") else []
            for s in v.srcs
        )
        return [*a, *b] if a and b and len(a) + len(b) < 4 else []
    if v.op != "pad" or v.srcs[1].op != "const" or v.srcs[1].arg != 0:
        return []
    padded = [d for d, (lo, hi) in enumerate(zip(*v.arg, strict=True)) if lo or hi]
    return [(padded[0], v.arg[0][padded[0]], v.srcs[0])] if len(padded) == 1 else []


def _divisor(n: int) -> int | None:
    """A divisor of n that makes good parts of a long reduction."""
    for part in (4096, 2048, 1024, 8192, 512, 3072, 6144, 768, 1000, 2000, 5000, 625, 1250, 2500):
        if n % part == 0 and n // part > 1:
            return part
    return next((d for d in range(2048, 500, -1) if n % d == 0), None)


def _same_strides(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(n <= 1 or s == t for n, s, t in zip(shape, a, b, strict=True))


def _simple_view(
    g: Graph, x: Val, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> Val | None:
    """reshape, slice, permute and expand that make the view, if its dims nest."""
    if 0 in shape or x.numel == 0 or any(s < 0 for s in strides):
        return None
    dims = [i for i, (n, s) in enumerate(zip(shape, strides, strict=True)) if n > 1 and s > 0]
    dims.sort(key=lambda i: -strides[i])
    total, blocks, starts, steps = x.numel, [], [], []
    # walk from the largest stride: the elements are [total / s] blocks of s; take n of them
    for k, i in enumerate(dims):
        n, s = shape[i], strides[i]
        inner = strides[dims[k + 1]] * shape[dims[k + 1]] if k + 1 < len(dims) else 1
        step = 1
        # a stride that steps over whole inner blocks: slice with a step
        base = s
        nested = _block_size(x.shape, s, inner, offset)
        if nested and nested != s:
            step, base = s // nested, nested
        if total % base or inner > base:
            return None
        start = offset // base
        count = total // base
        if start + (n - 1) * step >= count:
            return None
        blocks.append((count, n))
        starts.append(start)
        steps.append(step)
        offset -= start * base
        total = base
    # what is left is one block of `total` elements of which one is taken
    v = g.reshape(x, [c for c, _ in blocks] + [total])
    if offset >= total:
        return None
    v = g.slice(v, [*starts, offset], [n for _, n in blocks] + [1], [*steps, 1])
    # now [n_0, n_1, ..., 1] in order of stride: bring into the order asked for
    order = sorted(range(len(dims)), key=lambda k: dims[k])
    v = g.reshape(v, [n for _, n in blocks])
    v = g.permute(v, order)
    kept = set(dims)
    v = g.reshape(v, [shape[i] if i in kept else 1 for i in range(len(shape))])
    return g.expand(v, shape)


def _block_size(shape: tuple[int, ...], stride: int, inner: int, offset: int) -> int:
    """The largest natural block (a stride of x's own dims) that divides `stride`."""
    best = stride
    step = 1
    for n in reversed(shape):
        if step and stride % step == 0 and step >= inner and stride < step * n:
            return step
        step *= n
    return best
