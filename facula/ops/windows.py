"""Window functions, and short-time Fourier transforms that use them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.meta import META
from facula.ops.create import device_of, finish
from facula.ops.registry import FUNCTIONAL, NAMESPACES, TORCH, both, zeros_as
from facula.ops.without_values import known, on_meta
from facula.tensor import STRIDED, Tensor

WINDOWS: dict[str, Any] = {}  # torch.signal.windows


def _line(m: int, start: float, step: float) -> np.ndarray:
    return start + step * np.arange(m)


def _cosines(weights: tuple[float, ...], m: int, sym: bool) -> np.ndarray:
    angle = 2 * math.pi / (m - 1 if sym else m) * np.arange(m)
    terms = [(-1) ** k * a * np.cos(k * angle) for k, a in enumerate(weights)]
    return sum(reversed(terms))  # the small ones first: Blackman's begins with 0, not with -1e-17


def _bartlett(m: int, sym: bool) -> np.ndarray:
    step = 2 / (m - 1 if sym else m)
    return 1 - np.abs(_line(m, -1, step))


def _cosine(m: int, sym: bool) -> np.ndarray:
    step = math.pi / (m if sym else m + 1)
    return np.sin(_line(m, 0.5 * step, step))


def _centre(m: int, sym: bool) -> float:
    return -(m if not sym and m > 1 else m - 1) / 2


def _exponential(m: int, sym: bool, center: float | None, tau: float) -> np.ndarray:
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    start = -center if center is not None else _centre(m, sym)
    return np.exp(-np.abs(_line(m, start, 1)) / tau)


def _gaussian(m: int, sym: bool, std: float) -> np.ndarray:
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    return np.exp(-((_line(m, _centre(m, sym), 1) / (std * math.sqrt(2))) ** 2))


def _kaiser(m: int, sym: bool, beta: float) -> np.ndarray:
    from facula.ops.special_numpy import i0

    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    if m == 1:
        return np.ones(1)
    step = 2 * beta / (m - 1 if sym else m)
    line = np.clip(_line(m, -beta, step), -beta, beta)
    return i0(np.sqrt(np.maximum(beta * beta - line**2, 0))) / i0(np.array([float(beta)]))


_NUTTALL = (0.3635819, 0.4891775, 0.1365995, 0.0106411)


_REQUIRED: Any = inspect.Parameter.empty


def _window(name: str, values: Callable[..., np.ndarray], **extra: Any) -> None:
    """Defines torch.signal.windows.<name>(M, *, extras, sym=True, dtype ...)."""

    def function(M: int, *, sym: bool = True, dtype: Any = None, layout: Any = STRIDED, device: Any = None,
                 requires_grad: bool = False, **given: Any) -> Tensor:  # fmt: skip
        from facula.ops.host import tensor_of

        unknown = [k for k in given if k not in extra]
        if unknown:
            raise TypeError(f"{name}() got an unexpected keyword argument '{unknown[0]}'")
        if M < 0:
            raise ValueError(f"{name} requires non-negative window length, got M={M}")
        if layout not in (None, STRIDED) and getattr(layout, "name", "strided") != "strided":
            raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
        d = dtype or dt.default_dtype()
        if d not in (dt.float32, dt.float64):
            raise ValueError(f"{name} expects float32 or float64 dtypes, got: {d}")
        wanted = {k: given.get(k, v) for k, v in extra.items()}
        for k, v in wanted.items():
            if v is _REQUIRED:
                raise TypeError(f"{name}() missing 1 required keyword-only argument: '{k}'")
        if M == 0:
            return TORCH["empty"](0, dtype=d, device=device, requires_grad=requires_grad)
        if device_of(device) is META:
            return finish(on_meta(d, (M,)), requires_grad)
        line = (
            values(M, sym, **wanted)
            if M > 1 or name in ("gaussian", "exponential", "kaiser")
            else np.ones(1)
        )
        return finish(tensor_of(np.asarray(line), d), requires_grad)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The {name} window of M elements."
    shown = list(inspect.signature(function).parameters.values())
    own = [
        inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=v) for k, v in extra.items()
    ]
    function.__signature__ = inspect.Signature([shown[0], *own, *shown[1:-1]])  # type: ignore[attr-defined]
    WINDOWS[name] = function


def _check_general(a: Any) -> tuple[float, ...]:
    if not isinstance(a, (list, tuple)):
        raise TypeError("Coefficients must be a list/tuple")
    if not a:
        raise ValueError("Coefficients cannot be empty")
    return tuple(a)


_window("bartlett", _bartlett)
_window("blackman", lambda m, sym: _cosines((0.42, 0.5, 0.08), m, sym))
_window("cosine", _cosine)
_window("exponential", _exponential, center=None, tau=1.0)
_window("gaussian", _gaussian, std=1.0)
_window("general_cosine", lambda m, sym, a: _cosines(_check_general(a), m, sym), a=_REQUIRED)
_window("general_hamming", lambda m, sym, alpha: _cosines((alpha, 1 - alpha), m, sym), alpha=0.54)
_window("hamming", lambda m, sym: _cosines((0.54, 0.46), m, sym))
_window("hann", lambda m, sym: _cosines((0.5, 0.5), m, sym))
_window("kaiser", _kaiser, beta=12.0)
_window("nuttall", lambda m, sym: _cosines(_NUTTALL, m, sym))


def _old_window(name: str, values: Callable, **extra: Any) -> None:
    """Defines torch.<name>(window_length, periodic=True, extras, *, dtype ...)."""

    def function(window_length: int, periodic: bool = True, *args: Any, dtype: Any = None, layout: Any = None,
                 device: Any = None, pin_memory: bool = False, requires_grad: bool = False, **given: Any) -> Tensor:  # fmt: skip
        from facula.ops.host import tensor_of

        given = {**extra, **dict(zip(extra, args)), **given}
        if window_length < 0:
            raise RuntimeError(
                f"{name} requires non-negative window_length, got window_length={window_length}"
            )
        d = dtype or dt.default_dtype()
        if d.kind not in "fc":
            raise RuntimeError(f"{name} expects floating point dtypes, got: {d.short}")
        if device_of(device) is META:
            return finish(on_meta(d, (window_length,)), requires_grad)
        line = np.zeros(0) if not window_length else np.ones(1) if window_length == 1 else values(
            window_length, not periodic, **given)  # fmt: skip
        return finish(tensor_of(np.asarray(line), d), requires_grad)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The {name.removesuffix('_window')} window."
    TORCH[name] = function


_old_window("hann_window", lambda m, sym: _cosines((0.5, 0.5), m, sym))
_old_window(
    "hamming_window",
    lambda m, sym, alpha, beta: _cosines((alpha, beta), m, sym),
    alpha=0.54,
    beta=0.46,
)
_old_window("blackman_window", lambda m, sym: _cosines((0.42, 0.5, 0.08), m, sym))
_old_window("bartlett_window", _bartlett)
_old_window("kaiser_window", _kaiser, beta=12.0)


# short-time Fourier transforms -------------------------------------------------------------------------


def _window_of(window: Tensor | None, n_fft: int, length: int, d: Any, device: Any) -> Tensor:
    w = TORCH["ones"](length, dtype=d, device=device) if window is None else window
    if length < n_fft:
        left = (n_fft - length) // 2
        w = TORCH["cat"](
            [
                zeros_as(w, left),
                w,
                zeros_as(w, n_fft - length - left),
            ]
        )
    return w


@both("stft")
def stft(input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
         window: Tensor | None = None, center: bool = True, pad_mode: str = "reflect", normalized: bool = False,
         onesided: bool | None = None, return_complex: bool | None = None, align_to_window: bool | None = None) -> Tensor:  # fmt: skip
    """Spectra of overlapping windows, as (..., frequency, frame)."""
    hop = n_fft // 4 if hop_length is None else hop_length
    length = win_length or n_fft
    m = input.meta
    if (
        return_complex is None
        and m.dtype.kind != "c"
        and not (window is not None and window.meta.dtype.kind == "c")
    ):
        raise RuntimeError("stft requires the return_complex parameter be given for real inputs, and will further require "
                           "that return_complex=True in a future PyTorch release.")  # fmt: skip
    if m.dtype.kind not in "fc":
        raise RuntimeError(
            f"stft(torch.{m.dtype.short}Tensor{list(m.shape)}, n_fft={n_fft}): expected a tensor of floating point or complex values"
        )
    if m.ndim not in (1, 2):
        raise RuntimeError("stft: expected a 1D or 2D tensor")
    if center:
        pad = n_fft // 2
        flat = input.reshape([1] * (3 - m.ndim) + list(m.shape))  # type: ignore[attr-defined]
        input = FUNCTIONAL["pad"](flat, (pad, pad), pad_mode).reshape(*m.shape[:-1], -1)
        m = input.meta
    if n_fft <= 0 or n_fft > m.shape[-1]:
        raise RuntimeError(f"stft: expected 0 < n_fft < {m.shape[-1]}, but got n_fft={n_fft}")
    if hop <= 0:
        raise RuntimeError(f"stft: expected hop_length > 0, but got hop_length={hop}")
    if not 0 < length <= n_fft:
        raise RuntimeError(f"stft: expected 0 < win_length <= n_fft, but got win_length={length}")
    if window is not None and (window.meta.ndim != 1 or window.meta.numel != length):
        raise RuntimeError(
            f"stft: expected a 1D window tensor of size equal to win_length={length}, but got window with size {list(window.meta.shape)}"
        )
    frames = input.unfold(-1, n_fft, hop)  # type: ignore[attr-defined]
    if window is not None or length < n_fft:
        frames = frames * _window_of(window, n_fft, length, m.dtype, m.device)
    is_complex = frames.meta.dtype.kind == "c"
    if onesided is None:
        onesided = not is_complex
    if is_complex and onesided:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    norm = "ortho" if normalized else None
    got = NAMESPACES["fft"]["rfft" if onesided else "fft"](frames, norm=norm)
    got = got.transpose(-2, -1)
    return got if return_complex or return_complex is None else TORCH["view_as_real"](got)


@both("istft")
def istft(input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
          window: Tensor | None = None, center: bool = True, normalized: bool = False, onesided: bool | None = None,
          length: int | None = None, return_complex: bool = False) -> Tensor:  # fmt: skip
    """The signal whose `stft` is closest to input."""
    hop, win = hop_length or n_fft // 4, win_length or n_fft
    m = input.meta
    if m.dtype.kind != "c":
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    if not m.numel:
        raise RuntimeError("istft: input tensor cannot be empty.")
    if m.ndim not in (2, 3):
        raise RuntimeError(f"istft: expected a tensor with 2 or 3 dimensions, but got {m.ndim}")
    if onesided is None:
        onesided = m.shape[-2] != n_fft
    if m.shape[-2] != (n_fft // 2 + 1 if onesided else n_fft):
        raise RuntimeError(
            f"istft: expected the frequency dimension (3rd to the last) of the input tensor to match n_fft / 2 + 1 when onesided=True or n_fft, but got {m.shape[-2]}"
        )
    if not 0 < hop <= win:
        raise RuntimeError("istft: expected 0 < hop_length <= win_length")
    if not 0 < win <= n_fft:
        raise RuntimeError("istft: expected 0 < win_length <= n_fft")
    if window is not None and (window.meta.ndim != 1 or window.meta.numel != win):
        raise RuntimeError("Invalid window shape. window has to be 1D and length of `win_length`")
    if return_complex and onesided:
        raise RuntimeError("cannot have onesided output if window or input is complex")
    d = m.dtype.to_real()
    w = _window_of(window, n_fft, win, d, m.device)
    spectra = input.transpose(-2, -1)  # type: ignore[attr-defined]
    norm = "ortho" if normalized else None
    if return_complex:
        frames = NAMESPACES["fft"]["ifft"](spectra, norm=norm)
    elif onesided:
        frames = NAMESPACES["fft"]["irfft"](spectra, n_fft, norm=norm)
    else:
        frames = NAMESPACES["fft"]["irfft"](spectra.narrow(-1, 0, n_fft // 2 + 1), n_fft, norm=norm)
    frames = frames * w
    count = m.shape[-1]
    total = n_fft + hop * (count - 1)
    signal = _overlapped(frames, hop, total)
    weight = _overlapped((w * w).expand(count, n_fft), hop, total)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else total - (n_fft // 2 if center else 0)
    stop = min(end, total)
    signal, weight = signal.narrow(-1, start, stop - start), weight.narrow(-1, start, stop - start)
    if known(weight.abs().min() < 1e-11):
        raise RuntimeError("window overlap add min: 1")
    out = signal / weight
    if end > total:
        zeros = zeros_as(out, *out.meta.shape[:-1], end - total)
        out = TORCH["cat"]([out, zeros], -1)
    return out


def _overlapped(frames: Tensor, hop: int, total: int) -> Tensor:
    """Frames (..., frame, sample) added up at their places."""
    from facula.ops.arrange import window_places

    count, size = frames.meta.shape[-2:]
    lead = frames.meta.shape[:-2]
    flat = frames.reshape(*lead, count * size)  # type: ignore[attr-defined]
    zeros = zeros_as(frames, *lead, total)
    return zeros.index_add(-1, window_places(count, size, hop, frames.meta.device), flat)


__all__ = ["WINDOWS"]
