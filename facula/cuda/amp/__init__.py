"""The old names of `torch.amp` for GPUs: off, with a warning, where there is none."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import facula as torch
from facula import amp

__all__ = ["GradScaler", "amp_definitely_not_available", "autocast", "custom_bwd", "custom_fwd"]

_OLD = "`torch.cuda.amp.{0}(args...)` is deprecated. Please use `torch.amp.{0}('cuda', args...)` instead."


def amp_definitely_not_available() -> bool:
    """Whether there is no GPU to use mixed precision on."""
    return not torch.cuda.is_available()


class autocast(amp.autocast):
    """Deprecated: `torch.amp.autocast("cuda", ...)`."""

    def __init__(
        self,
        enabled: bool = True,
        dtype: torch.dtype = torch.float16,
        cache_enabled: bool = True,
    ):
        warnings.warn(_OLD.format("autocast"), FutureWarning, stacklevel=2)
        super().__init__("cuda", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


class GradScaler(amp.GradScaler):
    """Deprecated: `torch.amp.GradScaler("cuda", ...)`."""

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        warnings.warn(_OLD.format("GradScaler"), FutureWarning, stacklevel=2)
        super().__init__(
            "cuda", init_scale, growth_factor, backoff_factor, growth_interval, enabled
        )


def custom_fwd(fwd: Any = None, *, cast_inputs: Any = None) -> Any:
    """Deprecated: `torch.amp.custom_fwd(..., device_type="cuda")`."""
    warnings.warn(_OLD.format("custom_fwd"), FutureWarning, stacklevel=2)
    return functools.partial(amp.custom_fwd, device_type="cuda")(fwd=fwd, cast_inputs=cast_inputs)


def custom_bwd(bwd: Any) -> Any:
    """Deprecated: `torch.amp.custom_bwd(..., device_type="cuda")`."""
    warnings.warn(_OLD.format("custom_bwd"), FutureWarning, stacklevel=2)
    return functools.partial(amp.custom_bwd, device_type="cuda")(bwd)
