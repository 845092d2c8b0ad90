"""OpenMP: not used; facula has threads of its own."""


def is_available() -> bool:
    """Whether OpenMP is used."""
    return False
