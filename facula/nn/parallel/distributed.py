"""DistributedDataParallel: one process per device; with one process, the module in a wrapper."""

from __future__ import annotations

from contextlib import contextmanager

import facula as torch

from ..modules.module import Module

__all__ = ["DistributedDataParallel"]


class DistributedDataParallel(Module):
    """Training one model in several processes; for now in a group of one.

    Nothing has to be averaged between processes, so gradients are the module's own. The group
    must be there (`torch.distributed.init_process_group`); more processes are refused there.

    >>> import facula as torch
    >>> torch.distributed.init_process_group("gloo", rank=0, world_size=1)
    >>> model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1))
    >>> list(model.state_dict())
    ['module.weight', 'module.bias']
    >>> torch.distributed.destroy_process_group()
    """

    def __init__(
        self,
        module,
        device_ids=None,
        output_device=None,
        dim=0,
        broadcast_buffers=None,
        init_sync=True,
        process_group=None,
        bucket_cap_mb=None,
        find_unused_parameters=False,
        check_reduction=False,
        gradient_as_bucket_view=False,
        static_graph=False,
        delay_all_reduce_named_params=None,
        param_to_hook_all_reduce=None,
        mixed_precision=None,
        device_mesh=None,
        skip_all_reduce_unused_params=False,
        bucket_cap_mb_list: list[int] | None = None,
        batched_grad_copy=False,
        forward_sync_buffers: bool | None = None,
    ):
        super().__init__()
        self.process_group = torch.distributed.process_group.world(process_group)
        params = list(module.parameters())
        if not any(p.requires_grad for p in params):
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameter "
                "that requires a gradient."
            )
        devices = {p.device for p in params}
        if device_ids and all(d.type == "cpu" for d in devices):
            raise ValueError(
                "DistributedDataParallel device_ids and output_device arguments only work with "
                "single-device/multiple-device GPU modules or CPU modules, but got device_ids "
                f"{device_ids}, output_device {output_device}, and module parameters {devices}."
            )
        if mixed_precision is not None or device_mesh is not None:
            raise NotImplementedError(
                "DistributedDataParallel: mixed_precision and device_mesh are not there yet; use "
                "torch.autocast, and a group of one process"
            )
        self.module = module
        self.device_ids, self.output_device, self.dim = device_ids or None, output_device, dim
        self.device = params[0].device
        self.device_type = self.device.type
        self.is_multi_device_module = len(devices) > 1
        self.broadcast_buffers = True if broadcast_buffers is None else broadcast_buffers
        self.find_unused_parameters = find_unused_parameters
        self.gradient_as_bucket_view = gradient_as_bucket_view
        self.static_graph = static_graph
        self.require_backward_grad_sync = True
        self.require_forward_param_sync = True

    def forward(self, *inputs, **kwargs):
        """What the module gives."""
        return self.module(*inputs, **kwargs)

    @contextmanager
    def no_sync(self):
        """Backward passes in here do not average gradients, which one process never needs."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    @contextmanager
    def join(
        self, divide_by_initial_world_size=True, enable=True, throw_on_early_termination=False
    ):
        """Processes with fewer batches wait for the others; there are none."""
        yield

    def register_comm_hook(self, state, hook):
        """Not there: nothing is communicated by one process."""
        raise NotImplementedError(
            "DistributedDataParallel.register_comm_hook: one process averages no gradients; use "
            "Tensor.register_hook or register_post_accumulate_grad_hook on the parameters"
        )
