"""Splitting a batch over devices and putting results together."""

import facula as torch

__all__ = ["gather", "scatter", "scatter_kwargs"]


def is_namedtuple(obj) -> bool:
    return isinstance(obj, tuple) and hasattr(obj, "_asdict") and hasattr(obj, "_fields")


_is_namedtuple = is_namedtuple


def _split(obj, devices, dim):
    """A list of obj's parts, one per device at most."""
    if isinstance(obj, torch.Tensor):
        chunks = obj.chunk(len(devices), dim)
        return [chunk.to(device) for chunk, device in zip(chunks, devices, strict=False)]
    if is_namedtuple(obj):
        parts = zip(*(_split(item, devices, dim) for item in obj), strict=False)
        return [type(obj)(*part) for part in parts]
    if isinstance(obj, (tuple, list)) and obj:
        parts = zip(*(_split(item, devices, dim) for item in obj), strict=False)
        return [type(obj)(part) for part in parts]
    if isinstance(obj, dict) and obj:
        parts = zip(*(_split(item, devices, dim) for item in obj.values()), strict=False)
        return [type(obj)(zip(obj, part, strict=True)) for part in parts]
    return [obj for _ in devices]


def scatter(inputs, target_gpus, dim=0):
    """Split tensors along dim over devices; other things go to every device as they are."""
    return _split(inputs, target_gpus, dim)


def scatter_kwargs(inputs, kwargs, target_gpus, dim=0):
    """scatter positional and keyword arguments, as many parts of either."""
    inputs = _split(inputs, target_gpus, dim) if inputs else []
    kwargs = _split(kwargs, target_gpus, dim) if kwargs else []
    size = max(len(inputs), len(kwargs))
    inputs += [()] * (size - len(inputs))
    kwargs += [{}] * (size - len(kwargs))
    return tuple(inputs), tuple(kwargs)


def gather(outputs, target_device, dim=0):
    """Join the devices' results on one device."""
    first = outputs[0]
    if isinstance(first, torch.Tensor):
        moved = [out.to(target_device) for out in outputs]
        if all(out.dim() == 0 for out in moved):
            return torch.stack(moved)
        return torch.cat(moved, dim)
    if first is None:
        return None
    if isinstance(first, dict):
        if any(len(out) != len(first) for out in outputs):
            raise ValueError("All dicts must have the same number of keys")
        return type(first)(
            (key, gather([out[key] for out in outputs], target_device, dim)) for key in first
        )
    joined = [gather(items, target_device, dim) for items in zip(*outputs, strict=True)]
    return type(first)(*joined) if is_namedtuple(first) else type(first)(joined)
