"""Rearranging: repeat, roll, rotate, stack in other directions, grids, windows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.formats import AS_ALL, FORMATS, in_format
from facula.graph.meta import META, Meta, Size, meta_of, wrap_dim
from facula.graph.meta import broadcast_shapes as _broadcast
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.joining import check_elements
from facula.ops.pointwise import sum_to
from facula.ops.registry import TORCH, both, only_method, only_torch, to_out, zeros_as
from facula.ops.shape import known_view, make_view, sizes_of, view_op
from facula.ops.without_values import on_meta
from facula.tensor import Tensor, adopt_array

# repeating ----------------------------------------------------------------------------------


def _repeat_infer(a: Meta, times: tuple) -> Meta:
    lead = len(times) - a.ndim
    shape = [n * k for n, k in zip((1,) * lead + tuple(a.shape), times)]
    return meta_of(a.dtype, shape, a.device)


def _repeat_expand(g: Any, a: Any, times: tuple) -> Any:
    shape = (1,) * (len(times) - a.ndim) + tuple(a.shape)
    pairs = [x for n in shape for x in (1, n)]
    wide = [x for k, n in zip(times, shape) for x in (k, n)]
    v = g.expand(g.reshape(a, pairs), wide)
    return g.reshape(v, [n * k for n, k in zip(shape, times)])


def _repeat_backward(n: Any, g: Tensor) -> Tensor:
    m, times = n.inst.ins[0], n.params[0]
    shape = (1,) * (len(times) - m.ndim) + tuple(m.shape)
    if 0 in times or g.meta.numel == 0:
        return zeros_as(g, m.shape)
    g = g.reshape([x for k, s in zip(times, shape) for x in (k, s)])  # type: ignore[attr-defined]
    dims = list(range(0, 2 * len(times), 2))
    return (g.sum(dims) if dims else g).reshape(m.shape)


REPEAT = Op("repeat", _repeat_infer, _repeat_expand, _repeat_backward)


@only_method("repeat")
def repeat(self: Tensor, *repeats: Any, **kwargs: Any) -> Tensor:
    """self beside itself `repeats` times per dim."""
    times = sizes_of(repeats or (kwargs["repeats"],), "repeat")
    if len(times) < self.meta.ndim:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor"
        )
    if any(k < 0 for k in times):
        raise RuntimeError(
            f"Trying to create tensor with negative dimension {min(times)}: {list(times)}"
        )
    return apply(REPEAT, (self,), (times,))


@both("tile")
def tile(input: Tensor, *dims: Any, **kwargs: Any) -> Tensor:
    """input repeated; missing leading counts are 1."""
    times = sizes_of(dims or (kwargs["dims"],), "tile")
    return repeat(input, (1,) * (input.meta.ndim - len(times)) + times)


@both("repeat_interleave")
def repeat_interleave(input: Tensor, repeats: Any = None, dim: int | None = None, *,
                      output_size: int | None = None) -> Tensor:  # fmt: skip
    """Elements (slices along dim) repeated one after another.

    >>> import facula as torch
    >>> torch.repeat_interleave(torch.tensor([1, 2]), torch.tensor([3, 1]))
    tensor([1, 1, 1, 2])
    """
    if repeats is None:
        return _repeated_places(input, None, output_size)
    if dim is None:
        input, dim = input.reshape(-1), 0  # type: ignore[attr-defined]
    d = wrap_dim(dim, input.meta.ndim)
    if not input.meta.ndim:
        input = input.reshape(1)  # type: ignore[attr-defined]
    n = input.meta.shape[d]
    if isinstance(repeats, Tensor) and repeats.meta.numel == 1 and repeats.meta.device is not META:
        repeats = int(repeats)  # type: ignore[call-overload]
    if isinstance(repeats, int):
        if repeats < 0:
            raise RuntimeError("Repeats must be non-negative")
        wide = input.unsqueeze(d + 1).expand(
            *input.meta.shape[: d + 1], repeats, *input.meta.shape[d + 1 :]
        )  # type: ignore[attr-defined]
        return wide.clone().flatten(d, d + 1)
    times = repeats if isinstance(repeats, Tensor) else TORCH["tensor"](repeats, device="cpu")
    return input.index_select(d, _repeated_places(times, (n, d), output_size))  # type: ignore[attr-defined]


def _repeated_places(times: Tensor, along: tuple[int, int] | None, size: int | None) -> Tensor:
    """Each number from 0 as often as `times` says; along: how many there have to be, and the dim."""
    if times.meta.device is META:
        if size is None:
            raise RuntimeError("cannot repeat_interleave a meta tensor without output_size")
        return on_meta(dt.int64, (size,))
    counts = _counts(times)
    if along is not None and len(counts) != along[0]:
        raise RuntimeError(
            "repeats must have the same size as input along dim, but got repeats.size(0) = "
            f"{len(counts)} and input.size({along[1]}) = {along[0]}"
        )
    if size is not None and along is not None and counts.sum() != size:
        raise RuntimeError("allocated size does not match required size")
    return adopt_array(np.repeat(np.arange(len(counts)), counts).astype(np.int64))


def _counts(t: Tensor) -> np.ndarray:
    if t.meta.ndim > 1:
        raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
    if t.meta.dtype not in (dt.int64, dt.int32):
        raise RuntimeError("repeats has to be Long or Int tensor")
    counts = np.atleast_1d(t._values())
    if (counts < 0).any():
        raise RuntimeError("repeats can not be negative")
    return counts


# turning --------------------------------------------------------------------------------------


def _roll_expand(g: Any, a: Any, shifts: tuple, dims: tuple) -> Any:
    if not a.numel:
        return a
    if not dims:  # as if all elements were in one row
        return g.reshape(_roll_expand(g, g.reshape(a, (a.numel,)), shifts, (0,)), a.shape)
    for shift, d in zip(shifts, dims):
        n = a.shape[d]
        k = shift % n if n else 0
        if k:
            ones = [1] * a.ndim
            tail = [n - k if i == d else 0 for i in range(a.ndim)]
            tail_size = [k if i == d else s for i, s in enumerate(a.shape)]
            head_size = [n - k if i == d else s for i, s in enumerate(a.shape)]
            a = g.cat(
                [g.slice(a, tail, tail_size, ones), g.slice(a, [0] * a.ndim, head_size, ones)], d
            )
    return a


ROLL = Op("roll", lambda a, shifts, dims: a.plain(), _roll_expand,
          lambda n, g: apply(ROLL, (g,), (tuple(-s for s in n.params[0]), n.params[1])),
          lies=AS_ALL)  # fmt: skip


@both("roll")
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved along dims; what leaves at one end enters at the other."""
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    dims = () if dims is None else (dims,) if isinstance(dims, int) else tuple(dims)
    if not shifts:
        raise RuntimeError("`shifts` required")
    if not dims and len(shifts) == 1:
        return apply(ROLL, (input,), (shifts, ()))
    if not input.meta.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    if len(shifts) != len(dims):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}"
        )
    return apply(ROLL, (input,), (shifts, tuple(wrap_dim(d, input.meta.ndim) for d in dims)))


def _rot90_expand(g: Any, a: Any, k: int, dims: tuple[int, int]) -> Any:
    flipped = {0: (), 1: dims[1:], 2: dims, 3: dims[:1]}[k]
    a = g.flip(a, flipped) if flipped else a
    if k % 2 == 0:
        return a
    order = list(range(a.ndim))
    order[dims[0]], order[dims[1]] = dims[1], dims[0]
    return g.permute(a, order)


def _rot90_infer(a: Meta, k: int, dims: tuple[int, int]) -> Meta:
    shape = list(a.shape)
    if k % 2:
        shape[dims[0]], shape[dims[1]] = shape[dims[1]], shape[dims[0]]
    return meta_of(a.dtype, shape, a.device)


def _rot90_lies(ins: tuple[Meta, ...], outs: tuple[Meta, ...], params: tuple) -> tuple[Meta, ...]:
    k, dims = params  # what is turned by one quarter is a transposed copy
    order = list(range(outs[0].ndim))
    order[dims[0]], order[dims[1]] = dims[1], dims[0]
    return (in_format(outs[0], tuple(order)),) if k % 2 else outs


ROT90 = Op("rot90", _rot90_infer, _rot90_expand,
           lambda n, g: apply(ROT90, (g,), (-n.params[0] % 4, n.params[1])),
           lies=_rot90_lies)  # fmt: skip


@both("rot90")
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Rotated by k quarter turns in the plane of two dims."""
    dims = tuple(dims)
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.meta.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.meta.ndim}")
    for d in dims:
        if not -input.meta.ndim <= d < input.meta.ndim:
            wrap_dim(d, input.meta.ndim)
    a, b = (d % input.meta.ndim for d in dims)
    if a == b:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}"
        )
    return apply(ROT90, (input,), (k % 4, (a, b)))


@both("fliplr")
def fliplr(input: Tensor) -> Tensor:
    """Columns in reverse order."""
    if input.meta.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return TORCH["flip"](input, (1,))


@both("flipud")
def flipud(input: Tensor) -> Tensor:
    """Rows in reverse order."""
    if input.meta.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return TORCH["flip"](input, (0,))


@both("movedim", "moveaxis")
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dims moved to other places, the others in order."""
    n = input.meta.ndim
    src = (source,) if isinstance(source, int) else tuple(source)
    dst = (destination,) if isinstance(destination, int) else tuple(destination)
    if len(src) != len(dst):
        raise RuntimeError(
            "movedim: Invalid source or destination dims: source "
            f"({list(src)} dims) should contain the same number of dims as destination ({list(dst)} dims)"
        )
    src, dst = [wrap_dim(d, n) for d in src], [wrap_dim(d, n) for d in dst]
    for name, dims in (("source", src), ("destination", dst)):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({dims})")
    if not n:
        return input
    order = [-1] * n
    for s, d in zip(src, dst):
        order[d] = s
    rest = iter(i for i in range(n) if i not in src)
    return input.permute([next(rest) if i < 0 else i for i in order])  # type: ignore[attr-defined]


# stacking ---------------------------------------------------------------------------------------


def _at_least(k: int, grow: Any) -> Any:
    def function(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
            return tuple(grow(t) for t in tensors[0])
        if len(tensors) == 1:
            return grow(tensors[0])
        return tuple(grow(t) for t in tensors)

    function.__name__ = function.__qualname__ = f"atleast_{k}d"
    function.__doc__ = f"Tensors with at least {k} dims."
    TORCH[function.__name__] = function
    return grow


_at1 = _at_least(1, lambda t: t.reshape(1) if not t.meta.ndim else t)
_at2 = _at_least(
    2, lambda t: t.reshape(1, 1) if not t.meta.ndim else t.unsqueeze(0) if t.meta.ndim == 1 else t
)


def _grow3(t: Tensor) -> Tensor:
    n = t.meta.ndim
    if n == 0:
        return t.reshape(1, 1, 1)  # type: ignore[attr-defined]
    if n == 1:
        return t.unsqueeze(0).unsqueeze(-1)  # type: ignore[attr-defined]
    return t.unsqueeze(-1) if n == 2 else t  # type: ignore[attr-defined]


_at3 = _at_least(3, _grow3)


def _nonempty(name: str, tensors: Any) -> list[Tensor]:
    if isinstance(tensors, Tensor):
        raise TypeError(
            f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor"
        )
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return tensors


@only_torch()
def hstack(tensors: Any, *, out: Tensor | None = None) -> Tensor:
    """Tensors joined beside each other (along dim 1; vectors along dim 0)."""
    tensors = [_at1(t) for t in _nonempty("hstack", tensors)]
    return TORCH["cat"](tensors, 0 if tensors[0].meta.ndim == 1 else 1, out=out)


@only_torch("vstack", "row_stack")
def vstack(tensors: Any, *, out: Tensor | None = None) -> Tensor:
    """Tensors joined below each other (along dim 0)."""
    return TORCH["cat"]([_at2(t) for t in _nonempty("vstack", tensors)], 0, out=out)


@only_torch()
def dstack(tensors: Any, *, out: Tensor | None = None) -> Tensor:
    """Tensors joined behind each other (along dim 2)."""
    return TORCH["cat"]([_at3(t) for t in _nonempty("dstack", tensors)], 2, out=out)


@only_torch()
def column_stack(tensors: Any, *, out: Tensor | None = None) -> Tensor:
    """Vectors as columns, beside matrices."""
    tensors = [
        t.reshape(t.meta.numel, 1) if t.meta.ndim <= 1 else t
        for t in _nonempty("column_stack", tensors)
    ]
    return TORCH["cat"](tensors, 1, out=out)


# splitting ------------------------------------------------------------------------------------


@both("tensor_split")
def tensor_split(input: Tensor, indices_or_sections: Any = None, dim: int = 0, *, indices: Any = None,
                 sections: Any = None) -> tuple[Tensor, ...]:  # fmt: skip
    """Parts along a dim: a number of nearly equal ones, or cut at indices."""
    what = next((x for x in (indices_or_sections, indices, sections) if x is not None), None)
    if not input.meta.ndim:
        raise RuntimeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    d = wrap_dim(dim, input.meta.ndim)
    n = input.meta.shape[d]
    if isinstance(what, Tensor):
        if what.meta.dtype is not dt.int64 or what.meta.ndim > 1:
            raise RuntimeError("tensor_split expected tensor_indices_or_sections to be a zero-dimensional or "
                               "one-dimensional tensor with dtype long, but got a tensor with "
                               f"{what.meta.ndim} dims and dtype {what.meta.dtype.short}")  # fmt: skip
        if what.meta.device is META:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to be on cpu, but it's on meta"
            )
        what = what.tolist()
    if isinstance(what, int):
        if what <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {what}")
        small, extra = divmod(n, what)
        ends = list(itertools.accumulate(small + (i < extra) for i in range(what)))
        cuts = ends[:-1]
    else:
        cuts = list(what)
    bounds = [0, *cuts, n]
    parts = []
    for lo, hi in itertools.pairwise(bounds):
        lo, hi, _ = slice(lo, hi).indices(n)
        parts.append(input.narrow(d, lo, max(hi - lo, 0)))  # type: ignore[attr-defined]
    return tuple(parts)


def _split_along(name: str, need: int, dim_of: Any, doc: str) -> None:
    def function(
        input: Tensor, indices_or_sections: Any = None, *, indices: Any = None, sections: Any = None
    ) -> tuple:
        what = next((x for x in (indices_or_sections, indices, sections) if x is not None), None)
        if input.meta.ndim < need:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {need} dimension, but got a tensor with "
                f"{input.meta.ndim} dimensions!"
            )
        d = dim_of(input)
        if isinstance(what, int) and (what <= 0 or input.meta.shape[d] % what):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {d}, but the size of the dimension "
                f"{input.meta.shape[d]} is not divisible by the split_size {what}!"
            )
        return tensor_split(input, what, d)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    both(name)(function)


_split_along("hsplit", 1, lambda t: 0 if t.meta.ndim == 1 else 1, "Parts beside each other.")
_split_along("vsplit", 2, lambda t: 0, "Parts below each other.")
_split_along("dsplit", 3, lambda t: 2, "Parts behind each other.")

both("unsafe_chunk")(TORCH["chunk"])
both("unsafe_split", "unsafe_split_with_sizes")(TORCH["split"])


# grids and products ----------------------------------------------------------------------------


@only_torch()
def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that shapes broadcast to."""
    shapes = tuple((s,) if isinstance(s, int) else tuple(s) for s in shapes)
    for s in shapes:
        if any(n < 0 for n in s):
            raise ValueError("Attempting to broadcast a dimension with negative length!")
    try:
        return Size(_broadcast(*shapes))
    except RuntimeError:
        raise RuntimeError(
            "Shape mismatch: objects cannot be broadcast to a single shape"
        ) from None


@only_torch()
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Tensors expanded to their common shape."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    check_elements(tensors)
    shape = _broadcast(*[t.meta.shape for t in tensors])
    return tuple(t.expand(shape) for t in tensors)


@only_torch()
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Coordinates of a grid: each vector varies along a dim of its own.

    >>> import facula as torch
    >>> rows, columns = torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")
    >>> rows
    tensor([[0, 0, 0],
            [1, 1, 1]])
    """
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if any(t.meta.ndim > 1 for t in tensors):
        bad = next(t for t in tensors if t.meta.ndim > 1)
        raise RuntimeError(
            f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {bad!r}"
        )
    for t in tensors[1:]:
        if t.meta.dtype is not tensors[0].meta.dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    if indexing is None:
        import warnings

        warnings.warn(
            "torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument.",
            UserWarning, stacklevel=2,
        )  # fmt: skip
        indexing = "ij"
    if indexing not in ("ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    lines = [t if t.meta.ndim else t.reshape(-1) for t in tensors]
    swap = indexing == "xy" and len(lines) >= 2
    if swap:
        lines[0], lines[1] = lines[1], lines[0]
    shape = [t.meta.numel for t in lines]
    grids = []
    for i, t in enumerate(lines):
        line = t.view(*[-1 if j == i else 1 for j in range(len(lines))])
        grids.append(line.expand(*shape))
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@only_torch()
def cartesian_prod(*tensors: Any) -> Tensor:
    """All tuples of elements of vectors, as rows."""
    if any(t.meta.ndim != 1 for t in tensors):
        raise RuntimeError(
            f"Expect a 1D vector, but got shape {list(next(t for t in tensors if t.meta.ndim != 1).meta.shape)}"
        )
    if len(tensors) == 1:
        return tensors[0]
    grids = meshgrid(*tensors, indexing="ij")
    return TORCH["stack"]([t.flatten() for t in grids], 1)


@both("combinations")
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of r elements of a vector, as rows."""
    if input.meta.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.meta.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return TORCH["empty"](0, dtype=input.meta.dtype, device=input.meta.device)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(input.meta.numel), r))
    index = adopt_array(np.array(rows, np.int64).reshape(len(rows), r))
    return input[index]  # type: ignore[index]


@only_torch()
def block_diag(*tensors: Any) -> Tensor:
    """Matrices along the diagonal of a larger one, zeros elsewhere."""
    if not tensors:
        return TORCH["zeros"](1, 0)
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(
                f"block_diag(): argument 'tensors' (position {i + 1}) must be Tensor, not {type(t).__name__}"
            )
        if t.meta.ndim > 2:
            raise RuntimeError(
                f"block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {t.meta.ndim} dimensions"
            )
    mats = [_at2(t) for t in tensors]
    d = mats[0].meta.dtype
    for t in mats[1:]:
        d = dt.promote_types(d, t.meta.dtype)
    cols = sum(t.meta.shape[1] for t in mats)
    rows, left = [], 0
    for t in mats:
        n, k = t.meta.shape
        pads = [
            TORCH["zeros"](n, left, dtype=d, device=t.meta.device),
            t.to(d),
            TORCH["zeros"](n, cols - left - k, dtype=d, device=t.meta.device),
        ]
        rows.append(TORCH["cat"]([p for p in pads if p.meta.shape[1]] or [pads[1]], 1))
        left += k
    return TORCH["cat"](rows, 0)


# windows ----------------------------------------------------------------------------------------


def window_places(count: int, size: int, step: int, device: Any) -> Tensor:
    """Where the elements of `count` windows come from, one window after another."""
    if device is META:
        return on_meta(dt.int64, (count * size,))
    where = np.arange(count)[:, None] * step + np.arange(size)
    return adopt_array(np.ascontiguousarray(where.reshape(-1)))


def _unfold_backward(n: Any, g: Tensor) -> Tensor:
    from facula.ops.gather import index_add

    m = n.inst.ins[0]
    dim, size, step, count = n.params
    if not m.ndim:
        return g.sum()  # type: ignore[attr-defined]
    zeros = zeros_as(g, m.shape)
    flat = g.movedim(-1, dim + 1).flatten(dim, dim + 1)  # type: ignore[attr-defined]
    return index_add(zeros, dim, window_places(count, size, step, g.meta.device), flat)


UNFOLD = view_op("unfold", _unfold_backward, "UnfoldBackward0")


@only_method("unfold")
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A view of all windows of `size` elements along a dim; they become a last dim."""
    args = (dimension, size, step)
    known = known_view(UNFOLD, self, args)
    if known is not None:
        return known
    m = self.meta
    d = wrap_dim(dimension, m.ndim)
    n = m.shape[d] if m.ndim else 1
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {n} but size is {size}")
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    count = (n - size) // step + 1
    if not m.ndim:
        return make_view(UNFOLD, self, (size,), (1,), self._off, (0, size, step, count))
    shape = (*m.shape[:d], count, *m.shape[d + 1 :], size)
    strides = (*m.strides[:d], m.strides[d] * step, *m.strides[d + 1 :], m.strides[d])
    return make_view(UNFOLD, self, shape, strides, self._off, (d, size, step, count), args)


# sums to smaller shapes, copies of views ----------------------------------------------------------


@only_method("sum_to_size")
def sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """Sums over the dims that broadcasting from `size` would add."""
    target = sizes_of(size, "sum_to_size")
    m = self.meta
    lead = m.ndim - len(target)
    fits = lead >= 0 and all(t in (1, n) for t, n in zip(target, m.shape[lead:]))
    if not fits:
        raise RuntimeError(
            f"size {{{list(target)}}} is not expandable to size {{{list(m.shape)}}}."
        )
    summed = (tuple(target) != tuple(m.shape) or not m.ndim) and m.dtype.kind in "biu"
    return sum_to(self, meta_of(dt.int64 if summed else m.dtype, target))


def _copied(t: Tensor) -> Tensor:
    copy: Tensor = TORCH["clone"](t, memory_format=FORMATS["contiguous_format"])
    return copy


def _copy_of(name: str, views: bool = False) -> None:
    """`x_copy(...)`: the result of a view operator as a copy."""
    source = getattr(Tensor, name)

    def function(input: Tensor, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        if name == "narrow" and args and isinstance(args[0], int) and args[0] >= input.meta.ndim:
            raise RuntimeError(
                "Expected dim < static_cast<int64_t>(self_sizes.size()) to be true, but got false."
            )
        got = source(input, *args, **kwargs)
        if isinstance(got, tuple):
            copies = tuple(_copied(t) for t in got)
            if out is None:
                return copies
            for o, t in zip(out, copies):
                to_out(t, o, exact=True)
            return None
        return to_out(_copied(got), out, exact=True)

    function.__name__ = function.__qualname__ = name + "_copy"
    function.__doc__ = f"`{name}`, as a copy."
    TORCH[name + "_copy"] = function


for _name in ("as_strided", "detach", "diagonal", "expand", "permute", "select", "split",
              "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze",
              "view", "narrow"):  # fmt: skip
    if hasattr(Tensor, _name):
        _copy_of(_name)
Tensor.narrow_copy = TORCH["narrow_copy"]  # type: ignore[attr-defined]


@only_torch()
def alias_copy(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """A copy."""
    return to_out(input.clone(), out, exact=True)  # type: ignore[attr-defined]


@only_torch()
def slice_copy(input: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1,
               *, out: Tensor | None = None) -> Tensor:  # fmt: skip
    """input[start:end:step] along a dim, as a copy."""
    from facula.ops.shape import slice_dim

    return to_out(
        _copied(slice_dim(input, wrap_dim(dim, input.meta.ndim), start, end, step)), out, exact=True
    )


__all__ = ["math"]
