"""Gathers, checks, masks, argmax, stashes, empty sizes, in-place operands, other machines."""

from __future__ import annotations

import llvmlite.binding as llvm
import numpy as np
import pytest
from loop_native import Call

from facula.kernel.interpret import interpret
from facula.kernel.program import Access, Phase, Program, Stmt
from facula.kernel.verify import MalformedProgramError, verify
from facula.llvm.loops import LoopKernel, pack
from facula.llvm.target import Target

F, I, B = "float32", "int64", "bool"


def S(op: str, dtype: str, *args) -> Stmt:
    return Stmt(op, dtype, args)


def program(n_outer, n_inner, vector, buffers, *phases, scalars=0) -> Program:
    made = tuple(Phase(loop, tuple(stmts)) for loop, stmts in phases)
    result = Program(n_outer, n_inner, vector, tuple(buffers), scalars, made)
    verify(result)
    return result


def both(p: Program, arrays, outer, inner, strides, params=()):
    """(what native code leaves in the operands, its status), checked against the interpreter."""
    want, got = [a.copy() for a in arrays], [a.copy() for a in arrays]
    status = interpret(p, want, [0] * len(want), outer, inner, strides, (), params)
    call = Call(p, got, outer, inner, strides, (), params)
    call()
    for a, b in zip(want, got, strict=True):
        if a.dtype.kind == "f":
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6, err_msg=str(p))
        else:
            np.testing.assert_array_equal(b, a, err_msg=str(p))
    assert (call.status[0] != 0) == (status[0] != 0)
    return got, call.status


def embedding(vector: str) -> Program:
    """out[i, j] = table[index[i], j]; param 0 is the number of rows, 1 the row's length."""
    dims = (1, 1) if vector == "inner" else (2, 0)
    stmts = [
        S("load", I, Access(0, ("1", "0"))),
        S("param", I, 0),
        S("check", I, 0, 1, 77),
        S("param", I, 1),
        S("mul", I, 2, 3),
        S("index", I, 1),
        S("add", I, 4, 5),
        S("load_at", F, 1, 6),
        S("store", F, Access(2, ("n", "1")), 7),
    ]
    return program(*dims, vector, [I, F, F], (vector == "inner", stmts))


@pytest.mark.parametrize("vector", ["inner", "outer"])
def test_embedding_and_bad_index(vector: str) -> None:
    p = embedding(vector)
    rows, width, n = 11, 37, 9
    table = np.random.default_rng(0).standard_normal((rows, width)).astype(F)
    index = np.array([0, 10, -1, -11, 3, 3, 5, 7, 2])
    sizes = ([n], [width]) if vector == "inner" else ([n, width], [])
    strides = [[1, 0], [width, 1]]
    out = np.zeros((n, width), F)
    got, status = both(p, [index, table, out], *sizes, strides, [rows, width])
    np.testing.assert_array_equal(got[2], table[index])
    assert not status.any()
    for bad in (11, -12):
        index[4] = bad
        got, status = both(p, [index, table, out], *sizes, strides, [rows, width])
        assert list(status) == [1, bad, rows, 77]
        np.testing.assert_array_equal(got[2][4], table[0])


def test_scatter_with_a_vector_of_indices() -> None:
    stmts = [
        S("load", I, Access(0, ("1",))),
        S("const", I, 50),
        S("check", I, 0, ("const", 50), 1),
        S("load", F, Access(1, ("1",))),
        S("const", F, 0.0),
        S("gt", B, 3, 4),
        S("store_at", F, 2, 2, 3, 5),
        S("load_at", F, 1, 2, 5, -2.0),
        S("store", F, Access(3, ("1",)), 7),
    ]
    p = program(1, 0, "outer", [I, F, F, F], (False, stmts))
    rng = np.random.default_rng(1)
    index = rng.permutation(50) - 25
    x = rng.standard_normal(50).astype(F)
    both(p, [index, x, np.zeros(50, F), np.zeros(50, F)], [50], [], [[1]] * 3)


@pytest.mark.parametrize("kind", ["1", "n"])
def test_masked_loads_and_stores(kind: str) -> None:
    access = [Access(k, (kind,)) for k in range(3)]
    stmts = [
        S("load", B, access[0]),
        S("load", F, access[1], 0, 9.5),
        S("not", B, 0),
        S("store", F, access[2], 1),
        S("store", F, access[1], 1, 2),
    ]
    p = program(1, 0, "outer", [B, F, F], (False, stmts))
    rng = np.random.default_rng(2)
    step = 1 if kind == "1" else 2
    arrays = [rng.integers(0, 2, 200).astype(bool), *rng.standard_normal((2, 200)).astype(F)]
    both(p, arrays, [99], [], [[step]] * 3)


@pytest.mark.parametrize("dtype", ["float32", "int32", "float64", "uint8"])
@pytest.mark.parametrize("vector", ["inner", "outer"])
def test_every_reduction(dtype: str, vector: str) -> None:
    strides = ("n", "n", "1") if vector == "inner" else ("1", "n", "n")
    kinds = ["sum", "prod", "max", "min", "argmax", "argmin"]
    out = [I if kind.startswith("arg") else dtype for kind in kinds]
    loop = [S("load", dtype, Access(0, strides))]
    loop += [S("reduce", out[k], kind, 0) for k, kind in enumerate(kinds)]
    once = [S("store", out[k], Access(1 + k, ("1", "0", "0")), 1 + k) for k in range(len(kinds))]
    p = program(1, 2, vector, [dtype, *out], (True, loop), (False, once))
    rng = np.random.default_rng(3)
    for n, a, b in ((5, 3, 150), (40, 2, 7), (3, 1, 1)):
        x = rng.integers(1, 3, (n, a, b)).astype(dtype)
        if dtype.startswith("float"):
            x = rng.standard_normal((n, a, b)).astype(dtype)
            x[0, -1, -1] = x[1, 0, 0] = np.nan
            x[2] = -np.inf
        data = x if vector == "inner" else np.ascontiguousarray(x.transpose(1, 2, 0))
        steps = [a * b, b, 1] if vector == "inner" else [1, b * n, n]
        arrays = [data, *(np.zeros(n, d) for d in out)]
        both(p, arrays, [n], [a, b], [steps] + [[1, 0, 0]] * len(kinds))


def test_any_and_all_of_comparisons() -> None:
    loop = [
        S("load", F, Access(0, ("n", "1"))),
        S("const", F, 2.5),
        S("gt", B, 0, 1),
        S("reduce", B, "any", 2),
        S("reduce", B, "all", 2),
    ]
    once = [S("store", B, Access(1, ("1", "0")), 3), S("store", B, Access(2, ("1", "0")), 4)]
    p = program(1, 1, "inner", [F, B, B], (True, loop), (False, once))
    x = np.random.default_rng(4).standard_normal((64, 33)).astype(F) + 1
    x[0], x[1] = 3, 0
    both(p, [x, np.zeros(64, bool), np.zeros(64, bool)], [64], [33], [[33, 1], [1, 0], [1, 0]])


def softmax() -> Program:
    x, y = Access(0, ("n", "1")), Access(1, ("n", "1"))
    return program(
        1, 1, "inner", [F, F],
        (True, [S("load", F, x), S("reduce", F, "max", 0)]),
        (True, [S("load", F, x), S("sub", F, 2, 1), S("exp", F, 3), S("stash", F, 4),
                S("reduce", F, "sum", 4)]),
        (True, [S("unstash", F, 5), S("div", F, 7, 6), S("store", F, y, 8)]),
    )  # fmt: skip


def test_softmax_in_place_and_out() -> None:
    p = softmax()
    for n, width in ((3, 1), (7, 100), (2, 1000)):
        x = np.random.default_rng(5).standard_normal((n, width)).astype(F)
        got, _ = both(p, [x, x * 0], [n], [width], [[width, 1]] * 2)
        e = np.exp(x - x.max(1, keepdims=True))
        np.testing.assert_allclose(got[1], e / e.sum(1, keepdims=True), rtol=1e-5)
        call = Call(p, [x, x], [n], [width], [[width, 1]] * 2)
        call()
        np.testing.assert_array_equal(x, got[1])


def test_empty_sizes() -> None:
    loop = [S("load", F, Access(0, ("n", "1"))), S("reduce", F, "sum", 0)]
    p = program(
        1, 1, "inner", [F, F], (True, loop), (False, [S("store", F, Access(1, ("1", "0")), 1)])
    )
    strides = [[0, 1], [1, 0]]
    got, _ = both(p, [np.zeros(1, F), np.ones(5, F)], [5], [0], strides)
    np.testing.assert_array_equal(got[1], 0)
    assert pack(p, [0, 1], [0, 0], [0], [5], strides)[1] == 0


def test_tasks_cover_large_shapes_evenly() -> None:
    stmts = [S("load", F, Access(0, ("n", "1"))), S("exp", F, 0)]
    stmts.append(S("store", F, Access(1, ("n", "1")), 1))
    p = program(2, 0, "outer", [F, F], (False, stmts))
    for outer in ([1, 10_000_000], [10_000_000, 1], [3, 1_000_000], [3000, 3000], [1, 1]):
        _, ntasks, scratch, cost = pack(p, [0, 1], [0, 0], outer, [], [[outer[1], 1]] * 2)
        assert 1 <= ntasks <= 256
        assert scratch == 0
        assert cost / ntasks > 10_000 or ntasks == 1


def test_emitted_for_aarch64_and_others() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    for triple, cpu, size in (
        ("aarch64-unknown-linux-gnu", "neoverse-n1", 16),
        ("x86_64-unknown-linux-gnu", "skylake-avx512", 64),
    ):
        target = Target(triple, cpu, "", size, 32, True, size == 64)
        machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=2)
        for p in (softmax(), embedding("inner"), embedding("outer")):
            module = llvm.parse_assembly(LoopKernel(p).ir(target)[1])
            assert len(machine.emit_object(module)) > 100


def test_malformed_programs_are_refused() -> None:
    row = Access(0, ("n", "1"))
    cases = {
        "no earlier statement": [(True, [S("neg", F, 0)])],
        "stash it": [(True, [S("load", F, row)]), (True, [S("neg", F, 0)])],
        "this same phase": [(True, [S("load", F, row), S("reduce", F, "sum", 0), S("neg", F, 1)])],
        "different dtypes": [
            (True, [S("load", F, row), S("const", "float64", 1), S("add", F, 0, 1)])
        ],
        "does not loop": [(False, [S("load", F, row)])],
        "unknown operation": [(True, [S("load", F, row), S("frobnicate", F, 0)])],
        "no operand 3": [(True, [S("load", F, Access(3, ("n", "1")))])],
        "operand is float32": [(True, [S("load", "int32", row)])],
    }
    for message, phases in cases.items():
        with pytest.raises(MalformedProgramError, match=message):
            program(1, 1, "inner", [F], *phases)


def test_keys_tell_programs_apart() -> None:
    p = softmax()
    assert p.key == softmax().key
    assert LoopKernel(p).key == LoopKernel(softmax()).key
    assert embedding("inner").key != embedding("outer").key


@pytest.mark.parametrize("columns", [3, 16, 100])
def test_sums_of_runs_of_rows(columns: int) -> None:
    """accumulate: each run of rows begins anew, over whatever was in memory."""
    load = S("load", F, Access(0, ("n", "n", "1")))
    kept = S("accumulate", F, Access(1, ("n", "0", "1")), 0)
    p = program(2, 1, "inner", (F, F), (True, [load, kept]))
    x = np.random.default_rng(0).standard_normal((6, 8, columns), dtype=np.float32)
    strides = [[8 * columns, columns, 1], [columns, 0, 1]]
    both(p, [x.reshape(-1), np.full(6 * columns, np.nan, F)], [6, 8], [columns], strides)
