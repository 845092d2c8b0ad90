"""Complex numbers: parts, conjugates, angles, views as pairs of reals."""

from __future__ import annotations

import math
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.formats import AS_OPERANDS
from facula.graph.meta import Meta, broadcast_shapes, meta_of
from facula.graph.tape import LOCAL, Op
from facula.ops.apply import apply
from facula.ops.pointwise import BOOL, FLOAT, need_tensors, opmath, sum_to, unary
from facula.ops.registry import TORCH, both, inplace, only_torch, to_out
from facula.ops.shape import ALIAS, give_history, make_view, remember_view, view_op
from facula.tensor import Tensor, view

# on primitive values ------------------------------------------------------------------------


def parts(g: Any, v: Any) -> tuple[Any, Any]:
    """Real and imaginary part of a complex value."""
    if v.dtype is not dt.complex32:
        return g.parts(v)
    pairs = g.bitcast(v, v.dtype.to_real(), (*v.shape, 2))
    one = [1] * pairs.ndim

    def part(i: int) -> Any:
        start = [0] * v.ndim + [i]
        return g.reshape(g.slice(pairs, start, (*v.shape, 1), one), v.shape)

    return part(0), part(1)


def joined(g: Any, re: Any, im: Any) -> Any:
    """The complex value of two parts of one real type."""
    if re.dtype is not dt.float16:
        return g.complex(re, im)
    shape = broadcast_shapes(re.shape, im.shape)
    pair = [g.reshape(g.expand(p, shape), (*shape, 1)) for p in (re, im)]
    return g.bitcast(g.cat(pair, len(shape)), re.dtype.to_complex(), shape)


# making and taking apart ----------------------------------------------------------------------


def _complex_infer(a: Meta, b: Meta) -> Meta:
    if a.dtype not in (dt.float16, dt.float32, dt.float64) or b.dtype.kind != "f":
        raise RuntimeError(
            "Expected both inputs to be Half, Float or Double tensors but got "
            f"{a.dtype.short} and {b.dtype.short}"
        )
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {a.dtype.short} but got scalar type {b.dtype.short} "
            "for second argument"
        )
    return meta_of(a.dtype.to_complex(), broadcast_shapes(a.shape, b.shape), a.device)


def _complex_backward(n: Any, g: Tensor) -> tuple:
    ins = n.inst.ins
    return (
        sum_to(real_part(g), ins[0]) if n.needs(0) else None,
        sum_to(imag_part(g), ins[1]) if n.needs(1) else None,
    )


COMPLEX = Op("complex", _complex_infer, joined, _complex_backward)


@only_torch()
def complex(real: Tensor, imag: Tensor, *, out: Tensor | None = None) -> Tensor:
    """real + i * imag."""
    made = apply(COMPLEX, (real, imag))
    if out is not None and out.meta.dtype is not made.meta.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {made.meta.dtype.short} but got scalar type "
            f"{out.meta.dtype.short} for argument 'out'"
        )
    return to_out(made, out)


@only_torch()
def polar(abs: Tensor, angle: Tensor, *, out: Tensor | None = None) -> Tensor:
    """abs * exp(i * angle)."""
    need_tensors("polar", abs=abs, angle=angle)
    for t in (abs, angle):
        if t.meta.dtype not in (dt.float32, dt.float64):
            raise RuntimeError(
                "Expected both inputs to be Float or Double tensors but got "
                f"{abs.meta.dtype.short} and {angle.meta.dtype.short}"
            )
    return complex(abs * angle.cos(), abs * angle.sin(), out=out)  # type: ignore[attr-defined]


def _part_op(name: str, which: int) -> Op:
    def backward(n: Any, g: Tensor) -> Tensor:
        zero = TORCH["zeros_like"](g)
        return apply(COMPLEX, (g, zero) if which == 0 else (zero, g))

    return Op(
        name,
        lambda a: meta_of(a.dtype.to_real(), a.shape, a.device),
        lambda g, a: parts(g, a)[which],
        backward,
        lies=AS_OPERANDS,
    )


REAL, IMAG = _part_op("real", 0), _part_op("imag", 1)


def real_part(t: Tensor) -> Tensor:
    """The real part as a value of its own."""
    return apply(REAL, (t,)) if t.meta.dtype.kind == "c" else t


def imag_part(t: Tensor) -> Tensor:
    """The imaginary part as a value of its own."""
    return apply(IMAG, (t,))


def _shared_view(op: Op, t: Tensor, shape: tuple, strides: tuple, offset: int, d: Any) -> Tensor:
    out = view(t, shape, strides, offset, d)
    if LOCAL.tape.grad:
        if t._rg:
            give_history(op, t, out, ())
        remember_view(out._base, out)
    return out


VIEW_AS_REAL = view_op("view_as_real", lambda n, g: _to_complex(g), "ViewAsRealBackward0")
VIEW_AS_COMPLEX = view_op("view_as_complex", lambda n, g: _to_pairs(g), "ViewAsComplexBackward0")
REAL_VIEW = view_op("real", lambda n, g: REAL.backward(n, g), "RealBackward0")
IMAG_VIEW = view_op("imag", lambda n, g: IMAG.backward(n, g), "ImagBackward0")


def _to_complex(g: Tensor) -> Tensor:
    re, im = TORCH["unbind"](g, -1)
    return apply(COMPLEX, (re, im))


def _to_pairs(g: Tensor) -> Tensor:
    return TORCH["stack"]([real_part(g), imag_part(g)], -1)


@only_torch()
def view_as_real(input: Tensor) -> Tensor:
    """A view of a complex tensor with a last dim of (real, imag)."""
    m = input.meta
    if m.dtype.kind != "c":
        raise RuntimeError("view_as_real is only supported for complex tensors")
    strides = (*[2 * s for s in m.strides], 1)
    return _shared_view(
        VIEW_AS_REAL, input, (*m.shape, 2), strides, 2 * input._off, m.dtype.to_real()
    )


@only_torch()
def view_as_complex(input: Tensor) -> Tensor:
    """A view of pairs in the last dim as complex numbers."""
    m = input.meta
    if m.dtype not in (dt.float16, dt.float32, dt.float64):
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a "
            f"tensor of scalar type: {m.dtype.short}"
        )
    if not m.ndim:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if m.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if m.strides[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % 2 for s in m.strides[:-1]):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    if input._off % 2:
        raise RuntimeError("Tensor must have a storage_offset divisible by 2")
    strides = tuple(s // 2 for s in m.strides[:-1])
    return _shared_view(
        VIEW_AS_COMPLEX, input, m.shape[:-1], strides, input._off // 2, m.dtype.to_complex()
    )


@only_torch()
def real(input: Tensor) -> Tensor:
    """The real part, as a view."""
    m = input.meta
    if m.dtype.kind != "c":
        return make_view(ALIAS, input, m.shape, m.strides, input._off)
    strides = tuple(2 * s for s in m.strides)
    return _shared_view(REAL_VIEW, input, m.shape, strides, 2 * input._off, m.dtype.to_real())


@only_torch()
def imag(input: Tensor) -> Tensor:
    """The imaginary part of a complex tensor, as a view."""
    m = input.meta
    if m.dtype.kind != "c":
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    strides = tuple(2 * s for s in m.strides)
    return _shared_view(IMAG_VIEW, input, m.shape, strides, 2 * input._off + 1, m.dtype.to_real())


def _set_part(getter: Any) -> Any:
    def setter(self: Tensor, value: Any) -> None:
        getter(self).copy_(value)

    return setter


Tensor.real = property(real, _set_part(real))  # type: ignore[attr-defined]
Tensor.imag = property(imag, _set_part(imag))  # type: ignore[attr-defined]


# conjugates -----------------------------------------------------------------------------------


def conj_val(g: Any, a: Any) -> Any:
    """The conjugate of a value of the primitive graph."""
    re, im = parts(g, a)
    return joined(g, re, -im)


CONJ = Op("conj", lambda a: a.plain(), conj_val, lambda n, g: apply(CONJ, (g,)))


@both("conj")
def conj(input: Tensor) -> Tensor:
    """The complex conjugate (the input itself where it is real)."""
    return apply(CONJ, (input,)) if input.meta.dtype.kind == "c" else input


@both("conj_physical")
def conj_physical(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The complex conjugate, computed."""
    return to_out(conj(input), out)


TORCH["conj_physical_"] = inplace(conj_physical)


@both("resolve_conj")
def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself: conjugation is never pending."""
    return input


@both("resolve_neg")
def resolve_neg(input: Tensor) -> Tensor:
    """The tensor itself: negation is never pending."""
    return input


@both("adjoint")
def adjoint(input: Tensor) -> Tensor:
    """The conjugate transpose of the last two dims."""
    if input.meta.ndim < 2:
        raise RuntimeError(
            "tensor.adjoint() is only supported on matrices or batches of matrices. Got "
            f"{input.meta.ndim}-D tensor."
        )
    return conj(input.transpose(-2, -1))  # type: ignore[attr-defined]


# angles and signs --------------------------------------------------------------------------------


def _angle_infer(a: Meta) -> Meta:
    d = a.dtype.to_real() if a.dtype.kind == "c" else a.dtype
    return meta_of(d if d.kind == "f" else dt.default_dtype(), a.shape, a.device)


def _angle_expand(g: Any, a: Any) -> Any:
    if a.dtype.kind == "c":
        re, im = parts(g, a)
        w = opmath(re.dtype)
        return g.cast(g.cast(im, w).atan2(g.cast(re, w)), re.dtype)
    d = a.dtype if a.dtype.kind == "f" else dt.default_dtype()
    w = opmath(d)
    x = g.cast(a, w)
    flat = g.where(x < 0, g.const(math.pi, w), g.const(0.0, w))
    return g.cast(g.where(x.isnan(), x, flat) if a.dtype.kind == "f" else flat, d)


def _angle_backward(n: Any, g: Tensor) -> Tensor:
    x = n.tensor(0)
    if x.meta.dtype.kind != "c":
        return TORCH["zeros_like"](g)
    re, im = real_part(x), imag_part(x)
    size = re * re + im * im
    scale = TORCH["where"](size == 0, 0.0, g / size)
    return apply(COMPLEX, (-im * scale, re * scale))


ANGLE = Op("angle", _angle_infer, _angle_expand, _angle_backward, saves="0")


@both("angle")
def angle(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The angle of complex numbers; of reals 0 or pi."""
    return to_out(apply(ANGLE, (input,)), out)


def _sgn_expand(g: Any, a: Any) -> Any:
    if a.dtype.kind == "b":
        return a
    if a.dtype.kind != "c":
        return a.sign()
    re, im = parts(g, a)
    size = re.hypot(im)
    zero = size.eq(0)
    size = g.where(zero, g.const(1.0, size.dtype), size)
    return joined(g, g.where(zero, size * 0, re / size), g.where(zero, size * 0, im / size))


def _sgn_backward(n: Any, g: Tensor) -> Tensor:
    x = n.tensor(0)
    if x.meta.dtype.kind != "c":
        return TORCH["zeros_like"](g)
    s = TORCH["sgn"](x)
    along = s * real_part(conj(s) * g)
    size = x.abs()  # type: ignore[attr-defined]
    return TORCH["where"](size == 0, 0.0, (g - along) / size)


unary("sgn", _sgn_expand, _sgn_backward, saves="0")

# which numbers --------------------------------------------------------------------------------


def _is_inf(g: Any, a: Any) -> Any:
    if a.dtype.kind == "c":
        re, im = parts(g, a)
        return re.isinf() | im.isinf()
    return a.isinf() if a.dtype.kind == "f" else a.ne(a)


def _is_finite(g: Any, a: Any) -> Any:
    if a.dtype.kind == "c":
        re, im = parts(g, a)
        return _is_finite(g, re) & _is_finite(g, im)
    return ~(a.isinf() | a.isnan()) if a.dtype.kind == "f" else a.eq(a)


def _is_real(g: Any, a: Any) -> Any:
    return parts(g, a)[1].eq(0) if a.dtype.kind == "c" else a.eq(a)


unary("isinf", _is_inf, rule=BOOL, inplace=False)
unary("isfinite", _is_finite, rule=BOOL, inplace=False)
unary("isreal", _is_real, rule=BOOL, inplace=False)
_INF = float("inf")
for _name, _sign in (("isposinf", 1), ("isneginf", -1)):
    unary(_name, lambda g, a, s=_sign: a.eq(s * _INF) if a.dtype.kind == "f" else a.ne(a),
          rule=BOOL, inplace=False, refuse="c")  # fmt: skip


def _signbit(g: Any, a: Any) -> Any:
    if a.dtype.kind != "f":
        return a < 0 if a.dtype.kind == "i" else a.ne(a)
    return g.const(1.0, a.dtype).copysign(a) < 0


unary("signbit", _signbit, rule=BOOL, inplace=False, refuse="c")


@both("positive")
def positive(input: Tensor) -> Tensor:
    """The tensor itself."""
    if input.meta.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


@both("is_complex")
def is_complex(input: Tensor) -> bool:
    """Whether the dtype is complex."""
    return input.meta.dtype.kind == "c"


@both("is_floating_point")
def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating one."""
    return input.meta.dtype.kind == "f"


@both("is_conj")
def is_conj(input: Tensor) -> bool:
    """False: conjugation is never pending."""
    return False


@both("is_neg")
def is_neg(input: Tensor) -> bool:
    """False: negation is never pending."""
    return False


@both("is_signed")
def is_signed(input: Tensor) -> bool:
    """Whether the dtype has negative numbers."""
    return input.meta.dtype.is_signed


__all__ = ["FLOAT"]
