from __future__ import annotations

from typing import Any

import facula as torch
from facula.distributions.distribution import Distribution

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """Densities exp(<t(x), theta> - F(theta) + k(x)), with natural parameters theta.

    Subclasses give `_natural_params`, `_log_normalizer` (F) and `_mean_carrier_measure` (E k(x)).
    """

    @property
    def _natural_params(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Any) -> Any:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> Any:
        raise NotImplementedError

    def entropy(self) -> Any:
        """From the gradient of the log normalizer (Bregman divergence)."""
        result = -self._mean_carrier_measure
        theta = [p.detach().requires_grad_() for p in self._natural_params]
        log_normalizer = self._log_normalizer(*theta)
        gradients = torch.autograd.grad(log_normalizer.sum(), theta, create_graph=True)
        result += log_normalizer
        for parameter, gradient in zip(theta, gradients, strict=True):
            result -= (parameter * gradient).reshape(self._batch_shape + (-1,)).sum(-1)
        return result
