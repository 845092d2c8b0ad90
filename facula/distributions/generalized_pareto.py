from __future__ import annotations

import math
from typing import Any

import facula as torch
from facula.distributions import constraints
from facula.distributions.distribution import Distribution
from facula.distributions.utils import parameters_of

__all__ = ["GeneralizedPareto"]

inf, nan = math.inf, math.nan


class GeneralizedPareto(Distribution):
    """The generalised Pareto distribution of shape `concentration`; exponential where it is 0."""

    arg_constraints = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "concentration": constraints.real,
    }
    has_rsample = True
    _params = {"loc": 0, "scale": 0, "concentration": 0}

    def __init__(
        self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None
    ) -> None:
        tensors, batch_shape = parameters_of(loc, scale, concentration)
        self.loc, self.scale, self.concentration = tensors
        super().__init__(batch_shape, validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape = self._extended_shape(sample_shape)
        u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.icdf(u)

    def _split(self) -> tuple[Any, Any]:
        """Where the concentration is 0, and the concentration with 1 put there."""
        zero = torch.isclose(self.concentration, torch.zeros_like(self.concentration))
        return zero, torch.where(zero, torch.ones_like(self.concentration), self.concentration)

    def _z(self, x: Any) -> Any:
        return (x - self.loc) / self.scale

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        z = self._z(value)
        zero, c = self._split()
        body = -(1 + 1 / c) * torch.log1p(c * z)
        return torch.where(zero, -z, body) - self.scale.log()

    def log_survival_function(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        z = self._z(value)
        zero, c = self._split()
        return torch.where(zero, -z, -torch.log1p(c * z) / c)

    def log_cdf(self, value: Any) -> Any:
        return torch.log1p(-torch.exp(self.log_survival_function(value)))

    def cdf(self, value: Any) -> Any:
        return torch.exp(self.log_cdf(value))

    def icdf(self, value: Any) -> Any:
        zero, c = self._split()
        log_tail = torch.log1p(-value)
        return torch.where(
            zero,
            self.loc - self.scale * log_tail,
            self.loc + self.scale / c * torch.expm1(-c * log_tail),
        )

    @property
    def mean(self) -> Any:
        c = self.concentration
        finite = c < 1
        safe = torch.where(finite, c, 0.5)
        return torch.where(finite, self.loc + self.scale / (1 - safe), nan)

    @property
    def variance(self) -> Any:
        c = self.concentration
        finite = c < 0.5
        safe = torch.where(finite, c, 0.25)
        return torch.where(finite, self.scale**2 / ((1 - safe) ** 2 * (1 - 2 * safe)), nan)

    def entropy(self) -> Any:
        return torch.log(self.scale) + self.concentration + 1

    @property
    def mode(self) -> Any:
        return self.loc

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        lower = self.loc
        upper = torch.where(self.concentration < 0, lower - self.scale / self.concentration, inf)
        return constraints.interval(lower, upper)
