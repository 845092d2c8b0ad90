"""Functions of functions: derivatives and batches, `torch.func`."""

from __future__ import annotations

from facula.func.batching import vmap
from facula.func.modules import functional_call, stack_module_state
from facula.func.transforms import (
    functionalize,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    vjp,
)

__all__ = [
    "functional_call",
    "functionalize",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "stack_module_state",
    "vjp",
    "vmap",
]
