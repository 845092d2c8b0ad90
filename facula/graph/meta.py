"""Geometry of tensors: an interned description of dtype, shape, strides and device."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

from facula.graph.blame import wrong_type
from facula.graph.dtypes import dtype


class Size(tuple):
    """A tensor's shape; a tuple with PyTorch's name and `numel()`."""

    __slots__ = ()

    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    def __getitem__(self, i):  # type: ignore[no-untyped-def, override]
        got = tuple.__getitem__(self, i)
        return Size(got) if isinstance(i, slice) else got

    def __add__(self, other):  # type: ignore[no-untyped-def, override]
        return Size(tuple.__add__(self, tuple(other)))

    def __radd__(self, other):  # type: ignore[no-untyped-def]
        return Size(tuple(other) + tuple(self))

    def __mul__(self, n):  # type: ignore[no-untyped-def, override]
        return Size(tuple.__mul__(self, n))

    __rmul__ = __mul__

    def __reduce__(self) -> tuple:
        return Size, (tuple(self),)


def contiguous_strides(shape: Iterable[int]) -> tuple[int, ...]:
    """Row-major strides, in elements, as PyTorch computes them (sizes of 0 count as 1)."""
    return _row_major(tuple(shape))


@functools.lru_cache(4096)
def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(int(n), 1)
    return tuple(reversed(strides))


class Meta:
    """What is known of a tensor without its data. One object per geometry: compare with `is`.

    `offset` marks tensors that start inside their storage; where they start is kept in the tensor,
    so that slices at different places share one geometry.
    """

    __slots__ = (
        "contiguous",
        "device",
        "dtype",
        "leaf",
        "ndim",
        "numel",
        "offset",
        "shape",
        "strides",
    )

    contiguous: bool
    device: object
    dtype: dtype
    leaf: object  # what stands on tapes for an evaluated value of this geometry; the tape's own
    ndim: int
    numel: int
    offset: bool
    shape: Size
    strides: tuple[int, ...]

    def __repr__(self) -> str:
        kind = "" if self.contiguous else f" strides={self.strides}"
        return f"<{self.dtype.name}{list(self.shape)}{kind}{' offset' if self.offset else ''}>"

    def with_dtype(self, d: dtype) -> Meta:  # type: ignore[valid-type]
        """The contiguous geometry of this shape with another dtype."""
        return meta_of(d, self.shape, self.device)

    def plain(self) -> Meta:
        """The contiguous geometry of this shape and dtype."""
        if self.contiguous and not self.offset:
            return self
        return meta_of(self.dtype, self.shape, self.device)


class Device:
    """`torch.device`: a kind of machine and an index."""

    __slots__ = ("index", "type")
    _known: dict[tuple[str, int | None], Device] = {}
    type: str
    index: int | None

    def __new__(cls, device: object = "cpu", index: int | None = None) -> Device:
        if isinstance(device, Device):
            return device
        if isinstance(device, int):
            device, index = "cuda", device  # type: ignore[assignment]
        if not isinstance(device, str):
            raise TypeError(
                f"device(): argument 'type' (position 1) must be str, not {type(device).__name__}"
            )
        kind = device
        if ":" in device:
            kind, _, number = device.partition(":")
            if index is not None:
                raise RuntimeError(
                    f"type (string) must not include an index because index was passed explicitly: {device}"
                )
            if not number.isdigit() or (number[0] == "0" and number != "0"):
                raise RuntimeError(f"Invalid device string: '{device}'")
            index = int(number)
        if kind.isalnum() and not kind.isalpha():  # "float32" where a device was asked for
            raise RuntimeError(f"Invalid device string: '{device}'")
        if kind not in _DEVICE_TYPES:
            raise RuntimeError(
                f"Expected one of {', '.join(_DEVICE_TYPES)} device type at start of device string: {kind}"
            )
        found = cls._known.get((kind, index))
        if found is None:
            found = object.__new__(cls)
            found.type, found.index = kind, index
            cls._known[kind, index] = found
        return found

    def __repr__(self) -> str:
        if self.index is None:
            return f"device(type='{self.type}')"
        return f"device(type='{self.type}', index={self.index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __reduce__(self) -> tuple:
        return Device, (str(self),)

    def __enter__(self) -> Device:
        DEFAULT_DEVICES.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        DEFAULT_DEVICES.pop()


_DEVICE_TYPES = (
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga",
    "maia", "xla", "lazy", "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone",
)  # fmt: skip

CPU = Device("cpu")
META = Device("meta")
DEFAULT_DEVICES: list[Device] = [CPU]

_interned: dict[tuple, Meta] = {}


def meta(d: dtype, shape: Iterable[int], strides: tuple[int, ...], device: object = CPU,
         offset: bool = False) -> Meta:  # fmt: skip
    """The interned geometry."""
    shape = tuple(shape)
    key = (d, shape, strides, device, offset)
    found = _interned.get(key)
    if found is None:
        if len(_interned) > 200_000:
            _interned.clear()
        found = Meta()
        found.dtype, found.device, found.offset, found.leaf = d, device, offset, None
        found.shape = Size(shape)
        found.strides = strides
        found.ndim = len(shape)
        found.numel = math.prod(shape)
        found.contiguous = is_contiguous(shape, strides)
        _interned[key] = found
    return found


_plain: dict[tuple, Meta] = {}


def meta_of(d: dtype, shape: Iterable[int], device: object = CPU) -> Meta:
    """The interned contiguous geometry."""
    key = (d, tuple(shape), device)
    found = _plain.get(key)
    if found is None:
        if not isinstance(d, dtype):
            raise wrong_type(d, "torch.dtype")
        if math.prod(key[1]) * d.itemsize >= 1 << 63:
            raise RuntimeError(f"Storage size calculation overflowed with sizes={list(key[1])}")
        if len(_plain) > 200_000:
            _plain.clear()
        found = _plain[key] = meta(d, key[1], contiguous_strides(key[1]), device)
    return found


def is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether elements lie in row-major order without gaps (dims of size 1 don't count)."""
    if 0 in shape:
        return True
    expected = 1
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1:
            if s != expected:
                return False
            expected *= n
    return True


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's broadcasting; RuntimeError with PyTorch's words where it fails."""
    ndim = max((len(s) for s in shapes), default=0)
    out = [1] * ndim
    for shape in shapes:
        for i, n in zip(range(ndim - 1, -1, -1), reversed(shape), strict=False):
            if n != 1:
                if out[i] != 1 and out[i] != n:
                    raise RuntimeError(
                        f"The size of tensor a ({out[i]}) must match the size of tensor b ({n}) at "
                        f"non-singleton dimension {i}"
                    )
                out[i] = n
    return tuple(out)


def wrap_dim(dim: int, ndim: int) -> int:
    """A non-negative dim; IndexError with PyTorch's words where it is out of range."""
    n = max(ndim, 1)
    try:
        inside = -n <= dim < n
    except TypeError:
        raise wrong_type(dim, "int") from None
    if not inside:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})"
        )
    return dim % n


def view_strides(
    shape: tuple[int, ...], strides: tuple[int, ...], new: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Strides that show the same elements in another shape, or None where it takes a copy."""
    if 0 in shape:
        return contiguous_strides(new)
    merged: list[list[int]] = []  # runs of dims that can be walked with one stride: [size, stride]
    for n, s in zip(shape, strides, strict=True):
        if n == 1:
            continue
        if merged and merged[-1][1] == n * s:
            merged[-1][0] *= n
            merged[-1][1] = s
        else:
            merged.append([n, s])
    out: list[int] = []
    blocks = [list(m) for m in reversed(merged)]
    for n in reversed(new):
        if n == 1:
            out.append(blocks[0][1] if blocks else 1)
            continue
        if not blocks or blocks[0][0] % n:
            return None
        out.append(blocks[0][1])
        blocks[0][0] //= n
        blocks[0][1] *= n
        if blocks[0][0] == 1:
            blocks.pop(0)
    result = tuple(reversed(out))
    return contiguous_strides(new) if is_contiguous(tuple(new), result) else result
