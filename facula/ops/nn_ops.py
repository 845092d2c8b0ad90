"""The operators under nn.functional that are worth one recorded node each: softmax, norms, losses."""

from __future__ import annotations

import math
import warnings
from typing import Any

from facula.autograd.node import shown
from facula.graph import dtypes as dt
from facula.graph.blame import wrong_type
from facula.graph.meta import Meta, broadcast_shapes, meta_of, wrap_dim
from facula.graph.tape import LOCAL, Op
from facula.ops.apply import apply, apply_known, apply_settled, metas_of, record
from facula.ops.norms import affine_shows, check_types
from facula.ops.pointwise import need_tensors, opmath, sum_to, unsupported
from facula.ops.registry import FUNCTIONAL, NAMESPACES, TORCH, functional, to_out, zeros_as
from facula.tensor import Tensor

# softmax -----------------------------------------------------------------------------------------


def _softmax_infer(a: Meta, dim: int, asked: Any) -> Meta:
    d = asked or a.dtype
    if d.kind != "f":
        raise NotImplementedError(
            f"\"softmax_lastdim_kernel_impl\" not implemented for '{d.short}'"
        )
    return meta_of(d, a.shape, a.device)


def _softmax_parts(g: Any, a: Any, dim: int, asked: Any) -> tuple:
    x = g.cast(g.cast(a, asked or a.dtype), opmath(asked or a.dtype))
    top = g.reduce("max", x, dim)
    e = (x - top).exp()
    return x, top, e


def _softmax_expand(g: Any, a: Any, dim: int, asked: Any) -> Any:
    if not a.numel:
        return g.cast(a, asked or a.dtype)
    _, _, e = _softmax_parts(g, a, dim, asked)
    last = dim == max(a.ndim - 1, 0)
    total = g.reduce("row_sum" if last else "sum", e, dim)
    # as PyTorch's kernels, whose last digits these are
    return g.cast(e * total.reciprocal() if last else e / total, asked or a.dtype)


def _softmax_backward(n: Any, g: Tensor) -> Tensor:
    out = apply(SOFTMAX_BACKWARD, (g, n.tensor(0)), (n.params[0],))
    d = n.inst.ins[0].dtype
    return out if out.meta.dtype is d else out.to(d)  # type: ignore[attr-defined]


def _softmax_back_expand(g: Any, grad: Any, y: Any, dim: int) -> Any:
    w = opmath(y.dtype)
    gw, yw = g.cast(grad, w), g.cast(y, w)
    prod = gw * yw
    return g.cast(prod - yw * g.reduce("sum", prod, dim), y.dtype)


def _softmax_back_back(n: Any, gg: Tensor) -> tuple:
    dim = n.params[0]
    grad, y = n.tensor(0), n.tensor(1)
    g_grad = apply(SOFTMAX_BACKWARD, (gg, y), (dim,)) if n.needs(0) else None
    g_y = None
    if n.needs(1):
        g_y = (
            gg * grad
            - gg * (grad * y).sum(dim, keepdim=True)
            - grad * (gg * y).sum(dim, keepdim=True)
        )  # type: ignore[attr-defined]
    return g_grad, g_y


SOFTMAX = Op("softmax", _softmax_infer, _softmax_expand, _softmax_backward, saves="out")
SOFTMAX_BACKWARD = Op("_softmax_backward_data", lambda g, y, dim: y.plain(), _softmax_back_expand,
                      _softmax_back_back, saves="0 1")  # fmt: skip


def _log_softmax_expand(g: Any, a: Any, dim: int, asked: Any) -> Any:
    if not a.numel:
        return g.cast(a, asked or a.dtype)
    x, top, e = _softmax_parts(g, a, dim, asked)
    return g.cast(x - top - g.reduce("sum", e, dim).log(), asked or a.dtype)


def _log_softmax_backward(n: Any, g: Tensor) -> Tensor:
    out = apply(LOG_SOFTMAX_BACKWARD, (g, n.tensor(0)), (n.params[0],))
    d = n.inst.ins[0].dtype
    return out if out.meta.dtype is d else out.to(d)  # type: ignore[attr-defined]


def _log_softmax_back_expand(g: Any, grad: Any, y: Any, dim: int) -> Any:
    w = opmath(y.dtype)
    gw = g.cast(grad, w)
    return g.cast(gw - g.cast(y, w).exp() * g.reduce("sum", gw, dim), y.dtype)


def _log_softmax_back_back(n: Any, gg: Tensor) -> tuple:
    dim = n.params[0]
    grad, y = n.tensor(0), n.tensor(1)
    p = y.exp()
    inner = (gg * p).sum(dim, keepdim=True)
    g_grad = gg - inner if n.needs(0) else None
    g_y = -(p * gg) * grad.sum(dim, keepdim=True) if n.needs(1) else None
    return g_grad, g_y


LOG_SOFTMAX = Op(
    "log_softmax", _softmax_infer, _log_softmax_expand, _log_softmax_backward, saves="out"
)
LOG_SOFTMAX_BACKWARD = Op("_log_softmax_backward_data", lambda g, y, dim: y.plain(), _log_softmax_back_expand,
                          _log_softmax_back_back, saves="0 1")  # fmt: skip


def _default_dim(name: str, ndim: int, stacklevel: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if ndim in (0, 1, 3) else 1


def _soft_params(ndim: int, dim: int, dtype: Any) -> tuple:
    return wrap_dim(dim, ndim), dtype


def _soft(name: str, op: Op) -> None:
    def torch_function(
        input: Tensor, dim: int, dtype: Any = None, *, out: Tensor | None = None
    ) -> Tensor:
        got = apply_settled(op, input, (dim, dtype), _soft_params)
        return got if out is None else to_out(got, out)

    def function(
        input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
    ) -> Tensor:
        if dim is None:
            dim = _default_dim(name, input.meta.ndim, _stacklevel)
        return torch_function(input, dim, dtype)

    for fn in (torch_function, function):
        fn.__name__ = fn.__qualname__ = name
        fn.__doc__ = f"{name} along a dim: every slice along it sums to one{' after exp' if 'log' in name else ''}."
    TORCH[name] = NAMESPACES["special"][name] = torch_function
    setattr(Tensor, name, torch_function)
    FUNCTIONAL[name] = function


_soft("softmax", SOFTMAX)
_soft("log_softmax", LOG_SOFTMAX)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """softmax of -input."""
    return FUNCTIONAL["softmax"](-input, dim, _stacklevel, dtype)


FUNCTIONAL["softmin"] = softmin

# gelu, silu and their kind are in activations.py; layer norm --------------------------------------


def _ln_stats_infer(x: Meta, k: int, eps: float) -> tuple:
    stats = meta_of(opmath(x.dtype), (*x.shape[: x.ndim - k], *[1] * k), x.device)
    return stats, stats


def _ln_stats_expand(g: Any, x: Any, k: int, eps: float) -> Any:
    v = g.cast(x, opmath(x.dtype))
    axes = tuple(range(x.ndim - k, x.ndim))
    mean = g.mean(v, axes)
    centred = v - mean
    return mean, (g.mean(centred * centred, axes) + eps).rsqrt()


# mean and 1 / standard deviation. A layer norm and its derivative both compute them: that is the
# same value to the planner, so it is done once where they are evaluated together
LN_STATS = Op("layer_norm_stats", _ln_stats_infer, _ln_stats_expand)


def _ln_expand(g: Any, x: Any, *rest: Any) -> Any:
    *wb, k, eps, has_w, has_b = rest
    w_type = opmath(x.dtype)
    mean, rstd = _ln_stats_expand(g, x, k, eps)
    y = (g.cast(x, w_type) - mean) * rstd
    wb = list(wb)
    if has_w:
        y = y * g.cast(wb.pop(0), w_type)
    if has_b:
        y = y + g.cast(wb.pop(0), w_type)
    return g.cast(y, x.dtype)


def _ln_backward(n: Any, g: Tensor) -> tuple:
    k, eps, has_w, has_b = n.params
    x = n.tensor(0)
    if LN_SECOND_ORDER(n):
        return _ln_backward_composed(n, g)
    mean, rstd = apply(LN_STATS, (x,), (k, eps))
    ins = n.inst.ins
    grads: list[Any] = []
    w = n.tensor(1) if has_w else None
    gx = None
    if n.needs(0):
        gx = apply(LN_INPUT, (g, x, mean, rstd, *([w] if has_w else [])), (k, has_w))
    grads.append(gx)
    lead = tuple(range(x.meta.ndim - k))
    if has_w or has_b:
        g = g.to(ins[1].dtype)  # type: ignore[attr-defined]  # parameters may be of a wider type
    if has_w:
        xhat = ((x.to(mean.meta.dtype) - mean) * rstd).to(g.meta.dtype)  # type: ignore[attr-defined]
        grads.append(
            (g * xhat).sum(lead).reshape(ins[1].shape)
            if n.needs(1) and lead
            else (g * xhat if n.needs(1) else None)
        )  # type: ignore[attr-defined]
    if has_b:
        i = 1 + has_w
        grads.append((g.sum(lead).reshape(ins[i].shape) if lead else g) if n.needs(i) else None)  # type: ignore[attr-defined]
    return tuple(grads)


def LN_SECOND_ORDER(n: Any) -> bool:
    """Whether the derivative itself will be differentiated: then it is composed of public operators."""
    return LOCAL.tape.grad


def _ln_backward_composed(n: Any, g: Tensor) -> tuple:
    k, eps, has_w, has_b = n.params
    x = n.tensor(0)
    dims = tuple(range(x.meta.ndim - k, x.meta.ndim))
    lead = tuple(range(x.meta.ndim - k))
    mean = x.mean(dims, keepdim=True)  # type: ignore[attr-defined]
    centred = x - mean
    rstd = ((centred * centred).mean(dims, keepdim=True) + eps).rsqrt()
    xhat = centred * rstd
    gw = g * n.tensor(1) if has_w else g
    gx = (gw - gw.mean(dims, keepdim=True) - xhat * (gw * xhat).mean(dims, keepdim=True)) * rstd
    grads = [gx]
    ins = n.inst.ins
    if has_w:
        grads.append((g * xhat).sum(lead).reshape(ins[1].shape) if lead else g * xhat)
    if has_b:
        grads.append(g.sum(lead).reshape(ins[1 + has_w].shape) if lead else g)  # type: ignore[attr-defined]
    return tuple(grads)


def _ln_input_expand(g: Any, grad: Any, x: Any, mean: Any, rstd: Any, *rest: Any) -> Any:
    *w, k, has_w = rest
    t = opmath(x.dtype)
    axes = tuple(range(x.ndim - k, x.ndim))
    gw = g.cast(grad, t)
    if has_w:
        gw = gw * g.cast(w[0], t)
    xhat = (g.cast(x, t) - mean) * rstd
    out = (gw - g.mean(gw, axes) - xhat * g.mean(gw * xhat, axes)) * rstd
    return g.cast(out, x.dtype)


LAYER_NORM = {
    n: Op("native_layer_norm", lambda x, *_: x.plain(), _ln_expand, _ln_backward,
          saves=" ".join(map(str, range(n))), shows=affine_shows(1, 2))
    for n in (1, 2, 3)
}  # fmt: skip
LN_INPUT = Op("layer_norm_backward", lambda g, x, *r: x.plain(), _ln_input_expand)


@functional("layer_norm")
def layer_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalises over the last dims, `normalized_shape`, then scales and shifts.

    Shapes: input (*, *normalized_shape), weight and bias normalized_shape.
    Source: Ba, Kiros, Hinton, "Layer Normalization", 2016.
    """
    if weight is None:
        operands = (input,) if bias is None else (input, bias)
    else:
        operands = (input, weight) if bias is None else (input, weight, bias)
    op = LAYER_NORM[len(operands)]
    if type(normalized_shape) not in (tuple, int):
        normalized_shape = (
            int(normalized_shape) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
    geometry, args = tuple(map(metas_of, operands)), (normalized_shape, eps, weight is None)
    inst = op.calls.get((geometry, args))
    if inst is not None:
        return record(op, inst, operands)
    shape = normalized_shape if isinstance(normalized_shape, tuple) else (normalized_shape,)
    k = len(shape)
    if k == 0:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one "
            "element, but got normalized_shape = []"
        )
    check_types(input.meta, weight, bias)
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and tuple(p.meta.shape) != shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                f"{list(p.meta.shape)} and normalized_shape = {list(shape)}"
            )
    if input.meta.ndim < k or tuple(input.meta.shape[input.meta.ndim - k :]) != shape:
        inner = ", ".join(map(str, shape))
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {inner}], but got input of size"
            f"{list(input.meta.shape)}"
        )
    params = (k, eps, weight is not None, bias is not None)
    return apply_known(op, operands, params, geometry, args)


TORCH["layer_norm"] = (
    lambda input, normalized_shape, weight=None, bias=None, eps=1e-5, cudnn_enable=True: layer_norm(
        input, normalized_shape, weight, bias, eps
    )
)

# losses --------------------------------------------------------------------------------------------


def check_reduction(reduction: str) -> str:
    """ValueError where a reduction is none of PyTorch's."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def legacy_reduction(size_average: Any, reduce: Any, reduction: str) -> str:
    """The reduction that the deprecated arguments ask for."""
    if size_average is None and reduce is None:
        return reduction
    size_average = True if size_average is None else size_average
    reduce = True if reduce is None else reduce
    got = "mean" if size_average and reduce else "sum" if reduce else "none"
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{got}' instead.",
        stacklevel=3,
    )
    return got


def _reduced(g: Any, v: Any, reduction: str, d: Any) -> Any:
    if reduction == "none":
        return g.cast(v, d)
    axes = tuple(range(v.ndim))
    total = g.reduce("sum", v, axes, keepdim=False) if axes else v
    if reduction == "mean":
        n = math.prod(v.shape)
        total = total / (n if n else math.nan)
    return g.cast(total, d)


def _mse_infer(a: Meta, b: Meta, reduction: str) -> Meta:
    d = dt.promote_types(a.dtype, b.dtype)
    shape = broadcast_shapes(a.shape, b.shape)
    return meta_of(d, shape if reduction == "none" else (), a.device)


def _mse_expand(g: Any, a: Any, b: Any, reduction: str) -> Any:
    d = dt.promote_types(a.dtype, b.dtype)
    diff = g.cast(a, opmath(d)) - g.cast(b, opmath(d))
    return _reduced(g, diff * diff, reduction, d)


def _mse_grad_expand(g: Any, grad: Any, a: Any, b: Any, reduction: str) -> Any:
    w = opmath(a.dtype)
    n = 2.0 / max(a.numel, 1) if reduction == "mean" else 2.0
    return g.cast((g.cast(a, w) - g.cast(b, w)) * (g.cast(grad, w) * n), a.dtype)


MSE_GRAD = Op("mse_loss_backward", lambda g, a, b, r: a.plain(), _mse_grad_expand)


def _mse_backward(n: Any, g: Tensor) -> tuple:
    a, b = n.tensor(0), n.tensor(1)
    if (
        not LOCAL.tape.grad
        and n.edges[1] is None
        and a.meta.shape == b.meta.shape
        and a.meta.dtype is b.meta.dtype
    ):
        return apply(MSE_GRAD, (g, a, b), n.inst.params), None
    diff = a - b
    scale = 2.0 / max(diff.meta.numel, 1) if n.params[0] == "mean" else 2.0
    ga = diff * (g * scale)
    ins = n.inst.ins
    return sum_to(ga, ins[0]) if n.needs(0) else None, sum_to(-ga, ins[1]) if n.needs(1) else None


MSE = Op("mse_loss", _mse_infer, _mse_expand, _mse_backward, saves="0 1")


@functional("mse_loss")
def mse_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None,
             reduction: str = "mean", weight: Tensor | None = None) -> Tensor:  # fmt: skip
    """Mean (or sum) of squared differences.

    >>> import facula as torch
    >>> torch.nn.functional.mse_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    tensor(2.)
    """
    settled = size_average is None and reduce is None and weight is None
    if settled and type(reduction) is str and isinstance(input, Tensor):
        inst = MSE.calls.get(((input.meta, getattr(target, "meta", None)), reduction))
        if inst is not None:
            return record(MSE, inst, (input, target))
    reduction = check_reduction(legacy_reduction(size_average, reduce, reduction))
    if target.meta.shape != input.meta.shape:
        warnings.warn(
            f"Using a target size ({target.meta.shape}) that is different to the input size ({input.meta.shape}). "
            "This will likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=2,
        )
    if weight is not None:
        loss = weight * apply(MSE, (input, target), ("none",))
        return (
            loss
            if reduction == "none"
            else loss.sum() / (weight.sum() if reduction == "mean" else 1)
        )
    if settled and target.meta.shape == input.meta.shape:  # else it warns every time
        return apply_known(MSE, (input, target), (reduction,), (input.meta, target.meta), reduction)
    return apply(MSE, (input, target), (reduction,))


def _ce_infer(x: Meta, t: Meta, reduction: str, ignore: int) -> Meta:
    shape = t.shape if reduction == "none" else ()
    return meta_of(x.dtype, shape, x.device)


def _ce_picked(g: Any, x: Any, t: Any, ignore: int) -> tuple:
    """Class dim of x, which targets count, and targets safe to index with."""
    dim = 1 if x.ndim > 1 else 0
    t = g.cast(t, dt.int64)
    counts = t.ne(ignore)
    safe = g.check(g.where(counts, t, 0), x.shape[dim], "target", wrap=False)
    return dim, counts, safe


def _ce_expand(g: Any, x: Any, t: Any, reduction: str, ignore: int) -> Any:
    dim, counts, safe = _ce_picked(g, x, t, ignore)
    w = opmath(x.dtype)
    v = g.cast(x, w)
    top = g.reduce("max", v, dim)
    log_sum = g.reduce("sum", (v - top).exp(), dim).log() + top
    wide = (*t.shape[:dim], 1, *t.shape[dim:])
    picked = g.gather(v, g.reshape(safe, wide), dim)
    loss = g.where(counts, g.reshape(log_sum - picked, t.shape), 0.0)
    if reduction == "mean":
        axes = tuple(range(loss.ndim))
        n = g.cast(counts, w)
        total = g.reduce("sum", loss, axes, keepdim=False) if axes else loss
        count = g.reduce("sum", n, axes, keepdim=False) if axes else n
        return g.cast(total / count, x.dtype)
    return _reduced(g, loss, reduction, x.dtype)


def _ce_backward(n: Any, g: Tensor) -> tuple:
    x, t = n.tensor(0), n.tensor(1)
    if LOCAL.tape.grad:
        dim = 1 if x.meta.ndim > 1 else 0
        return _ce_backward_composed(n, g, x, t, dim), None
    return apply(CE_BACKWARD, (g, x, t), n.params), None


def _ce_backward_composed(n: Any, g: Tensor, x: Tensor, t: Tensor, dim: int) -> Tensor:
    reduction, ignore = n.params
    counts = t != ignore
    safe = TORCH["where"](counts, t, TORCH["zeros_like"](t)).unsqueeze(dim)
    hot = zeros_as(x, x.meta.shape).scatter(
        dim, safe, TORCH["ones"](safe.meta.shape, dtype=x.meta.dtype, device=x.meta.device)
    )
    weight = counts.to(x.meta.dtype)
    scale = g / weight.sum() if reduction == "mean" else g
    return (x.softmax(dim) - hot) * (weight * scale).unsqueeze(dim)  # type: ignore[attr-defined]


def _ce_back_expand(g: Any, grad: Any, x: Any, t: Any, reduction: str, ignore: int) -> Any:
    dim, counts, safe = _ce_picked(g, x, t, ignore)
    w = opmath(x.dtype)
    v = g.cast(x, w)
    top = g.reduce("max", v, dim)
    e = (v - top).exp()
    p = e / g.reduce("sum", e, dim)
    wide = (*t.shape[:dim], 1, *t.shape[dim:])
    hot = g.cast(g.iota(x.shape, dim).eq(g.reshape(safe, wide)), w)
    scale = g.cast(grad, w)
    n = g.cast(counts, w)
    if reduction == "mean":
        scale = (
            scale / g.reduce("sum", n, tuple(range(n.ndim)), keepdim=False) if n.ndim else scale / n
        )
    return g.cast((p - hot) * g.reshape(n * scale, wide), x.dtype)


def _ce_shows(n: Any) -> tuple:
    edge = n.edges[0]
    if edge is None:
        return (None,)
    return (shown("LogSoftmaxBackward0", edge, meta=n.inst.ins[0].plain()),)


CROSS_ENTROPY = Op(
    "cross_entropy",
    _ce_infer,
    _ce_expand,
    _ce_backward,
    saves="0 1",
    grad_name="NllLossBackward0",
    marks=True,
    shows=_ce_shows,
)
CROSS_ENTROPY_2D = Op(
    "cross_entropy",
    _ce_infer,
    _ce_expand,
    _ce_backward,
    saves="0 1",
    grad_name="NllLoss2DBackward0",
    marks=True,
    shows=_ce_shows,
)
CE_BACKWARD = Op(
    "cross_entropy_backward", lambda g, x, t, *p: x.plain(), _ce_back_expand, marks=True
)


@functional("cross_entropy")
def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
                  ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:  # fmt: skip
    """Negative log likelihood of the softmax of input, for class numbers or class probabilities.

    Shapes: input (C), (N, C) or (N, C, d1, ...), target (), (N), (N, d1, ...) or input's.

    >>> import facula as torch
    >>> scores = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    >>> torch.nn.functional.cross_entropy(scores, torch.tensor([0, 1]))
    tensor(0.4100)
    """
    settled = weight is None and size_average is None and reduce is None and not label_smoothing
    try:
        op = CROSS_ENTROPY if input.meta.ndim <= 2 else CROSS_ENTROPY_2D
        geometry, args = (input.meta, target.meta), (reduction, ignore_index)
    except AttributeError:
        need_tensors("cross_entropy_loss", input=input, target=target)
        raise
    inst = op.calls.get((geometry, args)) if settled else None
    if inst is not None:
        return record(op, inst, (input, target))
    reduction = check_reduction(legacy_reduction(size_average, reduce, reduction))
    if label_smoothing > 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    label_smoothing = max(label_smoothing, 0.0)  # PyTorch does not smooth by less than nothing
    m, t = input.meta, target.meta
    if t.shape == m.shape and t.dtype.kind == "f":
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _cross_entropy_probabilities(input, target, weight, reduction, label_smoothing)
    _check_classes(m, t)
    if m.dtype.kind not in "fc":
        kernel = "log_softmax_lastdim_kernel_impl" if m.ndim < 3 else "softmax_kernel"
        raise NotImplementedError(unsupported(kernel, m.dtype))
    if not hasattr(ignore_index, "__index__"):
        raise wrong_type(ignore_index, "int")
    if weight is None and not label_smoothing and m.numel:
        params = (reduction, ignore_index)
        if settled:
            return apply_known(op, (input, target), params, geometry, args)
        return apply(op, (input, target), params)
    logp = FUNCTIONAL["log_softmax"](input, 1 if m.ndim > 1 else 0)
    nll = FUNCTIONAL["nll_loss"](logp, target, weight, None, ignore_index, None, reduction)
    if not label_smoothing:
        return nll
    return _smoothed(logp, target, weight, ignore_index, reduction, label_smoothing, nll)


def _check_classes(m: Meta, t: Meta) -> None:
    if m.ndim == 0:
        raise RuntimeError("cross_entropy: expected input with at least one dim, got a 0-d tensor")
    if t.dtype not in (dt.int64, dt.uint8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {t.dtype.short}")
    dim = 1 if m.ndim > 1 else 0
    if m.ndim == 1:
        if t.ndim > 1 or (t.ndim == 1 and t.numel != 1):
            raise ValueError(
                f"Expected input batch_size (1) to match target batch_size ({t.numel})."
            )
        return
    if t.ndim != m.ndim - 1:
        if t.ndim == 0 or (t.ndim > m.ndim - 1 and m.ndim == 2):
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        raise RuntimeError(
            f"Expected target size {[m.shape[0], *m.shape[2:]]}, got {list(t.shape)}"
        )
    if m.shape[0] != t.shape[0]:
        raise ValueError(
            f"Expected input batch_size ({m.shape[0]}) to match target batch_size ({t.shape[0]})."
        )
    if tuple(m.shape[2:]) != tuple(t.shape[dim:]):
        raise RuntimeError(
            f"Expected target size {[m.shape[0], *m.shape[2:]]}, got {list(t.shape)}"
        )


def _smoothed(logp: Tensor, target: Tensor, weight: Tensor | None, ignore: int, reduction: str, eps: float,
              nll: Tensor) -> Tensor:  # fmt: skip
    dim = 1 if logp.meta.ndim > 1 else 0
    classes = logp.meta.shape[dim]
    scaled = logp
    if weight is not None:
        scaled = logp * weight.reshape([-1 if i == dim else 1 for i in range(logp.meta.ndim)])  # type: ignore[attr-defined]
    smooth = -scaled.sum(dim)  # type: ignore[attr-defined]
    counts = target != ignore
    smooth = TORCH["where"](counts, smooth, zeros_as(smooth, ()))
    if reduction == "sum":
        smooth = smooth.sum()
    elif reduction == "mean":
        if weight is None:
            smooth = smooth.sum() / counts.sum()
        else:
            safe = TORCH["where"](counts, target, TORCH["zeros_like"](target))
            smooth = smooth.sum() / (weight[safe] * counts).sum()
    return (1 - eps) * nll + eps / classes * smooth


def _cross_entropy_probabilities(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str,
                                 eps: float) -> Tensor:  # fmt: skip
    dim = 1 if input.meta.ndim > 1 else 0
    if eps:
        target = target * (1 - eps) + eps / input.meta.shape[dim]
    logp = FUNCTIONAL["log_softmax"](input, dim)
    if weight is not None:
        logp = logp * weight.reshape([-1 if i == dim else 1 for i in range(input.meta.ndim)])  # type: ignore[attr-defined]
    loss = -(logp * target).sum(dim)
    if reduction == "none":
        return loss
    total = loss.sum()
    if reduction == "sum":
        return total
    return total / max(input.meta.numel // max(input.meta.shape[dim], 1), 1)


TORCH["cross_entropy"] = cross_entropy
