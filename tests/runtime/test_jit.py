"""Compilation, linking and the object cache."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facula.kernel.step import Step
from facula.llvm.target import Target
from facula.runtime import jit
from facula.runtime.cache import ObjectCache, entry_name
from facula.runtime.llvmc import OPTIMIZE, CompileError
from facula.runtime.plan import NativePlan

from .kernels import Axpy, Exponential

ROOT = Path(__file__).parents[2]
IDENTITY = "define i64 @f(i64 %x) { ret i64 %x }"


def test_kernel_calls_libm_and_reads_its_constants() -> None:
    kernel = Exponential()
    plan = NativePlan([Step(kernel, [], 1)], jit.compile_kernels([kernel]), 2)
    x, y = np.full(1, 0.5, np.float32), np.zeros(1, np.float32)
    assert plan.run([x.ctypes.data, y.ctypes.data]) == 0
    assert y[0] == pytest.approx(np.exp(0.5) + 1.0, rel=1e-6)


def test_equal_keys_share_one_address_and_names_do_not_clash() -> None:
    table = jit.compile_kernels([Axpy("a"), Axpy("b"), Axpy("a")])
    assert set(table) == {"test:a", "test:b"}
    assert table["test:a"] != table["test:b"]
    before = jit.stats.memory_hits
    assert jit.compile_kernels([Axpy("a")])["test:a"] == table["test:a"]
    assert jit.stats.memory_hits == before + 1


@pytest.mark.parametrize("prefix", ["", OPTIMIZE])
def test_compile_ir(prefix: str) -> None:
    address = jit.compile_ir("f", prefix + IDENTITY)
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(41) == 41


@pytest.mark.parametrize(
    "ir",
    [
        # refused by the parser, and by the verifier
        "define i64 @f(i64 %x) { ret i32 %x }",
        "define i64 @f() { %a = add i64 %b, 1\n %b = add i64 1, 1\n ret i64 %a }",
    ],
)
def test_bad_ir_is_reported_with_its_text(ir: str) -> None:
    with pytest.raises(CompileError, match="ret i"):
        jit.compile_ir("f", ir)


class _Broken(Axpy):
    def ir(self, target: Target) -> tuple[str, str]:
        return "kernel", "define void @kernel() { ret i64 %no }"


def test_one_bad_kernel_among_good_ones_is_raised_here() -> None:
    good = [Axpy(f"good{i}") for i in range(5)]
    with pytest.raises(CompileError, match="%no"):
        jit.compile_kernels([*good[:2], _Broken("broken"), *good[2:]])
    assert len(jit.compile_kernels(good)) == 5


def test_names_depend_on_key_cpu_and_generators() -> None:
    target = Target.host()
    other = Target("", "other", "", 16, 16, False, False)
    names = {
        entry_name("k", target),
        entry_name("l", target),
        entry_name("k", other),
        entry_name("k", target, generated=False),
    }
    assert len(names) == 4


def test_cache_notices_corruption(tmp_path: Path) -> None:
    cache = ObjectCache.open(tmp_path / "cache")
    assert cache is not None
    name = "ab" + "0" * 62
    assert cache.get(name) is None
    cache.put(name, b"machine code")
    assert cache.get(name) == b"machine code"
    (file,) = [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    content = file.read_bytes()
    for bad in (content[:-1], content[:40] + b"?" + content[41:], b"", content + b"!"):
        file.write_bytes(bad)
        assert cache.get(name) is None
    # an intact entry under another name is not accepted either
    file.write_bytes(content)
    file.rename(file.with_name("1" * 62))
    assert cache.get("ab" + "1" * 62) is None


def test_cache_is_bounded(tmp_path: Path) -> None:
    names = ["cd" + f"{i:062x}" for i in range(6)]
    for i, name in enumerate(names):
        # the limit is shared by 256 folders; each process looks at a folder once
        ObjectCache(str(tmp_path), limit=256 * 3000).put(name, bytes(1000))
        file = tmp_path / "cd" / name[2:]
        os.utime(file, ns=(i, i))
    left = [ObjectCache(str(tmp_path)).get(name) is not None for name in names]
    assert sum(left) <= 4
    assert left[-1]
    assert not left[0]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_cache_writable_by_others_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="can be written by others"):
        assert ObjectCache.open(tmp_path) is None


_CHILD = """
from facula.runtime import jit
from tests.runtime.kernels import Axpy, Exponential
jit.compile_kernels([Axpy(str(i)) for i in range(4)] + [Exponential()])
jit.compile_ir("f", "define i64 @f(i64 %x) { ret i64 %x }")
print(jit.stats.compiled, jit.stats.loaded_from_disk)
"""


def _run_child(cache: Path) -> str:
    environment = os.environ | {"FACULA_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def test_second_process_compiles_nothing_and_heals_the_cache(tmp_path: Path) -> None:
    assert _run_child(tmp_path / "c") == "6 0"
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o700
    assert _run_child(tmp_path / "c") == "0 6"
    victim = next(p for p in (tmp_path / "c").rglob("*") if p.is_file())
    victim.write_bytes(b"nonsense")
    assert _run_child(tmp_path / "c") == "1 5"
    assert _run_child(tmp_path / "c") == "0 6"
