"""Tensors as text: the `repr` of a tensor, `set_printoptions`, and `format(tensor, spec)`.

Works on NumPy arrays, so it needs nothing from the engine; `format_tensor` is the entry.

    >>> format_tensor(np.array([1.0, 2.5], np.float32), "float32")
    'tensor([1.0000, 2.5000])'
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass
class PrintOptions:
    """What `set_printoptions` sets."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES: dict[str, dict[str, float]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}

_options = PrintOptions()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed; what is not given stays, except `sci_mode`.

    `profile` ("default", "short" or "full") is applied first.
    """
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    settings = dict(_PROFILES.get(profile, {})) if profile is not None else {}
    settings.update((name, value) for name, value in given.items() if value is not None)
    for name, value in settings.items():
        setattr(_options, name, value)
    _options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The current print options, as keyword arguments of `set_printoptions`."""
    return asdict(_options)


@contextlib.contextmanager
def printoptions(**kwargs: Any) -> Iterator[None]:
    """Print options for the length of a `with` block."""
    saved = get_printoptions()
    set_printoptions(**{"sci_mode": saved["sci_mode"]} | kwargs)
    try:
        yield
    finally:
        set_printoptions(**saved)


# -- numbers ---------------------------------------------------------------------------


@dataclass
class _NumberFormat:
    """How every number of one tensor is written: same style, same width."""

    write: Callable[[Any], str]
    width: int

    def __call__(self, value: Any) -> str:
        return self.write(value).rjust(self.width)


def _write_whole(value: float) -> str:
    """A float without a fraction: `3.`"""
    return f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"


def _number_format(values: np.ndarray) -> _NumberFormat:
    """The format in which all of `values` are shown, PyTorch's rules."""
    if values.dtype.kind != "f":
        return _NumberFormat(str, max((len(str(v)) for v in values.ravel().tolist()), default=1))
    finite = values[np.isfinite(values) & (values != 0)]
    if finite.size == 0:
        return _NumberFormat(_write_whole, 1)
    whole = bool(np.all(finite == np.ceil(finite)))
    precision = _options.precision
    write: Callable[[float], str]
    if _wants_exponent(finite, whole):
        write = f"{{:.{precision}e}}".format
    elif whole:
        write = _write_whole
    else:
        write = f"{{:.{precision}f}}".format
    return _NumberFormat(write, max(len(write(v)) for v in finite.tolist()))


def _wants_exponent(finite: np.ndarray, whole: bool) -> bool:
    if _options.sci_mode is not None:
        return bool(_options.sci_mode)
    magnitudes = np.abs(finite.astype(np.float64))
    low, high = float(magnitudes.min()), float(magnitudes.max())
    return high > 1e8 or high > 1000.0 * low or high / low > 1000.0 or (not whole and low < 1e-4)


def _complex_writer(array: np.ndarray) -> tuple[Callable[[Any], str], int]:
    """Writes complex numbers; real and imaginary parts have formats of their own."""
    real, imag = _number_format(array.real), _number_format(array.imag)

    def write(value: complex) -> str:
        second = imag(value.imag).lstrip() + "j"
        return real(value.real) + ("" if second[0] in "+-" else "+") + second

    return write, real.width + imag.width + 1


# -- layout ----------------------------------------------------------------------------


def _edges(array: np.ndarray, edge: int) -> np.ndarray:
    """The corner elements that a summary shows; widths are taken from them alone."""
    for axis, size in enumerate(array.shape):
        if size > 2 * edge:
            picked = np.r_[0:edge, size - edge : size]
            array = np.take(array, picked, axis=axis)
    return array


def _write_row(row: np.ndarray, indent: int, edge: int | None, write: Any, width: int) -> str:
    """One innermost row, broken into lines of at most `linewidth` characters."""
    if edge is not None and len(row) > 2 * edge:
        first, last = row[:edge].tolist(), row[len(row) - edge :].tolist()
        items = [*map(write, first), " ..." if edge else "...", *map(write, last)]
    else:
        items = [write(value) for value in row.tolist()]
    per_line = max(1, (_options.linewidth - indent) // (width + 2))
    lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _write_block(array: np.ndarray, indent: int, edge: int | None, write: Any, width: int) -> str:
    if array.ndim == 0:
        return write(array.item())
    if array.ndim == 1:
        return _write_row(array, indent, edge, write, width)

    def block(i: int) -> str:
        return _write_block(array[i], indent + 1, edge, write, width)

    size = len(array)
    if edge is not None and size > 2 * edge:
        parts = [*map(block, range(edge)), "...", *map(block, range(size - edge, size))]
    else:
        parts = [block(i) for i in range(size)]
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _write_array(array: np.ndarray, indent: int) -> str:
    if array.size == 0:
        return "[]"
    edge = _options.edgeitems if array.size > _options.threshold else None
    if edge == 0 and array.ndim:
        return "[...]"
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    shown = array if edge is None else _edges(array, edge)
    if array.dtype.kind == "c":
        write, width = _complex_writer(shown)
    else:
        write = _number_format(shown)
        width = write.width
    return _write_block(array, indent, edge, write, width)


def append_suffixes(text: str, suffixes: Sequence[str], indent: int) -> str:
    """`text, dtype=..., grad_fn=...)`, on a new line where the last one would get too long."""
    used = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if used + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            used = indent + len(suffix)
        else:
            text += ", " + suffix
            used += len(suffix) + 2
    return text + ")"


# -- entries ---------------------------------------------------------------------------


def format_tensor(
    array: np.ndarray | None,
    dtype: str,
    *,
    shape: Sequence[int] | None = None,
    default_dtype: str = "float32",
    device: str | None = None,
    requires_grad: bool = False,
    grad_fn: str | None = None,
    is_parameter: bool = False,
    class_name: str | None = None,
    tensor_contents: str | None = None,
    tangent: str | None = None,
) -> str:
    """The `repr` of a tensor whose values are `array`.

    array: the values, bfloat16 and float8 widened to float32; None where there are none (meta).
    dtype, default_dtype: names without a prefix ("bfloat16").
    device: shown as given; None on the default device.
    grad_fn: name of the backward node ("AddBackward0"), or None.
    class_name: set for subclasses of Tensor, whose repr begins with their own name.
    tensor_contents: text to show in place of the values.
    tangent: repr of a forward-mode tangent.
    """
    prefix = (class_name or "tensor") + "("
    shape = tuple(array.shape if array is not None else shape or ())
    is_empty = array is not None and array.size == 0
    suffixes = []
    if device is not None:
        suffixes.append(f"device='{device}'")
    if array is None or (len(shape) != 1 if is_empty else not _options.edgeitems):
        suffixes.append(f"size={shape}")
    if dtype != default_dtype and (array is None or is_empty or not _implied(dtype, default_dtype)):
        suffixes.append(f"dtype=torch.{dtype}")
    if grad_fn is not None:
        suffixes.append(f"grad_fn=<{grad_fn}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    if tangent is not None:
        suffixes.append(f"tangent={tangent}")
    if tensor_contents is None:
        tensor_contents = "..." if array is None else _write_array(array, len(prefix))
    text = append_suffixes(prefix + tensor_contents, suffixes, len(prefix))
    return "Parameter containing:\n" + text if is_parameter else text


def _implied(dtype: str, default_dtype: str) -> bool:
    """Whether values of `dtype` show their dtype by how they look."""
    complex_default = "complex128" if default_dtype == "float64" else "complex64"
    return dtype in ("int64", "bool", complex_default)
