"""The sampler that deals a dataset out to the processes of a group."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeVar

import facula
from facula.utils.data.dataset import Dataset
from facula.utils.data.sampler import Sampler

__all__ = ["DistributedSampler"]

_T_co = TypeVar("_T_co", covariant=True)


class DistributedSampler(Sampler[_T_co]):
    """Every process of the group gets its own share, all of one size.

    Shares are made equal by repeating some samples, or with `drop_last` by leaving some out.
    Call `set_epoch(epoch)` before each epoch, or each one has the same order.
    """

    def __init__(
        self,
        dataset: Dataset,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None:
            num_replicas = _group().get_world_size()
        if rank is None:
            rank = _group().get_rank()
        if rank >= num_replicas or rank < 0:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        share = len(dataset) / num_replicas  # type: ignore[arg-type]
        self.num_samples = math.floor(share) if drop_last else math.ceil(share)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[_T_co]:
        n = len(self.dataset)  # type: ignore[arg-type]
        if self.shuffle:
            generator = facula.Generator()
            generator.manual_seed(self.seed + self.epoch)
            indices = facula.randperm(n, generator=generator).tolist()
        else:
            indices = list(range(n))
        if len(indices) < self.total_size:
            indices = (indices * math.ceil(self.total_size / n))[: self.total_size]
        return iter(indices[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass; the same number on every process."""
        self.epoch = epoch


def _group() -> Any:
    """`facula.distributed`, or the error that PyTorch raises when it is not available."""
    group = getattr(facula, "distributed", None)
    if group is None or not group.is_available():
        raise RuntimeError("Requires distributed package to be available")
    return group
