"""Stored memory, at the level of NumPy, and the names that checkpoints have for its types."""

import numpy as np

import facula as torch

# The storage classes that files name, and the dtypes they stand for. Every other dtype is stored
# as an UntypedStorage, with the dtype named by the tensor.
STORAGE_DTYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
DTYPE_STORAGES = {dtype: storage for storage, dtype in STORAGE_DTYPES.items()}
QUANTIZED_STORAGES = (
    "QInt8Storage",
    "QInt32Storage",
    "QUInt8Storage",
    "QUInt4x2Storage",
    "QUInt2x4Storage",
)

# Every dtype a file may name: bytes per element, bytes per number (what byte order is about).
DTYPE_SIZES = {
    "float64": (8, 8),
    "float32": (4, 4),
    "float16": (2, 2),
    "bfloat16": (2, 2),
    "float8_e4m3fn": (1, 1),
    "float8_e4m3fnuz": (1, 1),
    "float8_e5m2": (1, 1),
    "float8_e5m2fnuz": (1, 1),
    "float8_e8m0fnu": (1, 1),
    "float4_e2m1fn_x2": (1, 1),
    "complex32": (4, 2),
    "complex64": (8, 4),
    "complex128": (16, 8),
    "int64": (8, 8),
    "int32": (4, 4),
    "int16": (2, 2),
    "int8": (1, 1),
    "uint64": (8, 8),
    "uint32": (4, 4),
    "uint16": (2, 2),
    "uint8": (1, 1),
    "bool": (1, 1),
}


def dtype_name(dtype):
    """'float32' for torch.float32."""
    return str(dtype).rpartition(".")[2]


def named_dtype(name):
    """The dtype with this name, or None where there is none."""
    return getattr(torch, name, None) if name in DTYPE_SIZES else None


class StorageType:
    """What a global like `torch.FloatStorage` means in a file."""

    def __init__(self, name):
        self.name = name
        self.dtype_name = STORAGE_DTYPES.get(name)  # None: untyped, counted in bytes
        self.itemsize = DTYPE_SIZES[self.dtype_name][0] if self.dtype_name else 1

    def __repr__(self):
        return f"torch.{self.name}"


class StorageRecord:
    """The memory of one stored storage: bytes, the dtype they are counted in, and a device."""

    __slots__ = ("cache", "data", "device", "dtype_name")

    def __init__(self, data, dtype_name, device="cpu"):
        self.data = data
        self.dtype_name = dtype_name
        self.device = device
        self.cache = None  # what the adapter has made of it, shared by all its tensors

    @property
    def dtype(self):
        return named_dtype(self.dtype_name) if self.dtype_name else torch.uint8

    def nbytes(self):
        return self.data.nbytes

    def __len__(self):
        itemsize = DTYPE_SIZES[self.dtype_name][0] if self.dtype_name else 1
        return self.data.nbytes // itemsize

    def to_device(self, device):
        """The same memory, meant for another device."""
        record = StorageRecord(self.data, self.dtype_name, str(device))
        return record

    def cpu(self):
        return self.to_device("cpu")

    def cuda(self, device=None):
        return self.to_device("cuda" if device is None else f"cuda:{device}")


def swap_bytes(data, dtype_name):
    """Turns the bytes of every number around, in place."""
    width = DTYPE_SIZES[dtype_name][1]
    if width > 1:
        numbers = data[: data.nbytes // width * width].view(np.dtype(f"u{width}"))
        numbers.byteswap(inplace=True)
