"""LAPACK's work on stacks of matrices: through numpy.linalg, or written out where it lacks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from facula.ops.substitution import solved

Array = np.ndarray


def adj(a: Array) -> Array:
    """Conjugate transpose of the last two dims."""
    return np.swapaxes(a, -1, -2).conj()


def each(fn: Callable, outs: list[tuple[tuple[int, ...], Any]], *stacks: Array) -> list[Array]:
    """fn on every matrix of the stacks, one after the other; outs: (core shape, dtype) of results."""
    lead = stacks[0].shape[:-2]
    results = [np.zeros((*lead, *core), d) for core, d in outs]
    for i in np.ndindex(*lead):
        for r, value in zip(results, fn(*[s[i] for s in stacks])):
            r[i] = value
    return results


def inv_ex(a: Array) -> list[Array]:
    """(inverses, infos): info is the number of a zero pivot."""
    info = np.zeros(a.shape[:-2], np.int32)
    try:
        return [np.linalg.inv(a), info]
    except np.linalg.LinAlgError:
        _, _, info = lu_factor(a)
        out = np.full_like(a, np.inf)
        for i in np.ndindex(*a.shape[:-2]):
            if info[i] == 0:
                out[i] = np.linalg.inv(a[i])
        return [out, info]


def solve_ex(a: Array, b: Array) -> list[Array]:
    """(solutions, infos) of a @ x = b for stacks of matrices b."""
    info = np.zeros(a.shape[:-2], np.int32)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:])
    try:
        return [np.linalg.solve(a, b).reshape(shape), info]
    except np.linalg.LinAlgError:
        _, _, info = lu_factor(a)
        return [np.full(shape, np.nan, a.dtype), info]


def cholesky_ex(a: Array, upper: bool) -> list[Array]:
    """(factors, infos); only one triangle is read."""
    if upper:
        factor, info = cholesky_ex(adj(a), False)
        return [adj(factor), info]
    info = np.zeros(a.shape[:-2], np.int32)
    try:
        return [np.linalg.cholesky(a), info]
    except np.linalg.LinAlgError:
        out = np.tril(a).astype(a.dtype)
        for i in np.ndindex(*a.shape[:-2]):
            try:
                out[i] = np.linalg.cholesky(a[i])
            except np.linalg.LinAlgError:
                info[i] = _first_bad_minor(a[i])
        return [out, info]


def _first_bad_minor(a: Array) -> int:
    for k in range(1, len(a) + 1):
        try:
            np.linalg.cholesky(a[:k, :k])
        except np.linalg.LinAlgError:
            return k
    return len(a)


def lu_factor(a: Array) -> list[Array]:
    """(LU, pivots from 1, infos) by rows exchanged for the largest pivot."""
    lead, (m, n) = a.shape[:-2], a.shape[-2:]
    k = min(m, n)
    lu = np.array(a, copy=True).reshape(int(np.prod(lead)), m, n)
    pivots = np.zeros((len(lu), k), np.int32)
    info = np.zeros(len(lu), np.int32)
    rows = np.arange(len(lu))
    with np.errstate(all="ignore"):
        for j in range(k):
            column = lu[:, j:, j]
            size = (
                np.abs(column.real) + np.abs(column.imag) if a.dtype.kind == "c" else np.abs(column)
            )
            p = np.argmax(size, axis=1) + j
            pivots[:, j] = p + 1
            swap = lu[rows, p].copy()
            lu[rows, p] = lu[rows, j]
            lu[rows, j] = swap
            pivot = lu[:, j, j]
            zero = pivot == 0
            info = np.where(zero & (info == 0), j + 1, info).astype(np.int32)
            scale = np.where(zero, 1, pivot)
            lu[:, j + 1 :, j] /= scale[:, None]
            lu[:, j + 1 :, j + 1 :] -= lu[:, j + 1 :, j, None] * lu[:, j, None, j + 1 :]
    return [lu.reshape(a.shape), pivots.reshape(*lead, k), info.reshape(lead)]


def cholesky_solve(b: Array, low: Array, upper: bool) -> Array:
    """Solutions from a Cholesky factor, reading one triangle of it."""
    low = adj(low) if upper else low
    return solve_triangular(adj(low), solve_triangular(low, b, False, False), True, False)


def lu_no_pivot(a: Array) -> list[Array]:
    """(LU, pivots, infos) without exchanging rows."""
    lu = np.array(a, copy=True)
    k = min(a.shape[-2:])
    info = np.zeros(a.shape[:-2], np.int32)
    with np.errstate(all="ignore"):
        for j in range(k):
            zero = lu[..., j, j] == 0
            info = np.where(zero & (info == 0), j + 1, info).astype(np.int32)
            lu[..., j + 1 :, j] /= lu[..., j, j][..., None]
            lu[..., j + 1 :, j + 1 :] -= lu[..., j + 1 :, j, None] * lu[..., j, None, j + 1 :]
    pivots = np.broadcast_to(np.arange(1, k + 1, dtype=np.int32), (*a.shape[:-2], k)).copy()
    return [lu, pivots, info]


def permutation(pivots: Array, m: int) -> Array:
    """Where each row of the product came from, by LAPACK's row exchanges."""
    flat = pivots.reshape(int(np.prod(pivots.shape[:-1])), pivots.shape[-1])
    order = np.tile(np.arange(m), (len(flat), 1))
    rows = np.arange(len(flat))
    for j in range(flat.shape[1]):
        p = flat[:, j] - 1
        swap = order[rows, p].copy()
        order[rows, p] = order[rows, j]
        order[rows, j] = swap
    return order.reshape(*pivots.shape[:-1], m)


def permutation_matrix(pivots: Array, m: int) -> Array:
    """P with A = P @ L @ U."""
    order = permutation(pivots, m)
    return np.swapaxes(np.eye(m)[order], -1, -2)


def solve_triangular(a: Array, b: Array, upper: bool, unitriangular: bool) -> Array:
    """Solutions of a @ x = b, reading one triangle of a; by substitution."""
    n = a.shape[-1]
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x = np.array(np.broadcast_to(b, (*lead, *b.shape[-2:])), copy=True, order="C")
    if solved(a, x, upper, unitriangular):
        return x
    with np.errstate(all="ignore"):
        for j in range(n - 1, -1, -1) if upper else range(n):
            if not unitriangular:
                x[..., j, :] /= a[..., j, j, None]
            rest = slice(0, j) if upper else slice(j + 1, n)
            x[..., rest, :] -= a[..., rest, j, None] * x[..., j, None, :]
    return x


def qr(a: Array, mode: str) -> list[Array]:
    """Q and R as LAPACK gives them."""
    if mode == "r":
        return [np.zeros(0, a.dtype), np.linalg.qr(a, "r")]
    got = np.linalg.qr(a, mode)
    return [got[0], got[1]]


def geqrf(a: Array) -> list[Array]:
    """Reflectors below the diagonal of R, and their factors."""
    h, tau = np.linalg.qr(a, "raw")
    return [np.swapaxes(h, -1, -2), tau]


def svd(a: Array, full_matrices: bool) -> list[Array]:
    """U, S, Vh."""
    return list(np.linalg.svd(a, full_matrices=full_matrices))


def svdvals(a: Array) -> Array:
    """Singular values."""
    return np.linalg.svd(a, compute_uv=False)


def eigh(a: Array, uplo: str) -> list[Array]:
    """Eigenvalues in order, and eigenvectors, of Hermitian matrices."""
    return list(np.linalg.eigh(a, uplo))


def eig(a: Array) -> list[Array]:
    """Complex eigenvalues and eigenvectors."""
    d = np.complex64 if a.dtype in (np.float32, np.complex64) else np.complex128
    values, vectors = np.linalg.eig(a)
    return [values.astype(d), vectors.astype(d)]


def eigvals(a: Array) -> Array:
    """Complex eigenvalues."""
    d = np.complex64 if a.dtype in (np.float32, np.complex64) else np.complex128
    return np.linalg.eigvals(a).astype(d)


def det(a: Array) -> Array:
    """Determinants."""
    return np.linalg.det(a)


def slogdet(a: Array) -> list[Array]:
    """Signs and logarithms of absolute values of determinants."""
    return list(np.linalg.slogdet(a))


_PADE = [64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0,
         10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0]  # fmt: skip


def matrix_exp(a: Array) -> Array:
    """Exponentials: Pade's approximation of degree 13 with scaling and squaring."""
    if not a.size:
        return a
    x = a.astype(np.complex128 if a.dtype.kind == "c" else np.float64)
    norm = np.abs(x).sum(-2).max(-1)
    norm = np.where(np.isfinite(norm), norm, 1)
    times = np.maximum(0, np.ceil(np.log2(np.maximum(norm / 5.37, 1e-30)))).astype(int)
    x = x / (2.0**times)[..., None, None]
    eye = np.eye(a.shape[-1])
    b = _PADE
    x2 = x @ x
    x4 = x2 @ x2
    x6 = x4 @ x2
    odd = x @ (
        x6 @ (b[13] * x6 + b[11] * x4 + b[9] * x2) + b[7] * x6 + b[5] * x4 + b[3] * x2 + b[1] * eye
    )
    even = (
        x6 @ (b[12] * x6 + b[10] * x4 + b[8] * x2) + b[6] * x6 + b[4] * x4 + b[2] * x2 + b[0] * eye
    )
    out = np.linalg.solve(even - odd, even + odd)
    for k in range(int(times.max()) if times.size else 0):
        out = np.where((times > k)[..., None, None], out @ out, out)
    return out


# LDL: symmetric pivoting with blocks of 1 and 2 (Bunch and Kaufman), lower triangle -------------------

_ALPHA = (1 + 17**0.5) / 8


def _ldl_one(a: Array, hermitian: bool) -> tuple[Array, Array, int]:
    """Factors in LAPACK's form: (LD, pivots, info)."""
    a = np.tril(a).copy()
    n = len(a)
    pivots, info, k = np.zeros(n, np.int32), 0, 0
    co = np.conj if hermitian else (lambda v: v)
    size = lambda v: np.abs(v.real) + np.abs(v.imag) if a.dtype.kind == "c" else np.abs(v)  # noqa: E731
    while k < n:
        step, p = 1, k
        here = abs(a[k, k].real) if hermitian else size(a[k, k])
        below = size(a[k + 1 :, k])
        worst = below.max() if below.size else 0.0
        if max(here, worst) == 0 or np.isnan(here):
            info = info or k + 1
        else:
            if here < _ALPHA * worst:
                r = k + 1 + int(np.argmax(below))
                row = np.concatenate([size(a[r, k:r]), size(a[r + 1 :, r])])
                largest = row.max()
                at_r = abs(a[r, r].real) if hermitian else size(a[r, r])
                if here >= _ALPHA * worst * (worst / largest):
                    p = k
                elif at_r >= _ALPHA * largest:
                    p = r
                else:
                    step, p = 2, r
            _ldl_swap(a, k + step - 1, p, k, step, hermitian, co)
            _ldl_update(a, k, step, hermitian, co)
        pivots[k : k + step] = p + 1 if step == 1 else -(p + 1)
        k += step
    return a, pivots, info


def _ldl_swap(a: Array, kk: int, p: int, k: int, step: int, hermitian: bool, co: Any) -> None:
    if p == kk:
        return
    a[p + 1 :, [kk, p]] = a[p + 1 :, [p, kk]]
    column, row = a[kk + 1 : p, kk].copy(), a[p, kk + 1 : p].copy()
    a[kk + 1 : p, kk], a[p, kk + 1 : p] = co(row), co(column)
    if hermitian:
        a[p, kk] = np.conj(a[p, kk])
    a[kk, kk], a[p, p] = a[p, p], a[kk, kk]
    if step == 2:
        a[k + 1, k], a[p, k] = a[p, k], a[k + 1, k]


def _ldl_update(a: Array, k: int, step: int, hermitian: bool, co: Any) -> None:
    rest = slice(k + step, None)
    if step == 1:
        if hermitian:
            a[k, k] = a[k, k].real
        column = a[rest, k].copy()
        a[rest, rest] -= np.tril(np.outer(column, co(column)) / a[k, k])
        a[rest, k] = column / a[k, k]
        return
    block = np.array([[a[k, k], co(a[k + 1, k])], [a[k + 1, k], a[k + 1, k + 1]]])
    columns = a[rest, k : k + 2].copy()
    new = columns @ np.linalg.inv(block)
    a[rest, rest] -= np.tril(new @ co(columns).T)
    a[rest, k : k + 2] = new


def ldl_factor(a: Array, hermitian: bool) -> list[Array]:
    """(LD, pivots, infos) of stacks of symmetric or Hermitian matrices."""
    n = a.shape[-1]
    return each(
        lambda x: _ldl_one(x, hermitian), [((n, n), a.dtype), ((n,), np.int32), ((), np.int32)], a
    )


def _ldl_solve_one(ld: Array, pivots: Array, b: Array, hermitian: bool) -> Array:
    n, x = len(ld), b.copy()
    co = np.conj if hermitian else (lambda v: v)
    k = 0
    while k < n:
        step = 1 if pivots[k] > 0 else 2
        kk, p = k + step - 1, abs(int(pivots[k])) - 1
        x[[kk, p]] = x[[p, kk]]
        x[k + step :] -= ld[k + step :, k : k + step] @ x[k : k + step]
        if step == 1:
            x[k] = x[k] / ld[k, k]
        else:
            block = np.array([[ld[k, k], co(ld[k + 1, k])], [ld[k + 1, k], ld[k + 1, k + 1]]])
            x[k : k + 2] = np.linalg.solve(block, x[k : k + 2])
        k += step
    k = n - 1
    while k >= 0:
        step = 1 if pivots[k] > 0 else 2
        lo = k - step + 1
        x[lo : k + 1] -= co(ld[k + 1 :, lo : k + 1]).T @ x[k + 1 :]
        p = abs(int(pivots[k])) - 1
        x[[k, p]] = x[[p, k]]
        k -= step
    return x


def ldl_solve(ld: Array, pivots: Array, b: Array, hermitian: bool) -> Array:
    """Solutions from `ldl_factor`'s result."""
    lead = np.broadcast_shapes(ld.shape[:-2], b.shape[:-2])
    out = np.zeros((*lead, *b.shape[-2:]), b.dtype)
    ld = np.broadcast_to(ld, (*lead, *ld.shape[-2:]))
    pivots = np.broadcast_to(pivots, (*lead, pivots.shape[-1]))
    b = np.broadcast_to(b, out.shape)
    for i in np.ndindex(*lead):
        out[i] = _ldl_solve_one(ld[i], pivots[i], b[i], hermitian)
    return out
