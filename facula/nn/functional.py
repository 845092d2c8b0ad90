"""Functions behind the layers: `torch.nn.functional`."""

from facula.ops.registry import FUNCTIONAL as _FUNCTIONAL

globals().update(_FUNCTIONAL)
