"""Padding and packing of sequences; expected values by hand."""

import pytest

import facula
from facula.nn.utils import rnn

SEQUENCES = [[1.0, 2.0, 3.0], [4.0, 5.0], [6.0]]


def tensors():
    return [facula.tensor(s) for s in SEQUENCES]


@pytest.mark.parametrize(
    "options, rows",
    [
        ({"batch_first": True}, [[1, 2, 3], [4, 5, 0], [6, 0, 0]]),
        ({"padding_value": -1.0}, [[1, 4, 6], [2, 5, -1], [3, -1, -1]]),
        ({"batch_first": True, "padding_side": "left"}, [[1, 2, 3], [0, 4, 5], [0, 0, 6]]),
    ],
)
def test_pad_sequence(options, rows):
    assert rnn.pad_sequence(tensors(), **options).tolist() == rows


def test_pad_sequence_keeps_other_dims_and_gradients():
    a, b = facula.ones(2, 2, requires_grad=True), facula.ones(1, 2, requires_grad=True)
    padded = rnn.pad_sequence([a, b])
    assert tuple(padded.shape) == (2, 2, 2)
    (padded * facula.arange(8.0).reshape(2, 2, 2)).sum().backward()
    assert a.grad.tolist() == [[0, 1], [4, 5]] and b.grad.tolist() == [[2, 3]]


def test_unpad_sequence():
    padded = rnn.pad_sequence(tensors(), batch_first=True)
    parts = rnn.unpad_sequence(padded, facula.tensor([3, 2, 1]), batch_first=True)
    assert [part.tolist() for part in parts] == SEQUENCES


def test_pack_and_unpack():
    packed = rnn.pack_sequence(tensors())
    assert packed.data.tolist() == [1, 4, 6, 2, 5, 3]
    assert packed.batch_sizes.tolist() == [3, 2, 1]
    assert packed.sorted_indices is None and packed.unsorted_indices is None
    assert [s.tolist() for s in rnn.unpack_sequence(packed)] == SEQUENCES


def test_unsorted_sequences():
    sequences = [facula.tensor(s) for s in (SEQUENCES[2], SEQUENCES[0], SEQUENCES[1])]
    with pytest.raises(RuntimeError, match="must be sorted in decreasing order"):
        rnn.pack_sequence(sequences)
    packed = rnn.pack_sequence(sequences, enforce_sorted=False)
    assert packed.data.tolist() == [1, 4, 6, 2, 5, 3]
    assert packed.sorted_indices.tolist() == [1, 2, 0]
    assert packed.unsorted_indices.tolist() == [2, 0, 1]
    padded, lengths = rnn.pad_packed_sequence(packed, batch_first=True, padding_value=9.0)
    assert padded.tolist() == [[6, 9, 9], [1, 2, 3], [4, 5, 9]] and lengths.tolist() == [1, 3, 2]


def test_total_length():
    packed = rnn.pack_sequence(tensors())
    padded, _ = rnn.pad_packed_sequence(packed, batch_first=True, total_length=4)
    assert padded.tolist() == [[1, 2, 3, 0], [4, 5, 0, 0], [6, 0, 0, 0]]
    with pytest.raises(ValueError, match="total_length=2 and max sequence length being 3"):
        rnn.pad_packed_sequence(packed, total_length=2)


@pytest.mark.parametrize("batch_first", [False, True])
def test_gradients_skip_the_padding(batch_first):
    shape = (2, 3, 1) if batch_first else (3, 2, 1)
    x = facula.ones(*shape, requires_grad=True)
    packed = rnn.pack_padded_sequence(x, [3, 1], batch_first)
    padded, _ = rnn.pad_packed_sequence(packed, batch_first)
    (padded * 2).sum().backward()
    grads = x.grad if batch_first else x.grad.transpose(0, 1)
    assert grads.squeeze(-1).tolist() == [[2, 2, 2], [2, 0, 0]]


@pytest.mark.parametrize(
    "lengths, message",
    [
        ([3], "Expected `len\\(lengths\\)` to be equal to batch_size"),
        ([3, 0], "Length of all samples has to be greater than 0"),
        ([4, 1], "exceeds dimension size"),
    ],
)
def test_wrong_lengths(lengths, message):
    with pytest.raises(RuntimeError, match=message):
        rnn.pack_padded_sequence(facula.ones(3, 2, 1), lengths)


def test_conversions():
    packed = rnn.pack_sequence(tensors())
    assert packed.double().data.dtype is facula.float64
    assert packed.float() is packed and packed.cpu() is packed and not packed.is_cuda
    assert type(packed.to(facula.int64)) is rnn.PackedSequence
    assert rnn.invert_permutation(facula.tensor([2, 0, 1])).tolist() == [1, 2, 0]
