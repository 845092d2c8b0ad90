"""Native code for the random transforms: textual LLVM IR, compiled on first use."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping

_KINDS = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "d": ctypes.c_double, "f": ctypes.c_float}


def compile_functions(text: str, signatures: Mapping[str, str]) -> dict[str, Callable[..., None]]:
    """Compile module `text`; its functions by name. They return nothing.

    A signature has one letter an argument: p address, i 64-bit integer, d double, f float.
    """
    from facula.runtime.jit import compile_module  # LLVM is loaded when first needed

    addresses = compile_module(tuple(signatures), text)
    return {
        name: ctypes.CFUNCTYPE(None, *(_KINDS[c] for c in signature))(addresses[name])
        for name, signature in signatures.items()
    }


def compile_function(name: str, text: str, signature: str) -> Callable[..., None]:
    """Compile module `text` and return its function `name`."""
    return compile_functions(text, {name: signature})[name]


def address_of(function: Callable[..., None]) -> int:
    """Where a compiled function begins."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0
