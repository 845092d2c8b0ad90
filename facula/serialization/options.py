"""Settings of `torch.serialization`."""

import enum
import mmap

_settings = {"crc32": True, "endianness": None, "mmap": getattr(mmap, "MAP_PRIVATE", None)}


class LoadEndianness(enum.Enum):
    """The byte order to assume for checkpoints that do not tell theirs."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


def get_crc32_options():
    """Whether `save` computes checksums."""
    return _settings["crc32"]


def set_crc32_options(compute_crc32):
    """Tells `save` whether to compute checksums; without them other tools may refuse the file."""
    _settings["crc32"] = compute_crc32


def get_default_load_endianness():
    return _settings["endianness"]


def set_default_load_endianness(endianness):
    if endianness is not None and not isinstance(endianness, LoadEndianness):
        raise TypeError("Invalid argument type in function set_default_load_endianness")
    _settings["endianness"] = endianness


def get_default_mmap_options():
    return _settings["mmap"]


class set_default_mmap_options:
    """Sets how `load(mmap=True)` maps files; only private mappings are available.

    Works as a function and as a context manager.
    """

    def __init__(self, flags):
        if flags != getattr(mmap, "MAP_PRIVATE", None):
            if flags != getattr(mmap, "MAP_SHARED", None):
                raise ValueError(
                    "Invalid argument in function set_default_mmap_options, "
                    f"expected mmap.MAP_PRIVATE or mmap.MAP_SHARED, but got {flags}"
                )
            raise NotImplementedError(
                "facula maps checkpoints privately (mmap.MAP_PRIVATE) only: writing into a loaded "
                "tensor never changes the file. Save the changed tensors instead."
            )

    def __enter__(self):
        return self

    def __exit__(self, *details):
        return None
