"""facula: PyTorch's API and semantics on a lazy, fusing LLVM engine.

>>> import facula as torch
>>> x = torch.tensor([1., 2., 3.], requires_grad=True)
>>> (x ** 2).sum().backward()
>>> x.grad
tensor([2., 4., 6.])
"""

from __future__ import annotations

import importlib as _importlib
import sys as _sys
from typing import Any

from facula import engine as _engine
from facula import ops as _ops
from facula.graph import dtypes as _dtypes
from facula.graph import formats as _formats
from facula.graph import tape as _tape
from facula.graph.dtypes import dtype as dtype
from facula.graph.dtypes import finfo as finfo
from facula.graph.dtypes import iinfo as iinfo
from facula.graph.meta import Device as device
from facula.graph.meta import Size as Size
from facula.ops.registry import TORCH as _TORCH
from facula.tensor import Tensor as Tensor
from facula.torch_version import RELEASE as _RELEASE
from facula.torch_version import TorchVersion as _TorchVersion

__version__ = _TorchVersion(_RELEASE)

for _d in _dtypes.DTYPES.values():
    globals()[_d.name] = _d
globals().update(_dtypes.OPAQUE)
globals().update(_dtypes.ALIASES)
globals().update(_TORCH)

from math import e as e  # noqa: E402
from math import inf as inf  # noqa: E402
from math import nan as nan  # noqa: E402
from math import pi as pi  # noqa: E402

from facula import autograd as autograd  # noqa: E402
from facula.autograd.function import Function as _Function  # noqa: E402
from facula.autograd.mode import enable_grad as enable_grad  # noqa: E402
from facula.autograd.mode import inference_mode as inference_mode  # noqa: E402
from facula.autograd.mode import is_grad_enabled as is_grad_enabled  # noqa: E402
from facula.autograd.mode import is_inference_mode_enabled as is_inference_mode_enabled  # noqa: E402
from facula.autograd.mode import no_grad as no_grad  # noqa: E402
from facula.autograd.mode import set_grad_enabled as set_grad_enabled  # noqa: E402
from facula.ops import gradients as _gradients  # noqa: E402

newaxis = None
torch = _sys.modules[__name__]  # PyTorch's module names itself
_forget_plans = _engine.forget_plans
layout, memory_format = _formats.layout, _formats.memory_format
globals().update(_formats.LAYOUTS, **_formats.FORMATS)
get_default_dtype, set_default_dtype = _dtypes.default_dtype, _tape.set_default_dtype
promote_types = _dtypes.promote_types
autograd.Function = _Function
autograd.backward, autograd.grad = _gradients.backward, _gradients.grad

# submodules are loaded when first used: importing facula stays quick
_LAZY = frozenset(
    "nn optim utils distributions linalg fft special func cuda amp jit onnx testing serialization random backends "
    "datasets compiler version hub library masked signal sparse multiprocessing overrides profiler types storage "
    "cpu mps xpu accelerator fx export distributed quantization ao package futures monitor nested return_types "
    "_utils _C _jit_internal torch_version __config__".split()
)
_FROM = {
    "save": "serialization", "load": "serialization", "compile": "compiler.frontend",
    "explain": "explanation",
    "get_num_threads": "runtime.threads",
    "set_num_threads": "runtime.threads", "fork_rng": "random", "Stream": "cpu", "Event": "cpu", "OutOfMemoryError": "cuda",
    "AcceleratorError": "cuda", "Future": "futures", "fork": "jit", "wait": "jit", "ScriptModule": "jit",
    "ScriptFunction": "jit", "CompilationUnit": "jit", "autocast": "amp", "vmap": "func",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        try:
            return _importlib.import_module("facula." + name)
        except ModuleNotFoundError as error:
            if error.name != "facula." + name:
                raise
    if name in _FROM:
        try:
            value = getattr(_importlib.import_module("facula." + _FROM[name]), name)
        except (ModuleNotFoundError, AttributeError):
            pass
        else:
            globals()[name] = value
            return value
    if not name.startswith("__"):
        try:
            value = _importlib.import_module("facula.rare").lookup(name)
        except AttributeError:
            pass
        else:
            globals()[name] = value
            return value
    raise AttributeError(f"module 'torch' has no attribute '{name}'")
