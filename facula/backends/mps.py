"""Apple's GPUs: not used."""


def is_available() -> bool:
    """Whether an Apple GPU can be used."""
    return False


def is_built() -> bool:
    """Whether facula can use Apple's GPUs."""
    return False


def is_macos_or_newer(major: int, minor: int) -> bool:
    """Whether this is macOS of a version."""
    import platform

    found = platform.mac_ver()[0]
    return bool(found) and tuple(map(int, found.split(".")[:2])) >= (major, minor)


def is_macos13_or_newer(minor: int = 0) -> bool:
    """Whether this is macOS 13 or newer."""
    return is_macos_or_newer(13, minor)


def get_name() -> str:
    """The GPU's name: there is none."""
    return ""


def get_core_count() -> int:
    """The GPU's cores: there are none."""
    return 0
