"""The machine that code is generated for."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import llvmlite.binding as llvm

# AVX-512 on units of 256 bits: one multiply-add a cycle. Mobile znver5 parts are so too, but have
# the name of those that are not: they get the larger tiles, which costs speed alone.
_IN_HALVES = ("znver4",)


@dataclass(frozen=True)
class Target:
    """What a code generator has to know about a CPU."""

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    n_vector_registers: int
    has_fma: bool
    has_mask: bool
    halves: bool = False  # the widest registers are computed in two halves

    @staticmethod
    @functools.cache
    def host() -> Target:
        """The CPU this process runs on."""
        features = llvm.get_host_cpu_features()
        triple = llvm.get_process_triple()
        if triple.startswith(("aarch64", "arm64")):
            width, registers, fma, mask = 16, 32, True, False
        elif features.get("avx512f") and features.get("avx512vl"):
            width, registers, fma, mask = 64, 32, True, True
        elif features.get("avx2"):
            width, registers, fma, mask = 32, 16, bool(features.get("fma")), False
        else:
            width, registers, fma, mask = 16, 16, False, False
        name = llvm.get_host_cpu_name()
        halves = mask and name in _IN_HALVES
        return Target(triple, name, features.flatten(), width, registers, fma, mask, halves)

    @property
    def has_avx512(self) -> bool:
        """Whether there are the instructions of `estimate`."""
        return self.has_mask and self.triple.startswith("x86_64")

    @property
    def has_bfloat16(self) -> bool:
        """Whether an instruction rounds vectors to bfloat16."""
        return self.has_avx512 and "+avx512bf16" in self.features.split(",")
