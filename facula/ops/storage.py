"""Storages: the memory behind tensors, as bytes or as elements."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.meta import CPU, META, meta_of
from facula.graph.reference import decode, encode
from facula.graph.tape import Storage, evaluate, flush, new_storage, settle
from facula.ops.registry import TORCH, only_method
from facula.runtime.buffers import alloc
from facula.tensor import Tensor, adopt_array, wrap


class UntypedStorage:
    """The bytes that tensors share."""

    __slots__ = ("_s", "device")

    def __init__(self, size: Any = 0, *, device: Any = None, _s: Storage | None = None) -> None:
        self.device = CPU
        if _s is not None:
            self._s = _s
            self.device = _s.meta.device
        elif isinstance(size, int):
            self._s = new_storage(alloc(max(size, 1)), meta_of(dt.uint8, (size,)))
        else:
            self._s = adopt_array(np.asarray(list(size), np.uint8))._s

    # size and place

    def nbytes(self) -> int:
        """Number of bytes."""
        return self._s.meta.numel * self._s.meta.dtype.itemsize

    size = __len__ = nbytes

    def data_ptr(self) -> int:
        """The address of the first byte."""
        if self.device is META or not self.nbytes():
            return 0
        return evaluate(self._s).addr

    @property
    def _cdata(self) -> int:
        return id(self._s)

    def element_size(self) -> int:
        """1: elements are bytes."""
        return 1

    def get_device(self) -> int:
        """-1 in main memory."""
        return -1

    @property
    def is_cuda(self) -> bool:
        """Whether it lives on an NVIDIA GPU."""
        return False

    is_sparse = is_sparse_csr = is_hpu = False
    filename: Any = None

    @property
    def resizable(self) -> bool:
        """Whether `resize_` may be called."""
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and other._s is self._s

    def __hash__(self) -> int:
        return id(self._s)

    # bytes

    def _bytes(self) -> np.ndarray:
        return evaluate(self._s).numpy("uint8", (self.nbytes(),))

    def _to_write(self) -> np.ndarray:
        """The bytes in memory that nothing recorded still reads."""
        settle(self._s)
        self._s.version += 1
        return self._bytes()

    def tolist(self) -> list[int]:
        """The bytes as numbers."""
        return self._bytes().tolist()

    def __iter__(self) -> Any:
        return iter(self.tolist())

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return UntypedStorage(self._bytes()[i].tolist())
        return int(self._bytes()[i])

    def __setitem__(self, i: Any, value: Any) -> None:
        self._to_write()[i] = value

    def fill_(self, value: int) -> UntypedStorage:
        """All bytes become value."""
        self._to_write()[:] = value
        return self

    def copy_(self, source: UntypedStorage, non_blocking: bool = False) -> UntypedStorage:
        """Copies another storage's bytes."""
        if source.nbytes() != self.nbytes():
            raise RuntimeError("size does not match")
        self._to_write()[:] = source._bytes()
        return self

    def clone(self) -> UntypedStorage:
        """A copy."""
        return UntypedStorage(self.nbytes()).copy_(self)

    def resize_(self, nbytes: int) -> UntypedStorage:
        """Another number of bytes; what fits is kept."""
        flush()
        old, s = evaluate(self._s), self._s
        buf = alloc(max(nbytes, 1))
        n = min(self.nbytes(), nbytes)
        buf.numpy("uint8", (n,))[:] = old.numpy("uint8", (n,))
        d = s.meta.dtype if nbytes % s.meta.dtype.itemsize == 0 else dt.uint8
        s.buf, s.meta, s.tape = buf, meta_of(d, (nbytes // d.itemsize,)), None
        return self

    def cpu(self) -> UntypedStorage:
        """Itself: it is in main memory."""
        return self

    def cuda(self, device: Any = None, non_blocking: bool = False) -> UntypedStorage:
        """Not offered: storages on a GPU."""
        raise NotImplementedError("storages on a GPU: move the tensor with Tensor.cuda() instead")

    def to(self, device: Any, non_blocking: bool = False) -> UntypedStorage:
        """Itself, for a device it is on."""
        from facula.ops.create import device_of

        return self if device_of(device) is CPU else self.cuda()

    def untyped(self) -> UntypedStorage:
        """Itself."""
        return self

    def share_memory_(self) -> UntypedStorage:
        """Itself: workers get copies or shared pages by themselves."""
        return self

    def is_shared(self) -> bool:
        """Whether its memory is visible outside."""
        return self._s.pin is not None and self._s.pin() is not None

    def is_pinned(self, device: Any = "cuda") -> bool:
        """False: memory is not page-locked."""
        return False

    def pin_memory(self, device: Any = "cuda") -> UntypedStorage:
        """Itself: without a GPU there is nothing to pin for."""
        return self

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The type's name."""
        return "torch.UntypedStorage"

    def __deepcopy__(self, memo: dict) -> UntypedStorage:
        if id(self._s) not in memo:
            memo[id(self._s)] = self.clone()
        return memo[id(self._s)]

    __copy__ = clone

    def __reduce__(self) -> tuple:
        return UntypedStorage, (self.tolist(),)

    def __repr__(self) -> str:
        body = "\n".join(f" {x}" for x in self.tolist())
        return (
            f"{body}\n[torch.storage.UntypedStorage(device={self.device}) of size {self.nbytes()}]"
        )

    @classmethod
    def from_buffer(
        cls,
        buffer: Any,
        byte_order: str = "native",
        count: int = -1,
        offset: int = 0,
        dtype: Any = None,
    ) -> UntypedStorage:
        """The bytes of an object with the buffer protocol."""
        array = np.frombuffer(buffer, np.uint8, offset=offset)
        if count >= 0:
            array = array[: count * (dtype.itemsize if dtype else 1)]
        return cls(array.tolist())

    @classmethod
    def from_file(cls, filename: str, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The first nbytes of a file, mapped into memory; with shared, what is written goes to it."""
        if not shared and not os.path.exists(filename):
            raise RuntimeError(
                f"unable to open file <{filename}> in read-only mode: No such file or directory (2)"
            )
        size = os.path.getsize(filename) if os.path.exists(filename) else 0
        if shared and size < nbytes:  # as PyTorch, which makes the file and lets it grow
            with open(filename, "ab") as file:
                file.truncate(nbytes)
        elif size < nbytes:
            raise RuntimeError(
                f"file <{filename}> size <{size}> is smaller than the required mapping size <{nbytes}>"
            )
        if not nbytes:
            return cls(0)
        array = np.memmap(filename, np.uint8, "r+" if shared else "c", shape=(nbytes,))
        return cls(_s=TORCH["from_numpy"](array)._s)


class TypedStorage:
    """The elements that tensors of one dtype share (PyTorch's old kind of storage)."""

    __slots__ = ("_untyped_storage", "dtype")
    _dtype: Any = None

    def __init__(self, *args: Any, wrap_storage: UntypedStorage | None = None, dtype: Any = None,
                 device: Any = None, _internal: bool = False) -> None:  # fmt: skip
        self.dtype = dtype or type(self)._dtype or dt.default_dtype()
        if wrap_storage is not None:
            self._untyped_storage = wrap_storage
        elif not args:
            self._untyped_storage = UntypedStorage(0)
        elif isinstance(args[0], int):
            self._untyped_storage = UntypedStorage(args[0] * self.dtype.itemsize)
        else:
            made = TORCH["tensor"](list(args[0]), dtype=self.dtype)
            self._untyped_storage = UntypedStorage(_s=made._s)

    @property
    def device(self) -> Any:
        """Where it is."""
        return self._untyped_storage.device

    is_cuda = property(lambda self: False)
    is_sparse = False

    def untyped(self) -> UntypedStorage:
        """The bytes."""
        return self._untyped_storage

    def _tensor(self) -> Tensor:
        s = self._untyped_storage._s
        return wrap(s, meta_of(self.dtype, (self.size(),)))

    def size(self) -> int:
        """Number of elements."""
        return self._untyped_storage.nbytes() // self.dtype.itemsize

    __len__ = _size = size

    def nbytes(self) -> int:
        """Number of bytes."""
        return self._untyped_storage.nbytes()

    def element_size(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._untyped_storage.data_ptr()

    @property
    def _cdata(self) -> int:
        return self._untyped_storage._cdata

    def _array(self) -> np.ndarray:
        return self._untyped_storage._bytes()[: self.size() * self.dtype.itemsize].view(
            self.dtype.storage
        )

    def tolist(self) -> list:
        """The elements as numbers."""
        return decode(self._array(), self.dtype).tolist()

    def __iter__(self) -> Any:
        return iter(self.tolist())

    def __getitem__(self, i: Any) -> Any:
        return (
            decode(self._array()[i : i + 1 or None], self.dtype).item()
            if isinstance(i, int)
            else self.tolist()[i]
        )

    def __setitem__(self, i: Any, value: Any) -> None:
        self._untyped_storage._to_write()
        self._array()[i] = encode(np.asarray(value), self.dtype)

    def fill_(self, value: Any) -> TypedStorage:
        """All elements become value."""
        self[:] = value
        return self

    def copy_(self, source: Any, non_blocking: bool | None = None) -> TypedStorage:
        """Copies another storage's elements."""
        self[:] = np.asarray(source.tolist())
        return self

    def clone(self) -> TypedStorage:
        """A copy."""
        return type(self)(wrap_storage=self._untyped_storage.clone(), dtype=self.dtype)

    def resize_(self, size: int) -> TypedStorage:
        """Another number of elements."""
        self._untyped_storage.resize_(size * self.dtype.itemsize)
        return self

    def cpu(self) -> TypedStorage:
        """Itself."""
        return self

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The type's name."""
        return f"torch.{self.dtype.short}Storage"

    def pickle_storage_type(self) -> str:
        """The name that pickles use."""
        return f"{self.dtype.short}Storage"

    def share_memory_(self) -> TypedStorage:
        """Itself."""
        return self

    def is_shared(self) -> bool:
        """Whether its memory is visible outside."""
        return self._untyped_storage.is_shared()

    def is_pinned(self, device: Any = "cuda") -> bool:
        """False: memory is not page-locked."""
        return False

    def get_device(self) -> int:
        """-1 in main memory."""
        return -1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypedStorage) and other._untyped_storage == self._untyped_storage

    def __hash__(self) -> int:
        return hash(self._untyped_storage)

    def __deepcopy__(self, memo: dict) -> TypedStorage:
        return type(self)(wrap_storage=self._untyped_storage.__deepcopy__(memo), dtype=self.dtype)

    def __repr__(self) -> str:
        body = "\n".join(f" {x}" for x in self.tolist())
        return f"{body}\n[torch.storage.TypedStorage(dtype={self.dtype}, device={self.device}) of size {len(self)}]"


TORCH["UntypedStorage"], TORCH["TypedStorage"] = UntypedStorage, TypedStorage
for _d in (*[dt.DTYPES[n] for n in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16",
           "int8", "uint8", "bool", "complex64", "complex128")],):  # fmt: skip
    TORCH[_d.short + "Storage"] = type(
        _d.short + "Storage", (TypedStorage,), {"_dtype": _d, "__slots__": ()}
    )


@only_method("untyped_storage")
def untyped_storage(self: Tensor) -> UntypedStorage:
    """The bytes that self shares."""
    return UntypedStorage(_s=self._s)


@only_method("storage", "_typed_storage")
def storage(self: Tensor) -> TypedStorage:
    """The elements that self shares."""
    return TypedStorage(wrap_storage=UntypedStorage(_s=self._s), dtype=self.meta.dtype)


@only_method("storage_type")
def storage_type(self: Tensor) -> type:
    """The class of `storage()`."""
    return TORCH[self.meta.dtype.short + "Storage"]


@only_method("is_set_to")
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both show the same memory in the same way."""
    return self._s is tensor._s and self.meta is tensor.meta and self._off == tensor._off
