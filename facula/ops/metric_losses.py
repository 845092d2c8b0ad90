"""Losses composed of other operators: of distributions, of distances, of sequences (CTC)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph import reference_ctc  # noqa: F401  (the meaning of the template)
from facula.graph.dtypes import promote_types
from facula.graph.meta import META, Meta, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.distances import at_least, pairwise_distance, raised
from facula.ops.formula import TENSORS
from facula.ops.losses import CODES, elementwise_loss, reduce_tensor
from facula.ops.nn_ops import check_reduction, legacy_reduction
from facula.ops.registry import TORCH, functional, zeros_as
from facula.ops.without_values import known
from facula.tensor import Tensor


def _word(code: int | str) -> str:
    return code if isinstance(code, str) else {v: k for k, v in CODES.items()}[code]


_NAMES = {"none": "SubBackward0", "mean": "MeanBackward0", "sum": "SumBackward0"}

# divergence --------------------------------------------------------------------------------------


def _kl(k: Any, x: Any, t: Any) -> Any:
    return k.where(_is(t, 0.0), t * 0.0, t * t.log()) - t * x


_KL = {
    r: elementwise_loss(
        "kl_div", _kl, (lambda k, x, t: -t, lambda k, x, t: t.log() + 1.0 - x), grad_name=name
    )
    for r, name in _NAMES.items()
}
_KL_LOG = {
    r: elementwise_loss(
        "kl_div",
        lambda k, x, t: t.exp() * (t - x),
        (lambda k, x, t: -t.exp(), lambda k, x, t: t.exp() * (t - x + 1.0)),
        grad_name="MulBackward0" if r == "none" else name,
    )
    for r, name in _NAMES.items()
}


def _kl_div(input: Tensor, target: Tensor, reduction: str, log_target: bool) -> Tensor:
    if input.meta.dtype.kind == "c" or target.meta.dtype.kind == "c":
        raise RuntimeError("kl_div: Complex inputs not supported.")
    return apply((_KL_LOG if log_target else _KL)[reduction], (input, target), (reduction,))


@functional("kl_div")
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target * (log(target) - input) for log probabilities `input`; reduction also "batchmean"."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support "
            "size.'batchmean' "
            "divides only by the batch size, and aligns with the KL div math definition.'mean' "
            "will be changed to "
            "behave the same as 'batchmean' in the next major release.",
            stacklevel=2,
        )
    if reduction == "batchmean":
        total = _kl_div(input, target, "sum", log_target)
        return total / input.meta.shape[0] if input.meta.ndim else total
    return _kl_div(input, target, check_reduction(reduction), log_target)


def _torch_kl_div(
    input: Tensor, target: Tensor, reduction: int = 0, *, log_target: bool = False
) -> Tensor:
    """`nn.functional.kl_div`; reduction 0 none, 1 mean, 2 sum."""
    return _kl_div(input, target, _word(reduction), log_target)


# likelihoods -------------------------------------------------------------------------------------


def _stirling(k: Any, t: Any) -> Any:
    above = t * t.log() - t + 0.5 * (t * (2 * math.pi)).log()
    return k.where(t <= 1.0, t * 0.0, above)


def _poisson(log_input: bool, full: bool) -> dict[str, Op]:
    def value(k: Any, x: Any, t: Any, eps: Any) -> Any:
        loss = x.exp() - t * x if log_input else x - t * (x + eps).log()
        return loss + _stirling(k, t) if full else loss

    def slope(k: Any, x: Any, t: Any, eps: Any) -> Any:
        return x.exp() - t if log_input else 1.0 - t / (x + eps)

    def target_slope(k: Any, x: Any, t: Any, eps: Any) -> Any:
        out = -x if log_input else -(x + eps).log()
        if not full:
            return out
        stirling = t.log() + 0.5 / t
        return out + k.where(t <= 1.0, stirling * 0.0, stirling)  # NaN at 0, as PyTorch's

    return {
        r: elementwise_loss("poisson_nll_loss", value, (slope, target_slope), grad_name=n)
        for r, n in _NAMES.items()
    }


_POISSON = {(log, full): _poisson(log, full) for log in (False, True) for full in (False, True)}


def _poisson_loss(
    input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: str
) -> Tensor:
    d = promote_types(input.meta.dtype, target.meta.dtype)
    if d.kind in "iu":  # integers: each step in its own type, as PyTorch
        loss = input.exp() - target * input if log_input else input - target * (input + eps).log()  # type: ignore[operator]
        if full:
            loss = loss + _stirling(TENSORS, target.to(loss.meta.dtype))  # type: ignore[attr-defined]
        return {"mean": loss.mean, "sum": loss.sum}.get(reduction, lambda: loss)()
    op = _POISSON[bool(log_input), bool(full)][reduction]
    return apply(op, (input, target), (reduction,), (float(eps),))


@functional("poisson_nll_loss")
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of counts `target` under Poisson rates exp(input) (or input)."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return _poisson_loss(input, target, log_input, full, eps, check_reduction(reduction))


def _torch_poisson(
    input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: int
) -> Tensor:
    """`nn.functional.poisson_nll_loss`; reduction 0 none, 1 mean, 2 sum."""
    return _poisson_loss(input, target, log_input, full, eps, _word(reduction))


@functional("gaussian_nll_loss")
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of target under normal distributions of mean input and variance var.

    Source: Nix and Weigend, "Estimating the mean and variance of the target distribution", 1994.
    """
    if not isinstance(var, Tensor):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = TORCH["full"](
            input.meta.shape, float(var), dtype=input.meta.dtype, device=input.meta.device
        )
    elif known((var < 0).any()):  # type: ignore[attr-defined]
        raise ValueError("var has negative entry/entries")
    v, x = var.meta.shape, input.meta.shape
    if v != x:
        if tuple(x[:-1]) == tuple(v):
            var = var.unsqueeze(-1)  # type: ignore[attr-defined]
        elif not (tuple(x[:-1]) == tuple(v[:-1]) and v[-1:] == (1,)) and not _broadcasts(
            tuple(v), tuple(x)
        ):
            raise ValueError("var is of incorrect size")
    check_reduction_word(reduction)
    var = raised(var, eps)
    loss = 0.5 * (var.log() + (input - target) ** 2 / var)  # type: ignore[attr-defined, operator]
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduce_tensor(loss, reduction)


def _broadcasts(small: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    lead = len(shape) - len(small)
    return lead >= 0 and all(a in (1, b) for a, b in zip(small, shape[lead:], strict=True))


def check_reduction_word(reduction: str) -> None:
    """ValueError in the words of the losses that PyTorch writes in Python."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")


# margins -----------------------------------------------------------------------------------------


def _hinge(k: Any, x: Any, t: Any, margin: Any) -> Any:
    far, zero = (margin - x).relu(), k.like(x, 0.0)
    return k.where(_is(t, 1.0), zero, far) + k.where(_is(t, -1.0), zero, x)


def _hinge_slope(k: Any, x: Any, t: Any, margin: Any) -> Any:
    one, zero = k.like(x, 1.0), k.like(x, 0.0)
    far = k.where(_is(t, 1.0), zero, k.where(margin - x >= 0.0, -one, zero))
    return far + k.where(_is(t, -1.0), zero, one)


def _is(t: Any, value: float) -> Any:
    return t == value if isinstance(t, Tensor) else t.eq(value)


_HINGE = {
    r: elementwise_loss(
        "hinge_embedding_loss",
        _hinge,
        (_hinge_slope, None),
        grad_name="AddBackward0" if r == "none" else n,
    )
    for r, n in _NAMES.items()
}


def _word_of(size_average: Any, reduce: Any, reduction: str) -> str:
    return check_reduction(legacy_reduction(size_average, reduce, reduction))


def hinge_loss(input: Tensor, target: Tensor, margin: float, reduction: str) -> Tensor:
    """hinge_embedding_loss with a checked reduction."""
    return apply(_HINGE[reduction], (input, target), (reduction,), (float(margin),))


@functional("hinge_embedding_loss")
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """input where target is 1, max(0, margin - input) where it is -1."""
    return hinge_loss(input, target, margin, _word_of(size_average, reduce, reduction))


def ranking_loss(a: Tensor, b: Tensor, t: Tensor, margin: float, reduction: str) -> Tensor:
    """margin_ranking_loss with a checked reduction."""
    return reduce_tensor(at_least(-t * (a - b) + margin, 0), reduction)  # type: ignore[operator]


@functional("margin_ranking_loss")
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -target * (input1 - input2) + margin)."""
    reduction = _word_of(size_average, reduce, reduction)
    if input1.meta.ndim != input2.meta.ndim or input1.meta.ndim != target.meta.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            "input1: "
            f"{input1.meta.shape}, input2: {input2.meta.shape}, target: {target.meta.shape} "
        )
    return ranking_loss(input1, input2, target, margin, reduction)


def cosine_loss(a: Tensor, b: Tensor, t: Tensor, margin: float, reduction: str) -> Tensor:
    """cosine_embedding_loss with a checked reduction."""
    x, y, n = a.meta, b.meta, t.meta
    if n.ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if n.ndim == 1 and (x.ndim != 2 or y.ndim != 2):
        raise RuntimeError(
            "1D target tensor expects 2D input tensors, but found inputs with sizes "
            f"{list(x.shape)} and {list(y.shape)}."
        )
    if n.ndim == 0 and (x.ndim != 1 or y.ndim != 1):
        raise RuntimeError(
            "0D target tensor expects 1D input tensors, but found inputs with sizes "
            f"{list(x.shape)} and {list(y.shape)}."
        )
    prod, aa, bb = ((u * v).sum(-1) for u, v in ((a, b), (a, a), (b, b)))
    cos = prod / ((aa + 1e-12) * (bb + 1e-12)).sqrt()
    zero = zeros_as(cos, ())
    where = TORCH["where"]
    loss = where(t == 1, 1 - cos, zero) + where(t == -1, at_least(cos - margin, 0), zero)
    return reduce_tensor(loss, reduction)


@functional("cosine_embedding_loss")
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cosine where target is 1, max(0, cosine - margin) where it is -1."""
    return cosine_loss(input1, input2, target, margin, _word_of(size_average, reduce, reduction))


def triplet_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float,
    swap: bool,
    reduction: str,
    distance: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin)."""
    dims = [t.meta.ndim for t in (anchor, positive, negative)]
    if len(set(dims)) > 1:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            "dimensions, but got: "
            f"anchor {dims[0]}D, positive {dims[1]}D, and negative {dims[2]}D inputs"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = TORCH["minimum"](far, distance(positive, negative))
    return reduce_tensor(at_least(margin + near - far, 0), reduction)  # type: ignore[operator]


@functional("triplet_margin_loss")
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, |anchor - positive| - |anchor - negative| + margin)."""
    reduction = _word_of(size_average, reduce, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return _triplet(anchor, positive, negative, margin, p, eps, swap, reduction)


def _triplet(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float,
    p: float,
    eps: float,
    swap: bool,
    reduction: str,
) -> Tensor:
    return triplet_loss(
        anchor,
        positive,
        negative,
        margin,
        swap,
        reduction,
        lambda a, b: pairwise_distance(a, b, p, eps),
    )


@functional("triplet_margin_with_distance_loss")
def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """triplet_margin_loss with any distance."""
    check_reduction_word(reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = pairwise_distance if distance_function is None else distance_function
    return triplet_loss(anchor, positive, negative, margin, swap, reduction, distance)


# connectionist temporal classification -----------------------------------------------------------


def _ctc_infer(x: Meta, *rest: Any) -> tuple:
    return meta_of(x.dtype, (x.shape[1],), x.device), x.plain()


def _ctc_expand(g: Any, x: Any, targets: Any, a: Any, b: Any, blank: int, zero: bool) -> Any:
    counts = [g.cast(v, dt.int64) for v in (targets, a, b)]
    outs = [(x.dtype, (x.shape[1],)), (x.dtype, x.shape)]
    return g.template("ctc", outs, (x, *counts), (blank, zero))


def _ctc_backward(n: Any, g: Tensor, _: Any = None) -> tuple:
    grad = n.tensor(0).detach()
    return (
        TORCH["where"](g.unsqueeze(1) == 0, TORCH["zeros_like"](grad), grad * g.unsqueeze(1)),
        None,
        None,
        None,
    )  # type: ignore[attr-defined]


CTC = Op(
    "_ctc_loss",
    _ctc_infer,
    _ctc_expand,
    _ctc_backward,
    saves="out1",
    materialize=False,
    grad_name="CtcLossBackward0",
)


def _lengths(value: Any) -> Tensor:
    return (
        value
        if isinstance(value, Tensor)
        else TORCH["tensor"](list(value), dtype=dt.int64, device="cpu")
    )


def ctc_loss_of(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int,
    reduction: str,
    zero_infinity: bool,
) -> Tensor:
    """ctc_loss with a checked reduction."""
    lengths, sizes = _lengths(input_lengths), _lengths(target_lengths)
    m = log_probs.meta
    if m.dtype not in (dt.float32, dt.float64):
        raise NotImplementedError(f"\"ctc_loss_cpu\" not implemented for '{m.dtype.short}'")
    single = m.ndim == 2
    if single:
        log_probs = log_probs.unsqueeze(1)  # type: ignore[attr-defined]
        targets = targets.unsqueeze(0) if targets.meta.ndim == 1 else targets  # type: ignore[attr-defined]
    lengths, sizes = lengths.reshape(-1), sizes.reshape(-1)  # type: ignore[attr-defined]
    _check_ctc(log_probs.meta, targets, lengths, sizes, blank)
    lengths, sizes = lengths.to(m.device), sizes.to(m.device)  # they may be on the CPU
    loss = apply(CTC, (log_probs, targets, lengths, sizes), (int(blank), bool(zero_infinity)))[0]
    if single:
        loss = loss.squeeze(0)
        sizes = sizes.squeeze(0)
    if reduction == "mean":
        count = TORCH["where"](sizes < 1, TORCH["ones_like"](sizes), sizes).to(loss.meta.dtype)
        return (loss / count).mean()
    return loss if reduction == "none" else loss.sum()


def _check_ctc(m: Meta, targets: Tensor, lengths: Tensor, sizes: Tensor, blank: int) -> None:
    if not m.numel:
        raise RuntimeError("log_probs tensor must not be empty")
    if not 0 <= blank < m.shape[2]:
        raise RuntimeError("blank must be in label range")
    for name, v in (("input_lengths", lengths), ("target_lengths", sizes)):
        if v.meta.dtype.kind not in "iu":
            raise RuntimeError(f"{name} must be integral")
        if v.meta.numel != m.shape[1]:
            raise RuntimeError(f"{name} must be of size batch_size")
    t = targets.meta
    if META in (lengths.meta.device, sizes.meta.device):
        return
    longest = int(lengths._values().max())
    if longest > m.shape[0]:
        raise RuntimeError(
            f"Expected input_lengths to have value at most {m.shape[0]}, but got value {longest}"
        )
    if int(lengths._values().min()) < 0 or int(sizes._values().min()) < 0:
        raise RuntimeError("Expected lengths to be non-negative")
    need = sizes._values()
    if t.ndim == 2 and (t.shape[0] != m.shape[1] or t.shape[1] < int(need.max())):
        raise RuntimeError(
            f"Expected tensor to have size at least {int(need.max())} at dimension 1, but got "
            f"size {list(t.shape)} "
            "for argument #2 'targets' (while checking arguments for ctc_loss_cpu)"
        )
    if t.ndim == 1 and t.shape[0] != int(need.sum()):
        raise RuntimeError(
            f"Expected tensor to have size {int(need.sum())} at dimension 0, but got size "
            f"{t.shape[0]} for argument "
            "#2 'targets' (while checking arguments for ctc_loss_cpu)"
        )
    if META is not t.device:
        labels = targets._values()
        if t.ndim == 2:
            labels = labels[np.arange(t.shape[1]) < need[:, None]]
        bad = labels[(labels < 0) | (labels >= m.shape[2])]
        if bad.size:  # PyTorch reads other memory
            raise IndexError(
                f"index {bad[0]} is out of bounds for dimension 2 with size {m.shape[2]}"
            )


@functional("ctc_loss")
def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log probability of all alignments of targets with the inputs.

    Shapes: log_probs (T, N, C) after log_softmax, targets (N, S) or joined, lengths (N).
    Source: Graves et al., "Connectionist temporal classification", 2006.
    """
    return ctc_loss_of(
        log_probs,
        targets,
        input_lengths,
        target_lengths,
        blank,
        check_reduction(reduction),
        zero_infinity,
    )


# names under torch: reduction is a number there --------------------------------------------------
#
# and is 0 if left out: PyTorch's argument parser reads the default `Mean` of their declarations so.


def _hinge_torch(input: Tensor, target: Tensor, margin: float = 1.0, reduction: Any = 0) -> Tensor:
    return hinge_loss(input, target, margin, _word(reduction))


def _ranking_torch(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: Any = 0
) -> Tensor:
    return ranking_loss(input1, input2, target, margin, _word(reduction))


def _cosine_torch(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: Any = 0
) -> Tensor:
    return cosine_loss(input1, input2, target, margin, _word(reduction))


def _triplet_torch(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: Any = 0,
) -> Tensor:
    return _triplet(anchor, positive, negative, margin, p, eps, swap, _word(reduction))


def _ctc_torch(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: Any = 0,
    zero_infinity: bool = False,
) -> Tensor:
    return ctc_loss_of(
        log_probs, targets, input_lengths, target_lengths, blank, _word(reduction), zero_infinity
    )


for _fn, _name in (
    (_hinge_torch, "hinge_embedding_loss"),
    (_ranking_torch, "margin_ranking_loss"),
    (_cosine_torch, "cosine_embedding_loss"),
    (_triplet_torch, "triplet_margin_loss"),
    (_ctc_torch, "ctc_loss"),
    (_torch_kl_div, "kl_div"),
    (_torch_poisson, "poisson_nll_loss"),
):
    _fn.__name__ = _fn.__qualname__ = _name
    _fn.__doc__ = f"`nn.functional.{_name}`; reduction 0 none, 1 mean, 2 sum."
    TORCH[_name] = _fn
