"""Layouts and memory formats: names that PyTorch programs pass around."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facula.graph.meta import Meta, contiguous_strides, meta


class layout:  # PyTorch's name
    """How elements are stored; only `strided` is."""

    __slots__ = ("name",)

    name: str

    def __new__(cls) -> layout:
        raise TypeError("cannot create 'torch.layout' instances")

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple:
        return _layout, (self.name,)


class memory_format:  # PyTorch's name
    """An order of dims in memory."""

    __slots__ = ("name", "order")

    name: str
    order: tuple[int, ...] | None

    def __new__(cls) -> memory_format:
        raise TypeError("cannot create 'torch.memory_format' instances")

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple:
        return _format, (self.name,)

    def matches(self, meta: Any) -> bool:
        """Whether a geometry lies in this order without gaps."""
        if self.order is None:
            return bool(meta.contiguous)
        if meta.ndim != len(self.order):
            return False
        step = 1
        for d in reversed(self.order):
            n = meta.shape[d]
            if n != 1 and meta.strides[d] != step:
                return False
            step *= n
        return True


def _new_layout(name: str) -> layout:
    made: layout = object.__new__(layout)
    made.name = name
    return made


def _new_format(name: str, order: tuple[int, ...] | None = None) -> memory_format:
    made: memory_format = object.__new__(memory_format)
    made.name, made.order = name, order
    return made


LAYOUTS = {
    n: _new_layout(n)
    for n in (
        "strided",
        "sparse_coo",
        "sparse_csr",
        "sparse_csc",
        "sparse_bsr",
        "sparse_bsc",
        "jagged",
        "_mkldnn",
    )
}
FORMATS = {
    "contiguous_format": _new_format("contiguous_format"),
    "preserve_format": _new_format("preserve_format"),
    "channels_last": _new_format("channels_last", (0, 2, 3, 1)),
    "channels_last_3d": _new_format("channels_last_3d", (0, 2, 3, 4, 1)),
}


def _layout(name: str) -> layout:
    return LAYOUTS[name]


def _format(name: str) -> memory_format:
    return FORMATS[name]


def in_format(m: Meta, order: tuple[int, ...]) -> Meta:
    """The geometry of m's shape and dtype whose dims lie in memory in this order."""
    inner = contiguous_strides([m.shape[d] for d in order])
    strides = tuple([inner[order.index(d)] for d in range(m.ndim)])
    return meta(m.dtype, m.shape, strides, m.device)


_LAST = {len(f.order): f for f in FORMATS.values() if f.order is not None}


def channels_last(m: Meta) -> memory_format | None:
    """The format of a geometry whose channels lie innermost, and that is not row-major as well."""
    if m.contiguous:
        return None
    found = _LAST.get(m.ndim)
    return found if found is not None and found.matches(m) else None


def _as_operands(ins: tuple[Meta, ...], outs: tuple[Meta, ...], params: tuple) -> tuple[Meta, ...]:
    if all(m.strides == contiguous_strides(m.shape) for m in ins):
        return outs
    return tuple([as_iterated(ins, out) for out in outs])


def as_iterated(ins: Sequence[Meta], out: Meta) -> Meta:
    """A geometry of out's shape in the order that PyTorch's elementwise loops walk operands in.

    That is the first operand's order; another one decides on dims where those before it have no
    say, being broadcast there.
    """
    ndim, shape = out.ndim, out.shape
    all_strides = []
    for m in ins:
        lead = ndim - m.ndim
        steps = [0 if n == 1 != shape[lead + d] else s
                 for d, (n, s) in enumerate(zip(m.shape, m.strides, strict=True))]  # fmt: skip
        all_strides.append([0] * lead + steps)
    order = list(range(ndim))  # from the outermost
    for i in range(ndim - 2, -1, -1):  # an insertion into what is sorted behind
        at = i
        for k in range(i + 1, ndim):
            verdict = _lies_inside(order[at], order[k], all_strides, shape)
            if verdict < 0:
                break
            if verdict > 0:
                order[at], order[k] = order[k], order[at]
                at = k
    made = in_format(out, tuple(order))
    return out if made.contiguous else made


def _lies_inside(a: int, b: int, all_strides: Sequence[Sequence[int]], shape: Sequence[int]) -> int:
    """1 where dim a has to lie inside of dim b, -1 where not, 0 where no operand says."""
    for strides in all_strides:
        sa, sb = strides[a], strides[b]
        if sa and sb:
            if sa != sb:
                return 1 if sa < sb else -1
            if shape[b] > shape[a]:
                return 1
    return 0


def _as_images(ins: tuple[Meta, ...], outs: tuple[Meta, ...], params: tuple) -> tuple[Meta, ...]:
    found = channels_last(ins[0])
    if found is None and len(ins) > 1:  # a convolution's weight
        found = channels_last(ins[1])
    if found is None or found.order is None:
        return outs
    n = len(found.order)
    return tuple([in_format(m, found.order) if m.ndim == n else m for m in outs])


def _as_all(ins: tuple[Meta, ...], outs: tuple[Meta, ...], params: tuple) -> tuple[Meta, ...]:
    found = channels_last(ins[0])
    if found is None or found.order is None or any(channels_last(m) is not found for m in ins):
        return outs
    return (in_format(outs[0], found.order),)


def _columns(ins: tuple[Meta, ...], outs: tuple[Meta, ...], params: tuple) -> tuple[Meta, ...]:
    return tuple([as_columns(m) if m.ndim > 1 and m.ndim >= ins[0].ndim else m for m in outs])


def as_columns(m: Meta) -> Meta:
    """The geometry of matrices that lie in memory column by column."""
    return in_format(m, (*range(m.ndim - 2), m.ndim - 1, m.ndim - 2))


# elementwise operators keep the order of their operands
AS_OPERANDS = _as_operands
# convolutions, pooling and the like: images keep the format of those they are made from
AS_IMAGES = _as_images
# `cat` keeps a format that all have
AS_ALL = _as_all
# LAPACK works on columns: results that are matrices lie so
COLUMNS = _columns
