"""Every elementwise operation and cast, native against the interpreter; special values included."""

from __future__ import annotations

import numpy as np
import pytest
from loop_native import Call

from facula.kernel import program as p
from facula.kernel.interpret import interpret, numpy_dtype
from facula.kernel.program import Access, Phase, Program, Stmt
from facula.kernel.verify import verify

N = 203  # some whole tiles and a tail
RNG = np.random.default_rng(7)
DTYPES = [d for d in p.ITEMSIZE if d not in ("bfloat16", "float16")]


def sample(dtype: str) -> np.ndarray:
    if dtype == "bool":
        return RNG.integers(0, 2, N).astype(bool)
    if dtype == "bfloat16":
        return RNG.integers(0, 65536, N).astype(np.uint16)
    if dtype.startswith("float"):
        x = RNG.standard_normal(N).astype(dtype) * 3
        x[:10] = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 2.0, 0.5, -3.0]
        return x
    info = np.iinfo(dtype)
    x = RNG.integers(max(info.min, -9), 10, N).astype(dtype)
    x[:4] = [info.max, info.min, 1, 0]
    return x


def run(program: Program, arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What the interpreter and native code leave in the last operand."""
    verify(program)
    strides = [[1]] * len(program.accesses)
    results = []
    for native in (False, True):
        mine = [a.copy() for a in arrays]
        if native:
            Call(program, mine, [N], [], strides)()
        else:
            interpret(program, mine, [0] * len(mine), [N], [], strides)
        results.append(mine[-1])
    return results[0], results[1]


def apply(ops: list[tuple[str, str]], sources: list[str]) -> Program:
    """A pointwise program: each (op, result dtype) is applied to all loaded operands."""
    n = len(sources)
    stmts = [Stmt("load", d, (Access(k, ("1",)),)) for k, d in enumerate(sources)]
    for k, (op, dtype) in enumerate(ops):
        stmts.append(Stmt(op, dtype, tuple(range(n))))
        stmts.append(Stmt("store", dtype, (Access(n + k, ("1",)), len(stmts) - 1)))
    return Program(
        1, 0, "outer", (*sources, *(d for _, d in ops)), 0, (Phase(False, tuple(stmts)),)
    )


def result_dtype(op: str, dtype: str) -> str:
    return "bool" if op in p.COMPARE | p.UNARY_TEST | {"not"} else dtype


def allowed(op: str, dtype: str) -> bool:
    bits = op in p.BINARY_BITS | p.SHIFTS | {"bitwise_not"}
    floating = op in p.UNARY_FLOAT | p.BINARY_FLOAT | p.UNARY_TEST
    if dtype in p.FLOATS:
        return not bits and op != "not"
    if dtype == "bool":
        return op in p.COMPARE | p.BINARY_BITS | {"not", "bitwise_not", "maximum", "minimum"}
    return not floating


def close(op: str, dtype: str, want: np.ndarray, got: np.ndarray) -> None:
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want, err_msg=f"{op} {dtype}")
        return
    tolerance = 1e-6 if want.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance / 10, err_msg=op)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("table", ["UNARY", "BINARY"])
def test_operations(dtype: str, table: str) -> None:
    names = sorted(op for op in getattr(p, table) if allowed(op, dtype))
    for start in range(0, len(names), 8):
        group = names[start : start + 8]
        ops = [(op, result_dtype(op, dtype)) for op in group]
        sources = [dtype] * (1 if table == "UNARY" else 2)
        arrays = [sample(dtype) for _ in sources]
        if len(arrays) == 2:
            arrays[1][4:60] = np.roll(arrays[1], 3)[4:60]
            arrays[1][60:80] = arrays[0][60:80]
        outs = [np.zeros(N, numpy_dtype(d)) for _, d in ops]
        program = apply(ops, sources)
        verify(program)
        strides = [[1]] * len(program.accesses)
        want = [a.copy() for a in arrays + outs]
        interpret(program, want, [0] * len(want), [N], [], strides)
        got = [a.copy() for a in arrays + outs]
        Call(program, got, [N], [], strides)()
        n = len(sources)
        for op, a, b in zip(group, want[n:], got[n:], strict=True):
            close(op, dtype, a, b)


def test_where_and_fma() -> None:
    for dtype in ("float32", "int8", "bfloat16", "bool", "float64"):
        program = apply([("where", dtype)], ["bool", dtype, dtype])
        want, got = run(program, [sample("bool"), sample(dtype), sample(dtype), sample(dtype)])
        np.testing.assert_array_equal(got, want)
    program = apply([("fma", "float64")], ["float64"] * 3)
    want, got = run(program, [sample("float64") for _ in range(4)])
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("source", list(p.ITEMSIZE))
def test_casts(source: str) -> None:
    targets = [d for d in p.ITEMSIZE if d != source]
    x = sample(source)
    if source.startswith("float"):
        x[2:5] = 100  # what C leaves open when cast to an integer
        unsigned_ok = np.abs(x)
    with np.errstate(all="ignore"):
        for dtype in targets:
            y = unsigned_ok if source.startswith("float") and dtype in p.UNSIGNED else x
            if source == "bfloat16" and not dtype.startswith(("float", "bool")):
                continue
            program = apply([("cast", dtype)], [source])
            want, got = run(program, [y, np.zeros(N, numpy_dtype(dtype))])
            np.testing.assert_array_equal(got, want, err_msg=f"{source} to {dtype}")


def test_bitcast() -> None:
    program = apply([("bitcast", "int32")], ["float32"])
    want, got = run(program, [sample("float32"), np.zeros(N, np.int32)])
    np.testing.assert_array_equal(got, want)


def test_nan_to_integer_is_some_number() -> None:
    program = apply([("cast", "int32")], ["float32"])
    x = np.full(N, np.nan, np.float32)
    _, first = run(program, [x, np.zeros(N, np.int32)])
    _, second = run(program, [x, np.zeros(N, np.int32)])
    np.testing.assert_array_equal(first, second)
