"""torch.distributions on facula's tensors.

Expected figures are PyTorch 2.13's for the same calls.
"""

import itertools
import math

import pytest

torch = pytest.importorskip("facula")
if not hasattr(torch, "logsumexp"):  # the tensor API is another room's
    pytest.skip("needs facula's tensor API", allow_module_level=True)

from facula import distributions as dist  # noqa: E402
from facula.distributions import constraints, transforms  # noqa: E402


def figure(x):
    return x.tolist()


t = torch.tensor

LOG_PROBS = {
    "Normal": (lambda: dist.Normal(0.5, 2.0), 1.0, -1.6433358),
    "Bernoulli": (lambda: dist.Bernoulli(0.3), 1.0, -1.2039728),
    "Beta": (lambda: dist.Beta(2.0, 3.0), 0.4, 0.5469649),
    "Binomial": (lambda: dist.Binomial(5, t(0.3)), 2.0, -1.1753855),
    "Categorical": (lambda: dist.Categorical(t([1.0, 3.0])), 1, -0.2876821),
    "Cauchy": (lambda: dist.Cauchy(0.0, 1.0), 1.0, -1.8378770),
    "Chi2": (lambda: dist.Chi2(3.0), 2.0, -1.5723649),
    "ContinuousBernoulli": (lambda: dist.ContinuousBernoulli(0.3), 0.4, 0.0549937),
    "Exponential": (lambda: dist.Exponential(2.0), 1.0, -1.3068528),
    "FisherSnedecor": (lambda: dist.FisherSnedecor(3.0, 4.0), 1.5, -1.5452359),
    "Gamma": (lambda: dist.Gamma(2.0, 3.0), 1.0, -0.8027754),
    "GeneralizedPareto": (lambda: dist.GeneralizedPareto(0.0, 1.0, 0.1), 1.0, -1.0484120),
    "Geometric": (lambda: dist.Geometric(0.3), 2.0, -1.9173227),
    "Gumbel": (lambda: dist.Gumbel(0.0, 1.0), 1.0, -1.3678794),
    "HalfCauchy": (lambda: dist.HalfCauchy(1.0), 1.0, -1.1447299),
    "HalfNormal": (lambda: dist.HalfNormal(1.0), 1.0, -0.7257913),
    "InverseGamma": (lambda: dist.InverseGamma(2.0, 3.0), 1.0, -0.8027754),
    "Kumaraswamy": (lambda: dist.Kumaraswamy(2.0, 3.0), 0.4, 0.5267619),
    "Laplace": (lambda: dist.Laplace(0.0, 1.0), 1.0, -1.6931472),
    "LogNormal": (lambda: dist.LogNormal(0.0, 1.0), 1.0, -0.9189385),
    "NegativeBinomial": (lambda: dist.NegativeBinomial(3.0, t(0.5)), 2.0, -1.6739764),
    "Pareto": (lambda: dist.Pareto(1.0, 2.0), 2.0, -1.3862944),
    "Poisson": (lambda: dist.Poisson(2.0), 3.0, -1.7123180),
    "RelaxedBernoulli": (lambda: dist.RelaxedBernoulli(t(0.5), t(0.3)), 0.4, -0.7544415),
    "StudentT": (lambda: dist.StudentT(3.0), 1.0, -1.5762533),
    "Uniform": (lambda: dist.Uniform(-1.0, 2.0), 1.0, -1.0986123),
    "VonMises": (lambda: dist.VonMises(t(0.0), t(1.0)), 1.0, -1.5334892),
    "Weibull": (lambda: dist.Weibull(1.0, 2.0), 1.0, -0.3068528),
}


@pytest.mark.parametrize("name", LOG_PROBS)
def test_log_prob(name):
    make, value, expected = LOG_PROBS[name]
    assert float(make().log_prob(t(value))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", LOG_PROBS)
def test_shapes_and_support(name):
    d = LOG_PROBS[name][0]().expand((3,))
    x = d.sample((4, 2))
    assert tuple(x.shape) == (4, 2, 3) == tuple(d.log_prob(x).shape)
    assert bool(d.support.check(x).all())


def test_moments_and_entropy():
    assert float(dist.Normal(0.0, 1.0).entropy()) == pytest.approx(1.4189385)
    assert float(dist.Beta(1.0, 2.0).variance) == pytest.approx(1 / 18)
    assert float(dist.Gamma(1.0, 2.0).entropy()) == pytest.approx(0.3068528)
    assert math.isnan(float(dist.StudentT(1.0).mean))
    assert float(dist.Poisson(2.0).mode) == 2.0


def test_vectors():
    covariance = t([[2.0, 0.5], [0.5, 1.0]])
    d = dist.MultivariateNormal(torch.zeros(2), covariance)
    assert float(d.log_prob(t([1.0, -1.0]))) == pytest.approx(-3.2605417, rel=1e-5)
    precision = dist.MultivariateNormal(torch.zeros(2), precision_matrix=torch.inverse(covariance))
    assert float(dist.kl_divergence(d, precision)) == pytest.approx(0.0, abs=1e-5)
    low = dist.LowRankMultivariateNormal(torch.zeros(2), torch.ones(2, 1), torch.ones(2))
    full = dist.MultivariateNormal(torch.zeros(2), low.covariance_matrix)
    assert float(low.entropy()) == pytest.approx(float(full.entropy()), rel=1e-5)
    assert float(dist.kl_divergence(low, full)) == pytest.approx(0.0, abs=1e-5)


KL = {
    "Normal, Normal": (lambda: (dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)), 0.4431472),
    "Gamma, Gamma": (lambda: (dist.Gamma(2.0, 1.0), dist.Gamma(3.0, 2.0)), 0.1909190),
    "Uniform, Gumbel": (lambda: (dist.Uniform(0.0, 1.0), dist.Gumbel(0.0, 1.0)), 1.1321206),
    "Beta, Pareto": (lambda: (dist.Beta(1.0, 2.0), dist.Pareto(1.0, 2.0)), math.inf),
    "Chi2, Chi2": (lambda: (dist.Chi2(2.0), dist.Chi2(3.0)), 0.1678257),
}


@pytest.mark.parametrize("name", KL)
def test_kl(name):
    make, expected = KL[name]
    assert float(dist.kl_divergence(*make())) == pytest.approx(expected, rel=1e-4)


def test_kl_dispatch():
    with pytest.raises(NotImplementedError, match="No KL"):
        dist.kl_divergence(dist.Normal(0.0, 1.0), dist.Categorical(torch.ones(2)))

    class Mine(dist.Normal):
        pass

    @dist.register_kl(Mine, dist.Normal)
    def _kl(p, q):
        return t(7.0)

    assert float(dist.kl_divergence(Mine(0.0, 1.0), dist.Normal(0.0, 1.0))) == 7.0


ERRORS = {
    "to satisfy the constraint GreaterThan": lambda: dist.Normal(0.0, -1.0),
    "must be specified, but not both": lambda: dist.Bernoulli(),
    "to be within the support": lambda: dist.Bernoulli(0.3).log_prob(t(0.5)),
    "not broadcastable": lambda: dist.Normal(torch.zeros(2), 1.0).log_prob(torch.zeros(3)),
    "at least one-dimensional": lambda: dist.Categorical(t(0.3)),
    "must be a Tensor": lambda: dist.Normal(0.0, 1.0).log_prob(1.0),
    "Exactly one of covariance_matrix": lambda: dist.MultivariateNormal(torch.zeros(2)),
    "reinterpreted_batch_ndims": lambda: dist.Independent(dist.Normal(0.0, 1.0), 1),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message]()


def test_repr():
    assert repr(dist.Normal(0.0, 1.0)) == "Normal(loc: 0.0, scale: 1.0)"
    assert repr(dist.Independent(dist.Normal(torch.zeros(3), 1.0), 1)) == (
        "Independent(Normal(loc: torch.Size([3]), scale: torch.Size([3])), 1)"
    )
    assert repr(constraints.interval(0, 2)) == "Interval(lower_bound=0, upper_bound=2)"
    assert repr(transforms.ExpTransform().inv) == "_InverseTransform(ExpTransform())"


TRANSFORMS = [
    transforms.ExpTransform(),
    transforms.SigmoidTransform(),
    transforms.TanhTransform(),
    transforms.SoftplusTransform(),
    transforms.AffineTransform(1.0, -2.0),
    transforms.ComposeTransform([transforms.AffineTransform(1.0, 2.0), transforms.ExpTransform()]),
    transforms.StickBreakingTransform(),
    transforms.CorrCholeskyTransform(),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_transforms_invert(transform):
    x = t([[-0.7, 0.2, 1.1]])
    y = transform(x)
    assert bool(transform.codomain.check(y).all())
    assert list(itertools.chain(*figure(transform.inv(y)))) == pytest.approx(figure(x)[0], abs=1e-5)
    forward = transform.log_abs_det_jacobian(x, y)
    backward = transform.inv.log_abs_det_jacobian(y, x)
    assert bool(torch.allclose(forward, -backward))
    assert tuple(transform.forward_shape(x.shape)) == tuple(y.shape)


@pytest.mark.parametrize("name", ["positive", "unit_interval", "simplex", "corr_cholesky", "real"])
def test_registries(name):
    region = getattr(constraints, name)
    x = t([[-0.7, 0.2, 1.1]])
    for registry in (dist.biject_to, dist.transform_to):
        assert bool(region.check(registry(region)(x)).all())


def test_gradients_flow_through_samples():
    loc = torch.zeros(3, requires_grad=True)
    scale = torch.ones(3, requires_grad=True)
    x = dist.Normal(loc, scale).rsample((5,))
    x.sum().backward()
    assert figure(loc.grad) == [5.0, 5.0, 5.0]
    assert figure(scale.grad) == pytest.approx(figure(x.detach().sum(0)), rel=1e-5)
