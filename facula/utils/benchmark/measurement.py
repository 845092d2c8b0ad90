"""What a timing gave, with its statistics."""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import facula as torch

UNITS = ((1e-9, "ns", "nanosecond"), (1e-6, "us", "microsecond"), (1e-3, "ms", "millisecond"),
         (1.0, "s", "second"))  # fmt: skip


def select_unit(t: float) -> tuple[str, float]:
    """The unit in which a time reads well, and its seconds."""
    scale, name, _ = next((u for u in reversed(UNITS) if t >= u[0]), UNITS[0])
    return name, scale


def unit_to_english(u: str) -> str:
    """`us` -> `microsecond`."""
    return next(word for _, name, word in UNITS if name == u)


def trim_sigfig(x: float, n: int) -> float:
    """x with n significant digits."""
    return float(f"{x:.{max(n, 1) - 1}e}")


def ordered_unique(elements: Iterable[Any]) -> list[Any]:
    """Each element once, in order."""
    return list(dict.fromkeys(elements))


@contextlib.contextmanager
def set_torch_threads(n: int) -> Iterator[None]:
    """A number of threads, for a while."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n)
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class TaskSpec:
    """What was timed."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """Label and sub label, or the statement."""
        if self.label is not None:
            return self.label + (f": {self.sub_label}" if self.sub_label else "")
        return self.stmt if "\n" not in self.stmt else "stmt:\n" + self.stmt

    def summarize(self) -> str:
        """Everything that is known, as text."""
        parts = [self.title, self.description or ""]
        setup = self.setup.strip()
        if setup and setup != "pass":
            parts.append(f"setup:\n{setup}" if "\n" in setup else f"setup: {setup}")
        return "\n".join(p for p in parts if p)


@dataclass
class Measurement:
    """Times of several runs, each of `number_per_run` calls."""

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[str, Any] | None = field(default=None)

    @property
    def times(self) -> list[float]:
        """Seconds for one call."""
        return [t / self.number_per_run for t in self.raw_times]

    @property
    def median(self) -> float:
        """The median of `times`."""
        return statistics.median(self.times)

    @property
    def mean(self) -> float:
        """The mean of `times`."""
        return statistics.fmean(self.times)

    def _quantile(self, q: float) -> float:
        times = sorted(self.times)
        at = q * (len(times) - 1)
        low = math.floor(at)
        high = min(low + 1, len(times) - 1)
        return times[low] + (times[high] - times[low]) * (at - low)

    @property
    def iqr(self) -> float:
        """The distance between the quartiles."""
        return self._quantile(0.75) - self._quantile(0.25)

    @property
    def significant_figures(self) -> int:
        """How many digits of the median mean something."""
        if len(self.times) < 2 or not self.iqr:
            return 3
        spread = self.iqr / 1.34 / math.sqrt(len(self.times))
        return max(1, min(4, math.ceil(math.log10(self.median / max(spread, 1e-300)))))

    @property
    def has_warnings(self) -> bool:
        """Whether the times differ too much to be trusted."""
        return len(self.times) > 1 and self.iqr / self.median > 0.1

    def meets_confidence(self, threshold: float = 0.1) -> bool:
        """Whether the quartiles lie close enough to each other."""
        return self.iqr / self.median < threshold

    title = property(lambda self: self.task_spec.title)
    env = property(lambda self: self.task_spec.env or "")
    stmt = property(lambda self: self.task_spec.stmt)
    setup = property(lambda self: self.task_spec.setup)
    label = property(lambda self: self.task_spec.label)
    sub_label = property(lambda self: self.task_spec.sub_label)
    description = property(lambda self: self.task_spec.description)
    num_threads = property(lambda self: self.task_spec.num_threads)
    as_row_name = property(lambda self: self.sub_label or self.stmt or "[Unknown]")

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """Measurements of the same thing put together."""
        groups: dict[TaskSpec, list[Measurement]] = {}
        for m in measurements:
            groups.setdefault(m.task_spec, []).append(m)
        merged = []
        for spec, group in groups.items():
            number = max(m.number_per_run for m in group)
            times = [t * number for m in group for t in m.times]
            merged.append(Measurement(number, times, spec))
        return merged

    def __repr__(self) -> str:
        unit, scale = select_unit(self.median)
        n = len(self.times)
        lines = [object.__repr__(self), self.task_spec.summarize()]
        if n > 1:
            lines.append(f"  Median: {self.median / scale:.2f} {unit}")
            quartiles = f"{self._quantile(0.25) / scale:.2f} to {self._quantile(0.75) / scale:.2f}"
            lines.append(f"  IQR:    {self.iqr / scale:.2f} {unit} ({quartiles})")
        else:
            lines.append(f"  {self.median / scale:.2f} {unit}")
        many = "measurements" if n > 1 else "measurement"
        runs = f"{self.number_per_run} runs " + ("per measurement" if n > 1 else "")
        threads = f"{self.num_threads} thread" + ("s" if self.num_threads > 1 else "")
        lines.append(
            f"  {n} {many}, {runs.strip()} , {threads}".replace(" ,", "," if n > 1 else " ,")
        )
        if self.has_warnings:
            lines.append("  WARNING: Interquartile range is large: the system was busy.")
        return "\n".join(lines)
