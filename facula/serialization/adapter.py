"""The one place where checkpoints meet facula's tensors and storages.

Everything else in this room works on NumPy arrays of bytes.
"""

import numpy as np

import facula as torch
from facula.graph.meta import META, meta, meta_of
from facula.graph.tape import evaluate, new_storage
from facula.runtime.buffers import Buffer, alloc
from facula.tensor import wrap

from .storages import dtype_name


def storage_ref(tensor):
    """The storage behind a tensor, as the other functions here take it."""
    return tensor._s


def storage_parts(storage):
    """(identity, bytes as a NumPy array, device, what keeps the identity valid) of a storage."""
    storage = getattr(storage, "_s", storage)
    buffer = evaluate(storage)
    device = str(storage.meta.device)
    # The buffer may be larger than the storage that it was allocated for.
    nbytes = storage.meta.numel * storage.meta.dtype.itemsize
    data = buffer.numpy(np.uint8, (min(nbytes, buffer.nbytes),))
    return id(storage), data, device, storage


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
    """The storage made of a record; made once, so that its tensors share memory."""
    if record.cache is None:
        device = torch.device(record.device)
        count = record.data.nbytes // dtype.itemsize
        geometry = meta_of(dtype, (count,), device)
        if device.type == "meta":
            buffer = None
        elif device.type != "cpu":
            raise NotImplementedError(
                f"tensors cannot be loaded onto {device} yet; use map_location='cpu'"
            )
        elif record.data.nbytes:
            buffer = Buffer.from_numpy(record.data)
        else:
            buffer = alloc(1)
        record.cache = new_storage(buffer, geometry)
    return record.cache


def make_tensor(record, dtype, offset, size, stride, requires_grad):
    """A tensor on a record's memory; offset and strides count elements and have been checked."""
    storage = _base(record, dtype)
    geometry = meta(dtype, size, tuple(stride), storage.meta.device, offset != 0)
    tensor = wrap(storage, geometry, offset)
    if requires_grad:
        tensor.requires_grad_(True)
    return tensor


def make_meta(dtype, count, size, stride, requires_grad):
    """A tensor without data, on a storage of `count` elements without data."""
    storage = new_storage(None, meta_of(dtype, (count,), META))
    tensor = wrap(storage, meta(dtype, size, stride, META))
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
