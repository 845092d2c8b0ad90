"""Activation functions: one operator each, so that they fuse and show PyTorch's grad_fn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.meta import Meta, broadcast_shapes, meta_of, wrap_dim
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.formula import in_place, pointwise, recording, run
from facula.ops.pointwise import opmath, sum_to
from facula.ops.registry import FUNCTIONAL, TORCH, functional, method, to_out
from facula.ops.without_values import shape_rule
from facula.tensor import Tensor, adopt_array

# formulas: value(k, x, *numbers) and slope(k, x, *numbers) ---------------------------------------


def _gelu(k: Any, x: Any) -> Any:
    return x * ((x * math.sqrt(0.5)).erf() + 1.0) * 0.5


def _gelu_slope(k: Any, x: Any) -> Any:
    density = (x * x * -0.5).exp() * (1 / math.sqrt(2 * math.pi))
    return ((x * math.sqrt(0.5)).erf() + 1.0) * 0.5 + x * density


_GELU_SCALE, _GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715


def _gelu_tanh(k: Any, x: Any) -> Any:
    return x * 0.5 * ((_GELU_SCALE * (x + _GELU_CUBIC * (x * x * x))).tanh() + 1.0)


def _gelu_tanh_slope(k: Any, x: Any) -> Any:
    t = (_GELU_SCALE * (x + _GELU_CUBIC * (x * x * x))).tanh()
    inner = _GELU_SCALE * (x * x * (3 * _GELU_CUBIC) + 1.0)
    return (t + 1.0) * 0.5 + x * 0.5 * (1.0 - t * t) * inner


def _silu(k: Any, x: Any) -> Any:
    if x.dtype.kind == "c":
        return x / ((-x).exp() + 1.0)
    return x * x.sigmoid()


def _silu_slope(k: Any, x: Any) -> Any:
    s = 1.0 / ((-x).exp() + 1.0) if x.dtype.kind == "c" else x.sigmoid()
    return s * (x * (1.0 - s) + 1.0)


def _elu(k: Any, x: Any, alpha: Any, scale: Any, input_scale: Any) -> Any:
    return k.where(x > 0.0, x * scale, (x * input_scale).expm1() * alpha * scale)


def _elu_slope(k: Any, x: Any, alpha: Any, scale: Any, input_scale: Any) -> Any:
    below = (x * input_scale).exp() * alpha * scale * input_scale
    return k.where(x > 0.0, k.like(x, 1.0) * scale, below)


def _softplus(k: Any, x: Any, beta: Any, threshold: Any) -> Any:
    z = x * beta
    return k.where(z > threshold, x, z.exp().log1p() / beta)


def _softplus_slope(k: Any, x: Any, beta: Any, threshold: Any) -> Any:
    z = x * beta
    return k.where(z > threshold, k.like(x, 1.0), z.sigmoid())


def _mish(k: Any, x: Any) -> Any:
    return x * x.exp().log1p().tanh()


def _mish_slope(k: Any, x: Any) -> Any:
    t = x.exp().log1p().tanh()
    return t + x * x.sigmoid() * (1.0 - t * t)


def _log_sigmoid(k: Any, x: Any) -> Any:
    return -((-x).relu() + (-x.abs()).exp().log1p())


def _inside(k: Any, x: Any, low: Any, high: Any) -> Any:
    return (x > low) & (x < high)


def _hard_sigmoid(k: Any, x: Any) -> Any:
    return k.where(x > 3.0, k.like(x, 6.0), (x + 3.0).relu()) / 6.0


def _soft_sign(k: Any, x: Any) -> Any:
    return x / (x.abs() + 1.0)


def _soft_sign_slope(k: Any, x: Any) -> Any:
    r = 1.0 / (x.abs() + 1.0)
    return r * r


def _tanh_shrink_slope(k: Any, x: Any) -> Any:
    t = x.tanh()
    return t * t


def _clamped(k: Any, x: Any, low: Any, high: Any) -> Any:
    # the upper bound last: it wins where the bounds cross
    above = k.where(x < low, k.like(x, 0) + low, x)
    return k.where(above > high, k.like(x, 0) + high, above)


GELU = pointwise("gelu", _gelu, _gelu_slope, kernel="GeluKernelImpl")
GELU_TANH = pointwise("gelu", _gelu_tanh, _gelu_tanh_slope, kernel="GeluKernelImpl")
SILU = pointwise("silu", _silu, _silu_slope, kinds="fc")
ELU = pointwise("elu", _elu, _elu_slope)
CELU = pointwise("celu", _elu, _elu_slope, kernel="elu_cpu")
SOFTPLUS = pointwise("softplus", _softplus, _softplus_slope)
MISH = pointwise("mish", _mish, _mish_slope)
LOG_SIGMOID = pointwise("log_sigmoid", _log_sigmoid, lambda k, x: (-x).sigmoid())
HARD_SIGMOID = pointwise(
    "hardsigmoid",
    _hard_sigmoid,
    lambda k, x: k.like(x, 1 / 6),
    passes=lambda k, x: _inside(k, x, -3.0, 3.0),
)
HARD_SWISH = pointwise(
    "hardswish",
    lambda k, x: x * _hard_sigmoid(k, x),
    lambda k, x: k.where(x >= 3.0, k.like(x, 1.0), x / 3.0 + 0.5),
    passes=lambda k, x: (x > -3.0) | x.ne(x),
)
HARD_TANH = pointwise(
    "hardtanh",
    _clamped,
    None,
    passes=_inside,
    kinds="fiu",
)
HARD_SHRINK = pointwise(
    "hardshrink",
    lambda k, x, l: k.where((x >= -l) & (x <= l), k.like(x, 0.0), x),
    None,
    passes=lambda k, x, l: (x < -l) | (x > l),
)
SOFT_SHRINK = pointwise(
    "softshrink",
    lambda k, x, l: k.where(x > l, x - l, k.where(x < -l, x + l, x * 0.0)),
    None,
    passes=lambda k, x, l: (x < -l) | (x > l),
)
LEAKY_RELU = pointwise(
    "leaky_relu",
    lambda k, x, slope: k.where(x > 0.0, x, x * slope),
    lambda k, x, slope: k.where(x > 0.0, k.like(x, 1.0), k.like(x, 1.0) * slope),
)
RRELU_MEAN = pointwise(
    "rrelu_with_noise",
    lambda k, x, slope: k.where(x > 0.0, x, x * slope),
    lambda k, x, slope: k.where(x > 0.0, k.like(x, 1.0), k.like(x, 1.0) * slope),
)
THRESHOLD = pointwise(
    "threshold",
    lambda k, x, limit, value: k.where(x <= limit, k.like(x, 0) + value, x),
    None,
    passes=lambda k, x, limit, value: (x > limit) | x.ne(x),
    kinds="fiu",
)
SOFT_SIGN = pointwise("softsign", _soft_sign, _soft_sign_slope, grad_name="DivBackward0")
TANH_SHRINK = pointwise(
    "tanhshrink", lambda k, x: x - x.tanh(), _tanh_shrink_slope, grad_name="SubBackward0"
)


# functions ---------------------------------------------------------------------------------------


@functional("gelu")
def gelu(input: Tensor, approximate: str = "none", *, out: Tensor | None = None) -> Tensor:
    """x times the normal distribution function of x; approximate="tanh" is a common short cut.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.

    >>> import facula as torch
    >>> torch.nn.functional.gelu(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.0000,  0.8413])
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return to_out(run(GELU if approximate == "none" else GELU_TANH, input, False), out, exact=True)


@functional("silu")
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x), also known as swish."""
    return run(SILU, input, inplace)


@functional("mish")
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))."""
    return run(MISH, input, inplace)


@functional("elu")
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above zero, alpha * (exp(x) - 1) below."""
    return run(ELU, input, inplace, alpha, 1.0, 1.0)


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@functional("selu")
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """elu with the constants that keep mean 0 and variance 1 from layer to layer."""
    return run(ELU, input, inplace, _SELU_ALPHA, _SELU_SCALE, 1.0)


@functional("celu")
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above zero, alpha * (exp(x / alpha) - 1) below."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return run(CELU, input, inplace, alpha, 1.0, 1.0 / alpha)


@functional("leaky_relu")
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x above zero, negative_slope * x below."""
    return run(LEAKY_RELU, input, inplace, negative_slope)


@functional("hardtanh")
def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x kept between min_val and max_val."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    if input.meta.dtype.kind == "b":
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if input.meta.dtype.kind == "u" and min_val < 0:
        raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
    return run(HARD_TANH, input, inplace, min_val, max_val)


@functional("relu6")
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x kept between 0 and 6."""
    return hardtanh(input, 0.0, 6.0, inplace)


@functional("hardswish")
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6."""
    return run(HARD_SWISH, input, inplace)


@functional("hardsigmoid")
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6."""
    return run(HARD_SIGMOID, input, inplace)


@functional("hardshrink")
def hardshrink(input: Tensor, lambd: float = 0.5, *, out: Tensor | None = None) -> Tensor:
    """x outside of [-lambd, lambd], 0 inside."""
    return to_out(run(HARD_SHRINK, input, False, lambd), out, exact=True)


TORCH["hardshrink"] = hardshrink
method(hardshrink, "hardshrink")


@functional("softshrink")
def softshrink(input: Tensor, lambd: float = 0.5, *, out: Tensor | None = None) -> Tensor:
    """x moved towards 0 by lambd."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd:g}.")
    return to_out(run(SOFT_SHRINK, input, False, lambd), out, exact=True)


@functional("tanhshrink")
def tanhshrink(input):  # type: ignore[no-untyped-def]
    """x - tanh(x)."""
    if input.meta.dtype.kind != "f":
        return input - input.tanh()
    return run(TANH_SHRINK, input, False)


@functional("softsign")
def softsign(input):  # type: ignore[no-untyped-def]
    """x / (1 + |x|)."""
    if input.meta.dtype.kind != "f":
        return input / (input.abs() + 1)
    return run(SOFT_SIGN, input, False)


@functional("softplus")
def softplus(
    input: Tensor, beta: float = 1, threshold: float = 20, *, out: Tensor | None = None
) -> Tensor:
    """log(1 + exp(beta * x)) / beta; x itself where beta * x is above threshold.

    >>> import facula as torch
    >>> torch.nn.functional.softplus(torch.tensor([0.0, 30.0]))
    tensor([ 0.6931, 30.0000])
    """
    return to_out(run(SOFTPLUS, input, False, beta, threshold), out)


@functional("logsigmoid")
def logsigmoid(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return to_out(run(LOG_SIGMOID, input, False), out)


@functional("threshold")
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x above threshold, else value."""
    return run(THRESHOLD, input, inplace, threshold, value)


@functional("sigmoid")
def sigmoid(input):  # type: ignore[no-untyped-def]
    """1 / (1 + exp(-x))."""
    return TORCH["sigmoid"](input)


@functional("tanh")
def tanh(input):  # type: ignore[no-untyped-def]
    """The hyperbolic tangent."""
    return TORCH["tanh"](input)


# prelu -------------------------------------------------------------------------------------------


def _prelu_infer(x: Meta, w: Meta) -> Meta:
    if x.dtype is not w.dtype:
        raise RuntimeError(
            f"prelu: Type promoting not supported. Got {x.dtype.name} and {w.dtype.name}"
        )
    return meta_of(x.dtype, broadcast_shapes(x.shape, w.shape), x.device)


def _prelu_expand(g: Any, x: Any, w: Any) -> Any:
    t = opmath(x.dtype)
    v = g.cast(x, t)
    return g.cast(g.where(v > 0.0, v, v * g.cast(w, t)), x.dtype)


def _prelu_backward(n: Any, g: Tensor) -> tuple:
    x, w = n.tensor(0), n.tensor(1)
    above = x > 0
    gx = TORCH["where"](above, g, g * w) if n.needs(0) else None
    gw = (
        sum_to(
            TORCH["where"](above, TORCH["zeros"]((), dtype=g.dtype, device=g.device), g * x),
            n.inst.ins[1],
        )
        if n.needs(1)
        else None
    )
    return gx, gw


PRELU = Op("_prelu_kernel", _prelu_infer, _prelu_expand, _prelu_backward, saves="0 1")


@functional("prelu")
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x above zero, weight * x below; one weight, or one for each channel (dim 1)."""
    x, w = input.meta, weight.meta
    if w.numel != 1:
        if x.ndim == 0:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = x.shape[1] if x.ndim > 1 else 1
        if channels != w.numel:
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{w.numel} "
                f"and channel size = {channels}."
            )
    if w.ndim > 1:
        raise RuntimeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {w.ndim}"
        )
    if w.ndim and x.ndim:
        weight = weight.reshape([-1 if i == 1 or x.ndim == 1 else 1 for i in range(x.ndim)])  # type: ignore[attr-defined]
    elif w.ndim:
        weight = weight.reshape(())  # type: ignore[attr-defined]
    return apply(PRELU, (input, weight))


# glu ---------------------------------------------------------------------------------------------


def _glu_infer(x: Meta, dim: int) -> Meta:
    n = x.shape[dim]
    if n % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {n}")
    return meta_of(x.dtype, [n // 2 if i == dim else m for i, m in enumerate(x.shape)], x.device)


def _halves(g: Any, x: Any, dim: int) -> tuple:
    sizes = [n // 2 if i == dim else n for i, n in enumerate(x.shape)]
    ones = [1] * x.ndim
    starts = [sizes[dim] if i == dim else 0 for i in range(x.ndim)]
    return g.slice(x, [0] * x.ndim, sizes, ones), g.slice(x, starts, sizes, ones)


def _glu_expand(g: Any, x: Any, dim: int) -> Any:
    a, b = _halves(g, g.cast(x, opmath(x.dtype)), dim)
    return g.cast(a * b.sigmoid(), x.dtype)


def _glu_back_expand(g: Any, grad: Any, x: Any, dim: int) -> Any:
    w = opmath(x.dtype)
    a, b = _halves(g, g.cast(x, w), dim)
    s, gw = b.sigmoid(), g.cast(grad, w)
    return g.cast(g.cat([gw * s, gw * a * s * (1.0 - s)], dim), x.dtype)


def _glu_backward(n: Any, g: Tensor) -> Tensor:
    (dim,) = n.params
    x = n.tensor(0)
    if not recording():
        return apply(GLU_BACKWARD, (g, x), (dim,))
    a, b = x.chunk(2, dim)
    s = b.sigmoid()
    return TORCH["cat"]([g * s, g * a * s * (1 - s)], dim)


GLU = Op("glu", _glu_infer, _glu_expand, _glu_backward, saves="0")
GLU_BACKWARD = Op("glu_backward", lambda g, x, dim: x.plain(), _glu_back_expand)


@functional("glu")
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along dim times the sigmoid of the second."""
    if input.meta.ndim == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    return apply(GLU, (input,), (wrap_dim(dim, input.meta.ndim),))


# rrelu: random slopes ----------------------------------------------------------------------------


def _rrelu_expand(g: Any, x: Any, noise: Any) -> Any:
    w = opmath(x.dtype)
    return g.cast(g.cast(x, w) * g.cast(noise, w), x.dtype)


RRELU = Op(
    "rrelu_with_noise",
    lambda x, noise: x.plain(),
    _rrelu_expand,
    lambda n, g: (g * n.tensor(0).to(g.dtype), None),
    saves="1",
)


@shape_rule(
    lambda input, *_: (
        input.meta.dtype if input.meta.dtype is dt.float64 else dt.float32,
        input.meta.shape,
    )
)
def _random_slopes(input: Tensor, lower: float, upper: float) -> Tensor:
    """1 for positive inputs, a random slope for each other one, in the order of memory."""
    import numpy as np

    from facula.ops.random import default_generator
    from facula.random import draws

    x = input.detach()._values()
    below = np.asarray(x <= 0)
    d = dt.float64 if input.meta.dtype is dt.float64 else dt.float32
    noise = np.ones(x.shape, d.storage)
    noise[below] = draws.rrelu_slopes(default_generator, int(below.sum()), d.name, lower, upper)
    return adopt_array(noise)


@functional("rrelu")
def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """leaky_relu with slopes drawn from [lower, upper) in training, their mean otherwise."""
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return run(RRELU_MEAN, input, inplace, (lower + upper) / 2)
    noise = _random_slopes(input, lower, upper)
    if inplace:
        return in_place(input, lambda t: apply(RRELU, (t, noise)))
    return apply(RRELU, (input, noise))


@functional("gumbel_softmax")
def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Differentiable samples of categories; hard: one-hot ones, with soft gradients."""
    noise = (
        -TORCH["empty"](logits.meta.shape, dtype=logits.meta.dtype, device=logits.meta.device)
        .exponential_()
        .log()
    )
    soft = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    index = soft.argmax(dim, keepdim=True)
    one = TORCH["ones"](index.meta.shape, dtype=soft.meta.dtype, device=soft.meta.device)
    return TORCH["zeros_like"](logits).scatter(dim, index, one) - soft.detach() + soft


# names -------------------------------------------------------------------------------------------


def _in_place_name(name: str) -> Callable[..., Tensor]:
    """`elu_` and the like of nn.functional."""
    base = FUNCTIONAL[name]

    def function(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return base(input, *args, **kwargs, inplace=True)

    function.__name__ = function.__qualname__ = name + "_"
    function.__doc__ = f"In-place version of `{name}`."
    FUNCTIONAL[name + "_"] = function
    return function


for _name in ("elu", "selu", "celu", "leaky_relu", "hardtanh", "rrelu", "threshold"):
    _in_place_name(_name)
for _name in ("selu", "celu", "rrelu", "threshold", "prelu"):
    TORCH[_name] = FUNCTIONAL[_name]
for _name in ("selu_", "celu_", "rrelu_", "threshold_"):
    TORCH[_name] = FUNCTIONAL[_name]
method(prelu, "prelu")
