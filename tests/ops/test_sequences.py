"""Tensors in sequences that `torch.tensor` makes a tensor of: each counts as one number."""

import numpy as np
import pytest

import facula as torch

# as PyTorch 2.13 shows them
SHOWN = [
    ([torch.ones(1), torch.ones(1)], "tensor([1., 1.])"),
    ([torch.ones(1, 1), 2], "tensor([1., 2.])"),
    ([torch.tensor(1), 2.5], "tensor([1.0000, 2.5000])"),
    ([[torch.ones(1)], [torch.tensor(3)]], "tensor([[1.],\n        [3.]])"),
    ([[1, 2], torch.ones(2)], "tensor([[1., 2.],\n        [1., 1.]])"),
    ([np.ones(2), np.zeros(2)], "tensor([[1., 1.],\n        [0., 0.]], dtype=torch.float64)"),
]


@pytest.mark.parametrize("make", [torch.tensor, torch.as_tensor])
@pytest.mark.parametrize(("data", "shown"), SHOWN)
def test_sequences_with_tensors(make, data, shown):
    assert repr(make(data)) == shown
