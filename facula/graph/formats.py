"""Layouts and memory formats: names that PyTorch programs pass around."""

from __future__ import annotations

from typing import Any


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
