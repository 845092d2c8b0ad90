"""Writing checkpoints: `torch.save`."""

import io
import os
import pickle
import stat
import struct
import sys
import tempfile
import zlib
from collections import OrderedDict
from contextlib import contextmanager

import facula as torch

from . import adapter
from .archive import ALIGNMENT, ArchiveWriter
from .location import tag_of
from .options import get_crc32_options, skips_data
from .storages import DTYPE_SIZES, DTYPE_STORAGES, dtype_name, swap_bytes

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


class _TorchGlobal:
    """A global written under PyTorch's name, whether or not a PyTorch is installed."""

    def __init__(self, module, name):
        self.module = module
        self.name = name

    def __call__(self, *args):
        raise TypeError("only a name in a file")


_names = {}


def _torch(path):
    module, _, name = path.rpartition(".")
    return _names.setdefault(path, _TorchGlobal(module, name))


# Types that need no look at what else they could be.
_PLAIN = frozenset(
    (str, int, float, bool, bytes, type(None), dict, list, tuple, set, OrderedDict, _TorchGlobal)
)


class _StorageRef:
    """Stands for a storage in a pickle; becomes a persistent id."""

    def __init__(self, storage, dtype):
        self.storage = storage
        self.dtype = dtype  # the name of the dtype it is counted in, or None for bytes


class StorageTable:
    """The storages of one file, each with its key; tensors that share memory share a key."""

    def __init__(self):
        self._keys = {}
        self.entries = []  # (key, bytes, dtype name or None)
        self._alive = []

    def key(self, identity, keep, data, dtype):
        known = self._keys.get(identity)
        if known is None:
            known = self._keys[identity] = len(self.entries)
            self._alive.append(keep)
            self.entries.append((str(known), data, dtype))
        elif self.entries[known][2] != dtype:
            raise RuntimeError(
                "Cannot save multiple tensors or storages that view the same data as different "
                "types"
            )
        return str(known)


def _make_pickler_class(base):
    class CheckpointPickler(base):
        """A pickler that writes tensors the way PyTorch does."""

        def __init__(self, file, protocol, table, legacy=False):
            super().__init__(file, protocol=protocol)
            self.table = table
            self.legacy = legacy

        def persistent_id(self, obj):
            if type(obj) in _PLAIN:
                return None
            if type(obj) is not _StorageRef:
                if not adapter.is_storage(obj):
                    return None
                obj = _StorageRef(*adapter.untyped(obj))
            identity, data, device, keep = adapter.storage_parts(obj.storage)
            if self.legacy and obj.dtype is None:
                raise NotImplementedError(
                    "the format before PyTorch 1.6 has no untyped storages and no dtypes beyond "
                    "PyTorch 1.6's; save with _use_new_zipfile_serialization=True"
                )
            key = self.table.key(identity, keep, data, obj.dtype)
            if obj.dtype is None:
                kind, count = _torch("torch.storage.UntypedStorage"), data.nbytes
            else:
                kind = _torch(f"torch.{DTYPE_STORAGES[obj.dtype]}")
                count = data.nbytes // DTYPE_SIZES[obj.dtype][0]
            place = tag_of(obj.storage, device)
            pid = ("storage", kind, key, place, count)
            return (*pid, None) if self.legacy else pid

        def reducer_override(self, obj):
            if type(obj) in _PLAIN:
                return NotImplemented
            for kind, reduce in _reducers():
                if isinstance(obj, kind):
                    return reduce(obj)
            return NotImplemented

        def save_global(self, obj, name=None):
            named = _named_global(obj)
            if named is None:
                return super().save_global(obj, name)
            self.write(b"c" + f"{named.module}\n{named.name}\n".encode())
            self.memoize(obj)
            return None

    CheckpointPickler.dispatch = dict(base.dispatch)
    CheckpointPickler.dispatch[_TorchGlobal] = CheckpointPickler.save_global
    return CheckpointPickler


def _named_global(obj):
    """The name under which PyTorch knows an object of ours, if it has one."""
    if type(obj) is _TorchGlobal:
        return obj
    if isinstance(obj, torch.dtype):
        return _torch(f"torch.{dtype_name(obj)}")
    if obj is torch.Tensor:
        return _torch("torch.Tensor")
    if obj is torch.nn.Parameter:
        return _torch("torch.nn.parameter.Parameter")
    return None


def _pickler_class(pickle_module):
    """A pickler based on a module's; it must be one written in Python, as pickle's other one is."""
    for name in ("_Pickler", "Pickler"):
        base = getattr(pickle_module, name, None)
        if isinstance(base, type) and issubclass(base, pickle._Pickler):
            return _make_pickler_class(base)
    raise NotImplementedError(
        f"{getattr(pickle_module, '__name__', pickle_module)}.Pickler is not based on Python's own "
        "pickle._Pickler, which saving needs; use pickle_module=pickle"
    )


# -- tensors ------------------------------------------------------------------------


def _reduce_tensor(tensor):
    attributes = adapter.user_attributes(tensor)
    if isinstance(tensor, torch.nn.Parameter):
        data = _Reduced(_reduce_plain(tensor.detach()))
        args = (data, tensor.requires_grad, OrderedDict())
        if attributes:
            return _torch("torch._utils._rebuild_parameter_with_state"), (*args, attributes)
        return _torch("torch._utils._rebuild_parameter"), args
    function, args = _reduce_plain(tensor)
    if attributes:
        return (
            _torch("torch._tensor._rebuild_from_type_v2"),
            (function, _torch("torch.Tensor"), args, attributes),
        )
    return function, args


def _reduce_plain(tensor):
    if tensor.layout is not torch.strided:
        return _reduce_sparse(tensor)
    if tensor.device.type == "meta":
        return (
            _torch("torch._utils._rebuild_meta_tensor_no_storage"),
            (tensor.dtype, tuple(tensor.size()), tensor.stride(), tensor.requires_grad),
        )
    if getattr(tensor, "is_quantized", False):
        raise NotImplementedError("quantized tensors cannot be saved: save tensor.dequantize()")
    requires_grad = tensor.requires_grad
    tensor = adapter.plain(tensor.detach())
    name = dtype_name(tensor.dtype)
    typed = name in DTYPE_STORAGES
    ref = _StorageRef(adapter.storage_ref(tensor), name if typed else None)
    args = (
        ref,
        tensor.storage_offset(),
        tuple(tensor.size()),
        tuple(tensor.stride()),
        requires_grad,
        OrderedDict(),
    )
    if typed:
        return _torch("torch._utils._rebuild_tensor_v2"), args
    return _torch("torch._utils._rebuild_tensor_v3"), (*args, tensor.dtype)


def _reduce_sparse(tensor):
    layout = _Reduced(_reduce_layout(tensor.layout))
    size = _Reduced(_reduce_size(tensor.size()))
    if tensor.layout is torch.sparse_coo:
        data = (tensor._indices(), tensor._values(), size, tensor.is_coalesced())
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        data = (tensor.crow_indices(), tensor.col_indices(), tensor.values(), size)
    else:
        data = (tensor.ccol_indices(), tensor.row_indices(), tensor.values(), size)
    data = tuple(d.detach() if isinstance(d, torch.Tensor) else d for d in data)
    return _torch("torch._utils._rebuild_sparse_tensor"), (layout, data)


class _Reduced:
    """An object given by the call that makes it."""

    def __init__(self, call):
        self.call = call


def _reduce_layout(layout):
    return _torch("torch.serialization._get_layout"), (str(layout),)


def _reduce_size(size):
    return _torch("torch.Size"), (tuple(size),)


_reducer_table = []


def _reducers():
    if not _reducer_table:
        _reducer_table.extend(
            [
                (_Reduced, lambda reduced: reduced.call),
                (torch.Tensor, _reduce_tensor),
                (torch.dtype, lambda dtype: dtype_name(dtype)),
                (torch.Size, _reduce_size),
                (torch.device, lambda d: (_torch("torch.device"), _device_args(d))),
                (type(torch.strided), _reduce_layout),
            ]
        )
    return _reducer_table


def _device_args(device):
    return (device.type,) if device.index is None else (device.type, device.index)


# -- files ----------------------------------------------------------------------------


def save(
    obj,
    f,
    pickle_module=pickle,
    pickle_protocol=2,
    _use_new_zipfile_serialization=True,
    _disable_byteorder_record=False,
):
    """Saves an object to a file that PyTorch reads, too.

    A file given by its name is replaced only when the new one is complete.

        torch.save(model.state_dict(), "model.pt")

    >>> import facula as torch
    >>> import io
    >>> file = io.BytesIO()
    >>> torch.save({"step": 3, "w": torch.ones(2)}, file)
    >>> _ = file.seek(0)
    >>> torch.load(file)
    {'step': 3, 'w': tensor([1., 1.])}
    """
    pickler_class = _pickler_class(pickle_module)
    if skips_data():
        raise NotImplementedError("saving inside skip_data; save the whole checkpoint instead")
    with _opened(f) as (write, name):
        if _use_new_zipfile_serialization:
            archive = ArchiveWriter(write, name, get_crc32_options())
            _save_archive(obj, archive, pickler_class, pickle_protocol, _disable_byteorder_record)
        else:
            _save_legacy(obj, write, pickler_class, pickle_protocol)


def _save_archive(obj, archive, pickler_class, protocol, no_byteorder):
    table = StorageTable()
    text = io.BytesIO()
    pickler_class(text, protocol, table).dump(obj)
    archive.record("data.pkl", text.getvalue())
    archive.record(".format_version", b"1")
    archive.record(".storage_alignment", str(ALIGNMENT).encode())
    if not no_byteorder:
        archive.record("byteorder", b"little")
    digest = zlib.crc32(text.getvalue())
    for key, data, dtype in table.entries:
        data = _little(data, dtype)
        digest = zlib.crc32(struct.pack("<Q", data.nbytes), digest)
        archive.record(f"data/{key}", data)
    archive.record("version", b"3\n")
    archive.record(".data/serialization_id", f"{digest:040d}".encode())
    archive.finish()


def _little(data, dtype):
    """Bytes in little-endian order, which is nearly always the order they are in."""
    if sys.byteorder == "little" or dtype is None:
        return data
    data = data.copy()
    swap_bytes(data, dtype)
    return data


def _save_legacy(obj, write, pickler_class, protocol):
    """The stream format of PyTorch before 1.6."""
    system = {
        "protocol_version": _LEGACY_PROTOCOL,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    for head in (_LEGACY_MAGIC, _LEGACY_PROTOCOL, system):
        write(pickle.dumps(head, protocol=protocol))
    table = StorageTable()
    text = io.BytesIO()
    pickler_class(text, protocol, table, legacy=True).dump(obj)
    write(text.getvalue())
    entries = sorted(table.entries)
    write(pickle.dumps([key for key, _, _ in entries], protocol=protocol))
    for _, data, dtype in entries:
        write(struct.pack("<q", data.nbytes // DTYPE_SIZES[dtype][0]))
        write(_little(data, dtype).tobytes())


@contextmanager
def _opened(f):
    """(a function that writes, the name of the archive) for a path or a file object."""
    if isinstance(f, (str, os.PathLike)):
        path = os.path.realpath(os.fspath(f))
        name = os.path.splitext(os.path.basename(os.fspath(f)))[0] or "archive"
        with _replacing(path) as file:
            yield file.write, name
        return
    if not hasattr(f, "write"):
        raise AttributeError(
            f"expected 'f' to be string, path, or a file-like object with a 'write' attribute, "
            f"but got {type(f).__name__}"
        )
    yield f.write, "archive"
    if hasattr(f, "flush"):
        f.flush()


@contextmanager
def _replacing(path):
    """A new file that takes the place of the old one when it is complete and on the disk."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {folder} does not exist.")
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):  # /dev/null, a pipe: nothing to keep
        with open(path, "wb") as file:
            yield file
        return
    number, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)[:100]}.", dir=folder)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, stat.S_IMODE(mode) if mode is not None else 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_folder(folder)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder):
    if not hasattr(os, "O_DIRECTORY"):
        return
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    except OSError:  # not every file system can
        pass
    finally:
        os.close(number)
