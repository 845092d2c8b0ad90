"""Convolutions and transposed convolutions, one operator each, closed under differentiation.

Templates (NumPy meaning in graph/reference_conv.py):
  conv(x, w), arg (stride, padding, dilation, groups);
  conv_input_grad(g, w), arg (stride, padding, dilation, groups, space of x);
  conv_weight_grad(g, x), arg (stride, padding, dilation, groups, space of w).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from facula.graph import reference_conv
from facula.graph.formats import AS_IMAGES
from facula.graph.meta import Meta, meta_of
from facula.graph.tape import Op
from facula.ops import depth
from facula.ops.apply import apply
from facula.ops.elementwise import conj_of
from facula.ops.pointwise import opmath
from facula.ops.registry import FUNCTIONAL, TORCH
from facula.tensor import Tensor

Sizes = tuple[int, ...]


def _bias_add(g: Any, y: Any, bias: Sequence[Any]) -> Any:
    if not bias:
        return y
    line = tuple(bias[0].shape[0] if i == 1 else 1 for i in range(y.ndim))
    return y + g.reshape(g.cast(bias[0], y.dtype), line)


def _bias_grad(n: Any, g: Tensor) -> tuple:
    """The gradient of the bias, if there is one."""
    if len(n.edges) == 2:
        return ()
    dims = [i for i in range(g.meta.ndim) if i != 1]
    return (g.sum(dims) if n.needs(2) else None,)  # type: ignore[attr-defined]


# convolution -------------------------------------------------------------------------------------


def _conv_infer(x: Meta, w: Meta, *rest: Any) -> Meta:
    stride, padding, dilation, _ = rest[-4:]
    out = reference_conv.conv_out(x.shape[2:], w.shape[2:], stride, padding, dilation)
    return meta_of(x.dtype, (x.shape[0], w.shape[0], *out), x.device)


def _conv_expand(g: Any, x: Any, w: Any, *rest: Any) -> Any:
    *bias, stride, padding, dilation, groups = rest
    t = opmath(x.dtype)
    out = reference_conv.conv_out(x.shape[2:], w.shape[2:], stride, padding, dilation)
    shape = (x.shape[0], w.shape[0], *out)
    if not (x.numel and w.numel and all(shape)):
        y = g.const(0, t, shape)
    else:
        x_, w_, arg = g.cast(x, t), g.cast(w, t), (stride, padding, dilation, groups)
        if _lie_apart(w, stride, padding, dilation, groups) and w.shape[-1] >= _LONG_RUN:
            y = _patches_product(g, x_, w_, shape)
        elif depth.is_deep(x_):
            y = depth.conv(g, x_, w_, arg, shape)
        else:
            (y,) = g.template("conv", [(t, shape)], (x_, w_), arg)
    return g.cast(_bias_add(g, y, bias), x.dtype)


_LONG_RUN = 8  # numbers of an image side by side, so that moving them pays


def _lie_apart(w: Any, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> bool:
    """Whether windows lie side by side, as patches of a picture do."""
    plain = groups == 1 and not any(padding) and all(d == 1 for d in dilation)
    return plain and tuple(w.shape[2:]) == tuple(stride)


def _patches_product(g: Any, x: Any, w: Any, shape: Sizes) -> Any:
    """The convolution where no two windows overlap: patches as rows, and one product for all."""
    kernel, out, k = w.shape[2:], shape[2:], len(shape) - 2
    used = (*x.shape[:2], *(a * b for a, b in zip(out, kernel, strict=True)))
    if used != tuple(x.shape):
        x = g.slice(x, (0,) * len(used), used, (1,) * len(used))
    pairs = (size for pair in zip(out, kernel, strict=True) for size in pair)
    x = g.reshape(x, (*x.shape[:2], *pairs))
    x = g.permute(x, (0, *range(2, 2 * k + 2, 2), 1, *range(3, 2 * k + 3, 2)))
    many, depth_ = shape[0] * math.prod(out), w.numel // w.shape[0]
    y = g.matmul(
        g.reshape(x, (many, depth_)), g.permute(g.reshape(w, (w.shape[0], depth_)), (1, 0))
    )
    return g.permute(g.reshape(y, (shape[0], *out, shape[1])), (0, k + 1, *range(1, k + 1)))


def _conv_backward(n: Any, g: Tensor) -> tuple:
    x, w = n.inst.ins[0], n.inst.ins[1]
    gx = gw = None
    if n.needs(0):
        gx = apply(CONV_INPUT_GRAD, (g, conj_of(n.tensor(1))), (*n.params, tuple(x.shape[2:])))
    if n.needs(1):
        gw = apply(CONV_WEIGHT_GRAD, (g, conj_of(n.tensor(0))), (*n.params, tuple(w.shape[2:])))
    return (gx, gw, *_bias_grad(n, g))


CONV = Op("convolution", _conv_infer, _conv_expand, _conv_backward, saves="0 1", lies=AS_IMAGES)


# its adjoint in the input: the transposed convolution --------------------------------------------


def _input_grad_infer(g: Meta, w: Meta, *rest: Any) -> Meta:
    groups, size = rest[-2:]
    return meta_of(g.dtype, (g.shape[0], w.shape[1] * groups, *size), g.device)


# Cycles for a number: of an image's line copied for each of a window's taps, of a run moved to its
# place in an image, of results dealt out to every other place of a row, and to ones further apart.
_LINE, _REGISTER, _RUN, _NEAR, _FAR = 12.0, 3.0, 9.0, 0.5, 1.0


def _apart(grad: Any, w: Any, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> bool:
    """Whether windows lie side by side, and one product whose results are moved costs less than
    copying the gradient for each of their taps, which has a product of its own."""
    kernel = w.shape[2:]
    if not _lie_apart(w, stride, padding, dilation, groups) or math.prod(kernel) == 1:
        return False
    width, run = grad.shape[-1], kernel[-1]
    copied = grad.shape[1] * (_LINE + _REGISTER * -(-width // 16)) / width
    return copied > w.shape[1] * (_RUN / run - (_NEAR if run == 2 else _FAR))


def _laid_side_by_side(g: Any, grad: Any, w: Any, shape: Sizes) -> Any:
    """The input's gradient where no two windows overlap: one product, whose results are moved."""
    (n, o, *out), kernel = grad.shape, w.shape[2:]
    k, rows = len(kernel), g.reshape(grad, (n, o, math.prod(out)))
    y = g.matmul(g.permute(rows, (0, 2, 1)), g.reshape(w, (1, o, w.numel // o)))
    y = g.reshape(y, (n, *out, shape[1], *kernel))
    y = g.permute(y, (0, k + 1, *(j for i in range(k) for j in (i + 1, i + k + 2))))
    full = [a * b for a, b in zip(out, kernel, strict=True)]
    y = g.reshape(y, (n, shape[1], *full))
    rest = [a - b for a, b in zip(shape[2:], full, strict=True)]
    return g.pad(y, [0] * y.ndim, [0, 0, *rest], 0.0) if any(rest) else y


def _input_grad_expand(g: Any, grad: Any, w: Any, *rest: Any) -> Any:
    *bias, stride, padding, dilation, groups, size = rest
    t = opmath(grad.dtype)
    shape = (grad.shape[0], w.shape[1] * groups, *size)
    if not (grad.numel and w.numel and all(shape)):
        y = g.const(0, t, shape)
    else:
        arg = (stride, padding, dilation, groups, size)
        grad_, w_ = g.cast(grad, t), g.cast(w, t)
        if _apart(grad_, w, *arg[:4]):
            y = _laid_side_by_side(g, grad_, w_, shape)
        elif depth.is_deep(grad_):
            y = depth.conv_input_grad(g, grad_, w_, arg, shape)
        else:
            (y,) = g.template("conv_input_grad", [(t, shape)], (grad_, w_), arg)
    return g.cast(_bias_add(g, y, bias), grad.dtype)


def _input_grad_backward(n: Any, g: Tensor) -> tuple:
    params = n.params[:4]
    w = n.inst.ins[1]
    ga = gw = None
    if n.needs(0):
        ga = apply(CONV, (g, conj_of(n.tensor(1))), params)
        for i, size in enumerate(n.inst.ins[0].shape[2:], 2):
            # output_padding may leave room for one more window
            ga = ga if ga.meta.shape[i] == size else ga.narrow(i, 0, size)
    if n.needs(1):
        gw = apply(CONV_WEIGHT_GRAD, (conj_of(n.tensor(0)), g), (*params, tuple(w.shape[2:])))
    return (ga, gw, *_bias_grad(n, g))


CONV_INPUT_GRAD = Op(
    "convolution",
    _input_grad_infer,
    _input_grad_expand,
    _input_grad_backward,
    saves="0 1",
    lies=AS_IMAGES,
)


# its adjoint in the weight -----------------------------------------------------------------------


def _weight_grad_infer(
    g: Meta, x: Meta, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int, kernel: Sizes
) -> Meta:
    return meta_of(g.dtype, (g.shape[1], x.shape[1] // groups, *kernel), g.device)


def _weight_grad_expand(
    g: Any,
    grad: Any,
    x: Any,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
    kernel: Sizes,
) -> Any:
    t = opmath(grad.dtype)
    shape = (grad.shape[1], x.shape[1] // groups, *kernel)
    if not (grad.numel and x.numel and all(shape)):
        return g.const(0, grad.dtype, shape)
    arg = (stride, padding, dilation, groups, kernel)
    grad_, x_ = g.cast(grad, t), g.cast(x, t)
    if depth.is_deep(grad_):
        return g.cast(depth.conv_weight_grad(g, grad_, x_, arg, shape), grad.dtype)
    (y,) = g.template("conv_weight_grad", [(t, shape)], (grad_, x_), arg)
    return g.cast(y, grad.dtype)


def _weight_grad_backward(n: Any, gg: Tensor) -> tuple:
    params = n.params[:4]
    x = n.inst.ins[1]
    ga = apply(CONV, (conj_of(n.tensor(1)), gg), params) if n.needs(0) else None
    gx = None
    if n.needs(1):
        gx = apply(CONV_INPUT_GRAD, (conj_of(n.tensor(0)), gg), (*params, tuple(x.shape[2:])))
    return ga, gx


CONV_WEIGHT_GRAD = Op(
    "convolution_backward",
    _weight_grad_infer,
    _weight_grad_expand,
    _weight_grad_backward,
    saves="0 1",
)


# arguments ---------------------------------------------------------------------------------------


def per_dim(value: Any, k: int, name: str, what: str = "conv") -> Sizes:
    """One number for each space dim."""
    if isinstance(value, Tensor):
        value = value.tolist()  # type: ignore[attr-defined]
    if hasattr(value, "__index__"):
        return (value.__index__(),) * k
    if isinstance(value, (float, str)) or not isinstance(value, (tuple, list)):
        raise TypeError(
            f"{what}{k}d(): argument '{name}' must be tuple of ints, not {type(value).__name__}"
        )
    if len(value) == 1:
        return (value[0].__index__(),) * k
    if len(value) != k:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {k} values to match the "
            f"convolution dimensions, but got {name}={list(value)}"
        )
    return tuple(v.__index__() for v in value)


def _check(
    x: Meta,
    w: Meta,
    bias: Meta | None,
    k: int,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
    transposed: bool,
) -> None:
    for name, values, low in (
        ("stride", stride, 1),
        ("padding", padding, 0),
        ("dilation", dilation, 1),
    ):
        if any(v < low for v in values):
            word = "non-positive" if low else "negative"
            raise RuntimeError(f"{word} {name} is not supported")
    if x.dtype is not w.dtype:
        raise RuntimeError(
            f"Input type ({_type_name(x)}) and weight type ({_type_name(w)}) should be the same"
        )
    if bias is not None and bias.dtype is not x.dtype:
        raise RuntimeError(
            f"Input type ({_type_name(x)}) and bias type ({_type_name(bias)}) should be the same"
        )
    if w.shape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
            "but got weight of "
            f"size [{list(w.shape)}] instead"
        )
    channels, outputs = (
        (w.shape[0], w.shape[1] * groups) if transposed else (w.shape[1] * groups, w.shape[0])
    )
    if x.shape[1] != channels:
        word = "transposed=1, " if transposed else ""
        raise RuntimeError(
            f"Given {word}{'groups=' + str(groups) + ', '}weight of size {list(w.shape)}, "
            f"expected input{list(x.shape)} "
            f"to have {channels} channels, but got {x.shape[1]} channels instead"
        )
    if bias is not None and (bias.ndim != 1 or bias.shape[0] != outputs):
        raise RuntimeError(
            f"Given {'transposed=1, ' if transposed else ''}weight of size {list(w.shape)}, "
            "expected bias to be "
            f"1-dimensional with {outputs} elements, but got bias of size {list(bias.shape)} "
            "instead"
        )
    if 0 in w.shape[2:]:
        names = ("kernel_height", "kernel_width") if len(w.shape) == 4 else ("kernel_size",)
        sizes = " ".join(f"{n}: {k}" for n, k in zip(names, w.shape[2:], strict=False))
        raise RuntimeError(f"kernel size should be greater than zero, but got {sizes}")
    if not transposed:
        _check_window(x.shape[2:], w.shape[2:], padding, dilation)


def _check_window(size: Sizes, kernel: Sizes, padding: Sizes, dilation: Sizes) -> None:
    full = [n + 2 * p for n, p in zip(size, padding, strict=True)]
    reach = [d * (n - 1) + 1 for n, d in zip(kernel, dilation, strict=True)]
    if any(r > f for r, f in zip(reach, full, strict=True)):
        shown = [" x ".join(map(str, v)) for v in (full, reach)]
        raise RuntimeError(
            f"Calculated padded input size per channel: ({shown[0]}). Kernel size: ({shown[1]}). "
            "Kernel size can't "
            "be greater than actual input size"
        )


def _type_name(m: Meta) -> str:
    return f"torch.{m.dtype.short}Tensor"


def _batched(x: Tensor, w: Meta, groups: int, k: int, name: str) -> tuple[Tensor, bool]:
    """The input with a batch dim, and whether it had none."""
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    if w.ndim != k + 2:
        raise RuntimeError(
            f"Expected {w.ndim}-dimensional input for {w.ndim}-dimensional weight "
            f"{list(w.shape)}, but got "
            f"{x.meta.ndim}-dimensional input of size {list(x.meta.shape)} instead"
        )
    if w.shape[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but "
            "got weight of size "
            f"{list(w.shape)} instead"
        )
    if x.meta.ndim == k + 1:
        return x.unsqueeze(0), True  # type: ignore[attr-defined]
    if x.meta.ndim != k + 2:
        raise RuntimeError(
            f"Expected {k + 1}D (unbatched) or {k + 2}D (batched) input to {name}, but got input "
            "of size: "
            f"{list(x.meta.shape)}"
        )
    return x, False


def _same_padding(x: Tensor, w: Meta, stride: Sizes, dilation: Sizes) -> tuple[Tensor, Sizes]:
    """padding='same': what is uneven is padded to x itself, behind."""
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    total = [d * (k - 1) for d, k in zip(dilation, w.shape[2:], strict=True)]
    if any(t % 2 for t in total):
        warnings.warn(
            "Using padding='same' with even kernel lengths and odd dilation may require a "
            "zero-padded copy of the "
            "input be created",
            stacklevel=4,
        )
        ends: list[int] = []
        for t in reversed(total):
            ends += (0, t % 2)
        x = FUNCTIONAL["pad"](x, ends)
    return x, tuple(t // 2 for t in total)


def convolve(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    k: int,
) -> Tensor:
    """A convolution with k space dims."""
    name = f"conv{k}d"
    stride, dilation = per_dim(stride, k, "stride"), per_dim(dilation, k, "dilation")
    x, single = _batched(x, w.meta, groups, k, name)
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(f"Invalid padding string: '{padding}'")
        if padding == "same":
            x, padding = _same_padding(x, w.meta, stride, dilation)
        else:
            padding = 0
    padding = per_dim(padding, k, "padding")
    _check(
        x.meta,
        w.meta,
        None if bias is None else bias.meta,
        k,
        stride,
        padding,
        dilation,
        groups,
        False,
    )
    y = apply(CONV, (x, w) if bias is None else (x, w, bias), (stride, padding, dilation, groups))
    return y.squeeze(0) if single else y


def transpose(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    k: int,
) -> Tensor:
    """A transposed convolution with k space dims."""
    stride, dilation = per_dim(stride, k, "stride"), per_dim(dilation, k, "dilation")
    padding, extra = per_dim(padding, k, "padding"), per_dim(output_padding, k, "output_padding")
    x, single = _batched(x, w.meta, groups, k, f"conv_transpose{k}d")
    _check(
        x.meta,
        w.meta,
        None if bias is None else bias.meta,
        k,
        stride,
        padding,
        dilation,
        groups,
        True,
    )
    if any(e < 0 for e in extra):
        raise RuntimeError("negative output_padding is not supported")
    if any(e >= s and e >= d for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise RuntimeError(
            "output padding must be smaller than either stride or dilation, but got "
            "output_padding: "
            f"{list(extra)}, stride: {list(stride)}, dilation: {list(dilation)}"
        )
    dims = zip(x.meta.shape[2:], w.meta.shape[2:], stride, padding, extra, dilation, strict=True)
    size = tuple((n - 1) * s - 2 * p + d * (m - 1) + e + 1 for n, m, s, p, e, d in dims)
    if any(n <= 0 for n in size):
        raise RuntimeError(
            f"Given input size per channel: ({' x '.join(map(str, x.meta.shape[2:]))}). "
            "Calculated output size per "
            f"channel: ({' x '.join(map(str, size))}). Output size is too small"
        )
    y = apply(
        CONV_INPUT_GRAD,
        (x, w) if bias is None else (x, w, bias),
        (stride, padding, dilation, groups, size),
    )
    return y.squeeze(0) if single else y


def _make(k: int) -> None:
    def conv(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        return convolve(input, weight, bias, stride, padding, dilation, groups, k)

    def conv_transpose(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Tensor:
        return transpose(input, weight, bias, stride, padding, output_padding, groups, dilation, k)

    space = ", ".join("DHW"[3 - k :])
    for fn, name, shape in (
        (conv, f"conv{k}d", f"(out, C / groups, *kernel); input (N, C, {space}) or without N"),
        (
            conv_transpose,
            f"conv_transpose{k}d",
            f"(C, out / groups, *kernel); input (N, C, {space}) or without N",
        ),
    ):
        fn.__name__ = fn.__qualname__ = name
        word = "Transposed convolution" if "transpose" in name else "Convolution"
        fn.__doc__ = f"{word} over {k} space dims.\n\nShapes: weight {shape}."
        FUNCTIONAL[name] = TORCH[name] = fn


for _k in (1, 2, 3):
    _make(_k)


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Tensor:
    """Any convolution: `conv1d` to `conv3d` and their transposed forms."""
    k = weight.meta.ndim - 2
    if transposed:
        return transpose(input, weight, bias, stride, padding, output_padding, groups, dilation, k)
    return convolve(input, weight, bias, stride, padding, dilation, groups, k)


TORCH["convolution"] = convolution


def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """conv1d of (time, batch, channels); weight (kernel, in, out)."""
    y = convolve(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, 1, pad, 1, 1, 1)  # type: ignore[attr-defined]
    return y.permute(2, 0, 1).contiguous()  # type: ignore[attr-defined]


TORCH["conv_tbc"] = FUNCTIONAL["conv_tbc"] = conv_tbc


# patches -----------------------------------------------------------------------------------------


def _pair(value: Any, name: str) -> Sizes:
    pair = (value,) * 2 if isinstance(value, int) else tuple(value)
    if len(pair) == 1:
        pair *= 2
    if len(pair) != 2:
        raise RuntimeError(f"It is expected {name} equals to 2, but got size {len(pair)}")
    return pair


def _unfold_out(
    size: Sizes, kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes
) -> Sizes:
    return reference_conv.conv_out(size, kernel, stride, padding, dilation)


def _unfold_infer(x: Meta, kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> Meta:
    oh, ow = _unfold_out(x.shape[2:], kernel, dilation, padding, stride)
    return meta_of(x.dtype, (x.shape[0], x.shape[1] * kernel[0] * kernel[1], oh * ow), x.device)


def _unfold_expand(
    g: Any, x: Any, kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes
) -> Any:
    n, c, h, w = x.shape
    (ph, pw), (kh, kw) = padding, kernel
    oh, ow = _unfold_out((h, w), kernel, dilation, padding, stride)
    wide = g.pad(x, (0, 0, ph, pw), (0, 0, ph, pw))
    hh, ww = h + 2 * ph, w + 2 * pw
    strides = (c * hh * ww, hh * ww, dilation[0] * ww, dilation[1], stride[0] * ww, stride[1])
    view = g.as_strided(wide, (n, c, kh, kw, oh, ow), strides)
    return g.reshape(view, (n, c * kh * kw, oh * ow))


def _unfold_backward(n: Any, g: Tensor) -> Tensor:
    return apply(FOLD, (g,), (tuple(n.inst.ins[0].shape[2:]), *n.params))


def _fold_infer(
    x: Meta, size: Sizes, kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes
) -> Meta:
    return meta_of(x.dtype, (x.shape[0], x.shape[1] // (kernel[0] * kernel[1]), *size), x.device)


def _fold_expand(
    g: Any, x: Any, size: Sizes, kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes
) -> Any:
    t = opmath(x.dtype)
    n, (kh, kw), (h, w) = x.shape[0], kernel, size
    c = x.shape[1] // (kh * kw)
    oh, ow = _unfold_out(size, kernel, dilation, padding, stride)
    hh, ww = h + 2 * padding[0], w + 2 * padding[1]
    grid = (kh, kw, oh, ow)
    row = g.iota(grid, 0) * dilation[0] + g.iota(grid, 2) * stride[0]
    column = g.iota(grid, 1) * dilation[1] + g.iota(grid, 3) * stride[1]
    index = g.reshape(row * ww + column, (kh * kw * oh * ow,))
    src = g.reshape(g.cast(x, t), (n * c, kh * kw * oh * ow))
    flat = g.put(g.const(0, t, (n * c, hh * ww)), index, src, 1, "add")
    out = g.slice(g.reshape(flat, (n, c, hh, ww)), (0, 0, *padding), (n, c, h, w), (1, 1, 1, 1))
    return g.cast(out, x.dtype)


UNFOLD = Op("im2col", _unfold_infer, _unfold_expand, _unfold_backward, grad_name="Im2ColBackward0")
FOLD = Op(
    "col2im",
    _fold_infer,
    _fold_expand,
    lambda n, g: apply(UNFOLD, (g,), n.params[1:]),
    grad_name="Col2ImBackward0",
)


def _check_patches(kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> None:
    for name, (a, b), low in (
        ("kernel", kernel, 1),
        ("dilation", dilation, 1),
        ("stride", stride, 1),
        ("padding", padding, 0),
    ):
        if a < low or b < low:
            word = "greater than zero" if low else "non-negative"
            raise RuntimeError(
                f"{name} should be {word}, but got {name}_height: {a} {name}_width: {b}"
            )


def unfold(
    input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The patches of images as columns: (N, C, H, W) -> (N, C * kernel, positions)."""
    names = ("kernel_size", "dilation", "padding", "stride")
    kernel, dilation, padding, stride = (
        _pair(v, n) for v, n in zip((kernel_size, dilation, padding, stride), names, strict=True)
    )
    _check_patches(kernel, dilation, padding, stride)
    m = input.meta
    if m.ndim not in (3, 4) or not all(m.shape[-3:]):
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
            "dimensions for "
            f"input, but got: {list(m.shape)}"
        )
    out = _unfold_out(m.shape[-2:], kernel, dilation, padding, stride)
    if min(out) < 1:
        raise RuntimeError(
            f"Given input with spatial size ({m.shape[-2]}, {m.shape[-1]}), "
            f"kernel_size=({kernel[0]}, {kernel[1]}), "
            f"dilation=({dilation[0]}, {dilation[1]}), padding=({padding[0]}, {padding[1]}), "
            f"stride=({stride[0]}, "
            f"{stride[1]}), calculated shape of the array of sliding blocks as ({out[0]}, "
            f"{out[1]}), but its "
            "components must be at least one."
        )
    x = input if m.ndim == 4 else input.unsqueeze(0)  # type: ignore[attr-defined]
    y = apply(UNFOLD, (x,), (kernel, dilation, padding, stride))
    return y if m.ndim == 4 else y.squeeze(0)


def fold(
    input: Tensor,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Tensor:
    """Patches added up into images: the adjoint of `unfold`."""
    names = ("output_size", "kernel_size", "dilation", "padding", "stride")
    size, kernel, dilation, padding, stride = (
        _pair(v, n)
        for v, n in zip((output_size, kernel_size, dilation, padding, stride), names, strict=True)
    )
    _check_patches(kernel, dilation, padding, stride)
    m = input.meta
    if m.ndim not in (2, 3) or not all(m.shape[-2:]):
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and "
            "non-zero dimensions for "
            f"input, but got: {list(m.shape)}"
        )
    if m.shape[-2] % (kernel[0] * kernel[1]):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            "but got "
            f"input.size(1)={m.shape[-2]} and kernel_size=({kernel[0]}, {kernel[1]})."
        )
    out = _unfold_out(size, kernel, dilation, padding, stride)
    given = (
        f"Given output_size=({size[0]}, {size[1]}), kernel_size=({kernel[0]}, {kernel[1]}), "
        f"dilation=({dilation[0]}, "
        f"{dilation[1]}), padding=({padding[0]}, {padding[1]}), stride=({stride[0]}, {stride[1]}), "
    )
    if min(out) < 1:
        raise RuntimeError(
            f"{given}calculated shape of the array of sliding blocks as ({out[0]}, {out[1]}), "
            "which is too small (non-positive)"
        )
    if m.shape[-1] != out[0] * out[1]:
        raise RuntimeError(
            f"{given}expected size of input's dimension 2 to match the calculated number of "
            "sliding blocks "
            f"{out[0]} * {out[1]} = {out[0] * out[1]}, but got input.size(2)={m.shape[-1]}."
        )
    x = input if m.ndim == 3 else input.unsqueeze(0)  # type: ignore[attr-defined]
    y = apply(FOLD, (x,), (size, kernel, dilation, padding, stride))
    return y if m.ndim == 3 else y.squeeze(0)


FUNCTIONAL["unfold"], FUNCTIONAL["fold"] = unfold, fold
