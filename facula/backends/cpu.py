"""The CPU."""


def get_cpu_capability() -> str:
    """The vector instructions that kernels are compiled for."""
    from facula.llvm.target import Target

    bits = Target.host().vector_bytes * 8
    return {512: "AVX512", 256: "AVX2"}.get(bits, "DEFAULT")
