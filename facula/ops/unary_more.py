"""More elementwise functions of one tensor, with numbers that shape them."""

from __future__ import annotations

import math
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.formats import AS_OPERANDS
from facula.graph.meta import Meta, meta_of
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.elementwise import conj_of
from facula.ops.pointwise import FLOAT, apply_rule, opmath, unary, unsupported
from facula.ops.reduce import return_type
from facula.ops.registry import NAMESPACES, TORCH, both, inplace, to_out
from facula.tensor import Tensor

# rounding -----------------------------------------------------------------------------------


def _round_infer(a: Meta, decimals: int) -> Meta:
    if a.dtype.kind in "bc" or (decimals and a.dtype.kind != "f"):
        raise NotImplementedError(unsupported("round_cpu", a.dtype))
    return a.plain()


def _round_expand(g: Any, a: Any, decimals: int) -> Any:
    if a.dtype.kind != "f":
        return a
    w = opmath(a.dtype)
    x = g.cast(a, w)
    ten = 10.0 ** abs(decimals)
    if decimals > 0:
        x = (x * ten).round() / ten
    elif decimals < 0:
        x = (x / ten).round() * ten
    else:
        x = x.round()
    return g.cast(x, a.dtype)


ROUND = Op("round", _round_infer, _round_expand, lambda n, g: TORCH["zeros_like"](g),
           lies=AS_OPERANDS)  # fmt: skip


@both("round")
def round(input: Tensor, *, decimals: int = 0, out: Tensor | None = None) -> Tensor:
    """The nearest integers, halves to even; `decimals` moves the point."""
    return to_out(apply(ROUND, (input,), (decimals,)), out, exact=True)


TORCH["round_"] = inplace(round)

unary("frac", lambda g, a: a - a.trunc(), lambda n, g: g, refuse="iubc")

# angles ---------------------------------------------------------------------------------------

unary("deg2rad", lambda g, a: a * (math.pi / 180), lambda n, g: g * (math.pi / 180), rule=FLOAT,
      refuse="c")  # fmt: skip
unary("rad2deg", lambda g, a: a * (180 / math.pi), lambda n, g: g * (180 / math.pi), rule=FLOAT,
      refuse="c")  # fmt: skip


def _sinc(g: Any, a: Any) -> Any:
    p = a * math.pi
    zero = a.eq(0)
    safe = g.where(zero, g.const(1.0, a.dtype), p)
    return g.where(zero, g.const(1.0, a.dtype), safe.sin() / safe)


def _sinc_backward(n: Any, g: Tensor) -> Tensor:
    x = conj_of(n.tensor(0))
    p, square = x * math.pi, x * x * math.pi
    slope = (p * p.cos() - p.sin()) / square
    return g * TORCH["where"](square == 0, 0.0, slope)  # also where the square underflows


unary("sinc", _sinc, _sinc_backward, saves="0", rule=FLOAT)

# logit ----------------------------------------------------------------------------------------


def _logit_infer(a: Meta, eps: float | None) -> Meta:
    if a.dtype.kind == "c":
        raise NotImplementedError(unsupported("logit_cpu", a.dtype))
    return meta_of(apply_rule(FLOAT, a.dtype), a.shape, a.device)


def _logit_expand(g: Any, a: Any, eps: float | None) -> Any:
    d = apply_rule(FLOAT, a.dtype)
    x = g.cast(a, opmath(d))
    if eps is not None:
        x = x.maximum(eps).minimum(1.0 - eps)
    return g.cast((x / (1.0 - x)).log(), d)


def _logit_backward(n: Any, g: Tensor) -> Tensor:
    x, eps = n.tensor(0), n.params[0]
    slope = g / (x * (1 - x))
    if eps is None:
        return TORCH["where"]((x >= 0) & (x <= 1), slope, math.nan)
    return TORCH["where"]((x >= eps) & (x <= 1 - eps), slope, 0.0)


LOGIT = Op("logit", _logit_infer, _logit_expand, _logit_backward, saves="0")


@both("logit")
def logit(input: Tensor, eps: float | None = None, *, out: Tensor | None = None) -> Tensor:
    """log(x / (1 - x)), x moved into [eps, 1 - eps] first where eps is given."""
    return to_out(apply(LOGIT, (input,), (None if eps is None else float(eps),)), out)


TORCH["logit_"] = inplace(logit)


# float_power ------------------------------------------------------------------------------------


@both("float_power")
def float_power(input: Any, exponent: Any, *, out: Tensor | None = None) -> Tensor:
    """input ** exponent in double precision."""
    is_complex = any(
        x.meta.dtype.kind == "c" if isinstance(x, Tensor) else isinstance(x, complex)
        for x in (input, exponent)
    )
    d = dt.complex128 if is_complex else dt.float64
    if out is not None and out.meta.dtype is not d:
        raise RuntimeError(
            f"the output given to float_power has dtype {out.meta.dtype.short} but the operation's "
            f"result requires dtype {d.short}"
        )

    def wide(x: Any) -> Any:
        if isinstance(x, Tensor):
            return x.to(d)  # type: ignore[attr-defined]
        return complex(x) if is_complex else float(x)

    return to_out(TORCH["pow"](wide(input), wide(exponent)), out)


def _float_power_(self: Tensor, exponent: Any) -> Tensor:
    from facula.ops.inplace import write_back

    got = float_power(self, exponent)
    if got.meta.dtype is not self.meta.dtype:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {self.meta.dtype.short} but the operation's "
            f"result requires dtype {got.meta.dtype.short}"
        )
    return write_back(self, got)


Tensor.float_power_ = _float_power_  # type: ignore[attr-defined]

for _name, _source in (("round", "round"), ("sinc", "sinc"), ("logit", "logit")):
    NAMESPACES["special"][_name] = TORCH[_source]


# frexp --------------------------------------------------------------------------------------------


def _frexp_expand(g: Any, x: Any) -> list:
    """Mantissas in [0.5, 1) and exponents of 2."""
    wide = g.cast(x, opmath(x.dtype))
    return [g.cast(g.unary("mantissa", wide), x.dtype), g.cast(g.unary("exponent", wide), dt.int32)]


def _frexp_infer(a: Meta) -> tuple[Meta, Meta]:
    if a.dtype.kind != "f":
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    return a.plain(), meta_of(dt.int32, a.shape, a.device)


def _frexp_backward(n: Any, g: Tensor, _: Any = None) -> Tensor:
    return g / TORCH["pow"](2.0, n.tensor(0)).to(g.meta.dtype)


FREXP = Op("frexp", _frexp_infer, _frexp_expand, _frexp_backward, saves="out1", materialize=False)
_FREXP = return_type("frexp", "mantissa", "exponent")


@both("frexp")
def frexp(input: Tensor, *, out: Any = None) -> Any:
    """(mantissa, exponent) with input = mantissa * 2 ** exponent."""
    return to_out(_FREXP(*apply(FREXP, (input,))), out)
