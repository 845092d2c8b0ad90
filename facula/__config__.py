"""How facula was set up, as text."""

from __future__ import annotations

import facula


def show() -> str:
    """What computes, in a few lines."""
    import platform

    import llvmlite
    import numpy

    return (
        f"facula {facula.__version__}\n  - Python {platform.python_version()}, "
        f"NumPy {numpy.__version__}, llvmlite {llvmlite.__version__}\n"
        f"  - {platform.machine()}, {facula.get_num_threads()} threads\n"
    )


def parallel_info() -> str:
    """How many threads compute."""
    return f"facula:\n\ttorch.get_num_threads() : {facula.get_num_threads()}\n"
