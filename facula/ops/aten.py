"""`torch.ops.aten`: functions by the names that PyTorch's dispatcher knows them by."""

from __future__ import annotations

from typing import Any

from facula.graph import dtypes as dt
from facula.graph.meta import wrap_dim
from facula.ops.apply import apply
from facula.ops.pooling import MAX_BACKWARD
from facula.ops.registry import FUNCTIONAL, NAMESPACES, TORCH
from facula.ops.resize import resize_to
from facula.ops.shape import slice_dim
from facula.tensor import Tensor


def _slice(self: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Tensor:
    return slice_dim(self, wrap_dim(dim, self.meta.ndim), start, end, step)


def _softmax_backward_data(grad: Tensor, output: Tensor, dim: int, input_dtype: Any) -> Tensor:
    return output * (grad - (grad * output).sum(dim, keepdim=True))  # type: ignore[attr-defined]


def _dropout_backward(grad: Tensor, mask: Tensor, scale: float) -> Tensor:
    return grad * mask * scale


def _safe_softmax(self: Tensor, dim: int, dtype: Any = None) -> Tensor:
    nothing = (self == float("-inf")).all(dim, keepdim=True)  # type: ignore[union-attr]
    # such rows are replaced before as well: their derivative would be NaN
    got = FUNCTIONAL["softmax"](TORCH["where"](nothing, 0.0, self), dim, dtype=dtype)
    return TORCH["where"](nothing, 0.0, got)


def _batch_norm_with_update(
    input: Tensor, weight: Any, bias: Any, mean: Tensor, var: Tensor, momentum: float, eps: float
) -> tuple:
    """A training step's batch norm; the fourth result is cuDNN's notepad, empty here."""
    got = TORCH["native_batch_norm"](input, weight, bias, mean, var, True, momentum, eps)
    return (*got, TORCH["empty"](0, dtype=dt.uint8))


def _upsample_bilinear2d_aa(
    input: Tensor, output_size: Any, align_corners: bool, scales_h: Any = None,
    scales_w: Any = None, *, scale_factors: Any = None
) -> Tensor:  # fmt: skip
    """Antialiased bilinear resizing; the overload `vec` has both factors in one argument."""
    if isinstance(scales_h, (tuple, list)):
        scale_factors = scales_h
    scales = scale_factors or (scales_h, scales_w)
    if output_size is None:
        output_size = [int(n * s) for n, s in zip(input.meta.shape[2:], scales, strict=True)]
    return resize_to(input, "linear", tuple(output_size), scales, bool(align_corners), True)


def _max_pool2d_backward(grad: Tensor, input: Tensor, kernel_size: Any, stride: Any, padding: Any,
                         dilation: Any, ceil_mode: bool, indices: Tensor) -> Tensor:  # fmt: skip
    got = apply(MAX_BACKWARD, (grad, indices), (tuple(input.meta.shape), 2))
    if not input.requires_grad:
        return got
    # it depends on the input by the indices alone: a derivative, and it is 0
    return TORCH["where"](TORCH["zeros"]((), dtype=dt.bool_), input, got)


_SPECIAL = {
    "_batch_norm_with_update": _batch_norm_with_update,
    "_upsample_bilinear2d_aa": _upsample_bilinear2d_aa,
    "max_pool2d_with_indices_backward": _max_pool2d_backward,
    "slice": _slice, "_softmax_backward_data": _softmax_backward_data,
    "native_dropout_backward": _dropout_backward, "_safe_softmax": _safe_softmax,
}  # fmt: skip


class Packet:
    """A function under a dispatcher's name; its overloads (`.default`, `.Tensor` ...) are itself."""

    def __init__(self, name: str, fn: Any) -> None:
        self.__name__, self._fn = name, fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._fn(*args, **kwargs)

    def __getattr__(self, overload: str) -> Any:
        if overload.startswith("__"):
            raise AttributeError(overload)
        return self

    def __repr__(self) -> str:
        return f"aten.{self.__name__}"


class _Aten:
    """Looks functions up when first asked for."""

    def __getattr__(self, name: str) -> Any:
        for table in (_SPECIAL, TORCH, FUNCTIONAL, *NAMESPACES.values()):
            for known in (
                name,
                name.removeprefix("linalg_"),
                name.removeprefix("special_"),
                name.removeprefix("fft_"),
            ):
                if known in table:
                    packet = Packet(name, table[known])
                    setattr(self, name, packet)
                    return packet
        method = getattr(Tensor, name, None)
        if callable(method):
            return Packet(name, method)
        raise AttributeError(f"'_OpNamespace' 'aten' object has no attribute '{name}'")


aten = _Aten()
