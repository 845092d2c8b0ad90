"""Folding a batch normalisation into the layer before it, for evaluation."""

from __future__ import annotations

import copy
from typing import Any

import facula
from facula import Tensor
from facula.nn.parameter import Parameter

__all__ = [
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
]


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """One convolution that does what `bn(conv(x))` does in evaluation mode."""
    if conv.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    fused = copy.deepcopy(conv)
    _check_has_statistics(bn)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var,
        bn.eps, bn.weight, bn.bias, transpose,
    )  # fmt: skip
    return fused


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the fused convolution."""
    if bn_w is None:
        bn_w = facula.ones_like(bn_rm)
    if bn_b is None:
        bn_b = facula.zeros_like(bn_rm)
    return _fold(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 1 if transpose else 0)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """One linear layer that does what `bn(linear(x))` does in evaluation mode."""
    if linear.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    # With other sizes the normalisation would be over another dim than the layer's output.
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1"
        )
    fused = copy.deepcopy(linear)
    _check_has_statistics(bn)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor,
    bn_b: Tensor,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the fused linear layer."""
    return _fold(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 0)


def _check_has_statistics(bn: Any) -> None:
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")


def _fold(w, b, mean, var, eps, scale, shift, channel_dim) -> tuple[Parameter, Parameter]:  # type: ignore[no-untyped-def]
    factor = scale * facula.rsqrt(var + eps)
    shape = [1] * w.dim()
    shape[channel_dim] = -1
    if b is None:
        b = facula.zeros_like(mean)
    weight = (w * factor.reshape(shape)).to(w.dtype)
    bias = ((b - mean) * factor + shift).to(b.dtype)
    return Parameter(weight, w.requires_grad), Parameter(bias, b.requires_grad)
