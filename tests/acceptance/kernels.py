"""What was run for a computation: its plans, and the kernels in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import facula as torch
from facula import engine


@dataclass
class Ran:
    """Plans run while watching, in order."""

    plans: list[Any] = field(default_factory=list)
    built: int = 0

    @property
    def names(self) -> list[str]:
        """The kind of each native step: 'loop' for a fused loop kernel."""
        return [step.kernel.key.split()[0] for plan in self.plans for step in plan.kernels]

    @property
    def keys(self) -> set[str]:
        """The distinct kernels."""
        return {step.kernel.key for plan in self.plans for step in plan.kernels}

    @property
    def loops(self) -> int:
        """How many fused loop kernels ran."""
        return self.names.count("loop")

    @property
    def host_steps(self) -> int:
        """Steps that NumPy did."""
        from facula.runtime.plan import NativePlan

        return sum(not isinstance(part, NativePlan) for plan in self.plans for part in plan.segments)


@contextlib.contextmanager
def watched() -> Iterator[Ran]:
    """What is recorded inside is evaluated inside, and only that."""
    torch.utils.flush() if hasattr(torch.utils, "flush") else _flush()
    ran = Ran()
    original = engine.build_plan
    before = engine.Counters.plans_built
    run_of = {}

    def noting(tape_key: Any) -> None:
        run_of[id(tape_key)] = tape_key

    lookup = engine._plans
    engine._plans = _Watching(lookup, ran)
    try:
        yield ran
        _flush()
    finally:
        engine._plans = dict(engine._plans)
        engine.build_plan = original
    ran.built = engine.Counters.plans_built - before
