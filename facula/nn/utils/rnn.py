"""Sequences of different lengths: padded, packed, and back."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

import facula
from facula import Tensor

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]

_T = TypeVar("_T")
_R = TypeVar("_R")

PackedSequence_ = namedtuple(
    "PackedSequence_", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"]
)
PackedSequence_.__annotations__ = {
    "data": Tensor,
    "batch_sizes": Tensor,
    "sorted_indices": Tensor | None,
    "unsorted_indices": Tensor | None,
}


def bind(optional: _T | None, fn: Callable[[_T], _R]) -> _R | None:
    """`fn(optional)`, or None for None."""
    return None if optional is None else fn(optional)


class PackedSequence(PackedSequence_):
    """Sequences of a batch without padding: all first elements, all second ones, ...

    `batch_sizes[t]` is how many sequences have an element t. Made by `pack_sequence` and
    `pack_padded_sequence`; recurrent layers take it in place of a padded tensor.
    """

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        parts = _packed_sequence_init_args(data, batch_sizes, sorted_indices, unsorted_indices)
        return super().__new__(cls, *parts)

    def pin_memory(self) -> PackedSequence:
        """The same in page-locked memory."""
        return type(self)(
            self.data.pin_memory(),
            self.batch_sizes,
            bind(self.sorted_indices, lambda t: t.pin_memory()),
            bind(self.unsorted_indices, lambda t: t.pin_memory()),
        )

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """`Tensor.to` for the data; indices follow to its device. self if nothing changes."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        sorted_indices, unsorted_indices = (
            bind(t, lambda t: t.to(data.device))
            for t in (self.sorted_indices, self.unsorted_indices)
        )
        return type(self)(data, self.batch_sizes, sorted_indices, unsorted_indices)

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same on a GPU."""
        if not args and "device" not in kwargs:
            kwargs["device"] = "cuda"
        return self.to(*args, **kwargs)

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same in main memory."""
        return self.to(*args, device="cpu", **kwargs)

    def double(self) -> PackedSequence:
        """The same with float64 data."""
        return self.to(dtype=facula.double)

    def float(self) -> PackedSequence:
        """The same with float32 data."""
        return self.to(dtype=facula.float)

    def half(self) -> PackedSequence:
        """The same with float16 data."""
        return self.to(dtype=facula.half)

    def long(self) -> PackedSequence:
        """The same with int64 data."""
        return self.to(dtype=facula.long)

    def int(self) -> PackedSequence:
        """The same with int32 data."""
        return self.to(dtype=facula.int)

    def short(self) -> PackedSequence:
        """The same with int16 data."""
        return self.to(dtype=facula.short)

    def char(self) -> PackedSequence:
        """The same with int8 data."""
        return self.to(dtype=facula.int8)

    def byte(self) -> PackedSequence:
        """The same with uint8 data."""
        return self.to(dtype=facula.uint8)

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a GPU."""
        return self.data.is_cuda

    def is_pinned(self) -> bool:
        """Whether the data is in page-locked memory."""
        return self.data.is_pinned()


def _packed_sequence_init_args(
    data: Any, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None
) -> tuple:
    if unsorted_indices is None:
        unsorted_indices = invert_permutation(sorted_indices)
    if batch_sizes is None:  # called with a pair
        if not (isinstance(data, (list, tuple)) and len(data) == 2):
            raise AssertionError("Expected data to be a (data, batch_sizes) pair")
        return data[0], data[1], sorted_indices, unsorted_indices
    if batch_sizes.device.type != "cpu":
        raise ValueError(
            "batch_sizes should always be on CPU. Instances of PackedSequence should never be "
            "created manually. They should be instantiated by functions like pack_sequence and "
            "pack_padded_sequences in nn.utils.rnn."
        )
    return data, batch_sizes, sorted_indices, unsorted_indices


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes this one."""
    if permutation is None:
        return None
    inverse = np.argsort(np.array(permutation.tolist(), dtype=np.int64))
    return facula.tensor(inverse, dtype=permutation.dtype, device=permutation.device)


def _places(lengths: np.ndarray, by_step: bool) -> tuple[np.ndarray, np.ndarray]:
    """(sequence, step) of every element: step by step, or sequence by sequence."""
    present = np.arange(lengths.max(initial=0))[:, None] < lengths
    if by_step:
        steps, sequences = np.nonzero(present)
    else:
        sequences, steps = np.nonzero(present.T)
    return sequences, steps


def _index(numbers: np.ndarray, device: Any) -> Tensor:
    return facula.tensor(numbers.astype(np.int64), device=device)


def _rows(padded: Tensor) -> Tensor:
    """The first two dims made one."""
    return padded.reshape(-1, *padded.shape[2:])


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | list, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch (steps x batch x ..., or batch first) of these lengths.

    The lengths must not increase from one sequence to the next unless `enforce_sorted=False`.
    """
    if not isinstance(lengths, Tensor):
        lengths = facula.as_tensor(lengths, dtype=facula.int64, device="cpu")
    elif lengths.device.type != "cpu":
        raise RuntimeError(
            "'lengths' argument should be a 1D CPU int64 tensor, but got "
            f"{lengths.dim()}D {lengths.device} {lengths.dtype} tensor"
        )
    sizes = np.array(lengths.tolist(), dtype=np.int64)
    sorted_indices = None
    if not enforce_sorted:
        order = np.argsort(-sizes, kind="stable")
        sizes = sizes[order]
        sorted_indices = _index(order, input.device)
        input = input.index_select(0 if batch_first else 1, sorted_indices)
    padded = input.transpose(0, 1) if batch_first else input
    steps, batch = padded.shape[:2]
    _check_lengths(sizes, steps, batch)
    batch_sizes = (np.arange(sizes[0])[:, None] < sizes).sum(1)
    if sizes[-1] == steps:  # nothing is padding
        data = _rows(padded)
    else:
        sequence, step = _places(sizes, by_step=True)
        data = _rows(padded).index_select(0, _index(step * batch + sequence, input.device))
    return PackedSequence(data, _index(batch_sizes, "cpu"), sorted_indices, None)


def _check_lengths(lengths: np.ndarray, steps: int, batch: int) -> None:
    if steps == 0 or batch == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if len(lengths) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(lengths)} "
            f"(batch_size={batch})"
        )
    if lengths[-1] <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that is <= 0"
        )
    if (lengths[1:] > lengths[:-1]).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. "
            "You can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to "
            "sidestep this requirement if you do not need ONNX exportability."
        )
    if lengths[0] > steps:
        raise RuntimeError(f"start (0) + length ({lengths[0]}) exceeds dimension size ({steps}).")


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The padded batch and the lengths that a packed sequence was made of."""
    counts = np.array(sequence.batch_sizes.tolist(), dtype=np.int64)
    steps, batch = len(counts), int(counts[0])
    if total_length is not None and total_length < steps:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, "
            f"but got total_length={total_length} and max sequence length being {steps}"
        )
    sizes = (np.arange(batch)[:, None] < counts).sum(1)
    data = sequence.data
    steps = steps if total_length is None else total_length
    which, step = _places(sizes, by_step=True)
    padded = _scattered(data, step * batch + which, steps * batch, padding_value)
    padded = padded.reshape(steps, batch, *data.shape[1:])
    lengths = _index(sizes, "cpu")
    if batch_first:
        padded = padded.transpose(0, 1)
    if sequence.unsorted_indices is not None:
        order = sequence.unsorted_indices
        padded = padded.index_select(0 if batch_first else 1, order)
        lengths = lengths[order.cpu()]
    return padded, lengths


_SMALL = 1 << 14  # elements


def _scattered(rows: Tensor, places: np.ndarray, total: int, padding_value: float) -> Tensor:
    """`total` rows of padding, with `rows` at these places."""
    if len(places) == total and np.array_equal(places, np.arange(total)):
        return rows
    padding = rows.new_full((total, *rows.shape[1:]), padding_value)
    return padding.index_copy(0, _index(places, rows.device), rows)


def pad_sequence(
    sequences: Tensor | list[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences of different lengths, filling them up with `padding_value`.

    >>> pad_sequence([facula.ones(3), facula.ones(1)], batch_first=True)
    tensor([[1., 1., 1.],
            [1., 0., 0.]])
    """
    if isinstance(sequences, Tensor):
        sequences = sequences.unbind(0)
    elif not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences)}"
        )
    sequences = tuple(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            f"Expected padding_side to be one of left or right, but got {padding_side}."
        )
    for i, s in enumerate(sequences):
        if not isinstance(s, facula.Tensor):
            raise TypeError(
                f"expected Tensor as element {i} in argument 0, but got {type(s).__name__}"
            )
    sizes = np.array([s.size(0) for s in sequences])
    rest = sequences[0].shape[1:]
    for s in sequences:
        if s.shape[1:] != rest:
            raise RuntimeError(
                f"The size of tensor a ({tuple(rest)}) must match the size of tensor b "
                f"({tuple(s.shape[1:])}) in all dims of the sequences but the first"
            )
    batch, steps = len(sizes), int(sizes.max())
    which, step = _places(sizes, by_step=False)
    if padding_side == "left":
        step = step + (steps - sizes)[which]
    places = which * steps + step if batch_first else step * batch + which
    shape = (*((batch, steps) if batch_first else (steps, batch)), *rest)
    if all(s.dtype is facula.int64 and type(s) is facula.Tensor and s.device.type == "cpu" for s in sequences) \
            and math.prod(shape) <= _SMALL and padding_value == int(padding_value):  # fmt: skip
        # token numbers: joined here, as their number is another in each batch and so would the plan be
        filled = np.full((steps * batch, *rest), int(padding_value), np.int64)
        filled[places] = [row for s in sequences for row in s.tolist()]
        return facula.tensor(filled.reshape(shape))
    return _scattered(facula.cat(sequences), places, steps * batch, padding_value).reshape(shape)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """The sequences of a padded batch, without their padding."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [s[:length] for s, length in zip(padded_sequences.unbind(0), lengths.tolist())]


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences."""
    lengths = facula.as_tensor([s.size(0) for s in sequences])
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The list of sequences that were packed."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
