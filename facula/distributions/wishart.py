from __future__ import annotations

import math
import warnings
from numbers import Number
from typing import Any

import facula as torch
from facula.distributions import constraints
from facula.distributions.chi2 import Chi2
from facula.distributions.exp_family import ExponentialFamily
from facula.distributions.multivariate_normal import ScaleMatrix

__all__ = ["Wishart"]

nan = float("nan")


def _mvdigamma(x: Any, p: int) -> Any:
    """The derivative of the multivariate log gamma function."""
    if not x.gt((p - 1) / 2).all():
        raise AssertionError("Wrong domain for multivariate digamma function.")
    steps = torch.arange(p, dtype=x.dtype, device=x.device).div(2)
    return torch.digamma(x.unsqueeze(-1) - steps.expand(x.shape + (-1,))).sum(-1)


def _clamp_above_eps(x: Any) -> Any:
    """At least one rounding unit, so that the root of a chi-square sample is not zero."""
    return x.clamp(min=torch.finfo(x.dtype).eps)


class Wishart(ScaleMatrix, ExponentialFamily):
    """Sums of outer products of `df` normal vectors of the given scale matrix."""

    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(
        self,
        df: Any,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        given = (covariance_matrix, precision_matrix, scale_tril)
        if sum(m is not None for m in given) != 1:
            raise AssertionError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril "
                "may be specified."
            )
        matrix = next(m for m in given if m is not None)
        if matrix.dim() < 2:
            raise ValueError(
                "scale_tril must be at least two-dimensional, with optional leading batch "
                "dimensions"
            )
        if isinstance(df, Number):
            df = torch.tensor(df, dtype=matrix.dtype, device=matrix.device)
            batch_shape = torch.Size(matrix.shape[:-2])
        else:
            batch_shape = torch.broadcast_shapes(matrix.shape[:-2], df.shape)
        event_shape = matrix.shape[-2:]
        self.df = df.expand(batch_shape)
        if self.df.le(event_shape[-1] - 1).any():
            raise ValueError(
                f"Value of df={df} expected to be greater than ndim - 1 = {event_shape[-1] - 1}."
            )
        self._take_matrix(batch_shape, given)
        self._event_shape = event_shape  # the constraint of df needs it
        if self.df.lt(event_shape[-1]).any():
            warnings.warn(
                "Low df values detected. Singular samples are highly likely to occur for "
                "ndim - 1 < df < ndim.",
                stacklevel=2,
            )
        super().__init__(batch_shape, event_shape, validate_args=validate_args)
        self._batch_dims = [-(x + 1) for x in range(len(self._batch_shape))]
        self._factor()
        self._dist_chi2 = self._chi_squares()

    def _chi_squares(self) -> Chi2:
        """The squares on the diagonal of Bartlett's factor."""
        n = self._event_shape[-1]
        steps = torch.arange(
            n,
            dtype=self._unbroadcasted_scale_tril.dtype,
            device=self._unbroadcasted_scale_tril.device,
        )
        return Chi2(df=self.df.unsqueeze(-1) - steps.expand(self._batch_shape + (-1,)))

    @property
    def arg_constraints(self) -> Any:
        return {
            "covariance_matrix": constraints.positive_definite,
            "precision_matrix": constraints.positive_definite,
            "scale_tril": constraints.lower_cholesky,
            "df": constraints.greater_than(self.event_shape[-1] - 1),
        }

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(Wishart, _instance)
        batch_shape = torch.Size(batch_shape)
        new.df = self.df.expand(batch_shape)
        new._expand_matrices(self, batch_shape)
        new._batch_dims = [-(x + 1) for x in range(len(batch_shape))]
        super(Wishart, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._dist_chi2 = new._chi_squares()
        new._validate_args = self._validate_args
        return new

    def _over_matrix(self, x: Any) -> Any:
        return x.view(self._batch_shape + (1, 1))

    @property
    def mean(self) -> Any:
        return self._over_matrix(self.df) * self.covariance_matrix

    @property
    def mode(self) -> Any:
        factor = self.df - self.covariance_matrix.shape[-1] - 1
        factor[factor <= 0] = nan
        return self._over_matrix(factor) * self.covariance_matrix

    @property
    def variance(self) -> Any:
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        outer = torch.einsum("...i,...j->...ij", diagonal, diagonal)
        return self._over_matrix(self.df) * (v.pow(2) + outer)

    def _bartlett_sampling(self, sample_shape: Any = ()) -> Any:
        n = self._event_shape[-1]
        squares = _clamp_above_eps(self._dist_chi2.rsample(sample_shape))
        noise = squares.sqrt().diag_embed(dim1=-2, dim2=-1)
        rows, columns = torch.tril_indices(n, n, offset=-1)
        noise[..., rows, columns] = torch.randn(
            torch.Size(sample_shape) + self._batch_shape + (n * (n - 1) // 2,),
            dtype=noise.dtype,
            device=noise.device,
        )
        chol = self._unbroadcasted_scale_tril @ noise
        return chol @ chol.transpose(-2, -1)

    def rsample(self, sample_shape: Any = (), max_try_correction: int | None = None) -> Any:
        """Bartlett's decomposition; samples that come out singular are drawn again.

        PyTorch redraws first what was *not* singular (its check is the wrong way round), so every
        sample is its second draw. The numbers of a seed are part of the promise, hence here too.
        """
        if max_try_correction is None:
            max_try_correction = 10
        sample = self._bartlett_sampling(torch.Size(sample_shape))
        redraw = self._regular(sample)
        for _ in range(max_try_correction):
            if not redraw.any():
                break
            again = self._bartlett_sampling(redraw[redraw].shape)
            sample = sample.clone()
            sample[redraw] = again
            redraw = ~self._regular(sample)
        return sample

    def _regular(self, sample: Any) -> Any:
        """For each place of the sample shape: are all matrices of the batch positive definite?"""
        regular = self.support.check(sample)
        return regular.all(self._batch_dims) if self._batch_dims else regular

    def _log_det_tril(self) -> Any:
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        nu, p = self.df, self._event_shape[-1]
        trace = (
            torch.cholesky_solve(value, self._unbroadcasted_scale_tril)
            .diagonal(dim1=-2, dim2=-1)
            .sum(dim=-1)
        )
        return (
            -nu * (p * math.log(2) / 2 + self._log_det_tril())
            - torch.mvlgamma(nu / 2, p=p)
            + (nu - p - 1) / 2 * torch.linalg.slogdet(value).logabsdet
            - trace / 2
        )

    def entropy(self) -> Any:
        nu, p = self.df, self._event_shape[-1]
        return (
            (p + 1) * (p * math.log(2) / 2 + self._log_det_tril())
            + torch.mvlgamma(nu / 2, p=p)
            - (nu - p - 1) / 2 * _mvdigamma(nu / 2, p=p)
            + nu * p / 2
        )

    @property
    def _natural_params(self) -> tuple[Any, Any]:
        nu, p = self.df, self._event_shape[-1]
        return -self.precision_matrix / 2, (nu - p - 1) / 2

    def _log_normalizer(self, x: Any, y: Any) -> Any:
        p = self._event_shape[-1]
        half = y + (p + 1) / 2
        log_det = torch.linalg.slogdet(-2 * x).logabsdet
        return half * (-log_det + math.log(2) * p) + torch.mvlgamma(half, p=p)
