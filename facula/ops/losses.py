"""Losses of an input against a target: one operator each, with the reduction inside."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from facula.autograd.node import shown
from facula.graph import dtypes as dt
from facula.graph.meta import Meta, broadcast_shapes, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.formula import TENSORS, on_graph, recording
from facula.ops.nn_ops import check_reduction, legacy_reduction
from facula.ops.pointwise import opmath, result_type, sum_to, unsupported
from facula.ops.registry import FUNCTIONAL, TORCH, functional
from facula.tensor import Tensor

CODES = {"none": 0, "mean": 1, "sum": 2}


def reduced(g: Any, v: Any, reduction: str, d: Any) -> Any:
    """Primitive losses v reduced, in type d."""
    if reduction == "none":
        return g.cast(v, d)
    total = g.reduce("sum", v, tuple(range(v.ndim)), keepdim=False) if v.ndim else v
    if reduction == "mean":
        n = math.prod(v.shape)
        total = total / (float(n) if n else math.nan)
    return g.cast(total, d)


def reduce_tensor(loss: Tensor, reduction: str) -> Tensor:
    """A tensor of losses reduced."""
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()  # type: ignore[attr-defined]


# losses of pairs of elements: l(x, t, *numbers) --------------------------------------------------


def _same(x: Meta, t: Meta) -> Any:
    return result_type((x, t))


def elementwise_loss(
    name: str,
    value: Callable,
    slopes: tuple[Callable | None, Callable | None],
    *,
    grad_name: str | None = None,
    shows: Callable | None = None,
    kinds: str = "f",
) -> Op:
    """value(k, x, t, *numbers) reduced; `slopes` are its derivatives in x and t (None: none)."""

    def infer(x: Meta, t: Meta, reduction: str) -> Meta:
        d = _same(x, t)
        if d.kind not in kinds:
            raise NotImplementedError(unsupported(name + "_cpu", d))
        shape = broadcast_shapes(x.shape, t.shape)
        return meta_of(d, shape if reduction == "none" else (), x.device)

    def wide(g: Any, x: Any, t: Any, numbers: tuple) -> tuple:
        d = _same(meta_of(x.dtype, x.shape), meta_of(t.dtype, t.shape))
        w = opmath(d)
        return d, w, g.cast(x, w), g.cast(t, w), [g.cast(v, w) for v in numbers]

    def expand(g: Any, x: Any, t: Any, *rest: Any) -> Any:
        *numbers, reduction = rest
        d, _, x, t, numbers = wide(g, x, t, tuple(numbers))
        return reduced(g, value(on_graph(g, d), x, t, *numbers), reduction, d)

    def back_expand(which: int) -> Callable:
        def expand(g: Any, grad: Any, x: Any, t: Any, *rest: Any) -> Any:
            *numbers, reduction = rest
            own = (x, t)[which].dtype
            d, w, x, t, numbers = wide(g, x, t, tuple(numbers))
            shape = broadcast_shapes(x.shape, t.shape)
            scale = g.cast(grad, w)
            if reduction == "mean":
                scale = scale / float(max(math.prod(shape), 1))
            return g.cast(
                g.expand(scale * slopes[which](on_graph(g, d), x, t, *numbers), shape), own
            )  # type: ignore[misc]

        return expand

    def back_infer(which: int) -> Callable:
        return lambda grad, x, t, reduction: meta_of(
            (x, t)[which].dtype, broadcast_shapes(x.shape, t.shape), x.device
        )

    backs = [Op(name + "_backward", back_infer(i), back_expand(i)) for i in (0, 1)]

    def backward(n: Any, grad: Tensor) -> tuple:
        x, t = n.tensor(0), n.tensor(1)
        grads: list[Any] = []
        for i, slope in enumerate(slopes):
            if not n.needs(i) or slope is None:
                grads.append(None)
            elif recording():
                scale = grad
                if n.params[0] == "mean":
                    scale = grad / max(math.prod(broadcast_shapes(x.meta.shape, t.meta.shape)), 1)
                grads.append(sum_to(scale * slope(TENSORS, x, t, *n.scalars), n.inst.ins[i]))
            else:
                grads.append(
                    sum_to(apply(backs[i], (grad, x, t), n.params, n.scalars), n.inst.ins[i])
                )
        return tuple(grads)

    return Op(name, infer, expand, backward, saves="0 1", grad_name=grad_name, shows=shows)


def _sign(k: Any, d: Any) -> Any:
    return k.where(d > 0.0, k.like(d, 1.0), k.where(d < 0.0, k.like(d, -1.0), d * 0.0))


def _smooth_l1(k: Any, x: Any, t: Any, beta: Any) -> Any:
    a = (x - t).abs()
    return k.where(a < beta, a * a * 0.5 / beta, a - beta * 0.5)


def _smooth_l1_slope(k: Any, x: Any, t: Any, beta: Any) -> Any:
    d = x - t
    return k.where(d.abs() < beta, d / beta, _sign(k, d))


def _huber(k: Any, x: Any, t: Any, delta: Any) -> Any:
    a = (x - t).abs()
    return k.where(a < delta, a * a * 0.5, (a - delta * 0.5) * delta)


def _huber_slope(k: Any, x: Any, t: Any, delta: Any) -> Any:
    d = x - t
    return k.where(d.abs() < delta, d, _sign(k, d) * delta)


def _negated(slope: Callable) -> Callable:
    return lambda k, x, t, *numbers: -slope(k, x, t, *numbers)


def _soft_margin(k: Any, x: Any, t: Any) -> Any:
    return k.rounded((-t * x).exp()).log1p()  # without a bound: infinite where exp is


def _soft_margin_slope(k: Any, x: Any, t: Any) -> Any:
    z = k.rounded((-t * x).exp())
    return -t * z / (z + 1.0)


def _l1_sign(k: Any, d: Any) -> Any:
    # 0 at NaN, as `sign` is
    return k.where(d > 0.0, k.like(d, 1.0), k.where(d < 0.0, k.like(d, -1.0), k.like(d, 0.0)))


def _l1_shows(n: Any) -> tuple:
    if n.params[0] == "none":
        return (shown("SubBackward0", *n.edges),)
    return (shown("AbsBackward0", shown("SubBackward0", *n.edges)),)


# PyTorch composes this one: the name is that of its last step
_L1 = {
    reduction: elementwise_loss(
        "l1_loss",
        lambda k, x, t: (x - t).abs(),
        (lambda k, x, t: _l1_sign(k, x - t), lambda k, x, t: _l1_sign(k, t - x)),
        grad_name=name,
        shows=_l1_shows,
    )
    for reduction, name in (
        ("none", "AbsBackward0"),
        ("mean", "MeanBackward0"),
        ("sum", "SumBackward0"),
    )
}
SMOOTH_L1 = elementwise_loss(
    "smooth_l1_loss", _smooth_l1, (_smooth_l1_slope, _negated(_smooth_l1_slope))
)
HUBER = elementwise_loss("huber_loss", _huber, (_huber_slope, _negated(_huber_slope)))
SOFT_MARGIN = elementwise_loss(
    "soft_margin_loss",
    _soft_margin,
    (_soft_margin_slope, lambda k, x, t: _soft_margin_slope(k, t, x)),
)


def _warn_sizes(input: Tensor, target: Tensor) -> None:
    if target.meta.shape != input.meta.shape:
        warnings.warn(
            f"Using a target size ({target.meta.shape}) that is different to the input size "
            f"({input.meta.shape}). "
            "This will likely lead to incorrect results due to broadcasting. Please ensure they "
            "have the same size.",
            stacklevel=3,
        )


def _weighted(loss: Tensor, weight: Tensor, reduction: str) -> Tensor:
    """Losses with a weight each; the mean is that of the weights."""
    loss = loss * weight
    if reduction == "none":
        return loss
    return loss.sum() / weight.sum() if reduction == "mean" else loss.sum()  # type: ignore[attr-defined]


@functional("l1_loss")
def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Mean (or sum) of absolute differences."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    _warn_sizes(input, target)
    check_reduction(reduction)
    d = _same(input.meta, target.meta)
    if weight is not None or d.kind != "f":
        loss = (input - target).abs()  # type: ignore[operator]
        return (
            reduce_tensor(loss, reduction) if weight is None else _weighted(loss, weight, reduction)
        )
    return apply(_L1[reduction], (input, target), (reduction,))


@functional("smooth_l1_loss")
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Squared below beta, absolute above."""
    reduction = check_reduction(legacy_reduction(size_average, reduce, reduction))
    _warn_sizes(input, target)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0.0:
        return l1_loss(input, target, reduction=reduction)
    return apply(SMOOTH_L1, (input, target), (reduction,), (float(beta),))


@functional("huber_loss")
def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Half the square below delta, delta times the distance less delta / 2 above."""
    check_reduction(reduction)
    _warn_sizes(input, target)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    if weight is None:
        return apply(HUBER, (input, target), (reduction,), (float(delta),))
    return _weighted(apply(HUBER, (input, target), ("none",), (float(delta),)), weight, reduction)


@functional("soft_margin_loss")
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * input)), target 1 or -1."""
    reduction = check_reduction(legacy_reduction(size_average, reduce, reduction))
    return apply(SOFT_MARGIN, (input, target), (reduction,))


# binary cross entropy ----------------------------------------------------------------------------


def _log_bounded(k: Any, v: Any) -> Any:
    log = v.log()
    return k.where(log < -100.0, k.like(v, -100.0), log)


def _bce_value(k: Any, x: Any, t: Any) -> Any:
    return (t - 1.0) * _log_bounded(k, 1.0 - x) - t * _log_bounded(k, x)


def _bce_slope(k: Any, x: Any, t: Any) -> Any:
    spread = (1.0 - x) * x
    return (x - t) / k.where(spread < 1e-12, k.like(x, 1e-12), spread)


def _bce_target_slope(k: Any, x: Any, t: Any) -> Any:
    return _log_bounded(k, 1.0 - x) - _log_bounded(k, x)


def _softplus_of(z: Any) -> Any:
    """log(1 + exp(z)) without overflow."""
    return z.relu() + (-z.abs()).exp().log1p()


def _logits_value(k: Any, x: Any, t: Any) -> Any:
    return (1.0 - t) * x + _softplus_of(-x)


def _logits_pos_value(k: Any, x: Any, t: Any, pos: Any) -> Any:
    return (1.0 - t) * x + ((pos - 1.0) * t + 1.0) * _softplus_of(-x)


def _logits_pos_slope(k: Any, x: Any, t: Any, pos: Any) -> Any:
    return (1.0 - t) - ((pos - 1.0) * t + 1.0) * (-x).sigmoid()


def _logits_pos_target_slope(k: Any, x: Any, t: Any, pos: Any) -> Any:
    return (pos - 1.0) * _softplus_of(-x) - x


def _weighted_bce(
    name: str,
    value: Callable,
    slopes: tuple[Callable, Callable],
    extras: tuple[bool, bool],
    grad_name: str,
) -> Op:
    """A loss of (x, t[, weight][, pos_weight]); as PyTorch's it has the target's dtype."""
    has_weight, has_pos = extras

    def parts(rest: tuple) -> tuple:
        rest = list(rest)
        return (rest.pop(0) if has_weight else None), (rest.pop(0) if has_pos else None)

    def infer(x: Meta, t: Meta, *rest: Any) -> Meta:
        shape = broadcast_shapes(x.shape, *[m.shape for m in rest[:-1]])
        return meta_of(t.dtype, shape if rest[-1] == "none" else (), x.device)

    def opened(g: Any, x: Any, t: Any, rest: tuple) -> tuple:
        w = opmath(dt.promote_types(x.dtype, t.dtype))
        weight, pos = parts(rest)
        weight = None if weight is None else g.cast(weight, w)
        args = [g.cast(x, w), g.cast(t, w)] + ([] if pos is None else [g.cast(pos, w)])
        return w, weight, args

    def expand(g: Any, x: Any, t: Any, *rest: Any) -> Any:
        _, weight, args = opened(g, x, t, rest[:-1])
        loss = value(on_graph(g), *args)
        return reduced(g, loss if weight is None else loss * weight, rest[-1], t.dtype)

    def back_expand(g: Any, grad: Any, x: Any, t: Any, *rest: Any) -> Any:
        *rest_, which, reduction = rest
        w, weight, args = opened(g, x, t, tuple(rest_))
        scale = g.cast(grad, w)
        if reduction == "mean":
            scale = scale / float(max(x.numel, 1))
        out = slopes[which](on_graph(g), *args) * scale
        return g.cast(out if weight is None else out * weight, x.dtype)

    back = Op(name + "_backward", lambda grad, x, *_: x.plain(), back_expand)

    def backward(n: Any, grad: Tensor) -> tuple:
        tensors = [n.tensor(k) for k in range(2 + has_weight + has_pos)]
        weight, pos = parts(tuple(tensors[2:]))
        grads: list[Any] = [None] * len(tensors)
        for which in (0, 1):
            if not n.needs(which):
                continue
            if recording():
                scale = grad / max(tensors[0].meta.numel, 1) if n.params[0] == "mean" else grad
                out = slopes[which](TENSORS, *tensors[:2], *([] if pos is None else [pos])) * scale
                into = n.inst.ins[which]
                grads[which] = sum_to(out if weight is None else out * weight, into).to(into.dtype)
            else:
                out = apply(back, (grad, *tensors), (which, n.params[0]))
                grads[which] = sum_to(out, n.inst.ins[which])
        return tuple(grads)

    return Op(
        name,
        infer,
        expand,
        backward,
        saves=" ".join(map(str, range(2 + has_weight + has_pos))),
        grad_name=grad_name,
    )


_BCE = {
    w: _weighted_bce(
        "binary_cross_entropy",
        _bce_value,
        (_bce_slope, _bce_target_slope),
        (w, False),
        "BinaryCrossEntropyBackward0",
    )
    for w in (False, True)
}
_BCE_LOGITS = {
    (w, p): _weighted_bce(
        "binary_cross_entropy_with_logits",
        _logits_pos_value if p else _logits_value,
        (_logits_pos_slope, _logits_pos_target_slope)
        if p
        else (lambda k, x, t: x.sigmoid() - t, lambda k, x, t: -x),
        (w, p),
        "BinaryCrossEntropyWithLogitsBackward0",
    )
    for w in (False, True)
    for p in (False, True)
}


def _expanded(weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    return weight.expand(broadcast_shapes(weight.meta.shape, shape))  # type: ignore[attr-defined]


@functional("binary_cross_entropy")
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(target * log(input) + (1 - target) * log(1 - input)); logs are kept above -100."""
    reduction = check_reduction(legacy_reduction(size_average, reduce, reduction))
    x, t = input.meta, target.meta
    if t.shape != x.shape:
        raise ValueError(
            f"Using a target size ({t.shape}) that is different to the input size ({x.shape}) is "
            "deprecated. Please "
            "ensure they have the same size."
        )
    if x.dtype is not t.dtype:
        raise RuntimeError(f"Found dtype {t.dtype.short} but expected {x.dtype.short}")
    if input._s.buf is not None:
        _check_probabilities(input)
    operands = [input, target]
    if weight is not None:
        operands.append(_expanded(weight, tuple(x.shape)))
    return apply(_BCE[weight is not None], operands, (reduction,))


def _check_probabilities(input: Tensor) -> None:
    """RuntimeError where values that are in memory are no probabilities; nan is none."""
    values = input._values()
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise RuntimeError("all elements of input should be between 0 and 1")


@functional("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """binary_cross_entropy of sigmoid(input); pos_weight scales positive targets."""
    reduction = check_reduction(legacy_reduction(size_average, reduce, reduction))
    if target.meta.shape != input.meta.shape:
        raise ValueError(
            f"Target size ({target.meta.shape}) must be the same as input size ({input.meta.shape})"
        )
    return _bce_logits(input, target, weight, pos_weight, reduction)


def _bce_logits(
    input: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, reduction: str
) -> Tensor:
    if target.meta.dtype.kind in "iub" and input.meta.dtype.kind not in "iub":
        raise RuntimeError(
            f"result type {input.meta.dtype.short} can't be cast to the desired output type "
            f"{target.meta.dtype.short}"
        )
    # what needs a gradient other than input and target is composed
    if (
        any(p is not None and p._rg and recording() for p in (weight, pos_weight))
        or target.meta.shape != input.meta.shape
    ):
        loss = _composed_logits(input, target, pos_weight).to(target.meta.dtype)  # type: ignore[attr-defined]
        return reduce_tensor(loss if weight is None else loss * weight, reduction)
    operands = [input, target] + [p for p in (weight, pos_weight) if p is not None]
    return apply(_BCE_LOGITS[weight is not None, pos_weight is not None], operands, (reduction,))


def _composed_logits(x: Tensor, t: Tensor, pos: Tensor | None) -> Tensor:
    log_sigmoid = FUNCTIONAL["logsigmoid"](x)
    if pos is not None:
        log_sigmoid = ((pos - 1) * t + 1) * log_sigmoid  # type: ignore[operator]
    return (1 - t) * x - log_sigmoid  # type: ignore[operator]


def _torch_bce_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
    reduction: int = 0,
) -> Tensor:
    """`nn.functional.binary_cross_entropy_with_logits`; reduction 0 none, 1 mean, 2 sum."""
    return _bce_logits(input, target, weight, pos_weight, _word(reduction))


def _word(code: int) -> str:
    return {v: k for k, v in CODES.items()}[code]


_torch_bce_logits.__name__ = _torch_bce_logits.__qualname__ = "binary_cross_entropy_with_logits"
TORCH["binary_cross_entropy_with_logits"] = _torch_bce_logits
