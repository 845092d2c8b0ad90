"""Derivatives compared with finite differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from facula.autograd.mode import enable_grad, no_grad
from facula.graph import dtypes as dt
from facula.ops.gradients import grad
from facula.ops.registry import TORCH
from facula.tensor import Tensor

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """A derivative is not what finite differences say."""


def _outputs(fn: Callable, inputs: tuple) -> list[Tensor]:
    out = fn(*inputs)
    outs = out if isinstance(out, (tuple, list)) else (out,)
    return [o for o in outs if isinstance(o, Tensor) and (o.is_floating_point() or o.is_complex())]


def _numerical(fn: Callable, inputs: tuple, k: int, eps: float) -> list[Tensor]:
    """Real Jacobian by input k per output: (elements in, elements out), complex numbers as pairs."""
    x = inputs[k].detach().clone()
    flat = TORCH["view_as_real"](x).reshape(-1) if x.is_complex() else x.reshape(-1)
    rows: list[list[Tensor]] = []
    for i in range(flat.numel()):
        sides = []
        for sign in (1, -1):
            moved = flat.clone()
            moved[i] += sign * eps
            arg = (
                TORCH["view_as_complex"](moved.reshape(*x.shape, 2))
                if x.is_complex()
                else moved.reshape(x.shape)
            )
            with no_grad():
                args = tuple(arg if j == k else t for j, t in enumerate(inputs))
                sides.append([_real_line(o).clone() for o in _outputs(fn, args)])
        rows.append([(a - b) / (2 * eps) for a, b in zip(*sides)])
    return [TORCH["stack"]([row[j] for row in rows]) for j in range(len(rows[0]))] if rows else []


def _real_line(t: Tensor) -> Tensor:
    t = t.detach().contiguous()  # type: ignore[attr-defined]
    return TORCH["view_as_real"](t).reshape(-1) if t.is_complex() else t.reshape(-1)


def _analytical(out: Tensor, x: Tensor) -> Tensor:
    """The same Jacobian by backward passes."""
    columns = []
    units = [1.0, 1j] if out.is_complex() else [1.0]
    for i in range(out.numel()):
        for unit in units:
            weight = TORCH["zeros_like"](out).reshape(-1)
            weight[i] = unit
            (g,) = grad(out, x, weight.reshape(out.shape), retain_graph=True, allow_unused=True)
            columns.append(_real_line(TORCH["zeros_like"](x) if g is None else g))
    return TORCH["stack"](columns, 1)


def gradcheck(func: Callable, inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
              raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
              check_grad_dtypes: bool = False, check_batched_grad: bool = False, check_batched_forward_grad: bool = False,
              check_forward_ad: bool = False, check_backward_ad: bool = True, fast_mode: bool = False,
              masked: bool | None = None) -> bool:  # fmt: skip
    """Whether func's derivatives agree with finite differences; inputs in double precision."""
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    wanted = [k for k, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them have requires_grad=True."
        )
    for k in wanted:
        if inputs[k].dtype not in (dt.float64, dt.complex128):
            warnings.warn(
                f"Input #{k} requires gradient and is not a double precision floating point or complex. "
                "This check will likely fail if all the inputs are not of double precision floating "
                "point or complex. ",
                stacklevel=2,
            )
    try:
        with enable_grad():
            outs = _outputs(func, inputs)
            for k in wanted:
                _compare(func, inputs, outs, k, eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _compare(
    func: Callable, inputs: tuple, outs: list[Tensor], k: int, eps: float, atol: float, rtol: float
) -> None:
    numerical = _numerical(func, inputs, k, eps)
    for j, (out, expected) in enumerate(zip(outs, numerical)):
        if not out.requires_grad or not out.numel():
            continue
        got = _analytical(out, inputs[k])
        if not TORCH["allclose"](got, expected, rtol, atol):
            raise GradcheckError(
                f"Jacobian mismatch for output {j} with respect to input {k},\n"
                f"numerical:{expected!r}\nanalytical:{got!r}\n"
            )


def gradgradcheck(func: Callable, inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5,
                  rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True,
                  nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
                  check_batched_grad: bool = False, check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True,
                  fast_mode: bool = False, masked: bool = False) -> bool:  # fmt: skip
    """`gradcheck` of func's derivative."""
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    outs = [o for o in _outputs(func, inputs) if o.requires_grad]
    if grad_outputs is None:
        weights = tuple(TORCH["empty_like"](o).uniform_(-1, 1).requires_grad_() for o in outs)
    else:
        weights = (grad_outputs,) if isinstance(grad_outputs, Tensor) else tuple(grad_outputs)
    n = len(inputs)

    def slopes(*args: Any) -> tuple:
        with enable_grad():
            ins = tuple(t if not isinstance(t, Tensor) or t.requires_grad or not inputs[i].requires_grad else t.detach().requires_grad_()
                        for i, t in enumerate(args[:n]))  # fmt: skip
            ys = [o for o in _outputs(func, ins) if o.requires_grad]
            xs = [t for t in ins if isinstance(t, Tensor) and t.requires_grad]
            got = grad(ys, xs, list(args[n:]), create_graph=True, allow_unused=True)
            return tuple(g for g in got if g is not None)

    return gradcheck(
        slopes, (*inputs, *weights), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception
    )
