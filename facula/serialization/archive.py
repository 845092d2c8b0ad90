"""The zip archives that checkpoints are: stored records, aligned to 64 bytes.

The reader trusts nothing: every offset and size is checked against the file before it is used, and
records must neither overlap nor grow when they are read.
"""

import io
import mmap
import os
import struct
import warnings
import zlib
from dataclasses import dataclass

import numpy as np

ALIGNMENT = 64

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")

_UTF8_NAMES = 0x800
_DOS_DATE = 0x21  # 1 January 1980
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8
# More than weights ever shrink by; keeps a small file from unpacking to a huge one.
_MOST_INFLATION = 64
_CHUNK = 1 << 24
_ELEMENT = 16  # the largest size of an element, to which mapped data must be aligned


# -- writing ---------------------------------------------------------------------


class ArchiveWriter:
    """Writes records to anything with `write`, front to back, without seeking."""

    def __init__(self, write, name="archive", checksums=True):
        self._write_out = write
        self._prefix = name + "/"
        self._checksums = checksums
        self._position = 0
        self._directory = []

    def _write(self, data):
        self._write_out(data)
        self._position += len(data)

    def record(self, name, data):
        """Adds one record; `data` is bytes or a contiguous array of bytes."""
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        size = view.nbytes
        checksum = zlib.crc32(view) if self._checksums else 0
        encoded = (self._prefix + name).encode()
        start = self._position
        extra = b""
        if size >= _MAX32:
            extra = struct.pack("<2H2Q", 1, 16, size, size)
        extra += self._padding(start + _LOCAL.size + len(encoded) + len(extra))
        sizes = (_MAX32, _MAX32) if size >= _MAX32 else (size, size)
        head = _LOCAL.pack(
            b"PK\3\4",
            45 if size >= _MAX32 else 20,
            _UTF8_NAMES,
            _STORED,
            0,
            _DOS_DATE,
            checksum,
            *sizes,
            len(encoded),
            len(extra),
        )
        self._write(head + encoded + extra)
        for at in range(0, size, _CHUNK):
            self._write(view[at : at + _CHUNK])
        self._directory.append((encoded, checksum, size, start))

    @staticmethod
    def _padding(position):
        """An extra field that makes the data after it start on a multiple of 64."""
        room = -(position + 4) % ALIGNMENT
        return b"FB" + struct.pack("<H", room) + b"Z" * room

    def finish(self):
        """Writes the directory."""
        start = self._position
        for encoded, checksum, size, offset in self._directory:
            big = [value for value in (size, size, offset) if value >= _MAX32]
            extra = struct.pack(f"<2H{len(big)}Q", 1, 8 * len(big), *big) if big else b""
            version = 45 if big else 20
            self._write(
                _CENTRAL.pack(
                    b"PK\1\2",
                    version,
                    version,
                    _UTF8_NAMES,
                    _STORED,
                    0,
                    _DOS_DATE,
                    checksum,
                    min(size, _MAX32),
                    min(size, _MAX32),
                    len(encoded),
                    len(extra),
                    0,
                    0,
                    0,
                    0,
                    min(offset, _MAX32),
                )
                + encoded
                + extra
            )
        self._end(start, self._position - start, len(self._directory))

    def _end(self, start, size, count):
        if start + size >= _MAX32 or count >= _MAX16:
            end64 = self._position
            self._write(
                _END64.pack(b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
                + _LOCATOR64.pack(b"PK\6\7", 0, end64, 1)
            )
        count16 = min(count, _MAX16)
        ends = (min(size, _MAX32), min(start, _MAX32))
        self._write(_END.pack(b"PK\5\6", 0, 0, count16, count16, *ends, 0))


# -- reading ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of the directory."""

    method: int
    checksum: int
    packed: int
    size: int
    header: int
    start: int  # of the data


def _broken(why):
    return RuntimeError(
        f"PytorchStreamReader failed reading zip archive: {why}. The file is no checkpoint, or it "
        "is damaged: it may not have been saved or copied completely."
    )


class ArchiveReader:
    """Reads records of a checkpoint from a seekable binary file.

    With `path` given, records are mapped into memory instead of read.
    """

    def __init__(self, file, path=None):
        self._file = file
        self._map = None
        file.seek(0, os.SEEK_END)
        self._size = file.tell()
        self._records = self._read_directory()
        self.prefix = self._find_prefix()
        if path is not None:
            with open(path, "rb") as source:
                self._map = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_COPY)

    def _at(self, position, count):
        """`count` bytes from `position` on; both are checked."""
        if position < 0 or count < 0 or position + count > self._size:
            raise _broken("it points beyond its end")
        self._file.seek(position)
        data = self._file.read(count)
        if len(data) != count:
            raise _broken("it ends early")
        return data

    # -- the directory -------------------------------------------------------

    def _find_end(self):
        """(entries, size, start) of the directory, and where what follows it begins."""
        tail_size = min(self._size, _END.size + _MAX16)
        tail_start = self._size - tail_size
        tail = self._at(tail_start, tail_size)
        found = tail.rfind(b"PK\5\6")
        if found < 0 or found + _END.size > tail_size:
            raise _broken("failed finding central directory")
        _, disk, first_disk, _, count, size, start, _ = _END.unpack_from(tail, found)
        limit = tail_start + found
        if disk or first_disk:
            raise _broken("it is split over several files")
        if _MAX16 in (count,) or _MAX32 in (size, start):
            if limit < _LOCATOR64.size:
                raise _broken("failed finding central directory")
            locator = self._at(limit - _LOCATOR64.size, _LOCATOR64.size)
            mark, _, end64, _ = _LOCATOR64.unpack(locator)
            if mark == b"PK\6\7":
                mark, _, _, _, _, _, _, count, size, start = _END64.unpack(
                    self._at(end64, _END64.size)
                )
                if mark != b"PK\6\6":
                    raise _broken("failed finding central directory")
                limit = end64
        if start + size > limit or count * _CENTRAL.size > size:
            raise _broken("failed finding central directory")
        return count, size, start

    def _read_directory(self):
        count, size, directory_start = self._find_end()
        directory = self._at(directory_start, size)
        records, position = {}, 0
        for _ in range(count):
            if position + _CENTRAL.size > size:
                raise _broken("its directory ends early")
            fields = _CENTRAL.unpack_from(directory, position)
            mark, _, _, flags, method, _, _, checksum, packed, full = fields[:10]
            name_size, extra_size, comment_size, _, _, _, header = fields[10:]
            if mark != b"PK\1\2":
                raise _broken("its directory is damaged")
            position += _CENTRAL.size
            after_name = position + name_size
            end = after_name + extra_size + comment_size
            if end > size:
                raise _broken("its directory ends early")
            try:
                name = directory[position:after_name].decode()
            except UnicodeDecodeError:
                raise _broken("it names a record in no known alphabet") from None
            extra = directory[after_name : after_name + extra_size]
            full, packed, header = _wide(extra, full, packed, header)
            position = end
            if flags & 1:
                raise _broken(f"record {name!r} is encrypted")
            if name in records:
                raise _broken(f"it has two records {name!r}")
            start = self._data_start(header, directory_start)
            if start + packed > directory_start:
                raise _broken(f"record {name!r} reaches beyond its end")
            records[name] = Record(method, checksum, packed, full, header, start)
        self._check_overlap(records)
        return records

    def _data_start(self, header, limit):
        if header + _LOCAL.size > limit:
            raise _broken("it points beyond its end")
        fields = _LOCAL.unpack(self._at(header, _LOCAL.size))
        if fields[0] != b"PK\3\4":
            raise _broken("a record does not start where it should")
        return header + _LOCAL.size + fields[9] + fields[10]

    @staticmethod
    def _check_overlap(records):
        end = 0
        for record in sorted(records.values(), key=lambda r: (r.header, r.start)):
            if record.header < end:
                raise _broken("its records overlap")
            end = record.start + record.packed

    def _find_prefix(self):
        found = [name for name in self._records if name.endswith("data.pkl")]
        found = [name for name in found if name == "data.pkl" or name.endswith("/data.pkl")]
        if not found:
            raise _broken("failed locating file data.pkl: file not found")
        return min(found, key=lambda name: (name.count("/"), name))[: -len("data.pkl")]

    # -- records -------------------------------------------------------------

    def __contains__(self, name):
        return self.prefix + name in self._records

    def size(self, name):
        return self._find(name).size

    def _find(self, name):
        record = self._records.get(self.prefix + name)
        if record is None:
            raise RuntimeError(f"PytorchStreamReader failed locating file {name}: file not found")
        if record.method == _STORED:
            if record.packed != record.size:
                raise _broken(f"record {name!r} has two sizes")
        elif record.method != _DEFLATED:
            raise _broken(f"record {name!r} is compressed in an unknown way")
        elif record.size > _MOST_INFLATION * record.packed:
            raise _broken(
                f"record {name!r} would grow {record.size // max(record.packed, 1)} times when "
                f"unpacked, more than {_MOST_INFLATION} times; store the archive uncompressed"
            )
        return record

    def bytes(self, name):
        """A record as bytes."""
        return self.array(name).tobytes()

    def array(self, name):
        """A record as a writeable array of bytes, mapped where that was asked for."""
        record = self._find(name)
        if record.method == _DEFLATED:
            return self._inflated(name, record)
        if self._map is not None:
            if not record.size:
                return np.empty(0, np.uint8)
            data = np.frombuffer(self._map, np.uint8, record.size, record.start)
            return data if record.start % _ELEMENT == 0 else data.copy()
        data = np.empty(record.size, np.uint8)
        self._file.seek(record.start)
        self._fill(data, name)
        self._check(name, record, data)
        return data

    def _fill(self, data, name):
        view, done = memoryview(data), 0
        while done < len(data):
            if hasattr(self._file, "readinto"):
                got = self._file.readinto(view[done : done + _CHUNK])
            else:
                piece = self._file.read(min(_CHUNK, len(data) - done))
                got = len(piece)
                view[done : done + got] = piece
            if not got:
                raise _broken(f"record {name!r} ends early")
            done += got

    def _inflated(self, name, record):
        packed = self._at(record.start, record.packed)
        inflate = zlib.decompressobj(-15)
        try:
            data = inflate.decompress(packed, record.size + 1)
        except zlib.error as error:
            raise _broken(f"record {name!r} is damaged ({error})") from None
        if len(data) != record.size:
            raise _broken(f"record {name!r} has two sizes")
        array = np.frombuffer(data, np.uint8).copy()
        self._check(name, record, array)
        return array

    @staticmethod
    def _check(name, record, data):
        if zlib.crc32(data) != record.checksum:
            warnings.warn(
                f"record {name!r} fails its checksum: the file is damaged, or it was written with "
                "set_crc32_options(False)",
                stacklevel=6,
            )


def _wide(extra, full, packed, header):
    """The 64-bit values of the extra field, for those that do not fit in 32 bits."""
    if _MAX32 not in (full, packed, header):
        return full, packed, header
    position = 0
    while position + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, position)
        position += 4
        if kind == 1:
            values = [full, packed, header]
            for i, value in enumerate(values):
                if value == _MAX32:
                    if size < 8 or position + 8 > len(extra):
                        raise _broken("its directory is damaged")
                    values[i] = struct.unpack_from("<Q", extra, position)[0]
                    position, size = position + 8, size - 8
            return tuple(values)
        position += size
    return full, packed, header


def is_archive(file):
    """Whether a file starts as a zip archive does; its position does not change."""
    start = file.tell()
    head = file.read(4)
    file.seek(start)
    return head == b"PK\3\4"


def seekable(file):
    """The file itself if one can seek in it, or else its contents in memory."""
    try:
        file.seek(file.tell())
        return file
    except (AttributeError, OSError):
        return io.BytesIO(file.read())
