"""What was run for a computation: its plans, and the kernels in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from facula import engine
from facula.graph.tape import flush
from facula.runtime.plan import NativePlan as NativeRun
from facula.schedule.native_plan import Builder, NativePlan


@dataclass
class Ran:
    """Plans run while watching, in order."""

    plans: list[Any] = field(default_factory=list)
    builders: list[Any] = field(default_factory=list)  # of those that had to be built
    built: int = 0  # how many these are

    @property
    def names(self) -> list[str]:
        """The kind of each native step; 'loop' is a fused loop kernel."""
        return [step.kernel.key.split()[0] for plan in self.plans for step in plan.kernels]

    @property
    def keys(self) -> set[str]:
        """The distinct kernels."""
        return {step.kernel.key for plan in self.plans for step in plan.kernels}

    @property
    def host_steps(self) -> int:
        """Steps that are left to NumPy."""
        return sum(type(part) is not NativeRun for plan in self.plans for part in plan.segments)


@contextlib.contextmanager
def watched() -> Iterator[Ran]:
    """Notes the plans of what is recorded inside; all of it is evaluated at the end."""
    flush()
    ran = Ran()
    before = engine.Counters.plans_built
    run, build = NativePlan.run, Builder.build

    def noting(plan: NativePlan, leaves: list[Any], scalars: list[Any]) -> Any:
        ran.plans.append(plan)
        return run(plan, leaves, scalars)

    def noting_builder(builder: Builder) -> NativePlan:
        ran.builders.append(builder)
        return build(builder)

    with (
        mock.patch.object(NativePlan, "run", noting),
        mock.patch.object(Builder, "build", noting_builder),
    ):
        yield ran
        flush()
    ran.built = engine.Counters.plans_built - before
