"""`torch.nn.quantized`: of it, the arithmetic that float models use before they are quantized.

Quantized layers are not offered: facula makes no quantized tensors.
"""

from __future__ import annotations

from typing import Any

import facula as torch
from facula.nn import Module

__all__ = ["FloatFunctional"]


class FloatFunctional(Module):
    """Arithmetic as methods, so that a quantizer finds it; here it is just arithmetic.

    >>> import facula as torch
    >>> FloatFunctional().add(torch.ones(2), 1)
    tensor([2., 2.])
    """

    def __init__(self) -> None:
        super().__init__()
        self.activation_post_process = torch.nn.Identity()

    def forward(self, x: Any) -> Any:
        """Refused, as PyTorch does: use the methods."""
        raise RuntimeError(
            "FloatFunctional is not intended to use the 'forward'. Please use the underlying operation"
        )

    def _seen(self, r: Any) -> Any:
        return self.activation_post_process(r)

    def add(self, x: Any, y: Any) -> Any:
        """x + y"""
        return self._seen(torch.add(x, y))

    def add_scalar(self, x: Any, y: float) -> Any:
        """x + y for a number y"""
        return torch.add(x, y)

    def mul(self, x: Any, y: Any) -> Any:
        """x * y"""
        return self._seen(torch.mul(x, y))

    def mul_scalar(self, x: Any, y: float) -> Any:
        """x * y for a number y"""
        return torch.mul(x, y)

    def cat(self, x: Any, dim: int = 0) -> Any:
        """Tensors joined along dim."""
        return self._seen(torch.cat(x, dim=dim))

    def add_relu(self, x: Any, y: Any) -> Any:
        """relu(x + y)"""
        return self._seen(torch.relu(torch.add(x, y)))

    def matmul(self, x: Any, y: Any) -> Any:
        """x @ y"""
        return self._seen(torch.matmul(x, y))


def __getattr__(name: str) -> Any:
    if not hasattr(torch.nn, name):  # not a layer: no name of this package either
        raise AttributeError(name)
    raise NotImplementedError(
        f"torch.nn.quantized.{name}: facula makes no quantized tensors; use torch.nn.{name}"
    )
