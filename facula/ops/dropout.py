"""Dropout and its kind. Masks are drawn at once, so that the generator's state is always true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.formats import AS_OPERANDS
from facula.graph.meta import META, Meta, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.formula import in_place
from facula.ops.pointwise import need_tensors, opmath
from facula.ops.random import default_generator, redrawable
from facula.ops.registry import TORCH, functional, zeros_as
from facula.random import draws
from facula.tensor import Tensor, adopt_array, empty_meta


def _memory_order(m: Meta) -> Sequence[int] | None:
    """Dims from slowest to fastest where a tensor is dense in an order of its own."""
    if m.contiguous:
        return None
    order = sorted(range(m.ndim), key=lambda i: -m.strides[i])
    step = 1
    for i in reversed(order):
        if m.shape[i] > 1 and m.strides[i] != step:
            return None
        step *= m.shape[i]
    return order


@redrawable
def draw_mask(m: Meta, keep: float) -> Tensor:
    """True with probability `keep`, drawn in the order of memory of a tensor like m."""
    if m.device is META:
        return empty_meta(meta_of(dt.bool_, m.shape, META))
    mask = draws.bernoulli(default_generator, m.numel, keep, "bool")
    order = _memory_order(m)
    if order is None:
        return adopt_array(mask.reshape(tuple(m.shape)))
    mask = mask.reshape([m.shape[i] for i in order]).transpose(np.argsort(order))
    return adopt_array(np.ascontiguousarray(mask))


def _dropout_expand(g: Any, x: Any, mask: Any, keep: Any) -> Any:
    w = opmath(x.dtype)
    # PyTorch multiplies by a noise of 0 and 1 / keep, rounded to the input's type
    noise = g.cast(g.cast(g.cast(mask, w) / g.cast(keep, w), x.dtype), w)
    return g.cast(g.cast(x, w) * noise, x.dtype)


DROPOUT = Op(
    "mul",
    lambda x, mask: x.plain(),
    _dropout_expand,
    lambda n, g: (apply(DROPOUT, (g, n.tensor(0)), (), n.scalars), None),
    saves="1",
    lies=AS_OPERANDS,
)


def _alpha_expand(g: Any, x: Any, mask: Any, a: Any, b: Any, c: Any) -> Any:
    """x * (a * mask) + (mask * b - b + c): dropped elements become the saturation value, all is
    scaled to keep mean and variance."""
    w, d = opmath(x.dtype), x.dtype

    def rounded(v: Any) -> Any:
        return g.cast(g.cast(v, d), w)

    a, b, c = (g.cast(v, w) for v in (a, b, c))
    noise = g.cast(mask, w)
    shift = rounded(rounded((noise - 1.0) * b) + c)
    return g.cast(rounded(g.cast(x, w) * rounded(noise * a)) + shift, d)


def _alpha_backward(n: Any, g: Tensor) -> tuple:
    a = n.scalars[0]
    return g * (n.tensor(0).to(g.meta.dtype) * a), None  # type: ignore[attr-defined]


ALPHA_DROPOUT = Op("add", lambda x, mask: x.plain(), _alpha_expand, _alpha_backward, saves="1",
                   lies=AS_OPERANDS)  # fmt: skip
_ALPHA = 1.7580993408473766  # minus the value that selu saturates at


def _feature_shape(m: Meta) -> tuple[int, ...]:
    if m.ndim < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return (*m.shape[:2], *[1] * (m.ndim - 2))


def _dropped(
    input: Tensor, p: float, train: bool, inplace: bool, feature: bool, alpha: bool
) -> Tensor:
    if not 0 <= p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p:g}")
    need_tensors("dropout", input=input)
    if train and input.meta.dtype.kind not in "fc":
        raise RuntimeError(
            f"result type Float can't be cast to the desired output type {input.meta.dtype.short}"
        )
    if p == 0 or not train or not input.meta.numel:
        return input
    if p == 1:
        zero = zeros_as(input, ())
        return input.mul_(zero) if inplace else input * zero  # type: ignore[attr-defined]
    m = input.meta
    if feature:
        m = meta_of(m.dtype, _feature_shape(m), m.device)
    mask = draw_mask(m, 1 - p)
    if feature:
        mask = mask.expand(input.meta.shape)  # type: ignore[attr-defined]
    if alpha:
        a = 1.0 / math.sqrt((_ALPHA * _ALPHA * p + 1) * (1 - p))
        op, numbers = ALPHA_DROPOUT, (a, _ALPHA * a, _ALPHA * a * p)
    else:
        op, numbers = DROPOUT, (float(1 - p),)
    if inplace:
        return in_place(input, lambda t: apply(op, (t, mask), (), numbers))
    return apply(op, (input, mask), (), numbers)


def _check(p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


@functional("dropout")
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeros elements with probability p and scales the others by 1 / (1 - p).

    Source: Hinton et al., "Improving neural networks by preventing co-adaptation of feature
    detectors", 2012.

    >>> import facula as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.functional.dropout(torch.ones(6), 0.5)
    tensor([0., 0., 2., 0., 0., 0.])
    """
    _check(p)
    return _dropped(input, p, training, inplace, False, False)


@functional("alpha_dropout")
def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Dropout that keeps mean and variance of what selu gives."""
    _check(p)
    return _dropped(input, p, training, inplace, False, True)


@functional("feature_alpha_dropout")
def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """alpha_dropout of whole channels."""
    _check(p)
    return _dropped(input, p, training, inplace, True, True)


def _channels(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    return _dropped(input, p, training, inplace, True, False)


def _unbatched(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    out = _channels(input.unsqueeze(0), p, training, inplace)  # type: ignore[attr-defined]
    return input if inplace else out.squeeze(0)  # type: ignore[attr-defined]


def _warn(text: str) -> None:
    import warnings

    warnings.warn(text, stacklevel=3)


@functional("dropout1d")
def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeros whole channels of (N, C, L) or (C, L)."""
    _check(p)
    n = input.meta.ndim
    if n not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {n}D input. Note that dropout1d "
            "exists to "
            "provide channel-wise dropout on inputs with 1 spatial dimension, a channel "
            "dimension, and an "
            "optional batch dimension (i.e. 2D or 3D inputs)."
        )
    if n == 3:
        return _channels(input, p, training, inplace)
    return _unbatched(input, p, training, inplace)


@functional("dropout2d")
def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeros whole channels of (N, C, H, W).

    Source: Tompson et al., "Efficient object localization using convolutional networks", 2015.
    """
    _check(p)
    n = input.meta.ndim
    if n not in (3, 4):
        _warn(
            f"dropout2d: Received a {n}-D input to dropout2d, which is deprecated and will result "
            "in an error "
            "in a future release. To retain the behavior and silence this warning, please use "
            "dropout instead. "
            "Note that dropout2d exists to provide channel-wise dropout on inputs with 2 spatial "
            "dimensions, a "
            "channel dimension, and an optional batch dimension (i.e. 3D or 4D inputs)."
        )
    elif n == 3:
        _warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D "
            "dropout behavior is "
            "desired - input is interpreted as shape (N, C, L), where C is the channel dim. This "
            "behavior will "
            "change in a future release to interpret the input as one without a batch dimension, "
            "i.e. shape "
            "(C, H, W). To maintain the 1D channel-wise dropout behavior, please switch to using "
            "dropout1d "
            "instead."
        )
    return _channels(input, p, training, inplace)


@functional("dropout3d")
def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeros whole channels of (N, C, D, H, W)."""
    _check(p)
    n = input.meta.ndim
    if n not in (4, 5):
        _warn(
            f"dropout3d: Received a {n}-D input to dropout3d, which is deprecated and will result "
            "in an error "
            "in a future release. To retain the behavior and silence this warning, please use "
            "dropout instead. "
            "Note that dropout3d exists to provide channel-wise dropout on inputs with 3 spatial "
            "dimensions, a "
            "channel dimension, and an optional batch dimension (i.e. 4D or 5D inputs)."
        )
    if n == 4:
        return _unbatched(input, p, training, inplace)
    return _channels(input, p, training, inplace)


# names under torch -------------------------------------------------------------------------------


def native_dropout(input: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """(dropout of input, its mask)."""
    if not input.meta.numel:
        return input, TORCH["empty"](input.meta.shape, dtype=dt.bool_)
    if not train and train is not None:
        return input.clone(), TORCH["ones"](input.meta.shape, dtype=dt.bool_)  # type: ignore[attr-defined]
    mask = draw_mask(input.meta, 1 - p)
    if p == 1:
        return input * 0, mask
    return apply(DROPOUT, (input, mask), (), (float(1 - p),)), mask


def _torch_names(name: str, feature: bool, alpha: bool) -> None:
    def function(input: Tensor, p: float, train: bool) -> Tensor:
        return _dropped(input, p, train, False, feature, alpha)

    def function_(input: Tensor, p: float, train: bool) -> Tensor:
        return _dropped(input, p, train, True, feature, alpha)

    for fn, n in ((function, name), (function_, name + "_")):
        fn.__name__ = fn.__qualname__ = n
        fn.__doc__ = f"`nn.functional.{name}` with the arguments of torch.{n}."
        TORCH[n] = fn


_torch_names("dropout", False, False)
_torch_names("alpha_dropout", False, True)
_torch_names("feature_dropout", True, False)
_torch_names("feature_alpha_dropout", True, True)
TORCH["native_dropout"] = native_dropout
