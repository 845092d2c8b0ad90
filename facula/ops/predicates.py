"""Questions about tensors and types: closeness, equality, promotion, defaults."""

from __future__ import annotations

import math
import os
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.meta import CPU, DEFAULT_DEVICES, Device, broadcast_shapes, meta_of
from facula.graph.tape import set_default_dtype
from facula.ops.pointwise import number_type
from facula.ops.pointwise import result_type as _result_type
from facula.ops.registry import TORCH, both, only_torch
from facula.ops.without_values import needs_values
from facula.tensor import Tensor


def _check_close(name: str, a: Any, b: Any, rtol: float, atol: float) -> None:
    for place, arg, x in ((1, "input", a), (2, "other", b)):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{name}(): argument '{arg}' (position {place}) must be Tensor, not {type(x).__name__}"
            )
    if a.meta.dtype is not b.meta.dtype:
        raise RuntimeError(f"{a.meta.dtype.short} did not match {b.meta.dtype.short}")
    if rtol < 0:
        raise RuntimeError(f"rtol must be greater than or equal to zero, but got {rtol}")
    if atol < 0:
        raise RuntimeError(f"atol must be greater than or equal to zero, but got {atol}")


@both("isclose")
def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Whether |input - other| <= atol + rtol * |other|, elementwise."""
    _check_close("isclose", input, other, rtol, atol)
    close = input == other
    kind = input.meta.dtype.kind
    if equal_nan and kind in "fc":
        close = close | (input.isnan() & other.isnan())  # type: ignore[attr-defined]
    if rtol == 0 and atol == 0:
        return close
    a, b = (
        (input, other)
        if kind in "fc"
        else (input.to(dt.default_dtype()), other.to(dt.default_dtype()))
    )  # type: ignore[attr-defined]
    gap = (a - b).abs()
    return close | (gap.isfinite() & (gap <= atol + (rtol * b).abs()))


@both("allclose")
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether all elements are close (see `isclose`).

    >>> import facula as torch
    >>> torch.allclose(torch.ones(2), torch.ones(2) + 1e-6)
    True
    """
    return bool(isclose(input, other, rtol, atol, equal_nan).all())  # type: ignore[attr-defined]


@both("equal")
@needs_values("aten::equal")
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements are equal.

    >>> import facula as torch
    >>> torch.equal(torch.ones(2), torch.ones(2))
    True
    """
    if not isinstance(other, Tensor):
        raise TypeError(
            f"equal(): argument 'other' (position 2) must be Tensor, not {type(other).__name__}"
        )
    if input.meta.shape != other.meta.shape:
        return False
    return bool((input == other).all())  # type: ignore[union-attr]


@both("is_same_size")
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether shapes are equal."""
    return input.meta.shape == other.meta.shape


@both("is_nonzero")
def is_nonzero(input: Tensor) -> bool:
    """The truth of a tensor with one element."""
    return bool(input)


@both("is_distributed")
def is_distributed(input: Tensor) -> bool:
    """False: tensors are never distributed by themselves."""
    return False


@only_torch()
def is_tensor(obj: Any, /) -> bool:
    """Whether obj is a tensor."""
    return isinstance(obj, Tensor)


@only_torch()
def is_storage(obj: Any, /) -> bool:
    """Whether obj is a storage."""
    from facula.ops.storage import TypedStorage, UntypedStorage

    return isinstance(obj, (UntypedStorage, TypedStorage))


@only_torch()
def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.meta.numel


@only_torch()
def is_inference(input: Tensor) -> bool:
    """Whether it was made in inference mode."""
    return input.is_inference()


# dtypes -------------------------------------------------------------------------------------------


@only_torch()
def result_type(tensor1: Any, tensor2: Any) -> Any:
    """The dtype of an operator's result on two operands."""
    metas = tuple(x.meta for x in (tensor1, tensor2) if isinstance(x, Tensor))
    numbers = tuple(number_type(x) for x in (tensor1, tensor2) if not isinstance(x, Tensor))
    return _result_type(metas, numbers)


@only_torch()
def can_cast(from_: Any, to: Any) -> bool:
    """Whether an in-place result of dtype from_ may be stored in dtype to."""
    return dt.can_cast(from_, to)


@only_torch()
def set_default_tensor_type(t: Any, /) -> None:
    """Sets the dtype of Python floats by a tensor type such as `torch.DoubleTensor`."""
    if isinstance(t, str):
        name = t.rpartition(".")[2]
        t = TORCH.get(name)
        if t is None:
            raise TypeError(f"invalid type name '{name}'")
    set_default_dtype(t.dtype)


@only_torch()
def get_default_device() -> Device:
    """Where tensors are made."""
    return DEFAULT_DEVICES[-1]


@only_torch()
def set_default_device(device: Any) -> None:
    """Sets where tensors are made."""
    from facula.ops.create import device_of

    DEFAULT_DEVICES[0] = CPU if device is None else device_of(device)


# switches that PyTorch programs set -----------------------------------------------------------------


class _Switches:
    interop = os.cpu_count() or 1
    deterministic = False
    deterministic_warn = False
    flush_denormal = False
    precision = "highest"
    warn_always = False


@only_torch()
def get_num_interop_threads() -> int:
    """How many threads run independent operators."""
    return _Switches.interop


@only_torch()
def set_num_interop_threads(n: int) -> None:
    """Kept for programs that set it; evaluation plans decide themselves."""
    if n <= 0:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    _Switches.interop = n


@only_torch()
def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Results are always the same for the same inputs; the switch is only remembered."""
    _Switches.deterministic, _Switches.deterministic_warn = bool(mode), warn_only


@only_torch()
def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` set."""
    return _Switches.deterministic


@only_torch()
def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """What `use_deterministic_algorithms` set."""
    return _Switches.deterministic_warn


@only_torch()
def get_deterministic_debug_mode() -> int:
    """0 (default), 1 (warn) or 2 (error)."""
    return 0 if not _Switches.deterministic else 1 if _Switches.deterministic_warn else 2


@only_torch()
def set_deterministic_debug_mode(debug_mode: Any) -> None:
    """Sets the mode by number or name ("default", "warn", "error")."""
    number = {"default": 0, "warn": 1, "error": 2}.get(debug_mode, debug_mode)
    if number not in (0, 1, 2):
        raise RuntimeError(
            f"invalid value of debug_mode, expected `default`, `warn` or `error`, or 0, 1, 2, but got {debug_mode}"
        )
    use_deterministic_algorithms(number > 0, warn_only=number == 1)


@only_torch()
def set_flush_denormal(mode: bool) -> bool:
    """Not offered: denormal numbers are always kept. Returns False."""
    return False


@only_torch()
def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` set."""
    return _Switches.precision


@only_torch()
def set_float32_matmul_precision(precision: str) -> None:
    """Kept for programs that set it; products on the CPU are always in full precision."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"Invalid string value for float32_matmul_precision: {precision}")
    _Switches.precision = precision


@only_torch()
def set_warn_always(b: bool, /) -> None:
    """Whether warnings repeat; only remembered."""
    _Switches.warn_always = b


@only_torch()
def is_warn_always_enabled() -> bool:
    """What `set_warn_always` set."""
    return _Switches.warn_always


@only_torch()
def typename(obj: Any, /) -> str:
    """The name of an object's type; of tensors as in `x.type()`."""
    if isinstance(obj, Tensor):
        return obj.type()  # type: ignore[attr-defined]
    cls = type(obj)
    holder = obj if hasattr(obj, "__qualname__") else cls
    module = getattr(holder, "__module__", "") or ""
    name = holder.__qualname__
    return name if module in ("", "builtins") else f"{module}.{name}"


__all__ = ["broadcast_shapes", "math", "meta_of"]
