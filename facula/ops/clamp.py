"""Operators that bound, replace and mix elements: clamp, masks, nan_to_num, lerp, addcmul."""

from __future__ import annotations

from typing import Any

from facula.graph import dtypes as dt
from facula.graph.blame import wrong_type
from facula.graph.formats import AS_OPERANDS
from facula.graph.meta import META, Meta, broadcast_shapes, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply, overwrite
from facula.ops.elementwise import conj_of
from facula.ops.index import nonzero_tuple, put_somewhere
from facula.ops.pointwise import number_of, number_type, opmath, result_type, sum_to
from facula.ops.ranges import check_fits
from facula.ops.registry import TORCH, both, check_out, inplace, to_out
from facula.ops.without_values import needs_values
from facula.tensor import Tensor


def shape_meta(v: Any) -> Meta:
    """The geometry of a primitive value, for promotion rules."""
    return meta_of(v.dtype, v.shape)


# clamp ------------------------------------------------------------------------------------


def _refuse(name: str, d: Any) -> None:
    if d.kind == "c":
        raise NotImplementedError(f"{name} is not supported for complex types")


def _at_least(x: Any, bound: Any) -> Any:
    return x | bound if x.dtype.kind == "b" else x.maximum(bound)


def _at_most(x: Any, bound: Any) -> Any:
    return x & bound if x.dtype.kind == "b" else x.minimum(bound)


def _clamp_infer(a: Meta, lo: str, hi: str) -> Meta:
    d = result_type((a,), tuple(k for k in (lo, hi) if k))
    _refuse("clamp", d)
    return meta_of(d, a.shape, a.device)


def _clamp_expand(g: Any, a: Any, *rest: Any) -> Any:
    *numbers, lo, hi = rest
    d = result_type((shape_meta(a),), tuple(k for k in (lo, hi) if k))
    w = opmath(d)
    x = g.cast(a, w)
    bounds = [g.cast(n, w) for n in numbers]
    if lo:
        x = _at_least(x, bounds.pop(0))
    if hi:
        x = _at_most(x, bounds.pop(0))
    return g.cast(x, d)


def _clamp_backward(n: Any, g: Tensor) -> Tensor:
    x, numbers = n.tensor(0), list(n.scalars)
    lo, hi = n.params
    inside = None
    if lo:
        inside = x >= numbers.pop(0)
    if hi:
        below = x <= numbers.pop(0)
        inside = below if inside is None else inside & below
    return sum_to(TORCH["where"](inside, g, 0.0), n.inst.ins[0])


CLAMP = {
    name: Op(
        "clamp",
        _clamp_infer,
        _clamp_expand,
        _clamp_backward,
        saves="0",
        grad_name=grad,
        lies=AS_OPERANDS,
    )
    for name, grad in (
        ("clamp", "ClampBackward1"),
        ("clamp_min", "ClampMinBackward0"),
        ("clamp_max", "ClampMaxBackward0"),
    )
}


def _clamp_tensors_infer(*args: Any) -> Meta:
    *metas, has_lo, has_hi = args
    d = result_type(tuple(metas))
    _refuse("clamp", d)
    return meta_of(d, broadcast_shapes(*[m.shape for m in metas]), metas[0].device)


def _clamp_tensors_expand(g: Any, x: Any, *rest: Any) -> Any:
    *bounds, has_lo, has_hi = rest
    d = result_type((shape_meta(x), *[shape_meta(b) for b in bounds]))
    w = opmath(d)
    x, bounds = g.cast(x, w), [g.cast(b, w) for b in bounds]
    if has_lo:
        x = _at_least(x, bounds[0])
    if has_hi:
        x = _at_most(x, bounds[-1])
    return g.cast(x, d)


def _clamp_tensors_backward(n: Any, g: Tensor) -> tuple:
    x, ins, where = n.tensor(0), n.inst.ins, TORCH["where"]
    has_lo, has_hi = n.params
    lo = n.tensor(1) if has_lo else None
    hi = n.tensor(len(ins) - 1) if has_hi else None
    inside = (x >= lo) if has_lo else None
    if has_hi:
        inside = (x <= hi) if inside is None else inside & (x <= hi)
    grads = [sum_to(where(inside, g, 0.0), ins[0]) if n.needs(0) else None]
    if has_lo:
        won = (x < lo) if hi is None else (x < lo) & (lo < hi)
        grads.append(sum_to(where(won, g, 0.0), ins[1]) if n.needs(1) else None)
    if has_hi:
        won = (x > hi) if lo is None else (x > hi) | (hi < lo)
        grads.append(sum_to(where(won, g, 0.0), ins[-1]) if n.needs(len(ins) - 1) else None)
    return tuple(grads)


CLAMP_TENSORS = {
    1: Op("clamp", _clamp_tensors_infer, _clamp_tensors_expand, _clamp_tensors_backward,
          saves="0 1", grad_name="ClampBackward0", lies=AS_OPERANDS),
    2: Op("clamp", _clamp_tensors_infer, _clamp_tensors_expand, _clamp_tensors_backward,
          saves="0 1 2", grad_name="ClampBackward0", lies=AS_OPERANDS),
}  # fmt: skip


def _clamped(name: str, input: Tensor, min: Any, max: Any) -> Tensor:
    if min is None and max is None:
        raise RuntimeError(f"torch.{name}: At least one of 'min' or 'max' must not be None")
    bounds = [b for b in (min, max) if b is not None]
    if any(isinstance(b, Tensor) for b in bounds):
        if not all(isinstance(b, Tensor) for b in bounds):
            kinds = ", ".join(type(b).__name__ for b in (input, min, max))
            raise TypeError(
                f"{name}() received an invalid combination of arguments - got ({kinds}), but "
                "expected one of:\n * (Tensor input, Tensor min = None, Tensor max = None, *, "
                "Tensor out = None)\n * (Tensor input, Number min = None, Number max = None, *, "
                "Tensor out = None)\n"
            )
        op = CLAMP_TENSORS[len(bounds)]
        return apply(op, (input, *bounds), (min is not None, max is not None))
    numbers = tuple(number_of(b) for b in bounds)
    if any(x is None for x in numbers):
        raise TypeError(f"{name}(): bounds must be numbers or tensors")
    if any(isinstance(x, complex) for x in numbers):
        raise NotImplementedError("clamp is not supported for complex types")
    lo = "" if min is None else number_type(numbers[0])
    hi = "" if max is None else number_type(numbers[-1])
    return apply(CLAMP[name], (input,), (lo, hi), numbers)


@both("clamp", "clip")
def clamp(input: Tensor, min: Any = None, max: Any = None, *, out: Tensor | None = None) -> Tensor:
    """Elements moved into [min, max]; bounds are numbers or tensors.

    >>> import facula as torch
    >>> torch.clamp(torch.tensor([-2, 0, 5]), min=-1, max=3)
    tensor([-1,  0,  3])
    """
    return to_out(_clamped("clamp", input, min, max), out)


@both("clamp_min")
def clamp_min(input: Tensor, min: Any, *, out: Tensor | None = None) -> Tensor:
    """Elements not less than min."""
    return to_out(_clamped("clamp_min", input, min, None), out)


@both("clamp_max")
def clamp_max(input: Tensor, max: Any, *, out: Tensor | None = None) -> Tensor:
    """Elements not greater than max."""
    return to_out(_clamped("clamp_max", input, None, max), out)


for _fn, _names in ((clamp, ("clamp", "clip")), (clamp_min, ("clamp_min",)),
                    (clamp_max, ("clamp_max",))):  # fmt: skip
    for _name in _names:
        TORCH[_name + "_"] = inplace(_fn, _name)


# masks ------------------------------------------------------------------------------------


def _check_mask(name: str, mask: Any) -> None:
    if mask.dtype is not dt.bool_:
        c_names = {
            "float32": "float",
            "int64": "long int",
            "uint8": "unsigned char",
            "int32": "int",
        }
        raise RuntimeError(
            f"{name} only supports boolean masks, but got mask with dtype "
            f"{c_names.get(mask.dtype.name, mask.dtype.name)}"
        )


def _fill_infer(x: Meta, mask: Meta, *rest: Any) -> Meta:
    _check_mask("masked_fill_", mask)
    return meta_of(x.dtype, broadcast_shapes(x.shape, mask.shape), x.device)


def _fill_expand(g: Any, x: Any, mask: Any, value: Any, *kind: Any) -> Any:
    return g.where(mask, g.cast(value, x.dtype), x)


def _fill_backward(n: Any, g: Tensor) -> tuple:
    gx = sum_to(masked_fill(g, n.tensor(0), 0), n.inst.ins[0]) if n.needs(0) else None
    return gx, None


def _fill_tensor_backward(n: Any, g: Tensor) -> tuple:
    gv = None
    if n.needs(2):
        gv = sum_to(TORCH["where"](n.tensor(0), g, 0.0).sum(), n.inst.ins[2])
    return (*_fill_backward(n, g), gv)


MASKED_FILL = Op("masked_fill", _fill_infer, _fill_expand, _fill_backward, saves="1", shows="0")
MASKED_FILL_TENSOR = Op("masked_fill", _fill_infer, _fill_expand, _fill_tensor_backward,
                        saves="1", grad_name="MaskedFillBackward1", shows="0 2")  # fmt: skip


@both("masked_fill")
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """input with value where mask is true."""
    if isinstance(value, Tensor):
        if value.meta.ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.meta.ndim} dimension(s)."
            )
        if value.meta.dtype.kind == "c":
            check_fits(1j, input.meta.dtype)
        return apply(MASKED_FILL_TENSOR, (input, mask, value))
    x = number_of(value)
    if x is None:
        raise TypeError(
            f"masked_fill(): argument 'value' must be Number or Tensor, not {type(value).__name__}"
        )
    check_fits(x, input.meta.dtype)
    if isinstance(x, complex):
        return apply(
            MASKED_FILL_TENSOR,
            (input, mask, TORCH["tensor"](x, dtype=input.meta.dtype, device=input.meta.device)),
        )
    return apply(MASKED_FILL, (input, mask), (number_type(x),), (x,))


TORCH["masked_fill_"] = inplace(masked_fill)


@both("masked_select")
@needs_values("aten::masked_select")
def masked_select(input: Tensor, mask: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The elements where mask is true, as a vector."""
    if mask.meta.dtype is not dt.bool_:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = broadcast_shapes(input.meta.shape, mask.meta.shape)
    x, m = input.expand(shape), mask.expand(shape)  # type: ignore[attr-defined]
    check_out(out, input, mask)
    return to_out(x.reshape(-1)[nonzero_tuple(m.reshape(-1))], out, exact=True)


@both("masked_scatter")
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """input with source's elements, in order, where mask is true."""
    if input.meta.dtype is not source.meta.dtype:
        raise RuntimeError("masked_scatter: expected self and source to have same dtypes but got "
                           f"{input.meta.dtype.short} and {source.meta.dtype.short}")  # fmt: skip
    if mask.meta.dtype is not dt.bool_:
        raise RuntimeError("masked_scatter_ only supports boolean masks, but got mask with dtype "
                           f"{mask.meta.dtype.short}")  # fmt: skip
    shape = broadcast_shapes(input.meta.shape, mask.meta.shape)
    flat, m = input.expand(shape).reshape(-1), mask.expand(shape).reshape(-1)  # type: ignore[attr-defined]
    if m.meta.device is META:
        return put_somewhere(flat, source, "set").reshape(shape)  # type: ignore[attr-defined]
    where = nonzero_tuple(m)
    count = where[0].meta.numel
    if count > source.meta.numel:
        raise RuntimeError("masked_scatter: expected source to have at least as many elements as "
                           "the number of ones in mask")  # fmt: skip
    from facula.ops.index import put_at

    return put_at(flat, source.reshape(-1)[:count], where, (0,), "set").reshape(shape)  # type: ignore[attr-defined]


inplace(masked_scatter)


# nan_to_num ---------------------------------------------------------------------------------


def _nan_infer(a: Meta, *kinds: Any) -> Meta:
    if a.dtype.kind == "c":
        return meta_of(a.dtype, a.shape, a.device)
    return a.plain()


def _nan_expand(g: Any, a: Any, nan: Any, high: Any, low: Any, *kinds: Any) -> Any:
    if a.dtype.kind not in "f":
        return a
    w = opmath(a.dtype)
    limits = dt.finfo(a.dtype)
    x = g.cast(a, w)
    high = g.const(limits.max, w) if kinds[0] == "" else g.cast(high, w)
    low = g.const(limits.min, w) if kinds[1] == "" else g.cast(low, w)
    inf = float("inf")
    out = g.where(x.isnan(), g.cast(nan, w), x)
    out = g.where(x.eq(inf), high, out)
    return g.cast(g.where(x.eq(-inf), low, out), a.dtype)


def _nan_backward(n: Any, g: Tensor) -> Tensor:
    return TORCH["where"](TORCH["isfinite"](n.tensor(0)), g, 0.0)


NAN_TO_NUM = Op("nan_to_num", _nan_infer, _nan_expand, _nan_backward, saves="0", lies=AS_OPERANDS)


@both("nan_to_num")
def nan_to_num(input: Tensor, nan: float | None = None, posinf: float | None = None,
               neginf: float | None = None, *, out: Tensor | None = None) -> Tensor:  # fmt: skip
    """NaN and infinities replaced by numbers (0 and the largest ones, unless given)."""
    if input.meta.dtype.kind == "c":
        parts = [nan_to_num(p, nan, posinf, neginf) for p in (input.real, input.imag)]  # type: ignore[attr-defined]
        return to_out(TORCH["complex"](*parts), out, exact=True)
    for x in (nan, posinf, neginf):
        if x is not None and not hasattr(x, "__float__"):
            raise wrong_type(x, "float")
    kinds = ("" if posinf is None else "f", "" if neginf is None else "f")
    numbers = (float(nan or 0.0), float(posinf or 0.0), float(neginf or 0.0))
    return to_out(apply(NAN_TO_NUM, (input,), kinds, numbers), out, exact=True)


TORCH["nan_to_num_"] = inplace(nan_to_num)


# lerp, addcmul, addcdiv -----------------------------------------------------------------------


def _same(name: str, *metas: Meta) -> Any:
    d = metas[0].dtype
    for m in metas[1:]:
        if m.dtype is not d:
            from facula.ops.matmul import c_name

            raise RuntimeError(
                f"expected dtype {c_name(d)} for `{name}` but got dtype {c_name(m.dtype)}"
            )
    return d


def _lerp_infer(a: Meta, b: Meta, *w: Any) -> Meta:
    metas = [m for m in w if isinstance(m, Meta)]
    d = _same("end", a, b)
    if metas:
        _same("weight", a, metas[0])
    if d.kind not in "fc":
        raise NotImplementedError(f"\"lerp_kernel_scalar\" not implemented for '{d.short}'")
    return meta_of(d, broadcast_shapes(a.shape, b.shape, *[m.shape for m in metas]), a.device)


def _lerp_expand(g: Any, a: Any, b: Any, weight: Any, *kind: Any) -> Any:
    w = opmath(a.dtype)
    x, y, t = g.cast(a, w), g.cast(b, w), g.cast(weight, w)
    near = t.abs() < 0.5
    return g.cast(g.where(near, x + t * (y - x), y - (y - x) * (1 - t)), a.dtype)


def _lerp_backward(n: Any, g: Tensor) -> tuple:
    ins = n.inst.ins
    t = n.scalars[0] if n.scalars else n.tensor(0)
    ga = sum_to(g * conj_of(1 - t), ins[0]) if n.needs(0) else None
    gb = sum_to(g * conj_of(t), ins[1]) if n.needs(1) else None
    if n.scalars:
        return ga, gb
    return ga, gb, sum_to(g * conj_of(n.tensor(2) - n.tensor(1)), ins[2]) if n.needs(2) else None


LERP = Op("lerp", _lerp_infer, _lerp_expand, _lerp_backward, lies=AS_OPERANDS)
LERP_TENSOR = Op("lerp", _lerp_infer, _lerp_expand, _lerp_backward, saves="2 0 1",
                 grad_name="LerpBackward1", lies=AS_OPERANDS)  # fmt: skip


@both("lerp")
def lerp(input: Tensor, end: Tensor, weight: Any, *, out: Tensor | None = None) -> Tensor:
    """input + weight * (end - input)."""
    if isinstance(weight, Tensor):
        if weight.meta.ndim == 0 and weight.meta.device is not input.meta.device:
            weight = weight.to(input.meta.device)  # type: ignore[attr-defined]
        return to_out(apply(LERP_TENSOR, (input, end, weight)), out)
    if isinstance(weight, complex):
        return to_out(
            lerp(
                input,
                end,
                TORCH["tensor"](weight, dtype=input.meta.dtype, device=input.meta.device),
            ),
            out,
        )
    return to_out(apply(LERP, (input, end), (number_type(weight),), (weight,)), out)


inplace(lerp)


def _addc_infer(name: str) -> Any:
    def infer(a: Meta, b: Meta, c: Meta, kind: str) -> Meta:
        d = result_type((a, b, c))
        if name == "addcdiv" and d.kind not in "fc":
            raise RuntimeError(
                "Integer division with addcdiv is no longer supported, and in a future release "
                "addcdiv will perform a true division of tensor1 and tensor2."
            )
        if kind in "fc" and d.kind not in "fc":
            raise RuntimeError("value cannot be converted to type int64_t without overflow")
        if d.kind == "b":
            raise NotImplementedError(f"\"{name}_cpu_out\" not implemented for 'Bool'")
        return meta_of(d, broadcast_shapes(a.shape, b.shape, c.shape), a.device)

    return infer


def _addc_expand(name: str) -> Any:
    def expand(g: Any, a: Any, b: Any, c: Any, value: Any, kind: str) -> Any:
        d = result_type((shape_meta(a), shape_meta(b), shape_meta(c)))
        w = opmath(d)
        a, b, c, v = (g.cast(x, w) for x in (a, b, c, value))
        return g.cast(a + v * b * c if name == "addcmul" else a + v * b / c, d)

    return expand


def _addcmul_backward(n: Any, g: Tensor) -> tuple:
    ins, v = n.inst.ins, n.scalars[0]
    gb = gc = None
    if n.needs(1):
        gb = sum_to(g * conj_of(n.tensor(1) * v), ins[1])
    if n.needs(2):
        gc = sum_to(g * conj_of(n.tensor(0) * v), ins[2])
    return sum_to(g, ins[0]) if n.needs(0) else None, gb, gc


def _addcdiv_backward(n: Any, g: Tensor) -> tuple:
    ins, v = n.inst.ins, n.scalars[0]
    gb = gc = None
    if n.needs(1):
        gb = sum_to(g * conj_of(v / n.tensor(1)), ins[1])
    if n.needs(2):
        b, c = n.tensor(0), n.tensor(1)
        gc = sum_to(-g * conj_of(v * b / (c * c)), ins[2])
    return sum_to(g, ins[0]) if n.needs(0) else None, gb, gc


ADDCMUL = Op("addcmul", _addc_infer("addcmul"), _addc_expand("addcmul"), _addcmul_backward,
             saves="1 2", lies=AS_OPERANDS)  # fmt: skip
ADDCDIV = Op("addcdiv", _addc_infer("addcdiv"), _addc_expand("addcdiv"), _addcdiv_backward,
             saves="1 2", lies=AS_OPERANDS)  # fmt: skip


@both("addcmul")
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1,
            out: Tensor | None = None) -> Tensor:  # fmt: skip
    """input + value * tensor1 * tensor2."""
    return to_out(apply(ADDCMUL, (input, tensor1, tensor2), (number_type(value),), (value,)), out)


@both("addcdiv")
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1,
            out: Tensor | None = None) -> Tensor:  # fmt: skip
    """input + value * tensor1 / tensor2."""
    return to_out(apply(ADDCDIV, (input, tensor1, tensor2), (number_type(value),), (value,)), out)


inplace(addcmul)
inplace(addcdiv)

__all__ = ["META", "overwrite"]
