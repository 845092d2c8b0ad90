"""Which kernels scaled_dot_product_attention may use."""

from __future__ import annotations

import contextlib
import enum

__all__ = [
    "WARN_FOR_UNFUSED_KERNELS",
    "SDPBackend",
    "activate_flash_attention_impl",
    "current_flash_attention_impl",
    "list_flash_attention_impls",
    "register_flash_attention_impl",
    "restore_flash_attention_impl",
    "sdpa_kernel",
]

WARN_FOR_UNFUSED_KERNELS = False


class SDPBackend(enum.IntEnum):
    """PyTorch's attention kernels. facula has one, with the memory use of the fused ones."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


_enabled = [
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
    SDPBackend.CUDNN_ATTENTION,
]


def _backend_from_string(name: str):
    return getattr(SDPBackend, name)


def _cur_sdpa_kernel_backends(with_priority: bool = False):
    """The backends that are allowed now."""
    return list(_enabled)


@contextlib.contextmanager
def sdpa_kernel(backends, set_priority: bool = False):
    """Allow only these backends for a while.

    Every backend computes the same function, so this changes no result here.

    >>> with sdpa_kernel(SDPBackend.MATH):
    ...     _cur_sdpa_kernel_backends()
    [<SDPBackend.MATH: 0>]
    """
    global _enabled
    if isinstance(backends, SDPBackend):
        backends = [backends]
    backends = list(dict.fromkeys(backends))
    for backend in backends:
        if not isinstance(backend, SDPBackend):
            raise AssertionError(
                "Backend must be an instance of SDPBackend or a list of SDPBackend instances"
            )
    if not backends:
        raise AssertionError("no backend is left to compute attention with")
    before, _enabled = _enabled, backends
    try:
        yield {}
    finally:
        _enabled = before


# -- replacement kernels -----------------------------------------------------------

_implementations = {}


def register_flash_attention_impl(impl, *, register_fn) -> None:
    """Make a replacement of the flash attention kernel known under a name."""
    _implementations[impl] = register_fn


def list_flash_attention_impls() -> list[str]:
    """The names given to register_flash_attention_impl."""
    return sorted(_implementations)


def current_flash_attention_impl() -> str | None:
    """The replacement in use: none, ever."""
    return None


def activate_flash_attention_impl(impl) -> None:
    """PyTorch would load a kernel for its own dispatcher here."""
    raise NotImplementedError(
        f"flash attention implementation {impl!r}: facula generates its attention kernel and has "
        "no place for another; scaled_dot_product_attention is fused without it"
    )


def restore_flash_attention_impl(_raise_warn: bool = True) -> None:
    """Go back to the built-in kernel, which is always in use."""
