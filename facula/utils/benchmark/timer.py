"""Timer: how long a statement takes."""

from __future__ import annotations

import enum
import textwrap
import timeit
from collections.abc import Callable
from typing import Any

import facula as torch
from facula.ops.update import end_of_step
from facula.utils.benchmark.measurement import Measurement, TaskSpec, set_torch_threads


class Language(enum.Enum):
    """What a statement is written in."""

    PYTHON = 0
    CPP = 1


def timer() -> float:
    """The clock, read when everything that was recorded has run."""
    end_of_step()
    return timeit.default_timer()


class Timer:
    """Times a statement, as `timeit.Timer` does, on a given number of threads.

    Operators are recorded and fused: a result that the statement throws away is not computed. Keep
    it (`y = f(x)`), or look at it, if its computation is what counts.
    """

    def __init__(
        self,
        stmt: str = "pass",
        setup: str = "pass",
        global_setup: str = "",
        timer: Callable[[], float] = timer,
        globals: dict[str, Any] | None = None,
        label: str | None = None,
        sub_label: str | None = None,
        description: str | None = None,
        env: str | None = None,
        num_threads: int = 1,
        language: Language | str = Language.PYTHON,
    ) -> None:
        if language not in (Language.PYTHON, "py", "python"):
            raise NotImplementedError("Timer: only Python statements can be timed")
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        scope = dict(globals or {})
        scope.setdefault("torch", torch)
        stmt, setup = textwrap.dedent(stmt).strip(), textwrap.dedent(setup).strip()
        self._timer = timeit.Timer(stmt, setup, timer=timer, globals=scope)
        self._task_spec = TaskSpec(
            stmt, setup, global_setup, label, sub_label, description, env, num_threads
        )

    def _run(self, number: int) -> float:
        return max(self._timer.timeit(number), 1e-9)

    def timeit(self, number: int = 1000000) -> Measurement:
        """One measurement of `number` calls, after a warm-up."""
        with set_torch_threads(self._task_spec.num_threads):
            self._run(max(number // 100, 2))
            return Measurement(number, [self._run(number)], self._task_spec)

    def repeat(self, repeat: int = -1, number: int = -1) -> None:
        """Not there, as in PyTorch: use the others."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def autorange(self, callback: Any = None) -> None:
        """Not there, as in PyTorch: use `blocked_autorange`."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def _block_size(self, min_run_time: float) -> int:
        """So many calls that reading the clock costs little."""
        overhead = min(timeit.Timer("pass").timeit(100) for _ in range(3))
        number = 1
        while True:
            taken = self._run(number)
            if overhead / taken <= 1e-4 and taken >= min_run_time / 1000:
                return number
            if taken > min_run_time:
                return number
            number *= 10

    def _measure(
        self, min_run_time: float, max_run_time: float, done: Callable, callback: Any
    ) -> Measurement:
        with set_torch_threads(self._task_spec.num_threads):
            self._run(2)
            number = self._block_size(min_run_time)
            times: list[float] = []
            while True:
                taken = self._run(number)
                times.append(taken)
                if callback:
                    callback(number, taken)
                measured = Measurement(number, times, self._task_spec)
                total = sum(times)
                if total >= max_run_time or (total >= min_run_time and done(measured)):
                    return measured

    def blocked_autorange(
        self, callback: Callable[[int, float], Any] | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Measures blocks of calls until `min_run_time` seconds have passed."""
        return self._measure(min_run_time, min_run_time, lambda m: True, callback)

    def adaptive_autorange(
        self,
        threshold: float = 0.1,
        *,
        min_run_time: float = 0.01,
        max_run_time: float = 10.0,
        callback: Callable[[int, float], Any] | None = None,
    ) -> Measurement:
        """As `blocked_autorange`, until the quartiles lie within `threshold` of the median."""

        def settled(m: Measurement) -> bool:
            return len(m.times) >= 4 and m.meets_confidence(threshold)

        return self._measure(min_run_time, max_run_time, settled, callback)

    def collect_callgrind(self, *args: Any, **kwargs: Any) -> Any:
        """Not there: Valgrind cannot follow code that is made at run time."""
        raise NotImplementedError("Timer.collect_callgrind: use blocked_autorange")
