"""Where loaded storages go: the `map_location` of `torch.load`."""

import facula as torch

from . import adapter
from .storages import StorageRecord

_registered = []  # (priority, tagger, deserializer), by priority


def register_package(priority, tagger, deserializer):
    """Registers a kind of device: `tagger` names a storage's place, `deserializer` goes there."""
    _registered.append((priority, tagger, deserializer))
    _registered.sort(key=lambda entry: entry[0])


def location_tag(storage):
    """The name of the place of a storage, as checkpoints have it."""
    for _, tagger, _ in _registered:
        tag = tagger(storage)
        if tag:
            return tag
    return str(storage.device)


def tag_of(storage, device):
    """The tag of a storage whose device is known."""
    return location_tag(storage) if _registered else device


def validate_cuda_device(location):
    """The number of the CUDA device called `location`; RuntimeError where there is none."""
    index = torch.device(location).index or 0
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_available():
        raise RuntimeError(
            "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is "
            "False. If you are running on a CPU-only machine, please use torch.load with "
            "map_location=torch.device('cpu') to map your storages to the CPU."
        )
    if index >= cuda.device_count():
        raise RuntimeError(
            f"Attempting to deserialize object on CUDA device {index} but "
            f"torch.cuda.device_count() is {cuda.device_count()}. Please use torch.load with "
            "map_location to map your storages to an existing device."
        )
    return index


def validate_hpu_device(location):
    """RuntimeError: facula knows no HPU."""
    raise RuntimeError(
        "Attempting to deserialize object on a HPU device but torch.hpu.is_available() is False. "
        "If you are running on a CPU-only machine, please use torch.load with "
        "map_location=torch.device('cpu') to map your storages to the CPU."
    )


def default_restore_location(storage, location):
    """A storage moved to the place called `location`."""
    for _, _, deserializer in _registered:
        result = deserializer(storage, location)
        if result is not None:
            return result
    kind = location.partition(":")[0]
    if kind == "cpu":
        return storage if storage.device == "cpu" else storage.to_device("cpu")
    if kind == "cuda":
        return storage.to_device(f"cuda:{validate_cuda_device(location)}")
    if kind == "meta":
        return storage.to_device("meta")
    raise RuntimeError(
        f"don't know how to restore data location of {type(storage).__name__} (tagged with "
        f"{location})"
    )


def restorer(map_location):
    """A function that moves a storage record to where `map_location` wants it."""
    if map_location is None:
        return default_restore_location
    if isinstance(map_location, dict):
        return lambda storage, location: default_restore_location(
            storage, map_location.get(location, location)
        )
    if isinstance(map_location, (str, torch.device)):
        target = str(map_location)
        return lambda storage, location: default_restore_location(storage, target)
    if not callable(map_location):
        raise TypeError(f"map_location cannot be a {type(map_location).__name__}")

    def restore(storage, location):
        result = map_location(storage, location)
        if result is None:
            return default_restore_location(storage, location)
        if isinstance(result, StorageRecord):
            return result
        return StorageRecord(adapter.record_bytes(result), storage.dtype_name)

    return restore
