"""Functions behind the layers: `torch.nn.functional`."""

from facula.ops.registry import FUNCTIONAL as _FUNCTIONAL
from facula.overrides import (  # noqa: F401
    handle_torch_function,
    has_torch_function,
    has_torch_function_unary,
    has_torch_function_variadic,
)

globals().update(_FUNCTIONAL)


def __getattr__(name):
    """Names for annotations and for TorchScript, loaded when first used."""
    if name in ("BroadcastingList1", "BroadcastingList2", "BroadcastingList3", "assert_int_or_pair",
                "boolean_dispatch"):  # fmt: skip
        from facula import _jit_internal

        return getattr(_jit_internal, name)
    raise AttributeError(f"module 'torch.nn.functional' has no attribute '{name}'")
