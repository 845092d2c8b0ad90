"""Timing small pieces of code, after a warm-up and with what is pending evaluated.

>>> import facula as torch
>>> from facula.utils import benchmark
>>> t = benchmark.Timer("x @ x", globals={"x": torch.ones(64, 64)})
>>> t.timeit(10).median > 0
True
"""

from facula.utils.benchmark.compare import Colorize, Compare
from facula.utils.benchmark.measurement import (
    Measurement,
    TaskSpec,
    ordered_unique,
    select_unit,
    set_torch_threads,
    trim_sigfig,
    unit_to_english,
)
from facula.utils.benchmark.timer import Language, Timer, timer

__all__ = [
    "Colorize", "Compare", "Language", "Measurement", "TaskSpec", "Timer", "ordered_unique",
    "select_unit", "set_torch_threads", "timer", "trim_sigfig", "unit_to_english",
]  # fmt: skip
