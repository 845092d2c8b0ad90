"""Making tensors from numbers, sequences, arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.blame import wrong_type
from facula.graph.dtypes import dtype as Dtype
from facula.graph.formats import layout as Layout
from facula.graph.meta import CPU, DEFAULT_DEVICES, META, Device, Meta, meta_of
from facula.graph.reference import encode
from facula.graph.tape import LOCAL, Op, new_storage
from facula.ops.apply import apply
from facula.ops.pointwise import NUMBERS, need_tensors, number_type
from facula.ops.ranges import check_fits, check_range
from facula.ops.registry import TORCH, method, only_torch, to_out
from facula.ops.without_values import any_on_meta
from facula.runtime.buffers import Buffer, alloc
from facula.tensor import Tensor, adopt_array, empty_meta, from_array, from_buffer, wrap


def dtype_of(dtype: Dtype | None, out: Tensor | None) -> Dtype | None:
    """The dtype asked for or that of `out`; RuntimeError where they are not one."""
    if out is None:
        return dtype
    d = out.meta.dtype
    if dtype is not None and dtype is not d:
        raise RuntimeError(f"dtype {dtype.short} does not match dtype of out parameter ({d.short})")
    return d


def device_of(device: Any, out: Tensor | None = None) -> Device:
    """The device asked for, or that of `out`, or the default one; an error where it can't be had."""
    if device is None:
        d = DEFAULT_DEVICES[-1] if out is None else out.meta.device
    else:
        d = device if type(device) is Device else Device(device)
    if d.type == "cpu":
        return CPU
    if d.type == "meta":
        return META
    if d.type == "cuda":
        raise AssertionError("Torch not compiled with CUDA enabled")
    raise RuntimeError(f"facula has no device '{d}': use 'cpu' or 'meta'")


def finish(t: Tensor, requires_grad: bool) -> Tensor:
    """Sets requires_grad on a fresh tensor."""
    if requires_grad is not False:
        if requires_grad is not True:
            raise wrong_type(requires_grad, "bool")
        if t.meta.dtype.kind not in "fc":
            raise RuntimeError(
                "Only Tensors of floating point and complex dtype can require gradients"
            )
        t.requires_grad_(True)
    return t


FULL = Op("full", lambda m, kind: m, lambda g, x, m, kind: g.expand(g.cast(x, m.dtype), m.shape))


def filled(m: Meta, value: Any) -> Tensor:
    """A lazily filled tensor: a number costs nothing until it is read."""
    if m.device is META:
        return empty_meta(m)
    kind = number_type(value)
    if value:
        check_fits(value, m.dtype)
    if kind == "c":
        return adopt_array(encode(np.full(m.shape, value, np.complex128), m.dtype), m.dtype)
    return apply(FULL, (), (m, kind), (value,))


def sizes(args: Sequence[Any], kwargs: dict, name: str) -> tuple[int, ...]:
    """Sizes from `f(2, 3)`, `f((2, 3))` or `f(size=(2, 3))`."""
    from facula.ops.shape import sizes_of

    if "size" in kwargs:
        args = (kwargs.pop("size"),)
    if not args:
        raise TypeError(f'{name}() missing 1 required positional arguments: "size"')
    shape = sizes_of(args, name)
    for n in shape:
        if n < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {n}: {list(shape)}"
            )
    return shape


def _factory(name: str, value: Any) -> None:
    def function(*size: Any, out: Tensor | None = None, dtype: Dtype | None = None, layout: Any = None,
                 device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
                 memory_format: Any = None, names: Any = None, **kwargs: Any) -> Tensor:  # fmt: skip
        shape = sizes(size, kwargs, name)
        if layout is not None and not isinstance(layout, Layout):
            raise wrong_type(layout, "torch.layout")
        if kwargs:
            raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(kwargs))}'")
        m = meta_of(dtype_of(dtype, out) or dt.default_dtype(), shape, device_of(device, out))
        return finish(to_out(make(m, value), out), requires_grad)

    def like(input: Tensor, *, dtype: Dtype | None = None, layout: Any = None, device: Any = None,
             requires_grad: bool = False, pin_memory: bool = False, memory_format: Any = None) -> Tensor:  # fmt: skip
        need_tensors(name + "_like", input=input)
        m = input.meta
        d = m.device if device is None else device_of(device)
        return finish(make(meta_of(dtype or m.dtype, m.shape, d), value), requires_grad)

    def new(self: Tensor, *size: Any, dtype: Dtype | None = None, device: Any = None,
            requires_grad: bool = False, layout: Any = None, pin_memory: bool = False, **kwargs: Any) -> Tensor:  # fmt: skip
        shape = sizes(size, kwargs, "new_" + name)
        d = self.meta.device if device is None else device_of(device)
        return finish(make(meta_of(dtype or self.meta.dtype, shape, d), value), requires_grad)

    for fn, n in ((function, name), (like, name + "_like"), (new, "new_" + name)):
        fn.__code__ = fn.__code__.replace(co_name=n)  # what errors show
        fn.__name__ = fn.__qualname__ = n
        fn.__doc__ = f"A tensor {'of zeros' if value == 0 else 'of ones' if value == 1 else 'with any values'}."
    TORCH[name], TORCH[name + "_like"] = function, like
    method(new, "new_" + name)


def make(m: Meta, value: Any) -> Tensor:
    """A tensor filled with a number, or (None) with whatever is in memory."""
    if m.device is META:
        return empty_meta(m)
    if value is None:
        return from_buffer(alloc(max(m.numel * m.dtype.itemsize, 1)), m)
    return filled(m, value)


for _name, _value in (("zeros", 0), ("ones", 1), ("empty", None)):
    _factory(_name, _value)


@only_torch()
def full(size: Any, fill_value: Any, *, out: Tensor | None = None, dtype: Dtype | None = None, layout: Any = None,
         device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A tensor of one number.

    Its dtype is the number's: bool, int64, the default dtype, or complex.

    >>> import facula as torch
    >>> torch.full((2, 2), 7)
    tensor([[7, 7],
            [7, 7]])
    """
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    number_type(fill_value)
    if isinstance(size, int):
        raise wrong_type(size, "tuple of ints")
    d = dtype_of(dtype, out) or dt.of_number(fill_value)
    m = meta_of(d, sizes((size,), {}, "full"), device_of(device, out))
    return finish(to_out(filled(m, fill_value), out), requires_grad)


@only_torch()
def full_like(input: Tensor, fill_value: Any, *, dtype: Dtype | None = None, layout: Any = None, device: Any = None,
              requires_grad: bool = False, pin_memory: bool = False, memory_format: Any = None) -> Tensor:  # fmt: skip
    """A tensor of one number in input's shape."""
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    d = input.meta.device if device is None else device_of(device)
    return finish(
        filled(meta_of(dtype or input.meta.dtype, input.meta.shape, d), fill_value), requires_grad
    )


@method
def new_full(self: Tensor, size: Any, fill_value: Any, *, dtype: Dtype | None = None, device: Any = None,
             requires_grad: bool = False, layout: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A tensor of one number with self's dtype and device."""
    d = self.meta.device if device is None else device_of(device)
    return finish(
        filled(meta_of(dtype or self.meta.dtype, sizes((size,), {}, "new_full"), d), fill_value),
        requires_grad,
    )


# from data ----------------------------------------------------------------------------------


def _scalar_kind(x: Any) -> Dtype:
    return dt.of_number(x)


def infer_sequence(data: Any) -> tuple[np.ndarray, Dtype]:
    """Nested sequences of numbers (or 0-d tensors, arrays) as an array with PyTorch's dtype."""
    if isinstance(data, (bool, int, float, complex)):
        if type(data) is int and not -(1 << 63) <= data < 1 << 63:
            raise ValueError("Overflow when unpacking long long")
        d = _scalar_kind(data)
        return np.asarray(data), d
    shape = _sequence_shape(data)
    flat: list[Any] = []
    _flatten(data, shape, 0, flat)
    kinds = {type(x) for x in flat}
    own = set()  # dtypes of elements that have one
    if any(issubclass(k, (Tensor, np.generic, np.ndarray)) for k in kinds):
        if any(isinstance(x, Tensor) and x.meta.numel != 1 for x in flat):
            raise ValueError("only one element tensors can be converted to Python scalars")
        typed = [x for x in flat if isinstance(x, (Tensor, np.generic, np.ndarray))]
        own = {x.dtype if isinstance(x, Tensor) else dt.from_numpy(x.dtype) for x in typed}
        kinds = {type(x) for x in flat} - {type(x) for x in typed}
        flat = [x.item() if isinstance(x, (Tensor, np.generic, np.ndarray)) else x for x in flat]
    d = dt.bool_ if flat else dt.default_dtype()
    order = {"b": 0, "i": 1, "f": 2, "c": 3}
    for k in kinds:
        if isinstance(flat[0], str):
            raise ValueError("too many dimensions 'str'")
        if not issubclass(k, (bool, int, float, complex)):
            if k in (str, bytes):
                raise TypeError(f"new(): invalid data type '{k.__name__}'")
            raise RuntimeError(f"Could not infer dtype of {k.__name__}")
        e = (
            dt.bool_ if k is bool else dt.int64 if issubclass(k, int)
            else dt.default_dtype() if issubclass(k, float) else dt.default_dtype().to_complex()
        )  # fmt: skip
        if order[e.kind] > order[d.kind]:
            d = e
    for e in own:
        d = dt.promote_types(d, e)
    if d is dt.int64:
        for x in flat:
            if not -(1 << 63) <= x < 1 << 63:
                raise ValueError("Overflow when unpacking long long")
    wide = {"b": np.bool_, "i": np.int64, "f": np.float64, "c": np.complex128}.get(
        d.kind, d.storage
    )
    return np.array(flat, wide).reshape(shape), d


def _is_sequence(x: Any) -> bool:
    return isinstance(x, (list, tuple, range)) or (not isinstance(x, type) and hasattr(x, "__len__") and hasattr(x, "__getitem__")
                                                   and not isinstance(x, (str, bytes, dict)) and getattr(x, "shape", None) != ())  # fmt: skip


def _sequence_shape(data: Any) -> tuple[int, ...]:
    shape: list[int] = []
    # a tensor in a sequence counts as a number, an array as a sequence
    while _is_sequence(data) and not (shape and isinstance(data, Tensor)):
        if hasattr(data, "shape"):
            return (*shape, *data.shape)
        n = len(data)
        shape.append(n)
        if not n:
            break
        if data[0] is data:
            raise TypeError("new(): self-referential lists are incompatible")
        data = data[0]
        if len(shape) > 128:
            raise ValueError("too many dimensions 'list'")
    return tuple(shape)


def _flatten(data: Any, shape: tuple[int, ...], depth: int, out: list) -> None:
    if depth == len(shape):
        if _is_sequence(data) and not isinstance(data, Tensor):
            raise ValueError(f"too many dimensions '{type(data).__name__}'")
        out.append(data)
        return
    if hasattr(data, "shape") and data.shape != ():
        flat = data.reshape(-1)
        # its elements have a dtype, not the one that Python's numbers get
        out.extend(flat if isinstance(flat, np.ndarray) else flat.tolist())
        return
    if not _is_sequence(data):
        raise TypeError("not a sequence")
    if len(data) != shape[depth]:
        raise ValueError(
            f"expected sequence of length {shape[depth]} at dim {depth} (got {len(data)})"
        )
    if depth == len(shape) - 1 and isinstance(data, (list, tuple, range)):
        for x in data:
            if x is data:
                raise TypeError("new(): self-referential lists are incompatible")
            if isinstance(x, Tensor) and x.meta.numel != 1:
                raise ValueError("only one element tensors can be converted to Python scalars")
            if isinstance(x, (list, tuple)):
                kind = type(x).__name__
                if any(type(y) is float for y in data):
                    raise TypeError(f"must be real number, not {kind}")
                raise TypeError(f"'{kind}' object cannot be interpreted as an integer")
        out += data
        return
    for x in data:
        _flatten(x, shape, depth + 1, out)


def as_array(data: Any, asked: Dtype | None) -> tuple[np.ndarray, Dtype]:
    """Data as a stored-form array (perhaps shared with it) and its dtype."""
    if isinstance(data, Tensor):
        d = asked or data.meta.dtype
        src = data.detach()
        return (src if d is data.meta.dtype else src.to(d))._array(), d  # type: ignore[attr-defined]
    if isinstance(data, np.ndarray):
        if data.dtype == object or data.dtype.kind in "USO":
            raise TypeError(
                f"can't convert np.ndarray of type {data.dtype.type.__module__}.{data.dtype.type.__name__}. The only "
                "supported types are: float64, float32, float16, complex64, complex128, int64, int32, int16, "
                "int8, uint64, uint32, uint16, uint8, and bool."
            )
        d = dt.from_numpy(data.dtype)
        array = data
    elif isinstance(data, np.generic):
        d = dt.from_numpy(data.dtype)
        array = np.asarray(data)
    else:
        if hasattr(data, "__array__") and not isinstance(data, (list, tuple)):
            return as_array(np.asarray(data), asked)
        if isinstance(data, (str, bytes)):
            raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
        if data is None or isinstance(data, (dict, set)):
            raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")
        if not _is_sequence(data) and not isinstance(data, (bool, int, float, complex)):
            raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")
        array, d = infer_sequence(data)
        if asked is not None and asked is not d:
            check_range(array, asked)
    if asked is not None and asked is not d:
        return _converted(array, d, asked), asked
    if array.dtype != d.storage:
        array = encode(np.asarray(array).astype(np.float32 if d is dt.bfloat16 else d.storage), d)
    return array, d


def _converted(array: np.ndarray, d: Dtype, asked: Dtype) -> np.ndarray:
    from facula.graph.reference import cast, compute_type

    with np.errstate(all="ignore"):
        return encode(np.asarray(cast(np.asarray(array), asked), compute_type(asked)), asked)


@only_torch()
def tensor(data: Any, *, dtype: Dtype | None = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A new tensor with a copy of data (numbers, nested sequences, arrays, tensors).

    >>> import facula as torch
    >>> torch.tensor([[1., 2.], [3., 4.]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    if isinstance(data, Tensor):
        import warnings

        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() "
            "or sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
            UserWarning,
            stacklevel=2,
        )
        if device is None:
            device = data.meta.device
        if data.meta.device is META and device_of(device) is META:
            d = dtype or data.meta.dtype
            return finish(empty_meta(meta_of(d, data.meta.shape, META)), requires_grad)
    if dtype is not None and not isinstance(dtype, Dtype):
        raise TypeError(
            f"tensor(): argument 'dtype' must be torch.dtype, not {type(dtype).__name__}"
        )
    array, d = as_array(data, dtype)
    return finish(from_array(array, d, device_of(device)), requires_grad)


@only_torch()
def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor that shares memory with a NumPy array: what one writes the other sees.

    >>> import facula as torch
    >>> import numpy as np
    >>> array = np.zeros(2)
    >>> x = torch.from_numpy(array)
    >>> array[0] = 1.0
    >>> x
    tensor([1., 0.], dtype=torch.float64)
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    d = dt.from_numpy(ndarray.dtype)
    if any(s < 0 for s in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array  with array.copy().) "
        )
    if any(s % ndarray.itemsize for s in ndarray.strides):
        raise ValueError(
            "given numpy array strides not a multiple of the element byte size. Copy the numpy array "
            "to reallocate the memory."
        )
    if not ndarray.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion "
            "between byte orders is currently not supported."
        )
    return share_array(ndarray, d)


class Pin:
    """Says that memory is visible outside for as long as it lives."""

    __slots__ = ("__weakref__", "array", "home")

    def __init__(self, array: Any, home: Any) -> None:
        self.array, self.home = array, home


def share_array(array: np.ndarray, d: Dtype) -> Tensor:
    """A tensor on the memory of an array."""
    strides = tuple(s // array.itemsize for s in array.strides) if array.size else None
    extent = (
        1 + sum((n - 1) * s for n, s in zip(array.shape, strides, strict=True))
        if strides is not None and array.size
        else 0
    )
    if array.size == 0:
        return from_array(array, d)
    flat = np.lib.stride_tricks.as_strided(
        array, (extent,), (array.itemsize,), writeable=bool(array.flags.writeable)
    )
    from facula.graph.meta import contiguous_strides, meta

    natural = meta_of(d, array.shape)
    contiguous = natural.numel == extent and contiguous_strides(array.shape) == strides
    s = new_storage(Buffer.from_numpy(flat), natural if contiguous else meta_of(d, (extent,)))
    pin = Pin(array, s.buf)
    s.pin = _forever(pin)
    return wrap(s, natural if contiguous else meta(d, array.shape, strides or ()))


def _forever(pin: Pin) -> Any:
    """A reference that holds its object: the caller's array may be written at any time."""
    return lambda: pin


@only_torch("as_tensor")
def as_tensor(data: Any, dtype: Dtype | None = None, device: Any = None) -> Tensor:
    """data as a tensor; shares memory with tensors and arrays where nothing changes.

    >>> import facula as torch
    >>> torch.as_tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    if isinstance(data, Tensor):
        return data.to(device=device, dtype=dtype) if dtype or device else data  # type: ignore[attr-defined]
    if isinstance(data, np.ndarray) and device_of(device) is CPU:
        t = from_numpy(data)
        return t if dtype is None else t.to(dtype)  # type: ignore[attr-defined]
    return tensor(data, dtype=dtype, device=device)


TORCH["asarray"] = as_tensor


# ranges ---------------------------------------------------------------------------------------


def _arange_infer(m: Meta) -> Meta:
    return m


def _arange_expand(g: Any, start: Any, step: Any, m: Meta) -> Any:
    d = m.dtype
    if d.kind in "iub":
        return g.cast(g.cast(start, dt.int64) + g.iota(m.shape, 0) * g.cast(step, dt.int64), d)
    line = g.cast(g.iota(m.shape, 0), dt.float64)
    return g.cast(g.cast(start, dt.float64) + line * g.cast(step, dt.float64), d)


ARANGE = Op("arange", _arange_infer, _arange_expand)


@only_torch()
def arange(*args: Any, out: Tensor | None = None, dtype: Dtype | None = None, layout: Any = None, device: Any = None,
           requires_grad: bool = False, pin_memory: bool = False, **kwargs: Any) -> Tensor:  # fmt: skip
    """Numbers from start (0) to end, without end, in steps.

    Shape: (ceil((end - start) / step),). int64 where all are integers, else the default dtype.

    >>> import facula as torch
    >>> torch.arange(2, 8, 2)
    tensor([2, 4, 6])
    >>> torch.arange(3.0)
    tensor([0., 1., 2.])
    """
    names = (
        ("end",)
        if len(args) == 1 and "start" not in kwargs and "end" not in kwargs
        else ("start", "end", "step")
    )
    given = {**dict(zip(names, args)), **kwargs}
    start, end, step = given.get("start", 0), given.get("end"), given.get("step", 1)
    start, end, step = (x.item() if isinstance(x, Tensor) else x for x in (start, end, step))
    if not given:
        raise TypeError("arange() received an invalid combination of arguments - got ()")
    for place, (arg, x) in enumerate((("end", end), ("start", start), ("step", step))):
        if not isinstance(x, (*NUMBERS, np.generic)):
            at = "" if place else " (position 1)"
            raise TypeError(
                f"arange(): argument '{arg}'{at} must be Number, not {type(x).__name__}"
            )
    if step == 0 or step != step:
        raise RuntimeError("step must be nonzero")
    if not all(map(math.isfinite, (start, end))):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (step > 0 and end < start) or (step < 0 and end > start):
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    dtype = dtype_of(dtype, out)
    if dtype is None:
        floats = any(isinstance(x, (float, np.floating)) for x in (start, end, step))
        dtype = dt.default_dtype() if floats else dt.int64
    if dtype is dt.int64:  # the narrower ones count with the numbers as they were given
        if int(step) == 0:
            raise ValueError("step must be nonzero")
        start, end, step = int(start), int(end), int(step)
    count = max(0, math.ceil((end - start) / step))
    if count >= 1 << 63:
        raise RuntimeError("invalid size, possible overflow?")
    number = int if dtype.kind in "iub" else float
    start, step = number(start), number(step)
    m = meta_of(dtype, (count,), device_of(device, out))
    if m.device is META:
        return finish(to_out(empty_meta(m), out), requires_grad)
    return finish(to_out(apply(ARANGE, (), (m,), (start, step)), out), requires_grad)


def _linspace_values(start: float, end: float, steps: int, d: Dtype) -> np.ndarray:
    """PyTorch computes from both ends, in d's own arithmetic."""
    if d.kind in "iu":
        start, end = int(start), int(end)  # what goes into a whole number first
        step = (float(end) - float(start)) / (steps - 1) if steps > 1 else 0.0
        i = np.arange(steps)
        half = max(steps // 2, 1)  # a single number is the start
        low = np.trunc(start + (step * i).astype(np.float32)).astype(np.int64)
        high = np.trunc(end - (step * (steps - 1 - i)).astype(np.float32)).astype(np.int64)
        return np.where(i < half, low, high)
    kind = np.complex128 if d.kind == "c" else np.float64 if d is dt.float64 else np.float32
    a, b = kind(start), kind(end)
    step = (b - a) / kind(steps - 1) if steps > 1 else kind(0)
    i = np.arange(steps)
    half = max(steps // 2, 1)  # a single number is the start
    if kind is np.float32:
        # one rounding per element, as a fused multiply-add does
        low = (np.float64(a) + np.float64(step) * i).astype(np.float32)
        high = (np.float64(b) - np.float64(step) * (steps - 1 - i)).astype(np.float32)
    else:
        low, high = a + step * i, b - step * (steps - 1 - i)
    return np.where(i < half, low, high)


def _linspace_expand(g: Any, start: Any, end: Any, step: Any, m: Meta) -> Any:
    """The same as `_linspace_values`, for floats; PyTorch's float64 is multiplied and added at once."""
    i = g.iota(m.shape, 0)
    up = g.cast(i, dt.float64)
    down = g.cast(m.numel - 1 - i, dt.float64)
    start, end, step = (g.cast(v, dt.float64) for v in (start, end, step))
    half = max(m.numel // 2, 1)
    line = g.where(i < half, g.fma(step, up, start), g.fma(-step, down, end))
    return g.cast(line if m.dtype is dt.float64 else g.cast(line, dt.float32), m.dtype)


LINSPACE = Op("linspace", lambda m: m, _linspace_expand)


def _line(name: str, transform: Any) -> None:
    def function(start: Any, end: Any, steps: int, *args: Any, out: Tensor | None = None, dtype: Dtype | None = None,
                 layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
                 base: float = 10.0) -> Tensor:  # fmt: skip
        if args:
            base = args[0]
        if any_on_meta((start, end)):  # what they are does not matter
            device = META if device is None else device
            start, end = (
                (0j if x.is_complex() else 0.0) if isinstance(x, Tensor) else x
                for x in (start, end)
            )
        start, end = (x.item() if isinstance(x, Tensor) else x for x in (start, end))
        for x in (start, end):
            number_type(x)
        if not hasattr(steps, "__index__"):
            raise TypeError(f"{name}(): argument 'steps' must be int, not {type(steps).__name__}")
        if steps < 0:
            raise RuntimeError("number of steps must be non-negative")
        is_complex = isinstance(start, complex) or isinstance(end, complex)
        d = dtype_of(dtype, out) or (
            dt.default_dtype().to_complex() if is_complex else dt.default_dtype()
        )
        m = meta_of(d, (steps,), device_of(device, out))
        if m.device is META:
            return finish(to_out(empty_meta(m), out), requires_grad)
        if name == "linspace" and d.kind == "f" and steps > 1 and d.itemsize > 1:
            kind = np.float64 if d is dt.float64 else np.float32
            a, b = kind(start), kind(end)
            ends = (float(a), float(b), float((b - a) / kind(steps - 1)))
            return finish(to_out(apply(LINSPACE, (), (m,), ends), out), requires_grad)
        values = transform(start, end, steps, d, base)
        return finish(
            to_out(adopt_array(np.ascontiguousarray(encode(values, d)), d), out), requires_grad
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`steps` numbers from start to end, both included ({name})."
    TORCH[name] = function


def _logspace_values(start: Any, end: Any, steps: int, d: Dtype, base: float) -> np.ndarray:
    i = np.arange(steps)
    if d.kind in "iu":
        start, end = int(start), int(end)
    step = (end - start) / (steps - 1) if steps > 1 else 0
    half = max(steps // 2, 1)  # a single number is the start
    exponent = np.where(i < half, start + step * i, end - step * (steps - 1 - i))
    return np.power(np.complex128(base) if d.kind == "c" else np.float64(base), exponent)


_line("linspace", lambda start, end, steps, d, base: _linspace_values(start, end, steps, d))
_line("logspace", _logspace_values)


@only_torch()
def eye(n: int, m: int | None = None, *, out: Tensor | None = None, dtype: Dtype | None = None, layout: Any = None,
        device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Ones on the diagonal, zeros elsewhere.

    Shape: (n, m), or (n, n).

    >>> import facula as torch
    >>> torch.eye(2, 3)
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    for size in (n, m):
        if size is not None and not hasattr(size, "__index__"):
            raise wrong_type(size, "int")
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(
            f"n must be greater or equal to 0, got {n}"
            if n < 0
            else f"m must be greater or equal to 0, got {m}"
        )
    d = dtype_of(dtype, out) or dt.default_dtype()
    dev = device_of(device, out)
    if dev is META:
        return finish(
            to_out(empty_meta(meta_of(d, (n, n if m is None else m), META)), out), requires_grad
        )
    return finish(
        to_out(apply(EYE, (), (meta_of(d, (n, n if m is None else m)),)), out), requires_grad
    )


EYE = Op(
    "eye", lambda m: m, lambda g, m: g.cast(g.iota(m.shape, 0).eq(g.iota(m.shape, 1)), m.dtype)
)


__all__ = ["LOCAL", "device_of", "filled", "from_numpy", "tensor"]
