"""Rounding to quantized values and back, as quantization-aware training does it.

Results are ordinary float tensors; quantized tensors themselves are not offered.
"""

from __future__ import annotations

import facula as torch

Tensor = torch.Tensor


class qscheme:  # PyTorch's name
    """How a quantized tensor's scale and zero point are kept; facula makes no such tensors."""


def dequantize(tensors: object) -> object:
    """float32 tensors of quantized ones, or of any: those of other types are converted."""
    if isinstance(tensors, (list, tuple)):
        return type(tensors)(dequantize(t) for t in tensors)
    return tensors.to(torch.float32)  # type: ignore[attr-defined]


def _rounded(
    x: Tensor, scale: Tensor | float, zero_point: Tensor | int, low: int, high: int
) -> Tensor:
    """Straight-through: the gradient passes where nothing was cut off."""
    with torch.no_grad():
        inverse = 1.0 / scale
        level = (x.detach().float() * inverse).round() + zero_point
        inside = (level >= low) & (level <= high)
        value = ((level.clamp(low, high) - zero_point) * scale).to(x.dtype)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return value
    kept = torch.where(inside, x, torch.zeros((), dtype=x.dtype))
    return kept + (value - kept.detach())


def _check_range(low: int, high: int) -> None:
    if low > high:
        raise RuntimeError("`quant_min` should be less than or \n        equal to `quant_max`.")


def fake_quantize_per_tensor_affine(input: Tensor, scale: Tensor | float, zero_point: Tensor | int,
                                    quant_min: int, quant_max: int) -> Tensor:  # fmt: skip
    """input rounded to the grid scale * (integer - zero_point), in input's own type.

    >>> import facula as torch
    >>> torch.fake_quantize_per_tensor_affine(torch.tensor([0.26, 9.]), 0.1, 0, 0, 10)
    tensor([0.3000, 1.0000])
    """
    _check_range(quant_min, quant_max)
    return _rounded(input, scale, zero_point, quant_min, quant_max)


def fake_quantize_per_channel_affine(input: Tensor, scale: Tensor, zero_point: Tensor, axis: int,
                                     quant_min: int, quant_max: int) -> Tensor:  # fmt: skip
    """The same with a scale and a zero point, each (channels,), for every channel along axis."""
    if scale.dim() != 1 or zero_point.dim() != 1:
        raise RuntimeError("scale and zero_point should be 1-D tensors")
    if scale.numel() != input.size(axis) or zero_point.numel() != input.size(axis):
        raise RuntimeError(
            "dimensions of scale and zero-point are not consistent with input tensor"
        )
    _check_range(quant_min, quant_max)
    shape = [1] * input.dim()
    shape[axis] = -1
    return _rounded(input, scale.view(shape), zero_point.view(shape), quant_min, quant_max)


def _grid(
    low: Tensor, high: Tensor, quant_min: int, quant_max: int, symmetric: bool
) -> tuple[Tensor, Tensor]:
    """(scale, zero point) that map [low, high], widened to hold zero, to the integers."""
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    if symmetric:
        high = torch.maximum(-low, high)
        scale = high / ((quant_max - quant_min) / 2)
        scale = scale.clamp(min=torch.finfo(torch.float32).eps)
        return scale, torch.full_like(scale, (quant_min + quant_max + 1) // 2, dtype=torch.int32)
    scale = ((high - low) / (quant_max - quant_min)).clamp(min=torch.finfo(torch.float32).eps)
    zero = (quant_min - (low / scale).round()).clamp(quant_min, quant_max)
    return scale, zero.to(torch.int32)


def fused_moving_avg_obs_fake_quant(input: Tensor, observer_on: Tensor, fake_quant_on: Tensor,
                                    running_min: Tensor, running_max: Tensor, scale: Tensor,
                                    zero_point: Tensor, averaging_const: float, quant_min: int,
                                    quant_max: int, ch_axis: int = -1, per_row_fake_quant: bool = False,
                                    symmetric_quant: bool = False) -> Tensor:  # fmt: skip
    """Observes input's range with a moving average, then rounds to the grid of that range.

    running_min, running_max, scale and zero_point are updated in place.
    """
    if observer_on.item():
        with torch.no_grad():
            x = input.detach()
            if per_row_fake_quant:
                rows = x.movedim(ch_axis, 0).reshape(x.size(ch_axis), -1)
                low, high = rows.amin(1), rows.amax(1)
                if running_min.numel() == 0:
                    running_min.resize_(low.shape).fill_(float("inf"))
                    running_max.resize_(low.shape).fill_(float("-inf"))
                    scale.resize_(low.shape)
                    zero_point.resize_(low.shape)
            else:
                low, high = x.amin(), x.amax()
            for kept, seen in ((running_min, low), (running_max, high)):
                moved = kept + averaging_const * (seen - kept)
                kept.copy_(torch.where(kept.isinf(), seen, moved))
            if fake_quant_on.item():
                s, z = _grid(running_min, running_max, quant_min, quant_max, symmetric_quant)
                scale.copy_(s)
                zero_point.copy_(z)
    if not fake_quant_on.item():
        return input.view_as(input)
    if per_row_fake_quant:
        return fake_quantize_per_channel_affine(
            input, scale, zero_point, ch_axis, quant_min, quant_max
        )
    return fake_quantize_per_tensor_affine(input, scale, zero_point, quant_min, quant_max)
