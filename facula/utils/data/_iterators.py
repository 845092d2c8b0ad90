"""The iterators of a `DataLoader`: one pass over its batches."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import signal
import time
import warnings
from collections.abc import Iterator
from multiprocessing import connection as mp_connection
from typing import Any

import facula
from facula.utils.data import _utils
from facula.utils.data._utils.exception import ExceptionWrapper
from facula.utils.data._utils.transport import BatchReceiver
from facula.utils.data._utils.worker import (
    MP_STATUS_CHECK_INTERVAL,
    WorkerSettings,
    _IterableDatasetStopIteration,
    _ResumeIteration,
    _worker_loop,
    parent_connections,
)
from facula.utils.data.sampler import _draw_seed


class _BaseDataLoaderIter:
    def __init__(self, loader: Any) -> None:
        self._dataset = loader.dataset
        self._dataset_kind = loader._dataset_kind
        self._IterableDataset_len_called = loader._IterableDataset_len_called
        self._auto_collation = loader._auto_collation
        self._drop_last = loader.drop_last
        self._index_sampler = loader._index_sampler
        self._num_workers = loader.num_workers
        self._pin_memory = loader.pin_memory and _can_pin_memory()
        self._pin_memory_device = loader.pin_memory_device or None
        self._timeout = loader.timeout
        self._collate_fn = loader.collate_fn
        self._persistent_workers = loader.persistent_workers
        self._sampler_iter = iter(self._index_sampler)
        # Drawn in every pass, also without workers: PyTorch's generator moves on likewise.
        self._base_seed = _draw_seed(loader.generator)
        self._num_yielded = 0

    def __iter__(self) -> _BaseDataLoaderIter:
        return self

    def _reset(self, loader: Any, first_iter: bool = False) -> None:
        self._sampler_iter = iter(self._index_sampler)
        self._num_yielded = 0
        self._IterableDataset_len_called = loader._IterableDataset_len_called

    def _next_index(self) -> Any:
        return next(self._sampler_iter)

    def _next_data(self) -> Any:
        raise NotImplementedError

    def __next__(self) -> Any:
        data = self._next_data()
        self._num_yielded += 1
        if (
            self._IterableDataset_len_called is not None
            and self._dataset_kind == 1
            and self._num_yielded > self._IterableDataset_len_called
        ):
            self._warn_about_length()
        return _utils.pin_memory.pin_memory(data) if self._pin_memory else data

    def _warn_about_length(self) -> None:
        message = (
            f"Length of IterableDataset {self._dataset} was reported to be "
            f"{self._IterableDataset_len_called}(when accessing len(dataloader)), "
            f"but {self._num_yielded} samples have been fetched. "
        )
        if self._num_workers > 0:
            message += (
                "For multiprocessing data-loading, this could be caused by not properly "
                "configuring the IterableDataset replica at each worker. Please see "
                "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset "
                "for examples."
            )
        warnings.warn(message, stacklevel=3)

    def __len__(self) -> int:
        return len(self._index_sampler)

    def __getstate__(self) -> Any:
        # An iterator is a place in a pass: its workers and its generator cannot be copied.
        raise NotImplementedError("{} cannot be pickled", type(self).__name__)


def _can_pin_memory() -> bool:
    if hasattr(facula, "cuda") and facula.cuda.is_available():
        return True
    warnings.warn(
        "'pin_memory' argument is set as true but no accelerator is found, "
        "then device pinned memory won't be used.",
        stacklevel=5,
    )
    return False


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self._dataset_fetcher = _create_fetcher(self)

    def _next_data(self) -> Any:
        return self._dataset_fetcher.fetch(self._next_index())


def _create_fetcher(it: _BaseDataLoaderIter) -> Any:
    from facula.utils.data.dataloader import _DatasetKind

    return _DatasetKind.create_fetcher(
        it._dataset_kind, it._dataset, it._auto_collation, it._collate_fn, it._drop_last
    )


class _WorkerHandle:
    """The parent's view of one worker."""

    def __init__(self, context: Any, settings: WorkerSettings) -> None:
        ours, theirs = context.Pipe(duplex=True)
        parent_connections.add(ours)
        self.number = settings.worker_id
        self.connection = ours
        self.receiver = BatchReceiver(ours)
        self.outstanding = 0
        self.active = True  # in this pass: an iterable dataset's copy may end before others
        self.process = context.Process(target=_worker_loop, args=(settings, theirs), daemon=True)
        with warnings.catch_warnings():
            # Python warns of locks that other threads may hold: ours hold none of Python's, and
            # a forked child starts without them.
            warnings.filterwarnings("ignore", ".*use of fork.*deadlock", DeprecationWarning)
            self.process.start()
        theirs.close()

    def request(self, task: Any, keys: Any = None) -> None:
        # A worker that has died is noticed where its answer is waited for.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send((self.receiver.take_released(), task, keys))

    def ask_to_end(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(None)

    def ended_message(self) -> str:
        """How this worker, which is gone, came to its end."""
        self.process.join(MP_STATUS_CHECK_INTERVAL)
        code, pid = self.process.exitcode, self.process.pid
        if code is not None and code < 0:
            name = signal.strsignal(-code) or f"signal {-code}"
            hint = ""
            if -code == getattr(signal, "SIGBUS", None):
                hint = "It is possible that dataloader's workers are out of shared memory. "
            return f"DataLoader worker (pid {pid}) is killed by signal: {name}. {hint}"
        return (
            f"DataLoader worker (pid(s) {pid}) exited unexpectedly with exit code {code}. "
            "Details are lost due to multiprocessing. "
            "Rerunning with num_workers=0 may give better error trace."
        )


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
    """Batches from workers, asked for `prefetch_factor * num_workers` ahead.

    Every worker has a pipe of its own, so one that is killed takes nothing with it that the
    others need, and answers in the order of its requests.
    """

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        if self._num_workers <= 0:
            raise AssertionError("num_workers must be greater than 0")
        self._prefetch_factor = loader.prefetch_factor
        self._in_order = loader.in_order
        self._owner_pid = os.getpid()
        self._shutdown = False
        self._grace = MP_STATUS_CHECK_INTERVAL  # seconds for workers to end by themselves
        self._handles: list[_WorkerHandle] = []
        self._start_workers(loader)
        self._reset(loader, first_iter=True)

    def _start_workers(self, loader: Any) -> None:
        from facula.utils.data.dataloader import _start_context

        context = _start_context(loader)
        for number in range(self._num_workers):
            settings = WorkerSettings(
                dataset_kind=self._dataset_kind,
                dataset=self._dataset,
                auto_collation=self._auto_collation,
                collate_fn=self._collate_fn,
                drop_last=self._drop_last,
                base_seed=self._base_seed,
                init_fn=loader.worker_init_fn,
                worker_id=number,
                num_workers=self._num_workers,
                parent_pid=os.getpid(),
                forked=context.get_start_method() == "fork",
            )
            self._handles.append(_WorkerHandle(context, settings))

    @property
    def _workers(self) -> list:
        """The worker processes."""
        return [handle.process for handle in self._handles]

    def _reset(self, loader: Any, first_iter: bool = False) -> None:
        if not first_iter:
            super()._reset(loader)
            self._resume_workers()
        self._send_idx = 0
        self._tasks: collections.deque[tuple[int, _WorkerHandle]] = collections.deque()
        self._cycle: Iterator[_WorkerHandle] = itertools.cycle(self._handles)
        for handle in self._handles:
            handle.active, handle.outstanding = True, 0
        for _ in range(self._prefetch_factor * self._num_workers):
            self._try_put_index()

    def _resume_workers(self) -> None:
        """Start the workers' next pass; answers left over from the last one are thrown away."""
        for handle in self._handles:
            handle.request(_ResumeIteration())
        for handle in self._handles:
            while not isinstance(self._receive([handle])[1], _ResumeIteration):
                pass

    # -- asking ------------------------------------------------------------------------------

    def _try_put_index(self) -> None:
        """Ask the next worker for the next batch, if there is one."""
        try:
            keys = self._next_index()
        except StopIteration:
            return
        handle = self._choose_worker()
        if handle is None:
            return
        handle.request(self._send_idx, keys)
        handle.outstanding += 1
        self._tasks.append((self._send_idx, handle))
        self._send_idx += 1

    def _choose_worker(self) -> _WorkerHandle | None:
        active = [h for h in itertools.islice(self._cycle, self._num_workers) if h.active]
        if not active:
            return None
        chosen = active[0] if self._in_order else min(active, key=lambda h: h.outstanding)
        while next(self._cycle) is not chosen:  # the cycle goes on behind the chosen one
            pass
        return chosen

    # -- receiving ---------------------------------------------------------------------------

    def _next_data(self) -> Any:
        while True:
            while self._tasks and not self._tasks[0][1].active:
                self._tasks.popleft()
            if not self._tasks:
                if not self._persistent_workers:
                    self._shutdown_workers()
                raise StopIteration
            handle, task, data = self._receive(self._answering())
            handle.outstanding -= 1
            if isinstance(data, _IterableDatasetStopIteration):
                self._worker_ended(handle)
                continue
            self._tasks.remove((task, handle))
            self._try_put_index()
            if isinstance(data, ExceptionWrapper):
                data.reraise()
            return data

    def _answering(self) -> list[_WorkerHandle]:
        """The workers whose next answer can be taken."""
        if self._in_order:
            return [self._tasks[0][1]]
        return [handle for handle in self._handles if handle.outstanding and handle.active]

    def _worker_ended(self, handle: _WorkerHandle) -> None:
        """A worker's copy of an iterable dataset has no more batches."""
        handle.active = False
        self._tasks = collections.deque(task for task in self._tasks if task[1] is not handle)
        if not self._persistent_workers:
            handle.ask_to_end()
        self._try_put_index()

    def _receive(self, handles: list[_WorkerHandle]) -> tuple[_WorkerHandle, Any, Any]:
        """The first answer of one of these workers."""
        handle = self._wait_for(handles)
        try:
            task, data = handle.receiver.receive()
        except (EOFError, OSError) as error:
            raise RuntimeError(handle.ended_message()) from error
        return handle, task, data

    def _wait_for(self, handles: list[_WorkerHandle]) -> _WorkerHandle:
        """The first of these workers with an answer, or that is gone."""
        if len(handles) == 1 and handles[0].connection.poll():
            return handles[0]
        deadline = time.monotonic() + self._timeout if self._timeout > 0 else None
        waiting: dict[Any, _WorkerHandle] = {h.connection: h for h in handles}
        waiting.update((h.process.sentinel, h) for h in handles)
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = mp_connection.wait(list(waiting), left)
            if not ready:
                self._grace = 0.0  # what is stuck need not be asked to end
                raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
            answered = [waiting[x] for x in ready if not isinstance(x, int)]
            if answered:
                return answered[0]
            gone = waiting[ready[0]]
            if not gone.connection.poll():  # an answer may have come just before the end
                raise RuntimeError(gone.ended_message())
            return gone

    # -- the end -----------------------------------------------------------------------------

    def _shutdown_workers(self) -> None:
        """End all workers; those that do not answer in time are killed."""
        # A forked child that holds a copy of this iterator has no say over the workers.
        if self._shutdown or os.getpid() != self._owner_pid:
            return
        self._shutdown = True
        self._tasks = collections.deque()
        for handle in self._handles:
            handle.ask_to_end()
        deadline = time.monotonic() + self._grace
        for handle in self._handles:
            # Closing our end frees a worker that is stuck in sending.
            parent_connections.discard(handle.connection)
            handle.connection.close()
        for handle in self._handles:
            process = handle.process
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.terminate()
                process.join(1.0)
            if process.is_alive():
                process.kill()
                process.join(1.0)

    def __del__(self) -> None:
        if hasattr(self, "_shutdown"):
            self._shutdown_workers()
