"""What the backward walk needs of tensors, and `Tensor.backward`, `autograd.grad`."""

from __future__ import annotations

import functools
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from facula.autograd import walk
from facula.autograd.repeat import repeat
from facula.graph.dtypes import bfloat16, f32_to_bf16
from facula.graph.meta import META, Meta
from facula.graph.tape import LOCAL, Op, passed
from facula.ops.apply import apply, mark
from facula.ops.create import filled
from facula.ops.elementwise import add
from facula.ops.inplace import write_back
from facula.ops.registry import TORCH, only_method
from facula.runtime.buffers import Buffer
from facula.tensor import Tensor, from_buffer


def _add_n_expand(g: Any, *vals: Any) -> Any:
    total = vals[0]
    for v in vals[1:]:
        total = total + v
    return total


ADD_N = Op("add", lambda *m: m[0].plain(), _add_n_expand, lambda n, g: (g,) * len(n.edges))


AT_ONCE = 16  # so that sums of ever other numbers of gradients have parts that come again


def add_n(grads: Sequence[Tensor]) -> Tensor:
    """Sum of tensors of one shape, in order."""
    if any(grad.is_sparse for grad in grads):  # type: ignore[attr-defined]
        return functools.reduce(_add_any, grads)
    if len(grads) == 2:
        return add(grads[0], grads[1])
    total = grads[0]
    for k in range(1, len(grads), AT_ONCE):
        total = apply(ADD_N, [total, *grads[k : k + AT_ONCE]])
    return total


def _add_any(a: Any, b: Any) -> Any:
    """The sum of two tensors, each of which may be sparse."""
    return b.add(a) if b.is_sparse and not a.is_sparse else a.add(b)


def zeros(m: Meta) -> Tensor:
    """A gradient of zeros for a result nobody used."""
    return filled(m.plain(), 0)


def _references_of_a_gradient() -> int:
    """References that `accumulate` sees for a gradient that only the walk holds."""

    def inner(leaf: Any, grad: Any) -> int:
        return sys.getrefcount(grad)

    def outer() -> int:
        grad = object()
        return inner(None, grad)

    return outer()


_ALONE = _references_of_a_gradient()


def accumulate(leaf: Tensor, grad: Tensor, create_graph: bool) -> None:
    """Adds a gradient to `leaf.grad`."""
    have = leaf._grad
    if have is None:
        if (
            not grad.meta.contiguous
            or grad._base is not None
            or sys.getrefcount(grad) > _ALONE
            or grad._off
        ):
            grad = grad.clone()  # type: ignore[attr-defined]
        if not create_graph and grad._rg:
            grad = grad.detach()
        leaf._grad = grad
    elif grad.is_sparse or have.is_sparse:  # type: ignore[attr-defined]
        leaf._grad = _add_any(have, grad)
    elif create_graph:
        leaf._grad = add(have, grad)
    else:
        write_back(have, add(have, grad))


def retain(t: Tensor, grad: Tensor) -> None:
    """Adds a gradient to the `.grad` of a tensor that is no leaf: never in place, as PyTorch's."""
    have = t._grad
    t._grad = grad.clone() if have is None else _add_any(have, grad)  # type: ignore[attr-defined]


def _repeat(root: Any, seed: Tensor, keep: bool) -> bool:
    """`autograd.repeat`, where no mode changes what the derivatives record."""
    # rooms that are loaded later, if at all
    modules = sys.modules
    overrides, autocast = modules.get("facula.overrides"), modules.get("facula.ops.autocast")
    if (overrides and overrides._modes) or (autocast and autocast.active):
        return False
    return repeat(root, seed, keep)


walk.OPS.add_n, walk.OPS.zeros = add_n, zeros
walk.OPS.accumulate, walk.OPS.retain = accumulate, retain
walk.OPS.repeat, walk.OPS.mark = _repeat, lambda tape: mark(tape, tape.n)


def _seeds(outputs: Sequence[Tensor], grads: Sequence[Any]) -> list[Tensor]:
    if len(grads) < len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(grads)} gradients")
    seeds = []
    for out, g in zip(outputs, grads):
        if g is None:
            if not out._rg:
                seeds.append(None)
                continue
            if out.meta.numel != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            if out.meta.dtype.kind == "c":
                raise RuntimeError(
                    f"grad can be implicitly created only for real scalar outputs but got {out.meta.dtype!r}"
                )
            g = _one(out.meta)
        elif not isinstance(g, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
        elif g.meta.shape != out.meta.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{len(seeds)}] has a shape of {g.meta.shape} and "
                f"output[{len(seeds)}] has a shape of {out.meta.shape}."
            )
        seeds.append(g)
    return seeds


class _Ones(threading.local):
    """Gradients of one that are only read, by geometry."""

    def __init__(self) -> None:
        self.known: dict[Meta, Tensor] = {}


_ones: dict[Meta, Any] = {}
_ones_to_read = _Ones()


def _one_to_read(m: Meta) -> Tensor:
    """As `_one`, the same tensor again and again."""
    known = _ones_to_read.known
    found = known.get(m)
    if found is None:
        found = known[m] = _one(m)
    return found


def _one(m: Meta) -> Tensor:
    """A gradient of one for a result with one element."""
    if m.device is META:
        return filled(m.plain(), 1)
    buf = _ones.get(m)
    if buf is None:
        # made here and now: evaluating a recorded one would cut the step in two plans
        one = np.ones(m.shape, np.float32 if m.dtype is bfloat16 else m.dtype.storage)
        buf = _ones[m] = Buffer.from_numpy(f32_to_bf16(one) if m.dtype is bfloat16 else one)
    plain = m if m.contiguous and not m.offset else m.plain()
    return from_buffer(buf, plain)


def _check_roots(outputs: Sequence[Tensor]) -> None:
    for i, t in enumerate(outputs):
        if not t._rg:
            raise RuntimeError(
                f"element {i} of tensors does not require grad and does not have a grad_fn"
            )


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
             grad_variables: Any = None, inputs: Any = None) -> None:  # fmt: skip
    """Adds the gradients of tensors with respect to the graph's leaves to their `.grad`."""
    tensors = (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)
    grads = _as_tuple(grad_tensors, len(tensors))
    if any(t._val is not None for t in tensors):
        tensors, grads = _of_values(tensors, grads)
    _check_roots(tensors)
    if inputs is not None:
        inputs = tuple(map(_in_graph, (inputs,) if isinstance(inputs, Tensor) else inputs))
        if not inputs:
            raise RuntimeError("`inputs` argument to `backward` cannot be empty.")
    keep = create_graph if retain_graph is None else retain_graph
    walk.backward(tensors, _seeds(tensors, grads), keep, create_graph, inputs)


def _as_tuple(grads: Any, n: int) -> tuple:
    if grads is None:
        return (None,) * n
    return (grads,) if isinstance(grads, Tensor) else tuple(grads)


@only_method("backward")
def tensor_backward(self: Tensor, gradient: Tensor | None = None, retain_graph: bool | None = None,
                    create_graph: bool = False, inputs: Any = None) -> None:  # fmt: skip
    """Adds the gradients of self with respect to the graph's leaves to their `.grad`."""
    if gradient is None and inputs is None and self._rg:  # nearly always
        keep = create_graph if retain_graph is None else retain_graph
        m = self.meta
        plain = m.numel == 1 and m.dtype.kind == "f" and m.device is not META
        repeats = plain and not create_graph
        if not (repeats and walk.repeated(self._g, _one_to_read(m), keep)):
            walk.walk_from((self,), _seeds((self,), (None,)), keep, create_graph)
        passed()
        return
    backward((self,), (gradient,), retain_graph, create_graph, inputs=inputs)


class _Place:
    """A gradient edge as an input of `grad`: what gradients ask of a tensor that needs them."""

    _rg = True

    def __init__(self, edge: Any) -> None:
        node, number = edge[:2]
        self._g = node if len(node.inst.outs) == 1 else (node, number)
        self.meta = node.inst.shown[number]

    @staticmethod
    def of(given: Any) -> Any:
        """The tensor itself, the leaf behind an edge, or a place in the middle of the graph."""
        if not hasattr(given, "ownership_token"):
            return _in_graph(given)
        leaf = getattr(given.node, "variable", None)
        return _Place(given) if leaf is None else leaf


def _in_graph(t: Any) -> Any:
    """What stands for a tensor in the graph: of a sparse one its values."""
    return t if t._val is None else t._val


def _of_values(outputs: Sequence[Any], grads: Sequence[Any]) -> tuple[tuple, tuple]:
    """Outputs and their gradients, of sparse ones only what is stored."""
    seeds = list(grads)
    for i, (out, g) in enumerate(zip(outputs, grads)):
        if out._val is not None and g is not None and g.shape == out.shape:
            seeds[i] = out._at_places(g if g._val is None else g.to_dense())
    return tuple(map(_in_graph, outputs)), tuple(seeds)


def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None,
         create_graph: bool = False, only_inputs: bool = True, allow_unused: bool | None = None,
         is_grads_batched: bool = False, materialize_grads: bool = False) -> tuple:  # fmt: skip
    """Gradients of outputs with respect to inputs, as a tuple."""
    if not only_inputs:
        warnings.warn(
            "only_inputs argument is deprecated and is ignored now (defaults to True). To accumulate "
            "gradient for other parts of the graph, please use torch.autograd.backward.",
            FutureWarning,
            stacklevel=2,
        )
    outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    one = isinstance(inputs, Tensor) or hasattr(inputs, "ownership_token")
    inputs = (inputs,) if one else tuple(inputs)
    if not inputs:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    for t in inputs:
        if not isinstance(t, Tensor) and not hasattr(t, "ownership_token"):
            raise RuntimeError(
                f"all inputs have to be Tensors or GradientEdges, but got {type(t).__name__}"
            )
    asked, inputs = inputs, tuple(_Place.of(t) for t in inputs)
    grads = _as_tuple(grad_outputs, len(outputs))
    if any(t._val is not None for t in outputs):
        outputs, grads = _of_values(outputs, grads)
    if allow_unused is None:
        allow_unused = materialize_grads
    elif allow_unused is False and materialize_grads:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    if is_grads_batched:
        return _batched(outputs, inputs, grads, create_graph, allow_unused)
    _check_roots(outputs)
    for t in inputs:
        if not t._rg:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    keep = create_graph if retain_graph is None else retain_graph
    got = walk.gradients(outputs, _seeds(outputs, grads), inputs, keep, create_graph, allow_unused)
    if materialize_grads:
        got = [zeros(t.meta) if g is None else g for g, t in zip(got, inputs, strict=True)]
    elif not allow_unused and any(g is None for g in got):
        unused = next(k for k, g in enumerate(got) if g is None)
        raise RuntimeError(
            f"The differentiated Tensor at index {unused} appears to not have been used in the graph. Set "
            "allow_unused=True if this is the desired behavior."
        )
    if not create_graph:
        got = [g.detach() if g is not None and g._rg else g for g in got]
    return tuple(
        g if g is None or getattr(t, "_val", None) is None else t._with(g)
        for g, t in zip(got, asked, strict=True)
    )


def _batched(
    outputs: tuple, inputs: tuple, grads: tuple, create_graph: bool, allow_unused: bool
) -> tuple:
    n = next(g for g in grads if g is not None).meta.shape[0]
    rows = [
        grad(
            outputs,
            inputs,
            [None if g is None else g[i] for g in grads],
            True,
            create_graph,
            allow_unused,
        )
        for i in range(n)
    ]
    return tuple(
        None if parts[0] is None else TORCH["stack"](parts) for parts in zip(*rows, strict=True)
    )


__all__ = ["LOCAL", "backward", "grad"]
