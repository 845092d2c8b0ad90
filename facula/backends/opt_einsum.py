"""The order of products in einsum."""

import sys

from facula.backends.switches import setter

enabled, strategy = False, None


def is_available() -> bool:
    """Whether the package opt_einsum is used."""
    return False


def get_opt_einsum() -> None:
    """The package, where it is used."""


set_flags, flags = setter(sys.modules[__name__], ("enabled", "strategy"))
