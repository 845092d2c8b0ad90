"""Methods whose arguments are named otherwise than the functions', and rare methods of Tensor."""

from __future__ import annotations

import importlib
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.formats import LAYOUTS
from facula.ops.registry import TORCH, method, only_method
from facula.tensor import Tensor


@only_method("split")
def _split(self: Tensor, split_size: Any, dim: int = 0) -> tuple:
    """Parts along a dim: of one size, or of given sizes."""
    return TORCH["split"](self, split_size, dim)


@only_method("unflatten")
def _unflatten(self: Tensor, dim: int, sizes: Any) -> Tensor:
    """One dim as several."""
    return TORCH["unflatten"](self, dim, sizes)


@only_method("norm")
def _norm(
    self: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    """A norm over some dims or all."""
    return TORCH["norm"](self, p, dim, keepdim, dtype=dtype)


@only_method("unique")
def _unique(self: Tensor, sorted: bool = True, return_inverse: bool = False,
            return_counts: bool = False, dim: int | None = None) -> Any:  # fmt: skip
    """Different elements (or slices along dim), with inverse indices and counts if asked for."""
    return TORCH["unique"](self, sorted, return_inverse, return_counts, dim)


@only_method("unique_consecutive")
def _unique_consecutive(self: Tensor, return_inverse: bool = False, return_counts: bool = False,
                        dim: int | None = None) -> Any:  # fmt: skip
    """Elements without those that equal their predecessor."""
    return TORCH["unique_consecutive"](self, return_inverse, return_counts, dim)


@only_method("stft")
def _stft(self: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
          window: Tensor | None = None, center: bool = True, pad_mode: str = "reflect",
          normalized: bool = False, onesided: bool | None = None, return_complex: bool | None = None,
          align_to_window: bool | None = None) -> Tensor:  # fmt: skip
    """Spectra of overlapping windows: `torch.stft`."""
    return TORCH["stft"](self, n_fft, hop_length, win_length, window, center, pad_mode, normalized,
                         onesided, return_complex, align_to_window)  # fmt: skip


@only_method("istft")
def _istft(self: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
           window: Tensor | None = None, center: bool = True, normalized: bool = False,
           onesided: bool | None = None, length: int | None = None,
           return_complex: bool = False) -> Tensor:  # fmt: skip
    """A signal from its spectra: `torch.istft`."""
    return TORCH["istft"](self, n_fft, hop_length, win_length, window, center, normalized, onesided,
                          length, return_complex)  # fmt: skip


@method
def __floordiv__(self: Tensor, other: Any) -> Tensor:
    """self // other, rounded down."""
    return TORCH["floor_divide"](self, other)


@method
def __imatmul__(self: Tensor, other: Tensor) -> Tensor:
    """self @ other, as a new tensor: PyTorch has no in-place product either."""
    return self @ other  # type: ignore[operator]


@only_method("const_data_ptr")
def _const_data_ptr(self: Tensor) -> int:
    """The address of the first element, for reading."""
    return self.data_ptr()


@only_method("dequantize")
def _dequantize(self: Tensor) -> Tensor:
    """self as float32."""
    return self.to(dt.float32)  # type: ignore[attr-defined]


def _rare(name: str) -> Any:
    """A function that is loaded when first called."""
    return getattr(importlib.import_module("facula"), name)


@only_method("hash_tensor")
def _hash_tensor(self: Tensor, dim: Any = (), *, keepdim: bool = False, mode: int = 0) -> Tensor:
    """The exclusive or of the elements' bits: `torch.hash_tensor`."""
    return _rare("hash_tensor")(self, dim, keepdim=keepdim, mode=mode)


@only_method("slice_inverse")
def _slice_inverse(self: Tensor, src: Tensor, dim: int = 0, start: int | None = None,
                   end: int | None = None, step: int = 1) -> Tensor:  # fmt: skip
    """A view of self's memory with the geometry of src."""
    return _rare("slice_inverse")(self, src, dim, start, end, step)


@only_method("to_sparse")
def _to_sparse(self: Tensor, sparse_dim: Any = None, *, layout: Any = None, blocksize: Any = None,
               dense_dim: int | None = None) -> Any:  # fmt: skip
    """The elements that are not zero, as a sparse tensor: `torch.sparse_coo_tensor`."""
    room = importlib.import_module("facula.sparse.compressed")
    kind = room.layout_name(layout)
    if kind != "coo":
        return room.from_dense(self, kind, blocksize, dense_dim)
    return importlib.import_module("facula.sparse.coo").from_dense(self, sparse_dim)


@only_method("to_sparse_coo")
def _to_sparse_coo(self: Tensor) -> Any:
    """As `to_sparse`."""
    return importlib.import_module("facula.sparse.coo").from_dense(self)


def _to_compressed(name: str, blocked: bool) -> None:
    def run(self: Tensor, blocksize: Any = None, dense_dim: int | None = None) -> Any:
        return self.to_sparse(
            layout=LAYOUTS["sparse_" + name], blocksize=blocksize, dense_dim=dense_dim
        )  # type: ignore[attr-defined]

    def plain(self: Tensor, dense_dim: int | None = None) -> Any:
        return run(self, None, dense_dim)

    made = run if blocked else plain
    made.__name__ = made.__qualname__ = f"to_sparse_{name}"
    made.__doc__ = f"The elements that are not zero, in layout `torch.sparse_{name}`."
    only_method(made.__name__)(made)


for _name in ("csr", "csc", "bsr", "bsc"):
    _to_compressed(_name, _name[0] == "b")


def _of_sparse(name: str, text: str) -> None:
    def run(self: Tensor) -> Any:
        raise RuntimeError(f"{name} expected {text} tensor layout but got Strided")

    run.__name__ = run.__qualname__ = name
    run.__doc__ = "Of sparse tensors only."
    setattr(Tensor, name, run)


_of_sparse("coalesce", "sparse coordinate")
_of_sparse("indices", "sparse coordinate")
_of_sparse("values", "sparse")
_of_sparse("crow_indices", "sparse row compressed")
_of_sparse("col_indices", "sparse row compressed")
_of_sparse("ccol_indices", "sparse column compressed")
_of_sparse("row_indices", "sparse column compressed")


# what was removed from PyTorch, and what other devices would need

_REMOVED = {
    "solve": "`torch.solve` is deprecated in favor of `torch.linalg.solve`. `torch.linalg.solve` has "
    "its arguments reversed and does not return the LU factorization.\n"
    "X = torch.solve(B, A).solution should be replaced with:\nX = torch.linalg.solve(A, B)",
    "lstsq": "`torch.lstsq` is deprecated in favor of `torch.linalg.lstsq`.\n"
    "`torch.linalg.lstsq` has reversed arguments and does not return the QR decomposition.\n"
    "X = torch.linalg.lstsq(A, B).solution",
    "eig": "`torch.linalg.eig` returns complex tensors of dtype `cfloat` or `cdouble`.\n"
    "L, V = torch.eig(A, eigenvectors=True) should be replaced with:\n"
    "L_complex, V_complex = torch.linalg.eig(A)",
    "symeig": "The default behavior has changed from using the upper triangular portion of the "
    "matrix by default to using the lower triangular portion.\n"
    "L, V = torch.symeig(A, eigenvectors=True) should be replaced with:\n"
    "L, V = torch.linalg.eigh(A, UPLO='U' if upper else 'L')",
}


def _removed(name: str) -> RuntimeError:
    return RuntimeError(
        f"This function was deprecated since version 1.9 and is now removed. {_REMOVED[name]}"
    )


@only_method("solve")
def _solve(self: Tensor, other: Any) -> Any:
    """Removed: use torch.linalg.solve."""
    raise _removed("solve")


@only_method("lstsq")
def _lstsq(self: Tensor, other: Any) -> Any:
    """Removed: use torch.linalg.lstsq."""
    raise _removed("lstsq")


@only_method("eig")
def _eig(self: Tensor, eigenvectors: bool = False) -> Any:
    """Removed: use torch.linalg.eig."""
    raise _removed("eig")


@only_method("symeig")
def _symeig(self: Tensor, eigenvectors: bool = False) -> Any:
    """Removed: use torch.linalg.eigh."""
    raise _removed("symeig")


def _no_device(kind: str, error: type, text: str) -> None:
    def run(
        self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None
    ) -> Tensor:
        raise error(text)

    run.__name__ = run.__qualname__ = kind
    run.__doc__ = "Not offered: facula has no such device."
    setattr(Tensor, kind, run)


_no_device("xpu", AssertionError, "Torch not compiled with XPU enabled")
_no_device("mtia", AssertionError, "Torch not compiled with MTIA enabled.")
_no_device("ipu", RuntimeError, "PyTorch is not linked with support for ipu devices")


def _no_dispatch(func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
    raise NotImplementedError(
        "__torch_dispatch__: facula has no dispatcher below its operators; use __torch_function__"
    )


Tensor.__torch_dispatch__ = staticmethod(_no_dispatch)  # type: ignore[attr-defined]
Tensor.grad_dtype = property(lambda self: self.meta.dtype)  # type: ignore[attr-defined]
Tensor._backward_hooks = property(lambda self: self.__dict__.get("_hooks"))  # type: ignore[attr-defined]
