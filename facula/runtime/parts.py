"""Work on runs of elements, shared among Python threads: for code that lets go of the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

_ELEMENTS_A_PART = 1 << 15  # at least


def in_parts(n: int, part: Callable[[int, int], None]) -> None:
    """part(first, last) for runs that cover 0..n, side by side as far as there are threads.

    For functions of single elements that do not hold the interpreter's lock.
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
