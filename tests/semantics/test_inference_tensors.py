"""Tensors made in inference mode: what PyTorch 2.13 allows with them outside, and what it refuses."""

import threading

import pytest

import facula as torch


@pytest.fixture
def made():
    with torch.inference_mode():
        return torch.ones(3)


def test_which_tensors_are_inference_tensors(made):
    weight, plain = torch.ones(3, requires_grad=True), torch.ones(3)
    with torch.inference_mode():
        product = weight * 2
        assert product.is_inference() and not product.requires_grad
        assert not weight[:2].is_inference() and not plain.view(3).is_inference()
        assert not plain.add_(1).is_inference()
        with torch.enable_grad():
            assert not (weight * 2).requires_grad
        with torch.inference_mode(False):
            assert not torch.ones(2).is_inference()
            assert (weight * 2).requires_grad
    assert made[1:].is_inference() and made.detach().is_inference()
    assert not made.clone().is_inference() and not (made + 1).is_inference()
    assert (made + weight).requires_grad


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.add_(1),
        lambda x: x.zero_(),
        lambda x: x.__setitem__(0, 2.0),
        lambda x: torch.add(torch.ones(3), 1, out=x),
        lambda x: torch.no_grad()(x.mul_)(2),
    ],
)
def test_writing_one_outside_is_refused(made, write):
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
        write(made)
    assert made.tolist() == [1, 1, 1]
    with torch.inference_mode():
        assert made.add_(1).tolist() == [2, 2, 2]


def test_one_cannot_take_part_in_a_backward_pass(made):
    weight = torch.ones(3, requires_grad=True)
    for product in (lambda: made * weight, lambda: torch.nn.functional.linear(made, weight[None])):
        with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
            product()
    with pytest.raises(RuntimeError, match="requires_grad=True on inference tensor"):
        made.requires_grad_()
    with pytest.raises(RuntimeError, match="do not track version counter"):
        _ = made._version
    (made.clone() * weight).sum().backward()
    assert weight.grad.tolist() == [1, 1, 1]


def test_the_mode_is_the_threads_own():
    found = []
    with torch.inference_mode():
        other = threading.Thread(target=lambda: found.append(torch.ones(2).is_inference()))
        other.start()
        other.join()
    assert found == [False]


def test_inference_goes_on_after_an_evaluation():
    """A loop that looks at values and writes what it made, as those that generate text."""
    with torch.inference_mode():
        torch.ones(2).sum().item()
        x = torch.zeros(2, 3)
        assert x.is_inference()
        for k in range(3):
            x[:, k] = float((x + k).sum())
        assert x.tolist() == [[0, 6, 24]] * 2
    assert not torch.zeros(2).is_inference()
