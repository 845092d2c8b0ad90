"""Gamma, Dirichlet and binomial samples; the first two with their implicit derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.autograd.function import Function
from facula.ops.random import generator_of
from facula.ops.registry import only_torch
from facula.ops.without_values import like_first, shape_rule
from facula.random import draws, gradients
from facula.tensor import Tensor, adopt_array


def _result(like: Tensor, values: np.ndarray) -> Tensor:
    name = like.meta.dtype.name
    rounded = draws.round_to(np.asarray(values), name)
    return adopt_array(np.ascontiguousarray(rounded).reshape(like.meta.shape), like.meta.dtype)


@shape_rule(like_first)
def _gamma(alpha: Tensor, generator: Any) -> Tensor:
    array = np.ascontiguousarray(alpha._array())
    return _result(
        alpha, draws.standard_gamma(generator_of(generator), array, alpha.meta.dtype.name)
    )


class StandardGamma(Function):
    """Samples of Gamma(alpha, 1); they move with alpha at their quantile."""

    @staticmethod
    def forward(ctx: Any, alpha: Tensor, generator: Any) -> Tensor:
        x = _gamma(alpha, generator)
        ctx.save_for_backward(x, alpha)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, alpha = ctx.saved_tensors
        return grad * _standard_gamma_grad(alpha, x), None


@only_torch()
def _standard_gamma(self: Tensor, generator: Any = None) -> Tensor:
    """Samples of Gamma(self, 1)."""
    return StandardGamma.apply(self, generator)


@only_torch()
@shape_rule(like_first)
def _standard_gamma_grad(self: Tensor, output: Tensor) -> Tensor:
    """The derivative of gamma samples by their concentration."""
    return _result(self, gradients.standard_gamma_grad(self._values(), output._values()))


@only_torch()
@shape_rule(like_first)
def _sample_dirichlet(self: Tensor, generator: Any = None) -> Tensor:
    """Dirichlet samples over the last dimension (distributions.Dirichlet has the derivative)."""
    alpha = np.ascontiguousarray(self._array())
    return _result(self, draws.dirichlet(generator_of(generator), alpha, self.meta.dtype.name))


@only_torch()
@shape_rule(like_first)
def _dirichlet_grad(x: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
    """The derivative of a coordinate by its concentration, over 1 - x."""
    return _result(x, gradients.dirichlet_grad(x._values(), alpha._values(), total._values()))


def _binomial_shape(count: Tensor, prob: Tensor, *_: Any) -> tuple:
    return count.meta.dtype, np.broadcast_shapes(count.meta.shape, prob.meta.shape)


@only_torch()
@shape_rule(_binomial_shape)
def binomial(count: Tensor, prob: Tensor, generator: Any = None) -> Tensor:
    """How many of `count` tries of probability `prob` succeed."""
    shape = np.broadcast_shapes(count.meta.shape, prob.meta.shape)
    n, p = (np.ascontiguousarray(np.broadcast_to(x._array(), shape)) for x in (count, prob))
    got = draws.binomial(generator_of(generator), n, p, count.meta.dtype.name)
    return adopt_array(got.reshape(shape), count.meta.dtype)  # a scalar became a row
