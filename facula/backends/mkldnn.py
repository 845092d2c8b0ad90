"""oneDNN: not used; its switches can be set."""

import sys
from typing import Any

from facula.backends.switches import Precision, setter

VERBOSE_OFF, VERBOSE_ON, VERBOSE_ON_CREATION = 0, 1, 2
enabled, deterministic, allow_tf32, fp32_precision = True, False, False, "none"
conv, matmul, rnn = Precision(), Precision(), Precision()


def is_available() -> bool:
    """Whether oneDNN is used: facula compiles its kernels itself."""
    return False


def is_acl_available() -> bool:
    """Whether the Arm Compute Library is used."""
    return False


class verbose:
    """There is nothing to report."""

    def __init__(self, level: int) -> None:
        self.level = level

    def __enter__(self) -> "verbose":
        return self

    def __exit__(self, *exc: Any) -> bool:
        return False


set_flags, flags = setter(
    sys.modules[__name__], ("enabled", "deterministic", "allow_tf32", "fp32_precision")
)
