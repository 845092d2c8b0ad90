"""What operators do on a batch: one rule for each kind of operator.

A rule gets a `Call`: arguments in which every batched tensor has its batch as dim 0, and says how
the operator is called on whole batches. Dims counted from the end mean the same with and without
the batch, so most rules only count from the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import facula as torch

Tensor = torch.Tensor
F = torch.nn.functional


class Whole:
    """A batched argument: `t` has the batch as dim 0; nd counts the dims of one element."""

    __slots__ = ("nd", "t")

    def __init__(self, t: Any) -> None:
        self.t, self.nd = t, t.dim() - 1


class Unbatchable(Exception):
    """The operator has no rule for these arguments: it runs element by element."""


class Same:
    """A result that is one for the whole batch."""

    def __init__(self, value: Any) -> None:
        self.value = value


RULES: dict[str, Callable] = {}


def rule(names: str) -> Callable:
    """Decorator: the rule of operators with these names."""

    def register(fn: Callable) -> Callable:
        RULES.update(dict.fromkeys(names.split(), fn))
        return fn

    return register


def _plain(args: Any) -> None:
    """Unbatchable if an argument that should be the same for all elements is batched."""
    for a in args:
        if isinstance(a, Whole) or (
            isinstance(a, (list, tuple)) and any(isinstance(b, Whole) for b in a)
        ):
            raise Unbatchable


def _aligned(x: Any, nd: int) -> Any:
    """A batched tensor with as many dims of size 1 after the batch as nd dims per element need."""
    if not isinstance(x, Whole):
        return x
    missing = nd - x.nd
    if missing <= 0:
        return x.t
    return x.t.reshape(x.t.shape[0], *[1] * missing, *x.t.shape[1:])


def _nd(x: Any) -> int:
    return x.nd if isinstance(x, Whole) else x.dim() if isinstance(x, Tensor) else 0


def _back(d: int, nd: int) -> int:
    """A dim counted from the end."""
    n = max(nd, 1)
    if not -n <= d < n:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {d})"
        )
    return d - n if d >= 0 else d


def _backs(dims: Any, nd: int) -> Any:
    if isinstance(dims, int):
        return _back(dims, nd)
    return None if dims is None else [_back(d, nd) for d in dims]


def _full(x: Whole) -> Any:
    """One row per element."""
    return x.t.reshape(x.t.shape[0], -1)


# pointwise ------------------------------------------------------------------------------------


@rule("""abs absolute acos acosh add addcdiv addcmul angle asin asinh atan atan2 atanh bitwise_and
bitwise_not bitwise_or bitwise_xor ceil celu clamp clamp_max clamp_min clip conj copysign cos cosh deg2rad
digamma div divide elu eq erf erfc erfinv exp exp2 expm1 float_power floor floor_divide fmax fmin fmod frac
ge gelu greater greater_equal gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot isfinite isinf
isnan le leaky_relu lerp less less_equal lgamma log log10 log1p log2 logaddexp logaddexp2 logical_and
logical_not logical_or logical_xor logit logsigmoid lt masked_fill maximum minimum mish mul multiply
nan_to_num ne neg negative not_equal pow positive rad2deg real reciprocal relu relu6 remainder round rsqrt
rsub selu sgn sigmoid sign silu sin sinc sinh softplus softshrink softsign sqrt square sub subtract tan
tanh tanhshrink threshold true_divide trunc where xlogy __add__ __radd__ __sub__ __rsub__ __mul__ __rmul__
__truediv__ __rtruediv__ __pow__ __rpow__ __mod__ __rmod__ __floordiv__ __rfloordiv__ __neg__ __pos__
__abs__ __invert__ __and__ __or__ __xor__ __rand__ __ror__ __rxor__ __eq__ __ne__ __lt__ __le__ __gt__
__ge__ __div__ __rdiv__""")  # fmt: skip
def _pointwise(fn: Callable, args: tuple, kwargs: dict) -> Any:
    every = [*args, *kwargs.values()]
    tensors = [a for a in every if isinstance(a, (Whole, Tensor))]
    kinds = {(a.t if isinstance(a, Whole) else a).dtype for a in tensors}
    nd = max(_nd(a) for a in tensors)
    if len(kinds) > 1 and any(_nd(a) == 0 for a in tensors) and nd:
        raise Unbatchable  # tensors without dims have less of a say in the type of the result
    return fn(*[_aligned(a, nd) for a in args], **{k: _aligned(a, nd) for k, a in kwargs.items()})


@rule("""clone contiguous detach to float double half bfloat16 int long short bool cpu type requires_grad_
zeros_like ones_like full_like empty_like byte char alias detach_ conj_physical resolve_conj resolve_neg
isreal view_as_real view_as_complex""")  # fmt: skip
def _same(fn: Callable, args: tuple, kwargs: dict) -> Any:
    args = tuple(a.t.new_empty(0) if isinstance(a, Whole) and i else a for i, a in enumerate(args))
    if not isinstance(args[0], Whole):
        raise Unbatchable
    return fn(args[0].t, *args[1:], **kwargs)


@rule("""add_ sub_ mul_ div_ pow_ copy_ clamp_ exp_ log_ sqrt_ neg_ sigmoid_ tanh_ relu_ zero_ fill_
masked_fill_ addcmul_ addcdiv_ __iadd__ __isub__ __imul__ __itruediv__""")  # fmt: skip
def _inplace(fn: Callable, args: tuple, kwargs: dict) -> Any:
    if not isinstance(args[0], Whole):
        raise RuntimeError(
            f"vmap: {fn.__name__}(self, *extra_args) is not possible because there exists a Tensor `other` "
            "in extra_args that has more elements than `self`. This happened due to `other` being vmapped "
            "over but `self` not being vmapped over in a vmap."
        )
    nd = args[0].nd
    if any(_nd(a) > nd for a in args[1:]):
        raise Unbatchable
    fn(*[_aligned(a, nd) for a in args], **{k: _aligned(a, nd) for k, a in kwargs.items()})
    return args[0]


# one tensor and a dim ---------------------------------------------------------------------------


@rule("""sum mean prod amax amin argmax argmin std var logsumexp all any nansum nanmean count_nonzero
max min median norm""")  # fmt: skip
def _reduction(fn: Callable, args: tuple, kwargs: dict) -> Any:
    x, rest, kwargs = args[0], list(args[1:]), dict(kwargs)
    _plain([*rest, *kwargs.values()])
    name = fn.__name__.lstrip("_")
    if name == "norm":  # (input, p, dim, ...)
        if rest:
            kwargs["p"] = rest.pop(0)
    first = rest[0] if rest else None
    if name in ("std", "var") and isinstance(first, bool):  # (input, unbiased)
        dim = None
    elif rest:
        dim = rest.pop(0)
    else:
        dim = kwargs.pop("dim", kwargs.pop("axis", None))
    if dim is None or (isinstance(dim, (list, tuple)) and not len(dim)):
        if kwargs.get("keepdim") or (len(rest) > 0 and name not in ("std", "var")):
            raise Unbatchable
        if name in ("max", "min"):
            return (torch.amax if name == "max" else torch.amin)(_full(x), -1)
        if name == "median":
            return torch.median(_full(x), -1)[0]
        if name in ("std", "var") and rest:
            kwargs["unbiased"] = rest.pop(0)
        return fn(_full(x), dim=-1, **kwargs)
    dims = _backs(dim, x.nd)
    if x.nd == 0:
        t, squeeze = x.t.unsqueeze(-1), kwargs.get("keepdim") or (rest and rest[0] is True)
        got = fn(t, dim=dims, **kwargs) if not rest else fn(t, dims, *rest, **kwargs)
        return torch.utils._pytree.tree_map(lambda r: r.squeeze(-1), got) if squeeze else got
    if name == "norm":
        return fn(x.t, dim=dims, **kwargs)
    return fn(x.t, dims, *rest, **kwargs)


@rule("""softmax log_softmax softmin cumsum cumprod logcumsumexp sort argsort topk flip unbind chunk
tensor_split select narrow squeeze normalize glu diff kthvalue split select_copy roll movedim swapaxes
swapdims transpose cross vector_norm""")  # fmt: skip
def _along(fn: Callable, args: tuple, kwargs: dict) -> Any:
    x, rest, kwargs = args[0], list(args[1:]), dict(kwargs)
    _plain([*rest, *kwargs.values()])
    name = fn.__name__.lstrip("_")
    if x.nd == 0:
        raise Unbatchable
    pair = {"movedim", "swapaxes", "swapdims", "transpose"}
    if name in pair:
        if len(rest) != 2:
            raise Unbatchable
        return fn(x.t, _backs(rest[0], x.nd), _backs(rest[1], x.nd))
    at = {"topk": 1, "chunk": 1, "tensor_split": 1, "split": 1, "kthvalue": 1, "normalize": 1,
          "roll": 1, "vector_norm": 1, "cross": 1, "diff": 1}.get(name, 0)  # fmt: skip
    default = {"sort": -1, "argsort": -1, "topk": -1, "kthvalue": -1, "glu": -1, "unbind": 0, "diff": -1,
               "chunk": 0, "tensor_split": 0, "split": 0, "normalize": 1}.get(name)  # fmt: skip
    if "dims" in kwargs:
        kwargs["dims"] = _backs(kwargs["dims"], x.nd)
    elif "dim" in kwargs:
        kwargs["dim"] = _backs(kwargs["dim"], x.nd)
    elif len(rest) > at:
        if name == "flip" and len(rest) > 1:
            rest = [rest]
        rest[at] = _backs(rest[at], x.nd)
    elif default is not None:
        kwargs["dim"] = _back(default, x.nd)
    elif name == "squeeze":
        return x.t.reshape(x.t.shape[0], *[n for n in x.t.shape[1:] if n != 1])
    else:
        raise Unbatchable
    return fn(x.t, *rest, **kwargs)


@rule("unsqueeze")
def _unsqueeze(fn: Callable, args: tuple, kwargs: dict) -> Any:
    x, dim = args[0], (args[1] if len(args) > 1 else kwargs["dim"])
    return fn(x.t, _back(dim, x.nd + 1))


@rule("cat concat concatenate stack hstack vstack")
def _join(fn: Callable, args: tuple, kwargs: dict) -> Any:
    parts = args[0] if args else kwargs["tensors"]
    dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
    if fn.__name__ in ("hstack", "vstack") or not all(
        isinstance(p, (Whole, Tensor)) for p in parts
    ):
        raise Unbatchable
    n = next(p.t.shape[0] for p in parts if isinstance(p, Whole))
    whole = [p.t if isinstance(p, Whole) else p.expand(n, *p.shape) for p in parts]
    return fn(whole, _back(dim, whole[0].dim() - 1 + (fn.__name__ == "stack")))


@rule("gather scatter scatter_add take_along_dim")
def _gather(fn: Callable, args: tuple, kwargs: dict) -> Any:
    if kwargs or len(args) < 3 or not isinstance(args[1], int):
        raise Unbatchable
    tensors = [a for a in args if isinstance(a, (Whole, Tensor))]
    nd = max(_nd(a) for a in tensors)
    if not nd or any(_nd(a) != nd for a in tensors):
        raise Unbatchable
    n = next(a.t.shape[0] for a in tensors if isinstance(a, Whole))
    given = [
        a.t if isinstance(a, Whole) else a.expand(n, *a.shape) if isinstance(a, Tensor) else a
        for a in args
    ]
    given[1] = _back(args[1], nd)
    return fn(*given)


@rule("index_select")
def _index_select(fn: Callable, args: tuple, kwargs: dict) -> Any:
    if kwargs or isinstance(args[2], Whole) or not args[0].nd:
        raise Unbatchable
    return fn(args[0].t, _back(args[1], args[0].nd), args[2])


@rule(
    "tril triu diagonal diag_embed trace det inverse inv cholesky logdet matrix_exp slogdet eigvalsh"
)
def _matrices(fn: Callable, args: tuple, kwargs: dict) -> Any:
    _plain([*args[1:], *kwargs.values()])
    x = args[0]
    if fn.__name__ == "trace":
        return x.t.diagonal(dim1=-2, dim2=-1).sum(-1)
    if fn.__name__ == "diagonal":
        if len(args) > 2 or "dim1" in kwargs or "dim2" in kwargs:
            raise Unbatchable
        return fn(x.t, *args[1:], dim1=-x.nd, dim2=-x.nd + 1, **kwargs)
    return fn(x.t, *args[1:], **kwargs)


# shapes -----------------------------------------------------------------------------------------


def _sizes(args: tuple, kwargs: dict, name: str = "shape") -> list:
    rest = args[1:] or (kwargs[name],)
    return list(rest[0]) if len(rest) == 1 and not isinstance(rest[0], int) else list(rest)


@rule("reshape view")
def _reshape(fn: Callable, args: tuple, kwargs: dict) -> Any:
    sizes = args[1] if len(args) == 2 else None
    if isinstance(sizes, torch.dtype) or (kwargs and "shape" not in kwargs):
        raise Unbatchable
    return args[0].t.reshape(args[0].t.shape[0], *_sizes(args, kwargs))


@rule("view_as reshape_as expand_as")
def _like(fn: Callable, args: tuple, kwargs: dict) -> Any:
    x, other = args
    shape = other.t.shape[1:] if isinstance(other, Whole) else other.shape
    if not isinstance(x, Whole):
        return Same(getattr(x, fn.__name__.removesuffix("_as"))(shape))
    if fn.__name__ == "expand_as":
        return _aligned(x, len(shape)).expand(x.t.shape[0], *shape)
    return x.t.reshape(x.t.shape[0], *shape)


@rule("expand broadcast_to")
def _expand(fn: Callable, args: tuple, kwargs: dict) -> Any:
    sizes = _sizes(args, kwargs, "size")
    return _aligned(args[0], len(sizes)).expand(args[0].t.shape[0], *sizes)


@rule("flatten")
def _flatten(fn: Callable, args: tuple, kwargs: dict) -> Any:
    x = args[0]
    if x.nd == 0:
        return x.t.unsqueeze(-1)
    start, end = [*args[1:], *[None, None]][:2]
    start = kwargs.get("start_dim", 0 if start is None else start)
    end = kwargs.get("end_dim", -1 if end is None else end)
    return x.t.flatten(_back(start, x.nd), _back(end, x.nd))


@rule("unflatten")
def _unflatten(fn: Callable, args: tuple, kwargs: dict) -> Any:
    if kwargs:
        raise Unbatchable
    return args[0].t.unflatten(_back(args[1], args[0].nd), args[2])


@rule("permute")
def _permute(fn: Callable, args: tuple, kwargs: dict) -> Any:
    x, dims = args[0], _sizes(args, kwargs, "dims")
    return x.t.permute(0, *[d % x.nd + 1 for d in dims])


@rule("t")
def _t(fn: Callable, args: tuple, kwargs: dict) -> Any:
    return args[0].t.transpose(-1, -2) if args[0].nd == 2 else args[0].t


@rule("repeat tile")
def _repeat(fn: Callable, args: tuple, kwargs: dict) -> Any:
    x, sizes = args[0], _sizes(args, kwargs, "repeats")
    if len(sizes) < x.nd:
        raise Unbatchable
    return _aligned(x, len(sizes)).repeat(1, *sizes)


@rule("new_zeros new_ones new_empty new_full")
def _new(fn: Callable, args: tuple, kwargs: dict) -> Any:
    x = args[0]
    if fn.__name__ == "new_full":
        return fn(x.t, (x.t.shape[0], *args[1]), *args[2:], **kwargs)
    return fn(x.t, (x.t.shape[0], *_sizes(args, kwargs, "size")), **kwargs)


@rule("pad")
def _pad(fn: Callable, args: tuple, kwargs: dict) -> Any:
    x, mode = args[0], (args[2] if len(args) > 2 else kwargs.get("mode", "constant"))
    if mode != "constant":
        raise Unbatchable
    return fn(x.t, *args[1:], **kwargs)


# indexing -----------------------------------------------------------------------------------------


def _key(key: Any, x: Whole) -> tuple:
    """The key for the whole batch."""
    parts = key if isinstance(key, tuple) else (key,)
    advanced = [i for i, k in enumerate(parts) if isinstance(k, (Tensor, list, Whole))]
    ints = [i for i, k in enumerate(parts) if isinstance(k, int) and not isinstance(k, bool)]
    if any(isinstance(k, bool) for k in parts):
        raise Unbatchable
    batched = [k for k in parts if isinstance(k, Whole)]
    if batched:
        if len(parts) != 1 or batched[0].t.dtype == torch.bool:
            raise Unbatchable
        n, nd = batched[0].t.shape[0], batched[0].nd
        return (torch.arange(n, device=batched[0].t.device).reshape(n, *[1] * nd), batched[0].t)
    spread = sorted(advanced + ints) if advanced else []
    if spread and spread[-1] - spread[0] + 1 != len(spread):
        raise Unbatchable  # PyTorch puts the dims of separate indices first, before the batch
    return (slice(None), *parts)


@rule("__getitem__ getitem")
def _getitem(fn: Callable, args: tuple, kwargs: dict) -> Any:
    x, key = args
    if not isinstance(x, Whole):
        if isinstance(key, Whole) and key.t.dtype != torch.bool:
            return x[key.t]
        raise Unbatchable
    return x.t[_key(key, x)]


@rule("__setitem__ setitem")
def _setitem(fn: Callable, args: tuple, kwargs: dict) -> Any:
    x, key, value = args
    if not isinstance(x, Whole):
        return _inplace(fn, args, kwargs)
    whole = _key(key, x)
    target = x.t[whole]
    x.t[whole] = _aligned(value, target.dim() - 1)
    return Same(None)


# products -----------------------------------------------------------------------------------------


def _product(a: Any, b: Any) -> Any:
    """a @ b of one element each, for all elements."""
    a_nd, b_nd = _nd(a), _nd(b)
    if not a_nd or not b_nd:
        raise RuntimeError("both arguments to matmul need to be at least 1D, but they are 0D")
    if not isinstance(b, Whole) and b_nd <= 2:
        return torch.matmul(a.t, b)
    x = a.t if isinstance(a, Whole) else a
    y = b.t if isinstance(b, Whole) else b
    if a_nd == 1:
        x = x.unsqueeze(-2)
    if b_nd == 1:
        y = y.unsqueeze(-1)
    nd = max(a_nd, b_nd, 2)
    x = _aligned(Whole(x), nd) if isinstance(a, Whole) else x
    y = _aligned(Whole(y), nd) if isinstance(b, Whole) else y
    got = torch.matmul(x, y)
    if a_nd == 1:
        got = got.squeeze(-2)
    return got.squeeze(-1) if b_nd == 1 else got


@rule("matmul mm mv dot bmm inner __matmul__ vdot")
def _matmul(fn: Callable, args: tuple, kwargs: dict) -> Any:
    if kwargs or (fn.__name__ in ("inner", "vdot") and max(_nd(a) for a in args) > 1):
        raise Unbatchable
    return _product(*args)


@rule("__rmatmul__")
def _rmatmul(fn: Callable, args: tuple, kwargs: dict) -> Any:
    return _product(args[1], args[0])


@rule("outer ger")
def _outer(fn: Callable, args: tuple, kwargs: dict) -> Any:
    a, b = (x.t if isinstance(x, Whole) else x for x in args)
    return a.unsqueeze(-1) * b.unsqueeze(-2)


@rule("addmm addmv baddbmm")
def _addmm(fn: Callable, args: tuple, kwargs: dict) -> Any:
    product = Whole(_product(args[1], args[2])) if any(
        isinstance(a, Whole) for a in args[1:]) else torch.matmul(args[1], args[2])  # fmt: skip
    nd = max(_nd(args[0]), _nd(product))
    total = kwargs.get("beta", 1) * _aligned(args[0], nd)
    return total + kwargs.get("alpha", 1) * _aligned(product, nd)


@rule("linear")
def _linear(fn: Callable, args: tuple, kwargs: dict) -> Any:
    x, w, b = [*args, kwargs.get("weight"), kwargs.get("bias")][:3] if len(args) < 3 else args
    if not isinstance(w, Whole):
        if isinstance(b, Whole):
            got = fn(x.t if isinstance(x, Whole) else x, w)
            return got + _aligned(b, max(_nd(x), 1))
        return fn(x.t, w, b)
    turned = Whole(w.t.transpose(-1, -2))
    got = _product(x, turned)
    return got if b is None else got + _aligned(b, max(_nd(x), 1))


@rule("einsum")
def _einsum(fn: Callable, args: tuple, kwargs: dict) -> Any:
    pattern, parts = args[0], args[1:]
    if len(parts) == 1 and isinstance(parts[0], (list, tuple)):
        parts = parts[0]
    if not isinstance(pattern, str) or "..." in pattern or "->" not in pattern:
        raise Unbatchable
    free = next(c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if c not in pattern)
    left, right = pattern.replace(" ", "").split("->")
    terms = [free + t if isinstance(p, Whole) else t for t, p in zip(left.split(","), parts)]
    given = [p.t if isinstance(p, Whole) else p for p in parts]
    return fn(",".join(terms) + "->" + free + right, *given)


# layers ---------------------------------------------------------------------------------------------


def _folded(fn: Callable, x: Whole, dims: int, args: Any, kwargs: dict) -> Any:
    """fn of (batch, ...) with dims dims, the batch of vmap folded into fn's own."""
    if x.nd == dims - 1:
        return fn(x.t, *args, **kwargs)
    if x.nd != dims:
        raise Unbatchable
    n = x.t.shape[0]
    got = fn(x.t.flatten(0, 1), *args, **kwargs)
    if isinstance(got, tuple):
        return tuple(g.unflatten(0, (n, -1)) for g in got)
    return got.unflatten(0, (n, -1))


@rule("conv1d conv2d conv3d")
def _conv(fn: Callable, args: tuple, kwargs: dict) -> Any:
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given = dict(zip(names, args)) | kwargs
    x, w, b = given.pop("input"), given.pop("weight"), given.pop("bias", None)
    dims = int(fn.__name__[-2]) + 2
    if not isinstance(w, Whole):
        if isinstance(b, Whole) or not isinstance(x, Whole):
            raise Unbatchable
        return _folded(fn, x, dims, (w, b), given)
    n, groups = w.t.shape[0], given.pop("groups", 1)
    single = _nd(x) == dims - 1
    if not isinstance(x, Whole):
        x = Whole(x.expand(n, *x.shape))
    t = x.t.unsqueeze(1) if single else x.t
    # (n, batch, channels, ...) -> (batch, n * channels, ...): one group of channels per element
    t = t.transpose(0, 1).flatten(1, 2)
    got = fn(t, w.t.flatten(0, 1), None, groups=groups * n, **given)
    got = got.unflatten(1, (n, -1)).transpose(0, 1)
    if b is not None:
        bias = b.t if isinstance(b, Whole) else b.expand(n, *b.shape)
        got = got + bias.reshape(n, 1, -1, *[1] * (dims - 2))
    return got.squeeze(1) if single else got


@rule("""max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d""")  # fmt: skip
def _pool(fn: Callable, args: tuple, kwargs: dict) -> Any:
    _plain([*args[1:], *kwargs.values()])
    return _folded(fn, args[0], int(fn.__name__[-2]) + 2, args[1:], kwargs)


@rule("layer_norm rms_norm")
def _layer_norm(fn: Callable, args: tuple, kwargs: dict) -> Any:
    names = ("input", "shape", "weight", *(("bias",) if fn.__name__ == "layer_norm" else ()), "eps")
    given = dict(zip(names, args)) | kwargs
    x, weight, bias = given.pop("input"), given.pop("weight", None), given.pop("bias", None)
    shape = given.pop("shape", None) or given.pop("normalized_shape")
    nd = _nd(x)
    got = fn(x.t if isinstance(x, Whole) else x, shape, **given)
    if weight is not None:
        got = got * _aligned(weight, nd)
    return got if bias is None else got + _aligned(bias, nd)


@rule("embedding")
def _embedding(fn: Callable, args: tuple, kwargs: dict) -> Any:
    if len(args) != 2 or any(v for v in kwargs.values()):
        raise Unbatchable
    index, table = args
    if not isinstance(table, Whole):
        return fn(index.t, table)
    n, rows = table.t.shape[:2]
    first = torch.arange(n, device=table.t.device) * rows
    index = Whole(index.t if isinstance(index, Whole) else index.expand(n, *index.shape))
    return fn(index.t + first.reshape(n, *[1] * index.nd), table.t.flatten(0, 1))


@rule("""mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy binary_cross_entropy_with_logits
kl_div soft_margin_loss poisson_nll_loss""")  # fmt: skip
def _pointwise_loss(fn: Callable, args: tuple, kwargs: dict) -> Any:
    reduction = kwargs.get("reduction", "mean")
    if len(args) != 2 or reduction == "batchmean" or "size_average" in kwargs or "reduce" in kwargs:
        raise Unbatchable
    nd = max(_nd(a) for a in args)
    if any(_nd(a) != nd for a in args):
        raise Unbatchable
    n = next(a.t.shape[0] for a in args if isinstance(a, Whole))
    whole = [a.t if isinstance(a, Whole) else a.expand(n, *a.shape) for a in args]
    kwargs = {k: _aligned(v, nd) for k, v in kwargs.items()} | {"reduction": "none"}
    got = fn(*whole, **kwargs)
    if reduction == "none":
        return got
    rows = got.reshape(n, -1)
    return rows.mean(-1) if reduction == "mean" else rows.sum(-1)


@rule("cross_entropy nll_loss")
def _class_loss(fn: Callable, args: tuple, kwargs: dict) -> Any:
    reduction, ignore = kwargs.get("reduction", "mean"), kwargs.get("ignore_index", -100)
    if len(args) != 2 or set(kwargs) - {"reduction", "ignore_index", "label_smoothing"}:
        if any(kwargs.get(k) is not None for k in ("weight", "size_average", "reduce")):
            raise Unbatchable
    x, target = args[:2]
    if len(args) != 2 or _nd(x) - _nd(target) != 1:
        raise Unbatchable
    n = next(a.t.shape[0] for a in (x, target) if isinstance(a, Whole))
    t = x.t if isinstance(x, Whole) else x.expand(n, *x.shape)
    y = target.t if isinstance(target, Whole) else target.expand(n, *target.shape)
    folded = t.flatten(0, 1) if _nd(x) > 1 else t
    more = {k: v for k, v in kwargs.items() if k in ("ignore_index", "label_smoothing")}
    got = fn(folded, y.flatten(0, 1) if _nd(target) else y, reduction="none", **more)
    got = got.unflatten(0, (n, -1)) if _nd(target) else got
    if reduction == "none":
        return got
    total = got.reshape(n, -1).sum(-1)
    return total if reduction == "sum" else total / (y != ignore).reshape(n, -1).sum(-1)


@rule("scaled_dot_product_attention")
def _attention(fn: Callable, args: tuple, kwargs: dict) -> Any:
    _plain([*args[3:], *kwargs.values()])
    if any(kwargs.get(k) for k in ("attn_mask", "dropout_p")) or len(args) > 3:
        raise Unbatchable
    nd = max(_nd(a) for a in args)
    n = math.prod([next(a.t.shape[0] for a in args if isinstance(a, Whole))])
    whole = [
        _aligned(a, nd) if isinstance(a, Whole) else a.expand(n, *[1] * (nd - a.dim()), *a.shape)
        for a in args
    ]
    return fn(*whole, **kwargs)
