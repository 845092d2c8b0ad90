"""Discrete Fourier transforms: NumPy's, with PyTorch's arguments, and derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.formats import in_format
from facula.graph.meta import META, Meta, meta_of, wrap_dim
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.complexes import real_part
from facula.ops.create import device_of, finish
from facula.ops.host import host_op
from facula.ops.pointwise import need_tensors
from facula.ops.registry import NAMESPACES, TORCH, to_out, zeros_as
from facula.ops.without_values import on_meta
from facula.tensor import Tensor

FFT = NAMESPACES["fft"]
_NORMS = (None, "backward", "ortho", "forward")

# the three kinds of transforms, along several dims, without any scaling ------------------------------


def np_c2c(x: np.ndarray, dims: tuple[int, ...], forward: bool) -> np.ndarray:
    """Complex to complex."""
    fn = np.fft.fftn if forward else np.fft.ifftn
    got = fn(x, axes=dims, norm="backward" if forward else "forward")
    return got.astype(np.result_type(x.dtype, np.complex64))


def np_r2c(x: np.ndarray, dims: tuple[int, ...], forward: bool) -> np.ndarray:
    """Real to the half of the complex result that is not mirrored."""
    got = np.fft.rfftn(x, axes=dims, norm="backward")
    return got if forward else got.conj()


def np_c2r(x: np.ndarray, dims: tuple[int, ...], last: int, forward: bool) -> np.ndarray:
    """The half of a mirrored complex array to reals."""
    shape = [x.shape[d] for d in dims[:-1]] + [last]
    return np.fft.irfftn(x.conj() if forward else x, s=shape, axes=dims, norm="forward")


def _c2c_backward(n: Any, g: Tensor) -> Tensor:
    dims, forward = n.params
    return apply(C2C, (g,), (dims, not forward))


def _r2c_backward(n: Any, g: Tensor) -> Tensor:
    """Reals see the full transform of the half, padded with zeros."""
    dims, forward = n.params
    size = n.inst.ins[0].shape[dims[-1]]
    missing = size - g.meta.shape[dims[-1]]
    if missing:
        shape = [missing if i == dims[-1] else k for i, k in enumerate(g.meta.shape)]
        g = TORCH["cat"]([g, zeros_as(g, shape)], dims[-1])
    return real_part(apply(C2C, (g,), (dims, not forward)))


def _c2r_backward(n: Any, g: Tensor) -> Tensor:
    """Elements that stand for two count twice."""
    dims, last, forward = n.params
    got = apply(R2C, (g,), (dims, not forward))
    d, half = dims[-1], n.inst.ins[0].shape[dims[-1]]
    double = (
        last - half
    )  # mirrored elements besides the first (and, for even sizes, the middle) one
    if double > 0:
        line = TORCH["ones"](half, dtype=g.meta.dtype, device=g.meta.device)
        line[1 : 1 + double] = 2
        got = got * line.reshape([-1 if i == d else 1 for i in range(got.meta.ndim)])  # type: ignore[attr-defined]
    return got


def _c2c_infer(a: Meta, dims: tuple, forward: bool) -> Meta:
    return a.plain()


def _r2c_infer(a: Meta, dims: tuple, forward: bool) -> Meta:
    shape = [n // 2 + 1 if i == dims[-1] else n for i, n in enumerate(a.shape)]
    return meta_of(a.dtype.to_complex(), shape, a.device)


def _c2r_infer(a: Meta, dims: tuple, last: int, forward: bool) -> Meta:
    shape = [last if i == dims[-1] else n for i, n in enumerate(a.shape)]
    return meta_of(a.dtype.to_real(), shape, a.device)


def _outwards(m: Meta, dims: Iterable[int]) -> list[int]:
    return sorted(dims, key=lambda d: -m.strides[d])


def _transformed(a: Meta, out: Meta, dims: Sequence[int]) -> Meta:
    """As PyTorch's transforms lie: those dims innermost, the others in the order of the operand."""
    m = in_format(out, (*_outwards(a, set(range(a.ndim)) - set(dims)), *dims))
    return out if m.contiguous else m


def _c2c_lies(ins: tuple[Meta, ...], outs: tuple[Meta, ...], params: tuple) -> tuple[Meta, ...]:
    return (_transformed(ins[0], outs[0], _outwards(ins[0], params[0])),)


def _r2c_lies(ins: tuple[Meta, ...], outs: tuple[Meta, ...], params: tuple) -> tuple[Meta, ...]:
    *dims, last = params[0]
    return (_transformed(ins[0], outs[0], [*_outwards(ins[0], dims), last]),)


def _c2r_lies(ins: tuple[Meta, ...], outs: tuple[Meta, ...], params: tuple) -> tuple[Meta, ...]:
    *dims, last = params[0]
    a = ins[0]
    if dims:  # which PyTorch transforms first
        a = _transformed(a, a.plain(), _outwards(a, dims))
    return (_transformed(a, outs[0], [last]),)


C2C = host_op("fft_c2c", np_c2c, _c2c_infer, _c2c_backward, lies=_c2c_lies)
R2C = host_op("fft_r2c", np_r2c, _r2c_infer, _r2c_backward, lies=_r2c_lies)
C2R = host_op("fft_c2r", np_c2r, _c2r_infer, _c2r_backward, lies=_c2r_lies)

# arguments ---------------------------------------------------------------------------------------------


def _prepared(name: str, x: Tensor, want_complex: bool) -> Tensor:
    d = x.meta.dtype
    if d.kind in "iub":
        x, d = x.to(dt.default_dtype()), dt.default_dtype()  # type: ignore[attr-defined]
    if d.name in ("float16", "bfloat16", "complex32"):
        raise RuntimeError(f"Unsupported dtype {d.short}")
    return x.to(d.to_complex()) if want_complex and d.kind != "c" else x  # type: ignore[attr-defined]


def _check_norm(norm: str | None) -> None:
    if norm not in _NORMS:
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')


def _sizes(x: Tensor, s: Any, dim: Any) -> tuple[list[int], list[int]]:
    """(dims, their sizes) from s and dim."""
    n = x.meta.ndim
    s = None if s is None else [s] if isinstance(s, int) else list(s)
    if dim is not None:
        dims = [dim] if isinstance(dim, int) else list(dim)
        dims = [_dim(d, n) for d in dims]
        if len(set(dims)) != len(dims):
            raise RuntimeError("FFT dims must be unique")
    else:
        dims = list(range(n)) if s is None else list(range(n - len(s), n))
    if s is None:
        return dims, [x.meta.shape[d] for d in dims]
    if len(s) != len(dims):
        raise RuntimeError("When given, dim and shape arguments must have the same length")
    if dim is None and len(s) > n:
        raise RuntimeError(
            f"Got shape with {len(s)} values but input tensor only has {n} dimensions."
        )
    return dims, [x.meta.shape[d] if k == -1 else k for k, d in zip(s, dims)]


def _dim(d: int, n: int) -> int:
    return wrap_dim(d, n)


def _fitted(x: Tensor, dims: list[int], sizes: list[int]) -> Tensor:
    """x cut or padded with zeros to sizes along dims."""
    for d, k in zip(dims, sizes):
        if k < 1:
            raise RuntimeError(f"Invalid number of data points ({k}) specified")
        have = x.meta.shape[d]
        if have > k:
            x = x.narrow(d, 0, k)  # type: ignore[attr-defined]
        elif have < k:
            behind = x.meta.ndim - 1 - d
            x = TORCH["constant_pad_nd"](x, [0, 0] * behind + [0, k - have])
    return x


def _scaled(x: Tensor, norm: str | None, count: int, forward: bool) -> Tensor:
    norm = norm or "backward"
    if norm == "ortho":
        return x * (1 / count**0.5)
    divide = (norm == "forward") == forward
    return x * (1 / count) if divide and count != 1 else x


def _count(sizes: list[int]) -> int:
    n = 1
    for s in sizes:
        n *= s
    return n


def _c2c(name: str, x: Tensor, s: Any, dim: Any, norm: Any, forward: bool) -> Tensor:
    _check_norm(norm)
    single = name in ("fft", "ifft")  # PyTorch's are transforms of reals up to the last step
    x = _prepared(name, x, not single)
    dims, sizes = _sizes(x, s, dim)
    x = _prepared(name, _fitted(x, dims, sizes), True)
    if not dims:
        return x.clone()  # type: ignore[attr-defined]
    return _scaled(apply(C2C, (x,), (tuple(dims), forward)), norm, _count(sizes), forward)


def _r2c(name: str, x: Tensor, s: Any, dim: Any, norm: Any, forward: bool) -> Tensor:
    _check_norm(norm)
    if x.meta.dtype.kind == "c":
        raise RuntimeError(f"{name} expects a real input tensor, but got {x.meta.dtype.short}")
    x = _prepared(name, x, False)
    dims, sizes = _sizes(x, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    x = _fitted(x, dims, sizes)
    if forward:
        got = apply(R2C, (x,), (tuple(dims), True))
    else:
        got = apply(R2C, (x,), ((dims[-1],), False))
        if len(dims) > 1:
            got = apply(C2C, (got,), (tuple(dims[:-1]), False))
    return _scaled(got, norm, _count(sizes), forward)


def _c2r(name: str, x: Tensor, s: Any, dim: Any, norm: Any, forward: bool) -> Tensor:
    _check_norm(norm)
    x = _prepared(name, x, True)
    dims, sizes = _sizes(x, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    given = None if s is None else ([s] if isinstance(s, int) else list(s))[-1]
    last = 2 * (x.meta.shape[dims[-1]] - 1) if given is None or given == -1 else given
    if last < 1:
        raise RuntimeError(f"Invalid number of data points ({last}) specified")
    x = _fitted(x, dims, [*sizes[:-1], last // 2 + 1])
    if forward and len(dims) > 1:  # in two steps, as PyTorch's hfft2 and hfftn
        x, dims = apply(C2C, (x,), (tuple(dims[:-1]), True)), dims[-1:]
    got = apply(C2R, (x,), (tuple(dims), last, forward))
    return _scaled(got, norm, _count([*sizes[:-1], last]), forward)


_KINDS: dict[str, tuple[Callable, bool]] = {
    "fft": (_c2c, True), "ifft": (_c2c, False), "rfft": (_r2c, True), "ihfft": (_r2c, False),
    "irfft": (_c2r, False), "hfft": (_c2r, True),
}  # fmt: skip


def _publish(stem: str, kind: Callable, forward: bool) -> None:
    def one(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
            out: Tensor | None = None) -> Tensor:  # fmt: skip
        if not isinstance(dim, int):
            raise TypeError(f"fft_{stem}(): argument 'dim' must be int, not {type(dim).__name__}")
        need_tensors(f"fft_{stem}", input=input)
        if n is not None and n < 1:
            raise RuntimeError(f"Invalid number of data points ({n}) specified")
        if not input.meta.ndim:
            wrap_dim(dim, 0)
            raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
        return to_out(kind(stem, input, n, dim, norm, forward), out, row_major=True)

    def two(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None, *,
            out: Tensor | None = None) -> Tensor:  # fmt: skip
        return to_out(kind(stem + "2", input, s, dim, norm, forward), out, row_major=True)

    def many(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None, *,
             out: Tensor | None = None) -> Tensor:  # fmt: skip
        return to_out(kind(stem + "n", input, s, dim, norm, forward), out, row_major=True)

    for fn, name, where in (
        (one, stem, "one dim"),
        (two, stem + "2", "two dims"),
        (many, stem + "n", "dims"),
    ):
        fn.__name__ = fn.__qualname__ = name
        fn.__doc__ = f"{stem} along {where}; see https://docs.pytorch.org/docs/2.13/fft.html"
        FFT[name] = fn


for _stem, (_kind, _forward) in _KINDS.items():
    _publish(_stem, _kind, _forward)

# order of frequencies ---------------------------------------------------------------------------------------


def _shift(name: str, amount: Callable[[int], int]) -> None:
    def function(input: Tensor, dim: Any = None) -> Tensor:
        dims = (
            list(range(input.meta.ndim))
            if dim is None
            else [dim]
            if isinstance(dim, int)
            else list(dim)
        )
        dims = [wrap_dim(d, input.meta.ndim) for d in dims]
        if not dims:
            return input.clone()  # type: ignore[attr-defined]
        return TORCH["roll"](input, [amount(input.meta.shape[d]) for d in dims], dims)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = "Frequency 0 moved to the middle (fftshift) or back (ifftshift)."
    FFT[name] = function


_shift("fftshift", lambda n: n // 2)
_shift("ifftshift", lambda n: (n + 1) // 2)


def _frequencies(
    name: str, numbers: Callable[[int, float], np.ndarray], count: Callable[[int], int]
) -> None:
    def function(n: int, d: float = 1.0, *, out: Tensor | None = None, dtype: Any = None, layout: Any = None,
                 device: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
        from facula.ops.host import tensor_of

        kind = dtype or (out.dtype if out is not None else dt.default_dtype())
        if device_of(device, out) is META:
            return finish(to_out(on_meta(kind, (count(n),)), out), requires_grad)
        return finish(to_out(tensor_of(numbers(n, d), kind), out), requires_grad)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Frequencies of the elements that {name.removesuffix('freq')} gives."
    FFT[name] = function


_frequencies("fftfreq", lambda n, d: np.fft.fftfreq(n, d), lambda n: n)
_frequencies("rfftfreq", lambda n, d: np.fft.rfftfreq(n, d), lambda n: n // 2 + 1)

__all__ = ["Op"]
