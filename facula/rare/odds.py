"""Rare functions of `torch` with nothing in common but that they are rare."""

from __future__ import annotations

import enum
import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import facula as torch
from facula.ops.registry import to_out

Tensor = torch.Tensor

# what this build has: linear algebra and Fourier transforms are NumPy's; there is no MKL, no OpenMP
has_lapack = has_spectral = True
has_mkl = has_openmp = False
legacy_contiguous_format = torch.contiguous_format


class FatalError(Exception):
    """An error after which PyTorch cannot go on; facula never raises it."""


class Tag(enum.Enum):
    """What PyTorch notes about operators of its dispatcher."""

    core = 0
    cudagraph_unsafe = 1
    data_dependent_output = 2
    dynamic_output_shape = 3
    flexible_layout = 4
    generated = 5
    inplace = 6
    inplace_view = 7
    maybe_aliasing_or_mutating = 8
    needs_contiguous_strides = 9
    needs_exact_strides = 10
    needs_fixed_stride_order = 11
    nondeterministic_bitwise = 12
    nondeterministic_seeded = 13
    out = 14
    out_variant = 15
    pointwise = 16
    pt2_compliant_tag = 17
    reduction = 18
    view_copy = 19


def cond(pred: bool | int | float | Tensor, true_fn: Callable, false_fn: Callable,
         operands: tuple | list = ()) -> Any:  # fmt: skip
    """true_fn(*operands) or false_fn(*operands), as pred says.

    >>> import facula as torch
    >>> torch.cond(torch.tensor(False), torch.sin, torch.cos, (torch.tensor(0.),))
    tensor(1.)
    """
    if isinstance(pred, Tensor) and pred.numel() != 1:
        raise RuntimeError(f"Expected pred to be bool or single-element tensor, but got {pred}.")
    if not callable(true_fn) or not callable(false_fn):
        raise RuntimeError("Expect both branches to be callable.")
    if not isinstance(operands, (tuple, list)):
        raise RuntimeError(
            "Expect operands to be a tuple of possibly nested dict/list/tuple that only consists of "
            f"tensor leaves, but got {operands}."
        )
    return (true_fn if pred else false_fn)(*operands)


def hash_tensor(input: Tensor, dim: Any = (), *, keepdim: bool = False, mode: int = 0,
                out: Tensor | None = None) -> Tensor:  # fmt: skip
    """The exclusive or of the elements' bits, floats as double: uint64.

    >>> import facula as torch
    >>> torch.hash_tensor(torch.tensor([1, 2, 7]))
    tensor(4, dtype=torch.uint64)
    """
    if mode:
        raise RuntimeError(f"hash_tensor: Unknown mode {mode}")
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if input.numel() == 0 and not dims:
        raise RuntimeError(
            "hash_tensor: Expected reduction dim to be specified for input.numel() == 0. Specify the "
            "reduction dim with the 'dim' argument."
        )
    wide = input.detach().to(torch.float64 if input.is_floating_point() else torch.int64)
    axes = tuple(d % max(wide.dim(), 1) for d in dims) or tuple(range(wide.dim()))
    if wide.is_meta:
        shape = wide.sum(axes, keepdim).shape
        return to_out(torch.empty(shape, dtype=torch.uint64, device="meta"), out)
    bits = np.ascontiguousarray(wide.numpy()).view(np.uint64).reshape(tuple(wide.shape))
    if wide.dim():
        bits = np.bitwise_xor.reduce(bits, axis=axes, keepdims=keepdim)
    return to_out(torch.from_numpy(np.array(bits, np.uint64)), out)


def lobpcg(A: Tensor, k: int | None = None, B: Tensor | None = None, X: Tensor | None = None,
           n: int | None = None, iK: Tensor | None = None, niter: int | None = None,
           tol: float | None = None, largest: bool | None = None, method: str | None = None,
           tracker: None = None, ortho_iparams: dict[str, int] | None = None,
           ortho_fparams: dict[str, float] | None = None,
           ortho_bparams: dict[str, bool] | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(values, vectors): the k largest or smallest eigenvalues of A x = l B x, A and B symmetric.

    All eigenvalues are computed and k of them kept, so start vectors and settings of the iteration
    make no difference.
    """
    m = A.shape[-1]
    count = k if k is not None else (1 if X is None else X.shape[-1])
    if m < 3 * count:
        raise ValueError(
            f"LPBPCG algorithm is not applicable when the number of A rows (={m}) is smaller than 3 x "
            f"the number of requested eigenpairs (={count})"
        )
    if X is None:  # PyTorch's first guess is drawn: what is drawn afterwards must be the same
        torch.randn((*A.shape[:-2], m, count if n is None else n), dtype=A.dtype)
    if B is None:
        values, vectors = torch.linalg.eigh(A)
    else:
        L = torch.linalg.cholesky(B)
        half = torch.linalg.solve_triangular(L, A, upper=False)
        inner = torch.linalg.solve_triangular(L, half.mT, upper=False)
        values, y = torch.linalg.eigh((inner + inner.mT) / 2)
        vectors = torch.linalg.solve_triangular(L.mT, y, upper=True)
    if largest is False:
        return values[..., :count], vectors[..., :count]
    return values.flip(-1)[..., :count], vectors.flip(-1)[..., :count]


def embedding_renorm_(input: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> Tensor:
    """Scales the rows of input that indices name, in place, where their norm exceeds max_norm."""
    rows = indices.reshape(-1).unique()
    with torch.no_grad():
        found = input[rows]
        norms = torch.linalg.vector_norm(found, norm_type, dim=-1, keepdim=True)
        scale = torch.where(norms > max_norm, max_norm / (norms + 1e-7), torch.ones_like(norms))
        input[rows] = found * scale
    return input


def batch_norm_update_stats(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
                            momentum: float) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(mean, variance) of each channel of input (batch, channels, ...); running ones are updated."""
    dims = [0, *range(2, input.dim())]
    n = input.numel() // input.shape[1]
    var, mean = torch.var_mean(input.detach(), dims, correction=0)
    for kept, seen in ((running_mean, mean), (running_var, var * (n / max(n - 1, 1)))):
        if kept is not None:
            kept.copy_((1 - momentum) * kept + momentum * seen)
    return mean, var


def mkldnn_convolution(input: Tensor, weight: Tensor, bias: Tensor | None, padding: Any, stride: Any,
                       dilation: Any, groups: int) -> Tensor:  # fmt: skip
    """A convolution, its arguments in oneDNN's order."""
    zeros = [0] * len(padding)
    return torch.convolution(input, weight, bias, stride, padding, dilation, False, zeros, groups)


def slice_inverse(input: Tensor, src: Tensor, dim: int = 0, start: int | None = None,
                  end: int | None = None, step: int = 1) -> Tensor:  # fmt: skip
    """A view of input's memory with the geometry of src: what a slice was taken from."""
    return input.as_strided(src.shape, src.stride(), src.storage_offset())


def view_as_real_copy(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`view_as_real` with memory of its own."""
    made = torch.view_as_real(input).clone()
    return made if out is None else out.copy_(made)


def view_as_complex_copy(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`view_as_complex` with memory of its own."""
    made = torch.view_as_complex(input).clone()
    return made if out is None else out.copy_(made)


def from_file(filename: str, shared: bool | None = None, size: int | None = 0, *, dtype: Any = None,
              layout: Any = None, device: Any = None, pin_memory: bool | None = None,
              requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A vector of `size` elements on the memory of a file; with shared, writing changes the file."""
    dtype = dtype or torch.get_default_dtype()
    count = int(size or 0)
    if count == 0:
        return torch.empty(0, dtype=dtype)
    length = count * dtype.itemsize
    if shared:
        with open(filename, "ab") as file:
            if file.tell() < length:
                file.truncate(length)
    data = np.memmap(filename, np.uint8, "r+" if shared else "c", 0, (length,))
    return torch.frombuffer(memoryview(data), dtype=dtype, requires_grad=requires_grad)


def get_device_module(device: Any = None) -> Any:
    """The module of a device's functions: `torch.cpu`, `torch.cuda` ..."""
    if device is None:
        kind = torch.get_default_device().type
    elif isinstance(device, (str, torch.device)):
        kind = torch.device(device).type
    else:
        raise RuntimeError(f"Invalid value of device '{device}', expect torch.device, str, or None")
    try:
        return importlib.import_module("facula." + kind)
    except ModuleNotFoundError:
        raise RuntimeError(
            f"Device '{kind}' does not have a corresponding module registered as 'torch.{kind}'."
        ) from None


def cudnn_is_acceptable(tensor: Tensor) -> bool:
    """False: cuDNN works on GPUs."""
    return False


def init_num_threads() -> None:
    """Nothing: the number of threads is decided when they start."""


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly mode looks for nan."""
    return bool(importlib.import_module("facula.autograd.anomaly").is_check_nan_enabled())


def _checked(size: Any, low: int, high: int) -> None:
    if low > high:
        raise RuntimeError(
            f"Max must be greater than or equal to min, but got min = {low} and max = {high}"
        )
    if not low <= size <= high:
        raise RuntimeError(f"Invalid value range for {size} between [{low}, {high}].")


def sym_constrain_range(size: Any, *, min: int | None = None, max: int | None = None) -> None:
    """Checks that size lies in [min, max]; a tracer would also take note."""
    _checked(size, -sys.maxsize - 1 if min is None else min, sys.maxsize if max is None else max)


def sym_constrain_range_for_size(
    size: Any, *, min: int | None = None, max: int | None = None
) -> None:
    """The same for sizes of dims, which are never negative."""
    low = 0 if min is None else min
    if max is not None and max <= 2:
        raise RuntimeError(
            f"Max value to constrain_range_for_size must be greater than 2. got: {max}"
        )
    _checked(size, low, sys.maxsize if max is None else max)


def sym_fresh_size(expr: Any) -> Any:
    """expr as a number: sizes are known."""
    return torch.tensor(expr).item()


def thread_safe_generator() -> None:
    """None: worker threads with generators of their own are not offered; workers are processes."""
    return None
