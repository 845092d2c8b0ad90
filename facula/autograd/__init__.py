"""Derivatives: `backward`, `grad`, custom functions, modes, hooks.

Names are looked up when first used: the tensor room needs `autograd.node` before operators exist.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "backward": "facula.ops.gradients",
    "grad": "facula.ops.gradients",
    "Function": "facula.autograd.function",
    "NestedIOFunction": "facula.autograd.function",
    "no_grad": "facula.autograd.mode",
    "enable_grad": "facula.autograd.mode",
    "set_grad_enabled": "facula.autograd.mode",
    "inference_mode": "facula.autograd.mode",
    "set_multithreading_enabled": "facula.autograd.mode",
    "enforce_grad_layout_policy": "facula.autograd.mode",
    "is_grad_enabled": "facula.autograd.mode",
    "detect_anomaly": "facula.autograd.anomaly",
    "set_detect_anomaly": "facula.autograd.anomaly",
    "gradcheck": "facula.autograd.gradcheck",
    "gradgradcheck": "facula.autograd.gradcheck",
    "Variable": "facula.autograd.variable",
}
_MODULES = ("anomaly_mode", "anomaly", "forward_ad", "function", "functional", "grad_mode", "graph", "profiler",
            "variable")  # fmt: skip

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        home = importlib.import_module(_HOME[name])
        value = getattr(home, name)
        if home.__name__.endswith(".gradcheck"):  # the function, though the module has its name
            globals()["gradcheck"] = home.gradcheck
        return value
    if name == "anomaly_mode":
        name = "anomaly"
    if name in _MODULES:
        return importlib.import_module("facula.autograd." + name)
    raise AttributeError(f"module 'facula.autograd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})
