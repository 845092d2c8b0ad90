"""The context in which operators choose their type, and its decorators for autograd functions."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import facula as torch

SUPPORTED = (torch.bfloat16, torch.float16)
NOT_COMPILED = ("cuda", "xla")  # asked for where there is none: off, with a warning


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast knows this kind of device."""
    kind = torch.device(device_type).type
    return kind not in (
        "meta",
        "lazy",
        "mkldnn",
        "opengl",
        "opencl",
        "ideep",
        "hip",
        "ve",
        "fpga",
        "vulkan",
    )


class autocast:
    """Runs matrix products, convolutions and attention in a smaller type, losses in float32.

    A context manager and a decorator. On the CPU `dtype` is bfloat16 (the default) or float16.

    >>> import facula as torch
    >>> model, x = torch.nn.Linear(3, 2), torch.ones(1, 3)
    >>> with torch.autocast("cpu"):
    ...     y = model(x)
    >>> y.dtype
    torch.bfloat16
    """

    def __init__(
        self,
        device_type: str,
        dtype: torch.dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ):
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.device = device_type
        if not is_autocast_available(device_type):
            raise RuntimeError(
                f"User specified an unsupported autocast device_type '{device_type}'"
            )
        self.fast_dtype = torch.get_autocast_dtype(device_type) if dtype is None else dtype
        self.custom_backend_name = "privateuseone"
        if cache_enabled is None:
            cache_enabled = torch.is_autocast_cache_enabled()
        self._cache_enabled = cache_enabled
        self._enabled = enabled and self._possible()

    def _possible(self) -> bool:
        if self.device in NOT_COMPILED:
            warnings.warn(
                "CUDA is not available or torch_xla is imported. Disabling autocast.", stacklevel=3
            )
            return False
        if self.device == "cpu" and self.fast_dtype not in SUPPORTED:
            warnings.warn(
                "In CPU autocast, but the target dtype is not supported. Disabling autocast.\n"
                "CPU Autocast only supports dtypes of torch.bfloat16, torch.float16 currently.",
                stacklevel=3,
            )
            return False
        return True

    def __enter__(self) -> autocast:
        kind = self.device
        self.prev_cache_enabled = torch.is_autocast_cache_enabled()
        self.prev = torch.is_autocast_enabled(kind)
        self.prev_fastdtype = torch.get_autocast_dtype(kind)
        torch.set_autocast_enabled(kind, self._enabled)
        torch.set_autocast_dtype(kind, self.fast_dtype)
        torch.autocast_increment_nesting()
        torch.set_autocast_cache_enabled(self._cache_enabled)
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> bool:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled(self.device, self.prev)
        torch.set_autocast_dtype(self.device, self.prev_fastdtype)
        torch.set_autocast_cache_enabled(self.prev_cache_enabled)
        return False

    def __call__(self, func: Callable) -> Callable:
        @functools.wraps(func)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        return run


def _enter_autocast(*vals: Any) -> autocast:
    mode = torch.amp.autocast(*vals)
    mode.__enter__()
    return mode


def _exit_autocast(mode: autocast) -> None:
    mode.__exit__(None, None, None)


def _cast(value: Any, device_type: str, dtype: torch.dtype) -> Any:
    """Floating tensors inside nested containers, in another type."""
    if isinstance(value, torch.Tensor):
        fits = (
            value.is_floating_point()
            and value.device.type == device_type
            and value.dtype is not torch.float64
        )
        return value.to(dtype) if fits else value
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, Mapping):
        return {
            _cast(k, device_type, dtype): _cast(v, device_type, dtype) for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        items = (_cast(v, device_type, dtype) for v in value)
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _known(device_type: str) -> None:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")


def custom_fwd(
    fwd: Callable | None = None,
    *,
    device_type: str,
    cast_inputs: torch.dtype | None = None,
) -> Callable:
    """For `forward` of an autograd Function: remembers autocast's state for its `backward`.

    With `cast_inputs` the inputs are cast to that type, and forward runs without autocast.
    """
    _known(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def decorate_fwd(*args: Any, **kwargs: Any) -> Any:
        on = torch.is_autocast_enabled(device_type)
        args[0]._dtype = torch.get_autocast_dtype(device_type)
        if cast_inputs is None or not on:
            args[0]._fwd_used_autocast = on and cast_inputs is None
            return fwd(*args, **kwargs)
        args[0]._fwd_used_autocast = False
        with autocast(device_type=device_type, enabled=False):
            given = _cast((args[1:], kwargs), device_type, cast_inputs)
            return fwd(args[0], *given[0], **given[1])

    return decorate_fwd


def custom_bwd(bwd: Callable | None = None, *, device_type: str) -> Callable:
    """For `backward` of an autograd Function: runs it with autocast as forward had it."""
    _known(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def decorate_bwd(*args: Any, **kwargs: Any) -> Any:
        ctx = args[0]
        with autocast(device_type=device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(*args, **kwargs)

    return decorate_bwd
