"""Matrix products."""

from __future__ import annotations

import functools
import importlib
import math
import operator
from typing import Any

from facula.autograd.node import shown
from facula.graph import dtypes as dt
from facula.graph.blame import wrong_type
from facula.graph.dtypes import dtype
from facula.graph.meta import Meta, broadcast_shapes, meta_of
from facula.graph.tape import LOCAL, Op
from facula.ops.apply import apply, apply_known, record
from facula.ops.pointwise import need_tensors, number_type, opmath, sum_to
from facula.ops.registry import TORCH, both, functional, to_out
from facula.ops.shape import SQUEEZE_ROW, make_view, unsafe_view
from facula.tensor import SparseOperand, Tensor


def same_dtype(name: str, *metas: Meta) -> dtype:
    """The common dtype; RuntimeError in PyTorch's words where there is none."""
    d = metas[0].dtype
    for m in metas[1:]:
        if m.dtype is not d:
            raise RuntimeError(
                f"expected m1 and m2 to have the same dtype, but got: {c_name(d)} != {c_name(m.dtype)}"
            )
    return d


_C = {"float32": "float", "float64": "double", "int64": "long int", "int32": "int", "float16": "c10::Half",
      "bfloat16": "c10::BFloat16", "bool": "bool", "int16": "short", "int8": "signed char", "uint8": "unsigned char",
      "complex64": "c10::complex<float>", "complex128": "c10::complex<double>"}  # fmt: skip


def c_name(d: dtype) -> str:
    """A dtype's name in PyTorch's C++ code, as its messages have it."""
    return _C.get(d.name, d.name)


def adjoint(t: Tensor) -> Tensor:
    """The (conjugate) transpose of the last two dims."""
    t = t.transpose(-2, -1)  # type: ignore[attr-defined]
    return t.conj() if t.meta.dtype.kind == "c" else t  # type: ignore[attr-defined]


def product(g: Any, a: Any, b: Any) -> Any:
    """a @ b of primitive values, 16-bit floats accumulated in float32."""
    return g.cast(g.matmul(g.cast(a, opmath(a.dtype)), g.cast(b, opmath(b.dtype))), a.dtype)


# mm, bmm --------------------------------------------------------------------------------------


def _mm_infer(a: Meta, b: Meta) -> Meta:
    if a.ndim != 2:
        raise RuntimeError("self must be a matrix")
    if b.ndim != 2:
        raise RuntimeError("mat2 must be a matrix")
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and {b.shape[0]}x{b.shape[1]})"
        )
    return meta_of(same_dtype("mm", a, b), (a.shape[0], b.shape[1]), a.device)


def _mm_backward(n: Any, g: Tensor) -> tuple:
    ga = mm(g, adjoint(n.tensor(1))) if n.needs(0) else None
    gb = mm(adjoint(n.tensor(0)), g) if n.needs(1) else None
    return ga, gb


MM = Op("mm", _mm_infer, product, _mm_backward, saves="0 1")


@both("mm")
def mm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Product of two matrices: (n, m) @ (m, p).

    >>> import facula as torch
    >>> torch.mm(torch.eye(2), torch.tensor([[1.0], [2.0]]))
    tensor([[1.],
            [2.]])
    """
    try:
        return to_out(apply(MM, (input, mat2)), out, exact=True)
    except SparseOperand:
        return to_out(_of_sparse("mm", input, mat2), out, exact=True)


def _of_sparse(name: str, *operands: Any, **numbers: Any) -> Any:
    """A product with a sparse operand, which `torch.sparse` knows."""
    return getattr(importlib.import_module("facula.sparse.products"), name)(*operands, **numbers)


def _bmm_infer(a: Meta, b: Meta) -> Meta:
    if a.ndim != 3 or b.ndim != 3:
        raise RuntimeError(
            "batch1 must be a 3D tensor" if a.ndim != 3 else "batch2 must be a 3D tensor"
        )
    if a.shape[0] != b.shape[0] or a.shape[2] != b.shape[1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{a.shape[0]}, {a.shape[2]}] "
            f"but got: [{b.shape[0]}, {b.shape[1]}]."
        )
    return meta_of(same_dtype("bmm", a, b), (a.shape[0], a.shape[1], b.shape[2]), a.device)


def _bmm_backward(n: Any, g: Tensor) -> tuple:
    ga = bmm(g, adjoint(n.tensor(1))) if n.needs(0) else None
    gb = bmm(adjoint(n.tensor(0)), g) if n.needs(1) else None
    return ga, gb


BMM = Op("bmm", _bmm_infer, product, _bmm_backward, saves="0 1")


@both("bmm")
def bmm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Products of matrices in a batch: (b, n, m) @ (b, m, p).

    >>> import facula as torch
    >>> torch.bmm(torch.ones(5, 2, 3), torch.ones(5, 3, 4)).shape
    torch.Size([5, 2, 4])
    """
    return to_out(apply(BMM, (input, mat2)), out, exact=True)


# dot, mv, matmul ------------------------------------------------------------------------------


def _dot_infer(a: Meta, b: Meta) -> Meta:
    if a.ndim != 1 or b.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors")
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {a.dtype.short} and {b.dtype.short}"
        )
    if a.shape != b.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{a.shape[0]}] and src [{b.shape[0]}] to have the same "
            f"number of elements, but got {a.shape[0]} and {b.shape[0]} elements respectively"
        )
    return meta_of(a.dtype, (), a.device)


def _dot_expand(g: Any, a: Any, b: Any) -> Any:
    w = opmath(a.dtype)
    return g.cast(g.reduce("sum", g.cast(a, w) * g.cast(b, w), 0, keepdim=False), a.dtype)


def _dot_backward(n: Any, g: Tensor) -> tuple:
    from facula.ops.elementwise import conj_of

    return (
        g * conj_of(n.tensor(1)) if n.needs(0) else None,
        g * conj_of(n.tensor(0)) if n.needs(1) else None,
    )


DOT = Op("dot", _dot_infer, _dot_expand, _dot_backward, saves="0 1")


@both("dot")
def dot(input: Tensor, tensor: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Sum of products of two vectors."""
    return to_out(apply(DOT, (input, tensor)), out, exact=True)


def _mv_infer(a: Meta, b: Meta, by_columns: bool) -> Meta:
    if a.ndim != 2 or b.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {a.ndim}, {b.ndim}")
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({a.shape[0]}), mat ({a.shape[0]}x{a.shape[1]}), vec ({b.shape[0]})"
        )
    return meta_of(same_dtype("mv", a, b), (a.shape[0],), a.device)


_SHORT = 4  # rows up to this long are added up element by element, as PyTorch's product does


def _mv_expand(g: Any, a: Any, b: Any, by_columns: bool) -> Any:
    k = b.shape[0]
    if 0 < k <= _SHORT and a.dtype.kind == "f":
        w = opmath(a.dtype)
        x, y = g.cast(a, w), g.cast(b, w)
        pairs = [
            (g.slice(x, (0, i), (a.shape[0], 1), (1, 1)), g.slice(y, (i,), (1,), (1,)))
            for i in range(k)
        ]
        from facula.llvm.target import Target  # with the first plan, not with the import

        # with 64-byte vectors PyTorch has other kernels, with other orders
        row = _wide_row if Target.host().vector_bytes == 64 else _row
        total = row(g, pairs, by_columns)
        return g.cast(g.reshape(total, (a.shape[0],)), a.dtype)
    return g.reshape(product(g, a, g.reshape(b, (b.shape[0], 1))), (a.shape[0],))


def _row(g: Any, pairs: list[tuple], by_columns: bool) -> Any:
    """Sums of up to four products in the order of PyTorch's kernel for 32-byte vectors."""
    return functools.reduce(operator.add, [x * y for x, y in pairs])


def _wide_row(g: Any, pairs: list[tuple], by_columns: bool) -> Any:
    """The same for 64-byte vectors (found by experiment, as the other one).

    Where columns lie together, each is multiplied and added at once. Else float64 adds halves of a
    vector, and float32 has one order for whole lots of four rows and one for those left over.
    """
    terms = [x * y for x, y in pairs]
    k = len(terms)
    if k == 1:
        return terms[0]
    if by_columns:
        return functools.reduce(lambda total, pair: g.fma(*pair, total), pairs[1:], terms[0])
    if terms[0].dtype is dt.float64:
        evens = terms[0] + terms[2] if k > 2 else terms[0]
        return evens + (terms[1] + terms[3] if k > 3 else terms[1])
    rows = terms[0].shape[0]
    lots = rows // 4 * 4
    first, *rest = [1, *range(k - 1, 1, -1), 0]
    over = functools.reduce(operator.add, [terms[i] for i in rest], terms[first])
    if not lots:
        return over
    grouped = functools.reduce(operator.add, terms[:1:-1], g.fma(*pairs[1], terms[0]))
    if lots == rows:
        return grouped
    return g.where(g.iota(terms[0].shape, 0) < lots, grouped, over)


def _mv_backward(n: Any, g: Tensor) -> tuple:
    ga = g.unsqueeze(1) * _conj(n.tensor(1)).unsqueeze(0) if n.needs(0) else None  # type: ignore[attr-defined]
    return ga, mv(adjoint(n.tensor(0)), g) if n.needs(1) else None


def _conj(t: Any) -> Any:
    from facula.ops.elementwise import conj_of

    return conj_of(t)


MV = Op("mv", _mv_infer, _mv_expand, _mv_backward, saves="0 1")


@both("mv")
def mv(input: Tensor, vec: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Matrix times vector."""
    try:
        strides = input.meta.strides
        by_columns = len(strides) == 2 and strides[0] == 1
        return to_out(apply(MV, (input, vec), (by_columns,)), out, exact=True)
    except SparseOperand:
        return to_out(_of_sparse("mv", input, vec), out, exact=True)


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    na, nb = a.meta.ndim, b.meta.ndim
    if not na or not nb:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {na}D and {nb}D"
        )
    if na == 2 and nb == 2:
        inst = MM.insts.get(((a.meta, b.meta), ()))
        return apply(MM, (a, b)) if inst is None or not inst.reads else record(MM, inst, (a, b))
    if na == 1 and nb == 1:
        return dot(a, b)
    if nb == 1 and na == 2:
        return mv(a, b)
    if na == 1:
        rows = _matmul(a.unsqueeze(0), b)  # type: ignore[attr-defined]
        m = rows.meta
        return make_view(SQUEEZE_ROW, rows, (*m.shape[:-2], m.shape[-1]),
                         (*m.strides[:-2], m.strides[-1]), rows._off)  # fmt: skip
    if nb == 1:
        lead = a.meta.shape[:-1]
        rows = a.reshape(math.prod(lead), a.meta.shape[-1])  # type: ignore[attr-defined]
        return unsafe_view(mv(rows, b), lead)
    if nb == 2:
        # one large product instead of many small ones
        if a.meta.shape[-1] != b.meta.shape[0]:
            n = a.meta.numel // max(a.meta.shape[-1], 1)
            raise RuntimeError(
                f"mat1 and mat2 shapes cannot be multiplied ({n}x{a.meta.shape[-1]} and {b.meta.shape[0]}x{b.meta.shape[1]})"
            )
        lead = a.meta.shape[:-1]
        flat = mm(a.reshape(math.prod(lead), a.meta.shape[-1]), b)  # type: ignore[attr-defined]
        return unsafe_view(flat, (*lead, b.meta.shape[1]))
    lead = broadcast_shapes(a.meta.shape[:-2], b.meta.shape[:-2])
    count = math.prod(lead)
    a3 = a.expand(*lead, *a.meta.shape[-2:]).reshape(count, *a.meta.shape[-2:])  # type: ignore[attr-defined]
    b3 = b.expand(*lead, *b.meta.shape[-2:]).reshape(count, *b.meta.shape[-2:])  # type: ignore[attr-defined]
    out = bmm(a3, b3)
    return unsafe_view(out, (*lead, *out.meta.shape[-2:]))


@both("matmul")
def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Matrix product of tensors: vectors, matrices, or batches of matrices.

    Shapes: (n) @ (n) -> (); (n, m) @ (m) -> (n); (..., n, m) @ (..., m, p) -> (..., n, p), with the
    leading dims broadcast. RuntimeError where the inner sizes or the dtypes differ.

    >>> import facula as torch
    >>> a, b = torch.ones(2, 3), torch.ones(3)
    >>> torch.matmul(a, b)
    tensor([3., 3.])
    >>> torch.matmul(torch.ones(5, 2, 3), torch.ones(3, 4)).shape
    torch.Size([5, 2, 4])
    """
    if not isinstance(other, Tensor):
        raise TypeError(
            f"matmul(): argument 'other' (position 2) must be Tensor, not {type(other).__name__}"
        )
    if not isinstance(input, Tensor):
        raise wrong_type(input, "Tensor")
    try:
        return (
            _matmul(input, other) if out is None else to_out(_matmul(input, other), out, exact=True)
        )
    except SparseOperand:
        return to_out(_of_sparse("matmul", input, other), out, exact=True)


Tensor.__matmul__ = lambda self, other: matmul(self, other)  # type: ignore[attr-defined]
Tensor.__rmatmul__ = lambda self, other: (  # type: ignore[attr-defined]
    matmul(other, self) if isinstance(other, Tensor) else NotImplemented
)


# products with an addend ------------------------------------------------------------------------


def _addmm_infer(c: Meta, a: Meta, b: Meta, bias_only: bool, kinds: tuple) -> Meta:
    m = (_mm_infer if a.ndim == 2 else _bmm_infer)(a, b)
    if tuple(broadcast_shapes(c.shape, m.shape)) != tuple(m.shape):
        raise RuntimeError(
            f"The expanded size of the tensor ({m.shape[-1]}) must match the existing size ({c.shape[-1]}) at "
            f"non-singleton dimension {m.ndim - 1}.  Target sizes: {list(m.shape)}.  Tensor sizes: {list(c.shape)}"
        )
    if c.dtype is not a.dtype:
        raise RuntimeError(
            f"self and mat2 must have the same dtype, but got {c.dtype.short} and {b.dtype.short}"
        )
    return m


def _addmm_expand(g: Any, c: Any, a: Any, b: Any, *rest: Any) -> Any:
    *numbers, plain, kinds = rest
    w = opmath(a.dtype)
    out = g.matmul(g.cast(a, w), g.cast(b, w))
    c = g.cast(c, w)
    if numbers:
        beta, alpha = (g.cast(x, w) for x in numbers)
        out, c = out * alpha, c * beta
    return g.cast(out + c, a.dtype)


def _addmm_backward(n: Any, g: Tensor) -> tuple:
    beta, alpha = (_conj(x) for x in (n.scalars or (1, 1)))
    product_ = mm if g.meta.ndim == 2 else bmm
    gc = ga = gb = None
    if n.needs(0):
        gc = sum_to(g if beta == 1 else g * beta, n.inst.ins[0])
    if n.needs(1):
        ga = product_(g, adjoint(n.tensor(1)))
        ga = ga if alpha == 1 else ga * alpha
    if n.needs(2):
        gb = product_(adjoint(n.tensor(0)), g)
        gb = gb if alpha == 1 else gb * alpha
    return gc, ga, gb


ADDMM = Op("addmm", _addmm_infer, _addmm_expand, _addmm_backward, saves="1 2")
BADDBMM = Op("baddbmm", _addmm_infer, _addmm_expand, _addmm_backward, saves="1 2")


def _fused(op: Op, c: Tensor, a: Tensor, b: Tensor, beta: Any, alpha: Any) -> Tensor:
    if beta == 0 and not isinstance(beta, bool):
        # NaNs of an addend that does not count must not spread
        out = (mm if op is ADDMM else bmm)(a, b)
        return out if alpha == 1 else out * alpha
    if beta == 1 and alpha == 1:
        return apply(op, (c, a, b), (True, ()))
    return apply(op, (c, a, b), (False, (number_type(beta), number_type(alpha))), (beta, alpha))


@both("addmm")
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1,
          out: Tensor | None = None) -> Tensor:  # fmt: skip
    """beta * input + alpha * (mat1 @ mat2)."""
    try:
        return to_out(_fused(ADDMM, input, mat1, mat2, beta, alpha), out, exact=True)
    except SparseOperand:
        return to_out(
            _of_sparse("addmm", input, mat1, mat2, beta=beta, alpha=alpha), out, exact=True
        )


@both("baddbmm")
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1,
            out: Tensor | None = None) -> Tensor:  # fmt: skip
    """beta * input + alpha * (batch1 @ batch2), per matrix of the batch."""
    return to_out(_fused(BADDBMM, input, batch1, batch2, beta, alpha), out, exact=True)


# linear: one operator, named as PyTorch names what it dispatches to -----------------------------


def _linear_infer(x: Meta, w: Meta, *rest: Any) -> Meta:
    if not x.ndim or x.shape[-1] != w.shape[-1]:
        rows = x.numel // max(x.shape[-1], 1) if x.ndim else 1
        if w.ndim == 1:
            raise RuntimeError(
                f"size mismatch, got input ({rows}), mat ({rows}x{x.shape[-1]}), vec ({w.shape[0]})"
            )
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{x.shape[-1] if x.ndim else 1} and {w.shape[1]}x{w.shape[0]})"
        )
    b = rest[0] if rest else None
    if w.dtype is not x.dtype or (b is not None and b.dtype is not x.dtype):
        other = w.dtype if w.dtype is not x.dtype else b.dtype
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {x.dtype.short} and {other.short}"
        )
    return meta_of(x.dtype, (*x.shape[:-1], w.shape[0]), x.device)


def _linear_expand(g: Any, x: Any, w: Any, *rest: Any) -> Any:
    work = opmath(x.dtype)
    rows = x.numel // max(x.shape[-1], 1) if x.shape[-1] else _rows(x.shape)
    flat = g.reshape(g.cast(x, work), (rows, x.shape[-1]))
    out = g.matmul(flat, g.permute(g.cast(w, work), (1, 0)))
    if rest:
        out = out + g.cast(rest[0], work)
    return g.reshape(g.cast(out, x.dtype), (*x.shape[:-1], w.shape[0]))


def _rows(shape: tuple[int, ...]) -> int:
    return math.prod(shape[:-1])


def _linear_grads_infer(g: Meta, x: Meta, w: Meta, wants: tuple[bool, ...]) -> tuple[Meta, ...]:
    bias = meta_of(g.dtype, (w.shape[0],), g.device)
    return tuple(m for m, want in zip((x.plain(), w.plain(), bias), wants, strict=True) if want)


def _linear_grads_expand(g: Any, grad: Any, x: Any, w: Any, wants: tuple[bool, ...]) -> list[Any]:
    work = opmath(grad.dtype)
    rows = _rows(grad.shape)
    flat = g.reshape(g.cast(grad, work), (rows, w.shape[0]))
    out = []
    if grad.dtype.kind == "c":
        from facula.ops.complexes import conj_val

        x, w = conj_val(g, x), conj_val(g, w)
    if wants[0]:
        out.append(g.reshape(g.cast(g.matmul(flat, g.cast(w, work)), x.dtype), x.shape))
    if wants[1]:
        flat_x = g.reshape(g.cast(x, work), (rows, w.shape[1]))
        out.append(g.cast(g.matmul(g.permute(flat, (1, 0)), flat_x), w.dtype))
    if wants[2]:
        out.append(g.cast(g.reduce("sum", flat, 0, keepdim=False), grad.dtype))
    return out


# all gradients of a linear layer at once, for backward passes that are not differentiated themselves
LINEAR_GRADS = Op("linear_backward", _linear_grads_infer, _linear_grads_expand)


def _linear_backward(n: Any, g: Tensor) -> tuple:
    if not LOCAL.tape.grad:
        edges = n.edges
        wants = (
            edges[0] is not None,
            edges[1] is not None,
            len(edges) == 3 and edges[2] is not None,
        )
        got = apply(LINEAR_GRADS, (g, n.tensor(0), n.tensor(1)), (wants,))
        if wants == (False, True, True):
            return None, *got
        it = iter(got if isinstance(got, tuple) else (got,))
        return tuple([next(it) if want else None for want in wants[: len(edges)]])
    x, w = n.inst.ins[0], n.inst.ins[1]
    flat = g if g.meta.ndim == 2 else g.reshape(-1, w.shape[0])  # type: ignore[attr-defined]
    gx = gw = None
    if n.needs(0):
        gx = mm(flat, _conj(n.tensor(1)))
        if x.ndim != 2:
            gx = gx.view(x.shape)  # type: ignore[attr-defined]
    if n.needs(1):
        saved = _conj(n.tensor(0))
        saved = saved if x.ndim == 2 else saved.reshape(-1, x.shape[-1])
        gw = mm(flat.t(), saved)  # type: ignore[attr-defined]
    if len(n.edges) == 2:
        return gx, gw
    return gx, gw, flat.sum(0) if n.needs(2) else None  # type: ignore[attr-defined]


def _linear_shows(n: Any) -> tuple:
    """PyTorch's nodes: a product with the transposed weight and, but for two dims, views around it."""
    x, w, *bias = n.edges
    wide, weight = n.inst.ins[:2]
    k, out = weight.shape[1], weight.shape[0]
    w = None if w is None else shown("TBackward0", w, meta=meta_of(weight.dtype, (k, out)))
    if wide.ndim == 2:
        return (*bias, x, w)
    rows, d = _rows(wide.shape), wide.dtype
    x = None if x is None else shown("ViewBackward0", x, meta=meta_of(d, (rows, k)))
    name = "AddmmBackward0" if bias else "MmBackward0"
    return (shown(name, *bias, x, w, meta=meta_of(d, (rows, out))),)


_LINEAR = {
    name: Op(
        "linear",
        _linear_infer,
        _linear_expand,
        _linear_backward,
        saves="0 1",
        grad_name=name,
        shows=_linear_shows,
    )
    for name in ("AddmmBackward0", "MmBackward0", "ViewBackward0", "UnsafeViewBackward0")
}
# by whether the input has two dims
_BIASED = (_LINEAR["ViewBackward0"], _LINEAR["AddmmBackward0"])
_ALONE = (_LINEAR["UnsafeViewBackward0"], _LINEAR["MmBackward0"])


@functional("linear")
def linear(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Tensor | None = None
) -> Tensor:
    """input @ weight.T + bias; weight is (out_features, in_features).

    Shapes: input (..., in_features) -> (..., out_features).

    >>> import facula as torch
    >>> torch.nn.functional.linear(torch.ones(1, 2), torch.eye(2), torch.tensor([0.5, 0.0]))
    tensor([[1.5000, 1.0000]])
    """
    if out is not None:
        return to_out(linear(input, weight, bias), out, exact=True)
    try:
        ndim, geometry = input.meta.ndim, (input.meta, weight.meta)
    except AttributeError:
        need_tensors("linear", input=input, weight=weight)
        raise
    operands: tuple[Tensor, ...]
    if bias is None:
        op, operands = _ALONE[ndim == 2], (input, weight)
    else:
        op, operands = _BIASED[ndim == 2], (input, weight, bias)
        geometry = (*geometry, bias.meta)
    inst = op.calls.get((geometry, None))
    if inst is not None:
        return record(op, inst, operands)
    wide = weight.meta.ndim
    if wide > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {wide}D")
    if wide == 1:
        out = matmul(input, weight)
        return out if bias is None else out + bias
    if bias is None:
        if ndim == 1:
            return linear(input.unsqueeze(0), weight).squeeze(0)  # type: ignore[attr-defined]
        return apply_known(op, operands, (), geometry, None)
    if bias.meta.numel != weight.meta.shape[0] or bias.meta.ndim > 1:
        return matmul(input, weight.t()) + bias  # type: ignore[attr-defined]
    return apply_known(op, operands, (), geometry, None)


TORCH["linear"] = linear
