#!/usr/bin/env python3
"""Checkpoints between facula and PyTorch: every writer, every reader, every kind of content.

    python tools/checkpoint_matrix.py [--kind REGEX] [--details]

Needs torch. Each kind of object is made by the writer's library, saved, and loaded by the reader's
with weights_only=True; then both sides are described in the same words and compared.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
LIBRARIES = ("facula", "torch")

DTYPES = """
float32 float64 float16 bfloat16 int8 int16 int32 int64 uint8 bool complex64 complex128
uint16 uint32 uint64 float8_e4m3fn float8_e5m2
""".split()


def network(t: Any) -> Any:
    nn = t.nn
    t.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    )


def train(t: Any, model: Any, optimizer: Any) -> None:
    t.manual_seed(1)
    for _ in range(2):
        optimizer.zero_grad()
        model(t.randn(4, 1, 4, 4)).pow(2).mean().backward()
        optimizer.step()


def trained(name: str, **options: Any) -> Callable[[Any], Any]:
    """The state of an optimizer after two steps, with the model's."""

    def make(t: Any) -> Any:
        model = network(t)
        optimizer = getattr(t.optim, name)(model.parameters(), **options)
        train(t, model, optimizer)
        return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}

    return make


def scheduler(t: Any) -> Any:
    optimizer = t.optim.SGD(network(t).parameters(), lr=0.1)
    schedule = t.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    optimizer.step()
    schedule.step()
    return schedule.state_dict()


def views(t: Any) -> Any:
    base = t.arange(24.0)
    return {
        "base": base,
        "middle": base[3:9],
        "turned": base.view(4, 6).t(),
        "steps": base[::5],
        "row": base.view(4, 6)[1],
        "expanded": t.tensor([1.0, 2.0]).expand(3, 2),
    }


def scaler(t: Any) -> Any:
    s = t.amp.GradScaler("cpu")
    s.scale(t.ones(1))
    return s.state_dict()


def rng(t: Any) -> Any:
    t.manual_seed(5)
    t.rand(3)
    return {"cpu": t.get_rng_state()}


def training_checkpoint(t: Any) -> Any:
    return trained("AdamW", lr=0.01)(t) | {
        "epoch": 3, "best": 0.5, "names": ["a", "b"], "shape": t.Size([2, 3]), "rng": rng(t),
        "dtype": t.float16, "device": t.device("cpu"), "none": None, "flag": True,
    }  # fmt: skip


KINDS: dict[str, Callable[[Any], Any]] = {
    **{f"dtype {d}": (lambda t, d=d: t.ones(2, 3).to(getattr(t, d))) for d in DTYPES},
    "scalar": lambda t: t.tensor(1.5),
    "empty": lambda t: {"a": t.empty(0), "b": t.empty(0, 3), "c": t.zeros(2, 0, 4)},
    "views of one storage": views,
    "requires grad": lambda t: t.ones(2, requires_grad=True),
    "parameter": lambda t: t.nn.Parameter(t.ones(2, 2)),
    "frozen parameter": lambda t: t.nn.Parameter(t.ones(2), requires_grad=False),
    "channels last": lambda t: t.ones(2, 3, 4, 4).to(memory_format=t.channels_last),
    "containers": lambda t: {
        "list": [t.ones(1), [t.zeros(2)]],
        "tuple": (1, 2.5, "x", b"y", None, True, 1 + 2j),
        "ordered": OrderedDict(b=t.ones(1), a=2),
        "set": {1, 2},
        1: "integer key",
    },
    "big integers": lambda t: [2**31, 2**63, -(2**70), float("inf")],
    "size, dtype, device": lambda t: [t.Size([1, 2]), t.bfloat16, t.device("cpu")],
    "state_dict": lambda t: network(t).state_dict(),
    "buffers": lambda t: t.nn.BatchNorm1d(3).state_dict(),
    "recurrent": lambda t: t.nn.LSTM(3, 4, 2, bidirectional=True).state_dict(),
    "transformer": lambda t: t.nn.TransformerEncoderLayer(4, 2, 8).state_dict(),
    "SGD": trained("SGD", lr=0.1, momentum=0.9),
    "Adam": trained("Adam", lr=0.01, amsgrad=True),
    "AdamW": trained("AdamW", lr=0.01),
    "RMSprop": trained("RMSprop", lr=0.01, centered=True, momentum=0.1),
    "Adagrad": trained("Adagrad", lr=0.1),
    "NAdam": trained("NAdam", lr=0.01),
    "Adafactor": trained("Adafactor", lr=0.01),
    "scheduler": scheduler,
    "GradScaler": scaler,
    "random state": rng,
    "training": training_checkpoint,
}
WAYS = {
    "zip": {"save": {}, "load": {}},
    "mmap": {"save": {}, "load": {"mmap": True}},
    "legacy": {"save": {"_use_new_zipfile_serialization": False}, "load": {}},
    "pickle protocol 4": {"save": {"pickle_protocol": 4}, "load": {}},
}


def bits(t: Any, x: Any) -> list:
    """A tensor's elements, as bytes."""
    flat = x.detach().contiguous().reshape(-1)
    if flat.numel() and not flat.dtype.is_complex:
        flat = flat.view(t.uint8)
    return flat.tolist()


def describe(t: Any, x: Any, storages: dict) -> Any:
    """x in words that are the same for both libraries."""
    if isinstance(x, t.Tensor):
        storage = x.untyped_storage()
        number = storages.setdefault(storage.data_ptr() if storage.nbytes() else -1, len(storages))
        kind = "parameter" if isinstance(x, t.nn.Parameter) else "tensor"
        place = (tuple(x.shape), tuple(x.stride()) if x.numel() else None, x.storage_offset())
        return kind, str(x.dtype), place, x.requires_grad, number, bits(t, x)
    if isinstance(x, t.Size):
        return "size", tuple(x)
    if isinstance(x, t.dtype | t.device):
        return str(x)
    if isinstance(x, dict):
        kind = "ordered" if isinstance(x, OrderedDict) else "dict"
        return kind, [(describe(t, k, storages), describe(t, v, storages)) for k, v in x.items()]
    if isinstance(x, list | tuple):
        return type(x).__name__, [describe(t, v, storages) for v in x]
    if isinstance(x, set):
        return "set", sorted(x)
    return type(x).__name__, repr(x)


def attempt(kind: str, way: str, writer: Any, reader: Any, path: Path) -> str:
    """Empty if what was read is what was written, else what went wrong."""
    try:
        made = KINDS[kind](writer)
        writer.save(made, path, **WAYS[way]["save"])
    except Exception as error:
        return f"writing: {type(error).__name__}: {error}"
    try:
        read = reader.load(path, weights_only=True, **WAYS[way]["load"])
    except Exception as error:
        return f"reading: {type(error).__name__}: {error}"
    want, got = describe(writer, made, {}), describe(reader, read, {})
    return "" if want == got else f"differs: {str(got)[:300]} instead of {str(want)[:300]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", default="", metavar="REGEX", help="only kinds that match")
    parser.add_argument("--details", action="store_true", help="say what went wrong")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    libraries = {name: importlib.import_module(name) for name in LIBRARIES}
    pairs = [(w, r) for w in LIBRARIES for r in LIBRARIES if (w, r) != ("torch", "torch")]
    kinds = [k for k in KINDS if re.search(options.kind, k)]
    passed = total = 0
    failures: list[tuple] = []
    refused: set[tuple] = set()
    with tempfile.TemporaryDirectory() as folder:
        for way in WAYS:
            for pair in pairs:
                writer, reader = pair
                ok = 0
                ok_for_torch = set(kinds)
                for number, kind in enumerate(kinds):
                    path = Path(folder) / f"{way}-{writer}-{reader}-{number}.pt"
                    problem = attempt(kind, way, libraries[writer], libraries[reader], path)
                    if problem and pair != ("facula", "facula"):
                        # what PyTorch cannot read back from itself is no failure
                        torch = libraries["torch"]
                        if attempt(kind, way, torch, torch, path):
                            ok_for_torch.discard(kind)
                            continue
                    if problem.startswith("writing: NotImplementedError"):
                        refused.add((way, kind))
                        continue
                    total += 1
                    ok += not problem
                    if problem:
                        failures.append((way, writer, reader, kind, problem))
                passed += ok
                print(f"{way:20s} {writer:>6s} -> {reader:6s} {ok:4d}/{len(ok_for_torch)}")
    for way, kind in sorted(refused):
        print(f"refused with an error that says so: {way}, {kind}")
    for way, writer, reader, kind, problem in failures:
        print(f"failed: {way}, {writer} -> {reader}, {kind}")
        if options.details:
            print(f"    {problem}")
    print(f"checkpoints: {passed}/{total}")
    return 0 if passed == total else 1


if __name__ == "__main__":
    sys.exit(main())
