"""The one place where checkpoints meet facula's tensors and storages.

Everything else in this room works on NumPy arrays of bytes.
"""

import numpy as np

import facula as torch
from facula.tensor import adopt_array, storage_array, view

from .storages import dtype_name


def storage_ref(tensor):
    """The storage behind a tensor, as the other functions here take it."""
    return tensor._s


def storage_parts(storage):
    """(identity, bytes as a NumPy array, device, what keeps the identity valid) of a storage."""
    storage = getattr(storage, "_s", storage)
    data = storage_array(storage, storage.meta).reshape(-1).view(np.uint8)
    return id(storage), data, str(storage.meta.device), storage


def is_storage(obj):
    """Whether an object is a storage of its own, as `tensor.untyped_storage()` returns it."""
    kinds = (getattr(torch, "UntypedStorage", None), getattr(torch, "TypedStorage", None))
    return any(kind is not None and isinstance(obj, kind) for kind in kinds)


def untyped(storage):
    """(untyped storage, dtype name or None) of either kind of storage."""
    if isinstance(storage, torch.UntypedStorage):
        return storage, None
    return storage._untyped_storage, dtype_name(storage.dtype)


def _base(record, dtype):
    """A flat tensor on a record's memory; made once, so that all its tensors share memory."""
    if record.cache is None:
        count = record.data.nbytes // dtype.itemsize
        device = torch.device(record.device)
        if device.type == "meta":
            record.cache = torch.empty(count, dtype=dtype, device=device)
        elif device.type == "cpu":
            data = record.data[: count * dtype.itemsize]
            record.cache = adopt_array(data.view(dtype.storage), dtype)
        else:
            raise NotImplementedError(
                f"tensors cannot be loaded onto {device} yet; use map_location='cpu'"
            )
    return record.cache


def make_tensor(record, dtype, offset, size, stride, requires_grad):
    """A tensor on a record's memory; offset and strides count elements and have been checked."""
    return _on(_base(record, dtype), dtype, offset, size, stride, requires_grad)


def make_meta(dtype, count, size, stride, requires_grad):
    """A tensor without data, on a storage of `count` elements without data."""
    flat = torch.empty(count, dtype=dtype, device="meta")
    return _on(flat, dtype, 0, size, stride, requires_grad)


def _on(flat, dtype, offset, size, stride, requires_grad):
    tensor = view(flat, tuple(size), tuple(stride), offset, dtype)
    tensor._base = None  # what was saved as a view is loaded as a tensor of its own
    if requires_grad:
        tensor.requires_grad_(True)
    return tensor


def make_storage(record):
    """What a storage that was saved by itself is loaded as."""
    if not hasattr(torch.Tensor, "untyped_storage"):
        raise NotImplementedError("storages saved by themselves; save tensors instead")
    dtype = record.dtype
    count = record.data.nbytes // dtype.itemsize
    flat = make_tensor(record, dtype, 0, (count,), (1,), False)
    return flat.untyped_storage() if record.dtype_name is None else flat.storage()


def record_bytes(storage):
    """Bytes of a storage that `map_location` returned, as a NumPy array."""
    return storage_parts(untyped(storage)[0])[1]


def plain(tensor):
    """A tensor whose memory holds the values themselves (no pending conjugation or negation)."""
    if tensor.is_conj() or tensor.is_neg():
        return tensor.resolve_conj().resolve_neg()
    return tensor


def user_attributes(tensor):
    """Attributes that a user has set on a tensor; facula's own start with an underscore."""
    return {
        name: value
        for name, value in tensor.__dict__.items()
        if not name.startswith("_") and name != "meta"
    }
