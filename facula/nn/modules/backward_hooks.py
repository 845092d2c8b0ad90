"""Backward hooks of modules: identities around a call that see the gradients pass."""

import facula as torch


def first_grad_fn(result):
    """grad_fn of the first tensor found in a module's result."""
    while not isinstance(result, torch.Tensor):
        if isinstance(result, dict):
            result = next((v for v in result.values() if isinstance(v, torch.Tensor)), None)
        elif isinstance(result, (list, tuple)) and result:
            result = result[0]
        else:
            return None
        if result is None:
            return None
    return result.grad_fn


def _as_tuple(grads):
    return grads if isinstance(grads, tuple) else (grads,)


_function = None


def _boundary_function():
    """The autograd identity, made on first use: autograd may be imported after nn."""
    global _function
    if _function is not None:
        return _function

    class BackwardHookFunction(torch.autograd.Function):
        @staticmethod
        def forward(ctx, watch, fill, *tensors):
            ctx.watch = watch
            ctx.set_materialize_grads(fill)
            ctx.mark_non_differentiable(*[t for t in tensors if not t.requires_grad])
            return tuple(t.view_as(t) for t in tensors)

        @staticmethod
        def backward(ctx, *grads):
            return (None, None, *ctx.watch(grads))

    _function = BackwardHookFunction
    return _function


class BackwardHook:
    """Runs a module's full backward hooks during one backward pass.

    The outputs pass an identity whose backward sees the gradients of the outputs
    first (backward pre-hooks), the inputs one whose backward sees the gradients of
    the inputs last (backward hooks).
    """

    def __init__(self, module, user_hooks, user_pre_hooks):
        self.module = module
        self.user_hooks = user_hooks
        self.user_pre_hooks = user_pre_hooks
        self.grad_outputs = None
        self.n_inputs = self.n_outputs = 0
        self.input_places = self.output_places = None
        self.output_kinds = []  # (shape, dtype, device) of the watched outputs

    def setup_input_hook(self, args):
        """The call's arguments, watched."""
        self.n_inputs = len(args)
        args, self.input_places = self._watched(args, self._on_grad_inputs, True)
        return args

    def setup_output_hook(self, result):
        """The call's result, watched; only tensors and tuples of them can be."""
        outputs = _as_tuple(result)
        self.n_outputs = len(outputs)
        watched, self.output_places = self._watched(outputs, self._on_grad_outputs, False)
        for i in self.output_places or ():
            out = outputs[i]
            self.output_kinds.append((out.shape, out.dtype, out.device))
        return watched if isinstance(result, tuple) else watched[0]

    @staticmethod
    def _watched(values, watch, fill):
        places = [i for i, v in enumerate(values) if isinstance(v, torch.Tensor)]
        tensors = [values[i] for i in places]
        if not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors)):
            return values, None
        made = _boundary_function().apply(watch, fill, *tensors)
        changed = list(values)
        for i, tensor in zip(places, made, strict=True):
            changed[i] = tensor
        if hasattr(values, "_fields"):
            return type(values)(*changed), places
        return tuple(changed), places

    @staticmethod
    def _spread(grads, places, size):
        spread = [None] * size
        for i, grad in zip(places, grads, strict=True):
            spread[i] = grad
        return tuple(spread)

    @staticmethod
    def _gather(grads, places):
        return tuple(grads[i] for i in places)

    def _on_grad_outputs(self, grads):
        grad_outputs = self._spread(grads, self.output_places, self.n_outputs)
        for hook in self.user_pre_hooks:
            changed = hook(self.module, grad_outputs)
            if changed is None:
                continue
            changed = _as_tuple(changed)
            if len(changed) != len(grad_outputs):
                raise RuntimeError(
                    "Backward pre hook returned an invalid number of grad_output, "
                    f"got {len(changed)}, but expected {len(grad_outputs)}"
                )
            grad_outputs = changed
        self.grad_outputs = grad_outputs
        if self.input_places is None:  # nothing below will call the hooks
            self._without_inputs()
        # Hooks saw None for outputs without a gradient; the module's own backward gets zeros.
        return tuple(
            torch.zeros(shape, dtype=dtype, device=device)
            if grad_outputs[i] is None
            else grad_outputs[i]
            for i, (shape, dtype, device) in zip(self.output_places, self.output_kinds, strict=True)
        )

    def _without_inputs(self):
        grad_inputs = (None,) * self.n_inputs
        for hook in self.user_hooks:
            changed = hook(self.module, grad_inputs, self.grad_outputs)
            if changed is not None and any(g is not None for g in _as_tuple(changed)):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always "
                    "return None or None for all gradients."
                )
        self.grad_outputs = None

    def _on_grad_inputs(self, grads):
        if self.grad_outputs is None:  # the result took no part in this backward pass
            return grads
        grad_inputs = self._spread(grads, self.input_places, self.n_inputs)
        for hook in self.user_hooks:
            changed = hook(self.module, grad_inputs, self.grad_outputs)
            if changed is None:
                continue
            changed = _as_tuple(changed)
            if len(changed) != len(grad_inputs):
                raise RuntimeError(
                    "Backward hook returned an invalid number of grad_input, "
                    f"got {len(changed)}, but expected {len(grad_inputs)}"
                )
            grad_inputs = changed
        self.grad_outputs = None
        return self._gather(grad_inputs, self.input_places)
