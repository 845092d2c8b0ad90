"""DataParallel: one process, the batch split over its devices."""

from __future__ import annotations

import facula as torch

from ..modules.module import Module
from .parallel_apply import parallel_apply
from .replicate import replicate
from .scatter_gather import gather, scatter_kwargs

__all__ = ["DataParallel", "data_parallel"]


def _all_devices():
    cuda = getattr(torch, "cuda", None)
    return list(range(cuda.device_count())) if cuda is not None and cuda.is_available() else []


def _as_device(device):
    return torch.device("cuda", device) if isinstance(device, int) else torch.device(device)


class DataParallel(Module):
    """Runs a module on a part of the batch per device; without devices, just runs it."""

    def __init__(self, module, device_ids=None, output_device=None, dim: int = 0) -> None:
        super().__init__()
        self.module = module
        device_ids = _all_devices() if device_ids is None else list(device_ids)
        if not _all_devices():
            device_ids = []
        self.device_ids = device_ids
        if not device_ids:
            return
        self.dim = dim
        self.output_device = device_ids[0] if output_device is None else output_device
        self.src_device_obj = _as_device(device_ids[0])
        if len(device_ids) == 1:
            self.module.to(self.src_device_obj)

    def forward(self, *inputs, **kwargs):
        if not self.device_ids:
            return self.module(*inputs, **kwargs)
        devices = [_as_device(d) for d in self.device_ids]
        inputs, kwargs = scatter_kwargs(inputs, kwargs, devices, self.dim)
        if not inputs:
            inputs, kwargs = ((),), ({},)
        if len(devices) == 1:
            return self.module(*inputs[0], **kwargs[0])
        copies = self.replicate(self.module, devices[: len(inputs)])
        outputs = self.parallel_apply(copies, inputs, kwargs)
        return self.gather(outputs, _as_device(self.output_device))

    def replicate(self, module, device_ids):
        return replicate(module, device_ids, not torch.is_grad_enabled())

    def scatter(self, inputs, kwargs, device_ids):
        return scatter_kwargs(inputs, kwargs, device_ids, self.dim)

    def parallel_apply(self, replicas, inputs, kwargs):
        return parallel_apply(replicas, inputs, kwargs, self.device_ids[: len(replicas)])

    def gather(self, outputs, output_device):
        return gather(outputs, output_device, self.dim)


def data_parallel(
    module, inputs, device_ids=None, output_device=None, dim: int = 0, module_kwargs=None
):
    """Run a module once as DataParallel would."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    wrapped = DataParallel(module, device_ids, output_device, dim)
    return wrapped(*inputs, **(module_kwargs or {}))
