"""Values that depend on more operands than one kernel may read."""

import facula as torch


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
