"""`assert_close`: tensors, numbers and containers of them, compared within tolerances."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import facula as torch

_TOLERANCES = {
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
    "complex32": (1e-3, 1e-5), "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7),
}  # fmt: skip


def default_tolerances(*dtypes: Any) -> tuple[float, float]:
    """(rtol, atol) for dtypes: the widest."""
    found = [_TOLERANCES.get(str(d).rpartition(".")[2], (0.0, 0.0)) for d in dtypes]
    return max(r for r, _ in found), max(a for _, a in found)


def _fail(text: str, place: str, msg: Any) -> None:
    text = text if not place else f"{text}\n\nThe failure occurred for item {place}"
    if callable(msg):
        text = msg(text)
    elif msg is not None:
        text = msg
    raise AssertionError(text)


def assert_close(actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None,
                 atol: float | None = None, equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True,
                 check_layout: bool = True, check_stride: bool = False, msg: str | Callable | None = None) -> None:  # fmt: skip
    """AssertionError unless |actual - expected| <= atol + rtol * |expected| everywhere, shapes and dtypes equal."""
    if (rtol is None) != (atol is None):
        missing = "rtol" if rtol is None else "atol"
        raise ValueError(
            f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {missing}."
        )
    options = (
        rtol,
        atol,
        equal_nan,
        check_device,
        check_dtype,
        check_stride,
        msg,
        allow_subclasses,
    )
    _compare(actual, expected, "", options)


def _compare(a: Any, b: Any, place: str, options: tuple) -> None:
    msg = options[6]
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if set(a) != set(b):
            _fail(
                f"The keys of the mappings do not match:\nMissing keys in the actual mapping: {sorted(set(b) - set(a))}\nAdditional keys in the actual mapping: {sorted(set(a) - set(b))}",
                place,
                msg,
            )
        for key in a:
            _compare(a[key], b[key], f"{place}[{key!r}]", options)
        return
    plain = (str, bytes, torch.Tensor, np.ndarray)
    if (
        isinstance(a, Sequence)
        and isinstance(b, Sequence)
        and not isinstance(a, plain)
        and not isinstance(b, plain)
    ):
        if len(a) != len(b):
            _fail(f"The length of the sequences mismatch: {len(a)} != {len(b)}", place, msg)
        for i, (x, y) in enumerate(zip(a, b)):
            _compare(x, y, f"{place}[{i}]", options)
        return
    if a is None or b is None:
        if a is not b:
            _fail(f"None mismatch: {a!r} is not {b!r}", place, msg)
        return
    numbers = isinstance(a, (bool, int, float, complex)) and isinstance(
        b, (bool, int, float, complex)
    )
    if (
        numbers
        and type(a) is not type(b)
        and options[4]
        and not {type(a), type(b)} <= {int, float, complex}
    ):
        _fail(f"The (d)types do not match: {type(a)} != {type(b)}.", place, msg)
    if not numbers and type(a) is not type(b) and not (isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)) and not (
            hasattr(a, "__array__") and hasattr(b, "__array__")):  # fmt: skip
        raise TypeError(
            f"No comparison pair was able to handle inputs of type {type(a)} and {type(b)}."
        )
    if isinstance(a, bool) and isinstance(b, bool):
        if a is not b:
            _fail(f"Booleans mismatch: {a} is not {b}", place, msg)
        return
    _compare_tensors(
        _tensor(a), _tensor(b), place, options, "Scalars" if numbers else "Tensor-likes"
    )


def _tensor(x: Any) -> Any:
    try:
        if isinstance(x, (float, complex)):  # Python's numbers have double precision
            return torch.tensor(
                x, dtype=torch.float64 if isinstance(x, float) else torch.complex128
            )
        return x if isinstance(x, torch.Tensor) else torch.as_tensor(x)
    except (TypeError, RuntimeError, ValueError):
        raise TypeError(
            f"No comparison pair was able to handle inputs of type {type(x)} and {type(x)}."
        ) from None


def _compare_tensors(a: Any, b: Any, place: str, options: tuple, what: str) -> None:
    rtol, atol, equal_nan, check_device, check_dtype, check_stride, msg, _ = options
    if a.shape != b.shape:
        _fail(f"The values for attribute 'shape' do not match: {a.shape} != {b.shape}.", place, msg)
    if check_device and a.device != b.device:
        _fail(
            f"The values for attribute 'device' do not match: {a.device} != {b.device}.", place, msg
        )
    if check_dtype and a.dtype != b.dtype and what != "Scalars":
        _fail(f"The values for attribute 'dtype' do not match: {a.dtype} != {b.dtype}.", place, msg)
    if check_stride and a.stride() != b.stride():
        _fail(
            f"The values for attribute 'stride()' do not match: {a.stride()} != {b.stride()}.",
            place,
            msg,
        )
    if a.is_meta or b.is_meta:  # no values to compare
        return
    if rtol is None:
        rtol, atol = default_tolerances(a.dtype, b.dtype)
    common = torch.promote_types(a.dtype, b.dtype)
    x, y = (t.detach().to(common) for t in (a, b))
    close = torch.isclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan)
    if bool(close.all()):
        return
    _fail(_difference(x, y, close, rtol, atol, what), place, msg)


def _difference(x: Any, y: Any, close: Any, rtol: float, atol: float, what: str) -> str:
    whole = not (x.is_floating_point() or x.is_complex())
    p, q = (t.to(torch.int64) if whole else t for t in (x, y))
    gap = torch.where(close, torch.zeros_like(p - q).abs(), (p - q).abs())
    share = torch.where(close, torch.zeros_like(gap / q.abs()), gap / q.abs())
    if what == "Scalars" or not x.dim():
        kind = "Scalars"
        if rtol == 0 and atol == 0:
            return f"{kind} are not equal!\n\nExpected {y.item()} but got {x.item()}.\nAbsolute difference: {gap.item()}\nRelative difference: {share.item()}"
        return (f"{kind} are not close!\n\nExpected {y.item()} but got {x.item()}.\nAbsolute difference: {gap.item()} (up to {atol} allowed)\n"
                f"Relative difference: {share.item()} (up to {rtol} allowed)")  # fmt: skip
    wrong, total = int((~close).sum()), close.numel()
    word = "equal" if rtol == 0 and atol == 0 else "close"
    lines = [
        f"{what} are not {word}!",
        "",
        f"Mismatched elements: {wrong} / {total} ({wrong / total:.1%})",
    ]
    for name, values, limit in (("absolute", gap, atol), ("relative", share, rtol)):
        at = int(values.reshape(-1).argmax())
        where = tuple(int(i) for i in np.unravel_index(at, tuple(x.shape)))
        text = f"Greatest {name} difference: {values.reshape(-1)[at].item()} at index {where}"
        lines.append(text if word == "equal" else f"{text} (up to {limit} allowed)")
    return "\n".join(lines)


def assert_allclose(actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None,
                    equal_nan: bool = True, msg: str = "") -> None:  # fmt: skip
    """Deprecated: `assert_close` that does not look at dtypes."""
    warnings.warn("`torch.testing.assert_allclose()` is deprecated since 1.12. Please use `torch.testing.assert_close()` instead.",
                  FutureWarning, stacklevel=2)  # fmt: skip
    assert_close(_tensor(actual), _tensor(expected), rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=True,
                 check_dtype=False, msg=msg or None)  # fmt: skip
