"""What the globals in a checkpoint stand for.

Files name functions of PyTorch that put tensors together again. Each name leads to a function of
ours that checks its arguments, as they come from outside.
"""

from collections import Counter, OrderedDict
from pickle import UnpicklingError

import facula as torch

from . import adapter
from .pickle_machine import check_key
from .storages import (
    DTYPE_SIZES,
    QUANTIZED_STORAGES,
    STORAGE_DTYPES,
    StorageRecord,
    StorageType,
    dtype_name,
    named_dtype,
)

_MOST_DIMS = 64
_LARGEST = 2**63 - 1
_KNOWN_ATTRIBUTES = ("_is_buffer", "persistent", "_is_param")


def _bad(why):
    return UnpicklingError(f"WeightsUnpickler error: {why}")


# -- tensors -----------------------------------------------------------------------


def _geometry(offset, size, stride):
    """Checks a layout; returns it with the number of elements that its storage must have."""
    size, stride = tuple(size), tuple(stride)
    numbers = (offset, *size, *stride)
    if any(type(n) is not int or not 0 <= n <= _LARGEST for n in numbers):
        raise _bad("a tensor has a size, a stride or an offset that is no count")
    if len(size) != len(stride) or len(size) > _MOST_DIMS:
        raise _bad("a tensor's sizes and strides do not fit together")
    count, last = 1, offset
    for n, step in zip(size, stride, strict=True):
        count *= n
        last += (n - 1) * step
    if count > _LARGEST:
        raise _bad("a tensor has more elements than can be counted")
    return size, stride, last + 1 if count else 0


def _tensor(storage, dtype, offset, size, stride, requires_grad, metadata):
    if not isinstance(storage, StorageRecord):
        raise _bad("a tensor is not made of a storage")
    size, stride, needed = _geometry(offset, size, stride)
    itemsize = DTYPE_SIZES[dtype_name(dtype)][0]
    if needed * itemsize > storage.nbytes():
        raise _bad(
            f"a tensor of size {list(size)} with strides {list(stride)} and offset {offset} needs "
            f"{needed * itemsize} bytes, but its storage has {storage.nbytes()}"
        )
    metadata = _checked_metadata(metadata)
    tensor = adapter.make_tensor(
        storage, dtype, offset, size, stride, requires_grad is True and not metadata
    )
    if metadata:
        with torch.no_grad():
            tensor = tensor.conj() if metadata.get("conj") else tensor
            tensor = tensor.neg() if metadata.get("neg") else tensor
        tensor.requires_grad_(requires_grad is True)
    return tensor


def _checked_metadata(metadata):
    if metadata is None:
        return {}
    if type(metadata) is not dict or not set(metadata) <= {"conj", "neg"}:
        raise _bad("a tensor has unknown metadata")
    return {key: value for key, value in metadata.items() if value}


def _no_hooks(hooks):
    if hooks:
        raise _bad("a tensor has backward hooks, which are code")


def _typed(storage):
    dtype = storage.dtype if isinstance(storage, StorageRecord) else None
    if dtype is None:
        raise _bad("a tensor's storage has a dtype that is not available")
    return dtype


def rebuild_tensor(storage, storage_offset, size, stride):
    return _tensor(storage, _typed(storage), storage_offset, size, stride, False, None)


def rebuild_tensor_v2(
    storage, storage_offset, size, stride, requires_grad, backward_hooks, metadata=None
):
    _no_hooks(backward_hooks)
    dtype = _typed(storage)
    return _tensor(storage, dtype, storage_offset, size, stride, requires_grad, metadata)


def rebuild_tensor_v3(
    storage, storage_offset, size, stride, requires_grad, backward_hooks, dtype, metadata=None
):
    _no_hooks(backward_hooks)
    if not isinstance(dtype, torch.dtype):
        raise _bad("a tensor's dtype is none")
    return _tensor(storage, dtype, storage_offset, size, stride, requires_grad, metadata)


def rebuild_meta_tensor(dtype, size, stride, requires_grad):
    if not isinstance(dtype, torch.dtype):
        raise _bad("a tensor's dtype is none")
    size, stride, needed = _geometry(0, size, stride)
    return adapter.make_meta(dtype, needed, size, stride, requires_grad is True)


def rebuild_parameter(data, requires_grad, backward_hooks):
    _no_hooks(backward_hooks)
    _check_tensor(data)
    return torch.nn.Parameter(data, requires_grad=requires_grad is True)


def rebuild_parameter_with_state(data, requires_grad, backward_hooks, state):
    return set_attributes(rebuild_parameter(data, requires_grad, backward_hooks), state)


def rebuild_sparse_tensor(layout, data):
    if layout is torch.sparse_coo:
        indices, values, size, *coalesced = data
        _check_tensor(indices)
        _check_tensor(values)
        tensor = torch.sparse_coo_tensor(indices, values, _size(size), check_invariants=True)
        if coalesced and coalesced[0] is True:
            tensor = tensor.coalesce()
        return tensor
    compressed = ("sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")
    if layout in [getattr(torch, name, None) for name in compressed]:
        offsets, plain, values, size = data
        for part in (offsets, plain, values):
            _check_tensor(part)
        return torch.sparse_compressed_tensor(
            offsets, plain, values, _size(size), layout=layout, check_invariants=True
        )
    raise _bad(f"there are no sparse tensors of layout {layout}")


def _check_tensor(value):
    if not isinstance(value, torch.Tensor):
        raise _bad("something that should be a tensor is none")


def _size(values):
    values = tuple(values)
    if any(type(n) is not int or not 0 <= n <= _LARGEST for n in values):
        raise _bad("a size is no count")
    return torch.Size(values)


def rebuild_from_type(function, kind, args, state):
    if function not in _TENSOR_REBUILDERS or type(args) is not tuple:
        raise _bad("a tensor is to be rebuilt in an unknown way")
    tensor = function(*args)
    if kind is not torch.Tensor and type(tensor) is not kind:
        if kind is not torch.nn.Parameter:
            raise _bad("a tensor is of an unknown class")
        tensor = torch.nn.Parameter(tensor, requires_grad=tensor.requires_grad)
    return set_attributes(tensor, state)


def set_attributes(tensor, state):
    """Sets what a user had stored on a tensor; nothing that a tensor has of its own."""
    if type(state) is tuple and len(state) == 2:  # (attributes, slots)
        state = {**(state[0] or {}), **(state[1] or {})}
    if not state:
        return tensor
    if type(state) is not dict:
        raise _bad("a tensor's attributes are no dict")
    for name, value in state.items():
        if name in _KNOWN_ATTRIBUTES:  # of buffers; what they say has no use here
            continue
        own = type(name) is not str or name.startswith("_") or hasattr(tensor, name)
        if own:
            raise _bad(f"a tensor's attribute {name!r} is not to be set from a file")
        setattr(tensor, name, value)
    return tensor


def _unavailable(what, instead):
    def refuse(*args):
        raise _bad(f"{what} cannot be loaded: facula has none. {instead}")

    return refuse


# -- plain objects ------------------------------------------------------------------


def get_layout(name):
    """The layout called, for example, 'torch.sparse_coo'."""
    layout = getattr(torch, str(name).removeprefix("torch."), None)
    if not isinstance(layout, type(torch.strided)):
        raise _bad(f"there is no layout {name!r}")
    return layout


def make_device(*args):
    if not 1 <= len(args) <= 2 or type(args[0]) is not str:
        raise _bad("a device is damaged")
    try:
        return torch.device(*args)
    except (RuntimeError, TypeError, ValueError) as error:
        raise _bad(str(error)) from None


def make_size(values):
    return _size(values)


def _make_ordered_dict(pairs=()):
    if type(pairs) not in (list, tuple):
        raise _bad("an OrderedDict is damaged")
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise _bad("an OrderedDict is damaged")
        check_key(pair[0])
    return OrderedDict((key, value) for key, value in pairs)


def _make_counter(counts=None):
    if counts is not None and type(counts) is not dict:
        raise _bad("a Counter is damaged")
    return Counter(counts)


def _make_set(items=()):
    if type(items) not in (list, tuple):
        raise _bad("a set is damaged")
    for item in items:
        check_key(item)
    return set(items)


def _make_complex(real, imag):
    if type(real) is not float or type(imag) is not float:
        raise _bad("a complex number is damaged")
    return complex(real, imag)


def _make_bytearray(*args):
    if args and type(args[0]) not in (bytes, str):  # a count would be memory for nothing
        raise _bad("a bytearray is damaged")
    return bytearray(*args)


def _encode(text, encoding):
    """How bytes look in protocol 2."""
    if type(text) is not str or encoding not in ("latin1", "latin-1", "utf-8", "utf8", "ascii"):
        raise _bad("bytes are damaged")
    return text.encode(encoding)


_TENSOR_REBUILDERS = (
    rebuild_tensor,
    rebuild_tensor_v2,
    rebuild_tensor_v3,
    rebuild_meta_tensor,
    rebuild_parameter,
    rebuild_parameter_with_state,
    rebuild_sparse_tensor,
)

_FUNCTIONS = {
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": rebuild_tensor_v3,
    "torch._utils._rebuild_meta_tensor_no_storage": rebuild_meta_tensor,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": rebuild_parameter_with_state,
    "torch._utils._rebuild_sparse_tensor": rebuild_sparse_tensor,
    "torch._utils._rebuild_qtensor": _unavailable(
        "a quantized tensor", "Save it dequantized: tensor.dequantize()."
    ),
    "torch._utils._rebuild_nested_tensor": _unavailable(
        "a nested tensor", "Save it as a list of tensors: tensor.unbind()."
    ),
    "torch._utils._rebuild_wrapper_subclass": _unavailable(
        "a tensor subclass", "Save the plain tensors that it wraps."
    ),
    "torch._utils._rebuild_device_tensor_from_numpy": _unavailable(
        "a tensor of a device without storages", "Save it on the CPU: tensor.cpu()."
    ),
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _unavailable(
        "a tensor of a device without storages", "Save it on the CPU: tensor.cpu()."
    ),
    "torch._tensor._rebuild_from_type_v2": rebuild_from_type,
    "torch.serialization._get_layout": get_layout,
    "torch.device": make_device,
    "torch.Size": make_size,
    "collections.OrderedDict": _make_ordered_dict,
    "collections.Counter": _make_counter,
    "builtins.set": _make_set,
    "builtins.complex": _make_complex,
    "builtins.bytearray": _make_bytearray,
    "_codecs.encode": _encode,
}

_FUNCTION_IDS = frozenset(map(id, _FUNCTIONS.values()))

# Old names of modules, as protocol 2 and Python 2 write them.
_MODULES = {"__builtin__": "builtins", "facula": "torch"}
_REFUSED_STORAGES = {f"torch.{name}" for name in QUANTIZED_STORAGES}


def canonical(module, name):
    """The full name of a global, with facula's and Python 2's modules under their usual names."""
    head, dot, rest = module.partition(".")
    return f"{_MODULES.get(head, head)}{dot}{rest}.{name}"


def _constants():
    table = {
        "torch.Tensor": torch.Tensor,
        "torch.nn.parameter.Parameter": torch.nn.Parameter,
        "torch.nn.Parameter": torch.nn.Parameter,
        "torch.storage.UntypedStorage": StorageType("UntypedStorage"),
        "torch.UntypedStorage": StorageType("UntypedStorage"),
    }
    for storage in STORAGE_DTYPES:
        table[f"torch.{storage}"] = StorageType(storage)
        table[f"torch.cuda.{storage}"] = StorageType(storage)
    for name in DTYPE_SIZES:
        if named_dtype(name) is not None:
            table[f"torch.{name}"] = named_dtype(name)
    return table


_table = {}


def known_global(full_name):
    """What a checkpoint may name without being trusted; KeyError for everything else."""
    if not _table:
        _table.update(_FUNCTIONS)
        _table.update(_constants())
    if full_name in _REFUSED_STORAGES:
        raise _bad(
            "quantized tensors cannot be loaded: facula has none. Save them dequantized: "
            "tensor.dequantize()."
        )
    return _table[full_name]


def is_function(value):
    """Whether a known global is one of our functions, which may be called."""
    return id(value) in _FUNCTION_IDS
