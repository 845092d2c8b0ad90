"""Switches of GPU arithmetic and of attention's implementations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

from facula.nn.attention import SDPBackend

__all__ = [
    "SDPAParams", "SDPBackend", "can_use_cudnn_attention", "can_use_efficient_attention",
    "can_use_flash_attention", "cudnn_sdp_enabled", "enable_cudnn_sdp", "enable_flash_sdp",
    "enable_math_sdp", "enable_mem_efficient_sdp", "flash_sdp_enabled",
    "is_flash_attention_available", "math_sdp_enabled", "matmul", "mem_efficient_sdp_enabled",
    "preferred_blas_library", "preferred_linalg_library", "sdp_kernel",
]  # fmt: skip

matmul = SimpleNamespace(
    allow_tf32=False,
    allow_fp16_reduced_precision_reduction=True,
    allow_bf16_reduced_precision_reduction=True,
    allow_fp16_accumulation=False,
    fp32_precision="none",
)
_enabled = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True}
_half_reduction = False


def is_built() -> bool:
    """Whether facula can use NVIDIA's GPUs: not yet."""
    return False


def flash_sdp_enabled() -> bool:
    """What was set with `enable_flash_sdp`."""
    return _enabled["flash"]


def enable_flash_sdp(enabled: bool) -> None:
    """Accepted; attention has one implementation on CPUs."""
    _enabled["flash"] = enabled


def mem_efficient_sdp_enabled() -> bool:
    """What was set with `enable_mem_efficient_sdp`."""
    return _enabled["mem_efficient"]


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """Accepted; attention has one implementation on CPUs."""
    _enabled["mem_efficient"] = enabled


def math_sdp_enabled() -> bool:
    """What was set with `enable_math_sdp`."""
    return _enabled["math"]


def enable_math_sdp(enabled: bool) -> None:
    """Accepted; attention has one implementation on CPUs."""
    _enabled["math"] = enabled


def cudnn_sdp_enabled() -> bool:
    """What was set with `enable_cudnn_sdp`."""
    return _enabled["cudnn"]


def enable_cudnn_sdp(enabled: bool) -> None:
    """Accepted; attention has one implementation on CPUs."""
    _enabled["cudnn"] = enabled


def fp16_bf16_reduction_math_sdp_allowed() -> bool:
    """What was set with `allow_fp16_bf16_reduction_math_sdp`."""
    return _half_reduction


def allow_fp16_bf16_reduction_math_sdp(enabled: bool) -> None:
    """Accepted; attention computes in float32."""
    global _half_reduction
    _half_reduction = enabled


@contextlib.contextmanager
def sdp_kernel(
    enable_flash: bool = True,
    enable_math: bool = True,
    enable_mem_efficient: bool = True,
    enable_cudnn: bool = True,
) -> Iterator[dict]:
    """Chooses among attention's implementations, for a while: there is one."""
    before = dict(_enabled)
    _enabled.update(
        flash=enable_flash,
        math=enable_math,
        mem_efficient=enable_mem_efficient,
        cudnn=enable_cudnn,
    )
    try:
        yield {}
    finally:
        _enabled.update(before)


class SDPAParams(NamedTuple):
    """A call of attention, to ask which implementation would take it."""

    query: Any
    key: Any
    value: Any
    attn_mask: Any
    dropout: float
    is_causal: bool
    enable_gqa: bool = False


def can_use_flash_attention(params: SDPAParams, debug: bool = False) -> bool:
    """Whether a GPU's flash attention would take the call."""
    return False


can_use_efficient_attention = can_use_cudnn_attention = can_use_flash_attention


def is_flash_attention_available() -> bool:
    """Whether flash attention for GPUs is there."""
    return False


def preferred_linalg_library(backend: Any = None) -> str:
    """The library for linear algebra on GPUs."""
    return "default"


def preferred_blas_library(backend: Any = None) -> str:
    """The library for products on GPUs."""
    return "default"
