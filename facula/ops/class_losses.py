"""Losses of scores against class numbers: negative log likelihood, margins between classes."""

from __future__ import annotations

from typing import Any

from facula.graph import dtypes as dt
from facula.graph.meta import Meta, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.losses import reduce_tensor
from facula.ops.nn_ops import check_reduction, legacy_reduction
from facula.ops.pointwise import opmath
from facula.ops.registry import FUNCTIONAL, TORCH, functional, zeros_as
from facula.tensor import Tensor

# negative log likelihood: classes along dim 1 (dim 0 of a vector) --------------------------------


def _class_dim(m: Any) -> int:
    return 1 if m.ndim > 1 else 0


def _nll_infer(x: Meta, t: Meta, *rest: Any) -> Meta:
    reduction, _ = rest[-2:]
    return meta_of(x.dtype, t.shape if reduction == "none" else (), x.device)


def _picked(g: Any, x: Any, t: Any, rest: tuple, ignore: int) -> tuple:
    """Target classes safe to index with, and the weight of each target (0 where ignored)."""
    w, dim = opmath(x.dtype), _class_dim(x)
    t = g.cast(t, dt.int64)
    counts = t.ne(ignore)
    safe = g.check(g.where(counts, t, 0), x.shape[dim], "target", wrap=False)
    weight = g.const(1.0, w, t.shape)
    if rest:
        flat = g.take(g.cast(rest[0], w), g.reshape(safe, (t.numel,)), 0)
        weight = g.reshape(flat, t.shape)
    return dim, safe, g.where(counts, weight, 0.0)


def _spread(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return (*shape[:dim], 1, *shape[dim:])


def _total(g: Any, v: Any) -> Any:
    return g.reduce("sum", v, tuple(range(v.ndim)), keepdim=False) if v.ndim else v


def _nll_expand(g: Any, x: Any, t: Any, *rest: Any) -> Any:
    *weight, reduction, ignore = rest
    w = opmath(x.dtype)
    if not t.numel:
        empty = {"none": 0.0, "mean": float("nan"), "sum": 0.0}[reduction]
        return g.const(empty, x.dtype, t.shape if reduction == "none" else ())
    dim, safe, each = _picked(g, x, t, tuple(weight), ignore)
    got = g.reshape(g.gather(g.cast(x, w), g.reshape(safe, _spread(t.shape, dim)), dim), t.shape)
    # a weight of 0 must not turn an infinite score into NaN
    loss = (
        g.where(each.eq(0.0), 0.0, -got * each)
        if not weight
        else g.where(t.ne(ignore), -got * each, 0.0)
    )
    if reduction == "none":
        return g.cast(loss, x.dtype)
    total = _total(g, loss)
    return g.cast(total / _total(g, each) if reduction == "mean" else total, x.dtype)


def _nll_backward(n: Any, g: Tensor) -> tuple:
    x, t = n.inst.ins[0], n.tensor(0)
    extra = [n.tensor(1)] if len(n.inst.ins) > 2 else []
    gx = apply(NLL_BACKWARD, (g, t, *extra), (tuple(x.shape), *n.params)) if n.needs(0) else None
    return (gx, None, *[None] * len(extra))


def _nll_back_infer(grad: Meta, t: Meta, *rest: Any) -> Meta:
    return meta_of(grad.dtype, rest[-3], grad.device)


def _nll_back_expand(g: Any, grad: Any, t: Any, *rest: Any) -> Any:
    *weight, shape, reduction, ignore = rest
    w = opmath(grad.dtype)
    like = g.const(0.0, w, shape)
    if not t.numel:
        return g.cast(like, grad.dtype)
    dim, safe, each = _picked(g, like, t, tuple(weight), ignore)
    scale = g.cast(grad, w) * each
    if reduction == "mean":
        scale = scale / _total(g, each)
    wide = _spread(t.shape, dim)
    hit = g.iota(shape, dim).eq(g.reshape(safe, wide))
    return g.cast(g.where(hit, -g.reshape(g.expand(scale, t.shape), wide), 0.0), grad.dtype)


def _nll_back_back(n: Any, gg: Tensor) -> tuple:
    # linear in the gradient: the same pick, reduced the same way
    _, reduction, ignore = n.params
    extra = [n.tensor(k) for k in range(1, len(n.inst.ins) - 1)]
    op = _NLL[len(extra), min(gg.meta.ndim, 3) > 2]
    return (apply(op, (gg, n.tensor(0), *extra), (reduction, ignore)), *[None] * (1 + len(extra)))


_NLL = {
    (k, image): Op(
        "nll_loss",
        _nll_infer,
        _nll_expand,
        _nll_backward,
        saves="1" if not k else "1 2",
        grad_name="NllLoss2DBackward0" if image else "NllLossBackward0",
        marks=True,
        shows="0",
    )
    for k in (0, 1)
    for image in (False, True)
}
NLL_BACKWARD = Op(
    "nll_loss_backward", _nll_back_infer, _nll_back_expand, _nll_back_back, saves="1 2", marks=True
)


def _check_nll(x: Meta, t: Meta, weight: Tensor | None) -> None:
    if x.ndim == 0:
        raise ValueError(f"Expected 1 or more dimensions (got {x.ndim})")
    if x.ndim > 1 and (not t.ndim or x.shape[0] != t.shape[0]):
        raise ValueError(
            f"Expected input batch_size ({x.shape[0]}) to match target batch_size "
            f"({t.shape[0] if t.ndim else 1})."
        )
    if (x.ndim == 1 and t.ndim == 1 and t.shape[0] != 1) or (x.ndim == 1 and t.ndim > 1):
        raise ValueError(
            f"Expected input batch_size ({x.shape[0]}) to match target batch_size ({t.shape[0]})."
        )
    if (x.ndim > 1 and t.ndim != x.ndim - 1) or (
        x.ndim > 2 and tuple(t.shape[1:]) != tuple(x.shape[2:])
    ):
        if x.ndim == 2:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        raise RuntimeError(
            f"Expected target size {[x.shape[0], *x.shape[2:]]}, got {list(t.shape)}"
        )
    if t.dtype not in (dt.int64, dt.uint8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {t.dtype.short}")
    if x.dtype.kind != "f":
        raise NotImplementedError(f"\"nll_loss_out_frame\" not implemented for '{x.dtype.short}'")
    classes = x.shape[_class_dim(x)]
    if weight is not None and (weight.meta.ndim != 1 or weight.meta.numel != classes):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but "
            "got weight tensor "
            f"of shape: {list(weight.meta.shape)}"
        )
    if weight is not None and weight.meta.dtype is not x.dtype:
        raise RuntimeError(
            f"expected scalar type {x.dtype.short} but found {weight.meta.dtype.short}"
        )


@functional("nll_loss")
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log probability of the target class; the mean is weighted by class weights.

    Shapes: input (C), (N, C) or (N, C, d1, ...), target (), (N) or (N, d1, ...).
    """
    reduction = check_reduction(legacy_reduction(size_average, reduce, reduction))
    _check_nll(input.meta, target.meta, weight)
    extra = [] if weight is None else [weight]
    op = _NLL[len(extra), input.meta.ndim > 2]
    return apply(op, (input, target, *extra), (reduction, ignore_index))


# margins between classes -------------------------------------------------------------------------


def _zero(x: Tensor) -> Tensor:
    return zeros_as(x, ())


def _rows(input: Tensor) -> Tensor:
    return input if input.meta.ndim == 2 else input.reshape(1, -1)  # type: ignore[attr-defined]


def _check_rows(name: str, x: Meta, t: Meta, target_ndim: int) -> None:
    if x.ndim > 2 or (x.ndim == 2 and not x.shape[1]) or (x.ndim == 1 and not x.shape[0]):
        raise RuntimeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
            f"{list(x.shape)}"
        )
    rows = x.shape[0] if x.ndim == 2 else 1
    if target_ndim == 1:
        if t.ndim > 1 or t.numel != rows:
            raise RuntimeError(f"inconsistent target size, expected {rows} but got {list(t.shape)}")
    elif (
        tuple(t.shape) != tuple(x.shape)
        and not (x.ndim == 0 and t.numel == 1)
        and not (x.ndim == 1 and t.numel == x.numel)
    ):
        raise RuntimeError(
            f"inconsistent target size: {list(t.shape)} for input of size: {list(x.shape)}"
        )


@functional("multi_margin_loss")
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean over classes of max(0, margin - x[target] + x[class]) ** p, without the target's own."""
    reduction = check_reduction(legacy_reduction(size_average, reduce, reduction))
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.meta.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    _check_rows("multi_margin_loss", input.meta, target.meta, 1)
    x, t = _rows(input), target.reshape(-1, 1)  # type: ignore[attr-defined]
    classes = x.meta.shape[1]
    if weight is not None and weight.meta.numel != classes:
        raise RuntimeError(
            f"inconsistent weight size, expected {classes} but got {list(weight.meta.shape)}"
        )
    z = margin - x.gather(1, t) + x  # type: ignore[attr-defined]
    z = TORCH["where"](z > 0, z, _zero(x))
    if p == 2:
        z = z * z
    if weight is not None:
        z = z * weight[t]
    own = TORCH["arange"](classes, device=t.meta.device) == t
    loss = TORCH["where"](own, _zero(x), z).sum(1) / classes
    if input.meta.ndim < 2:
        loss = loss.squeeze(0)
    return reduce_tensor(loss, reduction)


@functional("multilabel_margin_loss")
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Sum over targets and other classes of max(0, 1 - x[target] + x[other]) / classes.

    The targets of a row end at the first negative one.
    """
    reduction = check_reduction(legacy_reduction(size_average, reduce, reduction))
    _check_rows("multilabel_margin_loss", input.meta, target.meta, 2)
    x, t = _rows(input), _rows(target)
    classes = x.meta.shape[1]
    place = TORCH["arange"](classes, device=t.meta.device)
    end = TORCH["where"](t < 0, place, TORCH["full"]((), classes, dtype=dt.int64)).amin(
        1, keepdim=True
    )
    valid = place < end
    safe = TORCH["where"](valid, t, TORCH["zeros_like"](t))
    # named[n, i]: class i is among the targets of row n
    named = ((safe.unsqueeze(2) == place) & valid.unsqueeze(2)).any(1)
    z = 1 - x.gather(1, safe).unsqueeze(2) + x.unsqueeze(1)  # type: ignore[attr-defined]
    counts = valid.unsqueeze(2) & ~named.unsqueeze(1) & (z > 0)
    loss = TORCH["where"](counts, z, _zero(x)).sum((1, 2)) / classes
    if input.meta.ndim < 2:
        loss = loss.squeeze(0)
    return reduce_tensor(loss, reduction)


@functional("multilabel_soft_margin_loss")
def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean over classes of the binary cross entropy of sigmoid(input)."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    log_sigmoid = FUNCTIONAL["logsigmoid"]
    loss = -(target * log_sigmoid(input) + (1 - target) * log_sigmoid(-input))  # type: ignore[operator]
    if weight is not None:
        loss = loss * weight
    if input.meta.ndim:
        loss = loss.mean(-1)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    return reduce_tensor(loss, reduction)


@functional("linear_cross_entropy")
def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """cross_entropy(linear(input, linear_weight, linear_bias), target, ...).

    Shapes: input (N, in), linear_weight (C, in) or (C, d1, ..., in).
    """
    shape = linear_weight.meta.shape
    if len(shape) < 2:
        raise RuntimeError(f"expected linear_weight to have at least two dims, got {list(shape)}")
    width = shape[-1]
    bias = None if linear_bias is None else linear_bias.reshape(-1)  # type: ignore[attr-defined]
    logits = FUNCTIONAL["linear"](input, linear_weight.reshape(-1, width), bias)  # type: ignore[attr-defined]
    if len(shape) > 2:
        logits = logits.reshape(-1, *shape[:-1])
    if input.meta.ndim not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.meta.ndim}")
    if ignore_index is not None and target.meta.dtype.kind == "f":
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    if input.meta.ndim > 1 and target.meta.ndim and input.meta.shape[0] != target.meta.shape[0]:
        raise ValueError(
            f"Expected input batch_size ({input.meta.shape[0]}) to match target batch_size "
            f"({target.meta.shape[0]})."
        )
    ignore = -100 if ignore_index is None else ignore_index
    return FUNCTIONAL["cross_entropy"](
        logits, target, weight, None, ignore, None, reduction, label_smoothing
    )
