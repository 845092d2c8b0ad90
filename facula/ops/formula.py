"""Formulas that are written once and read twice: in expansions and in derivatives of derivatives.

A formula is a Python function f(k, x, *numbers) of values that support arithmetic, comparisons and
the elementary functions as methods. With k = `on_graph(g)` they are primitive values, so that an
operator or its derivative is one fused node; with k = `TENSORS` they are tensors, so that a
derivative that will itself be differentiated is recorded in public operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from facula.graph.blame import wrong_type
from facula.graph.formats import AS_OPERANDS
from facula.graph.meta import Meta, meta_of
from facula.graph.tape import LOCAL, Op
from facula.ops.apply import apply
from facula.ops.inplace import write_back
from facula.ops.pointwise import opmath, unsupported
from facula.ops.registry import TORCH
from facula.tensor import Tensor, wrap


class _OnGraph:
    """What a formula needs besides arithmetic, on primitive values."""

    __slots__ = ("dtype", "g")

    def __init__(self, g: Any, dtype: Any = None) -> None:
        self.g, self.dtype = (
            g,
            dtype,
        )  # that of the result, which may be narrower than what is computed in

    def where(self, c: Any, a: Any, b: Any) -> Any:
        """a where c holds, else b; at least one is no plain number."""
        return self.g.where(c, a, b)

    def like(self, x: Any, value: float) -> Any:
        """A number as a value of x's type."""
        return self.g.const(value, x.dtype)

    def rounded(self, x: Any) -> Any:
        """x as far as the result's dtype holds it, where PyTorch stores it in between."""
        return x if self.dtype is None else self.g.cast(self.g.cast(x, self.dtype), x.dtype)


class _OnTensors:
    """The same on tensors."""

    __slots__ = ()

    @staticmethod
    def where(c: Any, a: Any, b: Any) -> Any:
        return TORCH["where"](c, a, b)

    @staticmethod
    def like(x: Any, value: float) -> Any:
        return TORCH["full"]((), value, dtype=x.dtype, device=x.device)

    @staticmethod
    def rounded(x: Any) -> Any:
        return x


on_graph = _OnGraph
TENSORS = _OnTensors()


def recording() -> bool:
    """Whether what is done now is itself recorded for derivatives (create_graph)."""
    return LOCAL.tape.grad


def pointwise(
    name: str,
    value: Callable[..., Any],
    slope: Callable[..., Any] | None,
    *,
    passes: Callable[..., Any] | None = None,
    kinds: str = "f",
    saves: str = "0",
    grad_name: str | None = None,
    kernel: str | None = None,
) -> Op:
    """An elementwise operator of one tensor and run-time numbers.

    value(k, x, *numbers); slope(k, t, *numbers) is its derivative in x, where t is what `saves`
    says. Where passes(k, t, *numbers) does not hold the gradient is 0, whatever comes (infinity and
    NaN are not multiplied with a slope of 0); no `slope` is one of 1. `kinds` are the dtypes it is
    for, `kernel` the name PyTorch's error shows.
    """

    def infer(a: Meta, *_: Any) -> Meta:
        if a.dtype.kind not in kinds:
            raise NotImplementedError(unsupported(kernel or f"{name}_cpu", a.dtype))
        return meta_of(a.dtype, a.shape, a.device)

    def expand(g: Any, x: Any, *numbers: Any) -> Any:
        w = opmath(x.dtype)
        return g.cast(value(on_graph(g), g.cast(x, w), *[g.cast(v, w) for v in numbers]), x.dtype)

    def gradient(k: Any, grad: Any, t: Any, *numbers: Any) -> Any:
        out = grad if slope is None else grad * slope(k, t, *numbers)
        return out if passes is None else k.where(passes(k, t, *numbers), out, k.like(t, 0.0))

    def back_expand(g: Any, grad: Any, t: Any, *numbers: Any) -> Any:
        w = opmath(t.dtype)
        numbers = tuple(g.cast(v, w) for v in numbers)
        return g.cast(gradient(on_graph(g), g.cast(grad, w), g.cast(t, w), *numbers), t.dtype)

    back = Op(name + "_backward", lambda grad, t: t.plain(), back_expand, lies=AS_OPERANDS)

    def backward(n: Any, grad: Tensor) -> Tensor:
        t = n.tensor(0)
        if t.meta.dtype.kind == "c" and slope is not None:
            return grad * slope(TENSORS, t, *n.scalars).conj()
        if recording():
            return gradient(TENSORS, grad, t, *n.scalars)
        return apply(back, (grad, t), (), n.scalars)

    return Op(name, infer, expand, backward, saves=saves, grad_name=grad_name, lies=AS_OPERANDS)


def snapshot(t: Tensor) -> Tensor:
    """t's value and history under a storage of its own, which writes to t do not reach."""
    from facula.graph.tape import LOCAL
    from facula.ops.shape import COPY

    grad, LOCAL.tape.grad = LOCAL.tape.grad, False
    try:
        copy = apply(COPY, (t,), (tuple(t.meta.shape),))
    finally:
        LOCAL.tape.grad = grad
    copy = wrap(copy._s, copy.meta)
    copy._rg, copy._g = t._rg, t._g
    return copy


def in_place(t: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
    """run(t) written back into t; what run saves of t is its value before."""
    if t._rg and LOCAL.tape.grad:
        if t._g is None:
            raise RuntimeError(
                "a leaf Variable that requires grad is being used in an in-place operation."
            )
        return write_back(t, run(snapshot(t)))
    return write_back(t, run(t))


def numbers(values: Sequence[Any]) -> tuple[float, ...]:
    """Run-time numbers as floats, whatever the caller gave."""
    for v in values:
        if not hasattr(v, "__float__"):
            raise wrong_type(v, "Number")
    return tuple([float(v) for v in values])


def run(op: Op, input: Tensor, inplace: bool, *values: Any) -> Tensor:
    """Records a pointwise operator, in place where asked."""
    given = numbers(values)
    if inplace:
        return in_place(input, lambda t: apply(op, (t,), (), given))
    return apply(op, (input,), (), given)
