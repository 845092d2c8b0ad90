"""Writing results into existing tensors: `x.op_()`, `out=`, `copy_`."""

from __future__ import annotations

import warnings
from typing import Any

from facula.autograd.node import Node
from facula.graph.dtypes import can_cast, dtype
from facula.graph.meta import META, meta_of
from facula.graph.tape import LOCAL, Storage, new_storage
from facula.ops.apply import check_writable, fills_range, overwrite
from facula.tensor import Tensor, wrap


def check_result_type(result: dtype, target: dtype) -> None:
    """RuntimeError in PyTorch's words where a result may not be stored in target's type."""
    if not can_cast(result, target):
        raise RuntimeError(
            f"result type {result.short} can't be cast to the desired output type {target.short}"
        )


def snapshot(t: Tensor) -> Tensor:
    """t as it is now, on a storage of its own that later writes to t do not reach."""
    s = t._s
    if s.pin is not None or not t.meta.numel:  # a write of no elements gives t no new value
        copy = t.clone()  # type: ignore[attr-defined]
        kept = wrap(copy._s, copy.meta)
    else:
        old = Storage()
        old.tape, old.i, old.buf, old.meta, old.version, old.pin = (
            s.tape,
            s.i,
            s.buf,
            s.meta,
            0,
            None,
        )
        if s.buf is None and s.tape is not None:
            s.tape.values[s.i] = old
        kept = wrap(old, t.meta, t._off)
    kept._rg, kept._g = t._rg, t._g
    return kept


def keep_old_value(t: Tensor, result: Tensor, since: int | None) -> None:
    """Nodes of the operator that is about to overwrite t keep what t was.

    `since`: sequence number from which on nodes belong to the operator; None: only the last one.
    """
    version = t._s.version
    kept = None
    stack, seen = [result.grad_fn], set()
    while stack:
        node = stack.pop()
        if not isinstance(node, Node) or node in seen or (since and node.seq < since):
            continue
        seen.add(node)
        saved = node.saved
        for i, entry in enumerate(saved if type(saved) is list else ()):
            if type(entry) is tuple and entry[0]._s is t._s and entry[1] == version:
                x = entry[0]
                if kept is None:
                    kept = snapshot(t)
                same = x if x is t else None
                if same is None and kept._s.meta is t._s.meta:
                    x = wrap(kept._s, x.meta, x._off)
                    x._rg, x._g = entry[0]._rg, entry[0]._g
                    saved[i] = (x, kept._s.version)
                elif same is not None:
                    saved[i] = (kept, kept._s.version)
        if since:
            stack += [e[0] if type(e) is tuple else e for e in node.edges]


def write_back(t: Tensor, result: Tensor, since: int | None = None) -> Tensor:
    """Stores a fresh result of t's own operator in t."""
    m, r = t.meta, result.meta
    if r.shape != m.shape:
        raise RuntimeError(
            f"output with shape {list(m.shape)} doesn't match the broadcast shape {list(r.shape)}"
        )
    if r.dtype is not m.dtype:
        check_result_type(r.dtype, m.dtype)
        result = result.to(m.dtype)  # type: ignore[attr-defined]
    check_writable(t, result._rg)
    if result._rg and t.meta.device is not META:
        keep_old_value(t, result, since)
    return overwrite(t, result, fresh=True)


def copy_out(result: Any, out: Any, row_major: bool = False) -> Any:
    """Stores a result in the tensor(s) given as `out=`, see `to_out`."""
    if isinstance(result, tuple) and not isinstance(result, Tensor):
        if isinstance(out, Tensor):
            raise TypeError("argument 'out' must be tuple of Tensors, not Tensor")
        for r, o in zip(result, out, strict=True):
            copy_out(r, o, row_major)
        return out if not hasattr(type(result), "_fields") else type(result)(*out)
    if not isinstance(out, Tensor):
        raise TypeError(f"argument 'out' must be Tensor, not {type(out).__name__}")
    if (out._rg or result._rg) and LOCAL.tape.grad:
        raise RuntimeError(
            "functions with out=... arguments don't support automatic differentiation, but one of "
            "the arguments requires grad."
        )
    if result.meta.dtype is not out.meta.dtype:
        check_result_type(result.meta.dtype, out.meta.dtype)
        result = result.to(out.meta.dtype)
    if out.meta.device is not result.meta.device:
        raise RuntimeError(
            f"Attempting to copy from device {result.meta.device} to device {out.meta.device}, but cross-device "
            "copies are not allowed!"
        )
    if out.meta.shape != result.meta.shape:
        if out.meta.numel:
            warnings.warn(
                "An output with one or more elements was resized since it had shape "
                f"{list(out.meta.shape)}, which does not match the required output shape "
                f"{list(result.meta.shape)}. This behavior is deprecated, and in a future PyTorch "
                "release outputs will not be resized unless they have zero elements. You can "
                "explicitly reuse an out tensor t by resizing it, inplace, to zero elements with "
                "t.resize_(0).",
                UserWarning,
                stacklevel=3,
            )
        keeps = not row_major and fills_range(result.meta)
        lies = result.meta.strides if keeps else None
        resize(out, tuple(result.meta.shape), lies)
    return overwrite(out, result)


def resize(t: Tensor, shape: tuple[int, ...], strides: tuple[int, ...] | None = None) -> None:
    """Gives t another shape; keeps its storage where that is large enough.

    `strides`: of a tensor without gaps. Without them it is row-major."""
    from facula.graph.tape import evaluate
    from facula.runtime.buffers import alloc

    m = meta_of(t.meta.dtype, shape, t.meta.device)
    if t.meta.device is not META:
        old = evaluate(t._s)
        need = (t._off + m.numel) * m.dtype.itemsize
        if need > old.nbytes or t._s.meta.numel < t._off + m.numel:
            buf = alloc(max(need, 1))
            n = min(old.nbytes, buf.nbytes)
            buf.numpy("uint8", (n,))[:] = old.numpy("uint8", (n,))
            whole = meta_of(m.dtype, (t._off + m.numel,)) if t._off else m
            t._s.buf, t._s.meta, t._s.tape = buf, whole, None
    from facula.graph.meta import meta

    t.meta = meta(m.dtype, m.shape, strides or m.strides, m.device, t._off != 0)


__all__ = ["check_result_type", "copy_out", "new_storage", "resize", "write_back"]
