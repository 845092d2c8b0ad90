"""Parameter and Buffer: the tensors that a module registers by being assigned."""

import copy
from collections import OrderedDict

import facula as torch
from facula import Tensor

_USE_FIRST = (
    "Call `forward` with a dummy batch to initialize the parameters before calling torch functions"
)


def _rebuild_parameter(data, requires_grad, backward_hooks):
    return Parameter(data, requires_grad)  # hooks are never saved


def _rebuild_parameter_with_state(data, requires_grad, backward_hooks, state):
    parameter = _rebuild_parameter(data, requires_grad, backward_hooks)
    parameter.__dict__.update(state)
    return parameter


class _ParameterMeta(type(Tensor)):
    """Lets `isinstance(t, Parameter)` hold for tensor subclasses marked as parameters."""

    def __instancecheck__(self, instance):
        if super().__instancecheck__(instance):
            return True
        return (
            self is Parameter
            and isinstance(instance, Tensor)
            and getattr(instance, "_is_param", False)
        )


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that becomes one of a module's parameters when assigned to it.

    >>> layer = torch.nn.Identity()
    >>> layer.scale = torch.nn.Parameter(torch.ones(3))
    >>> [name for name, _ in layer.named_parameters()]
    ['scale']
    """

    def __new__(cls, data=None, requires_grad=True):
        if data is None:
            data = torch.empty(0)
        if type(data) is Tensor or type(data) is Parameter:
            return Tensor._make_subclass(cls, data, requires_grad)
        # A subclass of Tensor stays what it is and is only marked.
        marked = data.detach()
        if type(marked) is type(data):
            marked.requires_grad_(requires_grad)
        else:
            marked = Tensor._make_subclass(type(data), data, requires_grad)
            marked.__dict__.update(_own_state(data))
        marked._is_param = True
        return marked

    def __deepcopy__(self, memo):
        if id(self) in memo:
            return memo[id(self)]
        data = self.data.clone()
        twin = type(self)(data, self.requires_grad)
        memo[id(self)] = twin
        state = _own_state(self)
        if state:
            twin.__dict__.update(copy.deepcopy(state, memo))
        return twin

    def __copy__(self):
        make, given = self.__reduce_ex__(2)
        return make(*given)

    def __repr__(self):
        text = super().__repr__()
        head = "Parameter containing:\n"
        return text if text.startswith(head) else head + text

    def __reduce_ex__(self, proto):
        hooks = OrderedDict()  # hooks are not saved
        state = _own_state(self)
        if not state:
            return _rebuild_parameter, (self.data, self.requires_grad, hooks)
        return _rebuild_parameter_with_state, (self.data, self.requires_grad, hooks, state)


def _own_state(tensor):
    """What a user has hung on a parameter: `p.tag = 3`. Names of Tensor's own start with _."""
    return {k: v for k, v in tensor.__dict__.items() if k[0] != "_" and k != "meta"}


class _BufferMeta(type(Tensor)):
    """Buffers are plain tensors with a mark, so isinstance looks for the mark."""

    def __instancecheck__(self, instance):
        if self is not Buffer:
            return super().__instancecheck__(instance)
        return isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that becomes one of a module's buffers when assigned to it.

    >>> layer = torch.nn.Identity()
    >>> layer.mean = torch.nn.Buffer(torch.zeros(3))
    >>> list(layer.state_dict())
    ['mean']
    """

    def __new__(cls, data=None, *, persistent=True):
        if data is None:
            data = torch.empty(0)
        buffer = data.detach().requires_grad_(data.requires_grad)
        buffer.persistent = persistent
        buffer._is_buffer = True
        return buffer


class UninitializedTensorMixin:
    """What parameters and buffers without a shape have in common."""

    _allowed_methods = [
        getattr(Tensor, name)
        for name in (
            "__hash__",
            "size",
            "copy_",
            "is_complex",
            "is_floating_point",
            "half",
            "float",
            "double",
            "char",
            "short",
            "int",
            "long",
            "cuda",
            "cpu",
            "to",
            "get_device",
        )
        if hasattr(Tensor, name)
    ]

    def materialize(self, shape, device=None, dtype=None):
        """Turn this object, in place, into a tensor of this shape with undefined values."""
        device = self.data.device if device is None else device
        dtype = self.data.dtype if dtype is None else dtype
        self.data = torch.empty(shape, device=device, dtype=dtype)
        self.__class__ = self.cls_to_become

    @property
    def shape(self):
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually "
            "happens in `load_state_dict` when trying to load an uninitialized parameter into an "
            "initialized one. Call `forward` to initialize the parameters before accessing their "
            "attributes."
        )

    def share_memory_(self):
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to "
            "initialize the parameters before calling `module.share_memory()`."
        )

    def __repr__(self):
        return f"<{type(self).__name__}>"

    __str__ = __repr__

    def __reduce_ex__(self, proto):
        return type(self), (self.requires_grad,)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        # Methods are told by name: wrappers of one method need not be one object.
        name = getattr(func, "__name__", "")
        if name in ("__get__", "__set__") or name in _ALLOWED_NAMES:
            return super().__torch_function__(func, types, args, kwargs or {})
        raise ValueError(
            f"Attempted to use an uninitialized parameter in {func}. This error happens when you "
            "are using a `LazyModule` or explicitly manipulating "
            f"`torch.nn.parameter.{cls.__name__}` objects. When using LazyModules {_USE_FIRST}"
        )


_ALLOWED_NAMES = {method.__name__ for method in UninitializedTensorMixin._allowed_methods} | {
    "detach",
    "requires_grad_",
    "_has_compatible_shallow_copy_type",
}


# what tells of the object and not of its values stays as it is
_OF_THE_OBJECT = frozenset(
    "__new__ __init__ __init_subclass__ __class__ __hash__ __repr__ __reduce_ex__ __deepcopy__ __copy__ "
    "__setstate__ __str__ __dir__ __getattribute__ __getattr__ __setattr__ __delattr__ __torch_function__ __format__ "
    "__subclasshook__ as_subclass materialize share_memory_".split()
)


def _refusing(name):
    def refused(self, *args, **kwargs):
        raise ValueError(
            f"Attempted to use an uninitialized parameter in <method '{name}' of 'torch._C.TensorBase' objects>. "
            "This error happens when you are using a `LazyModule` or explicitly manipulating "
            f"`torch.nn.parameter.{type(self).__name__}` objects. When using LazyModules {_USE_FIRST}"
        )

    refused.__name__ = refused.__qualname__ = name
    return refused


for _name, _member in list(vars(Tensor).items()):
    _private = _name.startswith("_") and not _name.startswith("__")
    if isinstance(_member, type(_refusing)) and not _private:
        if _name not in _OF_THE_OBJECT | _ALLOWED_NAMES:
            setattr(UninitializedTensorMixin, _name, _refusing(_name))


def is_lazy(param):
    """Whether a parameter or buffer still waits for its shape."""
    return isinstance(param, UninitializedTensorMixin)


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter whose shape the first batch decides (used by the Lazy layers)."""

    cls_to_become = Parameter

    def __new__(cls, requires_grad=True, device=None, dtype=None):
        data = torch.empty(0, device=device, dtype=dtype)
        return Tensor._make_subclass(cls, data, requires_grad)

    def __deepcopy__(self, memo):
        if id(self) in memo:
            return memo[id(self)]
        twin = type(self)(self.requires_grad, self.data.device, self.data.dtype)
        memo[id(self)] = twin
        return twin


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer whose shape the first batch decides."""

    cls_to_become = torch.Tensor

    def __new__(cls, requires_grad=False, device=None, dtype=None, persistent=True):
        data = torch.empty(0, device=device, dtype=dtype)
        buffer = Tensor._make_subclass(cls, data, requires_grad)
        buffer.persistent = persistent
        buffer._is_buffer = True
        return buffer
