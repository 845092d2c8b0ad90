"""Datasets and splits; orders under a seed are PyTorch 2.13's."""

import pytest

import facula
from facula.utils import data


class Count(data.IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))

    def __len__(self):
        return self.n


def seeded(seed):
    return facula.Generator().manual_seed(seed)


def test_tensor_dataset():
    pairs = data.TensorDataset(facula.arange(3), facula.tensor([5.0, 6.0, 7.0]))
    assert len(pairs) == 3
    assert [value.item() for value in pairs[1]] == [1, 6.0]
    with pytest.raises(IndexError):
        pairs[3]
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        data.TensorDataset(facula.ones(2), facula.ones(3))


def test_stack_dataset():
    assert data.StackDataset([1, 2], "ab")[1] == (2, "b")
    named = data.StackDataset(x=[1, 2], y="ab")
    assert named[0] == {"x": 1, "y": "a"}
    assert named.__getitems__([1, 0]) == [{"x": 2, "y": "b"}, {"x": 1, "y": "a"}]
    for wrong in ((), ([1], [2, 3])):
        with pytest.raises(ValueError):
            data.StackDataset(*wrong)


def test_concat_dataset():
    both = data.ConcatDataset([[1, 2], [3]])
    assert [both[i] for i in (0, 2, -1, -3)] == [1, 3, 3, 1]
    assert both.cumulative_sizes == [2, 3]
    with pytest.raises(ValueError, match="absolute value of index"):
        both[-4]
    with pytest.raises(AssertionError, match="does not support IterableDataset"):
        data.ConcatDataset([Count(1)])
    assert list(data.Subset([1], [0]) + data.Subset([2], [0])) == [1, 2]


def test_chain_dataset():
    chain = Count(2) + Count(3)
    assert list(chain) == [0, 1, 0, 1, 2] and len(chain) == 5
    with pytest.raises(AssertionError, match="only supports IterableDataset"):
        list(data.ChainDataset([[1]]))


def test_subset_asks_for_whole_batches():
    class Batched(data.Dataset):
        def __getitems__(self, indices):
            return [10 * i for i in indices]

    assert data.Subset(Batched(), [3, 4, 5]).__getitems__([2, 0]) == [50, 30]
    assert data.Subset([7, 8, 9], [2, 0]).__getitems__([0, 1]) == [9, 7]


def test_random_split():
    parts = data.random_split(range(10), [3, 7], generator=seeded(42))
    assert [part.indices for part in parts] == [[2, 6, 1], [8, 4, 5, 0, 9, 3, 7]]
    parts = data.random_split(range(7), [0.33, 0.33, 0.34], generator=seeded(42))
    assert [part.indices for part in parts] == [[1, 6, 3], [5, 4], [0, 2]]
    with pytest.raises(ValueError, match="Sum of input lengths"):
        data.random_split(range(10), [3, 3])
    with pytest.warns(UserWarning, match="Length of split at index 0 is 0"):
        data.random_split(range(10), [0.0, 1.0])


def test_what_is_left_to_subclasses():
    with pytest.raises(NotImplementedError, match="should implement __getitem__"):
        data.Dataset()[0]
    with pytest.raises(TypeError):
        data.IterableDataset()
    with pytest.raises(TypeError):
        len(data.Dataset())


def test_datapipes_say_what_to_use():
    class Pipe(data.IterDataPipe):
        pass

    with pytest.raises(NotImplementedError, match="IterableDataset"):
        Pipe()
    with pytest.raises(NotImplementedError, match=r"no DataPipes \(torch\.utils\.data\.graph\)"):
        data.graph
    assert not hasattr(data, "graph") and not hasattr(data, "nonsense")
