"""In-place operators that change what a tensor shows, not its elements: `t_`, `resize_`, `set_`."""

from __future__ import annotations

from typing import Any

from facula.graph.meta import META, contiguous_strides, meta, meta_of
from facula.ops.create import device_of, finish
from facula.ops.inplace import resize
from facula.ops.pointwise import need_tensors
from facula.ops.registry import TORCH, method, only_method, only_torch
from facula.ops.shape import sizes_of
from facula.tensor import Tensor, empty_meta


def become(t: Tensor, other: Tensor) -> Tensor:
    """t shows what other, a view of it, shows; with other's history."""
    base = t._base
    t._s, t.meta = other._s, other.meta
    t._off = other._off
    t._rg, t._g = other._rg, other._g
    t._base = base
    return t


def _changing(name: str, source: str | None = None) -> None:
    function = getattr(Tensor, source or name)

    def run(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self._rg and self._g is None and TORCH["is_grad_enabled"]():
            raise RuntimeError(
                "a leaf Variable that requires grad is being used in an in-place operation."
            )
        return become(self, function(self, *args, **kwargs))

    run.__name__ = run.__qualname__ = name + "_"
    run.__doc__ = f"In-place version of `{name}`: self shows the view."
    setattr(Tensor, name + "_", run)


from facula.autograd.mode import is_grad_enabled  # noqa: E402

TORCH["is_grad_enabled"] = is_grad_enabled
for _name in ("t", "transpose", "swapaxes", "swapdims", "squeeze", "unsqueeze", "as_strided"):
    _changing(_name)
TORCH["as_strided_"] = Tensor.as_strided_  # type: ignore[attr-defined]


def _check_resizable(t: Tensor) -> None:
    if t._rg:
        raise RuntimeError("cannot resize variables that require grad")


@only_method("resize_")
def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Another shape on the same storage, which grows if it must; new elements are arbitrary."""
    _check_resizable(self)
    shape = sizes_of(sizes, "resize_")
    if tuple(shape) == tuple(self.meta.shape):
        return self
    if any(n < 0 for n in shape):
        raise RuntimeError(
            f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}"
        )
    resize(self, tuple(shape))
    return self


@only_method("resize_as_")
def resize_as_(self: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """The shape of another tensor on the same storage."""
    need_tensors("resize_as_", the_template=the_template)
    return resize_(self, the_template.meta.shape)


TORCH["resize_as_"] = resize_as_


@only_method("resize")
def resize_old(self: Tensor, *sizes: Any) -> Tensor:
    """Deprecated: a view of self in another shape."""
    return self.reshape(*sizes)  # type: ignore[attr-defined]


@only_method("resize_as")
def resize_as_old(self: Tensor, tensor: Tensor) -> Tensor:
    """Deprecated: self in another's shape."""
    return self.reshape(tensor.meta.shape)  # type: ignore[attr-defined]


@only_method("set_")
def set_(
    self: Tensor, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None
) -> Tensor:
    """Makes self share the storage of a tensor or storage."""
    from facula.ops.storage import TypedStorage, UntypedStorage

    if source is None:
        source = TORCH["empty"](0, dtype=self.meta.dtype, device=self.meta.device)
    if isinstance(source, TypedStorage):
        source = source._untyped_storage
    if isinstance(source, Tensor):
        if source.meta.dtype is not self.meta.dtype:
            raise RuntimeError(
                f"Could not set tensor of type {source.meta.dtype.short} to a tensor of type {self.meta.dtype.short}"
            )
        self._s, self.meta, self._off = source._s, source.meta, source._off
        if size is not None:
            shape = tuple(size)
            steps = tuple(stride) if stride is not None else contiguous_strides(shape)
            self.meta = meta(self.meta.dtype, shape, steps, source.meta.device, storage_offset != 0)
            self._off = storage_offset
        return self
    if isinstance(source, UntypedStorage):
        s, item = source._s, self.meta.dtype.itemsize
        shape = tuple(size) if size is not None else (source.nbytes() // item,)
        steps = tuple(stride) if stride is not None else contiguous_strides(shape)
        self._s, self._off = s, storage_offset
        self.meta = meta(self.meta.dtype, shape, steps, self.meta.device, storage_offset != 0)
        return self
    raise TypeError(
        f"set_() received an invalid combination of arguments - got ({type(source).__name__})"
    )


# strided factories ------------------------------------------------------------------------------


@only_torch()
def empty_strided(size: Any, stride: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
                  requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A tensor with given strides and arbitrary elements."""
    from facula.graph.dtypes import default_dtype

    d, shape, steps = dtype or default_dtype(), tuple(size), tuple(stride)
    if len(shape) != len(steps):
        raise RuntimeError(
            f"dimensionality of sizes ({len(shape)}) must match dimensionality of strides ({len(steps)})"
        )
    for n in (*shape, *steps):
        if n < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {n}: {list(shape)}"
            )
    dev = device_of(device)
    if dev is META:
        return finish(empty_meta(meta(d, shape, steps, META)), requires_grad)
    extent = 0 if 0 in shape else 1 + sum((n - 1) * s for n, s in zip(shape, steps))
    flat = TORCH["empty"](extent, dtype=d)
    if contiguous_strides(shape) == steps and extent == flat.meta.numel and 0 not in shape:
        return finish(TORCH["empty"](shape, dtype=d), requires_grad)
    flat.meta = meta(d, shape, steps, dev)
    return finish(flat, requires_grad)


@only_torch()
def empty_permuted(size: Any, physical_layout: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
                   requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A dense tensor whose dims lie in memory in a given order."""
    shape, order = tuple(size), tuple(physical_layout)
    if len(order) != len(shape):
        raise RuntimeError(
            "Number of dimensions in size does not match the length of the physical_layout; i.e. "
            f"len(size) = {len(shape)} is not equal to len(physical_layout) = {len(order)}"
        )
    for d in order:
        if not 0 <= d < len(shape):
            raise RuntimeError(
                f"Dimension out of range (expected to be between 0 and {len(shape) - 1}, but got {d} at index {order.index(d)})"
            )
    if len(set(order)) != len(order):
        raise RuntimeError("Duplicate dim not allowed")
    steps, step = [0] * len(shape), 1
    for d in reversed(order):
        steps[d] = step
        step *= max(shape[d], 1)
    return empty_strided(shape, steps, dtype=dtype, device=device, requires_grad=requires_grad)


@method
def new_empty_strided(self: Tensor, size: Any, stride: Any, *, dtype: Any = None, layout: Any = None,
                      device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """As `empty_strided`, with self's dtype and device."""
    return empty_strided(size, stride, dtype=dtype or self.meta.dtype, requires_grad=requires_grad,
                         device=self.meta.device if device is None else device)  # fmt: skip


@method
def new_tensor(self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
               layout: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A tensor of data with self's dtype and device."""
    if isinstance(data, Tensor):
        data = data.detach().clone()  # type: ignore[attr-defined]
        made = data.to(dtype or self.meta.dtype)
        return finish(made.to(self.meta.device if device is None else device), requires_grad)
    return TORCH["tensor"](data, dtype=dtype or self.meta.dtype, requires_grad=requires_grad,
                           device=self.meta.device if device is None else device)  # fmt: skip


@only_torch()
def scalar_tensor(s: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
                  pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A 0-d tensor of a number (floating unless dtype says otherwise)."""
    from facula.graph.dtypes import default_dtype

    d = dtype or (default_dtype().to_complex() if isinstance(s, complex) else default_dtype())
    return TORCH["full"]((), s, dtype=d, device=device, requires_grad=requires_grad)


__all__ = ["meta_of"]
