"""Intel's MKL: not used."""

from typing import Any

VERBOSE_OFF, VERBOSE_ON = 0, 1


def is_available() -> bool:
    """Whether MKL is used: facula compiles its products itself."""
    return False


class verbose:
    """There is nothing to report."""

    def __init__(self, enable: int) -> None:
        self.enable = enable

    def __enter__(self) -> "verbose":
        return self

    def __exit__(self, *exc: Any) -> bool:
        return False
