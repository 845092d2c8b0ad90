"""Parameters that are given as probabilities or as logits, each computed from the other."""

from __future__ import annotations

from numbers import Number
from typing import Any

import facula as torch
from facula.distributions.utils import (
    broadcast_all,
    given_or_lazy,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)


class BinaryLogits:
    """`probs` or `logits` of independent yes-or-no events, one for each element of the batch."""

    _given: str

    def _take(self, probs: Any, logits: Any) -> Any:
        """Keep what was given; returns the batch shape."""
        self._given = given_or_lazy(self, probs, logits)
        value = probs if self._given == "probs" else logits
        (tensor,) = broadcast_all(value)
        setattr(self, self._given, tensor)
        return torch.Size() if isinstance(value, Number) else tensor.size()

    def _expanded_from(self, old: Any, batch_shape: Any) -> None:
        self._given = old._given
        super()._expanded_from(old, batch_shape)  # type: ignore[misc]

    def _new(self, *args: Any, **kwargs: Any) -> Any:
        return self._param.new(*args, **kwargs)

    @property
    def _param(self) -> Any:
        return getattr(self, self._given)

    @property
    def param_shape(self) -> Any:
        return self._param.size()

    @lazy_property
    def logits(self) -> Any:
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Any:
        return logits_to_probs(self.logits, is_binary=True)


class CategoryLogits:
    """`probs` or `logits` of the categories along the last dimension."""

    _given: str

    def _take(self, probs: Any, logits: Any) -> Any:
        """Keep what was given, normalised; returns the batch shape."""
        self._given = given_or_lazy(self, probs, logits)
        value = probs if self._given == "probs" else logits
        if value.dim() < 1:
            raise ValueError(f"`{self._given}` parameter must be at least one-dimensional.")
        if self._given == "probs":
            self.probs = probs / probs.sum(-1, keepdim=True)
        else:
            self.logits = logits - logits.logsumexp(dim=-1, keepdim=True)
        return value.size()[:-1]

    def _expanded_from(self, old: Any, batch_shape: Any) -> None:
        self._given = old._given
        super()._expanded_from(old, batch_shape)  # type: ignore[misc]

    def _new(self, *args: Any, **kwargs: Any) -> Any:
        return self._param.new(*args, **kwargs)

    @property
    def _param(self) -> Any:
        return getattr(self, self._given)

    @property
    def param_shape(self) -> Any:
        return self._param.size()

    @property
    def _num_events(self) -> int:
        return self._param.size(-1)

    @lazy_property
    def logits(self) -> Any:
        return probs_to_logits(self.probs)

    @lazy_property
    def probs(self) -> Any:
        return logits_to_probs(self.logits)


class ForwardLogits:
    """`probs` and `logits` of the distribution named by `_inner`."""

    _inner: str

    def _new(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, self._inner)._new(*args, **kwargs)

    @property
    def _param(self) -> Any:
        return getattr(self, self._inner)._param

    @property
    def probs(self) -> Any:
        return getattr(self, self._inner).probs

    @property
    def logits(self) -> Any:
        return getattr(self, self._inner).logits

    @property
    def param_shape(self) -> Any:
        return getattr(self, self._inner).param_shape
