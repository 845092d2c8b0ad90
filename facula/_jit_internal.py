"""What TorchScript's annotations and nn.functional share: `torch._jit_internal`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula.jit import export, ignore, is_scripting, unused

__all__ = ["BroadcastingList1", "BroadcastingList2", "BroadcastingList3", "assert_int_or_pair",
           "boolean_dispatch", "export", "ignore", "is_scripting", "unused"]  # fmt: skip


class BroadcastingListCls:
    """An annotation: one value, or a list of as many as the class says."""

    def __getitem__(self, types: Any) -> None:
        """Nothing: it only annotates."""


BroadcastingList1 = BroadcastingList2 = BroadcastingList3 = BroadcastingListCls()


def assert_int_or_pair(arg: Any, arg_name: str, message: str) -> None:
    """AssertionError unless arg is a number or a pair."""
    if not (isinstance(arg, (int, float)) or len(arg) == 2):
        raise AssertionError(message.format(arg_name))


def boolean_dispatch(arg_name: str, arg_index: int, default: bool, if_true: Callable,
                     if_false: Callable, module_name: str, func_name: str) -> Callable:  # fmt: skip
    """A function that calls if_true or if_false, as a boolean argument says.

    >>> f = boolean_dispatch("up", 1, False, lambda x, up=False: x + 1, lambda x, up=False: x - 1, "m", "f")
    >>> f(1), f(1, up=True)
    (0, 2)
    """

    @functools.wraps(if_true if if_false.__doc__ is None else if_false)
    def run(*args: Any, **kwargs: Any) -> Any:
        flag = args[arg_index] if len(args) > arg_index else kwargs.get(arg_name, default)
        return (if_true if flag else if_false)(*args, **kwargs)

    run.__name__, run.__module__ = func_name, module_name
    return run
