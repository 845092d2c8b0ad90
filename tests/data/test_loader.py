"""DataLoader in one process; orders under a seed are PyTorch 2.13's."""

import pickle

import pytest

import facula
from facula.utils import data
from facula.utils.data import DataLoader


class Stream(data.IterableDataset):
    def __init__(self, n=10, length=None):
        self.n, self.length = n, length

    def __iter__(self):
        return iter(range(self.n))

    def __len__(self):
        if self.length is None:
            raise TypeError("no length")
        return self.length


def lists(loader):
    return [batch.tolist() for batch in loader]


def test_order_under_a_seed():
    facula.manual_seed(0)
    loader = DataLoader(range(10), batch_size=4, shuffle=True)
    assert lists(loader) == [[6, 7, 1, 4], [2, 0, 9, 8], [3, 5]]
    assert lists(loader) == [[2, 4, 7, 0], [8, 9, 5, 3], [6, 1]]


def test_a_pass_moves_the_generator_on():
    facula.manual_seed(0)
    lists(DataLoader(range(10), batch_size=4))
    after = facula.rand(1).item()
    facula.manual_seed(0)
    facula.empty((), dtype=facula.int64).random_()
    assert facula.rand(1).item() == after


def test_batches():
    assert lists(DataLoader(range(5), batch_size=2)) == [[0, 1], [2, 3], [4]]
    assert lists(DataLoader(range(5), batch_size=2, drop_last=True)) == [[0, 1], [2, 3]]
    assert lists(DataLoader(range(5), batch_sampler=[[4, 0], [2]])) == [[4, 0], [2]]
    assert list(DataLoader(range(5), batch_size=None, sampler=[3, 1])) == [3, 1]
    assert lists(DataLoader({"a": 1, "b": 2}, sampler=["b", "a"])) == [[2], [1]]
    assert list(DataLoader(range(4), batch_size=2, collate_fn=sum)) == [1, 5]


def test_iterable_datasets():
    assert lists(DataLoader(Stream(5), batch_size=2)) == [[0, 1], [2, 3], [4]]
    assert lists(DataLoader(Stream(5), batch_size=2, drop_last=True)) == [[0, 1], [2, 3]]
    assert list(DataLoader(Stream(3), batch_size=None)) == [0, 1, 2]
    assert len(DataLoader(Stream(5, length=5), batch_size=2)) == 3
    loader = DataLoader(Stream(5, length=1), batch_size=3)
    len(loader)
    with pytest.warns(UserWarning, match="but 2 samples have been fetched"):
        list(loader)


def test_length():
    assert len(DataLoader(range(5), batch_size=2)) == 3
    assert len(DataLoader(range(5), batch_size=2, drop_last=True)) == 2
    assert len(iter(DataLoader(range(5)))) == 5


WRONG = [
    ({"num_workers": -1}, "num_workers option should be non-negative"),
    ({"timeout": -1}, "timeout option should be non-negative"),
    ({"prefetch_factor": 2}, "prefetch_factor option could only be specified"),
    ({"num_workers": 1, "prefetch_factor": -2}, "prefetch_factor option should be non-negative"),
    ({"persistent_workers": True}, "persistent_workers option needs num_workers > 0"),
    ({"shuffle": True, "sampler": [0]}, "sampler option is mutually exclusive with shuffle"),
    ({"batch_sampler": [[0]], "batch_size": 2}, "batch_sampler option is mutually exclusive"),
    ({"batch_size": None, "drop_last": True}, "batch_size=None option disables auto-batching"),
    ({"batch_size": 0}, "batch_size should be a positive integer value"),
    ({"multiprocessing_context": "fork"}, "can only be used with multi-process loading"),
    ({"num_workers": 1, "multiprocessing_context": "x"}, "a valid start method"),
]


@pytest.mark.parametrize("options, message", WRONG)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(range(3), **options)


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}])
def test_iterable_datasets_have_their_own_order(options):
    with pytest.raises(ValueError, match="DataLoader with IterableDataset: expected unspecified"):
        DataLoader(Stream(), **options)


def test_fixed_attributes():
    loader = DataLoader(range(3))
    with pytest.raises(ValueError, match="batch_size attribute should not be set"):
        loader.batch_size = 2
    loader.collate_fn = list
    with pytest.raises(NotImplementedError):
        pickle.dumps(iter(loader))


# -- whole batches out of tensor datasets --------------------------------------------------------


def pairs(n, start=0):
    x = facula.arange(start, start + 3 * n, dtype=facula.float32).reshape(n, 3)
    return data.TensorDataset(x, facula.arange(start, start + n))


DATASETS = {
    "plain": lambda: pairs(7),
    "subset": lambda: data.Subset(pairs(9), [8, 0, -3, 3, 3]),
    "subset of a subset": lambda: data.Subset(data.Subset(pairs(9), range(1, 8)), [6, 0, 2]),
    "concat": lambda: data.ConcatDataset([pairs(3), pairs(4, 100), data.Subset(pairs(5), [4, 1])]),
    "empty part": lambda: data.ConcatDataset([pairs(3), data.Subset(pairs(2), []), pairs(2)]),
}


@pytest.mark.parametrize("name", DATASETS)
def test_batches_taken_whole_are_those_of_single_items(name):
    dataset = DATASETS[name]()

    def run(collate_fn):
        facula.manual_seed(1)
        loader = DataLoader(dataset, batch_size=3, shuffle=True, collate_fn=collate_fn)
        return [[(str(t.dtype), t.tolist()) for t in batch] for batch in loader]

    assert run(None) == run(lambda samples: data.default_collate(samples))


def test_subclasses_are_read_item_by_item():
    class Doubled(data.TensorDataset):
        def __getitem__(self, index):
            return tuple(2 * tensor for tensor in super().__getitem__(index))

    loader = DataLoader(Doubled(facula.arange(4)), batch_size=4)
    assert [batch[0].tolist() for batch in loader] == [[0, 2, 4, 6]]


def test_tensors_that_require_gradients_keep_them():
    leaf = facula.ones(4, requires_grad=True)
    for (batch,) in DataLoader(data.TensorDataset(leaf), batch_size=2):
        batch.sum().backward()
    assert leaf.grad.tolist() == [1, 1, 1, 1]


def test_batches_are_copies():
    dataset = pairs(4)
    (x, _), *_ = DataLoader(dataset, batch_size=2)
    x.zero_()
    assert dataset.tensors[0][0].tolist() == [0, 1, 2]
    dataset.tensors[0].fill_(9)
    assert x.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert next(iter(DataLoader(dataset)))[0].tolist() == [[9, 9, 9]]


def test_indices_out_of_range():
    with pytest.raises(IndexError, match="out of bounds"):
        list(DataLoader(pairs(3), batch_sampler=[[0, 3]]))
