"""The tensor: a geometry on a storage, and its place in the graph of derivatives.

Operators are attached by `facula.ops`; this file holds what a tensor is.
"""

from __future__ import annotations

import ctypes
import importlib
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from facula.autograd.node import AccumulateGrad, Node
from facula.graph import dtypes as dt
from facula.graph.formats import LAYOUTS
from facula.graph.meta import CPU, META, Device, Meta, Size, meta, meta_of
from facula.graph.reference import decode
from facula.graph.tape import LOCAL, Storage, evaluate, new_storage
from facula.runtime.buffers import Buffer, alloc


class SparseOperand(NotImplementedError):
    """An operator for dense tensors met a sparse one."""


class Tensor:
    """A multi-dimensional array that records what is done with it.

    Made by functions such as `facula.tensor([1., 2.])`; see
    https://docs.pytorch.org/docs/2.13/tensors.html for what it can do.
    """

    # defaults of what most tensors never set
    _off: int = 0  # where it starts in its storage, in elements
    _rg: bool = False  # requires_grad
    _g: Any = None  # edge: None for leaves, a node, or (node, number of result)
    _val: Any = None  # of sparse tensors: the values, which stand for them in the graph
    _grad: Tensor | None = None
    _base: Tensor | None = None  # what it is a view of
    _made: str | None = None  # "no_grad" or "multi": a view that may not be written with gradients
    _quiet: bool = False  # `.data` and its views: writing them is not seen by saved values
    _conj: bool = False
    _retains: bool = False  # a non-leaf that keeps its gradient
    _views: list | None = None  # weak references to the views of a base
    _hooks: dict | None = None  # of a leaf: called with its gradient
    _post_hooks: dict | None = None  # of a leaf: called after its gradient was added up
    _s: Storage
    meta: Meta

    def __new__(cls, *args: Any, **kwargs: Any) -> Tensor:
        if not args and not kwargs and cls is not Tensor:
            return object.__new__(cls)
        return LEGACY[0](cls, *args, **kwargs)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Classes of users may take part in torch functions: that room is loaded for the first."""
        super().__init_subclass__(**kwargs)
        if not cls.__module__.startswith("facula."):
            if not OVERRIDES:
                importlib.import_module("facula.overrides")
            OVERRIDES[0](cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Everything was done in `__new__`, as PyTorch does."""

    # geometry

    @property
    def shape(self) -> Size:
        """The sizes of the dims."""
        return self.meta.shape

    @property
    def dtype(self) -> dt.dtype:
        """The element type."""
        return self.meta.dtype

    @property
    def device(self) -> Device:
        """Where the data is."""
        return self.meta.device  # type: ignore[return-value]

    @property
    def ndim(self) -> int:
        """Number of dims."""
        return self.meta.ndim

    def dim(self) -> int:
        """Number of dims."""
        return self.meta.ndim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one size of it."""
        if dim is None:
            return self.meta.shape
        n = self.meta.ndim
        if not hasattr(dim, "__index__"):
            raise TypeError(
                f"size(): argument 'dim' (position 1) must be int, not {type(dim).__name__}"
            )
        if not -n <= dim < n:
            from facula.graph.meta import wrap_dim

            wrap_dim(dim, n)
            raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
        return self.meta.shape[dim]

    def stride(self, dim: int | None = None) -> Any:
        """Steps between neighbours along each dim, in elements."""
        return self.meta.strides if dim is None else self.meta.strides[dim]

    def storage_offset(self) -> int:
        """Where the tensor starts in its storage, in elements."""
        return self._off

    def numel(self) -> int:
        """Number of elements."""
        return self.meta.numel

    nelement = numel

    def element_size(self) -> int:
        """Bytes of an element."""
        return self.meta.dtype.itemsize

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.meta.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.meta.numel * self.meta.dtype.itemsize

    @property
    def layout(self) -> Any:
        """`torch.strided`."""
        return STRIDED

    @property
    def is_cuda(self) -> bool:
        """Whether it lives on an NVIDIA GPU."""
        return self.meta.device.type == "cuda"  # type: ignore[attr-defined]

    is_sparse = is_quantized = is_mkldnn = is_nested = is_xla = is_mps = is_sparse_csr = False
    is_xpu = is_vulkan = is_ipu = is_maia = is_mtia = False
    names: Any = property(lambda self: (None,) * self.meta.ndim)

    @property
    def is_meta(self) -> bool:
        """Whether it has a shape but no data."""
        return self.meta.device is META

    @property
    def is_cpu(self) -> bool:
        """Whether it lives in main memory."""
        return self.meta.device.type == "cpu"  # type: ignore[attr-defined]

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating one."""
        return self.meta.dtype.is_floating_point

    def is_complex(self) -> bool:
        """Whether the dtype is complex."""
        return self.meta.dtype.is_complex

    def is_signed(self) -> bool:
        """Whether the dtype has negative numbers."""
        return self.meta.dtype.is_signed

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether elements lie in row-major order (or in the given format's)."""
        if memory_format is None or getattr(memory_format, "name", "") in (
            "contiguous_format",
            "preserve_format",
        ):
            return self.meta.contiguous
        if not hasattr(memory_format, "matches"):
            raise TypeError(
                "is_contiguous(): argument 'memory_format' must be torch.memory_format, not "
                f"{type(memory_format).__name__}"
            )
        return memory_format.matches(self.meta)

    def is_conj(self) -> bool:
        """Conjugation is done at once: never pending."""
        return False

    def is_neg(self) -> bool:
        """Negation is done at once: never pending."""
        return False

    def is_inference(self) -> bool:
        """Whether it was made in inference mode."""
        return self._s.version < 0

    # derivatives

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are wanted."""
        return self._rg

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        if flag is not True and flag is not False:
            raise RuntimeError("requires_grad must be a bool")
        if flag and not (self.meta.dtype.is_floating_point or self.meta.dtype.is_complex):
            raise RuntimeError(
                "only Tensors of floating point and complex dtype can require gradients"
            )
        if flag and self._s.version < 0 and not LOCAL.tape.born:
            raise RuntimeError(
                "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed."
            )
        if self._g is not None:
            if not flag:
                raise RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to use "
                    "a computed variable in a subgraph that doesn't require differentiation use "
                    "var_no_grad = var.detach()."
                )
            return
        self._rg = bool(flag)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Sets `requires_grad`."""
        if not isinstance(requires_grad, bool):
            raise TypeError(
                "requires_grad_(): argument 'requires_grad' (position 1) must be bool, not "
                f"{type(requires_grad).__name__}"
            )
        if requires_grad and not (self.meta.dtype.is_floating_point or self.meta.dtype.is_complex):
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether it was not made by a recorded operator."""
        return self._g is None

    @property
    def grad_fn(self) -> Node | None:
        """The node of the graph of derivatives that made it."""
        g = self._g
        return g[0] if type(g) is tuple else g

    @property
    def output_nr(self) -> int:
        """Which result of `grad_fn` it is."""
        return self._g[1] if type(self._g) is tuple else 0

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward passes added up."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            _check_assigned_grad(self, value)
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was asked for."""
        return self._retains

    def retain_grad(self) -> None:
        """Makes a non-leaf keep its gradient."""
        if not self._rg:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self._g is None or self._retains:
            return
        node, number = self._g if type(self._g) is tuple else (self._g, 0)
        if node.retained is None:
            node.retained = {}
            node.special = True
        node.retained.setdefault(number, []).append(weakref.ref(self))
        self._retains = True

    def register_hook(self, hook: Callable) -> Any:
        """Calls hook(grad) when this tensor's gradient is computed; it may return another."""
        from facula.utils.hooks import RemovableHandle

        if not self._rg:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._g is None:
            if self._hooks is None:
                self._hooks = {}
            table = self._hooks
        else:
            node, number = self._g if type(self._g) is tuple else (self._g, 0)
            if node.tensor_hooks is None:
                node.tensor_hooks = {}
                node.special = True
            table = node.tensor_hooks.setdefault(number, {})
        handle = RemovableHandle(table)
        table[handle.id] = hook
        return handle

    def register_post_accumulate_grad_hook(self, hook: Callable) -> Any:
        """Calls hook(tensor) after a leaf's `.grad` was added to."""
        from facula.utils.hooks import RemovableHandle

        if self._g is not None:
            raise RuntimeError(
                "post accumulate grad hooks cannot be registered on non-leaf tensors"
            )
        if self._post_hooks is None:
            self._post_hooks = {}
        table = self._post_hooks
        handle = RemovableHandle(table)
        table[handle.id] = hook
        return handle

    @property
    def _version(self) -> int:
        """How often its storage was written in place."""
        version = self._s.version
        if version < 0:
            raise RuntimeError("Inference tensors do not track version counter.")
        return version

    @property
    def data(self) -> Tensor:
        """The same memory without a history; writing to it is not tracked."""
        t = wrap(self._s, self.meta, self._off, type(self) if type(self) in PLAIN else Tensor)
        t._quiet = True
        return t

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {value.__class__.__name__}")
        if self._rg and value.meta.dtype.kind not in "fc":
            raise RuntimeError(
                "data set to a tensor that requires gradients must be floating point or complex dtype"
            )
        self._s, self.meta, self._off = value._s, value.meta, value._off

    def detach(self) -> Tensor:
        """The same memory without a history."""
        t = wrap(self._s, self.meta, self._off)
        if self._quiet or (self._base is not None and self._base._quiet):
            t._quiet = True
        return t

    def detach_(self) -> Tensor:
        """Drops the history."""
        if self._base is not None and self._base._rg:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        self._g, self._rg = None, False
        return self

    @staticmethod
    def _make_subclass(cls: type, data: Tensor, require_grad: bool = False) -> Tensor:
        """A tensor of class cls on the memory of data."""
        t = wrap(data._s, data.meta, data._off, cls)
        if require_grad:
            if t.meta.dtype.kind not in "fc":
                raise RuntimeError(
                    "Only Tensors of floating point and complex dtype can require gradients"
                )
            t.requires_grad_(True)
        return t

    def as_subclass(self, cls: type) -> Tensor:
        """self as a tensor of class cls, with the same history."""
        t = wrap(self._s, self.meta, self._off, cls)
        t._rg, t._g = self._rg, self._g
        return t

    def _is_view(self) -> bool:
        return self._base is not None

    # values

    def _array(self) -> np.ndarray:
        """The elements as a NumPy view of the storage (stored form: bfloat16 as uint16)."""
        if self.meta.device is META:
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        return storage_array(self._s, self.meta, self._off)

    def _values(self) -> np.ndarray:
        """The elements as NumPy values (bfloat16 as float32)."""
        return decode(self._array(), self.meta.dtype)

    def item(self) -> Any:
        """The value of a tensor with one element, as a Python number."""
        m = self.meta
        if m.numel != 1:
            raise RuntimeError(f"a Tensor with {m.numel} elements cannot be converted to Scalar")
        read = _READ.get(m.dtype)
        if read is not None and m.device is not META:
            buf = self._s.buf or evaluate(self._s)
            return read(buf.addr + self._off * m.dtype.itemsize).value
        if m.device is META:
            raise RuntimeError("Tensor.item() cannot be called on meta tensors")
        return self._values().item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self._values().tolist()

    def data_ptr(self) -> int:
        """The address of the first element."""
        if self.meta.device is META or self.meta.numel == 0:
            return 0
        return evaluate(self._s).addr + self._off * self.meta.dtype.itemsize


OVERRIDES: list[
    Callable
] = []  # told of subclasses outside of facula; filled in by facula.overrides
PLAIN: set[type] = {Tensor}  # classes whose instances behave as Tensor itself
LEGACY: list[Callable] = [
    lambda cls, *a, **k: object.__new__(cls)
]  # `torch.Tensor(2, 3)`, set by ops
STRIDED: Any = LAYOUTS["strided"]

_new = object.__new__

# how one element is read without an array around it
_READ = {
    dt.float32: ctypes.c_float.from_address, dt.float64: ctypes.c_double.from_address,
    dt.int64: ctypes.c_int64.from_address, dt.int32: ctypes.c_int32.from_address,
    dt.bool_: ctypes.c_bool.from_address,
}  # fmt: skip


def wrap(s: Storage, m: Meta, offset: int = 0, cls: type = Tensor) -> Tensor:
    """A tensor of these parts, without history."""
    t = _new(cls)
    t._s, t.meta = s, m
    if offset:
        t._off = offset
    return t


def from_buffer(buf: Any, m: Meta) -> Tensor:
    """A tensor of an evaluated contiguous value."""
    s = new_storage(buf, m)
    watch = LOCAL.tape.watch
    if watch is not None:
        watch.made(s)
    return wrap(s, m)


def from_array(array: np.ndarray, d: dt.dtype | None = None, device: object = CPU) -> Tensor:
    """A tensor with a copy of a NumPy array in stored form."""
    d = d or dt.from_numpy(array.dtype)
    m = meta_of(d, array.shape, device)
    if device is META:
        return empty_meta(m)
    buf = alloc(max(m.numel * d.itemsize, 1))
    if m.numel:
        buf.numpy(d.storage, m.shape)[...] = array
    return from_buffer(buf, m)


def adopt_array(array: np.ndarray, d: dt.dtype | None = None) -> Tensor:
    """A tensor that takes over a fresh contiguous NumPy array that nobody else writes to."""
    d = d or dt.from_numpy(array.dtype)
    if (
        not (array.flags.c_contiguous and array.flags.writeable and array.dtype == d.storage)
        or array.nbytes == 0
    ):
        return from_array(array, d)
    return from_buffer(Buffer.from_numpy(array), meta_of(d, array.shape))


def empty_meta(m: Meta) -> Tensor:
    """A tensor without data, on the meta device."""
    return wrap(new_storage(None, m), m)


def storage_array(s: Storage, m: Meta, offset: int = 0) -> np.ndarray:
    """A NumPy view of a strided region of a storage, evaluated if need be."""
    buf = evaluate(s)
    if m.contiguous and not offset:
        return buf.numpy(m.dtype.storage, m.shape)
    item = m.dtype.itemsize
    if m.numel == 0:
        return np.empty(m.shape, m.dtype.storage)
    flat = buf.numpy(m.dtype.storage, (buf.nbytes // item,))
    return np.lib.stride_tricks.as_strided(flat[offset:], m.shape, [x * item for x in m.strides])


def view(t: Tensor, shape: tuple[int, ...], strides: tuple[int, ...], offset: int,
         d: dt.dtype | None = None) -> Tensor:  # fmt: skip
    """A view of t's storage (without history; the operators' room adds that)."""
    m = t.meta
    out = _new(Tensor)
    out._s = t._s
    d = d or m.dtype
    # a view of another dtype is marked as one with an offset: both take the long way of recording
    out.meta = meta(d, shape, strides, m.device, offset != 0 or d is not t._s.meta.dtype)
    if offset:
        out._off = offset
    out._base = t if t._base is None else t._base
    return out


def _check_assigned_grad(t: Tensor, g: Any) -> None:
    if not isinstance(g, Tensor):
        raise TypeError(
            f"assigned grad expected to be a Tensor or None but got grad of type {type(g).__name__}"
        )
    if g is t:
        raise RuntimeError("can't assign Variable as its own grad")
    if g.meta.dtype is not t.meta.dtype:
        raise RuntimeError(
            f"attempting to assign a gradient with dtype '{g.meta.dtype.name}' to a tensor with "
            f"dtype '{t.meta.dtype.name}'. The gradient must match the tensor's dtype (by default, "
            "the tensor's dtype). You can set the gradient to None or convert the gradient to "
            "the tensor's dtype."
        )
    if g.meta.shape != t.meta.shape:
        raise RuntimeError(
            f"assigned grad has data of a different size: expected {list(t.meta.shape)}, got {list(g.meta.shape)}"
        )


__all__ = ["AccumulateGrad", "LOCAL", "PLAIN", "Tensor", "adopt_array", "empty_meta", "from_array",
           "from_buffer", "storage_array", "view", "wrap"]  # fmt: skip
