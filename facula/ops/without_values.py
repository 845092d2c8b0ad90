"""Operators that read values in Python or NumPy, called with tensors on the meta device.

An operator that is recorded has its shape rule (`Op.infer`), and needs nothing of this. What NumPy
computes at once says its result's geometry by `shape_rule`; what can't be known without values
raises PyTorch's error by `needs_values`. Both stand beside the operator as decorators.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from facula.graph.dtypes import dtype as Dtype
from facula.graph.meta import META, meta_of
from facula.tensor import Tensor, empty_meta


def any_on_meta(values: Iterable[Any]) -> bool:
    """Whether a tensor among the values is on the meta device."""
    return any(isinstance(x, Tensor) and x.meta.device is META for x in values)


def known(condition: Tensor) -> bool:
    """Whether a 0-d condition holds, as far as values are known: on the meta device none does."""
    return condition.meta.device is not META and bool(condition)


def on_meta(d: Dtype, shape: Iterable[int]) -> Tensor:
    """A tensor on the meta device."""
    return empty_meta(meta_of(d, shape, META))


def _without_values(answer: Callable[..., Any]) -> Callable[[Callable], Callable]:
    def decorate(fn: Callable) -> Callable:
        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            if any_on_meta(args) or (kwargs and any_on_meta(kwargs.values())):
                return answer(*args, **kwargs)
            return fn(*args, **kwargs)

        return run

    return decorate


def shape_rule(rule: Callable[..., tuple[Dtype, Iterable[int]]]) -> Callable[[Callable], Callable]:
    """Decorator: with a meta tensor among the arguments, the result is one of (dtype, shape) = rule(...)."""
    return _without_values(lambda *args, **kwargs: on_meta(*rule(*args, **kwargs)))


def like_first(x: Tensor, *_: Any, **__: Any) -> tuple[Dtype, Iterable[int]]:
    """A shape rule: dtype and shape of the first argument."""
    return x.meta.dtype, x.meta.shape


def needs_values(kernel: str) -> Callable[[Callable], Callable]:
    """Decorator: NotImplementedError in PyTorch's words with a meta tensor among the arguments.

    kernel: PyTorch's name of it, as in "aten::bincount".
    """

    def answer(*_: Any, **__: Any) -> Any:
        raise no_kernel(kernel)

    return _without_values(answer)


def no_kernel(name: str) -> NotImplementedError:
    """The error of an operator whose result depends on values."""
    if name == "aten::nonzero":
        return NotImplementedError(
            "The register_meta function for torch.nonzero() raises unimplemented by default, as a correct "
            "data-independent implementation does not exist."
        )
    return NotImplementedError(
        f"{name}: attempted to run this operator with Meta tensors, but there was no fake impl or Meta kernel "
        "registered. What it returns depends on values, which meta tensors do not have."
    )


__all__ = [
    "any_on_meta",
    "known",
    "like_first",
    "needs_values",
    "no_kernel",
    "on_meta",
    "shape_rule",
]
