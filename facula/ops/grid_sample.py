"""Sampling images at given places.

The taps of a grid's points (which pixels each mixes, and by what weights) are pointwise arithmetic. The
sum of pixels is a template, which knows nothing of modes and borders.

Templates (NumPy meaning in graph/reference_sample.py): sample, sample_input_grad, sample_weight_grad.
"""

from __future__ import annotations

import functools
import math
import operator
import warnings
from typing import Any

from facula.graph import dtypes as dt
from facula.graph import reference_sample  # noqa: F401  (the meaning of the templates)
from facula.graph.meta import Meta, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.pointwise import opmath
from facula.ops.registry import TORCH, functional
from facula.tensor import Tensor

# taps --------------------------------------------------------------------------------------------

_PER_DIM = {"nearest": 1, "bilinear": 2, "bicubic": 4}  # taps of a point along each dim
_A = -0.75  # the cubic kernel's free number


def _by_dim(g: Any, numbers: list[float], d: Any) -> Any:
    """Numbers (1, dims, 1, 1), one for each dim of space."""
    dim = g.iota((1, len(numbers), 1, 1), 1)
    out = g.const(numbers[0], d, dim.shape)
    for i, n in enumerate(numbers):
        out = out if n == numbers[0] else g.where(dim.eq(i), n, out)
    return out


class _Taps:
    """The taps of a grid's points along each dim: values (N, dims, taps, points)."""

    def __init__(self, g: Any, grid: Any, how: tuple) -> None:
        self.sizes, self.mode, padding, align = how
        self.g, sizes = g, [float(n) for n in self.sizes]
        self.d = d = opmath(grid.dtype)
        self.top = _by_dim(g, [n - 1.0 for n in sizes], d)
        self.count = _by_dim(g, sizes, d)
        x = self.lines(grid)
        self.slope = (self.top if align else self.count) / 2.0
        at = self._positions(x, align)
        if self.mode != "bicubic":
            at, slope = self._inside(at, padding, align)
            self.slope = self.slope * slope
        low = g.unary("round" if self.mode == "nearest" else "floor", at)
        self.rest = at - low
        per = _PER_DIM[self.mode]
        self.tap = g.cast(g.iota((1, 1, per, 1), 2), d)
        pixel = low + self.tap
        if self.mode == "bicubic":
            pixel, _ = self._inside(low + (self.tap - 1.0), padding, align)
        self.pixel = pixel

    def _positions(self, x: Any, align: bool) -> Any:
        """With PyTorch's roundings: at pixels' middles they decide between the slopes to both sides."""
        g, more = self.g, x + 1.0
        if len(self.sizes) > 2:
            return more / 2.0 * self.top if align else (more * self.count - 1.0) / 2.0
        scale = g.expand(self.slope, x.shape)
        return more * scale if align else g.fma(more, scale, g.const(-0.5, self.d, x.shape))

    def lines(self, grid: Any) -> Any:
        """What has a grid's shape as (N, dims, 1, points): a grid names the last dim first."""
        g, n = self.g, len(self.sizes)
        flat = g.reshape(
            g.cast(grid, self.d), (grid.shape[0], -(grid.numel // -max(grid.shape[0] * n, 1)), 1, n)
        )
        return g.permute(g.flip(flat, (3,)), (0, 3, 2, 1))

    def as_grid(self, lines: Any, grid: Any) -> Any:
        """The converse of `lines`."""
        g = self.g
        flat = g.permute(
            g.expand(lines, (grid.shape[0], len(self.sizes), 1, lines.shape[3])), (0, 3, 2, 1)
        )
        return g.cast(g.reshape(g.flip(flat, (3,)), grid.shape), grid.dtype)

    def _inside(self, x: Any, padding: str, align: bool) -> tuple[Any, Any]:
        """Positions brought inside where padding says so, and the derivative."""
        g, slope = self.g, self.g.const(1.0, self.d)
        if padding == "reflection":
            low = 0.0 if align else -0.5
            span = self.top - 2 * low
            far = (x - low).abs()
            flips = (far / span).floor()
            extra = far - flips * span
            even = (flips - (flips * 0.5).floor() * 2.0).eq(0.0)
            slope = g.where(even.eq(x >= low), slope, -1.0)
            x = g.where(span > 0.0, g.where(even, extra + low, span - extra + low), x * 0.0)
        if padding == "zeros":
            return x, slope
        # on and beyond the bounds the derivative is 0; NaN is taken for the first pixel
        slope = g.where((x > 0.0) & (x < self.top), slope, 0.0)
        return g.where(x > 0.0, x.minimum(g.expand(self.top, x.shape)), 0.0), slope

    def places(self) -> Any:
        """A plane's place is the sum of a point's numbers along the dims, and negative outside."""
        g, sizes = self.g, self.sizes
        kind = _place_type(sizes)
        strides = [float(math.prod(sizes[i + 1 :])) for i in range(len(sizes))]
        good = (self.pixel >= 0.0) & (self.pixel <= self.top)
        place = g.cast(g.where(good, self.pixel, 0.0), kind) * _by_dim(g, strides, kind)
        return self._flat(g.where(good, place, -math.prod(sizes)))

    def weights(self) -> Any:
        """Along each dim; a tap's weight is their product."""
        return self._flat(self._weight(0))

    def _flat(self, v: Any) -> Any:
        n, dims, per, points = (
            self.rest.shape[0],
            len(self.sizes),
            _PER_DIM[self.mode],
            self.rest.shape[3],
        )
        return self.g.reshape(self.g.expand(v, (n, dims, per, points)), (n, dims * per, points))

    def _weight(self, order: int) -> Any:
        """The weights' derivative of an order by the position."""
        g = self.g
        if self.mode == "nearest":
            return self.tap * 0.0 + float(order == 0)
        if self.mode == "bilinear":
            if order == 0:
                return g.where(self.tap > 0.5, self.rest, 1.0 - self.rest)
            return (self.tap * 2.0 - 1.0) * float(order == 1)
        off = self.rest - (self.tap - 1.0)
        d = off.abs()
        near = (self.tap > 0.5) & (self.tap < 2.5)
        value = g.where(near, _cubic_near(d, order), _cubic_far(d, order))
        return g.where(off < 0.0, -value, value) if order == 1 else value

    def derived(self, *by: int) -> Any:
        """The weights (N, taps of all dims, points), derived by the positions along the dims named."""
        g, dims, out = self.g, len(self.sizes), None
        for i in range(dims):
            w = self._weight(by.count(i))
            w = g.expand(w, (w.shape[0], dims, *w.shape[2:]))
            w = g.slice(w, (0, i, 0, 0), (w.shape[0], 1, *w.shape[2:]), (1,) * 4)
            if out is None:
                out = g.reshape(w, (w.shape[0], w.shape[2], w.shape[3]))
                continue
            per = w.shape[2]
            wide = g.reshape(out, (out.shape[0], out.shape[1], 1, out.shape[2])) * w
            out = g.reshape(wide, (wide.shape[0], out.shape[1] * per, wide.shape[3]))
        return out

    def along(self, line: Any, i: int) -> Any:
        """What `lines` gives, for one dim: (N, 1, points)."""
        g = self.g
        v = g.expand(line, (line.shape[0], len(self.sizes), 1, line.shape[3]))
        v = g.slice(v, (0, i, 0, 0), (v.shape[0], 1, 1, v.shape[3]), (1,) * 4)
        return g.reshape(v, (v.shape[0], 1, v.shape[3]))


def _cubic_near(d: Any, order: int) -> Any:
    """The cubic kernel's derivative of an order, up to a distance of 1."""
    if order == 0:
        return ((_A + 2) * d - (_A + 3)) * d * d + 1.0
    return (3 * (_A + 2) * d - 2 * (_A + 3)) * d if order == 1 else 6 * (_A + 2) * d - 2 * (_A + 3)


def _cubic_far(d: Any, order: int) -> Any:
    """The cubic kernel's derivative of an order, between distances of 1 and 2."""
    if order == 0:
        return ((_A * d - 5 * _A) * d + 8 * _A) * d - 4 * _A
    return (3 * _A * d - 10 * _A) * d + 8 * _A if order == 1 else 6 * _A * d - 10 * _A


def _place_type(sizes: tuple[int, ...]) -> Any:
    return dt.int32 if math.prod(sizes) < 2**29 else dt.int64


def _weights_meta(grid: Meta, how: tuple) -> Meta:
    """All taps' weights: (N, taps, points)."""
    shape = (grid.shape[0], _PER_DIM[how[1]] ** len(how[0]), math.prod(grid.shape[1:-1]))
    return meta_of(opmath(grid.dtype), shape, grid.device)


def _grid_expand(g: Any, grid: Any, weight: Any, *how: Any) -> Any:
    """The gradient of a grid for that of its taps' weights."""
    return _turned(g, _Taps(g, grid, how), grid, weight, lambda i: [(i,)], None)


def _curve_expand(g: Any, grid: Any, weight: Any, step: Any, *how: Any) -> Any:
    """The gradient of a grid for that of what `_along_expand` gives."""
    taps = _Taps(g, grid, how)
    steps = taps.slope * taps.lines(step)
    return _turned(g, taps, grid, weight, lambda i: [(i, j) for j in range(len(how[0]))], steps)


def _turned(g: Any, taps: _Taps, grid: Any, weight: Any, by: Any, steps: Any) -> Any:
    lines = []
    for i in range(len(taps.sizes)):
        parts = [
            taps.derived(*names) * (1.0 if steps is None else taps.along(steps, names[1]))
            for names in by(i)
        ]
        total = (weight * functools.reduce(operator.add, parts)).sum(1)
        lines.append(g.reshape(total, (total.shape[0], 1, 1, total.shape[2])))
    return taps.as_grid(g.cat(lines, 1) * taps.slope, grid)


def _along_expand(g: Any, grid: Any, step: Any, *how: Any) -> Any:
    """How much the taps' weights change when the grid goes by `step`."""
    taps = _Taps(g, grid, how)
    steps = taps.slope * taps.lines(step)
    parts = [taps.derived(i) * taps.along(steps, i) for i in range(len(how[0]))]
    return functools.reduce(operator.add, parts)


WEIGHTS_GRID = Op(
    "grid_weights_backward",
    lambda grid, weight, *how: grid.plain(),
    _grid_expand,
    lambda n, g: (
        apply(WEIGHTS_CURVE, (n.tensor(0), n.tensor(1), g), n.params) if n.needs(0) else None,
        apply(WEIGHTS_ALONG, (n.tensor(0), g), n.params) if n.needs(1) else None,
    ),
    saves="0 1",
)
WEIGHTS_ALONG = Op(
    "grid_weights_along",
    lambda grid, step, *how: _weights_meta(grid, how),
    _along_expand,
    lambda n, g: (
        apply(WEIGHTS_CURVE, (n.tensor(0), g, n.tensor(1)), n.params) if n.needs(0) else None,
        apply(WEIGHTS_GRID, (n.tensor(0), g), n.params) if n.needs(1) else None,
    ),
    saves="0 1",
)
WEIGHTS_CURVE = Op("grid_weights_curve", lambda grid, *_: grid.plain(), _curve_expand)

# sums of pixels ----------------------------------------------------------------------------------
#
# With x images, y samples and w the weights of all taps: y is linear in x and in w, and so are the
# gradients. Operators without w take the grid's own weights, which are products along the dims.


def _template(
    g: Any, name: str, image: Any, grid: Any, how: tuple, weight: Any, space: tuple
) -> Any:
    taps = _Taps(g, grid, how)
    weights = taps.weights() if weight is None else weight
    d, shape = opmath(image.dtype), (*image.shape[:2], *space)
    operands = (g.cast(image, d), taps.places(), g.cast(weights, d))
    params = (len(how[0]), weight is None, shape)
    return g.cast(g.template(name, [(d, shape)], operands, params)[0], image.dtype)


def _mix_expand(g: Any, x: Any, grid: Any, *rest: Any) -> Any:
    """y."""
    *weight, sizes, mode, padding, align = rest
    how = (sizes, mode, padding, align)
    return _template(g, "sample", x, grid, how, *(weight or [None]), grid.shape[1:-1])


def _spread_expand(g: Any, y: Any, grid: Any, *rest: Any) -> Any:
    """The gradient of x."""
    *weight, sizes, mode, padding, align = rest
    how = (sizes, mode, padding, align)
    return _template(g, "sample_input_grad", y, grid, how, *(weight or [None]), sizes)


def _weigh_expand(g: Any, x: Any, y: Any, grid: Any, *how: Any) -> Any:
    """The gradient of w."""
    d, per = opmath(x.dtype), _PER_DIM[how[1]]
    shape = (x.shape[0], per ** len(how[0]), math.prod(y.shape[2:]))
    operands = (g.cast(x, d), g.cast(y, d), _Taps(g, grid, how).places())
    return g.template("sample_weight_grad", [(d, shape)], operands, (len(how[0]),))[0]


def _samples(x: Meta, grid: Meta, *rest: Any) -> Meta:
    return meta_of(x.dtype, (*x.shape[:2], *grid.shape[1:-1]), x.device)


def _images(y: Meta, grid: Meta, *rest: Any) -> Meta:
    return meta_of(y.dtype, (*y.shape[:2], *rest[-4]), y.device)


def _grid_gradient(x: Tensor, y: Tensor, grid: Tensor, how: tuple) -> Tensor:
    return apply(WEIGHTS_GRID, (grid, apply(WEIGH, (x, y, grid), how)), how)


def _sample_backward(n: Any, g: Tensor) -> tuple:
    x, grid = n.tensor(0), n.tensor(1)
    return (
        apply(SPREAD, (g, grid), n.params) if n.needs(0) else None,
        _grid_gradient(x, g, grid, n.params) if n.needs(1) else None,
    )


def _spread_backward(n: Any, g: Tensor) -> tuple:
    y, grid = n.tensor(0), n.tensor(1)
    return (
        apply(SAMPLE[y.meta.ndim - 2], (g, grid), n.params) if n.needs(0) else None,
        _grid_gradient(g, y, grid, n.params) if n.needs(1) else None,
    )


def _weigh_backward(n: Any, g: Tensor) -> tuple:
    x, y, grid = (n.tensor(i) for i in range(3))
    return (
        apply(SPREAD_WEIGHTED, (y, grid, g), n.params) if n.needs(0) else None,
        apply(SAMPLE_WEIGHTED, (x, grid, g), n.params) if n.needs(1) else None,
        None,  # the places do not change with the grid but in steps
    )


def _weighted_backward(back: str) -> Any:
    """Derivatives of the two that are given weights; each is the other's."""

    def backward(n: Any, g: Tensor) -> tuple:
        image, grid, weight = (n.tensor(i) for i in range(3))
        pair = (image, g) if back == "spread" else (g, image)
        op = SPREAD_WEIGHTED if back == "spread" else SAMPLE_WEIGHTED
        return (
            apply(op, (g, grid, weight), n.params) if n.needs(0) else None,
            None,
            apply(WEIGH, (*pair, grid), n.params) if n.needs(2) else None,
        )

    return backward


SAMPLE = {
    k: Op("grid_sampler", _samples, _mix_expand, _sample_backward, saves="0 1",
          grad_name=f"GridSampler{k}DBackward0")
    for k in (2, 3)
}  # fmt: skip
SPREAD = Op("grid_sampler_spread", _images, _spread_expand, _spread_backward, saves="0 1")
SAMPLE_WEIGHTED = Op(
    "grid_sampler_weighted", _samples, _mix_expand, _weighted_backward("spread"), saves="0 1 2"
)
SPREAD_WEIGHTED = Op(
    "grid_sampler_spread_weighted",
    _images,
    _spread_expand,
    _weighted_backward("sample"),
    saves="0 1 2",
)
WEIGH = Op(
    "grid_sampler_weigh",
    lambda x, y, grid, *how: _weights_meta(grid, how),
    _weigh_expand,
    _weigh_backward,
    saves="0 1 2",
)


def _sample(input: Tensor, grid: Tensor, mode: str, padding: str, align: bool) -> Tensor:
    how = (tuple(input.meta.shape[2:]), mode, padding, align)
    return apply(SAMPLE[input.meta.ndim - 2], (input, grid), how)


# the operator ------------------------------------------------------------------------------------


_MODES, _PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")


def warn_align(name: str) -> None:
    """PyTorch's warning where align_corners is left out."""
    warnings.warn(
        "Default grid_sample and affine_grid behavior has changed to "
        "align_corners=False since 1.3.0. Please specify align_corners=True if the old behavior "
        "is desired. See the "
        f"documentation of {name} for details.",
        stacklevel=3,
    )


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
        warn_align("grid_sample")
        align_corners = False
    _check_grid(input.meta, grid.meta)
    if mode == "bicubic" and input.meta.ndim != 4:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    return _sample(input, grid, mode, padding_mode, bool(align_corners))


def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`grid_sample` with numbers for the modes."""
    return grid_sample(
        input, grid, _MODES[interpolation_mode], _PADDINGS[padding_mode], align_corners
    )


TORCH["grid_sampler"] = TORCH["grid_sampler_2d"] = TORCH["grid_sampler_3d"] = grid_sampler
