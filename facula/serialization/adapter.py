"""The one place where checkpoints meet facula's tensors and storages.

Everything else in this room works on NumPy arrays of bytes.
"""

import numpy as np

import facula as torch

from .storages import dtype_name


def storage_of(tensor):
    """(identity, bytes as a NumPy array, device, keep-alive) of the memory behind a tensor."""
    storage = tensor.untyped_storage()
    return storage_parts(storage)


def storage_parts(storage):
    """The same, of a storage."""
    device = str(storage.device)
    flat = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(
        storage, 0, (storage.nbytes(),), (1,)
    )
    return (device, storage.data_ptr() or id(storage)), flat.cpu().numpy(), device, storage


def is_storage(obj):
    return isinstance(obj, (torch.UntypedStorage, torch.TypedStorage))


def untyped(storage):
    """(untyped storage, dtype name or None) of either kind of storage."""
    if isinstance(storage, torch.UntypedStorage):
        return storage, None
    return storage._untyped_storage, dtype_name(storage.dtype)


def _base(record):
    """The storage made of a record; made once, so that its tensors share memory."""
    if record.cache is None:
        flat = torch.from_numpy(record.data)
        if record.device != "cpu":
            flat = flat.to(record.device)
        record.cache = flat.untyped_storage()
    return record.cache


def make_tensor(record, dtype, offset, size, stride, requires_grad):
    """A tensor on a record's memory; offset and strides count elements and have been checked."""
    with torch.no_grad():
        tensor = torch.empty(0, dtype=dtype, device=record.device)
        tensor.set_(_base(record), offset, torch.Size(size), stride)
    if requires_grad:
        tensor.requires_grad_(True)
    return tensor


def make_storage(record):
    """What a storage that was saved by itself is loaded as."""
    storage = _base(record)
    if record.dtype_name is None:
        return storage
    return torch.TypedStorage(wrap_storage=storage, dtype=record.dtype, _internal=True)


def record_bytes(storage):
    """Bytes of a storage that `map_location` returned, as a NumPy array."""
    return storage_parts(untyped(storage)[0])[1]


def plain(tensor):
    """A tensor whose memory holds the values themselves (no pending conjugation or negation)."""
    return tensor.resolve_conj().resolve_neg()


def user_attributes(tensor):
    """Attributes that a user has set on a tensor."""
    return dict(getattr(tensor, "__dict__", {}))


def empty_bytes(count):
    return np.empty(count, np.uint8)
