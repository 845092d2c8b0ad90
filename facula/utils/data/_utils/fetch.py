"""Fetchers: from the keys of a batch to the batch. Run in the process or in a worker."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from facula.utils.data._utils import arrays, collate
from facula.utils.data.dataset import ConcatDataset, Subset, TensorDataset


class _BaseDatasetFetcher:
    def __init__(
        self, dataset: Any, auto_collation: bool, collate_fn: Callable, drop_last: bool
    ) -> None:
        self.dataset = dataset
        self.auto_collation = auto_collation
        self.collate_fn = collate_fn
        self.drop_last = drop_last

    def fetch(self, possibly_batched_index: Any) -> Any:
        raise NotImplementedError


class _IterableDatasetFetcher(_BaseDatasetFetcher):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.dataset_iter = iter(self.dataset)
        self.ended = False

    def fetch(self, possibly_batched_index: Any) -> Any:
        if self.ended:
            raise StopIteration
        if not self.auto_collation:
            return self.collate_fn(next(self.dataset_iter))
        wanted = len(possibly_batched_index)
        data = list(itertools.islice(self.dataset_iter, wanted))
        self.ended = len(data) < wanted
        if not data or (self.drop_last and self.ended):
            raise StopIteration
        return self.collate_fn(data)


class _MapDatasetFetcher(_BaseDatasetFetcher):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._gather = None
        if self.auto_collation and _collates_tensors_as_usual(self.collate_fn):
            self._gather = _gatherer(self.dataset)

    def fetch(self, possibly_batched_index: Any) -> Any:
        if not self.auto_collation:
            return self.collate_fn(self.dataset[possibly_batched_index])
        if self._gather is not None:
            batch = self._gather.batch(possibly_batched_index)
            if batch is not None:
                return batch
        fetch_all = getattr(self.dataset, "__getitems__", None)
        if fetch_all:
            return self.collate_fn(fetch_all(possibly_batched_index))
        return self.collate_fn([self.dataset[index] for index in possibly_batched_index])


# -- whole batches out of tensor datasets --------------------------------------------------


def _collates_tensors_as_usual(collate_fn: Callable) -> bool:
    table = collate.default_collate_fn_map
    return (
        collate_fn is collate.default_collate
        and table is _TABLE
        and table.get(arrays.facula.Tensor) is collate.collate_tensor_fn
        and TensorDataset.__getitem__ is _GETITEM
    )


_TABLE = collate.default_collate_fn_map
_GETITEM = TensorDataset.__getitem__


class _Gatherer:
    """Takes the rows of a whole batch at once; the result is that of the item-by-item way.

    Any doubt about the keys makes `batch` return None, and the item-by-item way decides.
    """

    def size(self) -> int:
        raise NotImplementedError

    def columns(self, rows: np.ndarray) -> list | None:
        """The batch of each tensor; `rows` are within 0..size()-1."""
        raise NotImplementedError

    def batch(self, keys: Any) -> list | None:
        if type(keys) is not list or set(map(type, keys)) != {int}:
            return None
        rows = _within(np.array(keys), self.size())
        return None if rows is None else self.columns(rows)


def _within(rows: np.ndarray, size: int) -> np.ndarray | None:
    """Row numbers with negative ones counted from the end; None if one is out of range."""
    if rows.dtype != np.int64:
        return None
    low, high = rows.min(), rows.max()
    if high >= size or low < -size:
        return None
    return np.where(rows < 0, rows + size, rows) if low < 0 else rows


class _Rows(_Gatherer):
    def __init__(self, dataset: TensorDataset) -> None:
        self.dataset = dataset

    def size(self) -> int:
        return len(self.dataset) if self.dataset.tensors else 0

    def columns(self, rows: np.ndarray) -> list | None:
        taken = [arrays.take(tensor, rows) for tensor in self.dataset.tensors]
        return None if any(column is None for column in taken) else taken


class _Chosen(_Gatherer):
    """Rows of a `Subset`."""

    def __init__(self, inner: _Gatherer, indices: np.ndarray) -> None:
        self.inner, self.indices = inner, indices

    def size(self) -> int:
        return len(self.indices)

    def columns(self, rows: np.ndarray) -> list | None:
        chosen = _within(self.indices[rows], self.inner.size())
        return None if chosen is None else self.inner.columns(chosen)


class _Joined(_Gatherer):
    """Rows of a `ConcatDataset`; a batch from more than one part is put together again."""

    def __init__(self, parts: list[_Gatherer]) -> None:
        self.parts = parts
        self.ends = np.cumsum([part.size() for part in parts])

    def size(self) -> int:
        return int(self.ends[-1])

    def columns(self, rows: np.ndarray) -> list | None:
        part_of = np.searchsorted(self.ends, rows, side="right")
        pieces: Iterator = (
            (number, np.flatnonzero(part_of == number)) for number in np.unique(part_of).tolist()
        )
        places, columns = [], []
        for number, place in pieces:
            start = self.ends[number - 1] if number else 0
            taken = self.parts[number].columns(rows[place] - start)
            if taken is None:
                return None
            places.append(place)
            columns.append(taken)
        if len(columns) == 1:
            return columns[0]
        if len({len(taken) for taken in columns}) > 1:
            return None
        joined = [arrays.interleave(pieces, places) for pieces in zip(*columns, strict=True)]
        return None if any(column is None for column in joined) else joined


def _gatherer(dataset: Any) -> _Gatherer | None:
    """How to read whole batches of `dataset`; None unless it is built of `TensorDataset`s."""
    if type(dataset) is TensorDataset:
        return _Rows(dataset) if dataset.tensors else None
    if type(dataset) is Subset:
        inner = _gatherer(dataset.dataset)
        indices = dataset.indices
        if inner is None or type(indices) not in (list, range) or not len(indices):
            return None
        if type(indices) is list and set(map(type, indices)) != {int}:
            return None
        return _Chosen(inner, np.array(indices))
    if type(dataset) is ConcatDataset:
        parts = [_gatherer(part) for part in dataset.datasets]
        if any(part is None for part in parts):
            return None
        return _Joined(parts)  # type: ignore[arg-type]
    return None
