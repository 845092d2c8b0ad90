"""What tutorials do with NumPy's numbers, copies of parameters and names of functions."""

import copy

import numpy as np
import pytest

import facula as torch

CASES = [
    ([np.float64(1.5), 2], torch.float64),
    ([np.float32(1), 2], torch.float32),
    ([np.int32(1)], torch.int32),
    ([np.int32(1), 2], torch.int64),
    ([np.float16(1), np.float32(2)], torch.float32),
    ([np.complex64(1j), 1], torch.complex64),
    ([[np.uint8(3)], [np.uint8(4)]], torch.uint8),
    ([np.array([1.5]), np.array([2.0])], torch.float64),
    ([np.array([1, 2], np.int32), np.array([3, 4], np.int32)], torch.int32),
    ([torch.tensor(1.0, dtype=torch.float64), 2], torch.float64),
    ([torch.tensor(1.0, dtype=torch.float16)], torch.float16),
    ([torch.tensor(1), torch.tensor(2.0)], torch.float32),
]


@pytest.mark.parametrize("data, dtype", CASES)
def test_elements_with_a_dtype_keep_it(data, dtype):
    x = torch.tensor(data)
    assert x.dtype is dtype
    assert torch.as_tensor(data).dtype is dtype
    assert complex(x.reshape(-1)[0].item()) == complex(np.asarray(data[0]).reshape(-1)[0])


def test_a_copied_parameter_is_one():
    p = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    twin = copy.copy(p)
    assert type(twin) is torch.nn.Parameter
    assert twin is not p
    assert twin.data_ptr() == p.data_ptr()
    assert not twin.requires_grad


def test_methods_have_their_names():
    for name in ("relu", "exp_", "add_", "mul_"):
        assert getattr(torch.Tensor, name).__name__ == name


def test_binomial_of_scalars_is_a_scalar():
    drawn = torch.distributions.Binomial(10, torch.tensor(0.3))
    assert drawn.sample().shape == ()
    assert drawn.log_prob(drawn.sample()).shape == ()


def test_parts_of_sparse_tensors_are_as_wide_as_there_is_room():
    i = torch.arange(64).reshape(2, 32)
    text = str(torch.sparse_coo_tensor(i, torch.arange(32.0), (64, 64)))
    first, second = text.splitlines()[:2]
    assert (
        first == "tensor(indices=tensor([[ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13,"
    )
    assert second == " " * 24 + "14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,"
