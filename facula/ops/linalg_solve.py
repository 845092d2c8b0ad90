"""Linear systems: inverses, determinants, solvers, Cholesky, LU and LDL factors."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.graph import dtypes as dt
from facula.graph.formats import COLUMNS
from facula.graph.handlers import nobody_waits
from facula.graph.meta import META, Meta, broadcast_shapes, meta_of
from facula.graph.tape import Op
from facula.ops import linalg_numpy as ln
from facula.ops.apply import apply
from facula.ops.complexes import adjoint as _public_adjoint
from facula.ops.complexes import imag_part, real_part
from facula.ops.elementwise import conj_of
from facula.ops.host import host_op, tensor_of
from facula.ops.matmul import adjoint
from facula.ops.pointwise import need_tensors
from facula.ops.reduce import return_type
from facula.ops.registry import NAMESPACES, TORCH, both, only_torch, to_out
from facula.ops.without_values import known, shape_rule
from facula.tensor import Tensor

LINALG = NAMESPACES["linalg"]


class LinAlgError(RuntimeError):
    """A matrix does not have what an operator needs (an inverse, a factor ...)."""


LinAlgError.__module__ = "torch._C"
LinAlgError.__name__ = LinAlgError.__qualname__ = "_LinAlgError"  # as PyTorch shows it
LINALG["LinAlgError"] = LinAlgError


def linalg(fn: Any, name: str | None = None) -> Any:
    """Makes fn known as torch.linalg.<name>."""
    name = name or fn.__name__
    fn.__name__ = fn.__qualname__ = name
    LINALG[name] = fn
    return fn


# checks ---------------------------------------------------------------------------------------------


def check_matrix(
    name: str, a: Any, square: bool = False, arg: str = "A", floating: bool = True
) -> None:
    """RuntimeError in PyTorch's words unless a is a stack of (square) matrices, float32 or wider."""
    m = a.meta if isinstance(a, Tensor) else a
    if not isinstance(m, Meta):
        raise TypeError(
            f"{name.replace('.', '_')}(): argument '{arg}' must be Tensor, not {type(a).__name__}"
        )
    if m.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor {arg} must have at least 2 dimensions.")
    if square and m.shape[-1] != m.shape[-2]:
        raise RuntimeError(
            f"{name}: {arg} must be batches of square matrices, but they are {m.shape[-2]} by {m.shape[-1]} matrices"
        )
    if not floating:
        return
    if m.dtype.kind not in "fc":
        raise RuntimeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {m.dtype.short}"
        )
    if m.dtype.kind == "f" and m.dtype.itemsize < 4:
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {m.dtype.short}")


def check_same(name: str, a: Tensor, b: Tensor) -> None:
    """RuntimeError unless dtypes are equal."""
    if a.meta.dtype is not b.meta.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type {a.meta.dtype.short} and B of "
            f"type {b.meta.dtype.short} instead"
        )


def check_out(name: str, out: Any, *expected: Any) -> None:
    """RuntimeError where an out= tensor can't take a result's dtype."""
    outs = out if isinstance(out, (tuple, list)) else (out,)
    for o, d in zip(outs, expected):
        if o is not None and not dt.can_cast(d, o.meta.dtype):
            raise RuntimeError(
                f"{name}: Expected result to be safely castable from {d.short} dtype, but got result with dtype {o.meta.dtype.short}"
            )


def failed(name: str, info: Tensor, words: str) -> None:
    """LinAlgError for the first matrix whose info is not 0 (evaluates; nothing is known on meta)."""
    if info.meta.device is not META:
        _fail(name, info._values(), words)


def _fail(name: str, info: np.ndarray, words: str) -> None:
    values = info.reshape(-1)
    bad = np.flatnonzero(values)
    if bad.size:
        batch = f" (Batch element {bad[0]}):" if info.ndim else ""
        raise LinAlgError(f"{name}:{batch} " + words.format(int(values[bad[0]])))


def _checking(fn: Any, words: str) -> Any:
    """fn as a host function that takes a name behind its parameters: in that, it reports failures."""

    def run(*args: Any) -> Any:
        name = args[-1] if isinstance(args[-1], str) else None
        got = fn(*args) if name is None else fn(*args[:-1])
        if name is not None:
            _fail(name, got[-1], words)
        return got

    return run


# the tape notes where they are recorded: errors that come later say so
def _marked(op: Op) -> Op:
    op.marks = True
    return op


def _checked(op: Op, name: str, operands: tuple, params: tuple, words: str) -> Any:
    """The results of an operator whose last one tells what failed: LinAlgError where anything did.

    It comes at once where somebody may wait for it, and else when values are looked at.
    """
    if nobody_waits():
        return apply(op, operands, (*params, name))
    got = apply(op, operands, params)
    failed(name, got[-1], words)
    return got


def _info(a: Meta) -> Meta:
    return meta_of(dt.int32, a.shape[:-2], a.device)


# inverse ------------------------------------------------------------------------------------------------


def _inv_backward(n: Any, g: Tensor, _: Any = None) -> Tensor:
    inverse = adjoint(n.tensor(0))
    return -(inverse @ (g @ inverse))


_SINGULAR = "The diagonal element {} is zero, the inversion could not be completed because the input matrix is singular."
INV = _marked(host_op(
    "linalg_inv_ex", _checking(ln.inv_ex, _SINGULAR), lambda a, *_: (a.plain(), _info(a)),
    _inv_backward, saves="out0", materialize=False, lies=COLUMNS,
))  # fmt: skip
_INV_EX = return_type("linalg_inv_ex", "inverse", "info")


@linalg
def inv_ex(A: Tensor, *, check_errors: bool = False, out: Any = None) -> Any:
    """(inverses, infos), without errors for singular matrices."""
    check_matrix("linalg.inv_ex", A, True)
    got = _INV_EX(*apply(INV, (A,)))
    if check_errors:
        failed("linalg.inv_ex", got[1], _SINGULAR)
    return to_out(got, out)


@linalg
def inv(A: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Inverses of square matrices."""
    check_matrix("linalg.inv", A, True)
    return to_out(_checked(INV, "linalg.inv", (A,), (), _SINGULAR)[0], out)


@both("inverse")
def inverse(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Inverses of square matrices."""
    return inv(input, out=out)


# determinants ---------------------------------------------------------------------------------------------


def _det_backward(n: Any, g: Tensor) -> Tensor:
    a, value = n.tensor(0), n.tensor(1)
    scale = (g * conj_of(value)).unsqueeze(-1).unsqueeze(-1)
    if not known((value == 0).any()):
        return scale * adjoint(LINALG["inv"](a))
    # singular: products of the other singular values
    u, s, vh = LINALG["svd"](a, full_matrices=False)
    from facula.ops.statistics import products_without

    others = products_without(s, (s.meta.ndim - 1,)).to(a.meta.dtype)
    unit = conj_of(det(u) * det(vh)) * g
    return unit.unsqueeze(-1).unsqueeze(-1) * (u @ (others.unsqueeze(-1) * vh))


DET = host_op(
    "linalg_det",
    ln.det,
    lambda a: meta_of(a.dtype, a.shape[:-2], a.device),
    _det_backward,
    saves="0 out",
)


@linalg
def det(A: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Determinants."""
    check_matrix("linalg.det", A, True)
    return to_out(apply(DET, (A,)), out)


both("det")(lambda input: det(input))


def _slogdet_infer(a: Meta) -> tuple[Meta, Meta]:
    return meta_of(a.dtype, a.shape[:-2], a.device), meta_of(
        a.dtype.to_real(), a.shape[:-2], a.device
    )


def _slogdet_backward(n: Any, g_sign: Any, g_log: Any) -> Tensor:
    a, sign = n.tensor(0), n.tensor(1)
    scale = g_log
    if a.meta.dtype.kind == "c":
        turn = imag_part(conj_of(g_sign) * sign)
        scale = TORCH["complex"](g_log, -turn)
    return scale.unsqueeze(-1).unsqueeze(-1) * adjoint(LINALG["inv"](a))


SLOGDET = host_op("linalg_slogdet", ln.slogdet, _slogdet_infer, _slogdet_backward, saves="0 out0")
_SLOGDET = return_type("linalg_slogdet", "sign", "logabsdet")
_SLOGDET_OLD = return_type("slogdet", "sign", "logabsdet")


@linalg
def slogdet(A: Tensor, *, out: Any = None) -> Any:
    """(signs, logarithms of absolute values) of determinants."""
    check_matrix("linalg.slogdet", A, True)
    return to_out(_SLOGDET(*apply(SLOGDET, (A,))), out)


@both("slogdet")
def slogdet_old(input: Tensor, *, out: Any = None) -> Any:
    """(signs, logarithms of absolute values) of determinants."""
    check_matrix("linalg.slogdet", input, True)
    return to_out(_SLOGDET_OLD(*apply(SLOGDET, (input,))), out)


@both("logdet")
def logdet(input: Tensor) -> Tensor:
    """Logarithms of determinants."""
    sign, log = slogdet(input)
    if input.meta.dtype.kind == "c":
        return log + sign.log()
    return TORCH["where"](sign == -1, float("nan"), log)


# systems ------------------------------------------------------------------------------------------------------


def _solve_infer(a: Meta, b: Meta, *_: Any) -> tuple[Meta, Meta]:
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return meta_of(a.dtype, (*lead, *b.shape[-2:]), a.device), _info(a)


def _to_lead(g: Tensor, m: Meta) -> Tensor:
    from facula.ops.pointwise import sum_to

    return sum_to(g, m)


def _solve_backward(n: Any, g: Tensor, _: Any = None) -> tuple:
    a, x = n.tensor(0), n.tensor(1)
    ins = n.inst.ins
    gb = apply(SOLVE, (adjoint(a), g))[0]
    ga = -(gb @ adjoint(x)) if n.needs(0) else None
    return (
        _to_lead(ga, ins[0]) if ga is not None else None,
        _to_lead(gb, ins[1]) if n.needs(1) else None,
    )


_UNSOLVED = "The solver failed because the input matrix is singular."
SOLVE = _marked(host_op(
    "linalg_solve_ex",
    _checking(ln.solve_ex, _UNSOLVED),
    _solve_infer,
    _solve_backward,
    saves="0 out0",
    materialize=False,
    lies=COLUMNS,
))  # fmt: skip
_SOLVE_EX = return_type("linalg_solve_ex", "result", "info")


def is_vector_case(a: Tensor, b: Tensor) -> bool:
    """Whether b is a stack of vectors: one dim less than a, with its leading dims."""
    need_tensors("linalg_solve", A=a, B=b)
    return b.meta.ndim == 1 or (
        a.meta.ndim - 1 == b.meta.ndim and tuple(b.meta.shape) == tuple(a.meta.shape[:-1])
    )


def _check_system(name: str, a: Tensor, b: Tensor, left: bool, vector: bool) -> None:
    check_matrix(name, a, True)
    check_same(name, a, b)
    if vector:
        if not left:
            raise RuntimeError(
                f"{name}: Vector broadcasting of the left hand side is not supported for left=False"
            )
        if b.meta.shape[-1] != a.meta.shape[-1]:
            raise RuntimeError(
                f"{name}: Incompatible shapes of A and B for the equation AX = B "
                f"({a.meta.shape[-2]}x{a.meta.shape[-1]} and {b.meta.shape[-1]}x1)"
            )
        return
    check_matrix(name, b, arg="B")
    rows = b.meta.shape[-2 if left else -1]
    if rows != a.meta.shape[-1]:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({a.meta.shape[-2]}x{a.meta.shape[-1]} and {b.meta.shape[-2]}x{b.meta.shape[-1]})"
        )


def _solved(name: str, a: Tensor, b: Tensor, left: bool, check: bool) -> tuple[Tensor, Tensor]:
    vector = is_vector_case(a, b)
    _check_system(name, a, b, left, vector)
    if vector:
        b = b.unsqueeze(-1)  # type: ignore[attr-defined]
    if not left:
        a, b = a.transpose(-2, -1), b.transpose(-2, -1)  # type: ignore[attr-defined]
    x, info = _checked(SOLVE, name, (a, b), (), _UNSOLVED) if check else apply(SOLVE, (a, b))
    if not left:
        x = x.transpose(-2, -1)
    return (x.squeeze(-1) if vector else x), info


@linalg
def solve(A: Tensor, B: Tensor, *, left: bool = True, out: Tensor | None = None) -> Tensor:
    """X with A X = B (or X A = B)."""
    got = _solved("linalg.solve", A, B, left, True)[0]
    check_out("linalg.solve", out, got.meta.dtype)
    return to_out(got, out)


@linalg
def solve_ex(
    A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False, out: Any = None
) -> Any:
    """(X with A X = B, infos), without errors for singular matrices."""
    return to_out(_SOLVE_EX(*_solved("linalg.solve_ex", A, B, left, check_errors)), out)


def _tri_infer(a: Meta, b: Meta, upper: bool, unit: bool) -> Meta:
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return meta_of(a.dtype, (*lead, *b.shape[-2:]), a.device)


def _tri_backward(n: Any, g: Tensor) -> tuple:
    a, x = n.tensor(0), n.tensor(1)
    upper, unit = n.params
    ins = n.inst.ins
    gb = apply(TRIANGULAR, (adjoint(a), g), (not upper, unit))
    ga = None
    if n.needs(0):
        ga = _to_lead(-(gb @ adjoint(x)), ins[0])
        k = int(unit)
        ga = TORCH["triu"](ga, k) if upper else TORCH["tril"](ga, -k)
    return ga, _to_lead(gb, ins[1]) if n.needs(1) else None


TRIANGULAR = host_op(
    "linalg_solve_triangular",
    ln.solve_triangular,
    _tri_infer,
    _tri_backward,
    saves="0 out",
    lies=COLUMNS,
)


@linalg
def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False,
                     out: Tensor | None = None) -> Tensor:  # fmt: skip
    """X with A X = B (or X A = B), reading one triangle of A."""
    check_matrix("linalg.solve_triangular", A, True)
    check_same("linalg.solve_triangular", A, B)
    _check_system("linalg.solve_triangular", A, B, left, False)
    if left:
        return to_out(apply(TRIANGULAR, (A, B), (bool(upper), bool(unitriangular))), out)
    flipped = apply(
        TRIANGULAR, (A.transpose(-2, -1), B.transpose(-2, -1)), (not upper, bool(unitriangular))
    )  # type: ignore[attr-defined]
    return to_out(flipped.transpose(-2, -1), out)


_TRIANGULAR = return_type("triangular_solve", "solution", "cloned_coefficient")


@both("triangular_solve")
def triangular_solve(b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False,
                     *, out: Any = None) -> Any:  # fmt: skip
    """(X with A X = b, a copy of A); deprecated for `linalg.solve_triangular`."""
    if b.meta.ndim < 2:
        raise RuntimeError(
            "torch.triangular_solve: Expected b to have at least 2 dimensions, but it has "
            f"{b.meta.ndim} dimensions instead"
        )
    check_matrix("triangular_solve", A, True)
    lead = broadcast_shapes(A.meta.shape[:-2], b.meta.shape[:-2])
    whole = A.expand(*lead, *A.meta.shape[-2:])  # type: ignore[attr-defined]
    system = whole.transpose(-2, -1) if transpose else whole
    x = apply(TRIANGULAR, (system, b), (upper != transpose, bool(unitriangular)))
    return to_out(_TRIANGULAR(x, whole.clone()), out)


# Cholesky -------------------------------------------------------------------------------------------------------


def _cholesky_backward(n: Any, g: Tensor, _: Any = None) -> Tensor:
    factor, upper = n.tensor(0), n.params[0]
    low = adjoint(factor) if upper else factor
    g = adjoint(g) if upper else g
    phi = TORCH["tril"](adjoint(low) @ g)
    phi = (phi + adjoint(TORCH["tril"](phi, -1))) / 2
    inner = apply(TRIANGULAR, (adjoint(low), phi), (True, False))
    return adjoint(apply(TRIANGULAR, (adjoint(low), adjoint(inner)), (True, False)))


_NOT_POSITIVE = (
    "The factorization could not be completed because the input is not positive-definite (the leading minor of "
    "order {} is not positive-definite)."
)
CHOLESKY = _marked(host_op(
    "linalg_cholesky_ex", _checking(ln.cholesky_ex, _NOT_POSITIVE),
    lambda a, *_: (a.plain(), _info(a)), _cholesky_backward,
    saves="out0", materialize=False, lies=COLUMNS,
))  # fmt: skip
_CHOLESKY_EX = return_type("linalg_cholesky_ex", "L", "info")


@linalg
def cholesky_ex(
    A: Tensor, *, upper: bool = False, check_errors: bool = False, out: Any = None
) -> Any:
    """(triangular factors, infos), without errors for matrices that have none."""
    check_matrix("linalg.cholesky_ex", A, True)
    got = _CHOLESKY_EX(*apply(CHOLESKY, (A,), (bool(upper),)))
    if check_errors:
        failed("linalg.cholesky_ex", got[1], _NOT_POSITIVE)
    return to_out(got, out)


def _cholesky(name: str, a: Tensor, upper: bool) -> Tensor:
    check_matrix(name, a, True)
    return _checked(CHOLESKY, name, (a,), (bool(upper),), _NOT_POSITIVE)[0]


@linalg
def cholesky(A: Tensor, *, upper: bool = False, out: Tensor | None = None) -> Tensor:
    """L with A = L L^H."""
    got = _cholesky("linalg.cholesky", A, upper)
    check_out("linalg.cholesky", out, got.meta.dtype)
    return to_out(got, out)


@both("cholesky")
def cholesky_old(input: Tensor, upper: bool = False, *, out: Tensor | None = None) -> Tensor:
    """L with input = L L^H; see `linalg.cholesky`."""
    return to_out(_cholesky("cholesky", input, upper), out)


def _cholesky_solve_backward(n: Any, g: Tensor) -> tuple:
    low, x, upper = n.tensor(0), n.tensor(1), n.params[0]
    gb = apply(CHOLESKY_SOLVE, (g, low), (upper,))
    gl = None
    if n.needs(1):
        both_sides = gb @ adjoint(x)
        both_sides = both_sides + adjoint(both_sides)
        gl = _to_lead(-(low @ both_sides if upper else both_sides @ low), n.inst.ins[1])
    return (_to_lead(gb, n.inst.ins[0]) if n.needs(0) else None), gl


CHOLESKY_SOLVE = host_op("cholesky_solve", ln.cholesky_solve, lambda b, low, upper: _solve_infer(low, b)[0],
                         _cholesky_solve_backward, saves="1 out", lies=COLUMNS)  # fmt: skip


@both("cholesky_solve")
def cholesky_solve(
    B: Tensor, L: Tensor, upper: bool = False, *, out: Tensor | None = None
) -> Tensor:
    """X with L L^H X = B."""
    check_matrix("cholesky_solve", L, True, "L")
    if B.meta.ndim < 2:
        raise RuntimeError(
            f"b should have at least 2 dimensions, but has {B.meta.ndim} dimensions instead"
        )
    if B.meta.shape[-2] != L.meta.shape[-1]:
        raise RuntimeError(
            f"Incompatible matrix sizes for cholesky_solve: each A matrix is {L.meta.shape[-1]} by {L.meta.shape[-1]} "
            f"but each b matrix is {B.meta.shape[-2]} by {B.meta.shape[-1]}"
        )
    return to_out(apply(CHOLESKY_SOLVE, (B, L), (bool(upper),)), out)


@both("cholesky_inverse")
def cholesky_inverse(L: Tensor, upper: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The inverse of L L^H."""
    check_matrix("cholesky_inverse", L, True, "L")
    eye = TORCH["eye"](L.meta.shape[-1], dtype=L.meta.dtype, device=L.meta.device).expand(
        L.meta.shape
    )
    return to_out(cholesky_solve(eye, L, upper), out)


# LU ----------------------------------------------------------------------------------------------------------------


def np_lu_factor(a: np.ndarray, pivot: bool) -> list[np.ndarray]:
    """(LU, pivots, infos)."""
    return ln.lu_factor(a) if pivot else ln.lu_no_pivot(a)


def _lu_infer(a: Meta, pivot: bool) -> tuple[Meta, Meta, Meta]:
    k = min(a.shape[-2:])
    return a.plain(), meta_of(dt.int32, (*a.shape[:-2], k), a.device), _info(a)


def _parts(lu: Tensor) -> tuple[Tensor, Tensor]:
    """L and U of a compact factorisation."""
    m, n = lu.meta.shape[-2:]
    k = min(m, n)
    low = TORCH["tril"](lu.narrow(-1, 0, k), -1) + TORCH["eye"](
        m, k, dtype=lu.meta.dtype, device=lu.meta.device
    )  # type: ignore[attr-defined]
    return low, TORCH["triu"](lu.narrow(-2, 0, k))  # type: ignore[attr-defined]


def lu_gradient(low: Tensor, up: Tensor, gl: Tensor, gu: Tensor, pivots: Tensor, m: int) -> Tensor:
    """Gradient of the matrix for those of its factors."""
    n = up.meta.shape[-1]
    k = min(m, n)
    l1, u1 = low.narrow(-2, 0, k), up.narrow(-1, 0, k)  # type: ignore[attr-defined]
    left, right = adjoint(l1) @ gl.narrow(-2, 0, k), gu.narrow(-1, 0, k) @ adjoint(u1)  # type: ignore[attr-defined]
    if n > m:
        left = left - gu.narrow(-1, k, n - k) @ adjoint(up.narrow(-1, k, n - k))  # type: ignore[attr-defined]
    if m > n:
        right = right - adjoint(low.narrow(-2, k, m - k)) @ gl.narrow(-2, k, m - k)  # type: ignore[attr-defined]
    phi = TORCH["tril"](left, -1) + TORCH["triu"](right)
    inner = apply(TRIANGULAR, (adjoint(l1), phi), (True, True))
    square = adjoint(apply(TRIANGULAR, (u1, adjoint(inner)), (True, False)))
    if n > m:
        rest = apply(TRIANGULAR, (adjoint(l1), gu.narrow(-1, k, n - k)), (True, True))  # type: ignore[attr-defined]
        square = TORCH["cat"]([square, rest], -1)
    if m > n:
        rest = adjoint(apply(TRIANGULAR, (u1, adjoint(gl.narrow(-2, k, m - k))), (True, False)))  # type: ignore[attr-defined]
        square = TORCH["cat"]([square, rest], -2)
    return permutation_of(pivots, m, square.meta.dtype) @ square


@shape_rule(lambda pivots, m, d: (d, (*pivots.meta.shape[:-1], m, m)))
def permutation_of(pivots: Tensor, m: int, d: Any) -> Tensor:
    """The permutation matrix of LAPACK's pivots."""
    return tensor_of(ln.permutation_matrix(pivots._values(), m), d)


def _lu_backward(n: Any, g: Tensor, *_: Any) -> Tensor:
    lu, pivots = n.tensor(0), n.tensor(1)
    m, cols = lu.meta.shape[-2:]
    k = min(m, cols)
    low, up = _parts(lu)
    gl, gu = TORCH["tril"](g.narrow(-1, 0, k), -1), TORCH["triu"](g.narrow(-2, 0, k))  # type: ignore[attr-defined]
    return lu_gradient(low, up, gl, gu, pivots, m)


LU = host_op(
    "linalg_lu_factor_ex",
    np_lu_factor,
    _lu_infer,
    _lu_backward,
    saves="out0 out1",
    materialize=False,
    lies=COLUMNS,
)
_ZERO_PIVOT = (
    "U[{0},{0}] is zero and using it on lu_solve would result in a division by zero. If you still "
    "want to perform the factorization, consider calling linalg.lu(A, pivot) or "
    "linalg.lu_factor_ex(A, pivot)"
)
_LU_FACTOR = return_type("linalg_lu_factor", "LU", "pivots")
_LU_FACTOR_EX = return_type("linalg_lu_factor_ex", "LU", "pivots", "info")
_LU_WITH_INFO = return_type("_lu_with_info", "LU", "pivots", "info")
_LU = return_type("linalg_lu", "P", "L", "U")
_UNPACK = return_type("lu_unpack", "P", "L", "U")


def _check_factor(name: str, info: Tensor) -> None:
    """RuntimeError for a singular matrix: here PyTorch raises no LinAlgError."""
    try:
        failed(name, info, _ZERO_PIVOT)
    except LinAlgError as error:
        raise RuntimeError(str(error)) from None


@linalg
def lu_factor_ex(
    A: Tensor, *, pivot: bool = True, check_errors: bool = False, out: Any = None
) -> Any:
    """(compact LU, pivots, infos)."""
    check_matrix("torch.lu_factor", A)
    got = _LU_FACTOR_EX(*apply(LU, (A,), (bool(pivot),)))
    if check_errors:
        _check_factor("torch.linalg.lu_factor_ex", got[2])
    return to_out(got, out)


@linalg
def lu_factor(A: Tensor, *, pivot: bool = True, out: Any = None) -> Any:
    """(compact LU, pivots); RuntimeError for a singular matrix (evaluates)."""
    check_matrix("torch.lu_factor", A)
    got = apply(LU, (A,), (bool(pivot),))
    _check_factor("torch.linalg.lu_factor", got[2])
    return to_out(_LU_FACTOR(*got[:2]), out)


@linalg
def lu(A: Tensor, *, pivot: bool = True, out: Any = None) -> Any:
    """(P, L, U) with A = P L U."""
    check_matrix("linalg.lu", A)
    packed, pivots, _ = apply(LU, (A,), (bool(pivot),))
    low, up = _parts(packed)
    p = (
        permutation_of(pivots, A.meta.shape[-2], A.meta.dtype)
        if pivot
        else TORCH["empty"](0, dtype=A.meta.dtype, device=A.meta.device)
    )
    return to_out(_LU(p, low, up), out)


@both("lu")
def lu_old(A: Tensor, pivot: bool = True, get_infos: bool = False, out: Any = None) -> Any:
    """(compact LU, pivots[, infos]); deprecated for `linalg.lu_factor`."""
    got = apply(LU, (A,), (bool(pivot),))
    named = get_infos and out is None
    return to_out(_LU_WITH_INFO(*got) if named else tuple(got[: 3 if get_infos else 2]), out)


del TORCH["lu"], Tensor.lu  # type: ignore[attr-defined]


def _lu_method(self: Tensor, pivot: bool = True, get_infos: bool = False) -> Any:
    """(compact LU, pivots[, infos])."""
    return lu_old(self, pivot, get_infos)


Tensor.lu = _lu_method  # type: ignore[attr-defined]
TORCH["lu"] = lu_old


@only_torch()
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True, *,
              out: Any = None) -> Any:  # fmt: skip
    """(P, L, U) of a compact factorisation."""
    if unpack_pivots and LU_pivots.meta.dtype is not dt.int32:
        raise RuntimeError("torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.\n"
                           "Note: this function is intended to be used with the output produced by torch.linalg.lu_factor")  # fmt: skip
    none = TORCH["empty"](0, dtype=LU_data.meta.dtype, device=LU_data.meta.device)
    low, up = _parts(LU_data) if unpack_data else (none, none)
    p = (
        permutation_of(LU_pivots, LU_data.meta.shape[-2], LU_data.meta.dtype)
        if unpack_pivots
        else none
    )
    return to_out(_UNPACK(p, low, up), out)


def _lu_solve(packed: Tensor, pivots: Tensor, b: Tensor, left: bool, adj: bool) -> Tensor:
    low, up = _parts(packed)
    p = permutation_of(pivots, packed.meta.shape[-2], packed.meta.dtype)
    if not left:
        b = adjoint(b)
        adj = not adj
    if adj:
        half = apply(TRIANGULAR, (adjoint(up), b), (False, False))
        x = p @ apply(TRIANGULAR, (adjoint(low), half), (True, True))
    else:
        half = apply(TRIANGULAR, (low, p.transpose(-2, -1) @ b), (False, True))
        x = apply(TRIANGULAR, (up, half), (True, False))
    return x if left else adjoint(x)


@linalg
def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False,
             out: Tensor | None = None) -> Tensor:  # fmt: skip
    """X with A X = B, for a compact factorisation of A."""
    check_matrix("linalg.lu_solve", LU, True, "LU")
    if pivots.meta.dtype is not dt.int32:
        raise RuntimeError(
            f"linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32. Got {pivots.meta.dtype.short}"
        )
    check_same("linalg.lu_solve", LU, B)
    return to_out(_lu_solve(LU, pivots, B, left, adjoint), out)


@both("lu_solve")
def lu_solve_old(
    b: Tensor, LU_data: Tensor, LU_pivots: Tensor, *, out: Tensor | None = None
) -> Tensor:
    """X with A X = b, for a compact factorisation of A."""
    return lu_solve(LU_data, LU_pivots, b, out=out)


# LDL ---------------------------------------------------------------------------------------------------------------


LDL = host_op("linalg_ldl_factor_ex", ln.ldl_factor,
              lambda a, hermitian: (a.plain(), meta_of(dt.int32, a.shape[:-1], a.device), _info(a)),
              lies=COLUMNS)  # fmt: skip
_LDL_FACTOR = return_type("linalg_ldl_factor", "LD", "pivots")
_LDL_FACTOR_EX = return_type("linalg_ldl_factor_ex", "LD", "pivots", "info")


@linalg
def ldl_factor_ex(
    A: Tensor, *, hermitian: bool = False, check_errors: bool = False, out: Any = None
) -> Any:
    """(compact factors, pivots, infos) of symmetric matrices."""
    check_matrix("torch.linalg.ldl_factor_ex", A, True)
    return to_out(_LDL_FACTOR_EX(*apply(LDL, (A,), (bool(hermitian),))), out)


@linalg
def ldl_factor(A: Tensor, *, hermitian: bool = False, out: Any = None) -> Any:
    """(compact factors, pivots) of symmetric matrices."""
    check_matrix("torch.linalg.ldl_factor", A, True)
    return to_out(_LDL_FACTOR(*apply(LDL, (A,), (bool(hermitian),))[:2]), out)


LDL_SOLVE = host_op("linalg_ldl_solve", ln.ldl_solve,
                    lambda ld, p, b, h: meta_of(b.dtype, (*broadcast_shapes(ld.shape[:-2], b.shape[:-2]), *b.shape[-2:]), b.device),
                    lies=COLUMNS)  # fmt: skip


@linalg
def ldl_solve(
    LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False, out: Tensor | None = None
) -> Tensor:
    """X with A X = B, for `ldl_factor`'s result."""
    check_matrix("torch.linalg.ldl_solve", LD, True, "LD")
    return to_out(apply(LDL_SOLVE, (LD, pivots, B), (bool(hermitian),)), out)


__all__ = ["_public_adjoint", "real_part"]
