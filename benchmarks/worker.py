"""A process that holds one library and times its workloads."""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.layers import LAYERS
from benchmarks.networks import WORKLOADS
from benchmarks.products import product


def installed() -> list[str]:
    """facula, and PyTorch where it is installed."""
    return ["facula", *(["torch"] if importlib.util.find_spec("torch") else [])]


def build(torch: Any, name: str, compiled: bool = False) -> Callable[[], float]:
    """One unit of work by its name: a program, a layer, or `product:SHAPE`."""
    kind, _, shape = name.partition(":")
    if kind == "product":
        return product(torch, shape)
    if name in LAYERS:
        return LAYERS[name](torch)
    return WORKLOADS[name](torch, torch.compile if compiled else lambda f: f)


def serve(library: str, pipe: Connection) -> None:
    """The worker: builds the workloads it is told to, and times them."""
    library, _, mode = library.partition(":")
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
                step = build(torch, argument, mode == "compile")
                step()
            else:
                for _ in range(argument):
                    step()
            pipe.send(time.perf_counter() - start)
        except Exception as error:  # not running a workload is a result as well
            pipe.send(f"{type(error).__name__}: {error}".splitlines()[0][:90])


class Worker:
    """A library in its own process, started again where it died. `facula:compile` compiles."""

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
