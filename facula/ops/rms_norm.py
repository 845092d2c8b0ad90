"""RMS norm, and the normalisation of neighbouring channels."""

from __future__ import annotations

from typing import Any

from facula.autograd.node import shown
from facula.graph.dtypes import finfo
from facula.graph.meta import Meta, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.formula import recording
from facula.ops.norms import in_type_of
from facula.ops.pointwise import opmath
from facula.ops.registry import TORCH, functional
from facula.tensor import Tensor

# rms norm ----------------------------------------------------------------------------------------


def _rms_infer(x: Meta, *rest: Any) -> tuple:
    k = rest[-2]
    stats = meta_of(opmath(x.dtype), (*x.shape[: x.ndim - k], *[1] * k), x.device)
    return x.plain(), stats


def _rms_expand(g: Any, x: Any, *rest: Any) -> Any:
    *vals, k, has_w = rest
    eps = vals.pop()
    w = opmath(x.dtype)
    axes = tuple(range(x.ndim - k, x.ndim))
    v = g.cast(x, w)
    rstd = (g.mean(v * v, axes) + g.cast(eps, w)).rsqrt()
    y = v * rstd
    if has_w:
        y = y * g.cast(vals[0], w)
    return g.cast(y, x.dtype), rstd


def _rms_backward(n: Any, g: Tensor, _: Any = None) -> tuple:
    k, has_w = n.params
    x, rstd = n.tensor(0), n.tensor(-1)
    weight = n.tensor(1) if has_w else None
    dims = tuple(range(x.meta.ndim - k, x.meta.ndim))
    lead = tuple(range(x.meta.ndim - k))
    if recording():
        rstd = ((x * x).mean(dims, keepdim=True) + n.scalars[0]).rsqrt()
    else:
        rstd = rstd.detach()
    gx = gw = None
    if n.needs(0):
        if recording():
            scaled = g * weight if weight is not None else g
            xhat = x * rstd
            gx = (scaled - xhat * (scaled * xhat).mean(dims, keepdim=True)) * rstd
        else:
            gx = apply(RMS_INPUT, (g, x, rstd, *([weight] if has_w else [])), (k, has_w))
    if has_w and n.needs(1):
        gw = g * (x * rstd)
        gw = in_type_of(gw.sum(lead).reshape(n.inst.ins[1].shape) if lead else gw, n.inst.ins[1])  # type: ignore[attr-defined]
    return (gx, gw) if has_w else (gx,)


def _rms_input_expand(g: Any, grad: Any, x: Any, rstd: Any, *rest: Any) -> Any:
    *weight, k, has_w = rest
    w = opmath(x.dtype)
    axes = tuple(range(x.ndim - k, x.ndim))
    gw = g.cast(grad, w)
    if has_w:
        gw = gw * g.cast(weight[0], w)
    xhat = g.cast(x, w) * rstd
    return g.cast((gw - xhat * g.mean(gw * xhat, axes)) * rstd, x.dtype)


def _shows(n: Any) -> tuple:
    """PyTorch's nodes: input * rsqrt(mean(input ** 2) + eps), and * weight."""
    x, *weight = n.edges
    if x is None:
        return (None, *weight)
    rms = shown("MeanBackward1", shown("PowBackward0", x))
    factor = shown("RsqrtBackward0", shown("AddBackward1", rms))
    return (shown("MulBackward0", x, factor), *weight) if weight else (x, factor)


RMS_NORM = {
    has_w: Op(
        "_fused_rms_norm",
        _rms_infer,
        _rms_expand,
        _rms_backward,
        grad_name="MulBackward0",
        saves="0 1 out1" if has_w else "0 out1",
        materialize=False,
        shows=_shows,
    )
    for has_w in (True, False)
}
RMS_INPUT = Op("rms_norm_backward", lambda g, x, *r: x.plain(), _rms_input_expand)


@functional("rms_norm")
def rms_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Divides by the root mean square over the last dims, `normalized_shape`, then scales.

    Source: Zhang and Sennrich, "Root mean square layer normalization", 2019.
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    k, m = len(shape), input.meta
    if not k:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least "
            "one element, but got normalized_shape = []"
        )
    if weight is not None and tuple(weight.meta.shape) != shape:
        raise RuntimeError(
            "Expected weight to be of same shape as normalized_shape, but got weight of shape "
            f"{list(weight.meta.shape)} and normalized_shape = {list(shape)}"
        )
    if m.ndim < k or tuple(m.shape[m.ndim - k :]) != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, "
            f"{', '.join(map(str, shape))}], "
            f"but got input of size{list(m.shape)}"
        )
    if eps is None:
        eps = finfo(opmath(m.dtype)).eps
    if m.dtype.kind == "c":
        rms = (input * input).mean(tuple(range(m.ndim - k, m.ndim)), keepdim=True)  # type: ignore[attr-defined]
        out = input * (rms + eps).rsqrt()
        return out if weight is None else out * weight
    operands = [input] if weight is None else [input, weight]
    return apply(RMS_NORM[weight is not None], operands, (k, weight is not None), (float(eps),))[0]


TORCH["rms_norm"] = rms_norm


# local response ----------------------------------------------------------------------------------


@functional("local_response_norm")
def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divides by a power of the mean square over `size` neighbouring channels.

    Source: Krizhevsky et al., "ImageNet classification with deep CNNs", 2012.
    """
    m = input.meta
    if m.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {m.ndim} dimensions)")
    if not m.numel:
        return input
    # a sum over neighbouring channels of the padded squares
    square = (input * input).reshape(m.shape[0], m.shape[1], -1)  # type: ignore[operator]
    lo, hi = size // 2, (size - 1) // 2
    parts = []
    if lo:
        parts.append(
            TORCH["zeros"]((m.shape[0], lo, square.meta.shape[2]), dtype=m.dtype, device=m.device)
        )
    parts.append(square)
    if hi:
        parts.append(
            TORCH["zeros"]((m.shape[0], hi, square.meta.shape[2]), dtype=m.dtype, device=m.device)
        )
    padded = TORCH["cat"](parts, 1) if len(parts) > 1 else square
    total = padded[:, : m.shape[1]]
    for i in range(1, size):
        total = total + padded[:, i : i + m.shape[1]]
    mean = total // size if m.dtype.kind in "iu" else total / size
    div = (mean * alpha + k) ** beta
    return input / div.reshape(m.shape)  # type: ignore[operator]
