"""Powers and exponentials of matrices, least squares, reflectors, tensor equations."""

from __future__ import annotations

import math
from typing import Any

from facula.graph import dtypes as dt
from facula.graph.formats import COLUMNS
from facula.graph.meta import Meta, meta_of
from facula.ops import linalg_numpy as ln
from facula.ops.apply import apply
from facula.ops.elementwise import conj_of
from facula.ops.host import host_op
from facula.ops.linalg_solve import LINALG, check_matrix, check_same, is_vector_case, linalg
from facula.ops.matmul import adjoint
from facula.ops.reduce import return_type
from facula.ops.registry import TORCH, both, only_torch, to_out
from facula.tensor import Tensor

# powers ---------------------------------------------------------------------------------------------


@linalg
def matrix_power(A: Tensor, n: int, *, out: Tensor | None = None) -> Tensor:
    """A multiplied with itself n times, by repeated squaring; inverses for negative n."""
    check_matrix("linalg.matrix_power", A, True, floating=False)
    if n == 0:
        eye = TORCH["eye"](A.meta.shape[-1], dtype=A.meta.dtype, device=A.meta.device)
        return to_out(TORCH["where"](TORCH["full"]((), False), A, eye), out)
    if n < 0:
        A, n = LINALG["inv"](A), -n
    got, square = None, A
    while n:
        if n & 1:
            got = square if got is None else got @ square
        n >>= 1
        if n:
            square = square @ square
    return to_out(got.clone() if got is A else got, out)  # type: ignore[union-attr]


both("matrix_power")(lambda input, n, *, out=None: matrix_power(input, n, out=out))


def _exp_infer(a: Meta) -> Meta:
    return a.plain()


def _exp_backward(n: Any, g: Tensor) -> Tensor:
    """The upper right block of the exponential of [[A^H, g], [0, A^H]]."""
    a = adjoint(n.tensor(0))
    size = a.meta.shape[-1]
    top = TORCH["cat"]([a, g], -1)
    bottom = TORCH["cat"]([TORCH["zeros_like"](a), a], -1)
    whole = matrix_exp(TORCH["cat"]([top, bottom], -2))
    return whole.narrow(-2, 0, size).narrow(-1, size, size)  # type: ignore[attr-defined]


EXP = host_op("linalg_matrix_exp", ln.matrix_exp, _exp_infer, _exp_backward, saves="0")


@linalg
def matrix_exp(A: Tensor) -> Tensor:
    """Exponentials of square matrices."""
    m = A.meta
    if m.ndim < 2 or m.shape[-1] != m.shape[-2] or m.dtype.kind not in "fc":
        check_low = m.dtype.kind in "fc"
        check_matrix("linalg.matrix_exp", A, True) if check_low else None
        raise RuntimeError(
            f"linalg.matrix_exp: Expected a floating point or complex tensor as input. Got {m.dtype.short}"
        )
    return apply(EXP, (A,))


both("matrix_exp")(lambda input: matrix_exp(input))


# least squares ----------------------------------------------------------------------------------------


_LSTSQ = return_type("linalg_lstsq", "solution", "residuals", "rank", "singular_values")
_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


@linalg
def lstsq(
    A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None, out: Any = None
) -> Any:
    """(X with the smallest |A X - B|, residuals, ranks, singular values)."""
    name = "torch.linalg.lstsq"
    if A.meta.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    if B.meta.ndim < 1:
        raise RuntimeError(f"{name}: other must have at least 1 dimension.")
    gap = A.meta.ndim - B.meta.ndim
    if gap not in (0, 1):
        raise RuntimeError(
            f"{name}: input.dim() must be greater or equal to other.dim() and (input.dim() - other.dim()) <= 1"
        )
    check_same(name, A, B) if A.meta.dtype is not B.meta.dtype else None
    check_matrix("linalg.lstsq", A)
    driver = driver or "gelsy"
    if driver not in _DRIVERS:
        raise RuntimeError(
            f"{name}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)"
        )
    vector = is_vector_case(A, B)
    b = B.unsqueeze(-1) if vector else B  # type: ignore[attr-defined]
    m, n = A.meta.shape[-2:]
    if b.meta.shape[-2] != m:
        raise RuntimeError(f"{name}: input.size(-2) should match other.size(-{1 if vector else 2})")
    tolerance = rcond if rcond is not None else dt.finfo(A.meta.dtype).eps * max(m, n)
    inverse = LINALG["pinv"](A, rtol=max(float(tolerance), 0.0))
    x = inverse @ b
    none = TORCH["empty"](0, dtype=A.meta.dtype.to_real(), device=A.meta.device)
    values = LINALG["svdvals"](A.detach())
    rank = TORCH["empty"](0, dtype=dt.int64, device=A.meta.device)
    if driver != "gels":
        top = values.narrow(-1, 0, 1) if min(m, n) else values
        rank = (values > top * tolerance).sum(-1)
    residuals = (A.reshape(-1)[:0] * x.reshape(-1)[:0]).abs()
    if m > n and driver != "gelsy":
        full = driver == "gels" or bool((rank == n).all())
        if full:
            gap_ = (A @ x - b).abs()
            residuals = (gap_ * gap_).sum(-2)
    got = _LSTSQ(
        x.squeeze(-1) if vector else x,
        residuals,
        rank,
        values if driver in ("gelsd", "gelss") else none,
    )
    return to_out(got, out)


# reflectors ---------------------------------------------------------------------------------------------


_GEQRF = return_type("geqrf", "a", "tau")


def _geqrf_infer(a: Meta) -> tuple[Meta, Meta]:
    return a.plain(), meta_of(a.dtype, (*a.shape[:-2], min(a.shape[-2:])), a.device)


GEQRF = host_op("geqrf", ln.geqrf, _geqrf_infer, lies=COLUMNS)


@both("geqrf")
def geqrf(input: Tensor, *, out: Any = None) -> Any:
    """(R with reflectors below its diagonal, their factors)."""
    check_matrix("torch.geqrf", input, arg="input")
    return to_out(_GEQRF(*apply(GEQRF, (input,))), out)


def _reflectors(a: Tensor, tau: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(vector as a column, factor) of each reflector."""
    m, out = a.meta.shape[-2], []
    unit = TORCH["tril"](a, -1) + TORCH["eye"](
        m, a.meta.shape[-1], dtype=a.meta.dtype, device=a.meta.device
    )
    out.extend(
        (unit.narrow(-1, i, 1), tau.narrow(-1, i, 1).unsqueeze(-1))
        for i in range(tau.meta.shape[-1])
    )
    return out


def _reflect(c: Tensor, v: Tensor, tau: Tensor, left: bool) -> Tensor:
    """(I - tau v v^H) c, or c (I - tau v v^H)."""
    if left:
        return c - tau * v @ (adjoint(v) @ c)
    return c - (c @ v) @ adjoint(v) * tau


@linalg
def householder_product(A: Tensor, tau: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The first columns of the product of reflectors."""
    name = "torch.linalg.householder_product"
    if A.meta.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    m, n = A.meta.shape[-2:]
    if m < n:
        raise RuntimeError(
            f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if n < tau.meta.shape[-1]:
        raise RuntimeError(
            f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]"
        )
    if A.meta.ndim - tau.meta.ndim != 1:
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input, but got tau.ndim equal to {tau.meta.ndim} and "
            f"input.ndim is equal to {A.meta.ndim}"
        )
    if tuple(tau.meta.shape[:-1]) != tuple(A.meta.shape[:-2]):
        raise RuntimeError(
            f"{name}: Expected batch dimensions of tau to be equal to input.shape[:-2], but got {list(tau.meta.shape[:-1])}"
        )
    if A.meta.dtype is not tau.meta.dtype:
        raise RuntimeError(
            f"{name}: tau dtype {tau.meta.dtype.short} does not match input dtype {A.meta.dtype.short}"
        )
    if not A.meta.numel or not tau.meta.shape[-1]:
        eye = TORCH["eye"](m, n, dtype=A.meta.dtype, device=A.meta.device)
        return to_out(TORCH["where"](TORCH["full"]((), False), A, eye), out)  # type: ignore[attr-defined]
    q = TORCH["eye"](m, n, dtype=A.meta.dtype, device=A.meta.device).expand(A.meta.shape)
    for v, t in reversed(_reflectors(A, tau)):
        q = _reflect(q, v, t, True)
    return to_out(q, out)


both("orgqr")(lambda input, tau, *, out=None: householder_product(input, tau, out=out))


@both("ormqr")
def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False, *,
          out: Tensor | None = None) -> Tensor:  # fmt: skip
    """other multiplied with the product of reflectors, from the left or the right."""
    name = "torch.ormqr"
    if input.meta.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    if other.meta.ndim < 2:
        raise RuntimeError(f"{name}: other must have at least 2 dimensions.")
    side = other.meta.shape[-2 if left else -1]
    if side < tau.meta.shape[-1]:
        raise RuntimeError(
            f"{name}: other.shape[{-2 if left else -1}] must be greater than or equal to tau.shape[-1]"
        )
    if side != input.meta.shape[-2]:
        raise RuntimeError(
            f"{name}: other.shape[{-2 if left else -1}] must be equal to input.shape[-2]"
        )
    if tau.meta.shape[-1] > input.meta.shape[-1]:
        raise RuntimeError(f"{name}: tau.shape[-1] must be less than or equal to input.shape[-1]")
    if input.meta.ndim - tau.meta.ndim != 1:
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input, but got tau.ndim equal to {tau.meta.ndim} and "
            f"input.ndim is equal to {input.meta.ndim}"
        )
    if input.meta.ndim != other.meta.ndim:
        raise RuntimeError(
            f"{name}: Expected other to have the same number of dimensions as input, but got other.ndim equal to "
            f"{other.meta.ndim} and input.ndim is equal to {input.meta.ndim}"
        )
    if tuple(tau.meta.shape[:-1]) != tuple(input.meta.shape[:-2]) or tuple(
        other.meta.shape[:-2]
    ) != tuple(input.meta.shape[:-2]):
        raise RuntimeError(f"{name}: Expected batch dimensions to be equal to input.shape[:-2]")
    if not input.meta.dtype is tau.meta.dtype is other.meta.dtype:
        raise RuntimeError(f"{name}: Expected input and other to have the same dtype")
    steps = _reflectors(input, tau)
    if left != transpose:
        steps = steps[::-1]
    got = other
    for v, t in steps:
        got = _reflect(got, v, conj_of(t) if transpose else t, left)
    return to_out(got.clone() if got is other else got, out, exact=True)


# tensor equations -----------------------------------------------------------------------------------------


@linalg
def tensorinv(A: Tensor, ind: int = 2, *, out: Tensor | None = None) -> Tensor:
    """The inverse of A as a map between its last dims and its first `ind`."""
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    left, right = A.meta.shape[:ind], A.meta.shape[ind:]
    if math.prod(left) != math.prod(right):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{math.prod(right)} != {math.prod(left)}"
        )
    flat = A.reshape(math.prod(left), math.prod(right))  # type: ignore[attr-defined]
    return to_out(LINALG["inv"](flat).reshape(*right, *left), out)


@linalg
def tensorsolve(A: Tensor, B: Tensor, dims: Any = None, *, out: Tensor | None = None) -> Tensor:
    """X with tensordot(A, X, X.ndim) = B."""
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(A.meta.ndim - len(dims), A.meta.ndim)))  # type: ignore[attr-defined]
    shape = A.meta.shape[B.meta.ndim :]
    if math.prod(shape) != math.prod(A.meta.shape[: B.meta.ndim]):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), "
            f"but got {math.prod(shape)} != {math.prod(A.meta.shape[: B.meta.ndim])}"
        )
    n = math.prod(shape)
    return to_out(LINALG["solve"](A.reshape(-1, n), B.reshape(-1)).reshape(shape), out)  # type: ignore[attr-defined]


# low rank ---------------------------------------------------------------------------------------------------


def get_approximate_basis(A: Tensor, q: int, niter: int = 2, M: Tensor | None = None) -> Tensor:
    """An orthonormal basis that nearly spans A's columns, by random projections."""
    R = TORCH["randn"](A.meta.shape[-1], q, dtype=A.meta.dtype)
    X = TORCH["matmul"](A if M is None else A - M, R)
    Q = LINALG["qr"](X)[0]
    for _ in range(niter):
        B = A if M is None else A - M
        Q = LINALG["qr"](adjoint(B) @ Q)[0]
        Q = LINALG["qr"](B @ Q)[0]
    return Q


@only_torch()
def svd_lowrank(
    A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None
) -> tuple:
    """(U, S, V) of a nearly low-rank matrix, by random projections."""
    m, n = A.meta.shape[-2:]
    if M is not None:
        A = A - M.broadcast_to(A.meta.shape)  # type: ignore[attr-defined]
    wide = m < n
    B = adjoint(A) if wide else A
    Q = get_approximate_basis(B, q or 6, niter or 0)
    u, s, vh = LINALG["svd"](adjoint(Q) @ B, full_matrices=False)
    u, v = Q @ u, adjoint(vh)
    return (v, s, u) if wide else (u, s, v)


@only_torch()
def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> tuple:
    """(U, S, V) of the principal components of a nearly low-rank matrix."""
    m, n = A.meta.shape[-2:]
    if A.meta.dtype.kind not in "fc":
        raise ValueError("pca_lowrank: input must be a floating point tensor")
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}"
        )
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)  # type: ignore[attr-defined]
