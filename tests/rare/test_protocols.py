"""Python's protocols of tensors, and what assert_close says; figures are PyTorch 2.13's."""

from __future__ import annotations

import copy

import pytest

import facula as torch


def test_copies_of_views_share_memory_as_the_views_did():
    x = torch.arange(6.0).reshape(2, 3)
    a, row, turned = copy.deepcopy([x, x[1], x.t()])
    a[1, 0] = 9
    assert row.tolist() == [9, 4, 5] and turned[0, 1].item() == 9
    assert x[1, 0].item() == 3 and turned.stride() == (1, 3)


def test_default_dtype_refuses():
    with pytest.raises(TypeError, match=r"^only floating-point types"):
        torch.set_default_dtype(torch.int32)
    with pytest.raises(TypeError, match="invalid dtype object"):
        torch.set_default_dtype("x")


@pytest.mark.parametrize(
    "actual, expected, text",
    [
        (
            1.0,
            1.1,
            "Expected 1.1 but got 1.0.\nAbsolute difference: 0.10000000000000009 (up to 1e-07",
        ),
        (
            1,
            2,
            "Scalars are not equal!\n\nExpected 2 but got 1.\nAbsolute difference: 1\nRelative difference: 0.5",
        ),
        (True, False, "Booleans mismatch: True is not False"),
        (torch.tensor([7]), torch.tensor([0]), "Greatest absolute difference: 7 at index (0,)"),
        (
            torch.tensor([1.0, 2.0]),
            torch.tensor([1.0, 2.1]),
            "Greatest relative difference: 0.04761900380253792 at index (1,)",
        ),
    ],
)
def test_assert_close_says_what_pytorch_says(actual, expected, text):
    with pytest.raises(AssertionError) as caught:
        torch.testing.assert_close(actual, expected)
    assert text in str(caught.value)


def test_subclasses_see_operators_by_their_names():
    seen = []

    class Watched(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            seen.append(func.__name__)
            return super().__torch_function__(func, types, args, kwargs or {})

    y = torch.ones(2).as_subclass(Watched)
    assert type(1 - (y + 1)) is Watched
    assert seen[:2] == ["add", "__rsub__"]
