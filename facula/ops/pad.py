"""Padding: with a constant, by reflection, replication, or around."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from facula.graph.blame import wrong_type
from facula.graph.formats import AS_IMAGES, AS_OPERANDS
from facula.graph.meta import Meta, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.pointwise import number_type, opmath
from facula.ops.registry import TORCH, functional
from facula.tensor import Tensor

Pairs = tuple[tuple[int, int], ...]  # (in front, behind) of each dim

# constant: negative amounts cut off --------------------------------------------------------------


def _constant_infer(x: Meta, pairs: Pairs, kind: str) -> Meta:
    shape = []
    for i, (n, (lo, hi)) in enumerate(zip(x.shape, pairs, strict=True)):
        if n + lo + hi < 0:
            raise RuntimeError(
                f"The input size {n}, plus negative padding {lo} and {hi} resulted in a negative "
                "output size, which "
                f"is invalid. Check dimension {i} of your input."
            )
        shape.append(n + lo + hi)
    return meta_of(x.dtype, shape, x.device)


def cut_and_pad(g: Any, x: Any, pairs: Pairs, value: Any) -> Any:
    """x with constants added, or elements cut off where a number is negative."""
    starts = [max(-lo, 0) for lo, _ in pairs]
    sizes = [
        max(n - s - max(-hi, 0), 0) for n, s, (_, hi) in zip(x.shape, starts, pairs, strict=True)
    ]
    x = g.slice(x, starts, sizes, [1] * x.ndim)
    lo, hi = [max(p, 0) for p, _ in pairs], [max(p, 0) for _, p in pairs]
    if not any(lo) and not any(hi):
        return x
    zero = g.pad(x, lo, hi, 0)
    if value is None:
        return zero
    # the fill is a run-time number: put where the padding is
    inside = g.pad(g.const(True, _bool(), x.shape), lo, hi, False)
    return g.where(inside, zero, value)


def _bool() -> Any:
    from facula.graph import dtypes as dt

    return dt.bool_


def _constant_expand(g: Any, x: Any, *rest: Any) -> Any:
    *value, pairs, _ = rest
    shape = [n + lo + hi for n, (lo, hi) in zip(x.shape, pairs, strict=True)]
    fill = g.cast(value[0], x.dtype) if value else None
    if not x.numel:
        return g.expand(fill if value else g.const(0, x.dtype), shape)
    return g.reshape(cut_and_pad(g, x, pairs, fill), shape)


def _constant_backward(n: Any, g: Tensor) -> Tensor:
    pairs = tuple((-lo, -hi) for lo, hi in n.params[0])
    return apply(PAD, (g,), (pairs, ""))


def _constant_lies(ins: tuple[Meta, ...], outs: tuple[Meta, ...], params: tuple) -> Any:
    # what is only cut is a clone to PyTorch, which keeps any order of dims
    cut = all(lo <= 0 and hi <= 0 for lo, hi in params[0])
    return (AS_OPERANDS if cut else AS_IMAGES)(ins, outs, params)


PAD = Op("constant_pad_nd", _constant_infer, _constant_expand, _constant_backward,
         lies=_constant_lies)  # fmt: skip


def constant_pad_nd(input: Tensor, pad: Sequence[int], value: Any = 0) -> Tensor:
    """input with `value` around: pad names (front, behind) from the last dim on."""
    m = input.meta
    if len(pad) % 2:
        raise RuntimeError("Length of pad must be even but instead it equals " + str(len(pad)))
    if len(pad) > 2 * m.ndim:
        raise RuntimeError(
            "Length of pad should be no more than twice the number of dimensions of the input. "
            "Pad length is "
            f"{len(pad)} while the input has {m.ndim} dimensions."
        )
    pairs = _pairs(pad, m.ndim)
    if isinstance(value, Tensor):
        value = value.item()  # type: ignore[attr-defined]
    if not value:
        return apply(PAD, (input,), (pairs, ""))
    return apply(PAD, (input,), (pairs, number_type(value)), (value,))


def _pairs(pad: Sequence[int], ndim: int) -> Pairs:
    amounts = [int(p) for p in pad]
    given = list(zip(amounts[::2], amounts[1::2], strict=True))
    return tuple([(0, 0)] * (ndim - len(given)) + given[::-1])


# reflection, replication, circular: every result element is one of the input's -------------------


def _source(g: Any, n: int, lo: int, hi: int, mode: str) -> Any:
    """For each padded position the position it is taken from."""
    at = g.iota((n + lo + hi,), 0) - lo
    if mode == "replicate":
        return at.maximum(0).minimum(n - 1)
    if mode == "reflect":
        at = at.abs()
        return (n - 1) - ((n - 1) - at).abs()
    # what is cut off does not come around again
    cut = max(-lo, 0)
    return (at - cut).mod(n - cut - max(-hi, 0)) + cut


def _mirror_infer(x: Meta, pairs: Pairs, mode: str) -> Meta:
    return meta_of(
        x.dtype, [n + lo + hi for n, (lo, hi) in zip(x.shape, pairs, strict=True)], x.device
    )


def _mirror_expand(g: Any, x: Any, pairs: Pairs, mode: str) -> Any:
    wider = [i for i, p in enumerate(pairs) if any(p) and min(p) >= 0]
    for axis in reversed(range(x.ndim)):
        if any(pairs[axis]) and axis not in wider:
            x = g.take(x, _source(g, x.shape[axis], *pairs[axis], mode), axis)
    while wider:  # two dims at once: at most nine boxes
        x = _surrounded(g, x, {axis: pairs[axis] for axis in wider[-2:]}, mode)
        wider = wider[:-2]
    return x


def _segments(n: int, lo: int, hi: int, mode: str) -> list[tuple[int, int, int, int]]:
    """What a padded dim is made of: (start there, size, start in the input, step)."""
    front, behind = {
        "reflect": ((lo, -1), (n - 2, -1)),
        "replicate": ((0, 0), (n - 1, 0)),
        "circular": ((n - lo, 1), (0, 1)),
    }[mode]
    parts = [(0, lo, *front), (lo, n, 0, 1), (lo + n, hi, *behind)]
    return [part for part in parts if part[1]]


def _surrounded(g: Any, x: Any, pairs: dict[int, tuple[int, int]], mode: str) -> Any:
    """x with what belongs around it, each part copied: faster than looking up positions."""
    lines = [
        _segments(n, *pairs[i], mode) if i in pairs else [(0, n, 0, 1)]
        for i, n in enumerate(x.shape)
    ]
    parts = []
    for box in itertools.product(*lines):
        places, sizes, starts, steps = zip(*box, strict=True)
        taken = [n if step else 1 for n, step in zip(sizes, steps, strict=True)]
        part = g.slice(x, starts, taken, [step or 1 for step in steps])
        parts.append((places, g.expand(part, sizes)))
    shape = [sum(size for _, size, _, _ in line) for line in lines]
    return g.boxes(parts, shape)


def _mirror_backward(n: Any, g: Tensor) -> Tensor:
    return apply(MIRROR_BACKWARD, (g,), (*n.params, tuple(n.inst.ins[0].shape)))


def _mirror_back_expand(g: Any, grad: Any, pairs: Pairs, mode: str, shape: tuple[int, ...]) -> Any:
    x = g.cast(grad, opmath(grad.dtype))
    for axis, (lo, hi) in enumerate(pairs):
        if not (lo or hi):
            continue
        n = shape[axis]
        if min(lo, hi) >= 0:
            x = _folded(g, x, axis, n, _segments(n, lo, hi, mode))
        else:
            size = [n if i == axis else m for i, m in enumerate(x.shape)]
            x = g.put(g.const(0, x.dtype, size), _source(g, n, lo, hi, mode), x, axis, "add")
    return g.cast(x, grad.dtype)


def _folded(g: Any, x: Any, axis: int, n: int, segments: list[tuple[int, int, int, int]]) -> Any:
    """The segments of a padded dim, each added to where it was taken from."""

    def along(number: int, others: Sequence[int]) -> list[int]:
        return [number if i == axis else k for i, k in enumerate(others)]

    still, total = [0] * x.ndim, None
    for place, size, start, step in segments:
        first, k = place, size
        if step < 0:
            first, start = place + size - 1, start - size + 1
        part = g.slice(x, along(first, still), along(k, x.shape), along(step or 1, [1] * x.ndim))
        if not step:
            part, k = g.reduce("sum", part, [axis]), 1
        if k < n:
            part = g.pad(part, along(start, still), along(n - start - k, still), 0)
        total = part if total is None else total + part
    return total


MIRROR_BACKWARD = Op(
    "pad_backward",
    lambda grad, pairs, mode, shape: meta_of(grad.dtype, shape, grad.device),
    _mirror_back_expand,
    lambda n, g: apply(_mirror_op(n.params[1], n.params[0]), (g,), n.params[:2]),
)
_MIRROR = {
    (mode, k): Op(
        "pad", _mirror_infer, _mirror_expand, _mirror_backward, grad_name=f"{word}Pad{k}DBackward0"
    )
    for mode, word in (
        ("reflect", "Reflection"),
        ("replicate", "Replication"),
        ("circular", "Circular"),
    )
    for k in (1, 2, 3)
}


def _mirror_op(mode: str, pairs: Pairs) -> Op:
    padded = [i for i, p in enumerate(pairs) if any(p)]
    k = len(pairs) - padded[0] if padded else 1
    return _MIRROR[mode, min(k, 3)]


def _check_mirror(x: Meta, pairs: Pairs, k: int, mode: str) -> None:
    for i, (n, (lo, hi)) in enumerate(zip(x.shape, pairs, strict=True)):
        if mode == "reflect" and (lo >= n or hi >= n) and (lo or hi):
            raise RuntimeError(
                "Argument #4: Padding size should be less than the corresponding input dimension, "
                "but got: padding "
                f"({lo}, {hi}) at dimension {i} of input {list(x.shape)}"
            )
        if mode == "circular" and (lo > n or hi > n):
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if mode == "circular" and n + lo + hi < 0:
            raise RuntimeError("Negative padding value is resulting in an empty dimension")
        if i >= x.ndim - k and x.numel and n + lo + hi < 1:
            raise RuntimeError(f"input (W: {n}) is too small. Calculated output W: {n + lo + hi}")
    if (x.ndim - k <= 1 and not all(x.shape[x.ndim - k :])) or (
        x.ndim - k == 2 and not all(x.shape[1:])
    ):
        raise RuntimeError(
            f"Expected {k + 1}D or {k + 2}D (batch mode) tensor with possibly 0 batch size and "
            "other non-zero "
            f"dimensions for input, but got: {list(x.shape)}"
        )


@functional("pad")
def pad(
    input: Tensor, pad: list[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """input with a border: pad gives (front, behind) for the last dim, then the one before, ...

    mode: "constant" (with value), "reflect", "replicate" or "circular".

    >>> import facula as torch
    >>> torch.nn.functional.pad(torch.ones(1, 2), (1, 1, 0, 1))
    tensor([[0., 1., 1., 0.],
            [0., 0., 0., 0.]])
    """
    if isinstance(pad, str) or not hasattr(pad, "__len__"):
        raise wrong_type(pad, "tuple of ints")
    if len(pad) % 2:
        raise RuntimeError(
            f"Padding length must be divisible by 2; got padding of length {len(pad)}"
        )
    m = input.meta
    if len(pad) // 2 > m.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got "
            f"padding length {len(pad)} and input of dimension {m.ndim}"
        )
    if mode == "constant":
        return constant_pad_nd(input, pad, 0 if value is None else value)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    k = len(pad) // 2
    if k not in (1, 2, 3) or m.ndim not in (k + 1, k + 2):
        raise NotImplementedError(
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now"
        )
    pairs = _pairs(pad, m.ndim)
    _check_mirror(m, pairs, k, mode)
    return apply(_MIRROR[mode, k], (input,), (pairs, mode))


def _torch_mirror(word: str, mode: str, k: int) -> None:
    def function(input: Tensor, padding: Sequence[int]) -> Tensor:
        return pad(input, list(padding), mode)

    function.__name__ = function.__qualname__ = f"{word}_pad{k}d"
    function.__doc__ = f"`nn.functional.pad` with mode='{mode}'."
    TORCH[function.__name__] = function


for _k in (1, 2, 3):
    _torch_mirror("reflection", "reflect", _k)
    _torch_mirror("replication", "replicate", _k)
TORCH["constant_pad_nd"] = constant_pad_nd
