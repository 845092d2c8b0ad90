"""`torch._foreach_*`: an operator on every tensor of a list.

What is recorded for the tensors of a list is fused and compiled together anyway, so these are
loops. Lists may meet lists of the same length, a number, or a tensor with one element.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import facula as torch

_UNARY = frozenset(
    "abs acos asin atan ceil cos cosh erf erfc exp expm1 floor frac lgamma log log10 log1p log2 neg reciprocal "
    "round rsqrt sigmoid sign sin sinh sqrt tan tanh trunc clone".split()
)
_BINARY = {"add": "add", "sub": "sub", "mul": "mul", "div": "div", "pow": "pow", "maximum": "maximum",
           "minimum": "minimum", "clamp_max": "minimum", "clamp_min": "maximum", "mm": "mm"}  # fmt: skip


def _listed(x: Any, n: int, name: str) -> list:
    """x as a list of n operands."""
    if isinstance(x, (list, tuple)):
        if len(x) != n:
            raise RuntimeError(
                f"Tensor lists must have the same number of tensors, got {n} and {len(x)}"
            )
        return list(x)
    return [x] * n


def _unary(name: str) -> Callable:
    fn = getattr(torch, name)
    return lambda self: [fn(t) for t in self]


def _two(name: str, a: Any, b: Any) -> Any:
    if name in ("maximum", "minimum") and not isinstance(b, torch.Tensor):
        return torch.clamp(a, min=b) if name == "maximum" else torch.clamp(a, max=b)
    return getattr(torch, name)(a, b)


def _binary(name: str) -> Callable:
    op = _BINARY[name]

    def run(self: Any, other: Any, *, alpha: Any = None) -> list:
        if not isinstance(self, (list, tuple)):  # a number to the power of each
            return [torch.pow(self, t) for t in other]
        others = _listed(other, len(self), name)
        if alpha is not None and alpha != 1:
            return [getattr(torch, op)(a, b, alpha=alpha) for a, b in zip(self, others)]
        return [_two(op, a, b) for a, b in zip(self, others)]

    return run


def _pointwise(name: str) -> Callable:
    fn = getattr(torch, name)

    def run(self: Any, tensor1: Any, tensor2: Any, value: Any = 1, *, scalars: Any = None) -> list:
        numbers = value if scalars is None else scalars
        if isinstance(numbers, torch.Tensor):
            numbers = numbers.tolist()
        numbers = _listed(numbers, len(self), name)
        return [fn(*ts, value=v) for *ts, v in zip(self, tensor1, tensor2, numbers)]

    return run


def _lerp(self: Any, tensors1: Any, weight: Any) -> list:
    return [
        torch.lerp(a, b, w) for a, b, w in zip(self, tensors1, _listed(weight, len(self), "lerp"))
    ]


def _norm(self: Any, ord: Any = 2, dtype: Any = None) -> list:
    return [torch.linalg.vector_norm(t, ord, dtype=dtype) for t in self]


def _max(self: Any) -> list:
    return [t.max() for t in self]


def _zero_(self: Any) -> list:
    return [t.zero_() for t in self]


def _copy_(self: Any, src: Any, non_blocking: bool = False) -> Any:
    for t, s in zip(self, _listed(src, len(self), "copy_")):
        t.copy_(s)
    return list(self)


_OTHERS = {"lerp": _lerp, "norm": _norm, "max": _max, "zero_": _zero_, "copy_": _copy_}


def _made(name: str) -> Callable:
    if name in _OTHERS:
        return _OTHERS[name]
    if name in _UNARY:
        return _unary(name)
    if name in _BINARY:
        return _binary(name)
    if name in ("addcdiv", "addcmul"):
        return _pointwise(name)
    raise AttributeError(f"module 'torch' has no attribute '_foreach_{name}'")


def lookup(name: str) -> Callable:
    """The function `torch._foreach_<name>`; AttributeError where there is none."""
    if name in _OTHERS or not name.endswith("_") or name in ("norm_", "max_", "clone_", "mm_"):
        made = _made(name)

        def run(*args: Any, **kwargs: Any) -> Any:
            got = made(*args, **kwargs)
            return got if name in ("copy_", "zero_") else tuple(got)
    else:
        fresh = _made(name[:-1])

        def run(*args: Any, **kwargs: Any) -> Any:
            for t, r in zip(args[0], fresh(*args, **kwargs)):
                t.copy_(r)
            return list(args[0])

    run.__name__ = run.__qualname__ = "_foreach_" + name
    run.__doc__ = f"`{name}` for every tensor of a list."
    return run
