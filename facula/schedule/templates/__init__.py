"""Planners of heavy primitives: steps for a matrix product, a convolution and their like.

A planner gets the plan's builder and the value; it returns steps, or None to leave the value to its
NumPy meaning. `builder.strided(v)` says where an operand lies, `builder.workspace(n)` gives memory.
"""

from facula.schedule.templates import (
    attention,
    bag,
    bytes,
    conv,
    ctc,
    matmul,
    pool,
    put,
    recurrent,
    sample,
    scan,
    sort,
)
from facula.schedule.templates.common import PLANNERS

__all__ = [
    "PLANNERS",
    "attention",
    "bag",
    "bytes",
    "conv",
    "ctc",
    "matmul",
    "pool",
    "put",
    "recurrent",
    "sample",
    "scan",
    "sort",
]
