"""Dims of a tensor put in order by a pattern of names: `torch.func.rearrange`."""

from __future__ import annotations

import math
import re
from typing import Any

import facula as torch

_TOKEN = re.compile(r"\.\.\.|[()]|\w+|\S")


def _parsed(side: str, pattern: str) -> list[list[str]]:
    """The groups of names of one side; a name alone is a group of one, `1` and `()` of none."""
    groups: list[list[str]] = []
    group: list[str] | None = None
    for token in _TOKEN.findall(side):
        if token == "(":
            if group is not None:
                raise ValueError(f"brackets inside of brackets are not allowed: {pattern}")
            group = []
        elif token == ")":
            if group is None:
                raise ValueError(f"a bracket is closed that was not opened: {pattern}")
            groups.append(group)
            group = None
        elif token == "..." or token.isidentifier() or token == "1":
            names = [] if token == "1" else [token]
            if group is None:
                groups.append(names)
            else:
                group += names
        else:
            raise ValueError(f"Unknown character or number {token!r} in pattern: {pattern}")
    if group is not None:
        raise ValueError(f"a bracket is not closed: {pattern}")
    names = [n for g in groups for n in g]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Indexing expression contains duplicate dimension '{name}'")
    return groups


def _sizes(left: list[list[str]], shape: tuple, known: dict[str, int]) -> dict[str, int]:
    """The size of every name; one unknown name in a group follows from the dim's size."""
    sizes = dict(known)
    for group, size in zip(left, shape):
        unknown = [n for n in group if n not in sizes]
        rest = math.prod(sizes[n] for n in group if n in sizes)
        if len(unknown) > 1:
            raise ValueError(f"cannot infer the sizes of {unknown}: give all of them but one")
        if unknown and rest and size % rest == 0:
            sizes[unknown[0]] = size // rest
        elif unknown or rest != size:
            raise ValueError(f"a dim of size {size} cannot be split as ({' '.join(group)})")
    return sizes


def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Any:
    """Reorders, splits and joins dims of a tensor (or of a list of tensors, stacked first).

    >>> import facula as torch
    >>> torch.func.rearrange(torch.zeros(2, 6), "b (h w) -> h b w", h=2).shape
    torch.Size([2, 2, 3])
    """
    if not isinstance(tensor, torch.Tensor):
        tensor = torch.stack(list(tensor))
    sides = pattern.split("->")
    if len(sides) != 2:
        raise ValueError(f"a pattern has two sides, with -> between them: {pattern}")
    left, right = (_parsed(side, pattern) for side in sides)
    if any("..." in g and len(g) > 1 for g in left):
        raise ValueError(f"Ellipsis is parenthesis in the left side is not allowed: {pattern}")
    named = [{n for g in side for n in g} for side in (left, right)]
    if named[0] != named[1]:
        raise ValueError(
            "Identifiers only on one side of rearrange expression (should be on both): "
            f"{named[0] ^ named[1]}"
        )
    dims = tensor.dim()
    if ["..."] in left:
        at, extra = left.index(["..."]), dims - len(left) + 1
        rest = [f".{i}" for i in range(extra)]
        left = [*left[:at], *[[n] for n in rest], *left[at + 1 :]]
        right = [
            part
            for g in right
            for part in (
                [[n] for n in rest]
                if g == ["..."]
                else [[m for n in g for m in (rest if n == "..." else [n])]]
            )
        ]
    if len(left) != dims:
        raise ValueError(
            f"Number of dimensions in pattern ({len(left)}) must be equal to the number of dimensions in "
            f"the tensor ({dims})"
        )
    sizes = _sizes(left, tuple(tensor.shape), axes_lengths)
    names = [n for g in left for n in g]
    order = [names.index(n) for g in right for n in g]
    apart = tensor.reshape([sizes[n] for n in names]).permute(order)
    return apart.reshape([math.prod(sizes[n] for n in g) for g in right])


def debug_unwrap(tensor: Any, *, recurse: bool = True) -> Any:
    """What is inside of a tensor that a transform made: batches of `vmap` with their dim."""
    inner = getattr(tensor, "_batched", None)
    while inner is not None:
        tensor = inner
        inner = getattr(tensor, "_batched", None) if recurse else None
    return tensor
