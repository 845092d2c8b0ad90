"""`torch.ops.aten`: functions by the names that PyTorch's dispatcher knows them by."""

from __future__ import annotations

from typing import Any

from facula.graph.meta import wrap_dim
from facula.ops.registry import FUNCTIONAL, NAMESPACES, TORCH
from facula.ops.shape import slice_dim
from facula.tensor import Tensor


def _slice(self: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Tensor:
    return slice_dim(self, wrap_dim(dim, self.meta.ndim), start, end, step)


def _softmax_backward_data(grad: Tensor, output: Tensor, dim: int, input_dtype: Any) -> Tensor:
    return output * (grad - (grad * output).sum(dim, keepdim=True))  # type: ignore[attr-defined]


def _dropout_backward(grad: Tensor, mask: Tensor, scale: float) -> Tensor:
    return grad * mask * scale


def _safe_softmax(self: Tensor, dim: int, dtype: Any = None) -> Tensor:
    nothing = (self == float("-inf")).all(dim, keepdim=True)  # type: ignore[union-attr]
    # such rows are replaced before as well: their derivative would be NaN
    got = FUNCTIONAL["softmax"](TORCH["where"](nothing, 0.0, self), dim, dtype=dtype)
    return TORCH["where"](nothing, 0.0, got)


_SPECIAL = {
    "slice": _slice, "_softmax_backward_data": _softmax_backward_data,
    "native_dropout_backward": _dropout_backward, "_safe_softmax": _safe_softmax,
}  # fmt: skip


class Packet:
    """A function under a dispatcher's name; its overloads (`.default`, `.Tensor` ...) are itself."""

    def __init__(self, name: str, fn: Any) -> None:
        self.__name__, self._fn = name, fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._fn(*args, **kwargs)

    def __getattr__(self, overload: str) -> Any:
        if overload.startswith("__"):
            raise AttributeError(overload)
        return self

    def __repr__(self) -> str:
        return f"aten.{self.__name__}"


class _Aten:
    """Looks functions up when first asked for."""

    def __getattr__(self, name: str) -> Any:
        for table in (_SPECIAL, TORCH, FUNCTIONAL, *NAMESPACES.values()):
            for known in (
                name,
                name.removeprefix("linalg_"),
                name.removeprefix("special_"),
                name.removeprefix("fft_"),
            ):
                if known in table:
                    packet = Packet(name, table[known])
                    setattr(self, name, packet)
                    return packet
        method = getattr(Tensor, name, None)
        if callable(method):
            return Packet(name, method)
        raise AttributeError(f"'_OpNamespace' 'aten' object has no attribute '{name}'")


aten = _Aten()
