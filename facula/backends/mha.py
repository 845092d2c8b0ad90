"""The fast path of Transformer layers: every path is compiled here."""

_enabled = True


def get_fastpath_enabled() -> bool:
    """What was set."""
    return _enabled


def set_fastpath_enabled(value: bool) -> None:
    """Accepted, without effect."""
    global _enabled
    _enabled = value
