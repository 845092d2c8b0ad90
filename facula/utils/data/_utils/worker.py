"""What a worker process of a `DataLoader` runs."""

from __future__ import annotations

import contextlib
import os
import random
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

import facula
from facula.utils.data._utils import arrays
from facula.utils.data._utils.exception import ExceptionWrapper
from facula.utils.data._utils.transport import BatchSender

MP_STATUS_CHECK_INTERVAL = 5.0  # seconds between looks at whether the other side still lives

# The parent's ends of all pipes to workers. A forked worker inherits and closes them, or no
# worker would notice that the parent is gone.
parent_connections: weakref.WeakSet = weakref.WeakSet()


@dataclass(slots=True, frozen=True)
class WorkerInfo:
    """What `get_worker_info` returns in a worker."""

    id: int
    num_workers: int
    seed: int
    dataset: Any
    rng: Any = None
    worker_method: str | None = "multiprocessing"


@dataclass(frozen=True)
class _IterableDatasetStopIteration:
    """A worker's copy of an iterable dataset has ended."""

    worker_id: int


@dataclass(frozen=True)
class _ResumeIteration:
    """A new epoch of persistent workers: sent to a worker, and back when it is ready."""

    seed: int | None = None


_worker_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker of a `DataLoader`: its id, seed, dataset...; None elsewhere."""
    return _worker_info


@dataclass
class WorkerSettings:
    """What a worker is started with."""

    dataset_kind: int
    dataset: Any
    auto_collation: bool
    collate_fn: Any
    drop_last: bool
    base_seed: int
    init_fn: Any
    worker_id: int
    num_workers: int
    parent_pid: int
    forked: bool


def _generate_state(base_seed: int, worker_id: int) -> list[int]:
    """A NumPy seed that differs from worker to worker, as PyTorch derives it."""
    entropy = [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]
    return np.random.SeedSequence(entropy).generate_state(4).tolist()


def _prepare(settings: WorkerSettings) -> None:
    """Seeds, threads and `get_worker_info` of this process."""
    global _worker_info
    if settings.forked:
        for connection in list(parent_connections):
            connection.close()
    facula.set_num_threads(1)
    seed = settings.base_seed + settings.worker_id
    random.seed(seed)
    facula.manual_seed(seed)
    np.random.seed(_generate_state(settings.base_seed, settings.worker_id))
    _worker_info = WorkerInfo(settings.worker_id, settings.num_workers, seed, settings.dataset)


def _worker_loop(settings: WorkerSettings, connection: Any) -> None:
    """Answer requests `(released segments, task, keys)` until None comes or the parent is gone."""
    # The parent gets the Ctrl-C too, and closes the pipe.
    with contextlib.suppress(KeyboardInterrupt, EOFError, BrokenPipeError, ConnectionResetError):
        _prepare(settings)
        sender = BatchSender(connection)
        arrays.shared_memory[:] = [sender.allocate]
        worker = _Worker(settings, sender)
        while (request := _next_request(connection, settings.parent_pid)) is not None:
            worker.answer(*request)


def _next_request(connection: Any, parent_pid: int) -> Any:
    while not connection.poll(MP_STATUS_CHECK_INTERVAL):
        if os.getppid() != parent_pid:
            return None
    return connection.recv()


class _Worker:
    def __init__(self, settings: WorkerSettings, sender: BatchSender) -> None:
        self.settings = settings
        self.sender = sender
        self.where = f"in DataLoader worker process {settings.worker_id}"
        self.fetcher: Any = None
        self.ended = False
        self.failure: ExceptionWrapper | None = None
        try:
            if settings.init_fn is not None:
                settings.init_fn(settings.worker_id)
            self._new_fetcher()
        except Exception:
            self.failure = ExceptionWrapper(where=self.where)

    def _new_fetcher(self) -> None:
        from facula.utils.data.dataloader import _DatasetKind

        s = self.settings
        self.ended = False
        self.fetcher = _DatasetKind.create_fetcher(
            s.dataset_kind, s.dataset, s.auto_collation, s.collate_fn, s.drop_last
        )

    def answer(self, released: list[int], task: Any, keys: Any) -> None:
        self.sender.release(released)
        if isinstance(task, _ResumeIteration):
            self._resume(task)
        elif not self.ended:
            self._send(task, self._batch(keys))

    def _resume(self, task: _ResumeIteration) -> None:
        self.sender.send(task, None)
        try:
            self._new_fetcher()
        except Exception:
            self.failure = ExceptionWrapper(where=self.where)

    def _batch(self, keys: Any) -> Any:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            return failure
        try:
            return self.fetcher.fetch(keys)
        except Exception as error:
            if isinstance(error, StopIteration) and self.settings.dataset_kind == 1:
                self.ended = True
                return _IterableDatasetStopIteration(self.settings.worker_id)
            return ExceptionWrapper(where=self.where)

    def _send(self, task: Any, batch: Any) -> None:
        """Send a batch; where it cannot be pickled, the error goes in its place."""
        try:
            self.sender.send(task, batch)
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception:
            failure = ExceptionWrapper(where=self.where)
            if isinstance(batch, ExceptionWrapper):  # of a type that cannot be pickled
                failure, batch.exc_type = batch, RuntimeError
            self.sender.send(task, failure)
