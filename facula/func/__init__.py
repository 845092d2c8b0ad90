"""Functions of functions: derivatives and batches, `torch.func`."""

from __future__ import annotations

from facula.func.batching import vmap
from facula.func.modules import (
    functional_call,
    replace_all_batch_norm_modules_,
    stack_module_state,
)
from facula.func.rearrange import debug_unwrap, rearrange
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
    "debug_unwrap",
    "functional_call",
    "functionalize",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "rearrange",
    "replace_all_batch_norm_modules_",
    "stack_module_state",
    "vjp",
    "vmap",
]
