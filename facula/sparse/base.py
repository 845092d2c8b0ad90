"""What sparse tensors of every layout share: values that gradients go to, conversions, signs."""

from __future__ import annotations

from typing import Any

import facula as torch
from facula.tensor import SparseOperand

Tensor = torch.Tensor


class _NoStorage:
    """Stands where a dense tensor has its storage."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python's own protocols look for names that need not be there
            raise AttributeError(name)
        raise SparseOperand(
            "this operator is not offered on sparse tensors: use x.to_dense(), torch.sparse.mm or x @ y"
        )


NO_STORAGE: Any = _NoStorage()


class Sparse(Tensor):
    """A tensor whose `_val` holds values at listed places. Derivatives are those of `_val`."""

    _val: Any
    _rg = property(lambda self: self._val._rg, lambda self, flag: None)  # type: ignore[assignment]
    _g = property(lambda self: self._val._g, lambda self, edge: None)
    _grad = property(lambda self: self._gradient(), lambda self, grad: self._give(grad))

    def _with(self, values: Any) -> Any:
        """Other values at the same places."""
        raise NotImplementedError

    def _at_places(self, dense: Any) -> Any:
        """The elements of a dense tensor of the same shape at the listed places."""
        raise NotImplementedError

    def _gradient(self) -> Any:
        grad = self._val._grad
        return None if grad is None else self._with(grad)

    def _give(self, grad: Any) -> None:
        self._val._grad = grad._val if isinstance(grad, Sparse) else grad

    def values(self) -> Any:
        """The stored values."""
        return self._val

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """The values converted."""
        values = self._val.to(*args, **kwargs)
        return self if values is self._val else self._with(values)

    def detach(self) -> Any:
        """Without history."""
        return self._with(self._val.detach())

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Whether the values want gradients."""
        self._val.requires_grad_(requires_grad)
        return self

    def cpu(self, *args: Any) -> Any:
        """Itself."""
        return self

    def cuda(self, *args: Any, **kwargs: Any) -> Any:
        """The values moved."""
        return self._with(self._val.cuda(*args, **kwargs))

    def float(self) -> Any:
        """As float32."""
        return self.to(torch.float32)

    def double(self) -> Any:
        """As float64."""
        return self.to(torch.float64)

    def __neg__(self) -> Any:
        return self._with(-self._val)

    neg = negative = __neg__

    def sub(self, other: Any, *, alpha: Any = 1) -> Any:
        """Minus another tensor."""
        return self.add(other, alpha=-alpha)

    def matmul(self, other: Any) -> Any:
        """The product with a matrix or a vector."""
        from facula.sparse import products

        return products.matmul(self, other)

    def mv(self, vec: Any) -> Any:
        """The product with a dense vector."""
        from facula.sparse import products

        return products.mv(self, vec)

    def __rmatmul__(self, other: Any) -> Any:
        from facula.sparse import products

        return products.matmul(other, self)

    mm = __matmul__ = matmul
    __sub__ = sub


def shaped(x: Any, values: Any, shape: Any) -> Any:
    """x, with the values and the shape that it shows."""
    x._val, x._s = values, NO_STORAGE
    with torch.no_grad():
        x.meta = values.detach().new_empty(1).expand(*shape).meta
    return x
