"""Factors that show a matrix's spectrum: QR, eigenvalues, singular values; norms and ranks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.formats import COLUMNS
from facula.graph.meta import META, Meta, broadcast_shapes, meta_of, wrap_dim
from facula.ops import linalg_numpy as ln
from facula.ops.apply import apply
from facula.ops.complexes import real_part
from facula.ops.elementwise import conj_of
from facula.ops.host import host_op
from facula.ops.linalg_solve import LINALG, TRIANGULAR, LinAlgError, check_matrix, check_out, linalg
from facula.ops.matmul import adjoint
from facula.ops.reduce import return_type
from facula.ops.registry import TORCH, both, to_out, zeros_as
from facula.ops.statistics import vector_norm
from facula.tensor import Tensor


def scaled_columns(a: Tensor, s: Tensor) -> Tensor:
    """a with columns scaled by s."""
    return a * s.unsqueeze(-2)  # type: ignore[attr-defined]


def _embed(d: Tensor) -> Tensor:
    return TORCH["diag_embed"](d)


def _diagonal(a: Tensor) -> Tensor:
    return a.diagonal(0, -2, -1)  # type: ignore[attr-defined]


# QR -----------------------------------------------------------------------------------------------


def _qr_infer(a: Meta, mode: str) -> tuple[Meta, Meta]:
    m, n = a.shape[-2:]
    k = min(m, n)
    lead = a.shape[:-2]
    shapes = {"reduced": ((m, k), (k, n)), "complete": ((m, m), (m, n)), "r": (None, (k, n))}[mode]
    q = meta_of(a.dtype, (0,) if shapes[0] is None else (*lead, *shapes[0]), a.device)
    return q, meta_of(a.dtype, (*lead, *shapes[1]), a.device)


def _qr_square(q: Tensor, r: Tensor, gq: Tensor, gr: Tensor) -> Tensor:
    inner = TORCH["triu"](gr @ adjoint(r) - adjoint(q) @ gq)
    diagonal = _diagonal(inner)
    inner = (
        inner
        + adjoint(inner)
        - _embed(diagonal if inner.meta.dtype.kind != "c" else conj_of(diagonal))
    )
    if inner.meta.dtype.kind == "c":
        on = _diagonal(inner)
        inner = inner - _embed(on) + _embed(real_part(on).to(inner.meta.dtype))  # type: ignore[attr-defined]
    right = gq + q @ inner
    return adjoint(apply(TRIANGULAR, (r, adjoint(right)), (True, False)))


def _qr_backward(n: Any, gq: Tensor, gr: Tensor) -> Tensor:
    q, r = n.tensor(0), n.tensor(1)
    mode = n.params[0]
    rows, cols = n.inst.ins[0].shape[-2:]
    if mode == "r":
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use "
            "linalg.qr(A, mode='reduced') if you are going to differentiate through linalg.qr."
        )
    if mode == "complete" and rows > cols:
        raise RuntimeError(
            "The QR decomposition is not differentiable when mode='complete' and nrows > ncols."
        )
    if rows >= cols:
        return _qr_square(q, r, gq, gr)
    r1, r2 = r.narrow(-1, 0, rows), r.narrow(-1, rows, cols - rows)
    g1, g2 = gr.narrow(-1, 0, rows), gr.narrow(-1, rows, cols - rows)  # type: ignore[attr-defined]
    a2 = q @ r2
    first = _qr_square(q, r1, gq + a2 @ adjoint(g2), g1)
    return TORCH["cat"]([first, q @ g2], -1)


QR = host_op("linalg_qr", ln.qr, _qr_infer, _qr_backward, saves="out0 out1", lies=COLUMNS)
_QR, _QR_OLD = return_type("linalg_qr", "Q", "R"), return_type("qr", "Q", "R")


def _qr(result: Any, name: str, a: Tensor, mode: str) -> Any:
    check_matrix(name, a)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    return result(*apply(QR, (a,), (mode,)))


@linalg
def qr(A: Tensor, mode: str = "reduced", *, out: Any = None) -> Any:
    """(Q, R) with A = Q R; mode "reduced", "complete" or "r"."""
    return to_out(_qr(_QR, "linalg.qr", A, mode), out)


@both("qr")
def qr_old(input: Tensor, some: bool = True, *, out: Any = None) -> Any:
    """(Q, R); deprecated for `linalg.qr`."""
    return to_out(_qr(_QR_OLD, "linalg.qr", input, "reduced" if some else "complete"), out)


# Hermitian eigenvalues --------------------------------------------------------------------------------


def _eigh_infer(a: Meta, uplo: str) -> tuple[Meta, Meta]:
    return meta_of(a.dtype.to_real(), a.shape[:-1], a.device), a.plain()


def _gaps(s: Tensor, d: Any) -> Tensor:
    """s_j - s_i, with 1 on the diagonal."""
    return (
        s.unsqueeze(-2)
        - s.unsqueeze(-1)
        + TORCH["eye"](s.meta.shape[-1], dtype=d, device=s.meta.device)
    )  # type: ignore[attr-defined]


def _eigh_backward(n: Any, gl: Any, gv: Any) -> Tensor:
    values, v = n.tensor(0), n.tensor(1)
    inner = None
    if gv is not None:
        mixed = adjoint(v) @ gv
        off = (mixed - adjoint(mixed)) / (2 * _gaps(values, values.meta.dtype))
        inner = off - _embed(_diagonal(off))
    if gl is not None:
        on = _embed(gl).to(v.meta.dtype)
        inner = on if inner is None else inner + on
    return v @ inner @ adjoint(v)


EIGH = host_op("linalg_eigh", ln.eigh, _eigh_infer, _eigh_backward, saves="out0 out1", materialize=False,
               grad_name="LinalgEighBackward0", lies=COLUMNS)  # fmt: skip
_EIGH, _EIG = (
    return_type("linalg_eigh", "eigenvalues", "eigenvectors"),
    return_type("linalg_eig", "eigenvalues", "eigenvectors"),
)


def _finite(a: Tensor) -> bool:
    """Whether no element is infinite or NaN, as far as values are known (not on meta)."""
    return a.meta.device is META or bool(np.isfinite(a._values()).all())


def _check_finite(name: str, a: Tensor) -> None:
    if not _finite(a):
        raise LinAlgError(
            f"{name}: The algorithm failed to converge because the input matrix contained non-finite values."
        )


def _check_uplo(name: str, uplo: str) -> str:
    if uplo.upper() not in ("L", "U"):
        raise RuntimeError(f"{name}: the parameter 'UPLO' should be 'L' or 'U', but got {uplo}")
    return uplo.upper()


@linalg
def eigh(A: Tensor, UPLO: str = "L", *, out: Any = None) -> Any:
    """(eigenvalues in order, eigenvectors) of Hermitian matrices."""
    check_matrix("linalg.eigh", A, True)
    uplo = _check_uplo("linalg.eigh", UPLO)
    _check_finite("linalg.eigh", A)
    if out is not None:
        check_out("torch.linalg.eigh", out, A.meta.dtype.to_real(), A.meta.dtype)
    return to_out(_EIGH(*apply(EIGH, (A,), (uplo,))), out)


@linalg
def eigvalsh(A: Tensor, UPLO: str = "L", *, out: Tensor | None = None) -> Tensor:
    """Eigenvalues of Hermitian matrices, in order."""
    check_matrix("linalg.eigvalsh", A, True)
    uplo = _check_uplo("linalg.eigvalsh", UPLO)
    _check_finite("linalg.eigvalsh", A)
    check_out("torch.linalg.eigvalsh", out, A.meta.dtype.to_real())
    return to_out(apply(EIGH, (A,), (uplo,))[0], out)


# general eigenvalues --------------------------------------------------------------------------------------


def _eig_infer(a: Meta) -> tuple[Meta, Meta]:
    d = a.dtype.to_complex()
    return meta_of(d, a.shape[:-1], a.device), meta_of(d, a.shape, a.device)


def _eig_backward(n: Any, gl: Any, gv: Any) -> Tensor:
    values, v = n.tensor(0), n.tensor(1)
    inner = None
    if gv is not None:
        mixed = adjoint(v) @ gv
        own = real_part(_diagonal(mixed)).to(v.meta.dtype)  # type: ignore[attr-defined]
        off = mixed - scaled_columns(adjoint(v) @ v, own)
        off = off / conj_of(_gaps(values, values.meta.dtype))
        inner = off - _embed(_diagonal(off))
    if gl is not None:
        inner = _embed(gl) if inner is None else inner + _embed(gl)
    got = LINALG["solve"](adjoint(v), inner @ adjoint(v))
    return got if n.inst.ins[0].dtype.kind == "c" else real_part(got)


EIG = host_op("linalg_eig", ln.eig, _eig_infer, _eig_backward, saves="out0 out1", materialize=False,
              lies=COLUMNS)  # fmt: skip


EIGVALS = host_op("linalg_eigvals", ln.eigvals, lambda a: _eig_infer(a)[0])


@linalg
def eig(A: Tensor, *, out: Any = None) -> Any:
    """(complex eigenvalues, eigenvectors) of square matrices."""
    check_matrix("linalg.eig", A, True)
    if not _finite(A):
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    if out is not None:
        check_out("torch.linalg.eig", out, A.meta.dtype.to_complex(), A.meta.dtype.to_complex())
    return to_out(_EIG(*apply(EIG, (A,))), out)


@linalg
def eigvals(A: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Complex eigenvalues of square matrices."""
    check_matrix("linalg.eigvals", A, True)
    if not _finite(A):
        raise RuntimeError("torch.linalg.eigvals: input tensor should not contain infs or NaNs.")
    check_out("torch.linalg.eigvals", out, A.meta.dtype.to_complex())
    return to_out(apply(EIG, (A,))[0] if A._rg else apply(EIGVALS, (A,)), out)


# singular values ----------------------------------------------------------------------------------------------


def _svd_infer(a: Meta, full: bool) -> tuple[Meta, Meta, Meta]:
    m, n = a.shape[-2:]
    k, lead = min(m, n), a.shape[:-2]
    u = (*lead, m, m if full else k)
    vh = (*lead, n if full else k, n)
    return (
        meta_of(a.dtype, u, a.device),
        meta_of(a.dtype.to_real(), (*lead, k), a.device),
        meta_of(a.dtype, vh, a.device),
    )


def _skew(a: Tensor) -> Tensor:
    return a - adjoint(a)


def _svd_backward(node: Any, gu: Any, gs: Any, gvh: Any) -> Tensor:
    u, s, vh = (node.tensor(i) for i in range(3))
    rows, cols = node.inst.ins[0].shape[-2:]
    k = min(rows, cols)
    u, vh = u.narrow(-1, 0, k), vh.narrow(-2, 0, k)
    if gu is None and gvh is None:
        return scaled_columns(u, gs.to(u.meta.dtype)) @ vh
    wide = s.to(u.meta.dtype)
    inner = _embed(gs).to(u.meta.dtype) if gs is not None else None
    squares = s * s
    gaps = _gaps(squares, s.meta.dtype)

    def add(term: Tensor) -> None:
        nonlocal inner
        inner = term if inner is None else inner + term

    if gu is not None:
        gu = gu.narrow(-1, 0, k)
        turn = _skew(adjoint(u) @ gu)
        add(scaled_columns(_off(turn / gaps), wide))
        if u.meta.dtype.kind == "c":
            add(_embed(_diagonal(turn) / (2 * wide)))
    if gvh is not None:
        gv = adjoint(gvh.narrow(-2, 0, k))
        turn_v = _skew(vh @ gv)
        add(wide.unsqueeze(-1) * _off(turn_v / gaps))
    out = u @ inner @ vh
    if gu is not None and rows > k:
        rest = scaled_columns(gu, 1 / wide)
        out = out + (rest - u @ (adjoint(u) @ rest)) @ vh
    if gvh is not None and cols > k:
        rest = adjoint(gv) / wide.unsqueeze(-1)
        out = out + u @ (rest - (rest @ adjoint(vh)) @ vh)
    return out


def _off(a: Tensor) -> Tensor:
    return a - _embed(_diagonal(a))


SVD = host_op(
    "linalg_svd",
    ln.svd,
    _svd_infer,
    _svd_backward,
    saves="out0 out1 out2",
    materialize=False,
    lies=COLUMNS,
)
_SVD, _SVD_OLD = return_type("linalg_svd", "U", "S", "Vh"), return_type("svd", "U", "S", "V")
SVDVALS = host_op(
    "linalg_svdvals",
    ln.svdvals,
    lambda a: meta_of(a.dtype.to_real(), (*a.shape[:-2], min(a.shape[-2:])), a.device),
)


@linalg
def svd(
    A: Tensor, full_matrices: bool = True, *, driver: str | None = None, out: Any = None
) -> Any:
    """(U, S, Vh) with A = U diag(S) Vh."""
    check_matrix("linalg.svd", A)
    _check_finite("linalg.svd", A)
    if driver is not None and A.meta.device.type == "cpu":  # type: ignore[attr-defined]
        raise RuntimeError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend."
        )
    return to_out(_SVD(*apply(SVD, (A,), (bool(full_matrices),))), out)


@both("svd")
def svd_old(input: Tensor, some: bool = True, compute_uv: bool = True, *, out: Any = None) -> Any:
    """(U, S, V) with input = U diag(S) V^H; deprecated for `linalg.svd`."""
    check_matrix("linalg.svd", input)
    u, s, vh = apply(SVD, (input,), (not some,))
    if not compute_uv:
        m, n = input.meta.shape[-2:]
        lead = input.meta.shape[:-2]
        u, v = (
            zeros_as(input, *lead, m, m),
            zeros_as(input, *lead, n, n),
        )
        return to_out(_SVD_OLD(u, s, v), out)
    return to_out(_SVD_OLD(u, s, adjoint(vh)), out)


@linalg
def svdvals(A: Tensor, *, driver: str | None = None, out: Tensor | None = None) -> Tensor:
    """Singular values, the largest first."""
    check_matrix("linalg.svdvals", A)
    check_out("torch.linalg.svdvals", out, A.meta.dtype.to_real())
    got = apply(SVD, (A,), (False,))[1] if A._rg else apply(SVDVALS, (A,))
    return to_out(got, out)


# norms ------------------------------------------------------------------------------------------------------------


@linalg
def matrix_norm(A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None,
                out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Norms of matrices: "fro", "nuc", inf, 1, 2 and the negatives of the last three."""
    if A.meta.ndim < 2:
        raise RuntimeError(
            "linalg.matrix_norm: The input tensor A must have at least 2 dimensions."
        )
    if A.meta.dtype.kind not in "fc":
        raise RuntimeError(
            f"linalg.matrix_norm: Expected a floating point or complex tensor as input. Got {A.meta.dtype.short}"
        )
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if len(dims) != 2:
        raise RuntimeError(
            "linalg.matrix_norm: dim must be a 2-tuple. Got " + " ".join(map(str, dims))
        )
    a, b = (wrap_dim(d, A.meta.ndim) for d in dims)
    if a == b:
        raise RuntimeError(
            f"linalg.matrix_norm: dims must be different. Got ({dims[0]}, {dims[1]})"
        )
    if isinstance(ord, str):
        if ord not in ("fro", "nuc"):
            raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
        if ord == "fro":
            return vector_norm(A, 2, (a, b), keepdim, dtype=dtype, out=out)
    elif abs(ord) not in (1, 2, math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    x = A if dtype is None else A.to(dtype)  # type: ignore[attr-defined]
    if ord == "nuc" or abs(ord) == 2:
        if x.meta.dtype.kind == "f" and x.meta.dtype.itemsize < 4:
            raise RuntimeError(
                f"linalg.matrix_norm: Low precision dtypes not supported. Got {x.meta.dtype.short}"
            )
        values = svdvals(x.movedim((a, b), (-2, -1)))
        empty = not values.meta.shape[-1] and (ord == "nuc" or ord > 0)
        got = (
            values.sum(-1)
            if ord == "nuc" or empty
            else values.amax(-1)
            if ord > 0
            else values.amin(-1)
        )  # type: ignore[attr-defined]
        if keepdim:
            for d in sorted((a, b)):
                got = got.unsqueeze(d)
        return to_out(got, out)
    inner, outer = (a, b) if abs(ord) == 1 else (b, a)
    sums = vector_norm(x, 1, inner, True)
    if ord > 0 and not x.meta.shape[outer]:
        got = sums.sum(outer, True)  # type: ignore[attr-defined]
    else:
        got = sums.amax(outer, True) if ord > 0 else sums.amin(outer, True)  # type: ignore[attr-defined]
    if not keepdim:
        got = got.squeeze((a, b))
    return to_out(got, out)


@linalg
def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None,
         out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Norms of vectors (one dim) or matrices (two)."""
    dims = (dim,) if isinstance(dim, int) else None if dim is None else tuple(dim)
    if dims is not None and len(dims) not in (1, 2):
        if ord is not None or len(dims) == 0:
            raise RuntimeError(
                f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}"
            )
    if ord is None:
        return vector_norm(A, 2, dims, keepdim, dtype=dtype, out=out)
    if dims is None and A.meta.ndim not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A.meta.ndim}D."
        )
    if (dims is not None and len(dims) == 2) or (dims is None and A.meta.ndim == 2):
        return matrix_norm(A, ord, (0, 1) if dims is None else dims, keepdim, dtype=dtype, out=out)
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: Order {ord} not supported.")
    return vector_norm(A, ord, dims, keepdim, dtype=dtype, out=out)


@linalg
def cond(A: Tensor, p: Any = None, *, out: Tensor | None = None) -> Tensor:
    """Condition numbers."""
    if A.meta.ndim < 2:
        raise RuntimeError("linalg.cond: The input tensor A must have at least 2 dimensions.")
    if p is None or p in (2, -2):
        values = svdvals(A)
        if not A.meta.numel and p is None:
            return to_out(
                TORCH["zeros"](
                    A.meta.shape[:-2], dtype=A.meta.dtype.to_real(), device=A.meta.device
                ),
                out,
            )
        big, small = values[..., 0], values[..., -1]  # type: ignore[index]
        return to_out(small / big if p == -2 else big / small, out)
    if (isinstance(p, str) and p not in ("fro", "nuc")) or (
        not isinstance(p, str) and abs(p) not in (1, 2, math.inf)
    ):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    check_matrix("linalg.cond", A, True)
    if not A.meta.numel:
        return to_out(
            TORCH["zeros"](A.meta.shape[:-2], dtype=A.meta.dtype.to_real(), device=A.meta.device),
            out,
        )
    inverse = LINALG["inv_ex"](A)[0]
    got = matrix_norm(A, p) * matrix_norm(inverse, p)
    return to_out(TORCH["where"](got.isnan(), math.inf, got), out)


# ranks and pseudo-inverses ---------------------------------------------------------------------------------------------


def _bounds(name: str, a: Tensor, atol: Any, rtol: Any, tol: Any = None) -> tuple[Tensor, Tensor]:
    """Absolute and relative tolerances as tensors."""
    for what, x in (("atol", atol), ("rtol", rtol), ("tol", tol)):
        if isinstance(x, Tensor) and x.meta.dtype.kind == "c":
            raise RuntimeError(
                f"{name}: {what} tensor of complex type is not supported. Got {x.meta.dtype.short}"
            )
    given = atol is not None
    atol = 0.0 if atol is None else atol
    if rtol is None:
        eps = dt.finfo(a.meta.dtype.to_real()).eps * max(a.meta.shape[-2:])
        rtol = (
            TORCH["where"](atol > 0, 0.0, eps)
            if isinstance(atol, Tensor)
            else (0.0 if given and atol > 0 else eps)
        )
    return _as_tensor(atol, a), _as_tensor(rtol, a)


def _as_tensor(x: Any, a: Tensor) -> Tensor:
    if isinstance(x, Tensor):
        return x
    return TORCH["full"]((), float(x), dtype=a.meta.dtype.to_real(), device=a.meta.device)


def _spectrum(a: Tensor, hermitian: bool) -> Tensor:
    return eigvalsh(a).abs() if hermitian else svdvals(a)  # type: ignore[attr-defined]


@linalg
def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None,
                out: Tensor | None = None) -> Tensor:  # fmt: skip
    """How many singular values are above a tolerance."""
    check_matrix("linalg.matrix_rank", A, hermitian)
    check_out("torch.linalg.matrix_rank", out, dt.int64)
    values = _spectrum(A.detach(), hermitian)
    if not A.meta.numel:
        return to_out(TORCH["zeros"](A.meta.shape[:-2], dtype=dt.int64, device=A.meta.device), out)
    least, share = _bounds("torch.linalg.matrix_rank", A, atol, rtol, tol)
    if tol is not None:
        limit = _as_tensor(tol, A)
    else:
        limit = TORCH["maximum"](least, share * values.amax(-1))  # type: ignore[attr-defined]
    return to_out((values > limit.unsqueeze(-1)).sum(-1), out)


def np_pinv(a: np.ndarray, atol: np.ndarray, rtol: np.ndarray, hermitian: bool) -> np.ndarray:
    """Pseudo-inverses: of the values above atol and above the greatest one's share rtol."""
    if hermitian:
        values, v = np.linalg.eigh(a)
        size, u = np.abs(values), v
    else:
        u, values, vh = np.linalg.svd(a, full_matrices=False)
        size, v = values, ln.adj(vh)
    keep = size > np.maximum(atol, rtol * size.max(-1))[..., None]
    inverse = np.where(keep, 1 / np.where(keep, values, 1), 0)
    return (v * inverse[..., None, :]) @ ln.adj(u)


def _pinv_infer(a: Meta, atol: Meta, rtol: Meta, hermitian: bool) -> Meta:
    lead = broadcast_shapes(a.shape[:-2], atol.shape, rtol.shape)
    return meta_of(a.dtype, (*lead, a.shape[-1], a.shape[-2]), a.device)


def _pinv_backward(n: Any, g: Tensor) -> tuple:
    a, p = n.tensor(0), n.tensor(1)
    ph, ah = adjoint(p), adjoint(g)
    first = -(ph @ g @ ph)
    second = ah @ p @ ph
    second = second - a @ (p @ second)
    third = ph @ p @ ah
    third = third - (third @ p) @ a
    return first + second + third, None, None


PINV = host_op("linalg_pinv", np_pinv, _pinv_infer, _pinv_backward, saves="0 out")


def _pinv(a: Tensor, rcond: Any, hermitian: bool, atol: Any, rtol: Any, name: str) -> Tensor:
    check_matrix(name, a, hermitian)
    if not a.meta.numel:
        return a.transpose(-2, -1).clone()  # type: ignore[attr-defined]
    rtol = rcond if rtol is None else rtol
    return apply(PINV, (a, *_bounds("torch.linalg.pinv", a, atol, rtol)), (hermitian,))


@linalg
def pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None,
         out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Pseudo-inverses."""
    got = _pinv(A, rcond, bool(hermitian), atol, rtol, "linalg.pinv")
    check_out("torch.linalg.pinv", out, got.meta.dtype)
    return to_out(got, out)


@both("pinverse")
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """Pseudo-inverses; see `linalg.pinv`."""
    return _pinv(input, rcond, False, None, None, "linalg.pinv")
