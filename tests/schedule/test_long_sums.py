"""Values that depend on more operands than one kernel may read."""

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
