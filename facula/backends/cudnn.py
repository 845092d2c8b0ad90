"""cuDNN: not there on CPUs; its switches can be set."""

import sys

from facula.backends.switches import Precision, setter

enabled, benchmark, benchmark_limit, deterministic, allow_tf32 = True, False, 10, False, True
fp32_precision, depthwise_kernel = "none", None
conv, rnn = Precision(), Precision()


def is_available() -> bool:
    """Whether cuDNN can be used."""
    return False


def version() -> None:
    """cuDNN's version."""


def is_acceptable(tensor: object) -> bool:
    """Whether cuDNN could compute with a tensor."""
    return False


set_flags, flags = setter(
    sys.modules[__name__],
    ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32", "fp32_precision"),
)
