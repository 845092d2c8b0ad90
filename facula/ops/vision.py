"""Moving between channels and space; the places of affine maps."""

from __future__ import annotations

import math
from typing import Any

from facula.graph.meta import Meta, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.grid_sample import warn_align
from facula.ops.registry import FUNCTIONAL, TORCH, functional
from facula.tensor import Tensor

# channels and space ------------------------------------------------------------------------------


def _shuffle_infer(x: Meta, r: int) -> Meta:
    *lead, c, h, w = x.shape
    return meta_of(x.dtype, (*lead, c // (r * r), h * r, w * r), x.device)


def _shuffle_expand(g: Any, x: Any, r: int) -> Any:
    *lead, c, h, w = x.shape
    n = math.prod(lead)
    v = g.permute(g.reshape(x, (n, c // (r * r), r, r, h, w)), (0, 1, 4, 2, 5, 3))
    return g.reshape(v, (*lead, c // (r * r), h * r, w * r))


def _unshuffle_infer(x: Meta, r: int) -> Meta:
    *lead, c, h, w = x.shape
    return meta_of(x.dtype, (*lead, c * r * r, h // r, w // r), x.device)


def _unshuffle_expand(g: Any, x: Any, r: int) -> Any:
    *lead, c, h, w = x.shape
    n = math.prod(lead)
    v = g.permute(g.reshape(x, (n, c, h // r, r, w // r, r)), (0, 1, 3, 5, 2, 4))
    return g.reshape(v, (*lead, c * r * r, h // r, w // r))


def _channels_expand(g: Any, x: Any, groups: int) -> Any:
    n, c, *rest = x.shape
    inner = math.prod(rest)
    v = g.permute(g.reshape(x, (n, groups, c // groups, inner)), (0, 2, 1, 3))
    return g.reshape(v, x.shape)


PIXEL_SHUFFLE = Op(
    "pixel_shuffle",
    _shuffle_infer,
    _shuffle_expand,
    lambda n, g: apply(PIXEL_UNSHUFFLE, (g,), n.params),
)
PIXEL_UNSHUFFLE = Op(
    "pixel_unshuffle",
    _unshuffle_infer,
    _unshuffle_expand,
    lambda n, g: apply(PIXEL_SHUFFLE, (g,), n.params),
)
CHANNEL_SHUFFLE = Op(
    "channel_shuffle",
    lambda x, groups: x.plain(),
    _channels_expand,
    lambda n, g: apply(CHANNEL_SHUFFLE, (g,), (n.inst.ins[0].shape[1] // n.params[0],)),
)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C * r * r, H, W) as (..., C, H * r, W * r)."""
    m, r = input.meta, upscale_factor
    if m.ndim < 3:
        raise RuntimeError(
            "pixel_shuffle expects input to have at least 3 dimensions, but got input with "
            f"{m.ndim} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    if m.shape[-3] % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            "of upscale_factor, "
            f"but input.size(-3)={m.shape[-3]} is not divisible by {r * r}"
        )
    return apply(PIXEL_SHUFFLE, (input,), (r,))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H * r, W * r) as (..., C * r * r, H, W)."""
    m, r = input.meta, downscale_factor
    if m.ndim < 3:
        raise RuntimeError(
            "pixel_unshuffle expects input to have at least 3 dimensions, but got input with "
            f"{m.ndim} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    for axis, word in ((-2, "height"), (-1, "width")):
        if m.shape[axis] % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {word} to be divisible by downscale_factor, but "
                f"input.size({axis})="
                f"{m.shape[axis]} is not divisible by {r}"
            )
    return apply(PIXEL_UNSHUFFLE, (input,), (r,))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels of the groups interleaved."""
    m = input.meta
    if m.ndim <= 2:
        raise RuntimeError(
            f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(m.shape)}"
        )
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    if m.shape[1] % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {m.shape[1]} channels and "
            f"{groups} groups."
        )
    return apply(CHANNEL_SHUFFLE, (input,), (groups,))


for _fn in (pixel_shuffle, pixel_unshuffle, channel_shuffle):
    FUNCTIONAL[_fn.__name__] = TORCH[_fn.__name__] = _fn
FUNCTIONAL["native_channel_shuffle"] = TORCH["native_channel_shuffle"] = channel_shuffle


# places ------------------------------------------------------------------------------------------


def _coordinates(n: int, align: bool, d: Any, device: Any) -> Tensor:
    if n <= 1:
        return TORCH["zeros"](n, dtype=d, device=device)
    line = TORCH["linspace"](-1, 1, n, dtype=d, device=device)
    # Multiplied and then divided, as PyTorch does: the identity's places are the pixels' very middles,
    # where one rounding decides between the slopes to the left and to the right.
    return line if align else line * (n - 1) / n


@functional("affine_grid")
def affine_grid(theta: Tensor, size: list[int], align_corners: bool | None = None) -> Tensor:
    """Places for `grid_sample` that map the result (N, C, *space) through affine matrices theta.

    Shapes: theta (N, 2, 3) for size (N, C, H, W), (N, 3, 4) for (N, C, D, H, W).
    """
    if align_corners is None:
        warn_align("affine_grid")
        align_corners = False
    m = theta.meta
    if m.dtype.kind != "f":
        raise ValueError(f"Expected theta to have floating point type, but got {m.dtype}")
    shapes = {4: (2, 3), 5: (3, 4)}
    if len(size) not in shapes:
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
            "respectively. "
            f"Got size {list(size)}."
        )
    rows, columns = shapes[len(size)]
    if m.ndim != 3 or tuple(m.shape[1:]) != (rows, columns):
        word = "2D" if rows == 2 else "3D"
        raise ValueError(
            f"Expected a batch of {word} affine matrices of shape Nx{rows}x{columns} for size "
            f"{list(size)}. "
            f"Got {list(m.shape)}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {list(size)}")
    return _affine(theta, [int(s) for s in size], bool(align_corners))


def _affine(theta: Tensor, size: list[int], align: bool) -> Tensor:
    n, space, d = size[0], size[2:], theta.meta.dtype
    lines = []
    for i, count in reversed(list(enumerate(space))):
        shape = [count if j == i else 1 for j in range(len(space))]
        lines.append(_coordinates(count, align, d, theta.meta.device).reshape(shape).expand(space))  # type: ignore[attr-defined]
    base = TORCH["stack"](
        [*lines, TORCH["ones"](space, dtype=d, device=theta.meta.device)], -1
    ).reshape(1, -1, len(space) + 1)
    grid = TORCH["bmm"](base.expand(n, -1, -1), theta.transpose(1, 2))  # type: ignore[attr-defined]
    return grid.view(n, *space, len(space))


def affine_grid_generator(theta: Tensor, size: list[int], align_corners: bool) -> Tensor:
    """`nn.functional.affine_grid`."""
    return _affine(theta, [int(s) for s in size], align_corners)


TORCH["affine_grid_generator"] = affine_grid_generator
