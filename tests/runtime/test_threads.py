"""The plan runner and its worker threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading as python_threads
from collections.abc import Iterator
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from facula.kernel.step import Step
from facula.llvm.target import Target
from facula.runtime import jit, threads
from facula.runtime.llvmc import compile_object
from facula.runtime.plan import NativePlan
from facula.runtime.runner_ir import runner_ir

from .kernels import Axpy, Fails, axpy_step

ROOT = Path(__file__).parents[2]
SHARED = 1e6  # an estimated cost at which a step is certainly shared, and workers are woken


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def _plan(tasks: int = 37, steps: int = 5, cost: float = SHARED) -> NativePlan:
    table = jit.compile_kernels([Axpy()])
    return NativePlan([axpy_step(tasks, 16, cost)] * steps, table, 2, "d")


def _run(plan: NativePlan, tasks: int = 37) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal(tasks * 16)
    y = np.zeros_like(x)
    assert plan.run([x.ctypes.data, y.ctypes.data], [0.1]) == 0
    return y


@pytest.mark.parametrize("number", [2, 3, 5])
def test_same_bits_with_any_number_of_threads(number: int) -> None:
    threads.set_num_threads(1)
    expected = _run(_plan())
    assert expected.any()
    threads.set_num_threads(number)
    plan = _plan()
    for _ in range(200):
        np.testing.assert_array_equal(_run(plan), expected)


def test_sleeping_workers_are_woken() -> None:
    threads.set_num_threads(2)
    plan = _plan(steps=1)
    expected = _run(plan)
    for _ in range(20):
        python_threads.Event().wait(0.002)  # longer than a worker spins
        np.testing.assert_array_equal(_run(plan), expected)


def test_fewer_tasks_than_threads_and_none() -> None:
    threads.set_num_threads(4)
    for tasks in (0, 1, 2):
        y = _run(_plan(tasks), tasks)
        assert (y != 0).all()


def test_scalars_of_both_kinds_and_reported_index() -> None:
    steps = [Step(Fails(), [], 1), axpy_step(2, 1, 0.0)]
    plan = NativePlan(steps, jit.compile_kernels([Axpy(), Fails()]), 2, "dq")
    x, y = np.ones(2), np.zeros(2)
    assert plan.run([x.ctypes.data, y.ctypes.data], [2.5, -3]) == 1
    assert plan.status == (1, 7, 5, 3)
    assert y.tolist() == [0, 0]  # later steps were not run


def test_number_of_threads_can_change_at_any_time() -> None:
    threads.set_num_threads(1)
    plan = _plan()
    expected = _run(plan)
    for number in (2, 1, 3, 2, 4, 1) * 3:
        threads.set_num_threads(number)
        assert threads.get_num_threads() == number
        np.testing.assert_array_equal(_run(plan), expected)
    with pytest.raises(RuntimeError, match="positive"):
        threads.set_num_threads(0)
    with pytest.raises(TypeError):
        threads.set_num_threads(1.5)  # type: ignore[arg-type]


def test_concurrent_callers() -> None:
    threads.set_num_threads(2)
    plan = _plan(tasks=200)
    expected = _run(plan, 200)
    wrong: list[int] = []

    def call() -> None:
        for _ in range(100):
            if not np.array_equal(_run(plan, 200), expected):
                wrong.append(1)  # noqa: PERF401 (seen by the other threads at once)

    callers = [python_threads.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for number in (1, 3, 2):  # the pool is replaced under them
        threads.set_num_threads(number)
        python_threads.Event().wait(0.01)
    for caller in callers:
        caller.join()
    assert not wrong


_PRELUDE = """
import os, sys
import numpy as np
from facula.runtime import threads
from tests.runtime.test_threads import _plan, _run
threads.set_num_threads(2)
plan = _plan()
expected = _run(plan)
"""


def _child(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _PRELUDE + code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_makes_its_own_workers() -> None:
    done = _child(
        """
pid = os.fork()
for _ in range(50):
    assert (_run(plan) == expected).all()
if pid == 0:
    print("child has", threads._pool.threads and len(threads._pool.threads), flush=True)
else:
    assert os.waitpid(pid, 0)[1] == 0
    print("parent fine")
"""
    )
    assert (done.returncode, done.stdout) == (0, "child has 1\nparent fine\n"), done.stderr


def test_clean_exit_after_an_exception_and_from_other_threads() -> None:
    done = _child("raise KeyError('deliberate')")
    assert done.returncode == 1
    assert "deliberate" in done.stderr
    done = _child(
        """
import threading
def forever():
    while True:
        _run(plan)
threading.Thread(target=forever, daemon=True).start()
threading.Event().wait(0.05)
"""
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_clean_exit_on_interrupt() -> None:
    done = _child(
        """
import signal, threading
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    while True:
        _run(plan)
except KeyboardInterrupt:
    assert (_run(plan) == expected).all()
    print("interrupted")
"""
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


@pytest.mark.parametrize(
    "triple", ["aarch64-unknown-linux-gnu", "arm64-apple-macosx14", "x86_64-unknown-linux-gnu"]
)
def test_runner_compiles_for_other_machines(triple: str) -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = Target(triple, "", "", 16, 32, True, False)
    assert compile_object(runner_ir(triple), target)
