"""`torch.Tensor(2, 3)`, `torch.FloatTensor([1, 2])` and their kind: the constructors of old."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facula import tensor as _tensor
from facula.graph import dtypes as dt
from facula.graph.dtypes import dtype as Dtype
from facula.ops.create import tensor
from facula.ops.registry import TORCH, only_method
from facula.tensor import Tensor, wrap


def construct(cls: type, *args: Any, dtype: Dtype | None = None, device: Any = None,
              size: Any = None, data: Any = None) -> Tensor:  # fmt: skip
    """A tensor of a class: of sizes (with any values), of a sequence, or an alias of a tensor."""
    d = dtype or dt.default_dtype()
    given = args[0] if len(args) == 1 else data
    if isinstance(given, Tensor):
        if given.meta.dtype is not d and dtype is not None:
            raise TypeError(f"expected a tensor of {d!r} (got {given.meta.dtype!r})")
        made = given.detach()
    elif isinstance(size or given, tuple) and type(size or given).__name__ == "Size":
        made = TORCH["empty"](size or given, dtype=d, device=device)
    elif size is not None:
        made = TORCH["empty"](tuple(size), dtype=d, device=device)
    elif given is None or type(given) is int:
        made = TORCH["empty"](_sizes(args) or (0,), dtype=d, device=device)
    elif isinstance(given, str):
        raise TypeError("new(): invalid data type 'str'")
    elif isinstance(given, Sequence | np.ndarray):
        made = tensor(given, dtype=d, device=device)
    else:
        raise TypeError(f"new(): data must be a sequence (got {type(given).__name__})")
    return made if type(made) is cls else wrap(made._s, made.meta, made._off, cls)


def _sizes(args: tuple) -> tuple[int, ...]:
    for a in args:
        if not hasattr(a, "__index__") or isinstance(a, bool):
            kinds = ", ".join(type(x).__name__ for x in args)
            raise TypeError(
                f"new() received an invalid combination of arguments - got ({kinds}), but expected "
                "sizes, a sequence, or a tensor"
            )
    return args


_tensor.LEGACY[0] = construct


@only_method("new")
def new(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """As the constructor, with self's dtype and device."""
    return construct(
        Tensor, *args, dtype=self.dtype, device=kwargs.pop("device", self.device), **kwargs
    )


class _Typed(type):
    """The class of `FloatTensor` and its kind: to call, and to ask `isinstance`."""

    dtype: Dtype

    def __call__(cls, *args: Any, **kwargs: Any) -> Tensor:
        return construct(Tensor, *args, dtype=cls.dtype, **kwargs)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor) and instance.meta.dtype is cls.dtype


for _d in dt.DTYPES.values():
    if _d.short:
        TORCH[f"{_d.short}Tensor"] = _Typed(
            f"{_d.short}Tensor", (), {"dtype": _d, "__module__": "torch"}
        )
