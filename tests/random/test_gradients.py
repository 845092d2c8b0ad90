"""Reparameterisation gradients against exact ones."""

import numpy as np
import pytest

from facula.random.gradients import dirichlet_grad, standard_gamma_grad


def test_gamma_of_shape_1():
    # -(dP/da) / p from mpmath with 40 digits
    x = np.array([0.01, 0.5, 1.0, 3.0, 10.0])
    expected = [
        0.05055692236986734,
        0.806979116825318,
        1.1735630272247268,
        1.937911693824961,
        2.9713640918353668,
    ]
    assert standard_gamma_grad(np.ones(5), x) == pytest.approx(expected, rel=1e-12)


def test_gamma_where_the_branches_meet():
    for a in (0.3, 2.0, 50.0, 3e4):
        x = a + 1 + np.array([-1e-9, 1e-9])
        left, right = standard_gamma_grad(np.full(2, a), x)
        assert left == pytest.approx(right, rel=1e-6)
    below, above = standard_gamma_grad(np.array([0.99999e5, 1.00001e5]), np.full(2, 1.002e5))
    assert below == pytest.approx(above, rel=1e-4)


def test_beta_with_one_parameter_1():
    # Beta(a, 1): F = x^a, so dx/da = -x log(x) / a
    x, a = np.array([0.05, 0.4, 0.9]), np.array([0.5, 2.0, 7.0])
    expected = -x * np.log(x) / a / (1 - x)
    assert dirichlet_grad(x, a, a + 1) == pytest.approx(expected)


def test_beta_branches_agree_and_edges_are_zero():
    a, b = 3.0, 5.0
    x = (a + 1) / (a + b + 2) + np.array([-1e-10, 1e-10])
    left, right = dirichlet_grad(x, np.full(2, a), np.full(2, a + b))
    assert left == pytest.approx(right, rel=1e-6)
    assert (dirichlet_grad(np.array([0.0, 1.0]), np.ones(2), np.full(2, 3.0)) == 0).all()
