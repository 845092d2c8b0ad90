"""Embedding tables: rows picked by index, bags of them, one-hot vectors."""

from __future__ import annotations

import importlib
from typing import Any

from facula.graph import dtypes as dt
from facula.graph import reference_bag  # noqa: F401  (the meaning of the template)
from facula.graph.meta import META, Meta, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply, overwrite
from facula.ops.bounds import need_in_range
from facula.ops.gather import scatter_op
from facula.ops.pointwise import need_tensors, opmath
from facula.ops.registry import TORCH, functional, zeros_as
from facula.tensor import Tensor

_INDEX_TYPES = (dt.int64, dt.int32)


def _check_index(name: str, arg: str, m: Meta) -> None:
    if m.dtype not in _INDEX_TYPES:
        raise RuntimeError(
            f"Expected tensor for argument #1 '{arg}' to have one of the following scalar types: "
            "Long, Int; "
            f"but got torch.{m.dtype.short}Tensor instead (while checking arguments for {name})"
        )


# embedding ---------------------------------------------------------------------------------------


def _infer(weight: Meta, index: Meta, *_: Any) -> Meta:
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    _check_index("embedding", "indices", index)
    return meta_of(weight.dtype, (*index.shape, weight.shape[1]), weight.device)


def _expand(g: Any, weight: Any, index: Any, *_: Any) -> Any:
    return g.take(weight, g.check(g.cast(index, dt.int64), weight.shape[0], "self", wrap=False), 0)


def _backward(n: Any, g: Tensor) -> tuple:
    rows = n.inst.ins[0].shape[0]
    padding, by_freq, sparse = n.params
    if sparse:
        return _sparse_rows(g, n.tensor(0), rows, padding, by_freq), None
    return apply(EMBEDDING_BACKWARD, (g, n.tensor(0)), (rows, padding, by_freq)), None


def _back_infer(grad: Meta, index: Meta, rows: int, padding: int, by_freq: bool) -> Meta:
    return meta_of(grad.dtype, (rows, grad.shape[-1]), grad.device)


def _counts(g: Any, index: Any, rows: int, d: Any) -> Any:
    """How often each row is named."""
    ones = g.const(1.0, d, index.shape)
    return g.put(g.const(0.0, d, (rows,)), index, ones, 0, "add")


def _back_expand(g: Any, grad: Any, index: Any, rows: int, padding: int, by_freq: bool) -> Any:
    w = opmath(grad.dtype)
    flat = g.reshape(g.cast(index, dt.int64), (index.numel,))
    v = g.reshape(g.cast(grad, w), (index.numel, grad.shape[-1]))
    if by_freq:
        v = v / g.reshape(g.take(_counts(g, flat, rows, w), flat, 0), (index.numel, 1))
    out = g.put(g.const(0.0, w, (rows, grad.shape[-1])), flat, v, 0, "add")
    if padding >= 0:
        # the padding row gets no gradient
        out = g.where(g.iota((rows, 1), 0).eq(padding), 0.0, out)
    return g.cast(out, grad.dtype)


def _back_backward(n: Any, gg: Tensor) -> tuple:
    _, padding, by_freq = n.params
    index = n.tensor(0)
    if by_freq:
        raise RuntimeError(
            "embedding_backward: double backward with scale_grad_by_freq is not supported, as in "
            "PyTorch"
        )
    out = gg.index_select(0, index.reshape(-1)).reshape(*index.meta.shape, gg.meta.shape[1])  # type: ignore[attr-defined]
    if padding >= 0:
        out = TORCH["where"](
            (index == padding).unsqueeze(-1),
            zeros_as(gg, ()),
            out,
        )
    return out, None


EMBEDDING = Op("embedding", _infer, _expand, _backward, saves="1", marks=True, shows="0")
EMBEDDING_BACKWARD = Op(
    "embedding_dense_backward", _back_infer, _back_expand, _back_backward, saves="1", marks=True
)


def _padding_row(padding_idx: int | None, rows: int) -> int:
    if padding_idx is None:
        return -1
    if padding_idx > 0:
        assert padding_idx < rows, "Padding_idx must be within num_embeddings"
    elif padding_idx < 0:
        assert padding_idx >= -rows, "Padding_idx must be within num_embeddings"
        padding_idx += rows
    return padding_idx


def _sparse_rows(grad: Tensor, index: Tensor, rows: int, padding: int, by_freq: bool) -> Any:
    """The gradient of a table as a sparse tensor: one row for each index, not added up."""
    if by_freq:
        raise RuntimeError(
            "embedding_backward: scale_grad_by_freq not supported with sparse gradients"
        )
    at, values = index.reshape(-1), grad.reshape(-1, grad.meta.shape[-1])  # type: ignore[attr-defined]
    if padding >= 0:
        kept = at != padding
        at, values = at[kept], values[kept]
    made = importlib.import_module("facula.sparse.coo").made
    return made(at.long().unsqueeze(0), values, (rows, grad.meta.shape[-1]), False)


def renorm_rows(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Scales down, in place and without history, named rows longer than max_norm."""
    from facula.autograd.mode import no_grad

    if weight.meta.device is META:
        return
    with no_grad():
        rows = weight.detach().index_select(0, index.detach().reshape(-1))  # type: ignore[attr-defined]
        w = rows.float() if rows.meta.dtype.itemsize < 4 else rows  # type: ignore[attr-defined]
        if norm_type == 2:
            norm = (w * w).sum(1, keepdim=True).sqrt()
        else:
            norm = (w.abs() ** norm_type).sum(1, keepdim=True) ** (1.0 / norm_type)
        scale = TORCH["where"](norm > max_norm, max_norm / (norm + 1e-7), TORCH["ones_like"](norm))
        scaled = (w * scale).to(weight.meta.dtype)
        flat = index.detach().reshape(-1)  # type: ignore[attr-defined]
        overwrite(
            weight.detach(), TORCH["index_copy"](weight.detach(), 0, flat, scaled), fresh=True
        )


@functional("embedding")
def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of weight picked by index: out[..., :] = weight[input[...]].

    Shapes: input (*), weight (rows, width) -> (*, width).
    """
    padding = _padding_row(padding_idx, weight.meta.shape[0] if weight.meta.ndim else 0)
    if weight.meta.ndim == 2:
        need_in_range(input, weight.meta.shape[0], "self")
    if max_norm is not None:
        renorm_rows(weight, input, max_norm, norm_type)
    return apply(EMBEDDING, (weight, input), (padding, bool(scale_grad_by_freq), bool(sparse)))


def _torch_embedding(
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of weight picked by index."""
    return apply(
        EMBEDDING, (weight, indices), (int(padding_idx), bool(scale_grad_by_freq), bool(sparse))
    )


_torch_embedding.__name__ = _torch_embedding.__qualname__ = "embedding"
TORCH["embedding"] = _torch_embedding


@functional("_no_grad_embedding_renorm_")
def _no_grad_embedding_renorm_(
    weight: Tensor, input: Tensor, max_norm: float, norm_type: float
) -> None:
    """`embedding`'s max_norm, in place."""
    renorm_rows(weight, input, max_norm, norm_type)


# bags --------------------------------------------------------------------------------------------

_MODES = {"sum": 0, "mean": 1, "max": 2}


def _bag_of(g: Any, offsets: Any, n: int) -> Any:
    """The bag of each of the n indices: how many offsets are at or before it, less one."""
    starts = g.cast(offsets, dt.int64).maximum(0).minimum(n)
    ones = g.const(1, dt.int64, offsets.shape)
    begun = g.put(g.const(0, dt.int64, (n + 1,)), starts, ones, 0, "add")
    return g.slice(g.scan("sum", begun, 0), (0,), (n,), (1,)) - 1


def _bag_infer(weight: Meta, index: Meta, offsets: Meta, *rest: Any) -> tuple:
    bags = rest[-6]
    out = meta_of(weight.dtype, (bags, weight.shape[1]), weight.device)
    argmax = meta_of(dt.int64, (bags, weight.shape[1]), weight.device)
    return (
        out,
        meta_of(dt.int64, index.shape, weight.device),
        meta_of(weight.dtype, (bags,), weight.device),
        argmax,
    )


_FEW = 8  # rows of a bag that the kernel of what reads the sum had better add up itself


def _apart_sums(
    g: Any, weight: Any, flat: Any, offsets: Any, scale: list, mode: int, padding: int, even: int
) -> tuple:
    """What `_bag_expand` gives for sums and means of bags with offsets, or of `even` rows each."""
    w, bags, width = opmath(weight.dtype), offsets.shape[0], weight.shape[1]
    operands = (weight, flat, g.cast(offsets, dt.int64), *[g.cast(s, w) for s in scale])
    outs = [(w, (bags, width)), (w, (bags,))]
    out, count = g.template("bag_sum", outs, operands, (padding,))
    if mode == _MODES["mean"]:
        out = out / g.reshape(count.maximum(1.0), (bags, 1))
    none = g.const(-1, dt.int64, (bags, width))
    if even:
        bag = g.reshape(g.iota((bags, even), 0), flat.shape)
    else:
        bag = _bag_of(g, offsets, flat.shape[0])
    return g.cast(out, weight.dtype), bag, g.cast(count, weight.dtype), none


def _bag_expand(g: Any, weight: Any, index: Any, offsets: Any, *rest: Any) -> Any:
    *scale, bags, mode, padding, _by_freq, _sparse, even = rest
    w = opmath(weight.dtype)
    n, width = index.shape[0], weight.shape[1]
    flat = g.check(g.cast(index, dt.int64), weight.shape[0], "self", wrap=False)
    if mode != _MODES["max"] and not 0 < even < _FEW:
        return _apart_sums(g, weight, flat, offsets, scale, mode, padding, even)
    bag = g.reshape(g.iota((bags, even), 0), (n,)) if even else _bag_of(g, offsets, n)
    rows = g.cast(g.take(weight, flat, 0), w)
    counted = flat.ne(padding)
    if scale:
        rows = rows * g.reshape(g.cast(scale[0], w), (n, 1))
    if even:
        count = g.reduce("sum", g.reshape(g.cast(counted, w), (bags, even)), 1, keepdim=False)
    else:
        count = g.put(g.const(0.0, w, (bags,)), bag, g.cast(counted, w), 0, "add")
    argmax = g.const(-1, dt.int64, (bags, width))
    column = g.reshape(counted, (n, 1))
    if mode == 2:
        lowest = g.where(column, rows, float("-inf"))
        best = g.put(g.const(float("-inf"), w, (bags, width)), bag, lowest, 0, "max")
        hit = lowest.eq(g.take(best, bag, 0)) & g.expand(column, (n, width))
        # the last equal index wins as the first one does in PyTorch: write them from the end
        place = g.where(hit, g.iota((n, width), 0), n)
        first = g.put(g.const(n, dt.int64, (bags, width)), bag, place, 0, "min")
        safe = first.minimum(n - 1) if n else first
        argmax = g.where(
            first < n,
            g.take(flat, g.reshape(safe, (bags * width,)), 0).reshape(bags, width) if n else first,
            -1,
        )
        out = g.where(first < n, best, 0.0)
    else:
        rows = rows if padding < 0 else g.where(column, rows, 0.0)
        if even:
            out = g.reduce("sum", g.reshape(rows, (bags, even, width)), 1, keepdim=False)
        else:
            out = g.put(g.const(0.0, w, (bags, width)), bag, rows, 0, "add")
        if mode == 1:
            out = out / g.reshape(count.maximum(1.0), (bags, 1))
    return g.cast(out, weight.dtype), bag, g.cast(count, weight.dtype), argmax


def _bag_backward(n: Any, g: Tensor, *_: Any) -> tuple:
    _, mode, padding, by_freq, sparse, _ = n.params
    if sparse and mode == 2:
        raise NotImplementedError(
            "embedding_bag: sparse gradients of mode='max' are not available: use sparse=False, "
            "whose dense gradients have the same values"
        )
    weight, index = n.inst.ins[0], n.tensor(1)
    has_scale = len(n.inst.ins) > 3
    scale = n.tensor(2) if has_scale else None
    table, bag, count, argmax = n.tensor(0), *[n.tensor(k).detach() for k in (-3, -2, -1)]
    if mode == 2:
        index_of = TORCH["where"](argmax >= 0, argmax, 0)
        kept = TORCH["where"](argmax >= 0, g, zeros_as(g, ()))
        out = scatter_op(
            zeros_as(g, weight.shape),
            0,
            index_of,
            kept,
            "add",
        )
        return (out, None, None, *([None] if has_scale else []))
    per_bag = (
        g / TORCH["where"](count < 1, TORCH["ones_like"](count), count).unsqueeze(1)
        if mode == 1
        else g
    )
    per_row = per_bag.index_select(0, bag)
    gw = gs = None
    if n.needs(0):
        rows = per_row * scale.unsqueeze(1) if scale is not None else per_row
        if sparse:
            gw = _sparse_rows(rows, index, weight.shape[0], padding, by_freq)
        else:
            gw = apply(EMBEDDING_BACKWARD, (rows, index), (weight.shape[0], padding, by_freq))
    if has_scale and n.needs(3):
        gs = (per_row * table.index_select(0, index)).sum(1)
        if padding >= 0:
            gs = TORCH["where"](index == padding, zeros_as(gs, ()), gs)
    return (gw, None, None, *([gs] if has_scale else []))


BAG = Op(
    "_embedding_bag",
    _bag_infer,
    _bag_expand,
    _bag_backward,
    saves="0 1 out1 out2 out3",
    materialize=False,
    grad_name="EmbeddingBagBackward0",
    marks=True,
    shows="0 -",
)
BAG_SCALED = Op(
    "_embedding_bag",
    _bag_infer,
    _bag_expand,
    _bag_backward,
    saves="0 1 3 out1 out2 out3",
    materialize=False,
    grad_name="EmbeddingBagBackward0",
    marks=True,
    shows="0 -",
)


def _bags(
    weight: Tensor,
    index: Tensor,
    offsets: Tensor,
    by_freq: bool,
    mode: int,
    sparse: bool,
    scale: Tensor | None,
    include_last: bool,
    padding: int,
    even: int = 0,
) -> tuple[Tensor, ...]:
    """`even`: the size of every bag, where they are all of one."""
    bags = offsets.meta.shape[0]
    if include_last:
        bags -= 1
        offsets = offsets[:-1]
    params = (bags, mode, padding, bool(by_freq), bool(sparse), even)
    if scale is None:
        return apply(BAG, (weight, index, offsets), params)
    return apply(BAG_SCALED, (weight, index, offsets, scale), params)


def _check_bag(input: Tensor, weight: Tensor, offsets: Tensor | None, scale: Tensor | None) -> None:
    if (
        weight.meta.dtype.kind in "iu"
        and weight.meta.dtype.itemsize == 8
        and input.meta.dtype.kind == "f"
    ):
        raise ValueError(
            "Argument order of nn.functional.embedding_bag was changed. Usage "
            "`embedding_bag(weight, input, ...)` "
            "is deprecated, and should now be `embedding_bag(input, weight, ...)`."
        )
    if scale is not None and input.meta.shape != scale.meta.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({tuple(scale.meta.shape)}) is not None, then "
            "it must have the "
            f"same shape as the input ({tuple(input.meta.shape)})"
        )
    if weight.meta.ndim != 2:
        raise ValueError(
            f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.meta.ndim}"
        )
    if input.meta.ndim == 2 and offsets is not None:
        raise ValueError(
            "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of "
            "fixed length "
            f"sequences. However, found offsets of type {type(offsets)}"
        )
    if input.meta.ndim == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if offsets.meta.ndim != 1:
            raise ValueError("offsets has to be a 1D Tensor")
        _check_offsets(offsets, input.meta.numel)
    elif input.meta.ndim != 2:
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.meta.ndim}"
        )


def _check_offsets(offsets: Tensor, n: int) -> None:
    """RuntimeError where the bags' first and last place, if they are in memory, cannot be."""
    if offsets._s.buf is None or not offsets.meta.numel or offsets.meta.dtype.kind not in "iu":
        return
    values = offsets._array()
    if values[0] != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from "
            f"position 0. However, got {values[0]}"
        )
    if values[-1] > n:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length {n} but got offsets[-1] of {values[-1]}"
        )


@functional("embedding_bag")
def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima of bags of rows of weight.

    Shapes: input (bags, size), or (n) with offsets (bags) that say where each begins.
    """
    _check_bag(input, weight, offsets, per_sample_weights)
    even = 0
    if input.meta.ndim == 2:
        bags, even = input.meta.shape
        offsets = TORCH["arange"](bags, dtype=input.meta.dtype, device=input.meta.device) * even
        input = input.reshape(-1)  # type: ignore[attr-defined]
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights.reshape(-1)  # type: ignore[attr-defined]
        if include_last_offset:
            include_last_offset = False
    if mode not in _MODES:
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    padding = _padding_row(padding_idx, weight.meta.shape[0])
    if max_norm is not None:
        renorm_rows(weight, input, max_norm, norm_type)
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
            "for mode='sum' "
            f"(got mode='{mode}'). Please open a feature request on GitHub."
        )
    return _bags(
        weight,
        input,
        offsets,
        scale_grad_by_freq,
        _MODES[mode],
        sparse,
        per_sample_weights,
        include_last_offset,
        padding,
        even,
    )[0]


def _torch_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> tuple[Tensor, ...]:
    """(bags, bag of each index, size of each bag, index of each maximum)."""
    return _bags(
        weight,
        indices,
        offsets,
        scale_grad_by_freq,
        mode,
        sparse,
        per_sample_weights,
        include_last_offset,
        _padding_row(padding_idx, weight.meta.shape[0]),
    )


_torch_bag.__name__ = _torch_bag.__qualname__ = "embedding_bag"
TORCH["embedding_bag"] = _torch_bag


# one-hot -----------------------------------------------------------------------------------------

ONE_HOT = Op(
    "one_hot",
    lambda index, n: meta_of(dt.int64, (*index.shape, n), index.device),
    lambda g, index, n: g.cast(
        g.iota((*index.shape, n), index.ndim).eq(
            g.reshape(g.check(index, n, "one_hot", wrap=False), (*index.shape, 1))
        ),
        dt.int64,
    ),
    marks=True,
)


@functional("one_hot")
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """1 at the class that each element names, 0 elsewhere, along a new last dim.

    >>> import facula as torch
    >>> torch.nn.functional.one_hot(torch.tensor([0, 2]), 3)
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    need_tensors("one_hot", input=tensor)
    m = tensor.meta
    if m.dtype is not dt.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if not m.numel:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return TORCH["empty"]((*m.shape, num_classes), dtype=dt.int64, device=m.device)
    if m.device is META:
        num_classes = int(tensor.max()) + 1 if num_classes == -1 else num_classes  # type: ignore[attr-defined]
    else:
        values = tensor._values()
        if values.min() < 0:
            raise RuntimeError("Class values must be non-negative.")
        if num_classes == -1:
            num_classes = int(values.max()) + 1
        elif num_classes < 1:
            raise RuntimeError("num_classes should be positive")
        elif num_classes <= values.max():
            raise RuntimeError("Class values must be smaller than num_classes.")
    return apply(ONE_HOT, (tensor,), (num_classes,))
