"""Copies of a model on other devices that share its parameters through autograd."""

__all__ = ["replicate"]


def replicate(network, devices, detach: bool = False):
    """One copy of the network per device; gradients of the copies reach the original."""
    return [_replica(network, device, detach) for device in devices]


def _replica(network, device, detach):
    moved = {}

    def move(tensor):
        if tensor is not None and id(tensor) not in moved:
            moved[id(tensor)] = (tensor.detach() if detach else tensor).to(device)
        return None if tensor is None else moved[id(tensor)]

    copies = {module: module._replicate_for_data_parallel() for module in network.modules()}
    for module, copy in copies.items():
        for name, child in module._modules.items():
            copy._modules[name] = copies.get(child)
        # Not parameters of the copy: they are results of moving the original's.
        for name, param in module._parameters.items():
            copy._parameters[name] = move(param)
        for name, buffer in module._buffers.items():
            copy._buffers[name] = move(buffer)
    return copies[network]
