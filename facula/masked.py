"""Reductions that leave out elements where a mask is False: `torch.masked`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import facula as torch

__all__ = ["amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "log_softmax", "logaddexp", "logsumexp", "mean",
           "median", "norm", "normalize", "prod", "softmax", "softmin", "std", "sum", "var"]  # fmt: skip


def _extreme(d: Any, low: bool) -> Any:
    if d.is_floating_point:
        return -math.inf if low else math.inf
    if d is torch.bool:
        return not low
    info = torch.iinfo(d)
    return info.min if low else info.max


def _mask_like(x: Any, mask: Any) -> Any:
    return mask.expand(x.shape) if mask.dim() <= x.dim() else mask


def _filled(x: Any, mask: Any, value: Any) -> Any:
    """x with value where the mask is False."""
    if mask is None:
        return x
    fill = (
        torch.full((), value, dtype=x.dtype, device=x.device)
        if not isinstance(value, torch.Tensor)
        else value
    )
    return torch.where(_mask_like(x, mask), x, fill)


def _dims(x: Any, dim: Any) -> tuple[int, ...]:
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(x.dim()))
    return (dim,) if isinstance(dim, int) else tuple(dim)


def _converted(x: Any, dtype: Any) -> Any:
    return x if dtype is None else x.to(dtype)


def _count(x: Any, mask: Any, dims: tuple, keepdim: bool) -> Any:
    mask = (
        torch.ones(x.shape, dtype=torch.bool, device=x.device)
        if mask is None
        else _mask_like(x, mask)
    )
    return torch.sum(mask, dims, keepdim=keepdim) if x.dim() else mask.long()


def sum(
    input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Any:
    """Sum of the elements where mask is True."""
    dtype = dtype or (
        input.dtype if input.dtype.is_floating_point or input.dtype.is_complex else torch.int64
    )
    x = _filled(_converted(input, dtype), mask, 0)
    return torch.sum(x, _dims(x, dim), keepdim=keepdim, dtype=dtype) if x.dim() else x


def prod(
    input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Any:
    """Product of the elements where mask is True."""
    dtype = dtype or (
        input.dtype if input.dtype.is_floating_point or input.dtype.is_complex else torch.int64
    )
    x = _filled(_converted(input, dtype), mask, 1)
    for d in sorted((d % max(x.dim(), 1) for d in _dims(x, dim)), reverse=True):
        x = torch.prod(x, d, keepdim=keepdim)
    return x.to(dtype)


def _reduce_extreme(fn: Callable, low: bool) -> Callable:
    def run(
        input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
    ) -> Any:
        x = _converted(input, dtype)
        x = _filled(x, mask, _extreme(x.dtype, low))
        return fn(x, _dims(x, dim), keepdim)

    run.__name__ = run.__qualname__ = fn.__name__
    run.__doc__ = f"{'Largest' if low else 'Smallest'} of the elements where mask is True."
    return run


amax, amin = _reduce_extreme(torch.amax, True), _reduce_extreme(torch.amin, False)


def _reduce_place(fn: Callable, low: bool) -> Callable:
    def run(
        input: Any,
        dim: int | None = None,
        *,
        keepdim: bool = False,
        dtype: Any = None,
        mask: Any = None,
    ) -> Any:
        x = _converted(input, dtype)
        x = _filled(x, mask, _extreme(x.dtype, low))
        return fn(x, dim, bool(keepdim)).to(x.dtype)

    run.__name__ = run.__qualname__ = fn.__name__
    run.__doc__ = f"Index of the {'largest' if low else 'smallest'} element where mask is True."
    return run


argmax, argmin = _reduce_place(torch.argmax, True), _reduce_place(torch.argmin, False)


def _scan(fn: Callable, identity: int) -> Callable:
    def run(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
        x = _filled(_converted(input, dtype), mask, identity)
        return fn(x, dim, dtype=dtype).to(x.dtype)

    run.__name__ = run.__qualname__ = fn.__name__
    run.__doc__ = f"{fn.__name__} of the elements where mask is True."
    return run


cumsum, cumprod = _scan(torch.cumsum, 0), _scan(torch.cumprod, 1)


def mean(
    input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Any:
    """Mean of the elements where mask is True."""
    d = dtype or input.dtype
    if not (d.is_floating_point or d.is_complex):
        what = "Input" if dtype is None else "Optional"
        raise ValueError(
            f"mean(): Could not infer output dtype. {what} dtype must be either a floating point or complex dtype. Got: {d}"
        )
    x = _converted(input, dtype)
    return sum(x, dim, keepdim=keepdim, mask=mask) / _count(x, mask, _dims(x, dim), keepdim)


def median(
    input: Any, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Any:
    """Lower median of the elements where mask is True; NaN where there is none."""
    d = dtype or input.dtype
    if not d.is_floating_point:
        raise ValueError(f"input must be a floating point tensor, got {d}")
    x = _converted(input, dtype)
    if mask is None:
        return torch.nanmedian(x, dim, keepdim)[0]
    if not x.is_meta and bool((torch.isnan(x) & _mask_like(x, mask)).any()):
        raise ValueError(
            "masked median expects no fully masked out rows if dtype is not floating point"
        )
    return torch.nanmedian(_filled(x, mask, math.nan), dim, keepdim)[0]


def norm(
    input: Any,
    ord: float = 2.0,
    dim: Any = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Any = None,
) -> Any:
    """Vector norm of the elements where mask is True."""
    x = _converted(input, dtype)
    x = _filled(x, mask, math.inf if ord == -math.inf else 0)
    return torch.linalg.vector_norm(x, ord, _dims(x, dim), keepdim, dtype=dtype)


def _spread(name: str) -> Callable:
    def run(input: Any, dim: Any = None, unbiased: bool | None = None, *, correction: Any = None, keepdim: bool = False,
            dtype: Any = None, mask: Any = None) -> Any:  # fmt: skip
        if unbiased is not None and correction is not None:
            raise ValueError("Only one of unbiased and correction may be given")
        free = correction if correction is not None else int(unbiased is None or unbiased)
        d = dtype or (
            input.dtype
            if input.dtype.is_floating_point or input.dtype.is_complex
            else torch.float32
        )
        x = input.to(d)
        dims = _dims(x, dim)
        centre = mean(x, dims, keepdim=True, mask=mask)
        gap = x - centre
        square = (gap * gap.conj()).real if gap.is_complex() else gap * gap
        total = sum(square, dims, keepdim=keepdim, mask=mask)
        count = _count(x, mask, dims, keepdim) - free
        got = total / torch.clamp(count, min=0).to(total.dtype)
        return (torch.sqrt(got) if name == "std" else got).to(d)

    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"{name} of the elements where mask is True."
    return run


var, std = _spread("var"), _spread("std")


def logsumexp(
    input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Any:
    """log(sum(exp)) of the elements where mask is True."""
    x = _converted(input, dtype)
    d = x.dtype
    if not (d.is_floating_point or d.is_complex):
        x = x.to(torch.get_default_dtype())
    x = _filled(x, mask, -math.inf)
    return torch.logsumexp(x, _dims(x, dim), keepdim).to(d)


def logaddexp(
    input: Any, other: Any, *, dtype: Any = None, input_mask: Any = None, other_mask: Any = None
) -> Any:
    """log(exp(input) + exp(other)); what is masked counts as -inf."""
    a, b = _converted(input, dtype), _converted(other, dtype)
    return torch.logaddexp(_filled(a, input_mask, -math.inf), _filled(b, other_mask, -math.inf))


def _softmax(fn: Callable, name: str, identity: float) -> Callable:
    def run(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
        x = _converted(input, dtype)
        return fn(_filled(x, mask, identity), dim)

    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"{name} of the elements where mask is True."
    return run


softmax = _softmax(lambda x, d: torch.nn.functional.softmax(x, d), "softmax", -math.inf)
log_softmax = _softmax(lambda x, d: torch.nn.functional.log_softmax(x, d), "log_softmax", -math.inf)
softmin = _softmax(lambda x, d: torch.nn.functional.softmin(x, d), "softmin", math.inf)


def normalize(
    input: Any, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None, mask: Any = None
) -> Any:
    """Elements divided by their norm where mask is True."""
    x = _converted(input, dtype)
    size = norm(x, ord, dim, keepdim=True, mask=mask)
    return _filled(x, mask, 0) / torch.maximum(size, size.new_full((), eps))
