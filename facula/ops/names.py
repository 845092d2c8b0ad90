"""Names that PyTorch has for things found elsewhere, and a few odd ends of Tensor."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.ops.registry import TORCH, method, only_method, only_torch, to_out
from facula.tensor import Tensor

# `torch.x_(tensor)` for in-place methods
for _name in ("addmv_", "detach", "detach_", "gcd_", "lcm_", "ldexp_", "xlogy_", "resize_as_", "index_put_", "clamp_",
              "clip_", "nan_to_num_", "round_", "logit_", "squeeze_", "unsqueeze_", "t_"):  # fmt: skip
    if (
        hasattr(Tensor, _name)
        and (_name not in TORCH)
        and _name not in ("squeeze_", "unsqueeze_", "t_")
    ):
        TORCH[_name] = getattr(Tensor, _name)


@only_torch()
def range(start: float = 0, end: float | None = None, step: float = 1, *, out: Tensor | None = None, dtype: Any = None,
          layout: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Deprecated: numbers from start to end, end included."""
    if end is None:
        start, end = 0, start
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (step > 0 and end < start) or (step < 0 and end > start):
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    d = dtype or (dt.default_dtype() if out is None else out.meta.dtype)
    count = math.floor((end - start) / step) + 1
    line = TORCH["arange"](count, dtype=dt.float64) * step + start
    return to_out(line.to(d), out).requires_grad_(requires_grad)


@only_torch()
def frobenius_norm(
    input: Tensor, dim: Any, keepdim: bool = False, *, out: Tensor | None = None
) -> Tensor:
    """Square root of the sum of squares."""
    return TORCH["norm"](input, 2, dim or None, keepdim, out=out)


@only_torch()
def nuclear_norm(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, out: Tensor | None = None
) -> Tensor:
    """Sum of singular values."""
    return TORCH["norm"](input, "nuc", dim, keepdim, out=out)


@only_torch()
def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    """The norm over all dims but one."""
    if dim == -1:
        return TORCH["norm"](v, pow)
    rest = [i for i, _ in enumerate(v.meta.shape) if i != dim % v.meta.ndim]
    return TORCH["norm"](v, pow, rest, True)


# sizes that may be unknown to a tracer: here they are plain numbers


class _Sym:
    """What stands for a number that a tracer does not know; numbers here are always known."""

    def __init__(self, node: Any) -> None:
        self.node = node


class SymInt(_Sym):
    """A size that a tracer does not know."""


class SymFloat(_Sym):
    """A number that a tracer does not know."""


class SymBool(_Sym):
    """A truth value that a tracer does not know."""


TORCH.update(SymInt=SymInt, SymFloat=SymFloat, SymBool=SymBool)


@only_torch()
def sym_int(a: Any) -> int:
    """a as an integer, rounded towards zero."""
    return int(a)


@only_torch()
def sym_float(a: Any) -> float:
    """a as a floating number."""
    return float(a)


@only_torch()
def sym_not(a: Any) -> bool:
    """Whether a is false."""
    return not a


@only_torch()
def sym_sqrt(a: Any) -> float:
    """The square root of a."""
    return math.sqrt(a)


@only_torch()
def sym_max(a: Any, b: Any) -> Any:
    """The larger of two numbers: floating if one of them is."""
    got = max(a, b)
    return float(got) if isinstance(a, float) or isinstance(b, float) else got


@only_torch()
def sym_min(a: Any, b: Any) -> Any:
    """The smaller of two numbers: floating if one of them is."""
    got = min(a, b)
    return float(got) if isinstance(a, float) or isinstance(b, float) else got


@only_torch()
def sym_sum(*args: Any) -> Any:
    """The sum of numbers, or of a list of them."""
    return sum(args[0] if len(args) == 1 and isinstance(args[0], (list, tuple)) else args)


@only_torch()
def sym_ite(b: Any, t: Any, f: Any) -> Any:
    """t if b, else f."""
    return t if b else f


@only_torch()
def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on."""
    return importlib.import_module("facula.autograd.anomaly").is_anomaly_enabled()


@only_torch()
def set_anomaly_enabled(enabled: bool, check_nan: bool = True) -> None:
    """Switches anomaly mode."""
    importlib.import_module("facula.autograd.anomaly").set_detect_anomaly(enabled, check_nan)


@only_torch()
def is_vulkan_available() -> bool:
    """False."""
    return False


@method
def __reversed__(self: Tensor) -> Tensor:
    """Reversed along the first dim."""
    return TORCH["flip"](self, (0,)) if self.meta.ndim else self


@method
def __array_wrap__(
    self: Tensor, array: np.ndarray, context: Any = None, return_scalar: bool = False
) -> Tensor:
    """NumPy's results as tensors."""
    if array.dtype == bool:
        array = array.astype(np.uint8)
    return TORCH["from_numpy"](np.ascontiguousarray(array))


@only_method("__delitem__")
def _delitem(self: Tensor, key: Any, /) -> None:
    """Tensors have fixed sizes."""
    raise TypeError("'Tensor' object doesn't support item deletion")


@only_method("__setstate__")
def _setstate(self: Tensor, state: Any) -> None:
    """Attributes of an unpickled tensor."""
    self.__dict__.update(state if isinstance(state, dict) else state[-1])


def _torch_function(
    cls: type, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
) -> Any:
    """What classes that take part in torch functions inherit: call, and give the class back."""
    default = importlib.import_module("facula.overrides")._default_torch_function
    return default.__func__(cls, func, types, args, kwargs)


Tensor.__torch_function__ = classmethod(_torch_function)  # type: ignore[attr-defined]
Tensor.name = property(lambda self: None)  # type: ignore[attr-defined]
Tensor.volatile = False  # type: ignore[attr-defined]
Tensor.__long__ = lambda self: int(self)  # type: ignore[attr-defined]
Tensor.__nonzero__ = Tensor.__bool__  # type: ignore[attr-defined]
