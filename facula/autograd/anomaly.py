"""Anomaly mode: a backward pass that stops at the first NaN."""

from __future__ import annotations

import warnings
from typing import Any

from facula.autograd.mode import Context
from facula.autograd.walk import ANOMALY

_check_nan = [True]


def is_check_nan_enabled() -> bool:
    """Whether anomaly mode looks for NaN."""
    return _check_nan[0]


def check(node: Any, grads: tuple) -> None:
    """RuntimeError if a derivative gave NaN."""
    if not _check_nan[0]:
        return
    for i, g in enumerate(grads):
        if g is not None and g.meta.dtype.kind in "fc" and bool((g != g).any()):
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.")


class set_detect_anomaly(Context):
    """Switches anomaly mode, at once; as a context, until its end."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = (ANOMALY[0], _check_nan[0])
        self.mode = (bool(mode), check_nan)
        ANOMALY[0], _check_nan[0] = self.mode

    def clone(self) -> Any:
        return set_detect_anomaly(*self.mode)

    def __enter__(self) -> None:
        ANOMALY[0], _check_nan[0] = self.mode

    def __exit__(self, *exc: Any) -> None:
        ANOMALY[0], _check_nan[0] = self.before


class detect_anomaly(set_detect_anomaly):
    """Backward passes inside raise RuntimeError at the derivative that first gives NaN."""

    def __init__(self, check_nan: bool = True) -> None:
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should "
            "only be enabled for debugging.",
            stacklevel=2,
        )
        super().__init__(True, check_nan)
        ANOMALY[0], _check_nan[0] = self.before

    def clone(self) -> Any:
        return detect_anomaly(self.mode[1])


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on."""
    return ANOMALY[0]


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly mode looks for NaN."""
    return _check_nan[0]
