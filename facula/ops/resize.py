"""Images resized: nearest, linear, cubic interpolation, one dim after the other.

Along one dim every result element is a weighted sum of a few of the input's: `_taps` says of which.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.blame import wrong_type
from facula.graph.formats import AS_IMAGES
from facula.graph.meta import meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.pointwise import opmath
from facula.ops.registry import FUNCTIONAL, functional
from facula.tensor import Tensor

Sizes = tuple[int, ...]
Plan = tuple[tuple[str, int, int, float], ...]  # per dim: kind, input size, output size, scale


def _step(n: int, out: int, align: bool, scale: float | None) -> float:
    """How far the source moves for one step of the result."""
    if align:
        return (n - 1) / (out - 1) if out > 1 else 0.0
    return 1.0 / scale if scale else n / out


def _positions(g: Any, out: int, d: Any) -> Any:
    return g.cast(g.iota((out,), 0), d)


def _cubic_weights(t: Any, a: float) -> list[Any]:
    """Weights of the four neighbours at distances t + 1, t, 1 - t, 2 - t (Keys 1981)."""

    def near(x: Any) -> Any:
        return (x * (a + 2) - (a + 3)) * x * x + 1.0

    def far(x: Any) -> Any:
        return ((x * a - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]


def _taps(g: Any, kind: str, n: int, out: int, step: float, d: Any) -> list[tuple[Any, Any]]:
    """(indices, weights) that the elements of one dim are made of; weight None is 1."""
    at = _positions(g, out, d)
    if kind.startswith("nearest"):
        # float32 as PyTorch computes the places
        at32 = _positions(g, out, dt.float32)
        shifted = at32 + 0.5 if kind == "nearest-exact" else at32
        index = g.cast((shifted * step).floor(), dt.int64).minimum(n - 1)
        return [(index, None)]
    kind, _, aligned = kind.partition(":")
    source = at * step if aligned else (at + 0.5) * step - 0.5
    if kind == "linear":
        source = source.maximum(0.0)
        low = g.cast(source.floor(), dt.int64).minimum(n - 1)
        t = (source - g.cast(low, d)).maximum(0.0).minimum(1.0)
        return [(low, 1.0 - t), ((low + 1).minimum(n - 1), t)]
    base = source.floor()
    first = g.cast(base, dt.int64)
    weights = _cubic_weights(source - base, -0.75)
    return [((first + (k - 1)).maximum(0).minimum(n - 1), w) for k, w in enumerate(weights)]


def _line(g: Any, w: Any, axis: int, ndim: int) -> Any:
    return g.reshape(w, tuple(w.shape[0] if i == axis else 1 for i in range(ndim)))


def _filter(g: Any, kind: str, n: int, step: float, at: Any, place: Any, axis: int) -> Any:
    """Weights of antialiased resizing, for elements `at` of the result and places of the input; their
    sum over `axis` is one."""
    _, support = _reach(kind, step)
    center = (at + 0.5) * step
    low, high = _first(center, support), (center + support + 0.5).trunc().minimum(float(n))
    x = ((place - center + 0.5) * (1.0 / max(step, 1.0))).abs()
    if kind.startswith("aa-linear"):
        w = (1.0 - x).maximum(0.0)
    else:
        a = -0.5
        near = ((x * (a + 2) - (a + 3)) * x) * x + 1.0
        far = ((x * a - 5 * a) * x + 8 * a) * x - 4 * a
        w = g.where(x < 1.0, near, g.where(x < 2.0, far, 0.0))
    w = g.where((place >= low) & (place < high), w, 0.0)
    return w / g.reduce("sum", w, axis)


def _reach(kind: str, step: float) -> tuple[int, float]:
    """How many places a filter has at most, and how far it reaches: it is as wide as the step."""
    support = (1.0 if kind.startswith("aa-linear") else 2.0) * max(step, 1.0)
    return math.floor(2 * support) + 2, support


def _first(center: Any, support: float) -> Any:
    return (center - support + 0.5).trunc().maximum(0.0)


def _dense(g: Any, kind: str, n: int, out: int, step: float, d: Any) -> Any:
    """(out, n) weights of antialiased resizing."""
    at, place = (g.cast(g.iota((out, n), axis), d) for axis in (0, 1))
    return _filter(g, kind, n, step, at, place, 1)


def _few_taps(g: Any, kind: str, n: int, out: int, step: float, d: Any) -> list[tuple[Any, Any]]:
    """(indices, weights) of antialiased resizing, place by place of the filter."""
    count, support = _reach(kind, step)
    at, tap = (g.cast(g.iota((count, out), axis), d) for axis in (1, 0))
    w = _filter(g, kind, n, step, at, _first((at + 0.5) * step, support) + tap, 0)
    first = g.cast(_first((_positions(g, out, d) + 0.5) * step, support), dt.int64)
    rows = (g.slice(w, (k, 0), (1, out), (1, 1)) for k in range(count))
    return [((first + k).minimum(n - 1), g.reshape(r, (out,))) for k, r in enumerate(rows)]


def _is_narrow(kind: str, n: int, step: float, inner: int) -> bool:
    """Whether picking the elements under the filter costs less than a product with all weights.

    Along the last dim they are picked one by one, in others by whole registers.
    """
    count, _ = _reach(kind, step)
    return count * (32 if inner == 1 else 2) <= n


def _resized(g: Any, x: Any, axis: int, part: tuple[str, int, int, float], back: bool) -> Any:
    """One dim resized, or the adjoint of that."""
    kind, n, out, step = part
    lead, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    wide = kind.startswith("aa-")
    if wide and (back or not _is_narrow(kind, n, step, inner)):
        w = _dense(g, kind, n, out, step, x.dtype)
        w = g.permute(w, (1, 0)) if back else w
        if inner == 1:
            y = g.matmul(g.reshape(x, (lead, x.shape[axis])), g.permute(w, (1, 0)))
        else:
            y = g.matmul(w, g.reshape(x, (lead, x.shape[axis], inner)))
        return g.reshape(y, (*x.shape[:axis], w.shape[0], *x.shape[axis + 1 :]))
    if kind.startswith("nearest") and n == out and step == 1.0:
        return x
    total = None
    zero = (
        g.const(0.0, x.dtype, tuple(n if i == axis else m for i, m in enumerate(x.shape)))
        if back
        else None
    )
    for index, weight in (_few_taps if wide else _taps)(g, kind, n, out, step, x.dtype):
        w = None if weight is None else _line(g, weight, axis, x.ndim)
        if back:
            zero = g.put(zero, index, x if w is None else x * w, axis, "add")
        else:
            y = g.take(x, index, axis)
            y = y if w is None else y * w
            total = y if total is None else total + y
    return zero if back else total


def _expand(g: Any, x: Any, plan: Plan) -> Any:
    k = len(plan)
    shape = (*x.shape[: x.ndim - k], *[p[2] for p in plan])
    if not x.numel:
        return g.const(0, x.dtype, shape)
    v = g.cast(x, opmath(x.dtype)) if x.dtype.kind == "f" else x
    if x.dtype.kind != "f" and not plan[0][0].startswith("nearest"):
        v = g.cast(x, dt.float32)
    for i, part in reversed(list(enumerate(plan))):
        v = _resized(g, v, x.ndim - k + i, part, False)
    if x.dtype.kind in "iu" and v.dtype.kind == "f":
        limits = dt.iinfo(x.dtype)
        v = v.round().maximum(float(limits.min)).minimum(float(limits.max))
    return g.cast(v, x.dtype)


def _back_expand(g: Any, grad: Any, plan: Plan) -> Any:
    k = len(plan)
    v = g.cast(grad, opmath(grad.dtype))
    if not grad.numel:
        return g.const(0, grad.dtype, (*grad.shape[: grad.ndim - k], *[p[1] for p in plan]))
    for i, part in enumerate(plan):
        v = _resized(g, v, grad.ndim - k + i, part, True)
    return g.cast(v, grad.dtype)


def _names() -> dict[str, str]:
    names = {
        "linear1": "UpsampleLinear1D",
        "linear2": "UpsampleBilinear2D",
        "linear3": "UpsampleTrilinear3D",
        "cubic2": "UpsampleBicubic2D",
        "aa-linear2": "UpsampleBilinear2DAa",
        "aa-cubic2": "UpsampleBicubic2DAa",
    }
    for k in (1, 2, 3):
        names[f"nearest{k}"] = f"UpsampleNearest{k}D"
        names[f"nearest-exact{k}"] = f"UpsampleNearestExact{k}D"
    return names


def _sized(x: Any, plan: Plan, which: int) -> Any:
    return meta_of(x.dtype, (*x.shape[: x.ndim - len(plan)], *[p[which] for p in plan]), x.device)


BACKWARD = Op(
    "upsample_backward",
    lambda g, plan: _sized(g, plan, 1),
    _back_expand,
    lambda n, g: apply(_op_of(n.params[0]), (g,), n.params),
)
_OPS = {
    key: Op(
        "upsample",
        lambda x, plan: _sized(x, plan, 2),
        _expand,
        lambda n, g: apply(BACKWARD, (g,), n.params),
        grad_name=name + "Backward0",
        lies=AS_IMAGES,
    )
    for key, name in _names().items()
}


def _op_of(plan: Plan) -> Op:
    return _OPS[plan[0][0].partition(":")[0] + str(len(plan))]


# arguments ---------------------------------------------------------------------------------------

_DIMS = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}
_KIND = {
    "nearest": "nearest",
    "nearest-exact": "nearest-exact",
    "linear": "linear",
    "bilinear": "linear",
    "trilinear": "linear",
    "bicubic": "cubic",
}


def _space(
    input: Tensor, size: Any, scale: Any, recompute: bool | None
) -> tuple[Sizes, list[float | None]]:
    """Output sizes and the scales that positions are computed with."""
    k = input.meta.ndim - 2
    shape = tuple(input.meta.shape[2:])
    if size is not None and scale is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        if isinstance(size, (tuple, list)):
            if len(size) != k:
                raise ValueError(
                    "Input and output must have the same number of spatial dimensions, but got "
                    "input with spatial "
                    f"dimensions of {list(shape)} and output size of {list(size)}. Please provide "
                    "input tensor in "
                    "(N, C, d1, d2, ...,dK) format and output size in (o1, o2, ...,oK) format."
                )
            out = tuple(s.__index__() for s in size)
        else:
            out = (size.__index__(),) * k
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return out, [None] * k
    if scale is None:
        raise ValueError("either size or scale_factor should be defined")
    if isinstance(scale, (tuple, list)):
        if len(scale) != k:
            raise ValueError(
                "Input and scale_factor must have the same number of spatial dimensions, but got "
                "input with spatial "
                f"dimensions of {list(shape)} and scale_factor of shape {list(scale)}. Please "
                "provide input tensor in "
                "(N, C, d1, d2, ...,dK) format and scale_factor in (s1, s2, ...,sK) format."
            )
        scales = [float(s) for s in scale]
    else:
        if not hasattr(scale, "__float__"):
            raise wrong_type(scale, "float")
        scales = [float(scale)] * k
    out = tuple(math.floor(n * s) for n, s in zip(shape, scales, strict=True))
    return out, [None] * k if recompute else list(scales)


@functional("interpolate")
def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Images (N, C, *space) resized to `size` or by `scale_factor`.

    mode: nearest, nearest-exact, linear (3D input), bilinear, bicubic (4D), trilinear (5D), area.

    >>> import facula as torch
    >>> x = torch.tensor([[[1.0, 2.0]]])
    >>> torch.nn.functional.interpolate(x, scale_factor=2)
    tensor([[[1., 1., 2., 2.]]])
    """
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | "
                "bilinear | bicubic | "
                "trilinear"
            )
    elif align_corners is None:
        align_corners = False
    out, scales = _space(input, size, scale_factor, recompute_scale_factor)
    m = input.meta
    if antialias and not (mode in ("bilinear", "bicubic") and m.ndim == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D "
            "tensor as input"
        )
    if mode == "area":
        if m.ndim not in (3, 4, 5):
            raise NotImplementedError(_refused(m.ndim, mode))
        return FUNCTIONAL[f"adaptive_avg_pool{m.ndim - 2}d"](input, out)
    if mode not in _KIND or m.ndim not in (3, 4, 5) or _DIMS.get(mode, m.ndim) != m.ndim:
        if mode in _DIMS and m.ndim in (3, 4, 5):
            raise NotImplementedError(
                f"Got {m.ndim}D input, but {mode} mode needs {_DIMS[mode]}D input"
            )
        raise NotImplementedError(_refused(m.ndim, mode))
    return resize_to(input, _KIND[mode], out, scales, bool(align_corners), antialias)


def _refused(ndim: int, mode: str) -> str:
    return (
        f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {ndim}D) for the modes: "
        "nearest | linear | "
        f"bilinear | bicubic | trilinear | area | nearest-exact (got {mode})"
    )


def resize_to(
    input: Tensor,
    kind: str,
    out: Sizes,
    scales: Sequence[float | None],
    align: bool,
    antialias: bool,
) -> Tensor:
    """Images of the sizes `out`, by the kind of interpolation."""
    shape = tuple(input.meta.shape)
    if min(out) < 1 or not all(shape[1:]):
        raise RuntimeError(
            "Input and output sizes should be greater than 0, but got input "
            f"(H: {shape[-2]}, W: {shape[-1]}) output (H: {out[0]}, W: {out[-1]})"
        )
    d = input.meta.dtype
    if d.kind not in "f" and d is not dt.uint8:
        raise NotImplementedError(f"\"upsample_{kind}_out_frame\" not implemented for '{d.short}'")
    word = ("aa-" if antialias else "") + kind
    if align and not kind.startswith("nearest"):
        word += ":aligned"
    plan = tuple(
        (word, n, o, _step(n, o, align and not kind.startswith("nearest"), s))
        for n, o, s in zip(shape[2:], out, scales, strict=True)
    )
    return apply(_op_of(plan), (input,), (plan,))


def _deprecated(name: str) -> None:
    warnings.warn(
        f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=3,
    )


@functional("upsample")
def upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None):  # type: ignore[no-untyped-def]
    """`interpolate` under its old name."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


@functional("upsample_nearest")
def upsample_nearest(input, size=None, scale_factor=None):  # type: ignore[no-untyped-def]
    """`interpolate` with mode="nearest"."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, mode="nearest")


@functional("upsample_bilinear")
def upsample_bilinear(input, size=None, scale_factor=None):  # type: ignore[no-untyped-def]
    """`interpolate` with mode="bilinear" and align_corners=True."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
