"""Reading checkpoints: `torch.load`."""

import io
import os
import pickle
import sys
import tarfile

import numpy as np

from . import adapter
from .archive import ArchiveReader, is_archive, seekable
from .legacy import LegacyFile, parse_persistent_id, view_of
from .location import restorer
from .options import LoadEndianness, get_default_load_endianness, skips_data
from .pickle_machine import PickleScanner
from .rebuild import canonical, known_global
from .storages import StorageRecord, StorageType, swap_bytes
from .trust import WeightsUnpickler, facula_global, find_safe

_FAILED = (
    "Weights only load failed. In PyTorch 2.6, the default value of the `weights_only` argument in "
    "`torch.load` became `True`. Re-running `torch.load` with `weights_only` set to `False` will "
    "likely succeed, but it can result in arbitrary code execution. Do it only if you got the file "
    "from a trusted source.\n\t"
)


def load(
    f,
    map_location=None,
    pickle_module=None,
    *,
    weights_only=None,
    mmap=None,
    **pickle_load_args,
):
    """Loads an object saved by `torch.save`, here or in PyTorch.

    Only weights are loaded (tensors, numbers, strings and containers of these), and no code in
    the file runs, unless `weights_only=False` says that the file can be trusted.

        state = torch.load("model.pt", map_location="cpu")
    """
    if weights_only is None:
        weights_only = pickle_module is None
    if weights_only and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    by_name = isinstance(f, (str, os.PathLike))
    if mmap and not by_name:
        raise ValueError("f must be a file path in order to use the mmap argument")
    loading = _Loading(map_location, pickle_module or pickle, weights_only, pickle_load_args)
    if by_name:
        with open(f, "rb") as file:
            return loading.load(file, os.fspath(f) if mmap else None)
    if not hasattr(f, "read"):
        raise AttributeError(
            f"expected 'f' to be a path or a file-like object with 'read' and 'seek', but got "
            f"{type(f).__name__}. You can only torch.load from a file that is seekable. Please "
            "pre-load the data into a buffer like io.BytesIO and try to load from it instead."
        )
    return loading.load(seekable(f), None)


class _Loading:
    """One call of `load`."""

    def __init__(self, map_location, pickle_module, weights_only, pickle_load_args):
        self.restore = restorer(map_location)
        self.pickle_module = pickle_module
        self.weights_only = weights_only
        self.encoding = pickle_load_args.pop("encoding", "utf-8")
        self.pickle_load_args = pickle_load_args
        self.records = {}

    def load(self, file, mmap_path):
        if is_archive(file):
            return self._load_archive(file, mmap_path)
        if mmap_path is not None:
            raise RuntimeError(
                "mmap can only be used with files saved with `torch.save(..., "
                "_use_new_zipfile_serialization=True)`, please torch.save your checkpoint with "
                "this option in order to use mmap."
            )
        return self._load_stream(file)

    def _unpickle(self, data, position, load_storage):
        if self.weights_only:
            machine = WeightsUnpickler(data, load_storage, position, self.encoding)
            try:
                value = machine.load()
                return _storages_for_users(value) if machine.loose_storages else value
            except pickle.UnpicklingError as error:
                raise pickle.UnpicklingError(_FAILED + str(error)) from error.__cause__
        unpickler = _trusting_unpickler(self.pickle_module)(
            io.BytesIO(data[position:]), encoding=self.encoding, **self.pickle_load_args
        )
        unpickler.persistent_load = load_storage
        return _storages_for_users(unpickler.load())

    # -- the zip format ------------------------------------------------------

    def _load_archive(self, file, mmap_path):
        archive = ArchiveReader(file, mmap_path)
        if "constants.pkl" in archive:
            raise RuntimeError(
                "Cannot use ``weights_only=True`` with TorchScript archives passed to "
                "``torch.load``: facula runs no TorchScript. Save the state_dict of the model."
            )
        swap = self._is_big_endian(archive) != (sys.byteorder == "big")

        def load_storage(pid):
            key, _, device, _ = parse_persistent_id(pid)
            if not isinstance(pid[1], StorageType):
                raise pickle.UnpicklingError(f"{pid[1]!r} is no type of storage")
            if key not in self.records:
                self.records[key] = self._read(archive, key, pid[1], pid[4], device, swap)
            return self.records[key]

        return self._unpickle(archive.bytes("data.pkl"), 0, load_storage)

    @staticmethod
    def _is_big_endian(archive):
        if "byteorder" in archive:
            order = archive.bytes("byteorder")
            if order not in (b"little", b"big"):
                raise RuntimeError(f"Unknown endianness type: {order!r}")
            return order == b"big"
        default = get_default_load_endianness()
        if default is None or default is LoadEndianness.LITTLE:
            return False
        return default is LoadEndianness.BIG or sys.byteorder == "big"

    def _read(self, archive, key, kind, count, device, swap):
        name = f"data/{key}"
        needed = count * kind.itemsize
        if count < 0 or archive.size(name) < needed:
            raise RuntimeError(
                f"storage {key!r} should have {needed} bytes, but its record has "
                f"{archive.size(name)}: the file is damaged"
            )
        if skips_data():
            return self.restore(StorageRecord(np.zeros(needed, np.uint8), kind.dtype_name), device)
        data = archive.array(name)[:needed]
        if swap and kind.dtype_name:
            data = data.copy()
            swap_bytes(data, kind.dtype_name)
        if kind.dtype_name == "bool" and needed and data.max() > 1:
            data = (data != 0).view(np.uint8)  # what kernels read must be 0 or 1
        return self.restore(StorageRecord(data, kind.dtype_name), device)

    # -- older formats -------------------------------------------------------

    def _load_stream(self, file):
        start = file.tell()
        head = file.read(512)
        if not head:
            raise EOFError("Ran out of input")
        file.seek(start)
        if head[257:262] == b"ustar" or _is_tar(file, start):
            raise RuntimeError(
                "the file has the .tar format of PyTorch before 0.2, which facula does not read. "
                "Load it with a PyTorch (weights_only=False) and save it again."
            )
        legacy = LegacyFile(file.read())

        def load_storage(pid):
            key, _, device, view = parse_persistent_id(pid)
            if key not in self.records:
                record, _ = legacy.records[key]
                if legacy.little != (sys.byteorder == "little"):
                    swap_bytes(record.data, record.dtype_name)
                self.records[key] = self.restore(record, device)
            return view_of(self.records[key], view)

        return self._unpickle(legacy.data, legacy.position, load_storage)


def _is_tar(file, start):
    if file.read(1) == b"\x80":  # a pickle
        file.seek(start)
        return False
    file.seek(start)
    try:
        tarfile.open(fileobj=file, mode="r:").close()
        return True
    except (tarfile.TarError, EOFError, OSError, ValueError):
        return False
    finally:
        file.seek(start)


def _trusting_unpickler(pickle_module):
    class TrustingUnpickler(pickle_module.Unpickler):
        """Runs a pickle as it is, with PyTorch's names leading to facula."""

        def find_class(self, module, name):
            full_name = canonical(module, name)
            if full_name.startswith("torch."):
                try:
                    return known_global(full_name)
                except KeyError:
                    found = facula_global(full_name)
                    if found is not None:
                        return found
            return super().find_class(module, name)

    return TrustingUnpickler


def _storages_for_users(value):
    """The value with storages, where some were saved by themselves, in place of records."""
    done = {}

    def shown(item):
        if isinstance(item, StorageRecord):
            return adapter.make_storage(item)
        if not isinstance(item, (dict, list, tuple)):
            return item
        if id(item) in done:
            return done[id(item)]
        done[id(item)] = item
        if isinstance(item, dict):
            for key in item:
                item[key] = shown(item[key])
        elif isinstance(item, list):
            item[:] = map(shown, item)
        elif type(item) is tuple:
            done[id(item)] = item, tuple(map(shown, item))  # the pair keeps the old one alive
            return done[id(item)][1]
        return item

    try:
        return shown(value)
    except RecursionError:
        raise pickle.UnpicklingError("storages lie too deep inside the object") from None


# -- looking without loading -----------------------------------------------------


def get_unsafe_globals_in_checkpoint(f):
    """The globals that a checkpoint names and that are not safe; nothing in it is run.

        torch.serialization.get_unsafe_globals_in_checkpoint("model.pt")
    ['__main__.MyClass']
    """
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return get_unsafe_globals_in_checkpoint(file)
    if not is_archive(f):
        raise ValueError("Expected input to be a checkpoint returned by torch.save")
    archive = ArchiveReader(f)
    scanner = PickleScanner(archive.bytes("data.pkl"))
    scanner.load()
    unsafe = []
    for name in scanner.globals:
        module, _, attribute = name.rpartition(".")
        full_name = canonical(module, attribute)
        try:
            known_global(full_name)
        except KeyError:
            if not _declared_safe(full_name):
                unsafe.append(full_name)
        except pickle.UnpicklingError:
            unsafe.append(full_name)
    return unsafe


def _declared_safe(full_name):
    try:
        find_safe(full_name)
        return True
    except KeyError:
        return False
