"""Arithmetic, comparisons, logic: the operators behind Python's symbols and their functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.blame import wrong_type
from facula.graph.dtypes import dtype
from facula.graph.formats import AS_OPERANDS
from facula.graph.meta import Meta, broadcast_shapes, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.pointwise import (
    BOOL,
    FLOAT,
    apply_rule,
    binary,
    need_tensors,
    number_of,
    operands,
    opmath,
    publish,
    result_type,
    sum_to,
    unary,
    unsupported,
)
from facula.ops.registry import TORCH, to_out
from facula.tensor import Tensor

# addition and subtraction ---------------------------------------------------------------


def _no_bool_sub(d: dtype) -> str | None:
    if d.kind == "b":
        return (
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
            "`logical_xor()` operator instead."
        )
    return None


def _add_backward(node: Any, g: Tensor) -> tuple:
    a, b = node.inst.ins
    m = g.meta
    ga = gb = g
    if a.shape != m.shape or a.dtype is not m.dtype:
        ga = sum_to(g, a) if node.edges[0] is not None else g
    if b.shape != m.shape or b.dtype is not m.dtype:
        gb = sum_to(g, b) if node.edges[1] is not None else g
    return ga, gb


def _or_add(g: Any, a: Any, b: Any) -> Any:
    return (a | b) if a.dtype.kind == "b" else a + b


add = binary("add", _or_add, lambda ctx, g: (g, g), dunder="add", raw_backward=_add_backward)
sub = binary(
    "sub", lambda g, a, b: a - b,
    lambda ctx, g: (g if ctx.needs(0) else None, -g if ctx.needs(1) else None),
    check=_no_bool_sub, dunder="sub",
)  # fmt: skip


def _scaled_infer(sign: int) -> Any:
    def infer(a: Meta, b: Meta, kind: str) -> Meta:
        d = result_type((a, b))
        if kind == "f" and d.kind not in "fc":
            raise RuntimeError(
                "For integral input tensors, argument alpha must not be a floating point number."
            )
        if kind == "b" and d.kind != "b":
            raise RuntimeError("Boolean alpha only supported for Boolean results.")
        return meta_of(d, broadcast_shapes(a.shape, b.shape), a.device)

    return infer


def _scaled_expand(sign: int) -> Any:
    def expand(g: Any, a: Any, b: Any, alpha: Any, kind: str) -> Any:
        d = result_type((meta_of(a.dtype, a.shape), meta_of(b.dtype, b.shape)))
        w = opmath(d)
        if w.kind == "b":
            return g.cast(a, d) | (g.cast(b, d) & g.cast(alpha, d))
        term = g.cast(b, w) * g.cast(alpha, w)
        return g.cast(g.cast(a, w) + term if sign > 0 else g.cast(a, w) - term, d)

    return expand


def _scaled_backward(sign: int) -> Any:
    def backward(node: Any, g: Tensor) -> tuple:
        a, b = node.inst.ins
        alpha = node.scalars[0] * sign
        return (
            sum_to(g, a) if node.needs(0) else None,
            sum_to(g * alpha, b) if node.needs(1) else None,
        )

    return backward


ADD_SCALED = Op("add", _scaled_infer(1), _scaled_expand(1), _scaled_backward(1),
                lies=AS_OPERANDS)  # fmt: skip
SUB_SCALED = Op("sub", _scaled_infer(-1), _scaled_expand(-1), _scaled_backward(-1),
                lies=AS_OPERANDS)  # fmt: skip


def _with_alpha(name: str, plain: Any, scaled: Op, sign: int) -> Any:
    def function(input: Tensor, other: Any, *, alpha: Any = 1, out: Tensor | None = None) -> Tensor:
        if (
            out is None
            and type(input) is type(other) is Tensor
            and type(alpha) is int
            and alpha == 1
        ):
            return plain(input, other)
        operands(name, input, other)
        number = alpha.item() if isinstance(alpha, Tensor) else number_of(alpha)
        if number is None:
            raise wrong_type(alpha, "Number")
        alpha = number
        if type(alpha) is int and alpha == 1:
            return to_out(plain(input, other), out)
        if isinstance(other, Tensor) and isinstance(input, Tensor):
            from facula.ops.pointwise import number_type

            return to_out(apply(scaled, (input, other), (number_type(alpha),), (alpha,)), out)
        return to_out(plain(input, other * alpha), out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"input {'+' if sign > 0 else '-'} alpha * other, elementwise."
    return function


publish("add", _with_alpha("add", add, ADD_SCALED, 1))
publish("sub", _with_alpha("sub", sub, SUB_SCALED, -1), aliases=("subtract",))


def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input."""
    need_tensors("rsub", input=input)
    return (
        TORCH["sub"](other, input, alpha=alpha)
        if isinstance(other, Tensor)
        else other - input * alpha
    )


publish("rsub", rsub, inplace=False)


# multiplication and division -----------------------------------------------------------


def conj_of(x: Any) -> Any:
    """Complex conjugate of a tensor or number (itself where real)."""
    if isinstance(x, Tensor):
        return x.conj() if x.meta.dtype.kind == "c" else x  # type: ignore[attr-defined]
    return x.conjugate() if isinstance(x, complex) else x


def _mul_backward(ctx: Any, g: Tensor) -> tuple:
    return (
        g * conj_of(ctx.b) if ctx.needs(0) else None,
        g * conj_of(ctx.a) if ctx.needs(1) else None,
    )


mul = binary("mul", lambda g, a, b: (a & b) if a.dtype.kind == "b" else a * b, _mul_backward,
             saves="0 1", dunder="mul")  # fmt: skip


def _div_backward(ctx: Any, g: Tensor) -> tuple:
    b = ctx.b
    ga = g / conj_of(b) if ctx.needs(0) else None
    gb = -g * conj_of((ctx.a / b) / b) if ctx.needs(1) else None
    return ga, gb


def _div_backward_number(ctx: Any, g: Tensor) -> tuple:
    return _div_backward(ctx, g)


div = binary("div", lambda g, a, b: a / b, _div_backward, saves="0 1", rule=FLOAT, dunder="truediv")


def _floor_backward(ctx: Any, g: Tensor) -> tuple:
    return None, None


def _quotient(prim: str) -> Callable[..., Any]:
    """fn(g, a, b) of a division with remainder, which reports a divisor 0 of whole numbers."""

    def fn(g: Any, a: Any, b: Any) -> Any:
        number = b.srcs[0] if b.op == "cast" else b  # looked at where it is recorded: `_divisible`
        if b.dtype.kind in "iu" and number.op not in ("scalar", "const"):
            b = b + g.cast(g.check(g.cast(b.eq(0), dt.int64), 1, "divisor", wrap=False), b.dtype)
        return g.binary(prim, a, b)

    return fn


def _divisible(input: Any, other: Any) -> None:
    """RuntimeError for a whole number divided by the number 0 with remainder."""
    if type(other) is int or type(other) is bool:
        if (
            not other
            and isinstance(input, Tensor)
            and input.meta.dtype.kind in "iub"
            and input.meta.numel
        ):
            raise RuntimeError("ZeroDivisionError")


def _whole(
    name: str, prim: str, backward: Callable | None, **how: Any
) -> Callable[[Any, Any], Any]:
    """The recorder of a division with remainder."""
    kernel = {"floordiv": "div_floor_cpu", "truncdiv": "div_trunc_cpu", "mod": "remainder_cpu"}.get(
        prim, f"{prim}_cpu"
    )

    def check(d: dtype) -> str | None:
        return unsupported(kernel, d) if d.kind == "b" else None

    return binary(name, _quotient(prim), backward, check=check, refuse=_divisible, **how)


floor_divide = _whole("floor_divide", "floordiv", None, dunder="floordiv")
trunc_divide = _whole("div", "truncdiv", lambda ctx, g: (g * 0, g * 0))
floor_div_mode = _whole("div", "floordiv", lambda ctx, g: (g * 0, g * 0))


_TENSOR_FIRST = frozenset("eq ne lt le gt ge fmod".split())
_TENSORS_ONLY = frozenset("logical_and logical_or logical_xor".split())


def _function(name: str, record: Any, doc: str) -> Any:
    def function(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
        if out is None and type(input) is type(other) is Tensor:
            return record(input, other)
        if name in _TENSOR_FIRST:
            need_tensors(name, input=input)
        elif name in _TENSORS_ONLY:
            need_tensors(name, input=input, other=other)
        operands(name, input, other)
        return to_out(record(input, other), out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


publish("mul", _function("mul", mul, "input * other, elementwise."), aliases=("multiply",))
publish(
    "floor_divide", _function("floor_divide", floor_divide, "floor(input / other), elementwise.")
)


def divide(
    input: Any, other: Any, *, rounding_mode: str | None = None, out: Tensor | None = None
) -> Tensor:
    """input / other, elementwise; `rounding_mode` None, "trunc" or "floor"."""
    if rounding_mode is out is None and type(input) is type(other) is Tensor:
        return div(input, other)
    operands("div", input, other)
    if rounding_mode is not None and not isinstance(rounding_mode, str):
        raise wrong_type(rounding_mode, "str")
    if rounding_mode not in _DIVISIONS:
        raise RuntimeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
            f"'{rounding_mode}'"
        )
    return to_out(_DIVISIONS[rounding_mode](input, other), out)


_DIVISIONS = {None: div, "trunc": trunc_divide, "floor": floor_div_mode}
divide.__name__ = divide.__qualname__ = "div"
publish("div", divide, aliases=("divide",))


def true_divide(dividend: Any, divisor: Any, *, out: Tensor | None = None) -> Tensor:
    """dividend / divisor as floating numbers."""
    return divide(dividend, divisor, out=out)


publish("true_divide", true_divide)


def _remainder_backward(ctx: Any, g: Tensor) -> tuple:
    gb = -g * floor_div_mode(ctx.a, ctx.b) if ctx.needs(1) else None
    return g, gb


def _fmod_backward(ctx: Any, g: Tensor) -> tuple:
    gb = -g * trunc_divide(ctx.a, ctx.b) if ctx.needs(1) else None
    return g, gb


remainder = _whole("remainder", "mod", _remainder_backward, saves="0 1", dunder="mod")
fmod = _whole("fmod", "fmod", _fmod_backward, saves="0 1")
publish("remainder", _function("remainder", remainder, "input modulo other, with other's sign."))
publish("fmod", _function("fmod", fmod, "input modulo other, with input's sign."))


# powers --------------------------------------------------------------------------------


def _no_bool_pow(d: dtype) -> str | None:
    return None


def _pow_backward(ctx: Any, g: Tensor) -> tuple:
    ga = gb = None
    if ctx.needs(0):
        ga = pow_gradient(ctx.a, ctx.b, g)
    if ctx.needs(1):
        a, out = ctx.a, ctx.out
        log = a.log() if isinstance(a, Tensor) else _log_number(a, out)
        zero = _not_negative(ctx.b) & (a == 0)
        gb = TORCH["where"](zero, TORCH["zeros_like"](out), g * conj_of(out * log))
    return ga, gb


def _not_negative(b: Tensor) -> Tensor:
    """Where 0 to the power of b does not grow with b: b is real and at least 0."""
    if b.meta.dtype.kind != "c":
        return b >= 0
    return TORCH["logical_and"](TORCH["imag"](b) == 0, TORCH["real"](b) >= 0)


def _log_number(a: Any, like: Tensor) -> Any:
    import cmath

    if a == 0:
        return -math.inf
    if isinstance(a, complex) or (a < 0 and like.meta.dtype.kind == "c"):
        return cmath.log(a)
    return math.log(a) if a > 0 else math.nan


def pow_gradient(a: Any, b: Any, g: Tensor) -> Tensor:
    """d a**b / da times g."""
    if isinstance(b, Tensor):
        return TORCH["where"](b == 0, TORCH["zeros_like"](g), g * conj_of(b * a ** (b - 1)))
    if b == 0:
        return TORCH["zeros_like"](g)
    return g * conj_of(b * a ** (b - 1))


pow_tensors = binary("pow", lambda g, a, b: g.binary("pow", a, b), _pow_backward, saves="0 1 out",
                     grad_name="PowBackward1")  # fmt: skip

_STATIC = {2: lambda a: a * a, 3: lambda a: a * a * a, 1: lambda a: a, 0.5: lambda a: a.sqrt(),
           -0.5: lambda a: a.rsqrt(), -1: lambda a: a.reciprocal(), -2: lambda a: (a * a).reciprocal(),
           4: lambda a: (a * a) * (a * a)}  # fmt: skip


def _static_infer(a: Meta, exponent: Any, kind: str) -> Meta:
    return meta_of(result_type((a,), (kind,)), a.shape, a.device)


def _static_expand(g: Any, a: Any, exponent: Any, kind: str) -> Any:
    d = result_type((meta_of(a.dtype, a.shape),), (kind,))
    return g.cast(_STATIC[exponent](g.cast(a, opmath(d))), d)


def _of_two_expand(g: Any, b: Any, base: Any, kind: str) -> Any:
    d = result_type((meta_of(b.dtype, b.shape),), (kind,))
    return g.cast(g.cast(b, opmath(d)).exp2(), d)


# exponents that have a short formula are part of the operator; others are run-time numbers
POW_STATIC = Op("pow", _static_infer, _static_expand,
                lambda node, g: sum_to(pow_gradient(node.tensor(0), node.params[0], g), node.inst.ins[0]),
                saves="0", lies=AS_OPERANDS)  # fmt: skip

# 2 ** x, where the result is a float
POW_OF_TWO = Op("pow", _static_infer, _of_two_expand,
                lambda node, g: g * node.tensor(0) * math.log(2), saves="out", grad_name="PowBackward2")  # fmt: skip


def power(input: Any, exponent: Any) -> Any:
    """input ** exponent."""
    x = number_of(exponent)
    if type(input) in (int, float) and input == 2 and isinstance(exponent, Tensor):
        kind = "f" if type(input) is float else "i"
        if _static_infer(exponent.meta, 2, kind).dtype.kind == "f":
            return apply(POW_OF_TWO, (exponent,), (2, kind))
    if x is not None and isinstance(input, Tensor):
        d = input.meta.dtype
        kind = "f" if type(x) is float else "i"
        floats = d.kind == "f" or (kind == "f" and d.kind != "c")
        if (
            type(x) in (int, float)
            and x in _STATIC
            and (floats or (d.kind in "iu" and x > 0 and kind == "i"))
        ):
            return apply(POW_STATIC, (input,), (x, kind))
        if type(x) is int and x < 0 and d.kind in "iub":
            raise RuntimeError("Integers to negative integer powers are not allowed.")
    return pow_tensors(input, exponent)


def pow(self: Any, exponent: Any, *, out: Tensor | None = None) -> Tensor:
    """input ** exponent, elementwise.

    >>> import facula as torch
    >>> torch.pow(torch.tensor([1.0, 2.0, 3.0]), 2)
    tensor([1., 4., 9.])
    """
    operands("pow", self, exponent)
    return to_out(power(self, exponent), out)


publish("pow", pow)
Tensor.__pow__ = power  # type: ignore[attr-defined]
Tensor.__rpow__ = lambda self, other: power(other, self)  # type: ignore[attr-defined]


def _ipow(self: Tensor, other: Any) -> Tensor:
    from facula.ops.inplace import write_back

    return write_back(self, power(self, other))


Tensor.__ipow__ = _ipow  # type: ignore[attr-defined]
Tensor.__rfloordiv__ = lambda self, other: floor_divide(other, self)  # type: ignore[attr-defined]


# comparisons ---------------------------------------------------------------------------


def _no_complex(name: str) -> Any:
    return lambda d: f"\"{name}_cpu\" not implemented for '{d.short}'" if d.kind == "c" else None


def _compare(name: str, dunder: str, aliases: tuple[str, ...] = ()) -> None:
    check = None if name in ("eq", "ne") else _no_complex(name)
    record = binary(name, lambda g, a, b: g.binary(name, a, b), None, rule=BOOL, check=check)

    def symbol(self: Tensor, other: Any) -> Any:
        return record(self, other)

    setattr(Tensor, dunder, symbol)
    function = _function(name, record, f"Elementwise comparison `{name}`.")

    def in_place(self: Tensor, other: Any) -> Tensor:
        from facula.ops.inplace import write_back

        return write_back(self, function(self, other).to(self.meta.dtype))

    publish(name, function, aliases=aliases, inplace=False)
    for n in (name, *aliases):
        setattr(Tensor, n + "_", in_place)


for _name, _dunder, _aliases in (
    ("eq", "__eq__", ()), ("ne", "__ne__", ("not_equal",)), ("lt", "__lt__", ("less",)),
    ("le", "__le__", ("less_equal",)), ("gt", "__gt__", ("greater",)), ("ge", "__ge__", ("greater_equal",)),
):  # fmt: skip
    _compare(_name, _dunder, _aliases)
Tensor.__hash__ = lambda self: id(self)  # type: ignore[method-assign, assignment]


# logic and bits ------------------------------------------------------------------------


def _only_bits(name: str) -> Any:
    name = name.replace("bitwise_left_", "l").replace("bitwise_right_", "r")  # as PyTorch's kernels
    return lambda d: f"\"{name}_cpu\" not implemented for '{d.short}'" if d.kind in "fc" else None


def _bits(name: str, prim: str, dunder: str, aliases: tuple[str, ...] = ()) -> None:
    record = binary(
        name, lambda g, a, b: g.binary(prim, a, b), None, check=_only_bits(name), dunder=dunder
    )
    publish(name, _function(name, record, f"Elementwise {name}."), aliases=aliases)


_bits("bitwise_and", "and", "and")
_bits("bitwise_or", "or", "or")
_bits("bitwise_xor", "xor", "xor")
_bits("bitwise_left_shift", "shl", "lshift")
_bits("bitwise_right_shift", "shr", "rshift")


def _truth(g: Any, v: Any) -> Any:
    return g.cast(v, dt.bool_)


def _logical(name: str, prim: str) -> None:
    record = binary(
        name, lambda g, a, b: g.binary(prim, _truth(g, a), _truth(g, b)), None, rule=BOOL
    )
    publish(name, _function(name, record, f"Elementwise {name} of truth values."), inplace=False)

    def in_place(self: Tensor, other: Any) -> Tensor:
        from facula.ops.inplace import write_back

        return write_back(self, record(self, other).to(self.meta.dtype))

    setattr(Tensor, name + "_", in_place)


for _name, _prim in (("logical_and", "and"), ("logical_or", "or"), ("logical_xor", "xor")):
    _logical(_name, _prim)

unary("logical_not", lambda g, a: ~_truth(g, a), rule=BOOL, inplace=False)
unary("bitwise_not", lambda g, a: ~a, refuse="fc")


def _logical_not_(self: Tensor) -> Tensor:
    from facula.ops.inplace import write_back

    return write_back(self, TORCH["logical_not"](self).to(self.meta.dtype))


Tensor.logical_not_ = _logical_not_  # type: ignore[attr-defined]
Tensor.__rdiv__ = Tensor.__rtruediv__  # type: ignore[attr-defined]
Tensor.__div__ = Tensor.__truediv__  # type: ignore[attr-defined]
Tensor.__idiv__ = Tensor.__itruediv__  # type: ignore[attr-defined]


def _invert(self: Tensor) -> Tensor:
    if self.meta.dtype.kind in "fc":
        raise TypeError(
            "~ (operator.invert) is only implemented on integer and Boolean-type tensors"
        )
    return TORCH["bitwise_not"](self)


Tensor.__invert__ = _invert  # type: ignore[attr-defined]


# maximum and minimum of two ------------------------------------------------------------


def _extreme_backward(op: str) -> Any:
    def backward(ctx: Any, g: Tensor) -> tuple:
        a, b, where = ctx.a, ctx.b, TORCH["where"]
        less, more = (a < b, a > b) if op == "max" else (a > b, a < b)
        shared = where(a == b, g / 2, g)  # beside a NaN both have all of it
        return (
            where(less, 0.0, shared) if ctx.needs(0) else None,
            where(more, 0.0, shared) if ctx.needs(1) else None,
        )

    return backward


def _no_complex(name: str) -> Any:
    return lambda d: f"{name} not implemented for complex tensors." if d.kind == "c" else None


def _fm_backward(op: str) -> Any:
    def backward(ctx: Any, g: Tensor) -> tuple:
        a, b = ctx.a, ctx.b
        first = ((a >= b) if op == "max" else (a <= b)) | TORCH["isnan"](b)
        return TORCH["where"](first, g, 0.0), TORCH["where"](first, 0.0, g)

    return backward


for _name, _prim, _back in (
    ("maximum", "maximum", _extreme_backward("max")), ("minimum", "minimum", _extreme_backward("min")),
    ("fmax", "fmax", _fm_backward("max")), ("fmin", "fmin", _fm_backward("min")),
):  # fmt: skip
    _record = binary(_name, lambda g, a, b, p=_prim: (a | b if "max" in p else a & b) if a.dtype.kind == "b" else g.binary(p, a, b),
                     _back, saves="0 1", check=_no_complex(_name))  # fmt: skip

    def _two_tensors(input: Tensor, other: Tensor, *, out: Tensor | None = None, _r: Any = _record,
                     _n: str = _name) -> Tensor:  # fmt: skip
        need_tensors(_n, input=input, other=other)
        return to_out(_r(input, other), out)

    _two_tensors.__name__ = _two_tensors.__qualname__ = _name
    publish(_name, _two_tensors, inplace=False)


__all__ = ["add", "apply_rule", "div", "mul", "sub"]
