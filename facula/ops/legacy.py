"""Old constructors (`torch.Tensor(2, 3)`, `torch.FloatTensor`), sharing, pickling, DLPack."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.meta import CPU, META
from facula.graph.reference import decode, encode
from facula.graph.tape import order_in_memory
from facula.ops.apply import fills_range
from facula.ops.create import as_array, device_of, from_numpy
from facula.ops.registry import TORCH, both, only_method, only_torch
from facula.ops.storage import TypedStorage, UntypedStorage
from facula.tensor import LEGACY, Tensor, adopt_array, from_array, wrap

# constructors -------------------------------------------------------------------------------------


def _made(d: Any, args: tuple, kwargs: dict) -> Tensor:
    device = kwargs.pop("device", None)
    if kwargs:
        known = {"data", "size", "dtype"}
        extra = [k for k in kwargs if k not in known]
        if extra or "dtype" in kwargs:
            raise TypeError(
                f"new() received an invalid combination of arguments - got ({', '.join(kwargs)})"
            )
        args = (*args, *kwargs.values())
    if device is not None and device_of(device) not in (CPU, META):
        raise TypeError(f"type tensor expected a cpu device but got {device}")
    if not args:
        return TORCH["empty"](0, dtype=d)
    first = args[0]
    if len(args) == 1:
        if isinstance(first, Tensor):
            if first.meta.dtype is not d:
                raise _alias_error(d, first)
            return wrap(first._s, first.meta, first._off)
        if isinstance(first, (UntypedStorage, TypedStorage)):
            return TORCH["empty"](0, dtype=d).set_(first)
        if type(first).__name__ == "Size":
            return TORCH["empty"](first, dtype=d)
        if isinstance(first, (list, tuple, np.ndarray, range)) or hasattr(first, "__array__"):
            array, got = as_array(first, None if isinstance(first, np.ndarray) else d)
            made = from_array(array, got)
            return made if got is d else made.to(d)  # type: ignore[attr-defined]
    if all(hasattr(a, "__index__") for a in args):
        return TORCH["empty"](*[a.__index__() for a in args], dtype=d)
    raise TypeError(f"new(): data must be a sequence (got {type(first).__name__})")


def _alias_error(d: Any, t: Tensor) -> TypeError:
    return TypeError(f"expected torch.{d.short}Tensor (got torch.{t.meta.dtype.short}Tensor)")


def _legacy(cls: type, *args: Any, **kwargs: Any) -> Tensor:
    made = _made(dt.default_dtype(), args, kwargs)
    if cls is Tensor:
        return made
    out = wrap(made._s, made.meta, made._off, cls)
    if args and isinstance(args[0], Tensor):
        out._rg, out._g = args[0]._rg, args[0]._g
    return out


LEGACY[0] = _legacy


class _TensorType(type):
    """`torch.FloatTensor` and the like: constructors, and types for isinstance."""

    dtype: Any

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, Tensor) and x.meta.dtype is cls.dtype and x.meta.device is CPU

    def __call__(cls, *args: Any, **kwargs: Any) -> Tensor:
        return _made(cls.dtype, args, kwargs)

    def __repr__(cls) -> str:
        return f"<class 'torch.{cls.__name__}'>"


for _name in (
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
):
    _d = dt.DTYPES[_name]
    TORCH[_d.short + "Tensor"] = _TensorType(
        _d.short + "Tensor", (), {"dtype": _d, "__module__": "torch"}
    )


@only_method("new")
def new(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A tensor of self's dtype, as the old constructors make it."""
    if len(args) == 1 and isinstance(args[0], Tensor):
        return wrap(args[0]._s, args[0].meta, args[0]._off)
    return _made(self.meta.dtype, args, kwargs)


# where it is, and who shares it --------------------------------------------------------------------


@both("get_device")
def get_device(input: Tensor) -> int:
    """-1 in main memory, else the number of the GPU."""
    return -1 if input.meta.device.index is None else input.meta.device.index  # type: ignore[attr-defined]


@only_method("share_memory_")
def share_memory_(self: Tensor) -> Tensor:
    """Itself: worker processes get tensors through shared pages by themselves."""
    self._shared = True
    return self


@only_method("is_shared")
def is_shared(self: Tensor) -> bool:
    """Whether `share_memory_` was called."""
    return bool(self.__dict__.get("_shared"))


@only_method("is_pinned")
def is_pinned(self: Tensor, device: Any = None) -> bool:
    """False: memory is not page-locked."""
    return False


@only_method("pin_memory")
def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """Itself: without a GPU there is nothing to pin for."""
    return self


@only_method("record_stream")
def record_stream(self: Tensor, stream: Any) -> None:
    """Nothing: memory in use is never given away."""


@only_method("ndimension")
def ndimension(self: Tensor) -> int:
    """Number of dims."""
    return self.meta.ndim


@only_method("dim_order")
def dim_order(self: Tensor, *, ambiguity_check: Any = False) -> tuple[int, ...]:
    """Dims from the one that varies slowest in memory."""
    m = self.meta
    return tuple(sorted(range(m.ndim), key=lambda i: -m.strides[i] if m.shape[i] else 0))


# elementwise Python functions ------------------------------------------------------------------------


def _python_values(self: Tensor, values: list) -> Tensor:
    array = np.asarray(values).reshape(self.meta.shape)
    return self.copy_(
        adopt_array(np.ascontiguousarray(encode(array, self.meta.dtype)), self.meta.dtype)
    )  # type: ignore[attr-defined]


@only_method("apply_")
def apply_(self: Tensor, callable: Any) -> Tensor:
    """Each element replaced by callable(element)."""
    if self._rg:
        raise TypeError(
            "Can't call apply_() on Variable that requires grad. Use var.detach().apply_() instead."
        )
    return _python_values(self, [callable(x) for x in self._values().reshape(-1).tolist()])


@only_method("map_")
def map_(self: Tensor, tensor: Tensor, callable: Any) -> Tensor:
    """Each element replaced by callable(element, element of tensor)."""
    if self._rg or tensor._rg:
        raise TypeError(
            "Can't call map_() on Variable that requires grad. Use var.detach().map_() instead."
        )
    b = np.broadcast_to(tensor._values(), self.meta.shape)
    pairs = zip(self._values().reshape(-1).tolist(), b.reshape(-1).tolist())
    return _python_values(self, [callable(x, y) for x, y in pairs])


@only_method("map2_")
def map2_(self: Tensor, x: Tensor, y: Tensor, callable: Any) -> Tensor:
    """Each element replaced by callable of it and two others."""
    a, b, c = (
        np.broadcast_to(t._values(), self.meta.shape).reshape(-1).tolist() for t in (self, x, y)
    )
    return _python_values(self, [callable(*v) for v in zip(a, b, c)])


# DLPack -----------------------------------------------------------------------------------------------


@only_method("__dlpack__")
def _dlpack(self: Tensor, *, stream: Any = -1, max_version: Any = None, dl_device: Any = None,
            copy: bool | None = None) -> Any:  # fmt: skip
    """A capsule that other libraries can read self's memory from."""
    if self._rg:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if stream not in (None, -1):
        raise AssertionError("stream should be None on cpu.")
    array = self.numpy()  # type: ignore[attr-defined]
    return array.__dlpack__()


@only_method("__dlpack_device__")
def _dlpack_device(self: Tensor) -> tuple[int, int]:
    """(1, 0): main memory."""
    return (1, 0)


class _Capsule:
    """A bare capsule as NumPy wants it: an object with the protocol."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


@only_torch()
def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares memory with any object that offers DLPack."""
    if isinstance(ext_tensor, Tensor):
        return wrap(ext_tensor._s, ext_tensor.meta, ext_tensor._off)
    source = ext_tensor if hasattr(ext_tensor, "__dlpack__") else _Capsule(ext_tensor)
    array = np.from_dlpack(source)
    t = from_numpy(array if array.flags.writeable else array.copy())
    return t.clone() if copy else t  # type: ignore[attr-defined]


@only_torch()
def to_dlpack(tensor: Tensor) -> Any:
    """A capsule with the tensor's memory."""
    return _dlpack(tensor)


@only_torch()
def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A vector that shares memory with an object with the buffer protocol."""
    try:
        view = memoryview(buffer)
    except TypeError:
        raise ValueError("object does not implement Python buffer protocol.") from None
    size = view.nbytes
    if size == 0 or count == 0:
        raise ValueError(f"both buffer length ({size}) and count ({count}) must not be 0")
    if not 0 <= offset < size:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({size} bytes) minus 1"
        )
    item = dtype.itemsize
    if count < 0:
        if (size - offset) % item:
            raise ValueError(
                f"buffer length ({size - offset} bytes) after offset ({offset} bytes) must be a multiple of element size ({item})"
            )
        count = (size - offset) // item
    if offset + count * item > size:
        raise ValueError(
            f"requested buffer length ({count} * {item} bytes) after offset ({offset} bytes) must not be greater than "
            f"actual buffer length ({size} bytes)"
        )
    from facula.ops.create import finish, share_array

    array = np.frombuffer(view, dtype.storage, count, offset)
    return finish(share_array(array, dtype), requires_grad)


# pickling ---------------------------------------------------------------------------------------------


def rebuild(
    cls: type,
    array: np.ndarray,
    name: str,
    requires_grad: bool,
    state: dict,
    dims: tuple[int, ...] = (),
) -> Tensor:
    """A tensor from what `__reduce_ex__` gave."""
    made = adopt_array(np.array(array, copy=True, order="C"), dt.by_name(name))
    if dims:
        made = made.permute(dims)  # type: ignore[attr-defined]
    out = made if cls is Tensor else wrap(made._s, made.meta, made._off, cls)
    if requires_grad:
        out._rg = True
    out.__dict__.update(state)
    return out


@only_method("__reduce_ex__")
def _reduce_ex(self: Tensor, proto: Any) -> tuple:
    """How pickle stores a tensor: its elements, dtype and attributes."""
    state = {k: v for k, v in self.__dict__.items() if not k.startswith("_") and k != "meta"}
    if self.meta.device is META:
        return _rebuild_meta, (type(self), tuple(self.meta.shape), self.meta.dtype, self._rg)
    m, array = self.meta, self._array()
    if not m.contiguous and fills_range(m):
        order = order_in_memory(m)
        dims = tuple(map(order.index, range(m.ndim)))
        return rebuild, (type(self), array.transpose(order), m.dtype.name, self._rg, state, dims)
    array = np.ascontiguousarray(array).reshape(m.shape)
    return rebuild, (type(self), array, self.meta.dtype.name, self._rg, state)


def _rebuild_meta(cls: type, shape: tuple, d: Any, requires_grad: bool) -> Tensor:
    made = TORCH["empty"](shape, dtype=d, device="meta", requires_grad=requires_grad)
    return made if cls is Tensor else made.as_subclass(cls)


# kinds of tensors that facula does not have ---------------------------------------------------------------

_MISSING = {
    "to_mkldnn": "MKL-DNN layouts: every tensor is strided",

    "smm": "sparse tensors here: use mm", "sspaddmm": "sparse tensors here: use addmm",
    "sparse_mask": "sparse tensors here: use masked_fill", "sparse_resize_": "sparse tensors here: use resize_",
    "sparse_resize_and_clear_": "sparse tensors here: use resize_",
    "resize_as_sparse_": "sparse tensors here: use resize_as_",
    "_nnz": "sparse tensors here: use count_nonzero", "_indices": "sparse tensors here: use nonzero",
    "to_padded_tensor": "nested tensors: use nn.utils.rnn.pad_sequence",
    "index": "first-class dims: use indexing with brackets",
    "q_per_channel_axis": "quantized tensors: use float tensors",
    "q_per_channel_scales": "quantized tensors: use float tensors",
    "q_per_channel_zero_points": "quantized tensors: use float tensors",
    "int_repr": "quantized tensors: use float tensors", "q_scale": "quantized tensors: use float tensors",
    "q_zero_point": "quantized tensors: use float tensors",
    "qscheme": "quantized tensors: use float tensors",
    "align_to": "named dims: use einops-like permutes", "align_as": "named dims: use permute",
    "refine_names": "named dims: use permute", "rename": "named dims: use permute",
    "rename_": "named dims: use permute",
}  # fmt: skip


def _missing(name: str, what: str) -> None:
    def run(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"Tensor.{name}: facula has no {what}")

    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"Not offered: {what}."
    setattr(Tensor, name, run)


for _name, _what in _MISSING.items():
    _missing(_name, _what)


@only_method("to_dense")
def to_dense(self: Tensor, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
    """Itself: tensors are dense."""
    return self if dtype is None else self.to(dtype)  # type: ignore[attr-defined]


@only_method("dense_dim")
def dense_dim(self: Tensor) -> int:
    """Number of dims: all are dense."""
    return self.meta.ndim


@only_method("sparse_dim")
def sparse_dim(self: Tensor) -> int:
    """0: no dim is sparse."""
    return 0


@only_method("is_coalesced")
def is_coalesced(self: Tensor) -> bool:
    """Only of sparse tensors."""
    raise RuntimeError("is_coalesced expected sparse coordinate tensor layout but got Strided")


@only_method("has_names")
def has_names(self: Tensor) -> bool:
    """False: dims have no names."""
    return False


@only_method("module_load")
def module_load(self: Tensor, other: Tensor, assign: bool = False) -> Tensor:
    """What `load_state_dict` puts in self's place or copies into it."""
    return other if assign else other.detach()


@only_method("reinforce")
def reinforce(self: Tensor, reward: Any) -> None:
    """Removed from PyTorch long ago; use torch.distributions."""
    raise RuntimeError("reinforce() was removed. Use torch.distributions instead.")


__all__ = ["decode"]
