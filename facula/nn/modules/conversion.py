"""Moving a module's tensors: dtype, device, memory."""

import warnings

import facula as torch
from facula.nn.parameter import Parameter, UninitializedBuffer

# What may follow the first positional argument of `Module.to`, by its kind.
_TO_NAMES = {
    "dtype": ("dtype", "non_blocking", "copy"),
    "tensor": ("tensor", "non_blocking", "copy"),
    "device": ("device", "dtype", "non_blocking", "copy"),
}
_TO_KEYWORDS = {"tensor", "device", "dtype", "non_blocking", "copy", "memory_format"}


def _first_kind(args):
    if args and isinstance(args[0], torch.dtype):
        return "dtype"
    return "tensor" if args and isinstance(args[0], torch.Tensor) else "device"


def parse_to(args, kwargs):
    """(device, dtype, non_blocking, memory_format) from the arguments of `Module.to`."""
    names = _TO_NAMES[_first_kind(args)]
    given = dict(zip(names, args, strict=False))
    if len(args) > len(names) or set(given) & set(kwargs) or set(kwargs) - _TO_KEYWORDS:
        kinds = ", ".join(type(a).__name__ for a in (*args, *kwargs.values()))
        raise TypeError(
            f"to() received an invalid combination of arguments - got ({kinds}), but expected "
            "one of:\n * (torch.device device = None, torch.dtype dtype = None, bool non_blocking "
            "= False, bool copy = False, *, torch.memory_format memory_format = None)\n"
            " * (torch.dtype dtype, bool non_blocking = False, bool copy = False, *, "
            "torch.memory_format memory_format = None)\n"
            " * (Tensor tensor, bool non_blocking = False, bool copy = False, *, "
            "torch.memory_format memory_format = None)\n"
        )
    given.update(kwargs)
    device, dtype = given.get("device"), given.get("dtype")
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise TypeError(f"to(): argument 'dtype' must be torch.dtype, not {type(dtype).__name__}")
    tensor = given.get("tensor")
    if tensor is not None:
        device, dtype = tensor.device, tensor.dtype
    if device is not None:
        device = torch.device(device)
    return device, dtype, given.get("non_blocking", False), given.get("memory_format")


def _converted(fn, buffer):
    """fn(buffer); what has no shape yet still has none afterwards."""
    new = fn(buffer)
    if isinstance(buffer, UninitializedBuffer) and new is not buffer:
        return UninitializedBuffer(False, new.device, new.dtype, buffer.persistent)
    return new


class ConversionMixin:
    """to, float, half, cuda, ...: change all floating-point tensors of a tree in place."""

    def _apply(self, fn, recurse=True):
        """Replace every parameter, gradient and buffer `t` by `fn(t)`."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for name, param in self._parameters.items():
            if param is not None:
                self._parameters[name] = _applied(fn, param)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = _converted(fn, buffer)
        return self

    def apply(self, fn):
        """Call fn on every module of the tree, children first.

        >>> from facula import nn
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> _ = net.apply(lambda module: print(type(module).__name__))
        Linear
        ReLU
        Sequential
        """
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def cuda(self, device=None):
        """Move to a CUDA device."""
        return self._apply(lambda t: t.cuda(device))

    def ipu(self, device=None):
        return self._apply(lambda t: t.ipu(device))

    def xpu(self, device=None):
        return self._apply(lambda t: t.xpu(device))

    def mtia(self, device=None):
        return self._apply(lambda t: t.mtia(device))

    def cpu(self):
        """Move to the CPU."""
        return self._apply(lambda t: t.cpu())

    def type(self, dst_type):
        """Convert all parameters and buffers to a dtype."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self):
        """Convert all floating-point parameters and buffers to float32."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self):
        """Convert all floating-point parameters and buffers to float64."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def half(self):
        """Convert all floating-point parameters and buffers to float16."""
        return self._apply(lambda t: t.half() if t.is_floating_point() else t)

    def bfloat16(self):
        """Convert all floating-point parameters and buffers to bfloat16."""
        return self._apply(lambda t: t.bfloat16() if t.is_floating_point() else t)

    def to_empty(self, *, device, recurse: bool = True):
        """Move to a device without copying values (from "meta", say)."""
        return self._apply(lambda t: torch.empty_like(t, device=device), recurse=recurse)

    def to(self, *args, **kwargs):
        """Move and convert in place: `to(device)`, `to(dtype)`, `to(device, dtype)`, `to(tensor)`.

        The dtype applies to floating-point and complex tensors only.
        """
        device, dtype, non_blocking, memory_format = parse_to(args, kwargs)
        if dtype is not None:
            if not (dtype.is_floating_point or dtype.is_complex):
                raise TypeError(
                    "nn.Module.to only accepts floating point or complex dtypes, but got desired "
                    f"dtype={dtype}"
                )
            if dtype.is_complex:
                warnings.warn(
                    "Complex modules are a new feature under active development whose design may "
                    "change, and some modules might not work as expected when using complex "
                    "tensors as parameters or buffers.",
                    stacklevel=2,
                )

        def convert(t):
            wanted = dtype if t.is_floating_point() or t.is_complex() else None
            try:
                if memory_format is not None and t.dim() in (4, 5):
                    return t.to(device, wanted, non_blocking, memory_format=memory_format)
                return t.to(device, wanted, non_blocking)
            except NotImplementedError as error:
                if str(error) == "Cannot copy out of meta tensor; no data!":
                    raise NotImplementedError(
                        f"{error} Please use torch.nn.Module.to_empty() instead of "
                        "torch.nn.Module.to() when moving module from meta to a different device."
                    ) from None
                raise

        return self._apply(convert)

    def requires_grad_(self, requires_grad: bool = True):
        """Whether autograd records operations on this module's parameters."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters (or set them to zero)."""
        for param in self.parameters():
            if param.grad is None:
                continue
            if set_to_none:
                param.grad = None
                continue
            if param.grad.grad_fn is not None:
                param.grad.detach_()
            else:
                param.grad.requires_grad_(False)
            param.grad.zero_()

    def share_memory(self):
        """Move all tensors to memory that other processes can map."""
        return self._apply(lambda t: t.share_memory_())


def _applied(fn, param):
    """The parameter with fn applied to it and its gradient: the same object where it can be."""
    grad = param.grad
    with torch.no_grad():
        changed = fn(param)
    keeps_object = changed.is_meta == param.is_meta
    if keeps_object:
        param.data = changed
        out = param
    else:
        out = Parameter(changed, param.requires_grad)
    if grad is not None:
        with torch.no_grad():
            changed_grad = fn(grad)
        if keeps_object and changed_grad.is_meta == grad.is_meta:
            grad.data = changed_grad
        else:
            out.grad = changed_grad.requires_grad_(grad.requires_grad)
    return out
