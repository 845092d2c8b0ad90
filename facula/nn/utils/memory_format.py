"""Memory formats of convolution weights."""

from __future__ import annotations

from typing import Any

import facula
from facula.nn.modules.module import Module


def _convert(module: Module, memory_format: Any, kinds: tuple[str, ...]) -> Module:
    classes = tuple(getattr(facula.nn, kind) for kind in kinds)
    for layer in module.modules():
        if isinstance(layer, classes):
            layer.weight.data = (
                layer.weight.detach().clone().contiguous(memory_format=memory_format)
            )
    return module


def convert_conv2d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """Bring the weights of all 2-d convolutions of `module` into `memory_format`."""
    return _convert(module, memory_format, ("Conv2d", "ConvTranspose2d"))


def convert_conv3d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """Bring the weights of all 3-d convolutions of `module` into `memory_format`."""
    return _convert(module, memory_format, ("Conv3d", "ConvTranspose3d"))
