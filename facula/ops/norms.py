"""Normalisation over batches, groups, features: one operator each, with its statistics."""

from __future__ import annotations

import math
from typing import Any

from facula.graph.dtypes import dtype
from facula.graph.formats import AS_IMAGES
from facula.graph.meta import META, Meta, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply, write_value
from facula.ops.formula import recording
from facula.ops.pointwise import opmath
from facula.ops.registry import FUNCTIONAL, TORCH, functional, to_out
from facula.tensor import Tensor

# what is shown of derivatives ---------------------------------------------------------------------


def affine_shows(first: int, has: int) -> Any:
    """Edges of input, weight and bias, None where there is none: `first` is the operand that they
    begin at, `has` the parameter that says whether there is a weight; the next one is the bias's."""

    def shows(n: Any) -> list:
        given = iter(n.edges[first:])
        return [n.edges[0], *[next(given) if n.params[i] else None for i in (has, has + 1)]]

    return shows


# batch norm: (N, C, ...) normalised over all dims but the second ---------------------------------


def _others(ndim: int) -> tuple[int, ...]:
    return tuple(i for i in range(ndim) if i != 1)


def _channel(g: Any, v: Any, ndim: int, w: dtype) -> Any:
    """A vector of channels against (N, C, ...)."""
    return g.reshape(g.cast(v, w), _line(v.shape[0], ndim))


def _line(c: int, ndim: int) -> tuple[int, ...]:
    return tuple(c if i == 1 else 1 for i in range(ndim))


def _count(shape: tuple[int, ...]) -> int:
    return math.prod([n for i, n in enumerate(shape) if i != 1])


def _bn_train_infer(x: Meta, *rest: Any) -> tuple:
    has_stats = rest[-1]
    stats = meta_of(opmath(x.dtype), (x.shape[1],), x.device)
    if not has_stats:
        return x.plain(), stats, stats
    running = [m for m in rest if isinstance(m, Meta)][-2:]
    return x.plain(), stats, stats, running[0].plain(), running[1].plain()


def _bn_train_expand(g: Any, x: Any, *rest: Any) -> Any:
    *vals, has_w, has_b, has_stats = rest
    momentum, eps = vals[-2:]
    vals = vals[:-2]
    w, axes, n = opmath(x.dtype), _others(x.ndim), _count(x.shape)
    v = g.cast(x, w)
    mean = g.mean(v, axes)
    centred = v - mean
    var = g.mean(centred * centred, axes)
    invstd = (var + g.cast(eps, w)).rsqrt()
    y = _affine(g, centred * invstd, vals, has_w, has_b)
    c = (x.shape[1],)
    outs = [g.cast(y, x.dtype), g.reshape(mean, c), g.reshape(invstd, c)]
    if has_stats:
        unbiased = g.reshape(var, c) * (n / (n - 1) if n > 1 else math.nan)
        for old, new in zip(vals[-2:], (g.reshape(mean, c), unbiased), strict=True):
            t = opmath(old.dtype)
            m = g.cast(momentum, t)
            outs.append(g.cast(g.cast(old, t) * (1.0 - m) + g.cast(new, t) * m, old.dtype))
    return outs


def _affine(g: Any, y: Any, wb: list, has_w: bool, has_b: bool) -> Any:
    """y * weight + bias, channel by channel."""
    wb = list(wb)
    for here, combine in ((has_w, "mul"), (has_b, "add")):
        if here:
            y = g.binary(combine, y, _channel(g, wb.pop(0), y.ndim, y.dtype))
    return y


def _bn_train_backward(n: Any, g: Tensor, *_: Any) -> tuple:
    has_w, has_b, has_stats = n.params
    x, mean, invstd = n.tensor(0), n.tensor(-2), n.tensor(-1)
    weight = n.tensor(1) if has_w else None
    tail = (None,) * (2 * has_stats)
    if recording():
        return (*_bn_composed(n, g, x, weight, n.scalars[1], has_b), *tail)
    got = apply(
        BN_BACKWARD, (g, x, mean.detach(), invstd.detach(), *([weight] if has_w else [])), (has_w,)
    )
    return (got[0], *_affine_grads(n, got, has_w, has_b), *tail)


def _affine_grads(n: Any, got: tuple, has_w: bool, has_b: bool) -> list:
    grads = []
    ins = n.inst.ins
    if has_w:
        grads.append(in_type_of(got[1], ins[1]) if n.needs(1) else None)
    if has_b:
        i = 1 + has_w
        grads.append(in_type_of(got[2], ins[i]) if n.needs(i) else None)
    return grads


def _in(t: Tensor, d: dtype) -> Any:
    return t if t.meta.dtype is d else t.to(d)  # type: ignore[attr-defined]


def in_type_of(t: Tensor, m: Meta) -> Tensor:
    """t in the dtype of another tensor's geometry."""
    return _in(t, m.dtype)


def _bn_back_infer(grad: Meta, x: Meta, mean: Meta, *rest: Any) -> tuple:
    return x.plain(), mean.plain(), mean.plain()


def _bn_back_expand(g: Any, grad: Any, x: Any, mean: Any, invstd: Any, *rest: Any) -> Any:
    *weight, has_w = rest
    w, axes, n = opmath(x.dtype), _others(x.ndim), _count(x.shape)
    gw = g.cast(grad, w)
    r = _channel(g, invstd, x.ndim, w)
    xhat = (g.cast(x, w) - _channel(g, mean, x.ndim, w)) * r
    sum_g, sum_gx = g.reduce("sum", gw, axes), g.reduce("sum", gw * xhat, axes)
    scale = r * _channel(g, weight[0], x.ndim, w) if has_w else r
    gx = (gw - sum_g / max(n, 1) - xhat * (sum_gx / max(n, 1))) * scale
    c = (x.shape[1],)
    return g.cast(gx, x.dtype), g.reshape(sum_gx, c), g.reshape(sum_g, c)


def _bn_composed(
    n: Any, g: Tensor, x: Tensor, weight: Tensor | None, eps: float, has_b: bool
) -> tuple:
    """The derivative in public operators, for derivatives of it."""
    dims = _others(x.meta.ndim)
    line = _line(x.meta.shape[1], x.meta.ndim)
    centred = x - x.mean(dims, keepdim=True)  # type: ignore[attr-defined]
    r = ((centred * centred).mean(dims, keepdim=True) + eps).rsqrt()
    xhat = centred * r
    gw = g * weight.reshape(line) if weight is not None else g  # type: ignore[attr-defined]
    gx = (gw - gw.mean(dims, keepdim=True) - xhat * (gw * xhat).mean(dims, keepdim=True)) * r
    grads = [gx]
    if weight is not None:
        grads.append((g * xhat).sum(dims))
    if has_b:
        grads.append(g.sum(dims))  # type: ignore[attr-defined]
    return tuple(grads)


# the number of operands decides where the saved statistics stand
BN_TRAIN = {
    has_w: Op(
        "native_batch_norm",
        _bn_train_infer,
        _bn_train_expand,
        _bn_train_backward,
        saves="0 1 out1 out2" if has_w else "0 out1 out2",
        materialize=False,
        shows=affine_shows(1, 0),
        lies=AS_IMAGES,
    )
    for has_w in (True, False)
}
BN_BACKWARD = Op("native_batch_norm_backward", _bn_back_infer, _bn_back_expand)


def _bn_eval_infer(x: Meta, *rest: Any) -> Meta:
    return x.plain()


def _bn_eval_expand(g: Any, x: Any, mean: Any, var: Any, *rest: Any) -> Any:
    *vals, has_w, has_b = rest
    eps = vals.pop()
    w = opmath(x.dtype)
    r = (g.cast(var, w) + g.cast(eps, w)).rsqrt()
    y = (g.cast(x, w) - _channel(g, mean, x.ndim, w)) * _channel(g, r, x.ndim, w)
    return g.cast(_affine(g, y, vals, has_w, has_b), x.dtype)


def _bn_eval_backward(n: Any, g: Tensor) -> tuple:
    has_w, has_b = n.params
    x, mean, var = n.tensor(0), n.tensor(1), n.tensor(2)
    line, dims = _line(x.meta.shape[1], x.meta.ndim), _others(x.meta.ndim)
    d = opmath(x.meta.dtype)
    wide = _in(g, d)
    r = (_in(var, d) + n.scalars[0]).rsqrt().reshape(line)
    gx = None
    if n.needs(0):
        gx = wide * r
        if has_w:
            gx = gx * n.tensor(3).reshape(line)
        gx = in_type_of(gx, x.meta)
    grads: list[Any] = [gx, None, None]
    if has_w:
        xhat = (_in(x, d) - _in(mean, d).reshape(line)) * r
        grads.append(in_type_of((wide * xhat).sum(dims), n.inst.ins[3]) if n.needs(3) else None)
    if has_b:
        i = 3 + has_w
        grads.append(in_type_of(wide.sum(dims), n.inst.ins[i]) if n.needs(i) else None)  # type: ignore[attr-defined]
    return tuple(grads)


BN_EVAL = {
    has_w: Op(
        "native_batch_norm",
        _bn_eval_infer,
        _bn_eval_expand,
        _bn_eval_backward,
        saves="0 1 2 3" if has_w else "0 1 2",
        shows=affine_shows(3, 0),
        lies=AS_IMAGES,
    )
    for has_w in (True, False)
}


def check_types(x: Meta, *params: Tensor | None) -> None:
    """RuntimeError unless weights and statistics have x's dtype, or float32 where x has 16 bits."""
    kinds = [p.meta.dtype for p in params if p is not None]
    if not kinds:
        return
    first = kinds[0]
    if first is not x.dtype:
        if first.name != "float32":
            raise RuntimeError(
                "mixed dtype (CPU): expect parameter to have scalar type of Float; "
                f"got {first.name} for an input of {x.dtype.name}"
            )
        if x.dtype.itemsize != 2:
            raise RuntimeError(
                "mixed dtype (CPU): all inputs must share same datatype; "
                f"got {first.name} for an input of {x.dtype.name}"
            )
    for kind in kinds:
        if kind is not first:
            raise RuntimeError(f"expected scalar type {first.short} but found {kind.short}")


def _check_channels(x: Meta, named: dict[str, Tensor | None]) -> None:
    for name, p in named.items():
        if p is not None and p.meta.numel != x.shape[1]:
            raise RuntimeError(f"{name} should contain {x.shape[1]} elements not {p.meta.numel}")


def _normalise_batch(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple:
    """(result, saved mean, saved 1 / std); the latter two None in evaluation."""
    m = input.meta
    if m.ndim < 2 and not m.numel:
        return input * 1, None, None
    if m.ndim < 2:
        raise (
            RuntimeError(f"Expected 2D or more input, but got a {m.ndim}D input")
            if m.ndim
            else RuntimeError("input has less than 2 dims")
        )
    if m.dtype.kind != "f":
        raise NotImplementedError(f"\"batch_norm\" not implemented for '{m.dtype.short}'")
    _check_channels(m, {"running_mean": mean, "running_var": var, "weight": weight, "bias": bias})
    check_types(m, weight, bias, mean, var)
    wb = [p for p in (weight, bias) if p is not None]
    has = (weight is not None, bias is not None)
    if not training:
        if mean is None or var is None:
            raise RuntimeError("running_mean must be defined in evaluation mode")
        return (
            apply(BN_EVAL[has[0]], (input, mean.detach(), var.detach(), *wb), has, (float(eps),)),
            None,
            None,
        )
    if not m.numel:
        return input * 1, *(TORCH["zeros"](m.shape[1], dtype=opmath(m.dtype)) for _ in range(2))
    stats = [] if mean is None or var is None else [mean.detach(), var.detach()]
    op = BN_TRAIN[has[0]]
    got = apply(op, (input, *wb, *stats), (*has, bool(stats)), (float(momentum), float(eps)))
    if stats and m.device is not META:
        for old, new in ((mean, got[3]), (var, got[4])):
            # not a change that autograd knows of: the version stays, as in PyTorch
            version = old._s.version  # type: ignore[union-attr]
            new = new.detach()
            write_value(old, new, fresh=True)  # type: ignore[arg-type]
            old._s.version = version  # type: ignore[union-attr]
    return got[:3]


def _check_batch(size: Any) -> None:
    if _count(tuple(size)) == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {size}"
        )


@functional("batch_norm")
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises each channel over the batch (training) or with the running statistics.

    Shapes: input (N, C, ...), the others (C).
    Source: Ioffe and Szegedy, "Batch normalization", 2015.
    """
    if training:
        _check_batch(input.meta.shape)
        if eps <= 0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    elif eps < 0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")
    return _normalise_batch(
        input, weight, bias, running_mean, running_var, training, momentum, eps
    )[0]


def _torch_batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Tensor:
    """`nn.functional.batch_norm` with torch's order of arguments."""
    return _normalise_batch(
        input, weight, bias, running_mean, running_var, training, momentum, eps
    )[0]


def native_batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    *,
    out: Any = None,
) -> tuple:
    """(result, mean, 1 / standard deviation)."""
    y, mean, invstd = _normalise_batch(
        input, weight, bias, running_mean, running_var, training, momentum, eps
    )
    if mean is None:
        mean = invstd = TORCH["empty"](0, dtype=opmath(input.meta.dtype))
    return to_out((y, *_stats_as(input, weight, mean.detach(), invstd.detach())), out)


def _stats_as(input: Tensor, weight: Tensor | None, *stats: Tensor) -> tuple[Tensor, ...]:
    """Statistics in the input's type, unless the weight is kept in a wider one."""
    d = input.meta.dtype
    if weight is not None and weight.meta.dtype is not d:
        return stats
    return tuple(s if s.meta.dtype is d else s.to(d) for s in stats)  # type: ignore[attr-defined]


_torch_batch_norm.__name__ = _torch_batch_norm.__qualname__ = "batch_norm"
TORCH["batch_norm"], TORCH["native_batch_norm"] = _torch_batch_norm, native_batch_norm


def _native_batch_norm_legit(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, *rest: Any, out: Any = None
) -> tuple:
    """`native_batch_norm`; the running statistics may be left out of the arguments."""
    stats = (None, None) if len(rest) == 3 else ()
    return native_batch_norm(input, weight, bias, *stats, *rest, out=out)


TORCH["_native_batch_norm_legit"] = _native_batch_norm_legit


# instance norm: batch norm of every image by itself ----------------------------------------------


def _instance_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    if not use_input_stats and (running_mean is None or running_var is None):
        raise RuntimeError(
            "Expected running_mean and running_var to be defined when use_input_stats is false"
        )
    n, c = input.meta.shape[:2]
    _check_channels(
        input.meta,
        {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias},
    )

    mean, var = (
        None if p is None else TORCH["cat"]([p.detach()] * n) for p in (running_mean, running_var)
    )
    x = input.contiguous().view(1, n * c, *input.meta.shape[2:])  # type: ignore[attr-defined]
    w = None if weight is None else TORCH["cat"]([weight] * n)
    b = None if bias is None else TORCH["cat"]([bias] * n)
    out = _normalise_batch(x, w, b, mean, var, use_input_stats, momentum, eps)[0]
    if use_input_stats:
        from facula.autograd.mode import no_grad

        with no_grad():
            for old, new in ((running_mean, mean), (running_var, var)):
                if old is not None:
                    old.copy_(new.view(n, c).mean(0))  # type: ignore[attr-defined, union-attr]
    return out.view(input.meta.shape)


@functional("instance_norm")
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises each channel of each sample over its positions.

    Source: Ulyanov et al., "Instance normalization", 2016.
    """
    if use_input_stats:
        size = input.meta.shape
        if math.prod(size[2:]) == 1:
            raise ValueError(
                f"Expected more than 1 spatial element when training, got input size {size}"
            )
    return _instance_norm(
        input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps
    )


def _torch_instance_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Tensor:
    """`nn.functional.instance_norm` with torch's order of arguments."""
    return _instance_norm(
        input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps
    )


_torch_instance_norm.__name__ = _torch_instance_norm.__qualname__ = "instance_norm"
TORCH["instance_norm"] = _torch_instance_norm


# group norm --------------------------------------------------------------------------------------


def _grouped(g: Any, x: Any, groups: int) -> Any:
    return g.reshape(x, (x.shape[0], groups, x.numel // max(x.shape[0] * groups, 1)))


def _gn_infer(x: Meta, *rest: Any) -> tuple:
    groups = rest[-3]
    stats = meta_of(opmath(x.dtype), (x.shape[0], groups), x.device)
    return x.plain(), stats, stats


def _gn_expand(g: Any, x: Any, *rest: Any) -> Any:
    *vals, groups, has_w, has_b = rest
    eps = vals.pop()
    w = opmath(x.dtype)
    if not x.numel:
        return x, *[g.const(0.0, w, (x.shape[0], groups)) for _ in range(2)]
    v = _grouped(g, g.cast(x, w), groups)
    mean = g.mean(v, 2)
    centred = v - mean
    rstd = (g.mean(centred * centred, 2) + g.cast(eps, w)).rsqrt()
    y = _affine(g, g.reshape(centred * rstd, x.shape), vals, has_w, has_b)
    stats = (x.shape[0], groups)
    return g.cast(y, x.dtype), g.reshape(mean, stats), g.reshape(rstd, stats)


def _gn_backward(n: Any, g: Tensor | None, g_mean: Tensor | None, g_rstd: Tensor | None) -> tuple:
    groups, has_w, has_b = n.params
    x, mean, rstd = n.tensor(0), n.tensor(-2), n.tensor(-1)
    weight = n.tensor(1) if has_w else None
    if g_mean is not None or g_rstd is not None:
        grads = _gn_backward(n, TORCH["zeros_like"](x) if g is None else g, None, None)
        return (
            in_type_of(grads[0] + _gn_of_stats(x, mean, rstd, g_mean, g_rstd), x.meta),
            *grads[1:],
        )
    if recording():
        return _gn_composed(g, x, weight, groups, n.scalars[0], has_b)
    got = apply(
        GN_BACKWARD,
        (g, x, mean.detach(), rstd.detach(), *([weight] if has_w else [])),
        (groups, has_w),
    )
    return (got[0], *_affine_grads(n, got, has_w, has_b))


def _gn_of_stats(
    x: Tensor, mean: Tensor, rstd: Tensor, g_mean: Tensor | None, g_rstd: Tensor | None
) -> Tensor:
    """What gradients of the returned statistics add to x's."""
    if not x.meta.numel:
        return x.detach()
    v = x.reshape(*mean.meta.shape, -1)  # type: ignore[attr-defined]
    out = TORCH["zeros_like"](v)
    if g_mean is not None:
        out = out + (g_mean / v.meta.shape[2]).unsqueeze(2)  # type: ignore[attr-defined]
    if g_rstd is not None:
        centred = v - mean.unsqueeze(2)  # type: ignore[attr-defined]
        out = out - (g_rstd * rstd**3 / v.meta.shape[2]).unsqueeze(2) * centred  # type: ignore[attr-defined]
    return out.reshape(x.meta.shape)


def _gn_back_infer(grad: Meta, x: Meta, *rest: Any) -> tuple:
    c = meta_of(opmath(x.dtype), (x.shape[1],), x.device)
    return x.plain(), c, c


def _gn_back_expand(g: Any, grad: Any, x: Any, mean: Any, rstd: Any, *rest: Any) -> Any:
    *weight, groups, has_w = rest
    w = opmath(x.dtype)
    if not x.numel:
        return x, *[g.const(0.0, w, (x.shape[1],)) for _ in range(2)]
    gw, n = g.cast(grad, w), x.shape[0]
    m, r = (g.reshape(v, (n, groups, 1)) for v in (mean, rstd))
    xhat = (_grouped(g, g.cast(x, w), groups) - m) * r
    scaled = gw * _channel(g, weight[0], x.ndim, w) if has_w else gw
    scaled = _grouped(g, scaled, groups)
    gx = (scaled - g.mean(scaled, 2) - xhat * g.mean(scaled * xhat, 2)) * r
    axes, c = _others(x.ndim), (x.shape[1],)
    sum_gx = g.reduce("sum", gw * g.reshape(xhat, x.shape), axes)
    return (
        g.cast(g.reshape(gx, x.shape), x.dtype),
        g.reshape(sum_gx, c),
        g.reshape(g.reduce("sum", gw, axes), c),
    )


def _gn_composed(
    g: Tensor, x: Tensor, weight: Tensor | None, groups: int, eps: float, has_b: bool
) -> tuple:
    shape = x.meta.shape
    line, dims = _line(shape[1], x.meta.ndim), _others(x.meta.ndim)
    v = x.reshape(shape[0], groups, -1)  # type: ignore[attr-defined]
    centred = v - v.mean(2, keepdim=True)
    r = ((centred * centred).mean(2, keepdim=True) + eps).rsqrt()
    xhat = centred * r
    gw = (g * weight.reshape(line) if weight is not None else g).reshape(v.meta.shape)  # type: ignore[attr-defined]
    gx = (gw - gw.mean(2, keepdim=True) - xhat * (gw * xhat).mean(2, keepdim=True)) * r
    grads = [gx.reshape(shape)]
    if weight is not None:
        grads.append((g * xhat.reshape(shape)).sum(dims))
    if has_b:
        grads.append(g.sum(dims))  # type: ignore[attr-defined]
    return tuple(grads)


GROUP_NORM = {
    has_w: Op(
        "native_group_norm",
        _gn_infer,
        _gn_expand,
        _gn_backward,
        saves="0 1 out1 out2" if has_w else "0 out1 out2",
        materialize=False,
        shows=affine_shows(1, 1),
        lies=AS_IMAGES,
    )
    for has_w in (True, False)
}
GN_BACKWARD = Op("native_group_norm_backward", _gn_back_infer, _gn_back_expand)


def _group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple:
    m = input.meta
    c = m.shape[1]
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if c % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of "
            "shape "
            f"{list(m.shape)} and num_groups={num_groups}"
        )
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and (p.meta.ndim != 1 or p.meta.numel != c):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in "
                f"input, but got {name} "
                f"of shape {list(p.meta.shape)} and input of shape {list(m.shape)}"
            )
    check_types(m, weight, bias)
    operands = [input] + [p for p in (weight, bias) if p is not None]
    params = (num_groups, weight is not None, bias is not None)
    return apply(GROUP_NORM[weight is not None], operands, params, (float(eps),))


@functional("group_norm")
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises groups of channels of each sample.

    Source: Wu and He, "Group normalization", 2018.
    """
    if input.meta.ndim < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {input.meta.ndim}"
        )
    size = input.meta.shape
    _check_batch(
        [size[0] * size[1] // num_groups if num_groups > 0 else 1, max(num_groups, 1), *size[2:]]
    )
    return _group_norm(input, num_groups, weight, bias, eps)[0]


def _torch_group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    """`nn.functional.group_norm`."""
    return _group_norm(input, num_groups, weight, bias, eps)[0]


def native_group_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    N: int,
    C: int,
    HxW: int,
    group: int,
    eps: float,
) -> tuple:
    """(result, mean, 1 / standard deviation)."""
    y, mean, rstd = _group_norm(input, group, weight, bias, eps)
    return (y, *_stats_as(input, weight, mean, rstd))


def native_layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple:
    """(result, mean, 1 / standard deviation)."""
    from facula.ops.nn_ops import LN_STATS

    y = FUNCTIONAL["layer_norm"](input, normalized_shape, weight, bias, eps)
    mean, rstd = apply(LN_STATS, (input,), (len(normalized_shape), eps))
    return (y, *_stats_as(input, weight, mean, rstd))


_torch_group_norm.__name__ = _torch_group_norm.__qualname__ = "group_norm"
TORCH["group_norm"], TORCH["native_group_norm"] = _torch_group_norm, native_group_norm
TORCH["native_layer_norm"] = native_layer_norm
