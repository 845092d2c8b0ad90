"""Layers that learn their input size from their first input."""

from facula.nn.parameter import is_lazy

__all__ = ["LazyModuleMixin"]


class LazyModuleMixin:
    """Gives a layer uninitialized parameters that the first call materializes.

    A class that mixes this in defines initialize_parameters(input); with
    cls_to_become set, its instances turn into that class after the first call.
    """

    cls_to_become = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook = self.register_forward_pre_hook(
            self._infer_parameters, with_kwargs=True
        )

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        # Uninitialized tensors go in as they are: they cannot be detached.
        for name, param in self._parameters.items():
            if param is not None:
                keep = is_lazy(param) or keep_vars
                destination[prefix + name] = param if keep else param.detach()
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                keep = is_lazy(buffer) or keep_vars
                destination[prefix + name] = buffer if keep else buffer.detach()

    def _lazy_load_hook(
        self,
        state_dict,
        prefix,
        local_metadata,
        strict,
        missing_keys,
        unexpected_keys,
        error_msgs,
    ):
        """Give the lazy tensors the shapes that the checkpoint has."""
        import facula as torch

        for name, tensor in (*self._parameters.items(), *self._buffers.items()):
            key = prefix + name
            if tensor is None or key not in state_dict:
                continue
            given = state_dict[key]
            if is_lazy(tensor) and not is_lazy(given):
                with torch.no_grad():
                    tensor.materialize(given.shape)

    def initialize_parameters(self, *args, **kwargs):
        """Materialize the parameters for this input."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self):
        """Whether some parameter or buffer still has no shape."""
        return any(is_lazy(t) for t in (*self._parameters.values(), *self._buffers.values()))

    def _infer_parameters(self, module, args, kwargs=None):
        kwargs = kwargs or {}
        module.initialize_parameters(*args, **kwargs)
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        # Not by handle.remove(): in a deep copy the handles still point to the original.
        first, load = module._initialize_hook.id, module._load_hook.id
        module._forward_pre_hooks.pop(first, None)
        module._forward_pre_hooks_with_kwargs.pop(first, None)
        module._load_state_dict_pre_hooks.pop(load, None)
        del module._initialize_hook
        del module._load_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def _replicate_for_data_parallel(self):
        raise RuntimeError(
            "Modules with uninitialized parameters can't be used with `DataParallel`. Run a dummy "
            "forward pass to correctly initialize the modules"
        )
