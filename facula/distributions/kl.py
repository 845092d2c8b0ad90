"""Kullback-Leibler divergences KL(p || q): the registry and the dispatch.

The formulas are in `kl_formulas`; more can be added with `register_kl`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import facula as torch
from facula.distributions.distribution import Distribution

__all__ = ["kl_divergence", "register_kl"]

_KL_REGISTRY: dict[tuple[type, type], Callable[[Any, Any], Any]] = {}
_KL_MEMOIZE: dict[tuple[type, type], Callable[[Any, Any], Any]] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Any], Any]:
    """Decorator: register a function of (p, q) for two types of distributions.

    >>> from facula.distributions import Normal
    >>> class Mine(Normal): ...
    >>> @register_kl(Mine, Normal)
    ... def kl_mine_normal(p, q): ...
    """
    if not isinstance(type_p, type) or not isinstance(type_q, type):
        raise TypeError("issubclass() arg 1 must be a class")

    def decorate(function: Any) -> Any:
        _KL_REGISTRY[type_p, type_q] = function
        _KL_MEMOIZE.clear()
        return function

    return decorate


def _distance(cls: type, ancestor: type) -> int:
    return cls.__mro__.index(ancestor)


def _dispatch_kl(type_p: type, type_q: type) -> Any:
    """The function of the most specific registered pair."""
    matches = [(p, q) for p, q in _KL_REGISTRY if issubclass(type_p, p) and issubclass(type_q, q)]
    if not matches:
        return NotImplemented
    left = min(matches, key=lambda m: (_distance(type_p, m[0]), _distance(type_q, m[1])))
    right = min(matches, key=lambda m: (_distance(type_q, m[1]), _distance(type_p, m[0])))
    if _KL_REGISTRY[left] is not _KL_REGISTRY[right]:
        warnings.warn(
            f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). "
            f"Please register_kl({left[0].__name__}, {right[1].__name__})",
            RuntimeWarning,
            stacklevel=3,
        )
    return _KL_REGISTRY[left]


def kl_divergence(p: Distribution, q: Distribution) -> Any:
    """KL(p || q), a tensor of the batch shape; NotImplementedError if nothing is registered."""
    key = type(p), type(q)
    function = _KL_MEMOIZE.get(key)
    if function is None:
        function = _KL_MEMOIZE[key] = _dispatch_kl(*key)
    if function is NotImplemented:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {p.__class__.__name__} "
            f"and q type {q.__class__.__name__}"
        )
    return function(p, q)


def _infinite_like(tensor: Any) -> Any:
    return torch.full_like(tensor, torch.inf)


from facula.distributions import kl_formulas as _formulas  # noqa: E402, F401
