"""The object cache on disk: machine code by the hash of all it was made from.

It lives in $FACULA_CACHE, else $XDG_CACHE_HOME/facula, else ~/.cache/facula; FACULA_CACHE=off
turns it off. Code found there is run, so the directory must belong to the user and be writable by
nobody else; otherwise it is left alone, with one warning. Entries carry a digest, are written
under a temporary name and renamed, so that a torn or corrupt one is noticed and concurrent
processes do not disturb each other.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import llvmlite
import llvmlite.binding as llvm

from facula import config

if TYPE_CHECKING:
    from facula.llvm.target import Target

LIMIT = 512 << 20  # bytes of all entries; the oldest go when it is passed
_SHARDS = 256  # folders, by the first two digits of the name; each has its share of LIMIT
_DIGEST = 32  # bytes of sha256 in front of an entry's data


@functools.cache
def _generator_fingerprint() -> str:
    """Changes when a source file that writes machine code does (its size or time of change)."""
    package = Path(__file__).parent.parent
    seen = []
    for room in ("llvm", "kernel"):
        for entry in os.scandir(package / room):
            if entry.name.endswith(".py"):
                status = entry.stat()
                seen.append((room, entry.name, status.st_size, status.st_mtime_ns))
    return repr(sorted(seen))


@functools.cache
def _compiler_fingerprint(target: Target) -> str:
    options = (Path(__file__).parent / "llvmc.py").stat()
    version = (llvmlite.__version__, llvm.llvm_version_info)
    return f"{version}|{options.st_size}|{options.st_mtime_ns}|{target}"


@functools.cache
def _hash_of_circumstances(target: Target, generated: bool) -> hashlib._Hash:
    text = _compiler_fingerprint(target) + (_generator_fingerprint() if generated else "")
    return hashlib.sha256(text.encode())


def entry_name(key: str, target: Target, generated: bool = True) -> str:
    """Name of an object: the hash of its key, its generators' sources, the compiler and the CPU.

    `generated=False` says that `key` holds the whole IR, so that the generators do not matter.
    """
    digest = _hash_of_circumstances(target, generated).copy()
    digest.update(key.encode())
    return digest.hexdigest()


def cache_directory() -> Path | None:
    """Where the user wants the cache, or None for nowhere."""
    chosen = config.cache()
    if chosen is not None:
        return None if chosen.lower() in ("", "0", "off", "none") else Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "facula"


def _refusal(directory: str) -> str | None:
    """Why code from `directory` must not be run, or None."""
    status = os.stat(directory)
    if not stat.S_ISDIR(status.st_mode):
        return "is not a directory"
    if hasattr(os, "getuid"):
        if status.st_uid != os.getuid():
            return "belongs to another user"
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return "can be written by others"
    return None


class ObjectCache:
    """Objects on disk by name; every failure reads as a miss."""

    def __init__(self, directory: str, limit: int = LIMIT) -> None:
        self.directory = directory
        self.limit = limit
        self._ready: set[str] = set()  # shards that exist and were pruned by this process

    @staticmethod
    def open(directory: Path) -> ObjectCache | None:
        """The cache in `directory`, made if absent; None, with a warning, if it is unfit."""
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            real = os.path.realpath(directory)
            reason = _refusal(real)
        except OSError as error:
            reason = f"cannot be used ({error.strerror})"
        if reason is None:
            return ObjectCache(real)
        warnings.warn(
            f"facula: {directory} {reason}; compiled kernels are not kept on disk "
            "(set FACULA_CACHE to another directory, or to 'off')",
            RuntimeWarning,
            stacklevel=2,
        )
        return None

    @staticmethod
    @functools.cache
    def default() -> ObjectCache | None:
        """The user's cache; decided once in a process."""
        directory = cache_directory()
        return None if directory is None else ObjectCache.open(directory)

    def _path(self, name: str) -> str:
        return f"{self.directory}/{name[:2]}/{name[2:]}"

    def get(self, name: str) -> bytes | None:
        """The object called `name`, if stored and intact."""
        try:
            with open(self._path(name), "rb", buffering=0) as file:
                content = file.read()
        except OSError:
            return None
        data = content[_DIGEST:]
        # the name is hashed too: an intact entry under a wrong name is not what was asked for
        if not data or content[:_DIGEST] != _digest(name, data):
            return None
        return data

    def put(self, name: str, data: bytes) -> None:
        """Store an object; what cannot be stored is dropped silently."""
        with contextlib.suppress(OSError):
            shard = f"{self.directory}/{name[:2]}"
            if shard not in self._ready:
                os.makedirs(shard, mode=0o700, exist_ok=True)
                self._prune(shard)
                self._ready.add(shard)
            handle, temporary = tempfile.mkstemp(dir=shard, prefix=".")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_digest(name, data) + data)
                os.replace(temporary, self._path(name))
            except BaseException:
                os.unlink(temporary)
                raise

    def _prune(self, shard: str) -> None:
        """Drop the oldest entries of a folder that has outgrown its share."""
        share = self.limit // _SHARDS
        entries = []
        for entry in os.scandir(shard):
            status = entry.stat()
            entries.append((status.st_mtime_ns, status.st_size, entry.path))
        total = sum(size for _, size, _ in entries)
        if total <= share:
            return
        for _, size, path in sorted(entries):
            if total <= share * 3 // 4:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size


def _digest(name: str, data: bytes) -> bytes:
    return hashlib.sha256(name.encode() + data).digest()
