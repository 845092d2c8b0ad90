"""Layouts and memory formats: names that PyTorch programs pass around."""

from __future__ import annotations

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
    (out,) = outs
    if all(m.contiguous for m in ins):
        return outs
    order = iteration_order(ins, out)
    return outs if order == tuple(range(out.ndim)) else (in_format(out, order),)


def iteration_order(ins: tuple[Meta, ...], out: Meta) -> tuple[int, ...]:
    """The dims of a result, outermost first, as PyTorch's elementwise loops go through memory.

    The first operand in which two dims have steps decides which lies further in; `TensorIterator`.
    """
    steps = [
        [0] * (out.ndim - m.ndim)
        + [
            0 if n == 1 != whole else s
            for n, s, whole in zip(m.shape, m.strides, out.shape[out.ndim - m.ndim :])
        ]
        for m in ins
        if m.ndim <= out.ndim
    ]

    def further_out(a: int, b: int) -> int:
        for step in steps:
            if step[a] and step[b]:
                if step[a] != step[b]:
                    return 1 if step[a] > step[b] else -1
                if out.shape[a] > out.shape[b]:
                    return 1
        return 0

    order = list(reversed(range(out.ndim)))  # the innermost first
    for i in range(1, out.ndim):
        at = i
        for k in reversed(range(i)):
            found = further_out(order[k], order[at])
            if found < 0:
                break
            if found > 0:
                order[k], order[at] = order[at], order[k]
                at = k
    return tuple(reversed(order))


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


# elementwise operators keep the format of their first operand that has the result's shape
AS_OPERANDS = _as_operands
# convolutions, pooling and the like: images keep the format of those they are made from
AS_IMAGES = _as_images
# `cat` keeps a format that all have
AS_ALL = _as_all
# LAPACK works on columns: results that are matrices lie so
COLUMNS = _columns
