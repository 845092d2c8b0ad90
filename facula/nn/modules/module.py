"""Module, the base class of layers and models."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import TypeVar

import facula as torch
from facula import Tensor
from facula.nn.parameter import Buffer, Parameter

from .calling import (  # noqa: F401
    CallMixin,
    HookTable,
    _global_backward_hooks,
    _global_backward_pre_hooks,
    _global_forward_hooks,
    _global_forward_hooks_always_called,
    _global_forward_hooks_with_kwargs,
    _global_forward_pre_hooks,
    _has_any_global_hook,
    leave_plain_calls,
)
from .conversion import ConversionMixin
from .hook_registration import (  # noqa: F401
    HookMixin,
    _global_buffer_registration_hooks,
    _global_module_registration_hooks,
    _global_parameter_registration_hooks,
    _WrappedHook,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from .state import _EXTRA_STATE_KEY_SUFFIX, StateMixin, _IncompatibleKeys  # noqa: F401
from .traversal import TraversalMixin

__all__ = [
    "Module",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]


def _addindent(s_, numSpaces):
    """All lines but the first, indented."""
    return s_.replace("\n", "\n" + " " * numSpaces)


# Tables of a fresh module, besides its tensors and children: name -> type.
_HOOK_TABLES = {
    "_backward_pre_hooks": HookTable,
    "_backward_hooks": HookTable,
    "_forward_hooks": HookTable,
    "_forward_hooks_with_kwargs": OrderedDict,
    "_forward_hooks_always_called": OrderedDict,
    "_forward_pre_hooks": HookTable,
    "_forward_pre_hooks_with_kwargs": OrderedDict,
    "_state_dict_hooks": OrderedDict,
    "_state_dict_pre_hooks": OrderedDict,
    "_load_state_dict_pre_hooks": OrderedDict,
    "_load_state_dict_post_hooks": OrderedDict,
}
_HOLDERS = (("parameter", "_parameters"), ("child module", "_modules"), ("buffer", "_buffers"))


class Module(CallMixin, HookMixin, StateMixin, ConversionMixin, TraversalMixin):
    """Base class of all layers and models: holds parameters, buffers and other modules.

    >>> from facula import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = nn.Linear(8, 2)
    ...     def forward(self, x):
    ...         return self.fc(x).relu()
    """

    dump_patches: bool = False
    _version: int = 1
    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _non_persistent_buffers_set: set[str]
    _modules: dict[str, Module | None]
    call_super_init: bool = False
    _compiled_call_impl = None
    T_destination = TypeVar("T_destination", bound=dict)

    def __init__(self, *args, **kwargs) -> None:
        if not self.call_super_init and (args or kwargs):
            name = type(self).__name__
            if kwargs:
                unknown = next(iter(kwargs))
                raise TypeError(f"{name}.__init__() got an unexpected keyword argument '{unknown}'")
            raise TypeError(
                f"{name}.__init__() takes 1 positional argument but {len(args) + 1} were given"
            )
        d = self.__dict__
        d["training"] = True
        d["_parameters"] = {}
        d["_buffers"] = {}
        d["_non_persistent_buffers_set"] = set()
        d["_is_full_backward_hook"] = None
        for table, kind in _HOOK_TABLES.items():
            d[table] = kind()
        d["_modules"] = {}
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def forward(self, *input) -> None:
        """The computation of a call; every subclass defines its own."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    # -- registration -----------------------------------------------------------------

    def _check_new_name(self, kind, name, holder, dot_note=""):
        """Complain where a parameter, buffer or module cannot take this name."""
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {torch.typename(name)}")
        if hasattr(self, name) and name not in holder:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."{dot_note}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but no parameter, as BatchNorm's running mean is."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_new_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{torch.typename(tensor)}' object to buffer '{name}' "
                "(torch Tensor or None required)"
            )
        self._buffers[name] = self._hooked_value(_global_buffer_registration_hooks, name, tensor)
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter (or None, for one that may be absent)."""
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_new_name("parameter", name, self._parameters)
        if param is None:
            self._parameters[name] = None
            return
        if not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{torch.typename(param)}' object to parameter '{name}' "
                "(torch.nn.Parameter or None required)"
            )
        if param.grad_fn is not None:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be "
                f"created explicitly. To express '{name}' as a function of another Tensor, "
                "compute the value in the forward() method."
            )
        hooks = _global_parameter_registration_hooks
        self._parameters[name] = self._hooked_value(hooks, name, param)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child under a name."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{torch.typename(module)} is not a Module subclass")
        self._check_new_name("module", name, self._modules, f", got: {name}")
        hooks = _global_module_registration_hooks
        self._modules[name] = self._hooked_value(hooks, name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as add_module."""
        self.add_module(name, module)

    def _hooked_value(self, hooks, name, value):
        for hook in hooks.values():
            changed = hook(self, name, value)
            value = value if changed is None else changed
        return value

    # -- attributes -------------------------------------------------------------------

    def __getattr__(self, name: str):
        # Only called for what the instance's __dict__ and class lack.
        # Written out: every access to a layer's weight comes through here.
        d = self.__dict__
        if "_parameters" in d:
            values = d["_parameters"]
            if name in values:
                return values[name]
            values = d["_buffers"]
            if name in values:
                return values[name]
            values = d["_modules"]
            if name in values:
                return values[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value) -> None:
        if not isinstance(value, (Tensor, Module)):
            self._set_other(name, value)
        elif isinstance(value, Module):
            self._set_module(name, value)
        elif isinstance(value, Parameter):
            self._set_parameter(name, value)
        else:
            self._set_tensor(name, value)

    def _forget(self, name, *kept):
        """Take a name from all places but those kept."""
        d = self.__dict__
        d.pop(name, None)
        for holder in ("_parameters", "_buffers", "_modules"):
            if holder not in kept:
                d[holder].pop(name, None)
        d["_non_persistent_buffers_set"].discard(name)

    def _set_module(self, name, module):
        d = self.__dict__
        if "_modules" not in d:
            raise AttributeError("cannot assign module before Module.__init__() call")
        params = d["_parameters"]
        if params and name in params:
            self._refuse("parameter", name, module)
        self._forget(name, "_modules")
        if _global_module_registration_hooks:
            hooks = _global_module_registration_hooks
            module = self._hooked_value(hooks, name, module)
        d["_modules"][name] = module

    def _set_parameter(self, name, param):
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameters before Module.__init__() call")
        self._forget(name, "_parameters")
        self.register_parameter(name, param)

    def _set_tensor(self, name, tensor):
        """A tensor that is no parameter: a buffer if marked so or in a buffer's place."""
        d = self.__dict__
        for kind, holder in (("parameter", "_parameters"), ("child module", "_modules")):
            if name in d.get(holder, ()):
                self._refuse(kind, name, tensor)
        buffers = d.get("_buffers")
        if buffers is not None and name in buffers:
            if _global_buffer_registration_hooks:
                tensor = self._hooked_value(_global_buffer_registration_hooks, name, tensor)
            buffers[name] = tensor
        elif isinstance(tensor, Buffer):
            if buffers is None:
                raise AttributeError("cannot assign buffer before Module.__init__() call")
            self._forget(name, "_buffers")
            self.register_buffer(name, tensor, tensor.persistent)
        else:
            object.__setattr__(self, name, tensor)

    def _set_other(self, name, value):
        d = self.__dict__
        for kind, holder in _HOLDERS:
            values = d.get(holder)
            if values and name in values:
                if value is not None:
                    self._refuse(kind, name, value)
                values[name] = None
                return
        object.__setattr__(self, name, value)

    def _refuse(self, kind, name, value):
        wanted = {
            "parameter": "torch.nn.Parameter",
            "child module": "torch.nn.Module",
            "buffer": "torch.nn.Buffer, torch.Tensor",
        }[kind]
        raise TypeError(
            f"cannot assign '{torch.typename(value)}' as {kind} '{name}' "
            f"({wanted} or None expected)"
        )

    def __delattr__(self, name) -> None:
        if name in self._parameters:
            del self._parameters[name]
        elif name in self._buffers:
            del self._buffers[name]
            self._non_persistent_buffers_set.discard(name)
        elif name in self._modules:
            del self._modules[name]
        else:
            super().__delattr__(name)

    # -- copies -----------------------------------------------------------------------

    def __getstate__(self):
        state = self.__dict__.copy()
        state.pop("_compiled_call_impl", None)
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        for table, kind in _HOOK_TABLES.items():
            hooks = self.__dict__.get(table)  # an older pickle may lack some
            if type(hooks) is not kind:
                self.__dict__[table] = kind(hooks or ())
        self.__dict__.setdefault("_non_persistent_buffers_set", set())
        self.__dict__.setdefault("_is_full_backward_hook", None)

    def _replicate_for_data_parallel(self):
        """A shallow copy that shares tensors and children but not the dicts that hold them."""
        replica = self.__new__(type(self))
        replica.__dict__ = self.__dict__.copy()
        replica._parameters = {}
        replica._buffers = replica._buffers.copy()
        replica._modules = replica._modules.copy()
        replica._is_replica = True
        return replica

    # -- mode -------------------------------------------------------------------------

    def train(self, mode: bool = True):
        """Set training mode, which dropout and batch norm look at, on the whole tree."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self):
        """The same as `train(False)`."""
        return self.train(False)

    # -- text -------------------------------------------------------------------------

    def _get_name(self):
        return type(self).__name__

    def extra_repr(self) -> str:
        """What repr shows between the parentheses; subclasses say their settings."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        own = extra.split("\n") if extra else []
        below = [f"({k}): {_addindent(repr(m), 2)}" for k, m in self._modules.items()]
        lines = own + below
        if not lines:
            return self._get_name() + "()"
        if len(own) == 1 and not below:
            return f"{self._get_name()}({own[0]})"
        return self._get_name() + "(\n  " + "\n  ".join(lines) + "\n)"

    def __dir__(self):
        names = itertools.chain(
            dir(type(self)), self.__dict__, self._parameters, self._modules, self._buffers
        )
        return sorted(name for name in names if not name[0].isdigit())
