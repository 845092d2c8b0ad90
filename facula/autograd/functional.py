"""Products with Jacobians and Hessians, and these themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.autograd.mode import enable_grad
from facula.ops.gradients import grad as _grad
from facula.ops.registry import TORCH
from facula.tensor import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _tuple(x: Any, what: str, where: str) -> tuple[bool, tuple]:
    many = isinstance(x, tuple)
    out = x if many else (x,)
    for i, t in enumerate(out):
        if not isinstance(t, Tensor):
            place = f"{what} {i}" if many else what
            raise TypeError(
                f"The {place} given to {where} must be either a Tensor or a tuple of Tensors but got {type(t)}."
            )
    return many, out


def _fresh(inputs: tuple, create_graph: bool) -> tuple:
    """Inputs to differentiate at: connected to the caller's graph only if that is wanted."""
    if create_graph:
        return tuple(
            t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in inputs
        )
    return tuple(t.detach().requires_grad_() for t in inputs)


def _run(func: Callable, inputs: tuple, where: str) -> tuple[bool, tuple]:
    return _tuple(func(*inputs), "outputs of the user-provided function", where)


def _check_strict(
    strict: bool, outputs: tuple, grads: tuple, number: int | None = None, what: str = ""
) -> None:
    """In strict mode every output must need gradients, and every input get one.

    `number` is that of the output where the gradients are of one alone; `what` tells a Hessian.
    """
    if not strict:
        return
    for i, o in enumerate(outputs):
        if not o.requires_grad:
            raise RuntimeError(
                f"Output {number or i} of the user-provided function does not require gradients. The "
                "outputs must be computed in a differentiable manner from the input when running in "
                "strict mode."
            )
    for i, g in enumerate(grads):
        if g is not None and (g.requires_grad or not what):
            continue
        if what and g is not None:
            raise RuntimeError(
                f"While computing the {what}, found that the jacobian of the user-provided function "
                f"with respect to input {i} is independent of the input. This is not allowed in strict "
                "mode. You should ensure that your function is twice differentiable and that the "
                "jacobian depends on the inputs (this would be violated by a linear function for "
                "example)."
            )
        which = "The output" if number is None else f"Output {number}"
        raise RuntimeError(
            f"{which} of the user-provided function is independent of input {i}. This is not allowed "
            "in strict mode."
        )


def _filled(grads: Any, like: tuple) -> tuple:
    return tuple(
        TORCH["zeros_like"](t) if g is None else g for g, t in zip(grads, like, strict=True)
    )


def _gradients(outputs: tuple, inputs: tuple, weights: Any, create_graph: bool) -> tuple:
    live = [(o, w) for o, w in zip(outputs, weights) if o.requires_grad]
    if not live:
        return (None,) * len(inputs)
    return _grad([o for o, _ in live], inputs, [w for _, w in live], create_graph=create_graph, retain_graph=True,
                 allow_unused=True)  # fmt: skip


def _done(values: tuple, create_graph: bool, many: bool) -> Any:
    if not create_graph:
        values = tuple(v.detach() for v in values)
    return values if many else values[0]


def _check_vector(v: Any, like: tuple, many: bool, what: str) -> tuple:
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(
                f"The vector v can only be None if the {what} a single Tensor with a single element."
            )
        return tuple(TORCH["ones_like"](t) for t in like)
    _, vs = _tuple(v, "v", "the product")
    if len(vs) != len(like):
        if len(like) == 1:
            raise RuntimeError("The given v should contain a single Tensor.")
        raise RuntimeError(
            f"v is a tuple of invalid length: should be {len(like)} but got {len(vs)}."
        )
    for a, b in zip(vs, like):
        if a.shape != b.shape:
            raise RuntimeError(f"v has invalid size: should be {b.shape} but got {a.shape}.")
    return vs


def vjp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple:
    """(func's result, v times its Jacobian)."""
    with enable_grad():
        many, ins = _tuple(inputs, "inputs", "vjp")
        ins = _fresh(ins, create_graph)
        many_out, outs = _run(func, ins, "vjp")
        vs = _check_vector(v, outs, many_out, "user-provided function returns")
        grads = _gradients(outs, ins, vs, create_graph)
        _check_strict(strict, outs, grads)
        product = _filled(grads, ins)
    return _done(outs, create_graph, many_out), _done(product, create_graph, many)


def jvp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple:
    """(func's result, its Jacobian times v): the derivative of `vjp` by its vector."""
    with enable_grad():
        many, ins = _tuple(inputs, "inputs", "jvp")
        ins = _fresh(ins, create_graph)
        vs = _check_vector(v, ins, many, "input to the user-provided function is")
        many_out, outs = _run(func, ins, "jvp")
        # gradients are linear in the weights: any will do, but 0 is where abs and log break
        weights = tuple(TORCH["ones_like"](o).requires_grad_() for o in outs)
        grads = _gradients(outs, ins, weights, True)
        _check_strict(strict, outs, grads)
        pairs = [(g, x) for g, x in zip(grads, vs) if g is not None]
        product = (
            _gradients(
                tuple(g for g, _ in pairs), weights, tuple(x for _, x in pairs), create_graph
            )
            if pairs
            else (None,) * len(outs)
        )
        product = _filled(product, outs)
    return _done(outs, create_graph, many_out), _done(product, create_graph, many_out)


def jacobian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
             strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """Derivatives of every element of the result by every element of the inputs.

    >>> import facula as torch
    >>> torch.autograd.functional.jacobian(lambda x: x ** 2, torch.tensor([1., 2.]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')
    with enable_grad():
        many, ins = _tuple(inputs, "inputs", "jacobian")
        ins = _fresh(ins, create_graph)
        many_out, outs = _run(func, ins, "jacobian")
        rows = tuple(_rows(o, i, ins, create_graph, strict) for i, o in enumerate(outs))
    if not create_graph:
        rows = tuple(tuple(j.detach() for j in row) for row in rows)
    rows = tuple(row if many else row[0] for row in rows)
    return rows if many_out else rows[0]


def _rows(out: Tensor, number: int, ins: tuple, create_graph: bool, strict: bool) -> tuple:
    """The Jacobian of one result by all inputs, a row per element."""
    parts: list[list[Tensor]] = [[] for _ in ins]
    flat = out.reshape(-1)  # type: ignore[attr-defined]
    for i in range(out.numel()):
        one = TORCH["zeros_like"](flat)
        one[i] = 1
        grads = _gradients((flat,), ins, (one,), create_graph)
        _check_strict(strict, (out,), grads, number)
        for part, g in zip(parts, _filled(grads, ins)):
            part.append(g)
    shape = tuple(out.shape)
    return tuple(
        TORCH["stack"](p).reshape(shape + tuple(t.shape))
        if p
        else TORCH["zeros"](*shape, *t.shape, dtype=t.dtype, device=t.device)
        for p, t in zip(parts, ins)
    )


def hessian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """Second derivatives of a scalar function."""
    many, _ = _tuple(inputs, "inputs", "hessian")

    def slope(*ins: Any) -> Any:
        got = jacobian(_scalar(func, "hessian"), ins, create_graph=True)
        _check_strict(strict, (), got, what="hessian")
        return tuple(g.reshape(t.shape) for g, t in zip(got, ins))

    full = jacobian(slope, inputs if many else (inputs,), create_graph=create_graph, strict=strict)
    return full if many else full[0][0]


def _scalar(func: Callable, where: str) -> Callable:
    def run(*args: Any) -> Any:
        out = func(*args)
        if not isinstance(out, Tensor):
            raise RuntimeError(f"The function given to {where} should return a single Tensor")
        if out.numel() != 1:
            raise RuntimeError(
                f"The Tensor returned by the function given to {where} should contain a single element"
            )
        return out.squeeze()  # type: ignore[attr-defined]

    return run


def vhp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple:
    """(func's result, v times its Hessian)."""
    with enable_grad():
        many, ins = _tuple(inputs, "inputs", "vhp")
        ins = _fresh(ins, create_graph)
        vs = _check_vector(v, ins, many, "input to the user-provided function is")
        out = _scalar(func, "vhp")(*ins)
        slopes = _gradients((out,), ins, (None,), True)
        _check_strict(strict, (out,), slopes, what="hessian")
        slopes = _filled(slopes, ins)
        product = _filled(_gradients(slopes, ins, vs, create_graph), ins)
    return _done((out,), create_graph, False), _done(product, create_graph, many)


def hvp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple:
    """(func's result, its Hessian times v); Hessians are symmetric."""
    return vhp(func, inputs, v, create_graph, strict)
