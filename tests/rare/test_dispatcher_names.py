"""Functions that only dispatcher users call. Expected figures: PyTorch 2.13, CPU."""

from __future__ import annotations

import pytest

import facula as torch

aten = torch.ops.aten


def close(got: torch.Tensor, want: object) -> None:
    torch.testing.assert_close(got, torch.tensor(want), equal_nan=True)


@pytest.mark.parametrize(
    "reduce, initial, want, grad",
    [
        ("sum", None, [0.0, 0, 3, 7], [2.0, 3, 3, 4, 4]),
        ("mean", 2, [2.0, 2, 2.5, 4.5], [2.0, 1.5, 1.5, 2, 2]),
        ("max", None, [float("-inf"), 0, 2, 4], [2.0, 0, 3, 0, 4]),
        ("min", None, [float("inf"), 0, 1, 3], [2.0, 3, 0, 4, 0]),
        ("prod", None, [1.0, 0, 2, 12], [2.0, 6, 3, 16, 12]),
    ],
)
def test_segment_reduce(reduce, initial, want, grad):
    data = torch.arange(5.0, requires_grad=True)
    for at in ({"lengths": torch.tensor([0, 1, 2, 2])}, {"offsets": torch.tensor([0, 0, 1, 3, 5])}):
        got = torch.segment_reduce(data, reduce, initial=initial, **at)
        close(got, want)
        close(torch.autograd.grad(got, data, torch.tensor([1.0, 2, 3, 4]))[0], grad)


def test_segment_reduce_products_with_zeros_and_nan():
    data = torch.tensor([0.0, 3, 0, 2, 5], requires_grad=True)
    got = torch.segment_reduce(data, "prod", lengths=torch.tensor([2, 1, 2]), initial=3)
    close(torch.autograd.grad(got, data, torch.tensor([1.0, 2, 3]))[0], [9.0, 0, 6, 45, 18])
    nan = float("nan")
    data = torch.tensor([1.0, 1, 0, nan, 2], requires_grad=True)
    for reduce, grad in (("prod", [1.0, 1, nan, 0, nan]), ("max", [0.5, 0.5, 0, 2, 0])):
        got = torch.segment_reduce(data, reduce, lengths=torch.tensor([2, 3]))
        close(torch.autograd.grad(got, data, torch.tensor([1.0, 2]))[0], grad)


def test_segment_reduce_refuses():
    data, lengths = torch.arange(5.0), torch.tensor([3])
    with pytest.raises(RuntimeError, match="Either lengths or offsets"):
        torch.segment_reduce(data, "sum")
    with pytest.raises(RuntimeError, match="Expected all rows of lengths"):
        torch.segment_reduce(data, "sum", lengths=lengths)
    with pytest.raises(RuntimeError, match="last dimension of lengths"):
        torch.segment_reduce(torch.ones(2, 5), "sum", lengths=lengths, axis=1)
    close(torch.segment_reduce(data, "sum", lengths=lengths, unsafe=True), [3.0])


def test_chunk_cat():
    parts = [torch.arange(6.0).reshape(3, 2), torch.arange(10.0).reshape(5, 2)]
    want = [[0.0, 1, 2, 3, 0, 1, 2, 3, 4, 5], [4, 5, 0, 0, 6, 7, 8, 9, 0, 0]]
    close(torch._chunk_cat(parts, 0, 2), want)
    with pytest.raises(RuntimeError, match="positive num_chunks"):
        torch._chunk_cat(parts, 0, 0)


def test_masked_picks_keep_out_of_bounds_indices_out():
    x, i = torch.arange(12.0).reshape(3, 4), torch.tensor([0, 7, 2])
    mask = torch.tensor([True, False, True])
    columns = torch.tensor([3, 9, -1])
    close(torch._unsafe_masked_index(x, mask, [i, columns], -5.0), [3.0, -5, 11])
    got = torch._unsafe_masked_index_put_accumulate(x, mask[:, None], [i], torch.ones(3, 4))
    close(got, [[1.0, 2, 3, 4], [4, 5, 6, 7], [9, 10, 11, 12]])
    assert torch._unsafe_masked_index(torch.ones(0, 3), mask[:, None], [i], 1.0).shape == (3, 3)


def test_aten_names():
    x = torch.arange(16.0).reshape(1, 1, 4, 4).requires_grad_()
    small = aten._upsample_bilinear2d_aa(x, [2, 2], False)
    close(small, [[[[3.5714288, 5.1428576], [9.8571434, 11.428572]]]])
    values, indices = torch.nn.functional.max_pool2d(x, 2, return_indices=True)
    back = aten.max_pool2d_with_indices_backward(
        torch.ones(1, 1, 2, 2), x, [2, 2], [2, 2], [0, 0], [1, 1], False, indices
    )
    assert back.sum() == 4 and back[0, 0, 1, 1] == 1 and back.requires_grad
    mean, var = torch.zeros(1), torch.ones(1)
    out, *rest = aten._batch_norm_with_update(x, None, None, mean, var, 0.1, 1e-5)
    assert mean.item() == 0.75 and len(rest) == 3 and rest[2].dtype is torch.uint8


def test_hash_tensor_out():
    out = torch.empty(0, dtype=torch.uint64)
    assert torch.hash_tensor(torch.tensor([1, 2, 7]), out=out) is out and out.item() == 4


def test_narrow_integers():
    x = torch.ones(2, 3, dtype=torch.int32)
    assert torch.einsum("ij->i", x).dtype is torch.int64
    assert torch.tensordot(x, x[:1], dims=([0, 1], [0, 1])).dtype is torch.int32
    assert (
        torch.nn.functional.bilinear(x, x, torch.ones(1, 3, 3, dtype=torch.int32)).dtype
        is torch.int32
    )
    assert torch.masked.cumsum(x, 0).dtype is torch.int32
    assert torch.unravel_index(x[0], (2, 2))[0].dtype is torch.int64
    assert torch.arange(2.1, -2.9, -1.0, dtype=torch.int32).tolist() == [2, 1, 0, -1, -2]
    assert torch.arange(2.1, -2.9, -1.0).to(torch.int64).numel() == 5
    assert torch.arange(2.1, -2.9, -1.0, dtype=torch.int64).tolist() == [2, 1, 0, -1]
    assert torch.arange(0, 3, 0.5, dtype=torch.int32).tolist() == [0] * 6


def test_results_may_not_meet_their_operands():
    x = torch.zeros(0)
    for call in (
        lambda: torch.cat((x, torch.ones(4)), out=x),
        lambda: torch.gather(y := torch.ones(6), 0, torch.tensor([2, 1, 0]), out=y),
    ):
        with pytest.raises(RuntimeError, match="single memory location"):
            call()
