"""Sampling images at given places; moving between channels and space."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.meta import Meta, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
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


# sampling ----------------------------------------------------------------------------------------


def _where(c: Tensor, a: Any, b: Any) -> Tensor:
    return TORCH["where"](c, a, b)


def _bounded(x: Tensor, low: float, high: float) -> Tensor:
    """x within [low, high]; the gradient is 0 on and beyond the bounds."""
    number = lambda v: TORCH["full"]((), v, dtype=x.dtype)  # noqa: E731
    return _where(x <= low, number(low), _where(x >= high, number(high), x))


def _reflected(x: Tensor, low: float, high: float) -> Tensor:
    """x folded back at low and high."""
    if low == high:
        return x * 0  # type: ignore[operator]
    span = high - low
    far = (x - low).abs()  # type: ignore[operator]
    flips = (far / span).floor().detach()
    extra = far - flips * span
    return _where(flips % 2 == 0, extra + low, span - extra + low)


def _place(x: Tensor, n: int, padding: str, align: bool, fold: bool = True) -> Tensor:
    """Coordinates in [-1, 1] as positions among n elements, inside where padding says so."""
    at = (x + 1) / 2 * (n - 1) if align else ((x + 1) * n - 1) / 2  # type: ignore[operator]
    return _inside(at, n, padding, align) if fold else at


def _inside(at: Tensor, n: int, padding: str, align: bool) -> Tensor:
    if padding == "reflection":
        at = _reflected(at, 0.0, n - 1.0) if align else _reflected(at, -0.5, n - 0.5)
    return at if padding == "zeros" else _bounded(at, 0.0, n - 1.0)


def _pick(flat: Tensor, index: list[Tensor], size: tuple[int, ...]) -> Tensor:
    """Elements of images (N, C, positions) at integer places (N, ...); 0 outside."""
    inside, place = None, None
    for i, n in zip(index, size, strict=True):
        good = (i >= 0) & (i < n)
        inside = good if inside is None else inside & good
        place = i if place is None else place * n + i
    # one number says where and whether: all channels share it
    outside = TORCH["full"]((), -1, dtype=dt.int64)
    place = _where(inside, place, outside)  # type: ignore[arg-type]
    n, c = flat.meta.shape[:2]
    shape = place.meta.shape
    at = place.reshape(n, 1, -1).expand(n, c, -1)  # type: ignore[attr-defined]
    zero = TORCH["zeros"]((), dtype=flat.meta.dtype)
    got = _where(at >= 0, flat.gather(2, at.clamp(min=0)), zero)  # type: ignore[attr-defined]
    return got.reshape(n, c, *shape[1:])


def _long(x: Tensor) -> Tensor:
    # far outside of what int64 holds: any place outside will do
    return _bounded(x.detach(), -(2.0**31), 2.0**31).to(dt.int64)  # type: ignore[attr-defined]


def _linear_sample(flat: Tensor, at: list[Tensor], size: tuple[int, ...]) -> Tensor:
    low = [x.detach().floor() for x in at]  # type: ignore[attr-defined]
    total = None
    for corner in itertools.product((0, 1), repeat=len(at)):
        weight = None
        for c, x, base in zip(corner, at, low, strict=True):
            w = x - base if c else base + 1 - x  # type: ignore[operator]
            weight = w if weight is None else weight * w
        value = _pick(flat, [_long(b) + c for b, c in zip(low, corner, strict=True)], size)
        part = value * weight.unsqueeze(1)  # type: ignore[union-attr]
        total = part if total is None else total + part
    return total  # type: ignore[return-value]


def _cubic(t: Tensor) -> list[Tensor]:
    a = -0.75

    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]  # type: ignore[operator]


def _cubic_sample(
    flat: Tensor, at: list[Tensor], size: tuple[int, ...], padding: str, align: bool
) -> Tensor:
    low = [x.detach().floor() for x in at]  # type: ignore[attr-defined]
    weights = [_cubic(x - b) for x, b in zip(at, low, strict=True)]
    total = None
    for i, j in itertools.product(range(4), repeat=2):
        places = [
            _long(_inside(b + (k - 1), n, padding, align))
            for b, k, n in zip(low, (i, j), size, strict=True)
        ]
        part = _pick(flat, places, size) * (weights[0][i] * weights[1][j]).unsqueeze(1)
        total = part if total is None else total + part
    return total  # type: ignore[return-value]


_MODES, _PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")


def _sample(input: Tensor, grid: Tensor, mode: str, padding: str, align: bool) -> Tensor:
    m, k = input.meta, input.meta.ndim - 2
    size = tuple(m.shape[2:])
    flat = input.reshape(m.shape[0], m.shape[1], -1)  # type: ignore[attr-defined]
    # the grid names the last dim first
    at = [
        _place(grid[..., k - 1 - i], n, padding, align, mode != "bicubic")
        for i, n in enumerate(size)
    ]
    if mode == "bilinear":
        return _linear_sample(flat, at, size)
    if mode == "nearest":
        return _pick(flat, [_long(TORCH["round"](x.detach())) for x in at], size) + _no_grad_part(
            at
        )  # type: ignore[attr-defined]
    return _cubic_sample(flat, at, size, padding, align)


def _no_grad_part(at: list[Tensor]) -> Any:
    """0 that depends on the places: their gradient is 0, not None."""
    return 0 if not at[0]._rg else (at[0].detach() * 0 + at[0] * 0).unsqueeze(1) * 0  # type: ignore[attr-defined]


def _check_grid(x: Meta, grid: Meta) -> None:
    if x.dtype is not grid.dtype:
        raise RuntimeError(
            "grid_sampler(): expected input and grid to have same dtype, but input has "
            f"{x.dtype.short} and grid has {grid.dtype.short}"
        )
    if x.ndim not in (4, 5) or x.ndim != grid.ndim:
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but "
            "got input with "
            f"sizes {list(x.shape)} and grid with sizes {list(grid.shape)}"
        )
    if x.shape[0] != grid.shape[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with "
            "sizes "
            f"{list(x.shape)} and grid with sizes {list(grid.shape)}"
        )
    if grid.shape[-1] != x.ndim - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {x.ndim - 2} in last dimension, but got "
            "grid with sizes "
            f"{list(grid.shape)}"
        )
    for i in range(2, x.ndim):
        if x.shape[i] <= 0:
            raise RuntimeError(
                "grid_sampler(): expected input to have non-empty spatial dimensions, but input "
                "has sizes "
                f"{list(x.shape)} with dimension {i} being empty"
            )


@functional("grid_sample")
def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Images sampled at the places of grid, in [-1, 1] from edge to edge.

    Shapes: input (N, C, H, W), grid (N, Ho, Wo, 2) with (x, y); or one dim more each.
    Source: Jaderberg et al., "Spatial transformer networks", 2015.
    """
    if mode not in _MODES:
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or "
            f"'bicubic', but got: '{mode}'"
        )
    if padding_mode not in _PADDINGS:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
            "'reflection', but got: "
            f"'{padding_mode}'"
        )
    if align_corners is None:
        _warn_align("grid_sample")
        align_corners = False
    _check_grid(input.meta, grid.meta)
    if mode == "bicubic" and input.meta.ndim != 4:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    return _sample(input, grid, mode, padding_mode, bool(align_corners))


def _warn_align(name: str) -> None:
    warnings.warn(
        f"Default {name} and {'affine_grid' if name == 'grid_sample' else 'grid_sample'} behavior "
        "has changed to "
        "align_corners=False since 1.3.0. Please specify align_corners=True if the old behavior "
        "is desired. See the "
        f"documentation of {name} for details.",
        stacklevel=3,
    )


def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`grid_sample` with numbers for the modes."""
    return grid_sample(
        input, grid, _MODES[interpolation_mode], _PADDINGS[padding_mode], align_corners
    )


TORCH["grid_sampler"] = TORCH["grid_sampler_2d"] = TORCH["grid_sampler_3d"] = grid_sampler


def _coordinates(n: int, align: bool, d: Any) -> Tensor:
    if n <= 1:
        return TORCH["zeros"](n, dtype=d)
    line = TORCH["linspace"](-1, 1, n, dtype=d)
    return line if align else line * ((n - 1) / n)


@functional("affine_grid")
def affine_grid(theta: Tensor, size: list[int], align_corners: bool | None = None) -> Tensor:
    """Places for `grid_sample` that map the result (N, C, *space) through affine matrices theta.

    Shapes: theta (N, 2, 3) for size (N, C, H, W), (N, 3, 4) for (N, C, D, H, W).
    """
    if align_corners is None:
        _warn_align("affine_grid")
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
        lines.append(_coordinates(count, align, d).reshape(shape).expand(space))  # type: ignore[attr-defined]
    base = TORCH["stack"]([*lines, TORCH["ones"](space, dtype=d)], -1).reshape(
        1, -1, len(space) + 1
    )
    grid = TORCH["bmm"](base.expand(n, -1, -1), theta.transpose(1, 2))  # type: ignore[attr-defined]
    return grid.view(n, *space, len(space))


def affine_grid_generator(theta: Tensor, size: list[int], align_corners: bool) -> Tensor:
    """`nn.functional.affine_grid`."""
    return _affine(theta, [int(s) for s in size], align_corners)


TORCH["affine_grid_generator"] = affine_grid_generator
