"""Times a workload in each library, turn by turn, so that what disturbs one disturbs the other."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from benchmarks.worker import Worker


@dataclass
class Timing:
    """What came out: by library the first step's seconds (or what went wrong) and milliseconds."""

    first: dict[str, float | str]
    ms: dict[str, float] = field(default_factory=dict)
    ratios: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Median of the turns' ratios; above 1 the first library is ahead."""
        return statistics.median(self.ratios) if self.ratios else None


def measure(workers: list[Worker], name: str, turns: int, seconds: float) -> Timing:
    """Builds the workload in each worker, then lets them take turns of about `seconds`."""
    timing = Timing({w.library: w.ask("build", name) for w in workers})
    able = [w for w in workers if not isinstance(timing.first[w.library], str)]
    counts = {}
    times: dict[str, list[float]] = {w.library: [] for w in able}
    for w in able:
        w.ask("time", 3)
        counts[w.library] = max(1, round(seconds / max(float(w.ask("time", 1)), 1e-6)))
    for _ in range(turns):
        for w in able:
            times[w.library].append(float(w.ask("time", counts[w.library])) / counts[w.library])
    timing.ms = {library: statistics.median(t) * 1e3 for library, t in times.items()}
    if len(times) == 2:
        timing.ratios = [b / a for a, b in zip(*times.values(), strict=True)]
    return timing
