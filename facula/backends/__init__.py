"""Switches of back ends: accepted, without effect on the CPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def _always(value: Any) -> Any:
    return lambda *_, **__: value


cudnn = SimpleNamespace(
    enabled=True, benchmark=False, deterministic=False, allow_tf32=True, benchmark_limit=10,
    is_available=_always(False), version=_always(None),
)  # fmt: skip
cuda = SimpleNamespace(
    matmul=SimpleNamespace(allow_tf32=False, allow_fp16_reduced_precision_reduction=True,
                           allow_bf16_reduced_precision_reduction=True),
    is_built=_always(False), flash_sdp_enabled=_always(True), enable_flash_sdp=_always(None),
    mem_efficient_sdp_enabled=_always(True), enable_mem_efficient_sdp=_always(None),
    math_sdp_enabled=_always(True), enable_math_sdp=_always(None),
)  # fmt: skip
mps = SimpleNamespace(is_available=_always(False), is_built=_always(False))
mkl = SimpleNamespace(is_available=_always(False))
mkldnn = SimpleNamespace(is_available=_always(False), enabled=False)
openmp = SimpleNamespace(is_available=_always(False))
opt_einsum = SimpleNamespace(is_available=_always(False), enabled=False, strategy=None)
cpu = SimpleNamespace(get_cpu_capability=_always("DEFAULT"))
