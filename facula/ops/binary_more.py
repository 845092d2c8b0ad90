"""More elementwise functions of two tensors."""

from __future__ import annotations

import math
from typing import Any

from facula.graph import dtypes as dt
from facula.ops.complexes import conj, imag_part, joined, parts, real_part
from facula.ops.divisors import np_gcd, np_lcm
from facula.ops.elementwise import conj_of
from facula.ops.pointwise import FLOAT, binary, need_tensors, operands, publish
from facula.ops.registry import NAMESPACES, TORCH, to_out
from facula.tensor import Tensor


def _no(kinds: str, name: str) -> Any:
    return lambda d: f"\"{name}\" not implemented for '{d.short}'" if d.kind in kinds else None


def _publish(name: str, record: Any, *, numbers: bool = False, aliases: tuple[str, ...] = (),
             method: bool = True, inplace: bool = True, doc: str = "") -> Any:  # fmt: skip
    """The public function of a recorder; `numbers`: an operand may be a Python number."""

    def function(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
        if numbers:
            if name == "copysign":
                need_tensors(name, input=input)
            operands(name, input, other)
        else:
            need_tensors(name, input=input, other=other)
        return to_out(record(input, other), out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc or f"Elementwise {name}."
    publish(name, function, aliases=aliases, method=method, inplace=inplace)
    return function


# geometry -------------------------------------------------------------------------------------


def _atan2_backward(ctx: Any, g: Tensor) -> tuple:
    a, b = ctx.a, ctx.b
    size = a * a + b * b
    scale = TORCH["where"](size == 0, 0.0, g / size)
    return (scale * b if ctx.needs(0) else None, scale * -a if ctx.needs(1) else None)


atan2 = _publish("atan2", binary("atan2", lambda g, a, b: a.atan2(b), _atan2_backward,
                                 saves="0 1", rule=FLOAT, check=_no("c", "atan2_cpu")),
                 aliases=("arctan2",))  # fmt: skip


def _hypot_backward(ctx: Any, g: Tensor) -> tuple:
    out = ctx.out
    return (
        g * (ctx.a / out) if ctx.needs(0) else None,
        g * (ctx.b / out) if ctx.needs(1) else None,
    )


_publish("hypot", binary("hypot", lambda g, a, b: a.hypot(b), _hypot_backward, saves="0 1 out",
                         check=_no("biuc", "hypot_cpu")))  # fmt: skip


def _copysign_backward(ctx: Any, g: Tensor) -> tuple:
    ga = None
    if ctx.needs(0):
        a = ctx.a
        ga = TORCH["where"](a == 0, 0.0, g * (ctx.out / a))
    return ga, TORCH["zeros_like"](g) if ctx.needs(1) else None


_publish("copysign", binary("copysign", lambda g, a, b: a.copysign(b), _copysign_backward,
                            saves="0 out", rule=FLOAT, check=_no("c", "copysign_cpu")),
         numbers=True)  # fmt: skip


def _nextafter_backward(ctx: Any, g: Tensor) -> tuple:
    return g, TORCH["zeros_like"](g)


_publish("nextafter", binary("nextafter", lambda g, a, b: a.nextafter(b), _nextafter_backward,
                             check=_no("biuc", "nextafter_cpu")))  # fmt: skip


# logarithms -----------------------------------------------------------------------------------


def _xlogy(log: str) -> Any:
    def expand(g: Any, a: Any, b: Any) -> Any:
        product = a * g.unary(log, b)
        return g.where(b.isnan(), b, g.where(a.eq(0), g.const(0.0, a.dtype), product))

    return expand


def _xlogy_backward(ctx: Any, g: Tensor) -> tuple:
    a, b = ctx.a, ctx.b
    ga = gb = None
    if ctx.needs(0):
        log = b.log() if isinstance(b, Tensor) else (math.log(b) if b > 0 else -math.inf)
        ga = TORCH["where"]((a == 0) & (b <= 0), 0.0, g * log)
    if ctx.needs(1):
        gb = g * a / b
    return ga, gb


def _xlog1py_backward(ctx: Any, g: Tensor) -> tuple:
    a, b = ctx.a, ctx.b
    ga = gb = None
    if ctx.needs(0):
        log = b.log1p() if isinstance(b, Tensor) else (math.log1p(b) if b > -1 else -math.inf)
        ga = TORCH["where"]((a == 0) & (b <= -1), 0.0, g * log)
    if ctx.needs(1):
        gb = g * a / (b + 1)
    return ga, gb


NAMESPACES["special"]["xlogy"] = _publish(
    "xlogy", binary("xlogy", _xlogy("log"), _xlogy_backward, saves="0 1", rule=FLOAT,
                    check=_no("c", "xlogy_cpu")), numbers=True)  # fmt: skip


def _special_binary(name: str, record: Any, numbers: bool = True) -> None:
    before = TORCH.get(name)
    NAMESPACES["special"][name] = _publish(
        name, record, numbers=numbers, method=False, inplace=False
    )
    if before is None:
        TORCH.pop(name, None)


_special_binary("xlog1py", binary("special_xlog1py", _xlogy("log1p"), _xlog1py_backward,
                                  saves="0 1", rule=FLOAT, check=_no("c", "xlog1py_cpu")))  # fmt: skip


def _logaddexp(base: float) -> Any:
    scale = math.log(base)

    def expand(g: Any, a: Any, b: Any) -> Any:
        if a.dtype.kind == "c":
            return _complex_logaddexp(g, a, b)
        top, low = a.maximum(b), a.minimum(b)
        same = a.eq(b) & a.isinf()
        gap = low - top
        if base == 2:
            return g.where(same, a, top + gap.exp2().log1p() / scale)
        return g.where(same, a, top + gap.exp().log1p())

    return expand


def _complex_logaddexp(g: Any, a: Any, b: Any) -> Any:
    (ra, _), (rb, _) = parts(g, a), parts(g, b)
    first = ra >= rb
    top, low = g.where(first, a, b), g.where(first, b, a)
    gap = (low - top).exp()
    sum_ = joined(g, *parts(g, gap + 1))
    return top + sum_.log()


def _logaddexp_backward(base: float) -> Any:
    power = TORCH["exp"] if base != 2 else TORCH["exp2"]

    def share(g: Tensor, x: Tensor, other: Tensor) -> Tensor:
        return g / conj_of(power(other - x) + 1)  # type: ignore[no-any-return]

    def backward(ctx: Any, g: Tensor) -> tuple:
        a, b = ctx.a, ctx.b
        return (
            share(g, a, b) if ctx.needs(0) else None,
            share(g, b, a) if ctx.needs(1) else None,
        )

    return backward


for _name, _base in (("logaddexp", math.e), ("logaddexp2", 2.0)):
    _publish(_name, binary(_name, _logaddexp(_base), _logaddexp_backward(_base), saves="0 1",
                           check=_no("biu" if _base != 2 else "biuc", _name + "_cpu")),
             inplace=False)  # fmt: skip


# integers -------------------------------------------------------------------------------------


def _host2(fn: Any) -> Any:
    def expand(g: Any, a: Any, b: Any) -> Any:
        from facula.graph.meta import broadcast_shapes

        shape = broadcast_shapes(a.shape, b.shape)
        return g.host(fn, [(a.dtype, shape)], [g.expand(a, shape), g.expand(b, shape)])[0]

    return expand


def _no_wide_unsigned(name: str) -> Any:
    others = _no("bfc", name)
    wide = (dt.uint16, dt.uint32, dt.uint64)
    return lambda d: f"\"{name}\" not implemented for '{d.short}'" if d in wide else others(d)


for _name, _host in (("gcd", np_gcd), ("lcm", np_lcm)):
    _publish(_name, binary(_name, _host2(_host), None, check=_no_wide_unsigned(_name + "_cpu")))


# others ---------------------------------------------------------------------------------------


def heaviside(input: Tensor, values: Tensor, *, out: Tensor | None = None) -> Tensor:
    """0 below zero, 1 above, `values` at zero."""
    need_tensors("heaviside", input=input, values=values)
    a, b = input.meta.dtype, values.meta.dtype
    if a.kind == "c" or b.kind == "c":
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    if a is not b or (out is not None and out.meta.dtype is not a):
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    return to_out(_heaviside(input, values), out)


_heaviside = binary(
    "heaviside",
    lambda g, a, b: (
        g.where(a, g.const(True, dt.bool_), b)
        if a.dtype.kind == "b"
        else g.where(a.eq(0), b, g.cast(a > 0, a.dtype))
    ),
    None,
)
publish("heaviside", heaviside)


def ldexp(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """input * 2 ** other."""
    need_tensors("ldexp", input=input, other=other)
    return to_out(input * TORCH["pow"](2.0, other), out)


publish("ldexp", ldexp)

__all__ = ["conj", "imag_part", "real_part"]
