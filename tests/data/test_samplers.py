"""Samplers; orders under a seed are PyTorch 2.13's."""

import pytest

import facula
from facula.utils import data


def seeded(seed):
    return facula.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "options, order",
    [
        ({}, [5, 6, 1, 2, 0, 8, 9, 3, 7, 4]),
        ({"num_samples": 3}, [5, 6, 1]),
        (
            {"num_samples": 25},
            [5, 6, 1, 2, 0, 8, 9, 3, 7, 4, 2, 3, 1, 8, 9, 0, 6, 7, 4, 5, 2, 8, 1, 5, 6],
        ),
        ({"replacement": True}, [5, 9, 4, 8, 3, 3, 1, 1, 9, 2]),
    ],
)
def test_random_sampler(options, order):
    sampler = data.RandomSampler(range(10), generator=seeded(1), **options)
    assert list(sampler) == order
    assert len(sampler) == len(order)


def test_random_sampler_seeds_itself_from_the_global_generator():
    facula.manual_seed(3)
    first = list(data.RandomSampler(range(10)))
    facula.manual_seed(3)
    seed = int(facula.empty((), dtype=facula.int64).random_().item())
    assert first == list(data.RandomSampler(range(10), generator=seeded(seed)))


def test_subset_and_weighted_samplers():
    picked = list(data.SubsetRandomSampler([10, 20, 30, 40], generator=seeded(0)))
    assert picked == [10, 20, 40, 30]
    weighted = data.WeightedRandomSampler([1.0, 0.0, 3.0], 6, generator=seeded(0))
    assert list(weighted) == [2, 2, 2, 2, 2, 2]
    never = data.WeightedRandomSampler([0.0, 1.0], 1, replacement=False, generator=seeded(0))
    assert list(never) == [1] and len(never) == 1


def test_batch_sampler():
    assert list(data.BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    dropped = data.BatchSampler(range(5), 2, True)
    assert list(dropped) == [[0, 1], [2, 3]] and len(dropped) == 2


def test_distributed_sampler():
    def share(rank, **options):
        return list(data.DistributedSampler(range(10), 3, rank, **options))

    assert share(0) == [4, 5, 0, 2] and share(2) == [7, 9, 6, 1]
    assert share(2, shuffle=False) == [2, 5, 8, 1]
    assert share(2, shuffle=False, drop_last=True) == [2, 5, 8]
    assert list(data.DistributedSampler(range(2), 7, 5, shuffle=False)) == [1]
    sampler = data.DistributedSampler(range(10), 3, 0)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first and len(sampler) == 4
    with pytest.raises(ValueError, match="Invalid rank 3"):
        data.DistributedSampler(range(10), 3, 3)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: data.RandomSampler([]), ValueError, "num_samples should be a positive integer"),
        (lambda: data.RandomSampler([1], replacement=1), TypeError, "should be a boolean value"),
        (lambda: data.BatchSampler([1], 0, False), ValueError, "batch_size should be a positive"),
        (lambda: data.BatchSampler([1], True, False), ValueError, "batch_size should be"),
        (lambda: data.BatchSampler([1], 2, 1), ValueError, "drop_last should be a boolean"),
        (lambda: data.WeightedRandomSampler([1, 2], 0), ValueError, "num_samples should be"),
        (lambda: data.WeightedRandomSampler([[1.0]], 1), ValueError, "weights should be a 1d"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
