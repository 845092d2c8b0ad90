"""NNPACK: not used."""

import sys

from facula.backends.switches import setter

enabled = False


def is_available() -> bool:
    """Whether NNPACK is used."""
    return False


set_flags, flags = setter(sys.modules[__name__], ("enabled",))
