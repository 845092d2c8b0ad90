from __future__ import annotations

import math
from typing import Any

import facula as torch
from facula.distributions import constraints
from facula.distributions.distribution import Distribution
from facula.distributions.utils import _standard_normal, lazy_property

__all__ = ["MultivariateNormal"]


def _batch_mv(matrix: Any, vector: Any) -> Any:
    """Matrices times vectors, both in batches."""
    return torch.matmul(matrix, vector.unsqueeze(-1)).squeeze(-1)


def _batch_mahalanobis(tril: Any, x: Any) -> Any:
    """x' (L L')^-1 x for lower triangular L, batches broadcast."""
    solved = torch.linalg.solve_triangular(tril, x.unsqueeze(-1), upper=False)
    return solved.squeeze(-1).pow(2).sum(-1)


def _precision_to_scale_tril(precision: Any) -> Any:
    """The lower Cholesky factor of the inverse, without inverting."""
    flipped = torch.linalg.cholesky(torch.flip(precision, (-2, -1)))
    inverse = torch.transpose(torch.flip(flipped, (-2, -1)), -2, -1)
    eye = torch.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return torch.linalg.solve_triangular(inverse, eye, upper=False)


class ScaleMatrix:
    """A scale matrix given as covariance, as precision or as its Cholesky factor."""

    _unbroadcasted_scale_tril: Any
    _matrices = ("covariance_matrix", "precision_matrix", "scale_tril")

    def _take_matrix(self, batch_shape: Any, given: tuple[Any, Any, Any]) -> Any:
        """Keep the one matrix that was given; returns the batch shape, broadcast with it."""
        if sum(m is not None for m in given) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril "
                "may be specified."
            )
        name, matrix = next(
            (n, m) for n, m in zip(self._matrices, given, strict=True) if m is not None
        )
        if matrix.dim() < 2:
            what = "scale_tril matrix" if name == "scale_tril" else name
            raise ValueError(
                f"{what} must be at least two-dimensional, with optional leading batch dimensions"
            )
        batch_shape = torch.broadcast_shapes(matrix.shape[:-2], batch_shape)
        setattr(self, name, matrix.expand(batch_shape + (-1, -1)))
        return batch_shape

    def _factor(self) -> None:
        """Compute the Cholesky factor, for matrices that have been checked."""
        if "scale_tril" in self.__dict__:
            self._unbroadcasted_scale_tril = self.__dict__["scale_tril"]
        elif "covariance_matrix" in self.__dict__:
            covariance = self.__dict__["covariance_matrix"]
            self._unbroadcasted_scale_tril = torch.linalg.cholesky(covariance)
        else:
            precision = self.__dict__["precision_matrix"]
            self._unbroadcasted_scale_tril = _precision_to_scale_tril(precision)

    def _expand_matrices(self, old: Any, batch_shape: Any) -> None:
        self._unbroadcasted_scale_tril = old._unbroadcasted_scale_tril
        for name in self._matrices:
            if name in old.__dict__:
                setattr(self, name, old.__dict__[name].expand(batch_shape + (-1, -1)))

    def _over_batch(self, matrix: Any) -> Any:
        n = matrix.shape[-1]
        return matrix.expand(self._batch_shape + (n, n))  # type: ignore[attr-defined]

    @lazy_property
    def scale_tril(self) -> Any:
        return self._over_batch(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Any:
        tril = self._unbroadcasted_scale_tril
        return self._over_batch(torch.matmul(tril, tril.mT))

    @lazy_property
    def precision_matrix(self) -> Any:
        return self._over_batch(torch.cholesky_inverse(self._unbroadcasted_scale_tril))


class MultivariateNormal(ScaleMatrix, Distribution):
    """Normal vectors; give `covariance_matrix`, `precision_matrix` or `scale_tril`."""

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Any,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        given = (covariance_matrix, precision_matrix, scale_tril)
        batch_shape = self._take_matrix(loc.shape[:-1], given)
        self.loc = loc.expand(batch_shape + (-1,))
        super().__init__(batch_shape, self.loc.shape[-1:], validate_args=validate_args)
        self._factor()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(MultivariateNormal, _instance)
        batch_shape = torch.Size(batch_shape)
        new.loc = self.loc.expand(batch_shape + self.event_shape)
        new._expand_matrices(self, batch_shape)
        super(MultivariateNormal, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        variance = self._unbroadcasted_scale_tril.pow(2).sum(-1)
        return variance.expand(self._batch_shape + self._event_shape)

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape = self._extended_shape(sample_shape)
        eps = _standard_normal(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + _batch_mv(self._unbroadcasted_scale_tril, eps)

    def _half_log_det(self) -> Any:
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        distance = _batch_mahalanobis(self._unbroadcasted_scale_tril, value - self.loc)
        constant = self._event_shape[0] * math.log(2 * math.pi)
        return -0.5 * (constant + distance) - self._half_log_det()

    def entropy(self) -> Any:
        entropy = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + self._half_log_det()
        return entropy.expand(self._batch_shape) if self._batch_shape else entropy
