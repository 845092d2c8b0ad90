"""Epilogues of float32 products, as groups of a plan become them: what the tests of kernels fuse."""

import math

from facula.llvm.tile_epilogue import Fused, bias


def fused(kinds, *stmts, heavy=False):
    """Of statements (op, arguments...) without their dtype; the last one's value is C's."""
    kept = tuple((op, "bool" if op == "le" else "float32", args) for op, *args in stmts)
    kept = tuple((op, dtype, tuple(args)) for op, dtype, args in kept)
    return Fused(kinds, ("float32",) * len(kinds), kept, len(kept) - 1, heavy)


SUM = ("sum",)
BIAS_N, BIAS_M = bias("n", "float32"), bias("m", "float32")
SCALE = fused(("s",), SUM, ("scalar", 0), ("mul", 0, 1))
ADD = fused(("mn",), SUM, ("load", 0), ("add", 0, 1))
ADD_SCALED = fused(("mn", "s"), SUM, ("load", 0), ("scalar", 1), ("fma", 1, 2, 0))
RELU = fused((), SUM, ("relu", 0))
# where x (relu's argument or result) is positive
RELU_GRADIENT = fused(("mn",), SUM, ("load", 0), ("const", 0.0), ("le", 1, 2), ("where", 3, 2, 0))
TANH = fused((), SUM, ("tanh", 0), heavy=True)
SIGMOID = fused((), SUM, ("sigmoid", 0), heavy=True)
SILU = fused((), SUM, ("sigmoid", 0), ("mul", 0, 1), heavy=True)
GELU = fused(
    (), SUM, ("const", math.sqrt(0.5)), ("mul", 0, 1), ("erf", 2), ("const", 0.5), ("mul", 0, 4),
    ("fma", 5, 3, 5), heavy=True,
)  # fmt: skip
