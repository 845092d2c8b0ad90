"""The old name of tensors: `torch.autograd.Variable`."""

from __future__ import annotations

from typing import Any

from facula.tensor import Tensor


class _VariableMeta(type):
    def __instancecheck__(cls, other: object) -> bool:
        return isinstance(other, Tensor)


class Variable(metaclass=_VariableMeta):
    """`Variable(tensor, requires_grad)` is a tensor on the same memory."""

    def __new__(
        cls, data: Tensor | None = None, requires_grad: bool = False, volatile: bool = False
    ) -> Any:
        if data is None:
            data = Tensor()
        out = data.detach()
        out._base = None
        return out.requires_grad_(requires_grad) if requires_grad else out
