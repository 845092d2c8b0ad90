"""Conversions: dtype, device, Python numbers, NumPy, copies into existing tensors."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.dtypes import dtype as Dtype
from facula.graph.formats import AS_OPERANDS
from facula.graph.meta import CPU, META, Device, Meta, broadcast_shapes, meta_of
from facula.graph.tape import LOCAL, Op, flush
from facula.ops.apply import (
    apply,
    attach,
    check_no_repeats,
    check_overlap,
    check_writable,
    record_write,
)
from facula.ops.create import Pin, device_of
from facula.ops.registry import TORCH, both, method, only_method, zeros_as
from facula.tensor import Tensor, empty_meta, wrap


def _to_backward(n: Any, g: Tensor) -> Tensor:
    d = n.inst.ins[0].dtype
    if g.meta.dtype.kind == "c" and d.kind != "c":
        g = g.real  # type: ignore[attr-defined]
    return apply(TO, (g,), (d,)) if g.meta.dtype is not d else g


TO = Op("_to_copy", lambda a, d: meta_of(d, a.shape, a.device), lambda g, a, d: g.cast(a, d), _to_backward,
        grad_name="ToCopyBackward0", lies=AS_OPERANDS)  # fmt: skip


def cast(t: Tensor, d: Dtype, copy: bool = False) -> Tensor:
    """t in another dtype; itself where nothing changes."""
    if t.meta.dtype is d:
        return t.clone() if copy else t  # type: ignore[attr-defined]
    return apply(TO, (t,), (d,))


def _to_device(t: Tensor, device: Device) -> Tensor:
    if device is t.meta.device:
        return t
    if t.meta.device is META:
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")
    inst = TO_META.inst((t.meta,))
    out = empty_meta(inst.outs[0])
    if LOCAL.tape.grad:
        attach(TO_META, inst, (t,), (out,), ())
    return out


def _no_values(*_: Any) -> Any:
    raise AssertionError("tensors on the meta device are not evaluated")


TO_META = Op("_to_copy", lambda a: meta_of(a.dtype, a.shape, META), _no_values,
             lambda n, g: _to_device(g, n.inst.ins[0].device), grad_name="ToCopyBackward0")  # fmt: skip


def parse_to(args: tuple, kwargs: dict) -> tuple[Device | None, Dtype | None, bool]:
    """(device, dtype, copy) from the many spellings of `to`."""
    device, d, copy = kwargs.get("device"), kwargs.get("dtype"), kwargs.get("copy", False)
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
        device, d = other.meta.device, other.meta.dtype
    elif "other" in kwargs:
        device, d = kwargs["other"].meta.device, kwargs["other"].meta.dtype
    else:
        for x in args:
            if isinstance(x, Dtype):
                d = x
            elif isinstance(x, (str, Device)) or (isinstance(x, int) and not isinstance(x, bool)):
                device = x
            elif isinstance(x, bool):
                pass
            elif x is not None:
                raise TypeError(
                    f"to() received an invalid combination of arguments - got ({type(x).__name__})"
                )
        booleans = [x for x in args if isinstance(x, bool)]
        if len(booleans) > 1:
            copy = booleans[1]
    return (None if device is None else device_of(device)), d, copy


@only_method("to")
def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """self in another dtype and/or on another device; itself where nothing changes."""
    device, d, copy = parse_to(args, kwargs)
    out = self if device is None else _to_device(self, device)
    if d is not None and d is not out.meta.dtype:
        return cast(out, d)
    return out.clone() if copy and out is self else out  # type: ignore[attr-defined]


_CASTS = {
    "float": dt.float32, "double": dt.float64, "half": dt.float16, "bfloat16": dt.bfloat16, "int": dt.int32,
    "long": dt.int64, "short": dt.int16, "char": dt.int8, "byte": dt.uint8, "bool": dt.bool_,
    "cfloat": dt.complex64, "cdouble": dt.complex128, "chalf": dt.complex32,
}  # fmt: skip


def _named_cast(name: str, d: Dtype) -> None:
    def run(self: Tensor, memory_format: Any = None) -> Tensor:
        if memory_format is not None:
            return self.to(d, memory_format=memory_format)  # type: ignore[attr-defined]
        return cast(self, d)

    run.__name__ = name
    run.__doc__ = f"self as {d!r}."
    method(run, name)


for _name, _d in _CASTS.items():
    _named_cast(_name, _d)


@only_method("cpu")
def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """self in main memory."""
    return _to_device(self, CPU)


@only_method("cuda")
def cuda(
    self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None
) -> Tensor:
    """self on an NVIDIA GPU."""
    return _to_device(self, device_of("cuda" if device is None else device))


@only_method("type")
def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the type, or self converted to a dtype."""
    if dtype is None:
        return f"torch.{self.meta.dtype.short}Tensor"
    if isinstance(dtype, str):
        name = dtype.removeprefix("torch.").removesuffix("Tensor")
        asked, dtype = dtype, next((d for d in dt.DTYPES.values() if d.short == name), None)
        if dtype is None:
            raise ValueError(f"invalid type: '{asked}'")
    elif not isinstance(dtype, Dtype):
        if not hasattr(dtype, "dtype"):
            raise TypeError("dtype must be a type, str, or dtype object")
        dtype = dtype.dtype  # torch.FloatTensor and the like
    return cast(self, dtype)


@only_method("type_as")
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """self in other's dtype."""
    return to(self, other)


# copying in ---------------------------------------------------------------------------------


def _copy_infer(dst: Meta, src: Meta) -> Meta:
    return dst.plain()


COPY_IN = Op("copy", lambda src, m: m, lambda g, src, m: g.expand(g.cast(src, m.dtype), m.shape),
             lambda n, g: _sum_cast(g, n.inst.ins[0]), grad_name="CopyBackwards")  # fmt: skip


def _sum_cast(g: Tensor, m: Meta) -> Tensor:
    from facula.ops.pointwise import sum_to

    return sum_to(g, m)


# the same where the old value wants gradients: it gets zeros
COPY_OVER = Op("copy", lambda old, src, m: m, lambda g, old, src, m: g.expand(g.cast(src, m.dtype), m.shape),
               lambda n, g: (_no_gradient(n, g) if n.needs(0) else None, _sum_cast(g, n.inst.ins[1]) if n.needs(1) else None),
               grad_name="CopyBackwards")  # fmt: skip


@only_method("copy_")
def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Copies src's elements into self, broadcast and converted."""
    if not isinstance(src, Tensor):
        if not isinstance(src, (int, float, complex, np.generic)):
            raise TypeError(
                f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}"
            )
        src = TORCH["tensor"](src, dtype=self.meta.dtype, device=self.meta.device)
    m = self.meta
    if src.meta.device is META and m.device is not META:
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")
    check_writable(self, src._rg)
    if src.meta.shape != m.shape:
        if tuple(broadcast_shapes(src.meta.shape, m.shape)) != tuple(m.shape):
            raise RuntimeError(
                f"The size of tensor a ({list(m.shape)}) must match the size of tensor b ({list(src.meta.shape)})"
            )
    if m.device is META:
        src = _to_device(src, META)
    same = src._s is self._s and src.meta is m and src._off == self._off
    if not same:
        check_overlap(self, (src,))
        check_no_repeats(self)
    plain = (meta_of(m.dtype, m.shape, m.device),)
    if self._rg and LOCAL.tape.grad:
        new = apply(COPY_OVER, (self, src), plain)
    else:
        new = apply(COPY_IN, (src,), plain)
    record_write(self, new, fresh=True)
    return self


def _no_gradient(n: Any, g: Tensor) -> Tensor:
    return zeros_as(g, n.inst.ins[0].shape)


def _fill_expand(g: Any, old: Any, value: Any, kind: Any) -> Any:
    return g.expand(g.cast(value, old.dtype), old.shape)


FILL = Op("fill", lambda m, kind: m.plain(), _fill_expand, _no_gradient, grad_name="FillBackward2")
ZERO = Op("zero", lambda m, kind: m.plain(), _fill_expand, _no_gradient, grad_name="ZeroBackward0")


@only_method("fill_")
def fill_(self: Tensor, value: Any) -> Tensor:
    """All elements become value."""
    if isinstance(value, Tensor):
        if value.meta.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.meta.ndim} dimensions."
            )
        return copy_(self, value)
    return _filled_with(FILL, self, value)


def _filled_with(op: Op, t: Tensor, value: Any) -> Tensor:
    from facula.ops.create import filled
    from facula.ops.pointwise import number_type

    check_writable(t)
    m = t.meta
    plain = meta_of(m.dtype, m.shape, m.device)
    if t._rg and LOCAL.tape.grad and not isinstance(value, complex):
        new = apply(op, (t,), (number_type(value),), (value,))
    else:
        new = filled(plain, value)
    record_write(t, new, fresh=True)  # elements that are one in memory may be filled
    return t


TORCH["fill_"] = fill_


@only_method("zero_")
def zero_(self: Tensor) -> Tensor:
    """All elements become 0."""
    return _filled_with(ZERO, self, 0)


TORCH["zero_"] = zero_


@both("fill")
def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor like input, filled with value."""
    return fill_(input.clone(), value)  # type: ignore[attr-defined]


# to Python and NumPy ---------------------------------------------------------------------------


@only_method("numpy")
def numpy(self: Tensor, *, force: bool = False) -> np.ndarray:
    """The elements as a NumPy array that shares memory with self."""
    t = self
    flush()  # what was recorded before must not see what NumPy writes
    if force:
        t = t.detach()
    elif t._rg:
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
        )
    d = t.meta.dtype
    if d is dt.bfloat16 or d is dt.complex32 or d.name.startswith("float8"):
        raise TypeError(f"Got unsupported ScalarType {d.short}")
    if t.meta.device is META:
        raise TypeError(
            "can't convert meta device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
        )
    array = t._array()
    return expose(t, array)


def expose(t: Tensor, array: np.ndarray) -> np.ndarray:
    """Marks t's storage as shared while `array` (or a view of it) lives."""
    s = t._s
    before = s.pin
    holder = Pin(array.base, s.buf)
    if before is not None and before() is not None:
        holder.array = (array.base, before())
    # the holder hangs between the array and the memory: NumPy keeps bases alive
    interface = _Memory(array, holder)
    shared = np.asarray(interface)
    s.pin = weakref.ref(holder)
    return shared


class _Memory:
    """An object NumPy takes an array's memory from, keeping it alive as base."""

    __slots__ = ("__array_interface__", "array", "holder")

    def __init__(self, array: np.ndarray, holder: Pin) -> None:
        self.__array_interface__ = array.__array_interface__
        self.array, self.holder = array, holder


def _array_protocol(self: Tensor, dtype: Any = None, copy: Any = None) -> np.ndarray:
    array = numpy(self)
    return array if dtype is None else array.astype(dtype, copy=False)


Tensor.__array__ = _array_protocol  # type: ignore[attr-defined]
Tensor.__array_priority__ = 1000  # type: ignore[attr-defined]


def _number(kind: type) -> Any:
    def convert(self: Tensor) -> Any:
        if self.meta.numel != 1:
            if kind is bool:
                if self.meta.numel == 0:
                    raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
                raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
            raise ValueError("only one element tensors can be converted to Python scalars")
        return kind(self.item())

    return convert


for _k in (bool, int, float, complex):
    setattr(Tensor, f"__{_k.__name__}__", _number(_k))


def _index(self: Tensor) -> int:
    if self.meta.numel != 1 or self.meta.dtype.kind not in "iub":
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(self.item())


Tensor.__index__ = _index  # type: ignore[attr-defined]


def _len(self: Tensor) -> int:
    if not self.meta.ndim:
        raise TypeError("len() of a 0-d tensor")
    return self.meta.shape[0]


def _iter(self: Tensor) -> Any:
    if not self.meta.ndim:
        raise TypeError("iteration over a 0-d tensor")
    return iter(TORCH["unbind"](self, 0))


def _contains(self: Tensor, element: Any, /) -> bool:
    if isinstance(element, (Tensor, int, float, complex, bool)):
        return bool((self == element).any())  # type: ignore[union-attr]
    raise RuntimeError(
        f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}."
    )


Tensor.__len__, Tensor.__iter__, Tensor.__contains__ = _len, _iter, _contains  # type: ignore[attr-defined]


def _copied(self: Tensor, memo: dict) -> Tensor:
    """self with memory of its own; tensors that shared a storage share the copy of it."""
    whole = self._s.meta
    key = ("storage", id(self._s))
    kept = memo.get(key)
    if kept is None and whole is not None and self.meta.device is not META:
        copy = wrap(self._s, whole).clone()  # type: ignore[attr-defined]
        if copy.meta.strides == whole.strides and copy.meta.dtype is self.meta.dtype:
            kept = memo[key] = copy
    if kept is None:
        kept = self.detach().clone()  # type: ignore[attr-defined]
        return wrap(kept._s, kept.meta, kept._off, type(self))
    return wrap(kept._s, self.meta, self._off, type(self))


def _deepcopy(self: Tensor, memo: dict) -> Tensor:
    if self._g is not None:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol "
            "at the moment.  If you were attempting to deepcopy a module, this may be because of a "
            "torch.nn.utils.weight_norm usage, see https://github.com/pytorch/pytorch/pull/103001"
        )
    if id(self) in memo:
        return memo[id(self)]
    import copy

    grad = LOCAL.tape.grad
    LOCAL.tape.grad = False
    try:
        out = _copied(self, memo)
    finally:
        LOCAL.tape.grad = grad
    out._rg = self._rg
    memo[id(self)] = out
    if self._grad is not None:
        out._grad = copy.deepcopy(self._grad, memo)
    for k, v in self.__dict__.items():
        if not k.startswith("_") and k not in ("meta",):
            out.__dict__[k] = copy.deepcopy(v, memo)
    return out


Tensor.__deepcopy__ = _deepcopy  # type: ignore[attr-defined]
Tensor.__copy__ = lambda self: self.detach().requires_grad_(self._rg)  # type: ignore[attr-defined]
