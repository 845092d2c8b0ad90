"""Reversed copies: flip, rot90, reflected borders."""

import numpy as np
import pytest

import facula as torch

DTYPES = ["float32", "float64", "float16", "bool", "int8", "int64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5,), (7, 9), (3, 4, 67), (2, 1, 130)])
def test_flip(shape: tuple[int, ...], dtype: str) -> None:
    x = (np.arange(np.prod(shape)).reshape(shape) * 7 % 101 > 50).astype(dtype)
    x = x if dtype == "bool" else (np.arange(x.size).reshape(shape) * 7 % 101).astype(dtype)
    for axes in ((0,), (len(shape) - 1,), tuple(range(len(shape)))):
        np.testing.assert_array_equal(torch.tensor(x).flip(axes).numpy(), np.flip(x, axes))


@pytest.mark.parametrize("pads", [(2, 1), (0, 3), (4, 0)])
@pytest.mark.parametrize("rows", [(0, 0), (1, 2)])
def test_reflected_borders(pads: tuple[int, int], rows: tuple[int, int]) -> None:
    x = np.arange(2 * 6 * 37, dtype=np.float32).reshape(2, 6, 37)
    t = torch.tensor(x, requires_grad=True)
    got = torch.nn.functional.pad(t, (*pads, *rows), "reflect")
    want = np.pad(x, ((0, 0), rows, pads), "reflect")
    np.testing.assert_array_equal(got.detach().numpy(), want)
    got.sum().backward()
    # of each element, how often it stands in the result
    count = np.bincount(want.astype(int).reshape(-1), minlength=x.size).reshape(x.shape)
    np.testing.assert_array_equal(t.grad.numpy(), count)


def test_a_reversed_operand_is_fused_with_the_rest() -> None:
    x = torch.arange(77.0)
    assert (x.flip(0) * 2 + x).tolist() == [2 * (76 - i) + i for i in range(77)]
    assert x.flip(0).cumsum(0)[:3].tolist() == [76.0, 151.0, 225.0]
