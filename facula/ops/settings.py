"""Questions about tensors and types, and settings that hold for the whole program."""

from __future__ import annotations

import warnings
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.dtypes import dtype as Dtype
from facula.ops.pointwise import number_type, result_type
from facula.ops.registry import TORCH, both, only_torch
from facula.tensor import Tensor


@only_torch()
def is_tensor(obj: Any) -> bool:
    """Whether obj is a tensor."""
    return isinstance(obj, Tensor)


@only_torch()
def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.numel()


@both()
def is_nonzero(input: Tensor) -> bool:
    """Whether the one element is not zero."""
    return bool(input)


@both()
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and elements.

    >>> import facula as torch
    >>> torch.equal(torch.tensor([1, 2]), torch.tensor([1, 2]))
    True
    """
    if not isinstance(other, Tensor):
        raise TypeError(
            f"equal(): argument 'other' (position 2) must be Tensor, not {type(other).__name__}"
        )
    return input.shape == other.shape and bool((input == other).all())


@only_torch()
def can_cast(from_: Dtype, to: Dtype) -> bool:
    """Whether promotion allows a result of one type to be stored in another."""
    return dt.can_cast(from_, to)


@only_torch("result_type")
def result_type_of(tensor1: Any, tensor2: Any) -> Dtype:
    """The type that arithmetic on the two gives.

    >>> import facula as torch
    >>> torch.result_type(torch.tensor([1, 2]), 1.0)
    torch.float32
    """
    both = (tensor1, tensor2)
    metas = tuple(x.meta for x in both if isinstance(x, Tensor))
    return result_type(metas, tuple(number_type(x) for x in both if not isinstance(x, Tensor)))


@only_torch()
def typename(obj: Any) -> str:
    """The name of an object's type, with its module."""
    if isinstance(obj, Tensor):
        return obj.type()
    kind = type(obj)
    module = kind.__module__.replace("facula", "torch", 1)
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


class _Settings:
    deterministic = warn_only = False
    precision = "highest"


@only_torch()
def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Asks for results that do not change from run to run: here they never do."""
    _Settings.deterministic, _Settings.warn_only = bool(mode), warn_only


@only_torch()
def are_deterministic_algorithms_enabled() -> bool:
    """What was asked with `use_deterministic_algorithms`."""
    return _Settings.deterministic


@only_torch()
def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """What was asked with `use_deterministic_algorithms`."""
    return _Settings.warn_only


@only_torch()
def set_float32_matmul_precision(precision: str) -> None:
    """Allows products of float32 to be less exact; on CPUs they never are."""
    if precision not in ("highest", "high", "medium"):
        warnings.warn(f"{precision} is not one of highest, high, medium", stacklevel=2)
        return
    _Settings.precision = precision


@only_torch()
def get_float32_matmul_precision() -> str:
    """What was said with `set_float32_matmul_precision`."""
    return _Settings.precision


@only_torch()
def set_flush_denormal(mode: bool) -> bool:
    """Whether numbers below the normal range become zero: not supported, hence False for True."""
    return not mode


TORCH["get_num_interop_threads"] = lambda: 1
