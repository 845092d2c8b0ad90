"""Products built on matmul: outer, addmv, kron, tensordot, einsum, cross."""

from __future__ import annotations

import functools
import string
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.meta import Meta, broadcast_shapes, meta_of, wrap_dim
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.elementwise import conj_of
from facula.ops.inplace import resize, write_back
from facula.ops.pointwise import need_tensors, opmath, sum_to, unsupported
from facula.ops.registry import NAMESPACES, TORCH, both, inplace, only_torch, to_out
from facula.tensor import Tensor


def _scaled(beta: Any, input: Tensor, alpha: Any, product: Tensor) -> Tensor:
    """beta * input + alpha * product; a beta of 0 drops input even where it is NaN."""
    if product.meta.dtype.kind in "iu":
        beta, alpha = int(beta), int(alpha)
    term = product if alpha == 1 and not isinstance(alpha, bool) else product * alpha
    if beta == 0:
        return term.expand(broadcast_shapes(input.meta.shape, term.meta.shape))  # type: ignore[attr-defined]
    return (input if beta == 1 and not isinstance(beta, bool) else input * beta) + term


def _check_numbers(name: str, d: Any, **numbers: Any) -> None:
    for key, x in numbers.items():
        if isinstance(x, bool) and d.kind != "b":
            raise RuntimeError(f"Boolean {key} only supported for Boolean results.")
        if isinstance(x, float) and d.kind in "iub" and x != int(x):
            raise RuntimeError(
                f"For integral input tensors, argument {key} must not be a floating point number."
            )


@both("addmv")
def addmv(
    input: Tensor,
    mat: Tensor,
    vec: Tensor,
    *,
    beta: Any = 1,
    alpha: Any = 1,
    out: Tensor | None = None,
) -> Tensor:
    """beta * input + alpha * (mat @ vec)."""
    if mat.meta.ndim != 2 or vec.meta.ndim != 1 or input.meta.ndim > 1:
        raise RuntimeError(
            f"vector + matrix @ vector expected, got {input.meta.ndim}, {mat.meta.ndim}, {vec.meta.ndim}"
        )
    if mat.meta.shape[1] != vec.meta.shape[0] or (
        input.meta.numel != mat.meta.shape[0] and input.meta.numel != 1
    ):
        raise RuntimeError(
            f"size mismatch, got input ({input.meta.numel}), mat ({mat.meta.shape[0]}x{mat.meta.shape[1]}), vec ({vec.meta.shape[0]})"
        )
    return to_out(_scaled(beta, input, alpha, TORCH["mv"](mat, vec)), out, exact=True)


@both("outer", "ger")
def outer(input: Tensor, vec2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """All products of elements of two vectors."""
    for x, name in ((input, "self"), (vec2, "vec2")):
        if x.meta.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {x.meta.ndim}-D")
    return to_out(input.view(input.meta.numel, 1) * vec2, out)  # type: ignore[attr-defined]


@both("addr")
def addr(
    input: Tensor,
    vec1: Tensor,
    vec2: Tensor,
    *,
    beta: Any = 1,
    alpha: Any = 1,
    out: Tensor | None = None,
) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
    if vec1.meta.ndim != 1 or vec2.meta.ndim != 1:
        raise RuntimeError(
            f"addr: Expected 1-D argument {'vec1' if vec1.meta.ndim != 1 else 'vec2'}, but got "
            f"{(vec1 if vec1.meta.ndim != 1 else vec2).meta.ndim}-D"
        )
    product = outer(vec1, vec2)
    if tuple(broadcast_shapes(input.meta.shape, product.meta.shape)) != tuple(product.meta.shape):
        raise RuntimeError(
            f"size mismatch, input: {list(input.meta.shape)}, v1: {list(vec1.meta.shape)}, v2: {list(vec2.meta.shape)}"
        )
    _check_numbers(
        "addr", dt.promote_types(input.meta.dtype, product.meta.dtype), alpha=alpha, beta=beta
    )
    if product.meta.dtype.kind == "b" and input.meta.dtype.kind == "b":
        got = product & TORCH["full"]((), bool(alpha))
        return to_out(got if not beta else got | input, out)
    return to_out(_scaled(beta, input, alpha, product), out)


@both("addbmm")
def addbmm(
    input: Tensor,
    batch1: Tensor,
    batch2: Tensor,
    *,
    beta: Any = 1,
    alpha: Any = 1,
    out: Tensor | None = None,
) -> Tensor:
    """beta * input + alpha * the sum of the products of a batch."""
    d = batch1.meta.dtype
    if d.kind == "f" and d.itemsize <= 2:
        wide = [t.float() for t in (input, batch1, batch2)]  # type: ignore[attr-defined]
        return to_out(addbmm(*wide, beta=beta, alpha=alpha).to(d), out, exact=True)  # type: ignore[attr-defined]
    product = TORCH["bmm"](batch1, batch2).sum(0)
    if product.meta.dtype is not batch1.meta.dtype:
        product = product.to(batch1.meta.dtype)
    if tuple(broadcast_shapes(input.meta.shape, product.meta.shape)) != tuple(product.meta.shape):
        raise RuntimeError("The expanded size of the tensor must match the existing size")
    return to_out(_scaled(beta, input, alpha, product), out, exact=True)


for _fn in (addmv, addr, addbmm, TORCH["addmm"], TORCH["baddbmm"]):
    inplace(_fn)

_addbmm_same = Tensor.addbmm_  # type: ignore[attr-defined]


def _addbmm_in_place(
    self: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """In-place version of `addbmm`; a tensor of a shape that broadcasts gets the result's."""
    shape = (batch1.meta.shape[1], batch2.meta.shape[2])
    if tuple(self.meta.shape) == shape or self._rg:
        return _addbmm_same(self, batch1, batch2, beta=beta, alpha=alpha)
    got = addbmm(self, batch1, batch2, beta=beta, alpha=alpha)
    resize(self, shape)
    return write_back(self, got)


Tensor.addbmm_ = _addbmm_in_place  # type: ignore[attr-defined]


@both("vdot")
def vdot(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Sum of products of conj(input) and other."""
    return TORCH["dot"](conj_of(input), other, out=out)


@both("inner")
def inner(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Sums of products over the last dims."""
    if not input.meta.ndim or not other.meta.ndim:
        return to_out(input * other, out, exact=True)
    if input.meta.shape[-1] != other.meta.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.meta.shape)} and {list(other.meta.shape)}"
        )
    return to_out(tensordot(input, other, dims=([-1], [-1])), out, exact=True)


@both("kron")
def kron(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Kronecker product: blocks of other scaled by input's elements."""
    need_tensors("kron", input=input, other=other)
    n = max(input.meta.ndim, other.meta.ndim)
    a = (1,) * (n - input.meta.ndim) + tuple(input.meta.shape)
    b = (1,) * (n - other.meta.ndim) + tuple(other.meta.shape)
    x = input.reshape([k for s in a for k in (s, 1)])  # type: ignore[attr-defined]
    y = other.reshape([k for s in b for k in (1, s)])  # type: ignore[attr-defined]
    return to_out((x * y).reshape([s * t for s, t in zip(a, b)]), out)


@only_torch()
def tensordot(a: Tensor, b: Tensor, dims: Any = 2, out: Tensor | None = None) -> Tensor:
    """Sums of products over pairs of dims."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.meta.ndim, b.meta.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        da, db = list(range(a.meta.ndim - dims, a.meta.ndim)), list(range(dims))
    else:
        da, db = ([x] if isinstance(x, int) else list(x) for x in dims)
    if len(da) != len(db):
        raise RuntimeError("both dimension lists should have same length")
    if a.meta.dtype is not b.meta.dtype:
        raise RuntimeError(
            f"both inputs should have same dtype but got {a.meta.dtype.short} and {b.meta.dtype.short}"
        )
    da, db = [wrap_dim(d, a.meta.ndim) for d in da], [wrap_dim(d, b.meta.ndim) for d in db]
    for i, j in zip(da, db):
        m, n = a.meta.shape[i], b.meta.shape[j]
        if m != n and m != 1 and n != 1:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {m} in dim {i} and second has size {n} in dim {j}"
            )
        if m == 1 != n:
            b = b.sum(j, keepdim=True, dtype=b.meta.dtype)  # type: ignore[attr-defined]
        elif n == 1 != m:
            a = a.sum(i, keepdim=True, dtype=a.meta.dtype)  # type: ignore[attr-defined]
    fa = [i for i in range(a.meta.ndim) if i not in da]
    fb = [i for i in range(b.meta.ndim) if i not in db]
    k = 1
    for i in da:
        k *= a.meta.shape[i]
    left = a.permute(fa + da).reshape(-1 if a.meta.numel else _size(a, fa), k)  # type: ignore[attr-defined]
    right = b.permute(db + fb).reshape(k, -1 if b.meta.numel else _size(b, fb))  # type: ignore[attr-defined]
    shape = [a.meta.shape[i] for i in fa] + [b.meta.shape[i] for i in fb]
    got = TORCH["mm"](left, right).reshape(shape)
    if out is not None and out.meta.dtype is not got.meta.dtype:
        raise RuntimeError(f"tensordot: expected out to have dtype {got.meta.dtype.short}")
    return to_out(got, out)


def _size(t: Tensor, dims: list[int]) -> int:
    n = 1
    for d in dims:
        n *= t.meta.shape[d]
    return n


def _cross_infer(a: Meta, b: Meta, dim: int) -> Meta:
    if a.dtype is not b.dtype:
        raise RuntimeError(f"expected scalar type {a.dtype.short} but found {b.dtype.short}")
    if a.dtype.kind == "b":
        raise NotImplementedError(unsupported("cross", a.dtype))
    return meta_of(a.dtype, broadcast_shapes(a.shape, b.shape), a.device)


def _cross_expand(g: Any, a: Any, b: Any, dim: int) -> Any:
    shape = broadcast_shapes(a.shape, b.shape)
    line = [1 if i == dim else n for i, n in enumerate(shape)]
    d, w = a.dtype, opmath(a.dtype)

    def part(x: Any, k: int) -> Any:
        starts = [k % 3 if i == dim else 0 for i in range(len(shape))]
        return g.cast(g.slice(g.expand(x, shape), starts, line, [1] * len(shape)), w)

    def product(i: int, j: int) -> Any:
        return g.cast(g.cast(part(a, i) * part(b, j), d), w)

    parts = [g.cast(product(k + 1, k + 2) - product(k + 2, k + 1), d) for k in range(3)]
    return g.cat(parts, dim)


def _cross_backward(n: Any, g: Tensor) -> tuple:
    (dim,) = n.params
    a, b = n.tensor(0), n.tensor(1)
    ga = sum_to(apply(CROSS, (conj_of(b), g), (dim,)), n.inst.ins[0]) if n.needs(0) else None
    gb = sum_to(apply(CROSS, (g, conj_of(a)), (dim,)), n.inst.ins[1]) if n.needs(1) else None
    return ga, gb


CROSS = Op(
    "cross",
    _cross_infer,
    _cross_expand,
    _cross_backward,
    saves="0 1",
    grad_name="LinalgCrossBackward0",
)


def _cross(name: str) -> Any:
    def function(
        input: Tensor, other: Tensor, dim: int | None = None, *, out: Tensor | None = None
    ) -> Tensor:
        if dim is None and name == "cross":
            same = [
                i
                for i, (a, b) in enumerate(zip(input.meta.shape, other.meta.shape))
                if a == 3 and b == 3
            ]
            if not same:
                raise RuntimeError("no dimension of size 3 in input")
            dim = same[0]
        if input.meta.ndim != other.meta.ndim:
            raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
        d = wrap_dim(-1 if dim is None else dim, input.meta.ndim)
        if input.meta.shape[d] != 3 or other.meta.shape[d] != 3:
            raise RuntimeError(
                f"linalg.cross: inputs dimension {d} must have length 3. Got {input.meta.shape[d]} and {other.meta.shape[d]}"
            )
        return to_out(apply(CROSS, (input, other), (d,)), out, exact=True)

    function.__name__ = function.__qualname__ = "cross"
    function.__doc__ = "Vector products along a dim of size 3."
    return function


both("cross")(_cross("cross"))
_linalg_cross = _cross("linalg.cross")


def _public_cross(
    input: Tensor, other: Tensor, *, dim: int = -1, out: Tensor | None = None
) -> Tensor:
    """Vector products along a dim of size 3."""
    return _linalg_cross(input, other, dim, out=out)


_public_cross.__name__ = _public_cross.__qualname__ = "cross"
NAMESPACES["linalg"]["cross"] = _public_cross
NAMESPACES["linalg"]["matmul"] = TORCH["matmul"]


def _vecdot(x: Tensor, y: Tensor, *, dim: int = -1, out: Tensor | None = None) -> Tensor:
    """Sums of conj(x) * y along dim."""
    if x.meta.dtype.kind not in "fc":
        raise RuntimeError(
            f"linalg.vecdot: Expected a floating point or complex tensor as input. Got {x.meta.dtype.short}"
        )
    if x.meta.dtype is not y.meta.dtype:
        raise RuntimeError(
            f"linalg.vecdot: Expected x and y to have the same dtype, but got {x.meta.dtype.short} and {y.meta.dtype.short}"
        )
    return to_out((conj_of(x) * y).sum(dim), out)


_vecdot.__name__ = _vecdot.__qualname__ = "vecdot"
NAMESPACES["linalg"]["vecdot"] = _vecdot


# chains -------------------------------------------------------------------------------------------


def _best_split(sizes: list[int]) -> Any:
    """The cheapest order of a chain of products: table of where to split each part."""
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    cut = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            options = [
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            ]
            cost[i][j], cut[i][j] = min(options)
    return cut


def _multi_dot(tensors: Any, *, out: Tensor | None = None) -> Tensor:
    """Product of a chain of matrices in the cheapest order; ends may be vectors."""
    mats = list(tensors)
    if len(mats) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(mats)}")
    first, last = mats[0].meta.ndim, mats[-1].meta.ndim
    if first not in (1, 2):
        raise RuntimeError(f"multi_dot(): the first tensor must be 1D or 2D but got {first}D")
    if last not in (1, 2):
        raise RuntimeError(f"multi_dot(): the last tensor must be 1D or 2D but got {last}D")
    for i, t in enumerate(mats):
        if 0 < i < len(mats) - 1 and t.meta.ndim != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {t.meta.ndim}D")
        if t.meta.dtype is not mats[0].meta.dtype:
            raise RuntimeError(
                "multi_dot(): all tensors must have be the same dtype but tensor 0 is "
                f"{mats[0].meta.dtype.short} and tensor {i} {t.meta.dtype.short}"
            )
    if first == 1:
        mats[0] = mats[0].unsqueeze(0)
    if last == 1:
        mats[-1] = mats[-1].unsqueeze(1)
    for i in range(len(mats) - 1):
        if mats[i].meta.shape[-1] != mats[i + 1].meta.shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {list(mats[i].meta.shape)} and "
                f"{list(mats[i + 1].meta.shape)} cannot be multiplied"
            )
    cut = _best_split([m.meta.shape[0] for m in mats] + [mats[-1].meta.shape[1]])

    def product(i: int, j: int) -> Tensor:
        return mats[i] if i == j else TORCH["mm"](product(i, cut[i][j]), product(cut[i][j] + 1, j))

    got = product(0, len(mats) - 1)
    if first == 1:
        got = got.squeeze(0)  # type: ignore[attr-defined]
    if last == 1:
        got = got.squeeze(-1)  # type: ignore[attr-defined]
    if out is not None and out.meta.dtype is not got.meta.dtype:
        raise RuntimeError(
            f"multi_dot(): expected out tensor to have dtype {got.meta.dtype.short} but got {out.meta.dtype.short}"
        )
    return to_out(got, out)


_multi_dot.__name__ = _multi_dot.__qualname__ = "multi_dot"
NAMESPACES["linalg"]["multi_dot"] = _multi_dot


@only_torch()
def chain_matmul(*matrices: Any, out: Tensor | None = None) -> Tensor:
    """Product of a chain of matrices in the cheapest order."""
    if len(matrices) == 1 and isinstance(matrices[0], (list, tuple)):
        matrices = tuple(matrices[0])
    return to_out(matrices[0] if len(matrices) == 1 else _multi_dot(matrices), out)


# einsum -----------------------------------------------------------------------------------------------


def _sublist_form(args: tuple) -> tuple[str, list[Tensor]]:
    letters = string.ascii_uppercase + string.ascii_lowercase
    spell = lambda part: "".join("..." if x is Ellipsis else letters[x] for x in part)  # noqa: E731
    pairs = list(args)
    tail = None
    if len(pairs) % 2:
        tail = pairs.pop()
    equation = ",".join(spell(p) for p in pairs[1::2])
    if tail is not None:
        equation += "->" + spell(tail)
    return equation, pairs[::2]


@functools.lru_cache(maxsize=1024)
def _parse(equation: str, ndims: tuple[int, ...]) -> tuple[list[list[Any]], list[Any]]:
    """Labels of each operand's dims and of the result's, to be read only.

    Ellipsis dims are numbers from the right. ndims: of the operands.
    """
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        more = "more" if len(ndims) > len(terms) else "fewer"
        raise RuntimeError(
            f"einsum(): {more} operands were provided than specified in the equation"
        )
    labels, widest = [], 0
    for k, (term, ndim) in enumerate(zip(terms, ndims)):
        plain = term.replace("...", "")
        if not all(c.isalpha() for c in plain):
            bad = next(c for c in plain if not c.isalpha())
            raise RuntimeError(
                f"einsum(): invalid subscript given at index {equation.find(bad)} in the equation "
                "string, subscripts must be in [a-zA-Z]"
            )
        spare = ndim - len(plain)
        if "..." in term:
            if term.count("...") > 1:
                raise RuntimeError(
                    f"einsum(): found '.' for operand {k} for which an ellipsis was already found"
                )
            if spare < 0:
                raise RuntimeError(
                    f"einsum(): the number of subscripts in the equation ({len(plain)}) is more "
                    f"than the number of dimensions ({ndim}) for operand {k}"
                )
            before, _, after = term.partition("...")
            labels.append([*before, *[i - spare for i in range(spare)], *after])
            widest = max(widest, spare)
        else:
            if spare:
                raise RuntimeError(
                    f"einsum(): the number of subscripts in the equation ({len(plain)}) does not match the number of "
                    f"dimensions ({ndim}) for operand {k} and no ellipsis was given"
                )
            labels.append(list(plain))
    dots = [i - widest for i in range(widest)]
    if arrow:
        return labels, _output(right, dots, labels)
    flat = [x for part in labels for x in part if isinstance(x, str)]
    return labels, dots + sorted({x for x in flat if flat.count(x) == 1})


def _output(right: str, dots: list, labels: list) -> list[Any]:
    before, dotted, after = right.partition("...")
    out = [*before, *(dots if dotted else []), *after]
    known = {x for part in labels for x in part}
    letters = [x for x in out if isinstance(x, str)]
    for x in letters:
        if not x.isalpha():
            raise RuntimeError(f"einsum(): invalid subscript given in the output: {x}")
        if letters.count(x) > 1:
            raise RuntimeError(
                f"einsum(): output subscript {x} appears more than once in the output"
            )
        if x not in known:
            raise RuntimeError(
                f"einsum(): output subscript {x} does not appear in the equation for any input operand"
            )
    return out


def _diagonals(t: Tensor, labels: list) -> tuple[Tensor, list]:
    """Repeated labels of one operand taken along the diagonal."""
    labels = list(labels)
    for x in list(dict.fromkeys(labels)):
        while labels.count(x) > 1:
            i = labels.index(x)
            j = labels.index(x, i + 1)
            if t.meta.shape[i] != t.meta.shape[j]:
                raise RuntimeError(
                    f"einsum(): subscript {x} is repeated for operand 0 but the sizes don't match, "
                    f"{t.meta.shape[j]} != {t.meta.shape[i]}"
                )
            t = t.diagonal(0, i, j).movedim(-1, i)  # type: ignore[attr-defined]
            labels.pop(j)
    return t, labels


def _pair(a: Tensor, la: list, b: Tensor, lb: list, keep: set) -> tuple[Tensor, list]:
    """The product of two operands, summed over labels that nobody else needs."""
    only_a = [x for x in la if x not in lb and x not in keep]
    only_b = [x for x in lb if x not in la and x not in keep]
    if only_a:
        a, la = a.sum([la.index(x) for x in only_a]), [x for x in la if x not in only_a]  # type: ignore[attr-defined]
    if only_b:
        b, lb = b.sum([lb.index(x) for x in only_b]), [x for x in lb if x not in only_b]  # type: ignore[attr-defined]
    shared = [x for x in la if x in lb]
    batch, summed = [x for x in shared if x in keep], [x for x in shared if x not in keep]
    ra, rb = [x for x in la if x not in shared], [x for x in lb if x not in shared]
    size = dict(zip(la, a.meta.shape))
    for x, n in zip(lb, b.meta.shape):
        size[x] = (
            max(size.get(x, 1), n) if size.get(x, 1) == 1 or n == size[x] else _clash(x, size[x], n)
        )
    if any(0 in t.meta.shape for t in (a, b)):
        size.update(
            {x: 0 for t, ls in ((a, la), (b, lb)) for x, n in zip(ls, t.meta.shape) if n == 0}
        )
    if not summed:
        out = [*batch, *ra, *rb]
        return _lined_up(a, la, out) * _lined_up(b, lb, out), out
    # views that change nothing are left out: recording them would be most of the work
    a = _permuted(_spread(a, la, size), [la.index(x) for x in [*batch, *ra, *summed]])
    b = _permuted(_spread(b, lb, size), [lb.index(x) for x in [*batch, *summed, *rb]])
    parts = [batch] if batch else []
    a, b = _merged(a, [*parts, ra, summed], size), _merged(b, [*parts, summed, rb], size)
    got = TORCH["bmm" if batch else "mm"](a, b)
    out = [*batch, *ra, *rb]
    return _merged(got, [[x] for x in out], size), out


def _clash(x: Any, m: int, n: int) -> int:
    if n == 1:
        return m
    raise RuntimeError(
        f"einsum(): subscript {x} has size {n} for operand 1 which does not broadcast with previously seen size {m}"
    )


def _product(sizes: Any) -> int:
    n = 1
    for s in sizes:
        n *= s
    return n


def _spread(t: Tensor, labels: list, size: dict) -> Tensor:
    sizes = [size[x] for x in labels]
    return t if [*t.meta.shape] == sizes else t.expand(sizes)  # type: ignore[attr-defined]


def _permuted(t: Tensor, order: list[int]) -> Tensor:
    return t if order == [*range(len(order))] else t.permute(order)  # type: ignore[attr-defined]


def _merged(t: Tensor, parts: list[list], size: dict) -> Tensor:
    """t with one dim for each part of its labels."""
    shape = [_product(size[x] for x in part) for part in parts]
    return t if [*t.meta.shape] == shape else t.reshape(shape)  # type: ignore[attr-defined]


def _lined_up(t: Tensor, labels: list, out: list) -> Tensor:
    """t with dims in the order of out, size 1 where it has none."""
    order = [labels.index(x) for x in out if x in labels]
    t = t.permute(order)  # type: ignore[attr-defined]
    shape = iter(t.meta.shape)
    return t.reshape([next(shape) if x in labels else 1 for x in out])


@only_torch()
def einsum(*args: Any) -> Tensor:
    """Sums of products in Einstein's notation: `einsum("ij,jk->ik", a, b)`.

    >>> import facula as torch
    >>> a, b = torch.ones(2, 3), torch.ones(3, 4)
    >>> torch.einsum("ij,jk->ik", a, b).shape
    torch.Size([2, 4])
    >>> torch.einsum("ij->", a)
    tensor(6.)
    """
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one operand and its subscripts list"
        )
    if isinstance(args[0], str):
        equation, operands = args[0], list(args[1:])
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
    else:
        equation, operands = _sublist_form(args)
    labels, out = _parse(equation, tuple([t.meta.ndim for t in operands]))
    parts = [_diagonals(t, part) for t, part in zip(operands, labels)]
    acc, la = parts[0]
    for k, (t, part) in enumerate(parts[1:], 1):
        later = {x for _, rest in parts[k + 1 :] for x in rest} | set(out)
        acc, la = _pair(acc, la, t, part, later)
    gone = [i for i, x in enumerate(la) if x not in out]
    if gone:
        acc, la = acc.sum(gone), [x for x in la if x in out]  # type: ignore[attr-defined]
    order = [la.index(x) for x in out]
    if len(operands) > 1:
        return _permuted(acc, order)
    got: Tensor = acc.permute(order)  # type: ignore[attr-defined]
    return got
