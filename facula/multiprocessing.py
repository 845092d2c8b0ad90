"""Python's multiprocessing, and `spawn`. Tensors that are sent arrive as copies."""

from __future__ import annotations

import multiprocessing
import sys
import traceback
from collections.abc import Callable
from multiprocessing import *  # noqa: F403
from multiprocessing import connection
from typing import Any

__all__ = [
    "set_sharing_strategy", "get_sharing_strategy", "get_all_sharing_strategies", "spawn",
    "start_processes", *multiprocessing.__all__,
]  # fmt: skip

_strategy = "file_descriptor"
_STRATEGIES = {"file_descriptor", "file_system"} if sys.platform == "linux" else {"file_system"}


def get_all_sharing_strategies() -> set[str]:
    """Names that `set_sharing_strategy` takes."""
    return set(_STRATEGIES)


def get_sharing_strategy() -> str:
    """What was set with `set_sharing_strategy`."""
    return _strategy


def set_sharing_strategy(new_strategy: str) -> None:
    """How PyTorch shares memory between processes; here tensors are sent as copies."""
    global _strategy
    if new_strategy not in _STRATEGIES:
        raise AssertionError(f"invalid sharing strategy {new_strategy}")
    _strategy = new_strategy


class ProcessException(Exception):
    """A process that was spawned did not end well."""

    def __init__(self, msg: str, error_index: int, pid: int) -> None:
        super().__init__(msg)
        self.msg, self.error_index, self.pid = msg, error_index, pid


class ProcessRaisedException(ProcessException):
    """It raised; the message holds its traceback."""


class ProcessExitedException(ProcessException):
    """It was ended by a signal, or with an exit code."""

    def __init__(self, msg: str, error_index: int, error_pid: int, exit_code: int) -> None:
        super().__init__(msg, error_index, error_pid)
        self.exit_code = exit_code


def _child(fn: Callable, i: int, args: tuple, errors: Any) -> None:
    try:
        fn(i, *args)
    except KeyboardInterrupt:
        pass
    except Exception:
        errors.put(traceback.format_exc())
        sys.exit(1)


class ProcessContext:
    """The processes that `spawn(join=False)` started."""

    def __init__(self, processes: list, error_queues: list) -> None:
        self.processes, self.error_queues = processes, error_queues
        self.sentinels = {p.sentinel: i for i, p in enumerate(processes)}

    def pids(self) -> list[int]:
        """Their numbers."""
        return [int(p.pid) for p in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Waits for one or more; True once all are done. One that failed ends all others."""
        if not self.sentinels:
            return True
        failed = None
        for sentinel in connection.wait(list(self.sentinels), timeout=timeout):
            index = self.sentinels.pop(sentinel)  # type: ignore[arg-type]
            self.processes[index].join()
            if self.processes[index].exitcode:
                failed = index
                break
        if failed is None:
            return not self.sentinels
        for p in self.processes:
            if p.is_alive():
                p.terminate()
            p.join()
        self._report(failed)
        return True

    def _report(self, index: int) -> None:
        p = self.processes[index]
        if self.error_queues[index].empty():
            how = f"with exit code {p.exitcode}"
            if p.exitcode < 0:
                how = f"with signal {-p.exitcode}"
            raise ProcessExitedException(
                f"process {index} terminated {how}", index, p.pid, p.exitcode
            )
        raise ProcessRaisedException(
            f"\n\n-- Process {index} terminated with the following error:\n"
            + self.error_queues[index].get(),
            index,
            p.pid,
        )


SpawnContext = ProcessContext


def start_processes(
    fn: Callable,
    args: tuple = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:
    """Runs `fn(i, *args)` in processes 0 to nprocs - 1; an error in one is raised here."""
    mp = multiprocessing.get_context(start_method)
    processes, queues = [], []
    for i in range(nprocs):
        errors = mp.SimpleQueue()
        process = mp.Process(target=_child, args=(fn, i, args, errors), daemon=daemon)
        process.start()
        processes.append(process)
        queues.append(errors)
    context = ProcessContext(processes, queues)
    if not join:
        return context
    while not context.join():
        pass
    return None


def spawn(
    fn: Callable,
    args: tuple = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:
    """`start_processes` with new interpreters."""
    return start_processes(fn, args, nprocs, join, daemon, start_method="spawn")
