"""Native code for the random transforms: textual LLVM IR, compiled on first use."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from itertools import pairwise

_KINDS = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "d": ctypes.c_double, "f": ctypes.c_float}
_ELEMENTS_A_PART = 1 << 15  # at least, of `in_parts`


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


def in_parts(n: int, part: Callable[[int, int], None]) -> None:
    """part(first, last) for runs that cover 0..n, side by side as far as there are threads.

    For native functions on single elements: they do not hold the interpreter's lock.
    """
    # loaded when first needed
    from concurrent.futures import ThreadPoolExecutor

    from facula.runtime.threads import get_num_threads

    threads = min(get_num_threads(), n // _ELEMENTS_A_PART)
    if threads < 2:
        part(0, n)
        return
    part(0, 0)  # compiles, if need be: only one thread may
    edges = [n * k // threads for k in range(threads + 1)]
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(part, a, b) for a, b in pairwise(edges[1:])]
        part(0, edges[1])
        for other in others:
            other.result()
