"""Registering hooks: on one module (a mixin) and on all of them (functions)."""

import warnings
from collections import OrderedDict

from facula.utils.hooks import RemovableHandle

from . import calling
from .calling import (
    _global_backward_hooks,
    _global_backward_pre_hooks,
    _global_forward_hooks,
    _global_forward_hooks_always_called,
    _global_forward_hooks_with_kwargs,
    _global_forward_pre_hooks,
)

_global_buffer_registration_hooks = OrderedDict()
_global_module_registration_hooks = OrderedDict()
_global_parameter_registration_hooks = OrderedDict()


def _add(table, hook, extra=(), prepend=False):
    """Put a hook into a table (and its key into the `extra` ones); the handle removes it."""
    handle = RemovableHandle(table, extra_dict=list(extra) or None)
    table[handle.id] = hook
    for marks in extra:
        marks[handle.id] = True
    if prepend:
        table.move_to_end(handle.id, last=False)
    calling.leave_plain_calls()
    return handle


class _WrappedHook:
    """A load_state_dict pre-hook that may want the module as its first argument."""

    def __init__(self, hook, module=None):
        self.hook = hook
        self.module = module

    def __call__(self, *args, **kwargs):
        if self.module is None:
            return self.hook(*args, **kwargs)
        return self.hook(self.module, *args, **kwargs)


_MIXED_KINDS = (
    "Cannot use both regular backward hooks and full backward hooks on a single Module. "
    "Please use only one of them."
)
_MIXED_GLOBAL_KINDS = (
    "Cannot use both regular backward hooks and full backward hooks as a global Module hook. "
    "Please use only one of them."
)


class HookMixin:
    """register_*_hook; each returns a handle with `remove()`."""

    def register_forward_pre_hook(self, hook, *, prepend=False, with_kwargs=False):
        """Call `hook(module, args)` before forward; it may return new args.

        >>> from facula import nn
        >>> layer = nn.ReLU()
        >>> handle = layer.register_forward_pre_hook(lambda module, args: print("called"))
        >>> handle.remove()
        """
        extra = [self._forward_pre_hooks_with_kwargs] if with_kwargs else []
        return _add(self._forward_pre_hooks, hook, extra, prepend)

    def register_forward_hook(self, hook, *, prepend=False, with_kwargs=False, always_call=False):
        """Call `hook(module, args, output)` after forward; it may return a new output."""
        extra = [self._forward_hooks_with_kwargs] if with_kwargs else []
        if always_call:
            extra.append(self._forward_hooks_always_called)
        return _add(self._forward_hooks, hook, extra, prepend)

    def register_full_backward_pre_hook(self, hook, prepend=False):
        """Call `hook(module, grad_output)` when the gradients of the outputs are known."""
        return _add(self._backward_pre_hooks, hook, prepend=prepend)

    def register_full_backward_hook(self, hook, prepend=False):
        """Call `hook(module, grad_input, grad_output)` when those of the inputs are known."""
        self._set_backward_kind(True)
        return _add(self._backward_hooks, hook, prepend=prepend)

    def register_backward_hook(self, hook):
        """The old kind of backward hook; prefer register_full_backward_hook."""
        self._set_backward_kind(False)
        return _add(self._backward_hooks, hook)

    def _set_backward_kind(self, full):
        if self._is_full_backward_hook is (not full):
            raise RuntimeError(_MIXED_KINDS)
        self._is_full_backward_hook = full

    def _get_backward_hooks(self):
        """The full hooks and the old-style ones, global ones first."""
        full, old_style = [], []
        if calling._global_backward_kind["full"] is True:
            full += _global_backward_hooks.values()
        if self._is_full_backward_hook is True:
            full += self._backward_hooks.values()
        if calling._global_backward_kind["full"] is False:
            old_style += _global_backward_hooks.values()
        if self._is_full_backward_hook is False:
            old_style += self._backward_hooks.values()
        return full, old_style

    def _get_backward_pre_hooks(self):
        return [*_global_backward_pre_hooks.values(), *self._backward_pre_hooks.values()]

    def _maybe_warn_non_full_backward_hook(self, inputs, result, grad_fn) -> None:
        several = isinstance(result, tuple) and len(result) > 1
        if several or isinstance(result, (list, dict)):
            warnings.warn(
                "Using a non-full backward hook when the forward contains multiple autograd Nodes "
                "is deprecated and will be removed in future versions. This hook will be missing "
                "some grad_input. Please use register_full_backward_hook to get the documented "
                "behavior.",
                FutureWarning,
                stacklevel=5,
            )

    def _register_state_dict_hook(self, hook):
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was "
                "previously registered via register_state_dict_post_hook"
            )
        return _add_quietly(self._state_dict_hooks, hook)

    def register_state_dict_post_hook(self, hook):
        """Call `hook(module, state_dict, prefix, local_metadata)` at the end of state_dict."""
        hook._from_public_api = True
        return _add_quietly(self._state_dict_hooks, hook)

    def register_state_dict_pre_hook(self, hook):
        """Call `hook(module, prefix, keep_vars)` at the start of state_dict."""
        return _add_quietly(self._state_dict_pre_hooks, hook)

    def _register_load_state_dict_pre_hook(self, hook, with_module=False):
        wrapped = _WrappedHook(hook, self if with_module else None)
        return _add_quietly(self._load_state_dict_pre_hooks, wrapped)

    def register_load_state_dict_pre_hook(self, hook):
        """Call `hook(module, state_dict, prefix, ...)` before this module loads its part."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def register_load_state_dict_post_hook(self, hook):
        """Call `hook(module, incompatible_keys)` after this module and its children loaded."""
        return _add_quietly(self._load_state_dict_post_hooks, hook)


def _add_quietly(table, hook):
    """As _add, for hooks that a call never runs."""
    handle = RemovableHandle(table)
    table[handle.id] = hook
    return handle


# -- hooks on every module ------------------------------------------------------


def register_module_buffer_registration_hook(hook):
    """Call `hook(module, name, buffer)` when any module registers a buffer."""
    return _add_quietly(_global_buffer_registration_hooks, hook)


def register_module_module_registration_hook(hook):
    """Call `hook(module, name, submodule)` when any module registers a child."""
    return _add_quietly(_global_module_registration_hooks, hook)


def register_module_parameter_registration_hook(hook):
    """Call `hook(module, name, param)` when any module registers a parameter."""
    return _add_quietly(_global_parameter_registration_hooks, hook)


def register_module_forward_pre_hook(hook):
    """Call `hook(module, args)` before the forward of any module."""
    return _add(_global_forward_pre_hooks, hook)


def register_module_forward_hook(hook, *, with_kwargs=False, always_call=False):
    """Call `hook(module, args, output)` after the forward of any module."""
    extra = [_global_forward_hooks_with_kwargs] if with_kwargs else []
    if always_call:
        extra.append(_global_forward_hooks_always_called)
    return _add(_global_forward_hooks, hook, extra)


def _set_global_backward_kind(full):
    if calling._global_backward_kind["full"] is (not full):
        raise RuntimeError(_MIXED_GLOBAL_KINDS)
    calling._global_backward_kind["full"] = full


def register_module_backward_hook(hook):
    """The old kind of global backward hook; prefer register_module_full_backward_hook."""
    _set_global_backward_kind(False)
    return _add(_global_backward_hooks, hook)


def register_module_full_backward_pre_hook(hook):
    """Call `hook(module, grad_output)` in the backward pass of any module."""
    return _add(_global_backward_pre_hooks, hook)


def register_module_full_backward_hook(hook):
    """Call `hook(module, grad_input, grad_output)` in the backward pass of any module."""
    _set_global_backward_kind(True)
    return _add(_global_backward_hooks, hook)
