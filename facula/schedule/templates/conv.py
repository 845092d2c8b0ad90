"""Convolution and its gradients, over one or two space dims."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.graph.ir import Val
from facula.graph.meta import contiguous_strides
from facula.kernel.conv import Conv, Image, leaves_gaps, plan_conv, plan_conv_input_gradient
from facula.kernel.conv_weight import plan_conv_weight_gradient
from facula.schedule.codegen import Place
from facula.schedule.templates.common import contiguous, planned, planner, result

_TYPES = frozenset(("float32", "float64"))
Sizes = tuple[int, ...]


def flat_image(shape: Sizes, strides: Sizes) -> tuple[Sizes, Sizes]:
    """(N, C, H, W) and strides of images with one or two space dims."""
    if len(shape) == 4:
        return shape, strides
    return (*shape[:2], 1, shape[2]), (*strides[:2], shape[2] * strides[2], strides[2])


def pair(x: Sizes, one: int) -> tuple[int, int]:
    """A number for each of two space dims."""
    return (one, x[0]) if len(x) == 1 else (x[0], x[1])


def image_of(builder: Any, v: Val, dense: bool) -> tuple[list[Any], Image] | None:
    """An operand as images; `dense`: without gaps between rows. Copied where it is not."""
    where = builder.strided(v)
    if where is None:
        return None
    slot, offset, strides = where
    shape, s = flat_image(v.shape, strides)
    rows = shape[3] == 1 or s[3] == 1
    if rows and (not dense or shape[2] == 1 or s[2] == shape[3]):
        return [], Image(slot, (s[0], s[1], s[2]), offset)
    steps, place = builder.copied(v)
    return steps, image_at(v.shape, place)


def image_at(shape: Sizes, place: Place) -> Image:
    """Contiguous images at a place."""
    _, s = flat_image(shape, contiguous_strides(shape))
    return Image(place.slot, (s[0], s[1], s[2]), place.offset)


def _conv(x: Sizes, w: Sizes, arg: tuple, dtype: str) -> Conv:
    """The numbers of the convolution of images of shape x by weights of shape w."""
    stride, padding, dilation, groups = arg[:4]
    (n, c, h, width), _ = flat_image(x, contiguous_strides(x))
    return Conv(n, c, h, width, w[0], pair(w[2:], 1), pair(stride, 1), pair(padding, 0), pair(dilation, 1),
                groups, dtype)  # fmt: skip


def _operands(builder: Any, v: Val, image: Callable[[Val], Any]) -> tuple | None:
    """(steps, first operand as images, (slot, offset) of the second)."""
    x, w = v.srcs
    if v.dtype.name not in _TYPES or x.ndim not in (3, 4):
        return None
    first, second = image(x), contiguous(builder, w)
    if first is None or second is None:
        return None
    return first[0] + second[0], first[1], second[1:]


@planner("conv")
def _forward(builder: Any, v: Val) -> list[Any] | None:
    """x * w."""
    to = result(builder, v)
    return None if to is None else _steps(builder, v, image_at(v.shape, to))


def _steps(builder: Any, v: Val, y: Image, *ends: Any) -> list[Any] | None:
    got = _operands(builder, v, lambda x: image_of(builder, x, False))
    if got is None:
        return None
    steps, x, w = got
    conv = _conv(v.srcs[0].shape, v.srcs[1].shape, v.arg[1], v.dtype.name)
    return steps + planned(builder, lambda slot: plan_conv(conv, x, w, y, slot, *ends))


def conv_epilogue_shape(v: Val) -> Sizes | None:
    """The result of a convolution as an epilogue sees it: (N, groups, channels, pixels)."""
    conv = v.srcs[0]
    x = conv.srcs[0]
    if conv.dtype.name not in _TYPES or x.ndim not in (3, 4) or not v.numel:
        return None
    groups = conv.arg[1][3]
    pixels = v.numel // (v.shape[0] * v.shape[1])
    return (v.shape[0], groups, v.shape[1] // groups, pixels)


def plan_conv_product(
    builder: Any, v: Val, place: Place, out: str, epilogue: Any, extras: Any
) -> list[Any] | None:
    """Steps of a convolution (`v` is its result) with an epilogue."""
    y = images_in(v, place, out)
    return None if y is None else _steps(builder, v.srcs[0], y, epilogue, extras)


def images_in(v: Val, place: Place, out: str) -> Image | None:
    """Where a convolution's result goes, as images: rows and columns must lie without gaps."""
    shape = conv_epilogue_shape(v)
    if out != v.dtype.name or shape is None:
        return None
    if place.strides is None:
        return image_at(v.shape, place)
    n, group, channel, pixel = place.strides
    if shape[2] == 1:
        channel = group
    if (shape[3] > 1 and pixel != 1) or (shape[1] > 1 and group != shape[2] * channel):
        return None
    return Image(place.slot, (n, channel, v.shape[-1]), place.offset)


@planner("conv_input_grad")
def _input_gradient(builder: Any, v: Val) -> list[Any] | None:
    """The gradient of x, from that of the result and w."""
    got = _operands(builder, v, lambda g: image_of(builder, g, False))
    to = result(builder, v)
    if got is None or to is None:
        return None
    steps, dy, w = got
    g = v.srcs[0].shape
    conv = _conv(v.shape, v.srcs[1].shape, v.arg[1], v.dtype.name)
    if conv.out != flat_image(g, g)[0][2:]:
        return None  # output padding: fewer windows than the size has room for
    dx = image_at(v.shape, to)
    if leaves_gaps(conv):
        steps = [*steps, builder.store(v.g.const(0, v.dtype, v.shape), to)]
    return steps + planned(builder, lambda slot: plan_conv_input_gradient(conv, dy, w, dx, slot))


@planner("conv_weight_grad")
def _weight_gradient(builder: Any, v: Val) -> list[Any] | None:
    """The gradient of w, from that of the result and x."""
    g, x = v.srcs
    to = result(builder, v)
    if v.dtype.name not in _TYPES or x.ndim not in (3, 4) or to is None:
        return None
    grad, image = image_of(builder, g, True), image_of(builder, x, False)
    if grad is None or image is None:
        return None
    conv = _conv(x.shape, v.shape, v.arg[1], v.dtype.name)
    if conv.out != flat_image(g.shape, g.shape)[0][2:]:
        return None
    out = (to.slot, to.offset)
    steps = planned(
        builder, lambda slot: plan_conv_weight_gradient(conv, image[1], grad[1], out, slot)
    )
    return grad[0] + image[0] + steps
