"""Where gradients are added up, and what saved results see: figures from PyTorch 2.13 on CPU."""

from __future__ import annotations

import pytest

import facula as torch


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor(values, requires_grad=True)


def test_a_gradient_with_a_history_is_added_to_in_place():
    x = leaf(1.0, 2.0, 3.0)
    x.sum().backward()
    g = x.grad
    g.sub_(x.clone() * 2)
    (x * 3).sum().backward()
    assert x.grad is g
    assert g.tolist() == [2.0, 0.0, -2.0]
    assert type(g.grad_fn).__name__ == "SubBackward0"


def test_a_graph_of_the_gradient_makes_a_new_gradient():
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    g = x.grad
    (x * x).sum().backward(create_graph=True)
    assert g.tolist() == [2.0, 4.0]
    assert x.grad.tolist() == [4.0, 8.0]


def test_inputs_of_backward_are_added_to_in_place_without_history():
    x = leaf(1.0, 2.0)
    (x * x).sum().backward(inputs=[x])
    x.grad.mul_(x * 1)
    g = x.grad
    (x * x).sum().backward(inputs=[x])
    assert x.grad is g
    assert g.tolist() == [4.0, 12.0]
    assert type(g.grad_fn).__name__ == "MulBackward0"


def test_a_kept_gradient_of_a_result_is_replaced_not_written():
    y = leaf(1.0, 2.0) * 2
    y.retain_grad()
    z = (y * y).sum()
    z.backward(retain_graph=True)
    first = y.grad
    z.backward()
    assert first.tolist() == [4.0, 8.0]
    assert y.grad.tolist() == [8.0, 16.0]


def test_a_result_as_input_of_backward_keeps_its_gradient_from_then_on():
    x = leaf(1.0, 2.0)
    y = x * 2
    z = y * 3
    z.sum().backward(inputs=[y, x], retain_graph=True)
    assert y.retains_grad
    assert (y.grad.tolist(), x.grad.tolist()) == ([3.0, 3.0], [6.0, 6.0])
    z.sum().backward(inputs=[y])
    assert (y.grad.tolist(), x.grad.tolist()) == ([6.0, 6.0], [6.0, 6.0])


@pytest.mark.parametrize("part", [3, 2], ids=["whole", "view"])
@pytest.mark.parametrize("how", ["array", "data"])
def test_a_saved_result_is_the_memory_it_was_written_to(part: int, how: str):
    x = leaf(1.0, 2.0, 3.0)
    y = x * 1
    seen = y.detach().numpy() if how == "array" else y.data
    y[:part].tanh_()
    if how == "array":
        seen[...] = 3
    else:
        seen.fill_(3)
    y.sum().backward()
    assert x.grad.tolist() == [-8.0, -8.0, -8.0 if part == 3 else 1.0]  # 1 - 3 * 3
