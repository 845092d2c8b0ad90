"""Loads damaged and hostile checkpoints: each must load or fail with a clear error.

    python -m tests.fuzz_serialization 100000 [seed]

Memory is limited while this runs, and an audit hook reports code that runs and files that open.
Files that get past an expectation are written to the current directory.
"""

import io
import pickle
import random
import struct
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np

import facula as torch
from facula.serialization import load, save
from facula.serialization.archive import ArchiveWriter

CLEAR_ERRORS = (pickle.UnpicklingError, RuntimeError, EOFError)
_FORBIDDEN = ("exec", "compile", "import", "open", "os.system", "subprocess.Popen", "os.remove")
_watching = [False]
_seen = []


def _audit(event, args):
    if _watching[0] and event in _FORBIDDEN:
        _seen.append((event, str(args)[:200]))


def _object():
    shared = torch.arange(24.0).reshape(4, 6)
    return {
        "weight": shared,
        "view": shared.t()[1:],
        "half": torch.zeros(3, dtype=torch.bfloat16),
        "flags": torch.tensor([True, False]),
        "step": torch.tensor(7),
        "numbers": [1, 2.5, None, True, -3, 1 << 70, "text", (1, (2, 3)), {4, 5}, b"bytes"],
        "nested": {"a": {"b": [torch.ones(2)]}},
        "dtype": torch.float64,
        "size": shared.size(),
    }


def seeds():
    """Sound files: as saved, in the old format, and compressed."""
    plain, old, packed = io.BytesIO(), io.BytesIO(), io.BytesIO()
    save(_object(), plain)
    save(_object(), old, _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", 8) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with zipfile.ZipFile(plain) as source:
        program = source.read("archive/data.pkl")
    return plain.getvalue(), old.getvalue(), packed.getvalue(), program


# -- damage ------------------------------------------------------------------------

_EXTREMES = [
    b"\xff\xff",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\xff" * 8,
    b"\xff" * 7 + b"\x7f",
]


def damaged(rng, data):
    """A few random changes to a file."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        if not data:
            break
        at = rng.randrange(len(data))
        kind = rng.randrange(7)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at : at + rng.choice((1, 2, 8, 100))]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.choice((1, 2, 8)))
        elif kind == 4:
            value = rng.choice(_EXTREMES)
            data[at : at + len(value)] = value
        elif kind == 5:
            start = rng.randrange(len(data))
            piece = data[start : start + rng.choice((4, 30, 200))]
            data[at : at + len(piece)] = piece
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


_GLOBALS = [
    b"torch._utils\n_rebuild_tensor_v2\n",
    b"torch._utils\n_rebuild_tensor_v3\n",
    b"torch._utils\n_rebuild_parameter\n",
    b"torch._utils\n_rebuild_meta_tensor_no_storage\n",
    b"torch._utils\n_rebuild_sparse_tensor\n",
    b"torch._utils\n_rebuild_qtensor\n",
    b"torch._tensor\n_rebuild_from_type_v2\n",
    b"torch\nFloatStorage\n",
    b"torch.storage\nUntypedStorage\n",
    b"torch\nfloat32\n",
    b"torch\nSize\n",
    b"torch\ndevice\n",
    b"torch\nTensor\n",
    b"collections\nOrderedDict\n",
    b"collections\nCounter\n",
    b"__builtin__\nset\n",
    b"__builtin__\nbytearray\n",
    b"__builtin__\neval\n",
    b"builtins\nexec\n",
    b"os\nsystem\n",
    b"posix\nsystem\n",
    b"subprocess\nPopen\n",
    b"facula.cli\nmain\n",
    b"torch.hub\nload\n",
    b"_codecs\nencode\n",
    b"numpy\nload\n",
]


def program(rng):
    """A random program for the pickle machine."""
    out = [b"\x80\x02"]
    for _ in range(rng.randrange(3, 60)):
        kind = rng.randrange(14)
        if kind == 0:
            out.append(b"c" + rng.choice(_GLOBALS))
        elif kind == 1:
            out.append(rng.choice((b"(", b"(", b")", b"]", b"}", b"\x8f", b"N", b"\x88", b"\x89")))
        elif kind == 2:
            out.append(b"K" + rng.randbytes(1))
        elif kind == 3:
            out.append(b"J" + rng.choice((rng.randbytes(4), b"\xff\xff\xff\x7f", b"\0\0\0\x80")))
        elif kind == 4:
            text = rng.choice((b"storage", b"0", b"1", b"cpu", b"cuda:0", b"latin1", b"x" * 40))
            out.append(b"X" + struct.pack("<I", len(text)) + text)
        elif kind == 5:
            out.append(rng.choice((b"t", b"\x85", b"\x86", b"\x87", b"l", b"d")))
        elif kind == 6:
            out.append(rng.choice((b"R", b"R", b"R", b"b", b"\x81", b"Q", b"Q")))
        elif kind == 7:
            out.append(rng.choice((b"s", b"u", b"a", b"e", b"\x90", b"\x91", b"0", b"1", b"2")))
        elif kind == 8:
            out.append(rng.choice((b"q", b"h")) + bytes([rng.randrange(6)]))
        elif kind == 9:
            out.append(b"\x8a" + bytes([rng.choice((0, 1, 8, 9))]) + rng.randbytes(9))
        elif kind == 10:  # a persistent id, all in place
            count = struct.pack("<i", rng.choice((0, 1, 6, 24, 1 << 30, -1)))
            key = bytes([48 + rng.randrange(4)])
            storage = rng.choice((b"torch\nFloatStorage\n", b"torch\nBoolStorage\n"))
            out.append(b"(X\7\0\0\0storagec" + storage + b"X\1\0\0\0" + key)
            out.append(b"X\3\0\0\0cpuJ" + count + b"tQ")
        elif kind == 11:  # a tensor around it
            numbers = [
                b"J" + struct.pack("<i", rng.choice((0, 1, 2, 5, 1 << 30, -1))) for _ in "abc"
            ]
            layout = numbers[1] + b"\x85" + numbers[2] + b"\x85"
            out.append(b"ctorch._utils\n_rebuild_tensor_v2\n(")
            out.append(b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\x18tQ")
            out.append(numbers[0] + layout + b"\x89}tR")
        elif kind == 12:
            out.append(b"]" * rng.choice((1, 100)) + b"\x85" * rng.choice((1, 200)))
        else:
            out.append(rng.randbytes(rng.randrange(4)))
    return b"".join(out) + b"."


def archive_of(pickled):
    """A sound archive around a pickle."""
    out = io.BytesIO()
    archive = ArchiveWriter(out.write)
    archive.record("data.pkl", pickled)
    archive.record("byteorder", b"little")
    for key in range(8):
        archive.record(f"data/{key}", np.arange(24, dtype=np.float32).view(np.uint8))
    archive.record("version", b"3\n")
    archive.finish()
    return out.getvalue()


def case(rng, sound):
    """One file to try."""
    plain, old, packed, pickled = sound
    kind = rng.randrange(10)
    if kind < 4:
        return damaged(rng, rng.choice((plain, old, packed)))
    if kind < 7:
        return archive_of(damaged(rng, pickled))
    made = program(rng)
    if kind == 7:
        return archive_of(damaged(rng, made))
    return archive_of(made)


# -- the check -----------------------------------------------------------------------


def touch(value, depth=0):
    """Reads every element of every small tensor in a loaded value."""
    if isinstance(value, torch.Tensor):
        if value.numel() <= 10_000 and value.device.type == "cpu":
            value.tolist()
    elif depth < 50 and isinstance(value, (list, tuple, set)):
        for item in value:
            touch(item, depth + 1)
    elif depth < 50 and isinstance(value, dict):
        for item in value.values():
            touch(item, depth + 1)


def check(data):
    """'loaded' or the name of a clear error; anything else is raised."""
    _seen.clear()
    _watching[0] = True
    try:
        value = load(io.BytesIO(data))
        outcome = "loaded"
    except CLEAR_ERRORS as error:
        value, outcome = None, type(error).__name__
    finally:
        _watching[0] = False
    if _seen:
        raise AssertionError(f"loading had effects: {_seen}")
    touch(value)
    return outcome


def prepare():
    """Seeds, after one load of each, so that what is imported late is imported."""
    sys.addaudithook(_audit)
    sound = seeds()
    for data in sound[:3]:
        touch(load(io.BytesIO(data)))
    touch(load(io.BytesIO(archive_of(sound[3]))))
    for data in (b"hello world", b"\x80\x02K\1.", archive_of(b"cos\nsystem\n."), b"PK\3\4"):
        try:
            load(io.BytesIO(data))
        except CLEAR_ERRORS:
            pass
    return sound


def main(count, seed):
    import resource

    warnings.simplefilter("ignore")
    sound = prepare()
    hasattr(torch, "nothing_of_that_name")  # rooms of facula's own that the first wrong name loads
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    in_use = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (256 << 20),) * 2)
    rng = random.Random(seed)
    outcomes, failures = {}, 0
    for number in range(count):
        data = case(rng, sound)
        try:
            outcome = check(data)
        except Exception as error:
            failures += 1
            outcome = f"FAILED {type(error).__name__}: {str(error)[:100]}"
            with open(f"fuzz-{seed}-{number}.pt", "wb") as file:
                file.write(data)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    for outcome, times in sorted(outcomes.items(), key=lambda item: -item[1]):
        print(f"{times:8d}  {outcome}")
    return failures


if __name__ == "__main__":
    arguments = [int(word) for word in sys.argv[1:]]
    raise SystemExit(1 if main(*(arguments + [100_000, 0][len(arguments) :])) else 0)
