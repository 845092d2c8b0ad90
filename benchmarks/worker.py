"""A process that holds one library and times its workloads."""

from __future__ import annotations

import importlib
import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.layers import LAYERS
from benchmarks.products import product
from benchmarks.workloads import WORKLOADS

KNOWN = WORKLOADS | LAYERS


def serve(library: str, pipe: Connection) -> None:
    """The worker: builds the workloads it is told to, and times them."""
    start = time.perf_counter()
    torch = importlib.import_module(library)
    pipe.send(time.perf_counter() - start)
    step: Any = None
    while True:
        order, argument = pipe.recv()
        try:
            start = time.perf_counter()
            if order == "build":
                torch.manual_seed(0)
                kind, _, shape = argument.partition(":")
                step = product(torch, shape) if kind == "product" else KNOWN[argument](torch)
                step()
            else:
                for _ in range(argument):
                    step()
            pipe.send(time.perf_counter() - start)
        except Exception as error:  # not running a workload is a result as well
            pipe.send(f"{type(error).__name__}: {error}".splitlines()[0][:90])


class Worker:
    """A library in its own process, started again where it died."""

    def __init__(self, library: str) -> None:
        self.library = library
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(self.library, other), daemon=True)
        self.process.start()
        other.close()
        self.import_seconds: float = self.pipe.recv()

    def ask(self, order: str, argument: Any) -> float | str:
        """Seconds, or what went wrong."""
        try:
            self.pipe.send((order, argument))
            return self.pipe.recv()
        except (EOFError, BrokenPipeError):
            self.start()
            return "the process died"

    def close(self) -> None:
        self.process.terminate()
