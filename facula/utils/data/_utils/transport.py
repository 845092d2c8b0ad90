"""Batches from a worker to its parent.

A batch is pickled with its arrays left out. Large arrays travel in shared memory, one segment
each, which the parent maps; small ones, and all where segments cannot be had, through the pipe.
Samples are stacked right in a segment, so they are copied once. A segment is used again once
worker and parent have let go of its array, so memory stays warm: the parent reports what it has
let go of with the next request.
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

_SMALLEST_SEGMENT = 32 << 10  # below this a pipe is as fast
_MAX_SEGMENTS = 64  # of one worker; each takes a file descriptor on both sides


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


class _Segment:
    """A piece of shared memory, open in this process."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd: int | None = fd  # until it is sent to the parent
        self.size = size
        self.map = mmap.mmap(fd, size, **_MAP_OPTIONS)
        self.used_here = False
        self.used_by_parent = False

    def array(self, nbytes: int) -> np.ndarray:
        """Its first bytes; while anything made from the array lives the segment is in use."""
        whole = np.frombuffer(self.map, np.uint8)
        self.used_here = True
        weakref.finalize(whole, setattr, self, "used_here", False).atexit = False
        return whole[:nbytes]


# A map keeps a descriptor of its own unless told not to, which Python 3.13 can be.
_MAP_OPTIONS: dict = {"trackfd": False} if sys.version_info >= (3, 13) else {}


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
    """Sends batches: a header `(task, spans, dropped, pickled)`, and what follows it.

    A span stands for one array: (segment or None, bytes of the array, size of a new segment).
    What follows are, in the order of the spans, the descriptors of new segments and the bytes
    of arrays without one.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.parent = os.getppid()
        self.segments: dict[int, _Segment] = {}
        self.at: dict[int, int] = {}  # address -> number of a segment
        self.made = 0
        self.dropped: list[int] = []
        self.can_share = os.name == "posix"

    def release(self, numbers: Iterable[int]) -> None:
        """The parent is done with these segments."""
        for number in numbers:
            if number in self.segments:
                self.segments[number].used_by_parent = False

    def allocate(self, nbytes: int) -> np.ndarray | None:
        """Memory that can be sent without a copy; None where the usual does as well."""
        if nbytes < _SMALLEST_SEGMENT or not self.can_share:
            return None
        free = [s for s in self.segments.values() if not (s.used_here or s.used_by_parent)]
        fitting = [s for s in free if s.size >= nbytes]
        if fitting:
            return min(fitting, key=lambda s: s.size).array(nbytes)
        if len(self.segments) >= _MAX_SEGMENTS:
            if not free:
                return None
            self._drop(free[0])
        try:
            segment = _Segment(_new_shared_file(nbytes), nbytes)
        except OSError:  # out of memory or of descriptors: the pipe will do
            self.can_share = False
            return None
        self.made += 1
        self.segments[self.made] = segment
        array = segment.array(nbytes)
        self.at[_address(array)] = self.made
        return array

    def _drop(self, segment: _Segment) -> None:
        number = next(n for n, s in self.segments.items() if s is segment)
        del self.segments[number]
        self.at = {address: n for address, n in self.at.items() if n != number}
        if segment.fd is None:
            self.dropped.append(number)
        else:
            os.close(segment.fd)

    def send(self, task: Any, batch: Any) -> None:
        pickled, buffers = _dumps(batch)
        parts = [self._place(buffer) for buffer in buffers]
        spans = []
        for (number, _), buffer in zip(parts, buffers, strict=True):
            segment = self.segments[number] if number else None
            new = segment.size if segment is not None and segment.fd is not None else 0
            spans.append((number, len(buffer), new))
        dropped, self.dropped = self.dropped, []
        self.connection.send_bytes(pickle.dumps((task, spans, dropped, pickled), 5))
        for (number, size, new), buffer in zip(spans, buffers, strict=True):
            if number is None and size:
                self.connection.send_bytes(buffer)
            elif new:
                self._hand_over(self.segments[number])

    def _place(self, buffer: np.ndarray) -> tuple[int | None, Any]:
        """The segment an array is in, or is copied to; and what keeps the segment in use."""
        number = self.at.get(_address(buffer))
        copy = None
        if number is None or self.segments[number].used_by_parent:
            copy = self.allocate(len(buffer))
            if copy is None:
                return None, None
            copy[:] = buffer
            number = self.at[_address(copy)]
        self.segments[number].used_by_parent = True
        return number, copy

    def _hand_over(self, segment: _Segment) -> None:
        fd, segment.fd = segment.fd, None
        if fd is not None:
            reduction.send_handle(self.connection, fd, self.parent)
            os.close(fd)


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


# -- the parent's end ------------------------------------------------------------------------


class BatchReceiver:
    """Receives what a `BatchSender` sends."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.segments: dict[int, mmap.mmap] = {}
        self.released: collections.deque[int] = collections.deque()

    def receive(self) -> tuple[Any, Any]:
        """The next (task, batch); EOFError or OSError if the worker is gone."""
        task, spans, dropped, pickled = pickle.loads(self.connection.recv_bytes())
        for gone in dropped:
            self.segments.pop(gone, None)
        buffers = [self._receive_array(*span) for span in spans]
        return task, pickle.loads(pickled, buffers=buffers)

    def _receive_array(self, number: int | None, nbytes: int, new_size: int) -> np.ndarray:
        if number is None:
            array = np.empty(nbytes, np.uint8)
            if nbytes:
                self.connection.recv_bytes_into(array)
            return array
        if new_size:
            fd = reduction.recv_handle(self.connection)
            self.segments[number] = mmap.mmap(fd, new_size, **_MAP_OPTIONS)
            os.close(fd)
        # When the last array made from this one is gone the segment is released.
        whole = np.frombuffer(self.segments[number], np.uint8)
        weakref.finalize(whole, self.released.append, number).atexit = False
        return whole[:nbytes]

    def take_released(self) -> list[int]:
        """Segments to report to the worker."""
        numbers = []
        with contextlib.suppress(IndexError):
            while True:
                numbers.append(self.released.popleft())
        return numbers
