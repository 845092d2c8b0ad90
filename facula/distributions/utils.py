"""What the distributions share."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from numbers import Number
from typing import Any

import facula as torch

euler_constant = 0.57721566490153286060

__all__ = [
    "broadcast_all",
    "clamp_probs",
    "lazy_property",
    "logits_to_probs",
    "probs_to_logits",
    "tril_matrix_to_vec",
    "vec_to_tril_matrix",
]


def broadcast_all(*values: Any) -> tuple[Any, ...]:
    """The values as tensors of one shape; numbers take dtype and device of the first tensor."""
    if not all(isinstance(v, (torch.Tensor, Number)) for v in values):
        raise ValueError(
            "Input arguments must all be instances of Number, torch.Tensor or objects "
            "implementing __torch_function__."
        )
    first = next((v for v in values if isinstance(v, torch.Tensor)), None)
    if first is None:
        like = {"dtype": torch.get_default_dtype()}
    else:
        like = {"dtype": first.dtype, "device": first.device}
    return tuple(
        torch.broadcast_tensors(
            *(v if isinstance(v, torch.Tensor) else torch.tensor(v, **like) for v in values)
        )
    )


def parameters_of(*values: Any) -> tuple[tuple[Any, ...], Any]:
    """Broadcast parameters and the batch shape they give: none if all are plain numbers."""
    tensors = broadcast_all(*values)
    plain = all(isinstance(v, Number) for v in values)
    return tensors, torch.Size() if plain else tensors[0].size()


def _standard_normal(shape: Any, dtype: Any, device: Any) -> Any:
    return torch.empty(shape, dtype=dtype, device=device).normal_()


def _sum_rightmost(value: Any, dim: int) -> Any:
    """Sum out the `dim` last dimensions."""
    if dim == 0:
        return value
    return value.reshape(value.shape[:-dim] + (-1,)).sum(-1)


def clamp_probs(probs: Any) -> Any:
    """Probabilities kept off 0 and 1 by one rounding unit."""
    eps = torch.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def logits_to_probs(logits: Any, is_binary: bool = False) -> Any:
    """Probabilities of logits: a sigmoid each, or a softmax over the last dimension."""
    return torch.sigmoid(logits) if is_binary else torch.softmax(logits, dim=-1)


def probs_to_logits(probs: Any, is_binary: bool = False) -> Any:
    """Logits of probabilities, clamped first."""
    p = clamp_probs(probs)
    return torch.log(p) - torch.log1p(-p) if is_binary else torch.log(p)


class lazy_property:
    """A property computed at its first use and then kept as an attribute."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        update_wrapper(self, wrapped)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return _lazy_property_and_property(self.wrapped)
        with torch.enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


class _lazy_property_and_property(lazy_property, property):
    """What a lazy property is on the class: both, so that documentation tools see a property."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        property.__init__(self, wrapped)


def given_or_lazy(instance: Any, probs: Any, logits: Any) -> str:
    """Which of the two was given: exactly one must be."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")
    return "logits" if probs is None else "probs"


def tril_matrix_to_vec(mat: Any, diag: int = 0) -> Any:
    """The lower triangle of matrices, row by row, as vectors."""
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    rows, columns = torch.tril_indices(n, n, offset=diag, device=mat.device)
    return mat[..., rows, columns]


def _tril_size(n: int, diag: int) -> int:
    """How many places of an n x n matrix lie on or below diagonal `diag`."""
    return sum(min(n, max(0, row + 1 + diag)) for row in range(n))


def vec_to_tril_matrix(vec: Any, diag: int = 0) -> Any:
    """The inverse of `tril_matrix_to_vec`; the rest is zero."""
    size = vec.shape[-1]
    n = max(1, 1 - diag)
    while _tril_size(n, diag) < size:
        n += 1
    if _tril_size(n, diag) != size:
        raise ValueError(
            f"The size of last dimension is {size} which cannot be expressed as "
            "the lower triangular part of a square D x D matrix."
        )
    mat = vec.new_zeros(vec.shape[:-1] + torch.Size((n, n)))
    rows, columns = torch.tril_indices(n, n, offset=diag, device=vec.device)
    mat[..., rows, columns] = vec
    return mat
