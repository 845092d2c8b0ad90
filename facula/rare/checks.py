"""`torch._assert` and `torch._check`: conditions that programs state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import facula as torch

_TEXT = (
    "Expected cond to be True, but got False. (Could this error message be improved? If so, please "
    "report an enhancement request to PyTorch.)"
)


def _assert(condition: Any, message: str) -> None:
    """AssertionError(message) unless condition is true."""
    assert condition, message


def _assert_async(input: Any, assert_msg: str | None = None) -> None:
    """RuntimeError unless the one element of input is not zero."""
    if not bool(input):
        raise RuntimeError(assert_msg or "Expected Tensor with single nonzero value, but got zero")


def _check_with(error: type, cond: Any, message: Callable[[], str] | None) -> None:
    """Raises error(message()) unless cond."""
    if not isinstance(cond, bool):
        raise TypeError(f"cond must be a bool, but got {type(cond)}")
    if cond:
        return
    if message is not None and not callable(message):
        raise TypeError("message must be a callable")
    raise error(_TEXT if message is None else str(message()))


def _check(cond: bool, message: Callable[[], str] | None = None) -> None:
    """RuntimeError unless cond.

    >>> import facula as torch
    >>> torch._check(1 < 2, lambda: "numbers are out of order")
    """
    _check_with(RuntimeError, cond, message)


def _check_is_size(
    i: int, message: Callable[[], str] | None = None, *, max: int | None = None
) -> None:
    """RuntimeError unless i is a size, at most max."""
    _check_with(RuntimeError, i >= 0 and (max is None or i <= max), message)


def _check_index(cond: bool, message: Callable[[], str] | None = None) -> None:
    """IndexError unless cond."""
    _check_with(IndexError, cond, message)


def _check_value(cond: bool, message: Callable[[], str] | None = None) -> None:
    """ValueError unless cond."""
    _check_with(ValueError, cond, message)


def _check_type(cond: bool, message: Callable[[], str] | None = None) -> None:
    """TypeError unless cond."""
    _check_with(TypeError, cond, message)


def _check_not_implemented(cond: bool, message: Callable[[], str] | None = None) -> None:
    """NotImplementedError unless cond."""
    _check_with(NotImplementedError, cond, message)


def _check_tensor_all(cond: Any, message: Callable[[], str] | None = None) -> None:
    """RuntimeError unless all elements of the tensor cond are true."""
    if not isinstance(cond, torch.Tensor) or cond.dtype != torch.bool:
        raise TypeError(f"cond must be a tensor of bools, but got {type(cond)}")
    _check_with(RuntimeError, bool(cond.all()), message)
