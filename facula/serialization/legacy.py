"""The stream format of PyTorch before 1.6: pickles, one after another, and then raw memory."""

import struct
from pickle import UnpicklingError

import numpy as np

from .pickle_machine import Named, PickleScanner, PlainMachine
from .storages import DTYPE_SIZES, STORAGE_DTYPES, StorageRecord

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def _damaged(why):
    return UnpicklingError(f"the file is no checkpoint, or it is damaged: {why}")


def _plain(data, position):
    """(value, end) of a pickle of plain data."""
    machine = PlainMachine(data, position)
    return machine.load(), machine.end


class LegacyFile:
    """A file in the stream format: where its object is pickled, and its storages."""

    def __init__(self, data):
        self.data = data
        try:
            magic, position = _plain(data, 0)
        except (UnpicklingError, EOFError):
            magic = None
        if type(magic) is not int or magic != MAGIC:
            raise UnpicklingError("Invalid magic number; corrupt file? It is no checkpoint.")
        protocol, position = _plain(data, position)
        if type(protocol) is not int or protocol != _PROTOCOL:
            raise UnpicklingError(f"Invalid protocol version: {protocol}")
        system, position = _plain(data, position)
        if type(system) is not dict:
            raise _damaged("its header is none")
        self.little = system.get("little_endian", True) is not False
        self.position = position
        # Memory comes last in the file, so the pickle is run through twice: first for the types
        # of the storages, which tell how much memory follows.
        self.scanner = PickleScanner(data, position)
        self.scanner.load()
        self.pickle_end = self.scanner.end
        self.records = {}
        self._read_storages()

    def _read_storages(self):
        types = {}
        for pid in self.scanner.storages:
            key, dtype, device, _ = parse_persistent_id(pid)
            if dtype is None:
                raise _damaged("a storage has no type")
            types.setdefault(key, (dtype, device))
        keys, position = _plain(self.data, self.pickle_end)
        if type(keys) is not list or any(type(key) is not str for key in keys):
            raise _damaged("its list of storages is none")
        if set(keys) != set(types) or len(keys) != len(types):
            raise _damaged("its storages are not those that it names")
        for key in keys:
            dtype, device = types[key]
            if position + 8 > len(self.data):
                raise EOFError("the file ends early")
            (count,) = struct.unpack_from("<q", self.data, position)
            position += 8
            size = count * DTYPE_SIZES[dtype][0]
            if count < 0 or position + size > len(self.data):
                raise EOFError(f"the file ends early: storage {key!r} is incomplete")
            memory = np.frombuffer(self.data, np.uint8, size, position).copy()
            position += size
            if dtype == "bool":
                memory = (memory != 0).view(np.uint8)
            self.records[key] = (StorageRecord(memory, dtype), device)


def parse_persistent_id(pid):
    """(key, dtype name or None, device, view) of a storage's persistent id."""
    if type(pid) is not tuple or len(pid) < 5 or pid[0] not in ("storage", b"storage"):
        raise _damaged("a storage is not named as storages are")
    _, kind, key, device, count, *rest = pid
    if type(key) not in (str, int) or type(device) is not str or type(count) is not int:
        raise _damaged("a storage is not named as storages are")
    if isinstance(kind, Named):  # from a scanner
        name = kind.name.rpartition(".")[2]
        if name != "UntypedStorage" and name not in STORAGE_DTYPES:
            raise _damaged(f"{kind.name} is no storage that facula has")
        dtype = STORAGE_DTYPES.get(name, "uint8")
    else:
        dtype = getattr(kind, "dtype_name", None)
    view = rest[0] if rest else None
    return str(key), dtype, device, view


def view_of(record, view):
    """A part of a storage, as files of the oldest versions have them."""
    if view is None:
        return record
    if type(view) is not tuple or len(view) != 3:
        raise _damaged("a view of a storage is damaged")
    _, offset, count = view
    itemsize = DTYPE_SIZES[record.dtype_name][0]
    if type(offset) is not int or type(count) is not int or offset < 0 or count < 0:
        raise _damaged("a view of a storage is damaged")
    if (offset + count) * itemsize > record.nbytes():
        raise _damaged("a view of a storage reaches beyond its end")
    part = record.data[offset * itemsize : (offset + count) * itemsize]
    return StorageRecord(part, record.dtype_name, record.device)
