"""Batches from a worker to its parent.

A batch is pickled with its arrays left out. Large arrays travel in shared memory segments that
the worker fills and the parent maps; small ones, and all where segments cannot be had, through
the pipe. A segment is used again once the parent has let go of every array in it, so memory
stays warm: the parent reports such segments with the next request.
"""

from __future__ import annotations

import collections
import contextlib
import copyreg
import io
import mmap
import os
import pickle
import sys
import tempfile
import weakref
from collections.abc import Iterable
from multiprocessing import reduction
from typing import Any

import numpy as np

import facula
from facula.utils.data._utils import arrays

_ALIGNMENT = 64
_SMALLEST_SEGMENT = 32 << 10  # below this a pipe is as fast
_MAX_SEGMENTS = 32  # of one worker; each takes a file descriptor on both sides


# -- pickling --------------------------------------------------------------------------------


class _BatchPickler(pickle.Pickler):
    """Pickles plain tensors as arrays, which leave through `buffer_callback`."""

    def __init__(self, file: Any, buffers: list) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffers.append)
        # What multiprocessing knows to send: connections, locks, what users have registered.
        self.dispatch_table = copyreg.dispatch_table | reduction.ForkingPickler._extra_reducers

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not facula.Tensor:
            return NotImplemented
        if obj.requires_grad and not obj.is_leaf:
            raise RuntimeError(
                "Cowardly refusing to serialize non-leaf tensor which requires_grad, since "
                "autograd does not support crossing process boundaries.  If you just want to "
                "transfer the data, call detach() on the tensor before serializing (e.g., putting "
                "it on the queue)."
            )
        array = arrays.peek(obj.detach() if obj.requires_grad else obj)
        if array is None:
            return NotImplemented
        data = pickle.PickleBuffer(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        dtype = str(obj.dtype).rpartition(".")[2]
        return _rebuild_tensor, (data, array.dtype.str, dtype, array.shape, obj.requires_grad)


def _rebuild_tensor(data: Any, layout: str, dtype: str, shape: tuple, requires_grad: bool) -> Any:
    array = np.frombuffer(data, layout) if not isinstance(data, np.ndarray) else data.view(layout)
    tensor = arrays.adopt(array.reshape(shape), getattr(facula, dtype))
    return tensor.requires_grad_() if requires_grad else tensor


def _dumps(obj: Any) -> tuple[bytes, list[np.ndarray]]:
    file, buffers = io.BytesIO(), []
    _BatchPickler(file, buffers).dump(obj)
    return file.getvalue(), [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers]


# -- the worker's end ------------------------------------------------------------------------


# A map keeps a descriptor of its own unless told not to, which Python 3.13 can be.
_MAP_OPTIONS: dict = {"trackfd": False} if sys.version_info >= (3, 13) else {}


class _Segment:
    """A piece of shared memory, open in this process."""

    def __init__(self, fd: int, size: int) -> None:
        self.map = mmap.mmap(fd, size, **_MAP_OPTIONS)
        self.bytes = np.frombuffer(self.map, np.uint8)


def _new_shared_file(size: int) -> int:
    """A nameless file in memory that another process can map through its descriptor."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("facula-batch", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


class BatchSender:
    """Sends batches, each as `(task, segment, spans, pickled)` and what follows it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.parent = os.getppid()
        self.segments: dict[int, _Segment] = {}
        self.free: set[int] = set()
        self.made = 0
        self.can_share = os.name == "posix"

    def release(self, numbers: Iterable[int]) -> None:
        """The parent is done with these segments."""
        self.free.update(numbers)

    def send(self, task: Any, batch: Any) -> None:
        pickled, buffers = _dumps(batch)
        ends = np.cumsum([-(-len(b) // _ALIGNMENT) * _ALIGNMENT for b in buffers]).tolist()
        total = ends[-1] if ends else 0
        number, fd, dropped = self._segment_for(total)
        starts = [0, *ends][:-1]
        spans = [(start, len(buffer)) for start, buffer in zip(starts, buffers, strict=True)]
        header = (task, number, fd is not None and total, dropped, spans, pickled)
        if number is None:
            self.connection.send_bytes(pickle.dumps(header, 5))
            for buffer in buffers:
                self.connection.send_bytes(buffer)
            return
        memory = self.segments[number].bytes
        for (start, size), buffer in zip(spans, buffers, strict=True):
            memory[start : start + size] = buffer
        self.connection.send_bytes(pickle.dumps(header, 5))
        if fd is not None:
            reduction.send_handle(self.connection, fd, self.parent)
            os.close(fd)

    def _segment_for(self, total: int) -> tuple[int | None, int | None, list[int]]:
        """A free segment of that size: (number, descriptor if new, segments given up)."""
        if total < _SMALLEST_SEGMENT or not self.can_share:
            return None, None, []
        fitting = [n for n in self.free if len(self.segments[n].bytes) >= total]
        if fitting:
            number = min(fitting, key=lambda n: len(self.segments[n].bytes))
            self.free.discard(number)
            return number, None, []
        dropped = []
        if len(self.segments) >= _MAX_SEGMENTS:
            if not self.free:
                return None, None, []
            dropped = [self.free.pop()]
            del self.segments[dropped[0]]
        try:
            fd = _new_shared_file(total)
            segment = _Segment(fd, total)
        except OSError:  # out of memory or of descriptors: the pipe will do
            self.can_share = False
            return None, None, dropped
        self.made += 1
        self.segments[self.made] = segment
        return self.made, fd, dropped


# -- the parent's end ------------------------------------------------------------------------


class BatchReceiver:
    """Receives what a `BatchSender` sends."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.segments: dict[int, mmap.mmap] = {}
        self.released: collections.deque[int] = collections.deque()

    def receive(self) -> tuple[Any, Any]:
        """The next (task, batch); EOFError or OSError if the worker is gone."""
        task, number, new_size, dropped, spans, pickled = pickle.loads(self.connection.recv_bytes())
        for gone in dropped:
            self.segments.pop(gone, None)
        if number is None:
            buffers = [np.empty(size, np.uint8) for _, size in spans]
            for buffer in buffers:
                _receive_into(self.connection, buffer)
        else:
            if new_size:
                fd = reduction.recv_handle(self.connection)
                self.segments[number] = mmap.mmap(fd, new_size, **_MAP_OPTIONS)
                os.close(fd)
            buffers = self._views(number, spans)
        return task, pickle.loads(pickled, buffers=buffers)

    def _views(self, number: int, spans: list[tuple[int, int]]) -> list[np.ndarray]:
        """Arrays in a segment; when the last of them is gone the segment is released."""
        whole = np.frombuffer(self.segments[number], np.uint8)
        weakref.finalize(whole, self.released.append, number).atexit = False
        return [whole[start : start + size] for start, size in spans]

    def take_released(self) -> list[int]:
        """Segments to report to the worker."""
        numbers = []
        with contextlib.suppress(IndexError):
            while True:
                numbers.append(self.released.popleft())
        return numbers


def _receive_into(connection: Any, buffer: np.ndarray) -> None:
    if len(buffer):
        connection.recv_bytes_into(buffer)
    else:
        connection.recv_bytes()
