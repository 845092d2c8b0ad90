"""Functions behind the layers: `torch.nn.functional`."""

from facula.ops.registry import FUNCTIONAL as _FUNCTIONAL
from facula.overrides import (  # noqa: F401
    handle_torch_function,
    has_torch_function,
    has_torch_function_unary,
    has_torch_function_variadic,
)

globals().update(_FUNCTIONAL)
