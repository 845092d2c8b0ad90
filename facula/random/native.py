"""Native code for the random transforms: textual LLVM IR, compiled on first use."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping

from facula.runtime.parts import in_parts

_KINDS = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "d": ctypes.c_double, "f": ctypes.c_float}


def compile_functions(
    text: str, signatures: Mapping[str, str], optimize: bool = False
) -> dict[str, Callable[..., None]]:
    """Compile module `text`, with LLVM's own passes if asked for; its functions by name.

    They return nothing.

    A signature has one letter an argument: p address, i 64-bit integer, d double, f float.
    """
    from facula.runtime.jit import compile_module  # LLVM is loaded when first needed
    from facula.runtime.llvmc import OPTIMIZE

    addresses = compile_module(tuple(signatures), OPTIMIZE + text if optimize else text)
    return {
        name: ctypes.CFUNCTYPE(None, *(_KINDS[c] for c in signature))(addresses[name])
        for name, signature in signatures.items()
    }


def compile_function(
    name: str, text: str, signature: str, optimize: bool = False
) -> Callable[..., None]:
    """Compile module `text` and return its function `name`."""
    return compile_functions(text, {name: signature}, optimize)[name]


def address_of(function: Callable[..., None]) -> int:
    """Where a compiled function begins."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


__all__ = ["address_of", "compile_function", "compile_functions", "in_parts"]
