"""Settings of `torch.serialization`."""

import enum
import mmap
import warnings

_settings = {
    "crc32": True,
    "endianness": None,
    "mmap": getattr(mmap, "MAP_PRIVATE", None),
    "skip_data": False,
}


class SourceChangeWarning(Warning):
    """Warns of a class that changed since it was saved; facula saves no source code."""


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


class skip_data:
    """Inside this block, `load` makes tensors without reading their contents.

    What they contain then is unspecified. Saving without contents is not available.
    """

    def __init__(self, materialize_fake_tensors=False):
        self.materialize_fake_tensors = materialize_fake_tensors

    def __enter__(self):
        self._before = _settings["skip_data"]
        _settings["skip_data"] = True
        return self

    def __exit__(self, *details):
        _settings["skip_data"] = self._before


def skips_data():
    """Whether a `skip_data` block is open."""
    return _settings["skip_data"]


def check_module_version_greater_or_equal(module, req_version_tuple, error_if_malformed=True):
    """Whether `module.__version__` is at least the given version.

    check_module_version_greater_or_equal(numpy, (2, 0))
    """
    parts = str(module.__version__).split(".")
    try:
        found = tuple(
            type(wanted)(part) for wanted, part in zip(req_version_tuple, parts, strict=False)
        )
        return found >= tuple(req_version_tuple)
    except Exception as error:
        message = (
            f"'{module.__name__}' module version string is malformed '{module.__version__}' and "
            f"cannot be compared with tuple {req_version_tuple}"
        )
        if error_if_malformed:
            raise RuntimeError(message) from error
        warnings.warn(message + ", but continuing assuming that requirement is met", stacklevel=2)
        return True
