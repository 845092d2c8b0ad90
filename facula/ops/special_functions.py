"""`torch.special` and the gamma family."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.meta import Meta, broadcast_shapes, meta_of
from facula.graph.tape import Op
from facula.ops import special_numpy as sn
from facula.ops import special_series
from facula.ops.apply import apply
from facula.ops.incomplete import incomplete_gamma
from facula.ops.pointwise import FLOAT, apply_rule, binary, opmath, unary, unsupported
from facula.ops.polynomials import POLYNOMIALS, np_polynomial
from facula.ops.registry import FUNCTIONAL, NAMESPACES, TORCH, both, inplace, to_out
from facula.ops.zeta import np_polygamma, np_zeta
from facula.tensor import Tensor

SPECIAL = NAMESPACES["special"]

# functions of one tensor: NumPy in double precision -------------------------------------------------

_FUNCTIONS = {
    name: getattr(sn, name)
    for name in (
        "erfcx", "ndtr", "log_ndtr", "ndtri", "i0", "i0e", "i1", "i1e", "bessel_j0", "bessel_j1",
        "bessel_y0", "bessel_y1", "modified_bessel_k0", "modified_bessel_k1",
        "scaled_modified_bessel_k0", "scaled_modified_bessel_k1", "spherical_bessel_j0", "airy_ai",
    )
}  # fmt: skip


def np_special(x: np.ndarray, name: str) -> np.ndarray:
    """A function of `_FUNCTIONS` on any floating array."""
    with np.errstate(all="ignore"):
        flat = np.asarray(x, np.float64).reshape(-1)
        return _FUNCTIONS[name](flat).reshape(np.shape(x))


def _host(name: str) -> Any:
    if name in special_series.FORMULAS:
        return special_series.FORMULAS[name]
    return lambda g, a: g.host(np_special, [(a.dtype, a.shape)], [a], (name,))[0]


_SQRT_2_PI = math.sqrt(2 * math.pi)


def _i1_slope(n: Any, g: Tensor) -> Tensor:
    x, y = n.tensor(0), n.tensor(1)
    safe = TORCH["where"](x == 0, 1.0, x)
    return g * TORCH["where"](x == 0, 0.5, SPECIAL["i0"](x) - y / safe)


def _i1e_slope(n: Any, g: Tensor) -> Tensor:
    x, y = n.tensor(0), n.tensor(1)
    safe = TORCH["where"](x == 0, 1.0, x)
    return g * TORCH["where"](x == 0, 0.5, SPECIAL["i0e"](x) - y * (x.sgn() + safe.reciprocal()))


# name: (derivative, what it reads); functions without one have none in PyTorch either
_SLOPES: dict[str, tuple[Any, str]] = {
    "erfcx": (lambda n, g: g * (2 * n.tensor(0) * n.tensor(1) - 2 / math.sqrt(math.pi)), "0 out"),
    "ndtr": (lambda n, g: g * (-n.tensor(0) ** 2 / 2).exp() / _SQRT_2_PI, "0"),
    "log_ndtr": (lambda n, g: g / SPECIAL["erfcx"](n.tensor(0) * -math.sqrt(0.5)) * math.sqrt(2 / math.pi), "0"),
    "ndtri": (lambda n, g: g * _SQRT_2_PI * (n.tensor(0) ** 2 / 2).exp(), "out"),
    "i0": (lambda n, g: g * SPECIAL["i1"](n.tensor(0)), "0"),
    "i0e": (lambda n, g: g * (SPECIAL["i1e"](n.tensor(0)) - n.tensor(0).sgn() * n.tensor(1)), "0 out"),
    "i1": (_i1_slope, "0 out"),
    "i1e": (_i1e_slope, "0 out"),
}  # fmt: skip


def _no_slope(name: str) -> Any:
    def backward(node: Any, *grads: Any) -> Any:
        raise NotImplementedError(f"the derivative for '{name}' is not implemented.")

    return backward


def _keep_in_special(
    name: str, function: Any, torch_too: bool = False, special: str | None = None
) -> None:
    SPECIAL[special or name] = function
    if not torch_too:
        for holder in (TORCH,):
            holder.pop(name, None)
            holder.pop(name + "_", None)


for _name in _FUNCTIONS:
    _slope, _saves = _SLOPES.get(_name, (_no_slope("special_" + _name), ""))
    _in_torch = _name == "i0"
    _fn = unary(_name, _host(_name), _slope, saves=_saves, rule=FLOAT, refuse="c", method=_in_torch,
                inplace=_in_torch, grad_name="Special" + "".join(w.title() for w in _name.split("_")) + "Backward0"
                if not _in_torch else None)  # fmt: skip
    _keep_in_special(_name, _fn, _in_torch)
SPECIAL["modified_bessel_i0"] = unary("special_modified_bessel_i0", _host("i0"), _no_slope("special_modified_bessel_i0"),
                                      rule=FLOAT, refuse="c", method=False, inplace=False)  # fmt: skip
SPECIAL["modified_bessel_i1"] = unary("special_modified_bessel_i1", _host("i1"), _no_slope("special_modified_bessel_i1"),
                                      rule=FLOAT, refuse="c", method=False, inplace=False)  # fmt: skip


def _entr(g: Any, a: Any) -> Any:
    body = g.where(a.eq(0), g.const(0.0, a.dtype), -a * a.log())
    return g.where(a.isnan(), a, g.where(a < 0, g.const(-math.inf, a.dtype), body))


SPECIAL["entr"] = unary("special_entr", _entr, lambda n, g: g * (-n.tensor(0).log() - 1), saves="0", rule=FLOAT,
                        refuse="c", method=False, inplace=False)  # fmt: skip
for _name in [n for n in TORCH if n.startswith("special_")]:
    del TORCH[_name]

# names that are elsewhere already
for _name, _source in {
    "digamma": "digamma", "psi": "digamma", "gammaln": "lgamma", "erf": "erf", "erfc": "erfc", "erfinv": "erfinv",
    "exp2": "exp2", "expm1": "expm1", "expit": "sigmoid", "log1p": "log1p",
}.items():  # fmt: skip
    SPECIAL[_name] = TORCH[_source]


def _from_functional(name: str) -> Any:
    def function(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
        return FUNCTIONAL[name](input, dim, dtype=dtype)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{name} along dim."
    return function


for _name in ("softmax", "log_softmax"):
    SPECIAL[_name] = _from_functional(_name)

# polygamma --------------------------------------------------------------------------------------------


def _polygamma_infer(a: Meta, n: int) -> Meta:
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if a.dtype.kind == "c":
        raise NotImplementedError(unsupported("polygamma", a.dtype))
    return meta_of(apply_rule(FLOAT, a.dtype), a.shape, a.device)


def _polygamma_expand(g: Any, x: Any, n: int) -> Any:
    d = apply_rule(FLOAT, x.dtype)
    if n == 1:
        return g.cast(special_series.trigamma(g, g.cast(x, opmath(d))), d)
    return g.host(np_polygamma, [(d, x.shape)], [x], (n,))[0]


POLYGAMMA = Op("polygamma", _polygamma_infer, _polygamma_expand,
               lambda n, g: g * polygamma(n.params[0] + 1, n.tensor(0)), saves="0")  # fmt: skip


def polygamma(n: int, input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """n-th derivative of digamma."""
    if n == 0:
        return TORCH["digamma"](input, out=out)
    return to_out(apply(POLYGAMMA, (input,), (int(n),)), out)


TORCH["polygamma"] = SPECIAL["polygamma"] = polygamma
Tensor.polygamma = lambda self, n: polygamma(n, self)  # type: ignore[attr-defined]


def _polygamma_method(self: Tensor, n: int) -> Tensor:
    return polygamma(n, self)


Tensor.polygamma = _polygamma_method  # type: ignore[attr-defined]
inplace(_polygamma_method, "polygamma")


@both("mvlgamma")
def mvlgamma(input: Tensor, p: int, *, out: Tensor | None = None) -> Tensor:
    """log of the multivariate gamma function."""
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    if input.meta.dtype.kind == "b" or input.meta.dtype.kind == "c":
        raise NotImplementedError(unsupported("mvlgamma", input.meta.dtype))
    x = input if input.meta.dtype.kind == "f" else input.to(dt.default_dtype())  # type: ignore[attr-defined]
    steps = TORCH["arange"](-p / 2 + 0.5, 0.5, 0.5, dtype=x.meta.dtype, device=x.meta.device)
    total = (x.unsqueeze(-1) + steps).lgamma().sum(-1)
    return to_out(total + p * (p - 1) / 4 * math.log(math.pi), out)


inplace(mvlgamma)
SPECIAL["multigammaln"] = mvlgamma

# functions of two tensors --------------------------------------------------------------------------------


def _two(fn_name: str, kind: str) -> Any:
    def expand(g: Any, a: Any, b: Any) -> Any:
        shape = broadcast_shapes(a.shape, b.shape)
        args = [g.expand(v, shape) for v in (a, b)]
        return g.host(np_two, [(a.dtype, shape)], args, (fn_name, kind))[0]

    return expand


def np_two(a: np.ndarray, b: np.ndarray, name: str, kind: str) -> np.ndarray:
    """A function of two arrays by name."""
    if kind == "incomplete":
        return incomplete_gamma(a, b, name == "gammaincc")
    if name == "zeta":
        return np_zeta(a, b)
    return np_polynomial(a, b, name)


def _public(name: str, record: Any, numbers: bool) -> Any:
    def function(input: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
        tensors = [isinstance(x, Tensor) for x in (input, other)]
        if not any(tensors) or not (numbers or all(tensors)):
            bad = next(x for x in (input, other) if not isinstance(x, Tensor))
            raise TypeError(f"{name}(): argument must be Tensor, not {type(bad).__name__}")
        return to_out(record(input, other), out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Elementwise {name}."
    return function


def _no_complex(name: str) -> Any:
    return lambda d: f"\"{name}\" not implemented for '{d.short}'" if d.kind == "c" else None


def _only_float(name: str) -> Any:
    return lambda d: f"\"{name}\" not implemented for '{d.short}'" if d.kind != "f" else None


def _zeta_backward(ctx: Any, g: Tensor) -> tuple:
    if ctx.needs(0):
        raise NotImplementedError("the derivative for 'self' of 'special_zeta' is not implemented.")
    a, b = ctx.a, ctx.b
    return None, g * -a * SPECIAL["zeta"](a + 1, b)


SPECIAL["zeta"] = _public("zeta", binary("special_zeta", _two("zeta", ""), _zeta_backward, saves="0 1", rule=FLOAT,
                                         check=_no_complex("zeta")), True)  # fmt: skip
for _name in POLYNOMIALS:
    SPECIAL[_name] = _public(_name, binary("special_" + _name, _two(_name, "polynomial"),
                                           lambda ctx, g, n=_name: _no_slope("special_" + n)(ctx, g),
                                           rule=FLOAT, check=_no_complex(_name)), True)  # fmt: skip


def _gammainc_backward(sign: int) -> Any:
    def backward(ctx: Any, g: Tensor) -> tuple:
        if ctx.needs(0):
            raise NotImplementedError("the derivative for 'self' of 'igamma' is not implemented.")
        a, x = ctx.a, ctx.b
        slope = ((a - 1) * x.log() - x - TORCH["lgamma"](a)).exp()
        return None, g * slope * sign

    return backward


for _name, _alias, _fn_name, _sign in (
    ("igamma", "gammainc", "gammainc", 1),
    ("igammac", "gammaincc", "gammaincc", -1),
):
    _function = _public(_name, binary(_name, _two(_fn_name, "incomplete"), _gammainc_backward(_sign), saves="0 1",
                                      check=_only_float(_name)), False)  # fmt: skip
    both(_name)(_function)
    inplace(_function, _name)
    SPECIAL[_alias] = _function

__all__ = ["Op"]
