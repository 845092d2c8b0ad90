"""facula: PyTorch's API and semantics on a lazy, fusing LLVM engine.

>>> import facula as torch
>>> x = torch.tensor([1., 2., 3.], requires_grad=True)
>>> (x ** 2).sum().backward()
>>> x.grad
tensor([2., 4., 6.])
"""

from __future__ import annotations

from typing import Any

from facula import ops as _ops
from facula.graph import dtypes as _dtypes
from facula.graph.dtypes import finfo, iinfo
from facula.graph.dtypes import dtype as dtype
from facula.graph.meta import Device as device
from facula.graph.meta import Size
from facula.ops.registry import NAMESPACES as _NAMESPACES
from facula.ops.registry import TORCH as _TORCH
from facula.tensor import Tensor

__version__ = "2.13.0"

from facula import engine as _engine  # noqa: E402  (fills in who evaluates)

for _d in _dtypes.DTYPES.values():
    globals()[_d.name] = _d
globals().update(_dtypes.ALIASES)
globals().update(_TORCH)

from facula import autograd, fft, linalg, special  # noqa: E402
from facula.autograd.mode import (  # noqa: E402
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from facula.autograd.mode import _Context as _Context  # noqa: E402
strided = "strided"
