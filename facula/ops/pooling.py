"""Pooling over windows: largest elements, means, p-norms; with their indices and inverses.

Templates (NumPy meaning in graph/reference_conv.py), all on (N, C, *space):
  max_pool(x) -> values, indices; arg (kernel, stride, padding, dilation, out);
  avg_pool(x), arg (kernel, stride, padding, out, count_include_pad, divisor or None);
  avg_pool_backward(g), arg (kernel, stride, padding, space of x, count_include_pad, divisor);
  adaptive_max_pool(x) -> values, indices; arg (out,);
  adaptive_avg_pool(x), arg (out,); adaptive_avg_pool_backward(g), arg (space of x,).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from facula.autograd.node import shown
from facula.graph import dtypes as dt
from facula.graph.formats import AS_IMAGES
from facula.graph.meta import Meta, meta_of
from facula.graph.tape import Op
from facula.ops import depth
from facula.ops.apply import apply
from facula.ops.pointwise import opmath, unsupported
from facula.ops.registry import FUNCTIONAL, TORCH, to_out
from facula.tensor import Tensor

Sizes = tuple[int, ...]


def per_dim(value: Any, k: int, name: str) -> Sizes:
    """One number for each of k space dims."""
    if hasattr(value, "__index__"):
        return (value.__index__(),) * k
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"argument '{name}' must be tuple of ints, not {type(value).__name__}")
    if len(value) == 1:
        return (value[0].__index__(),) * k
    if len(value) != k:
        raise RuntimeError(f"{name} must either be a single int, or a tuple of {k} ints")
    return tuple(v.__index__() for v in value)


def pooled_size(n: int, k: int, s: int, p: int, d: int, ceil: bool) -> int:
    """How many windows fit; with `ceil` also those that begin inside but end beyond."""
    out = (n + 2 * p - d * (k - 1) - 1 + (s - 1 if ceil else 0)) // s + 1
    return out - 1 if ceil and (out - 1) * s >= n + p else out


def _window(
    what: str, m: Meta, k: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
) -> tuple[Sizes, Sizes, Sizes, Sizes, Sizes]:
    """(kernel, stride, padding, dilation, out), checked."""
    kernel = per_dim(kernel, k, "kernel_size")
    stride = kernel if stride is None or stride in ((), []) else per_dim(stride, k, "stride")
    padding, dilation = per_dim(padding, k, "padding"), per_dim(dilation, k, "dilation")
    if m.ndim not in (k + 1, k + 2):
        raise RuntimeError(
            f"{what}(): {k + 1}D or {k + 2}D (batch mode) tensor expected for input, but got: "
            f"{list(m.shape)}"
        )
    if (
        not all(m.shape[-k:])
        or (m.ndim == k + 2 and not m.shape[1])
        or (m.ndim == k + 1 and not m.shape[0])
    ):
        raise RuntimeError(
            f"Expected {k + 1}D or {k + 2}D (batch mode) tensor with optional 0 dim batch size "
            "for input, but got: "
            f"{list(m.shape)}"
        )
    for name, values in (("kernel size", kernel), ("stride", stride), ("dilation", dilation)):
        if any(v <= 0 for v in values):
            if name == "stride" and any(v == 0 for v in values):
                raise RuntimeError("stride should not be zero")
            raise RuntimeError(f"{name} should be greater than zero, but got {list(values)}")
    for p, n, d in zip(padding, kernel, dilation, strict=True):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > (d * (n - 1) + 1) // 2:
            raise RuntimeError(
                f"pad should be at most half of effective kernel size, but got pad={p}, "
                f"kernel_size={n} and "
                f"dilation={d}"
            )
    if what == "avg_pool3d" and any(n < w for n, w in zip(m.shape[-3:], kernel, strict=True)):
        image, window = (" ".join(f"{a}: {n}" for a, n in zip(names, sizes, strict=True)) for names, sizes in (
            (("T", "H", "W"), m.shape[-3:]), (("kT", "kH", "kW"), kernel)))  # fmt: skip
        raise RuntimeError(f"input image ({image}) smaller than kernel size ({window})")
    dims = zip(m.shape[-k:], kernel, stride, padding, dilation, strict=True)
    out = tuple(pooled_size(*v, ceil) for v in dims)
    if min(out) < 1:
        shown = ["x".join(map(str, (m.shape[-k - 1], *v))) for v in (m.shape[-k:], out)]
        raise RuntimeError(
            f"Given input size: ({shown[0]}). Calculated output size: ({shown[1]}). Output size "
            "is too small"
        )
    return kernel, stride, padding, dilation, out


def _lead(x: Any, k: int) -> tuple[int, int]:
    """(N, C) of (N, C, *space) or (C, *space)."""
    lead = x.shape[: len(x.shape) - k]
    return (1, lead[0]) if len(lead) == 1 else (lead[0], lead[1])


# max ---------------------------------------------------------------------------------------------


def _max_infer(x: Meta, *params: Any) -> tuple[Meta, Meta]:
    out = params[-1]
    if x.dtype.kind not in "fiu":
        raise NotImplementedError(unsupported("max_pool2d", x.dtype))
    m = meta_of(x.dtype, (*x.shape[: x.ndim - len(out)], *out), x.device)
    return m, m.with_dtype(dt.int64)


def _max_template(name: str) -> Callable[..., Any]:
    def expand(g: Any, x: Any, *params: Any) -> Any:
        out = params[-1]
        k, w = len(out), opmath(x.dtype)
        n, c = _lead(x, k)
        shape = (*x.shape[: x.ndim - k], *out)
        if not x.numel:
            return g.const(0, x.dtype, shape), g.const(0, dt.int64, shape)
        wide = g.reshape(g.cast(x, w), (n, c, *x.shape[x.ndim - k :]))
        if name == "max_pool" and depth.is_deep(wide):
            values, index = depth.max_pool(g, wide, params)
        else:
            values, index = g.template(
                name, [(w, (n, c, *out)), (dt.int64, (n, c, *out))], (wide,), params
            )
        return g.cast(g.reshape(values, shape), x.dtype), g.reshape(index, shape)

    return expand


def _max_backward(n: Any, g: Tensor, _: Any = None) -> Tensor:
    *window, out = n.params
    return apply(
        MAX_BACKWARD, (g, n.tensor(0)), (tuple(n.inst.ins[0].shape), len(out), *window[:4])
    )


def flat_planes(g: Any, v: Any, k: int) -> Any:
    """(images * channels, positions)."""
    rows = math.prod(v.shape[: v.ndim - k])
    return g.reshape(v, (rows, math.prod(v.shape[v.ndim - k :])))


def _max_back_expand(g: Any, grad: Any, index: Any, shape: Sizes, k: int, *window: Any) -> Any:
    w = opmath(grad.dtype)
    if not grad.numel:
        return g.const(0, grad.dtype, shape)
    if window and k < 3:
        lead, size = _lead(grad, k), shape[len(shape) - k :]
        wide = [g.reshape(v, (*lead, *v.shape[v.ndim - k :])) for v in (g.cast(grad, w), index)]
        (out,) = g.template("max_pool_backward", [(w, (*lead, *size))], wide, (*window, size))
        return g.cast(g.reshape(out, shape), grad.dtype)
    rows = math.prod(shape[: len(shape) - k])
    zero = g.const(0, w, (rows, math.prod(shape[len(shape) - k :])))
    out = g.scatter(zero, flat_planes(g, index, k), flat_planes(g, g.cast(grad, w), k), 1, "add")
    return g.cast(g.reshape(out, shape), grad.dtype)


def _pick_expand(g: Any, x: Any, index: Any, k: int) -> Any:
    if not index.numel:
        return g.const(0, x.dtype, index.shape)
    return g.reshape(g.gather(flat_planes(g, x, k), flat_planes(g, index, k), 1), index.shape)


# elements of images by index in their space, the adjoint of MAX_BACKWARD
PICK = Op(
    "max_pool_double_backward",
    lambda x, index, k: meta_of(x.dtype, index.shape, x.device),
    _pick_expand,
    lambda n, g: (
        apply(MAX_BACKWARD, (g, n.tensor(0)), (tuple(n.inst.ins[0].shape), n.params[0])),
        None,
    ),
    saves="1",
)
MAX_BACKWARD = Op(
    "max_pool_backward",
    lambda g, i, shape, k, *window: meta_of(g.dtype, shape, g.device),
    _max_back_expand,
    lambda n, g: (apply(PICK, (g, n.tensor(0)), (n.params[1],)), None),
    saves="1",
    lies=AS_IMAGES,
)


def _squeezed(name: str) -> Callable:
    """What a 1-d pooling shows: PyTorch's is the 2-d one between an unsqueeze and a squeeze."""

    def shows(n: Any) -> tuple:
        edge = n.edges[0]
        return (None if edge is None else shown(name, shown("UnsqueezeBackward0", edge)),)

    return shows


def _max_op(name: str, grad_name: str, shows: Callable | None = None) -> Op:
    return Op(
        name,
        _max_infer,
        _max_template(name),
        _max_backward,
        saves="out1",
        materialize=False,
        grad_name=grad_name,
        shows=shows,
        lies=AS_IMAGES,
    )


MAX_POOL = {
    1: _max_op("max_pool", "SqueezeBackward1", _squeezed("MaxPool2DWithIndicesBackward0")),
    2: _max_op("max_pool", "MaxPool2DWithIndicesBackward0"),
    3: _max_op("max_pool", "MaxPool3DWithIndicesBackward0"),
}
ADAPTIVE_MAX = {
    k: _max_op(
        "adaptive_max_pool",
        "SqueezeBackward1" if k == 1 else f"AdaptiveMaxPool{k}DBackward0",
        _squeezed("AdaptiveMaxPool2DBackward0") if k == 1 else None,
    )
    for k in (1, 2, 3)
}


def _max_pool(
    k: int,
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    params = _window(
        f"max_pool{k}d", input.meta, k, kernel_size, stride, padding, dilation, ceil_mode
    )
    return apply(MAX_POOL[k], (input,), params)


def named(fn: Callable, name: str, doc: str) -> Callable:
    """fn, with the name and the docstring that users see."""
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    return fn


def _publish_max(k: int) -> None:
    def with_indices(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> tuple[Tensor, Tensor]:
        return _max_pool(k, input, kernel_size, stride, padding, dilation, ceil_mode)

    def values_only(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Tensor:
        return _max_pool(k, input, kernel_size, stride, padding, dilation, ceil_mode)[0]

    def function(*args: Any, **kwargs: Any) -> Any:
        wants = kwargs.get("return_indices", args[6] if len(args) > 6 else False)
        return (with_indices if wants else values_only)(*args, **kwargs)

    def torch_function(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> Tensor:
        return _max_pool(k, input, kernel_size, stride, padding, dilation, ceil_mode)[0]

    name = f"max_pool{k}d"
    doc = f"The largest element of each window over the last {k} dims."
    named(with_indices, name + "_with_indices", doc[:-1] + ", and its index.")
    named(values_only, "_" + name, doc)
    FUNCTIONAL[name] = named(function, name, doc)
    FUNCTIONAL[name + "_with_indices"], FUNCTIONAL["_" + name] = with_indices, values_only
    TORCH[name] = named(torch_function, name, doc)


for _k in (1, 2, 3):
    _publish_max(_k)
TORCH["max_pool1d_with_indices"] = FUNCTIONAL["max_pool1d_with_indices"]


# mean --------------------------------------------------------------------------------------------


def _avg_infer(x: Meta, kernel: Sizes, stride: Sizes, padding: Sizes, out: Sizes, *_: Any) -> Meta:
    if x.dtype.kind not in "fiu":
        raise NotImplementedError(unsupported("avg_pool2d_out_frame", x.dtype))
    return meta_of(x.dtype, (*x.shape[: x.ndim - len(out)], *out), x.device)


def _avg_expand(g: Any, x: Any, *params: Any) -> Any:
    out = params[3]
    k, w = len(out), opmath(x.dtype)
    n, c = _lead(x, k)
    shape = (*x.shape[: x.ndim - k], *out)
    if not x.numel:
        return g.const(0, x.dtype, shape)
    wide = g.reshape(g.cast(x, w), (n, c, *x.shape[x.ndim - k :]))
    if depth.is_deep(wide) and (params[5] or 0) >= 0:
        return g.cast(g.reshape(depth.avg_pool(g, wide, params), shape), x.dtype)
    (y,) = g.template("avg_pool", [(w, (n, c, *out))], (wide,), params)
    return g.cast(g.reshape(y, shape), x.dtype)


def _avg_back_expand(
    g: Any,
    grad: Any,
    shape: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    out: Sizes,
    count_pad: bool,
    divisor: int | None,
) -> Any:
    k, w = len(out), opmath(grad.dtype)
    if not grad.numel:
        return g.const(0, grad.dtype, shape)
    n, c = _lead(grad, k)
    size = tuple(shape[len(shape) - k :])
    wide = g.reshape(g.cast(grad, w), (n, c, *out))
    arg = (kernel, stride, padding, size, count_pad, divisor)
    if depth.is_deep(wide) and (divisor or 0) >= 0:
        return g.cast(g.reshape(depth.avg_pool_backward(g, wide, arg), shape), grad.dtype)
    (y,) = g.template("avg_pool_backward", [(w, (n, c, *size))], (wide,), arg)
    return g.cast(g.reshape(y, shape), grad.dtype)


AVG_BACKWARD = Op(
    "avg_pool_backward",
    lambda g, shape, *_: meta_of(g.dtype, shape, g.device),
    _avg_back_expand,
    lambda n, g: apply(AVG_POOL[len(n.params[1])], (g,), n.params[1:]),
)
AVG_POOL = {
    k: Op(
        "avg_pool",
        _avg_infer,
        _avg_expand,
        lambda n, g: apply(AVG_BACKWARD, (g,), (tuple(n.inst.ins[0].shape), *n.params)),
        grad_name="SqueezeBackward1" if k == 1 else f"AvgPool{k}DBackward0",
        shows=_squeezed("AvgPool2DBackward0") if k == 1 else None,
        lies=AS_IMAGES,
    )
    for k in (1, 2, 3)
}


def _avg_pool(
    k: int,
    input: Tensor,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil: bool,
    count_pad: bool,
    divisor: int | None,
) -> Tensor:
    if divisor == 0:
        raise RuntimeError("divisor must be not zero")
    kernel, stride, padding, _, out = _window(
        f"avg_pool{k}d", input.meta, k, kernel, stride, padding, 1, ceil
    )
    params = (kernel, stride, padding, out, bool(count_pad), divisor)
    return apply(AVG_POOL[k], (input,), params)


def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window over the last dim."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """The mean of each window over the last two dims."""
    y = _avg_pool(
        2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    return to_out(y, out, exact=True)


def avg_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """The mean of each window over the last three dims."""
    y = _avg_pool(
        3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    return to_out(y, out, exact=True)


for _fn in (avg_pool1d, avg_pool2d, avg_pool3d):
    FUNCTIONAL[_fn.__name__] = _fn
TORCH["avg_pool1d"] = avg_pool1d


def _lp_pool(
    k: int, input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool
) -> Tensor:
    kernel = per_dim(kernel_size, k, "kernel_size")
    out = _avg_pool(k, input.pow(norm_type), kernel_size, stride, 0, ceil_mode, True, None)  # type: ignore[attr-defined]
    positive = out.sign() * out.abs().relu()  # type: ignore[attr-defined]
    return (positive * math.prod(kernel)).pow(1.0 / norm_type)


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: int, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of each window over the last dim."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of each window over the last two dims."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of each window over the last three dims."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


for _fn in (lp_pool1d, lp_pool2d, lp_pool3d):
    FUNCTIONAL[_fn.__name__] = _fn


# adaptive: windows of nearly equal size that give the size asked for -----------------------------


def adaptive_out(m: Meta, k: int, size: Any, what: str) -> Sizes:
    """The result's space dims: None keeps the input's."""
    if k > 1 and m.ndim <= k:
        raise ValueError(f"Input dimension should be at least {k + 1}")
    if size is None or hasattr(size, "__index__"):
        size = (size,) * k
    if len(size) != k:
        raise RuntimeError(f"{what}: internal error: output_size.size() must be {k}")
    out = tuple(n if o is None else int(o) for n, o in zip(m.shape[-k:], size, strict=True))
    if m.ndim not in (k + 1, k + 2):
        raise RuntimeError(
            f"{what}(): Expected {k + 1}D or {k + 2}D tensor, but got {list(m.shape)}"
        )
    if any(o < 0 for o in out):
        raise RuntimeError(
            f"elements of output_size must be greater than or equal to 0 but received {list(out)}"
        )
    for i in range(m.ndim - k, m.ndim):
        if m.shape[i] == 0:
            raise RuntimeError(
                f"{what}(): Expected input to have non-zero size for non-batch dimensions, but "
                "input has sizes "
                f"{list(m.shape)} with dimension {i} being empty"
            )
    return out


def _depth_means(g: Any, x: Any, out: int, back: bool) -> Any:
    """Bins of equal size along axis 2 (which is not that of a plane), as a mean of layers."""
    n = x.shape[2]
    many, few = (out, n) if back else (n, out)
    size, rest = many // few, x.shape[3:]
    lead, inner = x.shape[:2], math.prod(rest)
    if back:
        wide = (*lead, few, size, inner)
        v = g.expand(g.reshape(x, (*lead, few, 1, inner)), wide) / float(size)
    else:
        v = g.mean(g.reshape(x, (*lead, few, size, inner)), 3)
    return g.reshape(v, (*lead, out, *rest))


def _bins(g: Any, x: Any, sizes: Sizes, back: bool) -> Any:
    """The template of means of bins (or of their gradient) over the last one or two dims.

    Of three space dims the first becomes a plane's height beside it: means are taken apart.
    """
    name = "adaptive_avg_pool_backward" if back else "adaptive_avg_pool"
    if len(sizes) == 3:
        n, c, d, *plane = x.shape
        if x.shape[3:] != sizes[1:]:
            flat = _bins(g, g.reshape(x, (n, c * d, *plane)), sizes[1:], back)
            x = g.reshape(flat, (n, c, d, *sizes[1:]))
        few, many = sorted((d, sizes[0]))
        if many % few == 0:
            return _depth_means(g, x, sizes[0], back)
        lead, area = (n, c), math.prod(sizes[1:])
        flat = _bins(g, g.reshape(x, (*lead, d, area)), (sizes[0], area), back)
        return g.reshape(flat, (*lead, *sizes))
    (y,) = g.template(name, [(x.dtype, (*x.shape[:2], *sizes))], (x,), (sizes,))
    return y


def _adaptive_expand(g: Any, x: Any, out: Sizes) -> Any:
    v, k = g.cast(x, opmath(x.dtype)), len(out)
    shape, size = (*x.shape[: x.ndim - k], *out), x.shape[x.ndim - k :]
    if not math.prod(out) or not x.numel:
        return g.const(0, x.dtype, shape)
    if all(o == 1 for o in out):
        v = g.mean(g.reshape(v, (math.prod(shape), math.prod(size))), 1)
    elif all(n % o == 0 for n, o in zip(size, out, strict=True)):
        kernel = tuple(n // o for n, o in zip(size, out, strict=True))
        v = _avg_expand(g, v, kernel, kernel, (0,) * k, out, True, None)
    else:
        v = _bins(g, g.reshape(v, (*_lead(x, k), *size)), out, False)
    return g.cast(g.reshape(v, shape), x.dtype)


def _adaptive_back_expand(g: Any, grad: Any, shape: Sizes, out: Sizes) -> Any:
    v, k = g.cast(grad, opmath(grad.dtype)), len(out)
    if not grad.numel:
        return g.const(0, grad.dtype, shape)
    size = tuple(shape[len(shape) - k :])
    if all(n % o == 0 for n, o in zip(size, out, strict=True)):
        v = _shared_out(g, v, size, out)
    else:
        v = _bins(g, g.reshape(v, (*_lead(grad, k), *out)), size, True)
    return g.cast(g.reshape(v, shape), grad.dtype)


def _shared_out(g: Any, v: Any, size: Sizes, out: Sizes) -> Any:
    """Each number in all places of its bin, by their count; bins do not overlap."""
    lead = v.shape[: v.ndim - len(out)]
    narrow, wide = [*lead], [*lead]
    for n, o in zip(size, out, strict=True):
        narrow += [o, 1]
        wide += [o, n // o]
    count = math.prod(size) // math.prod(out)
    return g.expand(g.reshape(v / float(count), tuple(narrow)), tuple(wide))


ADAPTIVE_BACKWARD = Op(
    "adaptive_avg_pool_backward",
    lambda g, shape, out: meta_of(g.dtype, shape, g.device),
    _adaptive_back_expand,
    lambda n, g: apply(ADAPTIVE_AVG[len(n.params[1]), False], (g,), n.params[1:]),
)
ADAPTIVE_AVG = {
    (k, one): Op(
        "adaptive_avg_pool",
        lambda x, out: meta_of(x.dtype, (*x.shape[: x.ndim - len(out)], *out), x.device),
        _adaptive_expand,
        lambda n, g: apply(ADAPTIVE_BACKWARD, (g,), (tuple(n.inst.ins[0].shape), *n.params)),
        grad_name="SqueezeBackward1"
        if k == 1
        else "MeanBackward1"
        if one
        else f"AdaptiveAvgPool{k}DBackward0",
        shows=_squeezed("AdaptiveAvgPool2DBackward0") if k == 1 else None,
        lies=AS_IMAGES,
    )
    for k in (1, 2, 3)
    for one in (False, True)
}


def _publish_adaptive(k: int) -> None:
    def avg(input: Tensor, output_size: Any) -> Tensor:
        name = f"adaptive_avg_pool{k}d"
        out = adaptive_out(input.meta, k, output_size, name)
        if input.meta.dtype.kind != "f":
            raise NotImplementedError(unsupported(name, input.meta.dtype))
        return apply(ADAPTIVE_AVG[k, all(o == 1 for o in out)], (input,), (out,))

    def with_indices(
        input: Tensor, output_size: Any, return_indices: bool = False
    ) -> tuple[Tensor, Tensor]:
        out = adaptive_out(input.meta, k, output_size, f"adaptive_max_pool{k}d")
        return apply(ADAPTIVE_MAX[k], (input,), (out,))

    def values_only(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
        return with_indices(input, output_size)[0]

    def function(*args: Any, **kwargs: Any) -> Any:
        wants = kwargs.get("return_indices", args[2] if len(args) > 2 else False)
        return (with_indices if wants else values_only)(*args, **kwargs)

    doc = f"of windows that give the last {k} dims the sizes asked for."
    FUNCTIONAL[f"adaptive_avg_pool{k}d"] = named(avg, f"adaptive_avg_pool{k}d", "Means " + doc)
    name = f"adaptive_max_pool{k}d"
    FUNCTIONAL[name] = named(function, name, "Largest elements " + doc)
    FUNCTIONAL[name + "_with_indices"] = named(
        with_indices, name + "_with_indices", "Largest elements, with their indices, " + doc
    )
    FUNCTIONAL["_" + name] = named(values_only, "_" + name, "Largest elements " + doc)


for _k in (1, 2, 3):
    _publish_adaptive(_k)
TORCH["adaptive_avg_pool1d"] = FUNCTIONAL["adaptive_avg_pool1d"]
TORCH["adaptive_max_pool1d"] = FUNCTIONAL["adaptive_max_pool1d_with_indices"]
