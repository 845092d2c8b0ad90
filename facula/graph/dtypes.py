"""Element types and PyTorch's promotion rules."""

from __future__ import annotations

import numpy as np


class dtype:  # PyTorch's name
    """An element type, such as `facula.float32`.

    `storage` is the NumPy type the bytes are kept in; bfloat16 and the float8 types, which NumPy
    lacks, are kept as unsigned integers.
    """

    __slots__ = ("bits", "code", "is_complex", "is_floating_point", "is_signed", "itemsize",
                 "kind", "mantissa", "name", "short", "storage")  # fmt: skip

    name: str
    kind: str
    storage: np.dtype
    itemsize: int
    bits: int
    mantissa: int
    is_floating_point: bool
    is_complex: bool
    is_signed: bool
    short: str
    code: int

    def __new__(cls) -> dtype:
        raise TypeError("cannot create 'torch.dtype' instances")

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple:
        return by_name, (self.name,)

    def to_complex(self) -> dtype:
        """The complex type with parts of this width."""
        return {"float16": complex32, "bfloat16": complex64, "float32": complex64,
                "float64": complex128}.get(self.name, self)  # fmt: skip

    def to_real(self) -> dtype:
        """The type of a complex type's parts."""
        return {"complex32": float16, "complex64": float32, "complex128": float64}.get(
            self.name, self
        )


DTYPES: dict[str, dtype] = {}
OPAQUE: dict[str, dtype] = {}  # types that only have a name and a size: quantized ones and bits


def by_name(name: str) -> dtype:
    """The dtype with this name."""
    return DTYPES[name] if name in DTYPES else OPAQUE[name]


def _dtype(name: str, kind: str, storage: str, mantissa: int = 0, short: str = "") -> dtype:
    """Makes a dtype; kind: b bool, u unsigned, i signed, f floating, c complex, o opaque."""
    d = object.__new__(dtype)
    d.name, d.kind, d.mantissa, d.short = name, kind, mantissa, short or name
    d.storage = np.dtype(storage)
    d.itemsize = d.storage.itemsize
    d.bits = 8 * d.itemsize
    d.is_floating_point = kind == "f"
    d.is_complex = kind == "c"
    d.is_signed = kind in "ifc" or (kind == "o" and name.startswith("int"))
    d.code = len(DTYPES) + len(OPAQUE)
    (OPAQUE if kind == "o" else DTYPES)[name] = d
    return d


uint8 = _dtype("uint8", "u", "uint8", short="Byte")
int8 = _dtype("int8", "i", "int8", short="Char")
int16 = _dtype("int16", "i", "int16", short="Short")
int32 = _dtype("int32", "i", "int32", short="Int")
int64 = _dtype("int64", "i", "int64", short="Long")
float16 = _dtype("float16", "f", "float16", 10, "Half")
float32 = _dtype("float32", "f", "float32", 23, "Float")
float64 = _dtype("float64", "f", "float64", 52, "Double")
complex32 = _dtype("complex32", "c", "uint32", 10, "ComplexHalf")
complex64 = _dtype("complex64", "c", "complex64", 23, "ComplexFloat")
complex128 = _dtype("complex128", "c", "complex128", 52, "ComplexDouble")
bool_ = _dtype("bool", "b", "bool", short="Bool")
bfloat16 = _dtype("bfloat16", "f", "uint16", 7, "BFloat16")
uint16 = _dtype("uint16", "u", "uint16", short="UInt16")
uint32 = _dtype("uint32", "u", "uint32", short="UInt32")
uint64 = _dtype("uint64", "u", "uint64", short="UInt64")
float8_e4m3fn = _dtype("float8_e4m3fn", "f", "uint8", 3, "Float8_e4m3fn")
float8_e5m2 = _dtype("float8_e5m2", "f", "uint8", 2, "Float8_e5m2")
float8_e4m3fnuz = _dtype("float8_e4m3fnuz", "f", "uint8", 3, "Float8_e4m3fnuz")
float8_e5m2fnuz = _dtype("float8_e5m2fnuz", "f", "uint8", 2, "Float8_e5m2fnuz")
float8_e8m0fnu = _dtype("float8_e8m0fnu", "f", "uint8", 0, "Float8_e8m0fnu")

for _name, _size in {
    **{f"{_sign}int{_bits}": 8 for _sign in ("", "u") for _bits in range(1, 8)},
    "bits8": 8, "bits16": 16, "bits1x8": 8, "bits2x4": 8, "bits4x2": 8, "qint8": 8, "quint8": 8,
    "qint32": 32, "quint2x4": 8, "quint4x2": 8, "float4_e2m1fn_x2": 8,
}.items():  # fmt: skip
    _dtype(_name, "o", f"uint{_size}")

ALIASES = {
    "float": float32, "double": float64, "half": float16, "short": int16, "int": int32,
    "long": int64, "cfloat": complex64, "cdouble": complex128, "chalf": complex32,
    "bit": OPAQUE["uint1"],
}  # fmt: skip

_FROM_NUMPY = {
    np.dtype(d.name): d
    for d in (uint8, int8, int16, int32, int64, float16, float32, float64, complex64, complex128,
              bool_, uint16, uint32, uint64)
}  # fmt: skip


def from_numpy(d: np.dtype) -> dtype:
    """The dtype of a NumPy array's elements; TypeError where there is none."""
    found = _FROM_NUMPY.get(np.dtype(d).newbyteorder("="))
    if found is None:
        raise TypeError(
            f"can't convert np.ndarray of type {np.dtype(d).type.__module__}."
            f"{np.dtype(d).type.__name__}. The only supported types are: float64, float32, "
            "float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, uint16, "
            "uint8, and bool."
        )
    return found


_INT_ORDER = [uint8, int8, int16, int32, int64]
_COMPLEX_ORDER = [complex32, complex64, complex128]


def _promote(a: dtype, b: dtype) -> dtype:
    if a is b:
        return a
    for place, d in enumerate((a, b), 1):
        _need_dtype("promote_types", f"type{place}", place, d)
    if a.kind == "o" or b.kind == "o":
        raise RuntimeError(f"Promotion for {a} and {b} is not supported")
    if a.kind == "b":
        return b
    if b.kind == "b":
        return a
    if a.kind == "c" or b.kind == "c":
        ca, cb = a.to_complex(), b.to_complex()
        known = [d for d in (ca, cb) if d.kind == "c"]
        return max(known, key=_COMPLEX_ORDER.index)
    if a.kind == "f" and b.kind == "f":
        if a.itemsize == 1 or b.itemsize == 1:
            raise RuntimeError(
                f"Promotion for Float8 Types is not supported, attempted to promote {a.short} "
                f"and {b.short}"
            )
        if {a, b} == {float16, bfloat16}:
            return float32
        return max(a, b, key=lambda d: d.itemsize)
    if a.kind == "f" or b.kind == "f":
        return a if a.kind == "f" else b
    if a.kind == "u" and b.kind == "u":
        return max(a, b, key=lambda d: d.itemsize)
    if {a, b} == {uint8, int8}:
        return int16
    unsigned, signed = (a, b) if a.kind == "u" else (b, a)
    if unsigned.kind == "u":
        if unsigned is not uint8:
            raise RuntimeError(
                "Promotion for uint16, uint32, uint64 types is not supported, attempted to promote "
                f"{a.short} and {b.short}"
            )
        return signed
    return max(a, b, key=_INT_ORDER.index)


_PROMOTED: dict[tuple[dtype, dtype], dtype] = {}


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest type that holds both, as `torch.promote_types` says."""
    found = _PROMOTED.get((a, b))
    if found is None:
        found = _PROMOTED[a, b] = _promote(a, b)
    return found


def _need_dtype(name: str, argument: str, place: int, d: object) -> None:
    if not isinstance(d, dtype):
        raise TypeError(
            f"{name}(): argument '{argument}' (position {place}) must be torch.dtype, not "
            f"{type(d).__name__}"
        )


def can_cast(source: dtype, target: dtype) -> bool:
    """Whether an in-place result of type `source` may be stored in `target`."""
    _need_dtype("can_cast", "from_", 1, source)
    _need_dtype("can_cast", "to", 2, target)
    if "o" in (source.kind, target.kind):
        return source is target
    order = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
    return order[source.kind] <= order[target.kind]


class _Default:
    dtype = float32


def default_dtype() -> dtype:
    """The type of Python floats, `torch.get_default_dtype()`."""
    return _Default.dtype


def set_default_dtype(d: dtype) -> None:
    """Sets the type that Python floats become."""
    text = "only floating-point types are supported as the default type"
    if not isinstance(d, dtype):
        raise TypeError(f"invalid dtype object: {text}")
    if not d.is_floating_point:
        raise TypeError(text)
    _Default.dtype = d


def of_number(x: object) -> dtype:
    """The type of a Python number where no tensor decides."""
    if isinstance(x, bool):
        return bool_
    if isinstance(x, int):
        return int64
    if isinstance(x, float):
        return _Default.dtype
    return _Default.dtype.to_complex()


class finfo:
    """Limits of a floating type, as `torch.finfo`."""

    def __init__(self, type: dtype | None = None) -> None:
        d = type or _Default.dtype
        _need_dtype("finfo", "type", 1, d)
        if not (d.is_floating_point or d.is_complex):
            raise TypeError(
                f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{d!r}'"
            )
        d = d.to_real()
        self.dtype = d.name
        self.bits = d.bits
        exp_bits = {"float16": 5, "bfloat16": 8, "float32": 8, "float64": 11,
                    "float8_e4m3fn": 4, "float8_e5m2": 5, "float8_e4m3fnuz": 4, "float8_e5m2fnuz": 5}.get(d.name, 8)  # fmt: skip
        bias = 2 ** (exp_bits - 1) - 1
        if d.name.endswith("fnuz"):
            bias += 1
        self.eps = 2.0**-d.mantissa
        self.tiny = self.smallest_normal = 2.0 ** (1 - bias)
        top = 2.0 - 2.0**-d.mantissa
        if d.name == "float8_e4m3fn":
            self.max = 448.0
        elif d.name == "float8_e4m3fnuz":
            self.max = 240.0
        elif d.name == "float8_e5m2fnuz":
            self.max = 57344.0
        else:
            self.max = top * 2.0**bias
        self.min = -self.max
        self.resolution = 10.0 ** -int(d.mantissa * 0.30103)

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer type, as `torch.iinfo`."""

    def __init__(self, type: dtype) -> None:
        if type.kind not in "ui":
            raise TypeError(
                f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{type!r}'"
            )
        info = np.iinfo(type.storage)
        self.dtype, self.bits = type.name, type.bits
        self.min, self.max = int(info.min), int(info.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


# bfloat16 and float8 live as bits; their values are computed as float32 -----------------


def bf16_to_f32(bits: np.ndarray) -> np.ndarray:
    """Values of bfloat16 bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def f32_to_bf16(x: np.ndarray) -> np.ndarray:
    """Bits of float32 values rounded to bfloat16, half to even."""
    x = np.asarray(x, dtype=np.float32, order="C")
    u = x.view(np.uint32)
    rounded = ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), np.uint16(0x7FC0), rounded)
