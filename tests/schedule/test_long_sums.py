"""Values that depend on more operands than one kernel may read."""

import numpy as np

import facula as torch
from tests.acceptance.kernels import watched


def test_a_sum_of_many_tensors():
    parts = [torch.tensor([i, i + 1.0, i + 2.0]) for i in range(100)]  # each in its own memory
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert total.tolist() == [4950.0, 5050.0, 5150.0]


def test_gradients_of_every_step_of_a_sequence():
    x = torch.ones(60, 2, 3, requires_grad=True)
    state = torch.zeros(2, 3)
    for row in x.unbind(0):
        state = torch.tanh(state * 0.5 + row)
    state.sum().backward()
    assert x.grad.shape == (60, 2, 3)
    assert (x.grad[1:] >= x.grad[:-1]).all() and x.grad[-1].min() > 0


def test_gradients_of_queries_keys_and_values_are_joined():
    """Three slices that are the whole are written side by side, not padded and added."""
    x = torch.arange(24.0).reshape(2, 12).requires_grad_()
    q, k, v = (z.view(2, 2, 2).transpose(0, 1) for z in x.split(4, dim=1))
    with watched() as ran:
        (q * 2 + k * k - v).sum().backward()
    used = {v.op for builder in ran.builders for v in builder.fusion.order}
    assert "cat" in used and "pad" not in used
    rows = [[2.0] * 4 + [2.0 * e for e in range(s, s + 4)] + [-1.0] * 4 for s in (4, 16)]
    assert x.grad.tolist() == rows


def test_a_mean_of_stages_is_kept_and_not_what_it_is_taken_from():
    x = torch.rand(8, 65536)
    x.numpy()
    plan = torch.explain(x.var())
    assert plan.temporaries < x.numel()  # and not a copy of x less its mean
    np.testing.assert_allclose(x.var().item(), x.numpy().astype("f8").var(ddof=1), rtol=1e-5)


def test_distances_of_all_pairs_keep_no_differences():
    x = torch.rand(60, 40, requires_grad=True)
    y = torch.nn.functional.pdist(x)
    a = x.detach().numpy().astype("f8")
    upper = np.triu_indices(60, 1)
    gap = a[upper[0]] - a[upper[1]]
    np.testing.assert_allclose(y.detach().numpy(), np.sqrt((gap * gap).sum(1)), rtol=1e-5)
    (got,) = torch.autograd.grad(y, x, torch.ones(1770))
    assert torch.explain(got).temporaries < 60 * 60 * 40
    want, slope = np.zeros_like(a), gap / np.sqrt((gap * gap).sum(1))[:, None]
    np.add.at(want, upper[0], slope)
    np.add.at(want, upper[1], -slope)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-4, atol=1e-4)
