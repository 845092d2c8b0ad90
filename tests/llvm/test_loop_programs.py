"""Native code of random loop programs against the interpreter, on several kinds of machines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from loop_programs import cases

from facula.llvm.target import Target

HOST = Target.host()
TARGETS = {"host": HOST}
if HOST.triple.startswith("x86_64"):
    TARGETS["sse2"] = Target(HOST.triple, "x86-64", "", 16, 16, False, False)
    if "+avx2" in HOST.features and "+f16c" in HOST.features:
        TARGETS["avx2"] = Target(HOST.triple, "haswell", "", 32, 16, True, False)

SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@pytest.mark.parametrize("name", list(TARGETS))
def test_random_programs(name: str) -> None:
    examples = 60 if name == "host" else 25

    @settings(max_examples=examples, derandomize=True, **SETTINGS)
    @given(cases())
    def check(case) -> None:
        if name == "sse2" and "float16" in case.buffers:
            return  # needs conversions from a compiler's run-time library
        program, expected, got = case.run_both(TARGETS[name])
        for k, (a, b) in enumerate(zip(expected, got, strict=True)):
            if a.dtype.kind == "f":
                np.testing.assert_allclose(
                    b, a, rtol=3e-5, atol=3e-5, err_msg=f"operand {k}\n{program}"
                )
            else:
                np.testing.assert_array_equal(b, a)

    check()


@settings(max_examples=20, derandomize=True, **SETTINGS)
@given(cases())
def test_split_into_tasks_gives_the_same_bits(case) -> None:
    _, _, whole = case.run_both()
    _, _, pieces = case.run_both(cuts=True)
    for a, b in zip(whole, pieces, strict=True):
        assert a.tobytes() == b.tobytes()
