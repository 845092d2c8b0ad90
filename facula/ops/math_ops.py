"""Elementary and special functions of one tensor."""

from __future__ import annotations

import math
from typing import Any

from facula.ops.elementwise import conj_of
from facula.ops.pointwise import BOOL, COUNT, FLOAT, unary
from facula.ops.registry import FUNCTIONAL, TORCH
from facula.tensor import Tensor

_TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)


def _x(node: Any) -> Tensor:
    return conj_of(node.tensor(0))


def _sigmoid(g: Any, a: Any) -> Any:
    return ((-a).exp() + 1).reciprocal() if a.dtype.kind == "c" else a.sigmoid()


def _nothing(n: Any, g: Tensor) -> Tensor:
    return TORCH["zeros_like"](g)


def _relu_backward(n: Any, g: Tensor) -> Tensor:
    """0 where the result is 0, whatever comes (sqrt's infinite slope in sqrt(relu(x))); NaN lets it by."""
    return TORCH["where"](n.tensor(0) <= 0, 0.0, g)


# name: (expansion, derivative, saved, rule); `t` is the saved tensor, conjugated where complex
_TABLE: dict[str, tuple[Any, Any, str, str]] = {
    "exp": (lambda g, a: a.exp(), lambda n, g: g * _x(n), "out", FLOAT),
    "exp2": (lambda g, a: a.exp2(), lambda n, g: g * _x(n) * math.log(2), "out", FLOAT),
    "expm1": (lambda g, a: a.expm1(), lambda n, g: g * (_x(n) + 1), "out", FLOAT),
    "log": (lambda g, a: a.log(), lambda n, g: g / _x(n), "0", FLOAT),
    "log2": (lambda g, a: a.log2(), lambda n, g: g / (_x(n) * math.log(2)), "0", FLOAT),
    "log10": (lambda g, a: a.log10(), lambda n, g: g / (_x(n) * math.log(10)), "0", FLOAT),
    "log1p": (lambda g, a: a.log1p(), lambda n, g: g / (_x(n) + 1), "0", FLOAT),
    "sqrt": (lambda g, a: a.sqrt(), lambda n, g: g / (2 * _x(n)), "out", FLOAT),
    "rsqrt": (lambda g, a: a.rsqrt(), lambda n, g: -0.5 * g * _x(n) ** 3, "out", FLOAT),
    "reciprocal": (lambda g, a: a.reciprocal(), lambda n, g: -g * _x(n) * _x(n), "out", FLOAT),
    "sin": (lambda g, a: a.sin(), lambda n, g: g * _x(n).cos(), "0", FLOAT),
    "cos": (lambda g, a: a.cos(), lambda n, g: g * -_x(n).sin(), "0", FLOAT),
    "tan": (lambda g, a: a.tan(), lambda n, g: g * (1 + _x(n) ** 2), "out", FLOAT),
    "asin": (lambda g, a: a.asin(), lambda n, g: g * (-_x(n) * _x(n) + 1).rsqrt(), "0", FLOAT),
    "acos": (lambda g, a: a.acos(), lambda n, g: g * -((-_x(n) * _x(n) + 1).rsqrt()), "0", FLOAT),
    "atan": (lambda g, a: a.atan(), lambda n, g: g / (_x(n) * _x(n) + 1), "0", FLOAT),
    "sinh": (lambda g, a: a.sinh(), lambda n, g: g * _x(n).cosh(), "0", FLOAT),
    "cosh": (lambda g, a: a.cosh(), lambda n, g: g * _x(n).sinh(), "0", FLOAT),
    "tanh": (lambda g, a: a.tanh(), lambda n, g: g * (1 - _x(n) * _x(n)), "out", FLOAT),
    "asinh": (lambda g, a: a.asinh(), lambda n, g: g * (_x(n) * _x(n) + 1).rsqrt(), "0", FLOAT),
    "acosh": (lambda g, a: a.acosh(), lambda n, g: g * (_x(n) * _x(n) - 1).rsqrt(), "0", FLOAT),
    "atanh": (lambda g, a: a.atanh(), lambda n, g: g / (1 - _x(n) * _x(n)), "0", FLOAT),
    "erf": (lambda g, a: a.erf(), lambda n, g: g * (_TWO_OVER_SQRT_PI * (-(_x(n) * _x(n))).exp()), "0", FLOAT),
    "erfc": (lambda g, a: a.erfc(), lambda n, g: g * (-_TWO_OVER_SQRT_PI * (-(_x(n) * _x(n))).exp()), "0", FLOAT),
    "erfinv": (lambda g, a: a.erfinv(), lambda n, g: g * (0.5 * math.sqrt(math.pi) * (_x(n) * _x(n)).exp()), "out", FLOAT),
    "lgamma": (lambda g, a: a.lgamma(), lambda n, g: g * _x(n).digamma(), "0", FLOAT),
    "sigmoid": (_sigmoid, lambda n, g: g * ((1 - _x(n)) * _x(n)), "out", FLOAT),
    "neg": (lambda g, a: -a, lambda n, g: -g, "", "same"),
    "abs": (lambda g, a: a.abs(), lambda n, g: g * n.tensor(0).sgn(), "0", "same"),
    "sign": (lambda g, a: a if a.dtype.kind == "b" else a.sign(), _nothing, "", "same"),
    "floor": (lambda g, a: a if a.dtype.kind in "iu" else a.floor(), _nothing, "", "same"),
    "ceil": (lambda g, a: a if a.dtype.kind in "iu" else a.ceil(), _nothing, "", "same"),
    "trunc": (lambda g, a: a if a.dtype.kind in "iu" else a.trunc(), _nothing, "", "same"),
    "square": (lambda g, a: a * a, lambda n, g: g * (_x(n) * 2), "0", COUNT),
    "relu": (lambda g, a: a.relu(), _relu_backward, "out", "same"),
}  # fmt: skip

_ALIASES = {
    "asin": ("arcsin",), "acos": ("arccos",), "atan": ("arctan",), "asinh": ("arcsinh",),
    "acosh": ("arccosh",), "atanh": ("arctanh",), "neg": ("negative",), "abs": ("absolute",),
    "trunc": ("fix",),
}  # fmt: skip
# by kind of dtype, in PyTorch's words
_REFUSED = {
    "neg": {
        "b": "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert "
        "a mask, use the `~` or `logical_not()` operator instead."
    },
    "relu": {
        "b": "Boolean inputs not supported for relu",
        "c": "clamp is not supported for complex types",
    },
    "sign": {
        "c": "Unlike NumPy, torch.sign is not intended to support complex numbers. Please use torch.sgn instead."
    },
    **{
        name: {
            "b": f"\"{name}_vml_cpu\" not implemented for 'Bool'",
            "c": f"{name} is not supported for complex inputs",
        }
        for name in ("floor", "ceil", "trunc")
    },
}
_GRAD_NAME = {"log1p": "Log1PBackward0", "square": "PowBackward0"}

for _name, (_fn, _back, _saves, _rule) in _TABLE.items():
    unary(_name, _fn, _back, saves=_saves, rule=_rule, aliases=_ALIASES.get(_name, ()),
          refuse=_REFUSED.get(_name, {}), grad_name=_GRAD_NAME.get(_name))  # fmt: skip

unary("isnan", lambda g, a: a.isnan() if a.dtype.kind == "f" else a.ne(a), rule=BOOL, inplace=False)
unary("digamma", lambda g, a: a.digamma(),
      lambda n, g: g * TORCH["polygamma"](1, n.tensor(0)), saves="0", rule=FLOAT)  # fmt: skip

_abs_real = Tensor.abs_  # type: ignore[attr-defined]


def _abs_in_place(self: Tensor) -> Tensor:
    """In-place version of `abs`."""
    if self.meta.dtype.kind == "c":
        raise RuntimeError("In-place abs is not supported for complex tensors.")
    return _abs_real(self)


for _name in ("abs_", "absolute_"):
    setattr(Tensor, _name, _abs_in_place)
    TORCH[_name] = _abs_in_place

Tensor.__neg__ = TORCH["neg"]  # type: ignore[attr-defined]
Tensor.__abs__ = TORCH["abs"]  # type: ignore[attr-defined]
Tensor.__pos__ = lambda self: self  # type: ignore[attr-defined]


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0), elementwise.

    >>> import facula as torch
    >>> torch.nn.functional.relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return TORCH["relu_"](input) if inplace else TORCH["relu"](input)


FUNCTIONAL["relu"] = relu
FUNCTIONAL["relu_"] = TORCH["relu_"]
