"""Bounds checks of run-time indices inside kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facula.kernel.program import Stmt

if TYPE_CHECKING:
    from facula.llvm.emit import LoopEmitter


def write_check(e: LoopEmitter, i: int, s: Stmt, u: int | None) -> str:
    """Wrap an index; report the first bad one and go on with 0."""
    b = e.b
    index, size, tag = s.args[:3]
    reported = str(tag) if len(s.args) < 4 else e.scalar_of(s.args[3])
    values = e.scalar if u is None else e.vector
    v = values["int64"]
    x = e.get(index, u)
    if isinstance(size, tuple):
        limit, scalar_limit = v.ci(size[1]), str(size[1])
    else:
        limit, scalar_limit = e.get(size, u), e.scalar_of(size)
    wrapped = v.iselect(v.icmp("slt", x, v.ci(0)), v.integer("add", x, limit), x)
    bad = v.icmp("uge", wrapped, limit)
    if u is not None and e.mask is not None:
        bad = v.logic("and", bad, e.mask)
    any_bad = v.any(bad)
    report, done = b.label("report"), b.label("done")
    b.do(f"br i1 {any_bad}, label %{report}, label %{done}")
    b.begin(report)
    worst = x
    if u is not None:
        bits = b.let(f"bitcast {v.b} {bad} to i{v.n}")
        cttz = f"llvm.cttz.i{v.n}"
        b.declare(cttz, f"declare i{v.n} @{cttz}(i{v.n}, i1)")
        lane = b.let(f"call i{v.n} @{cttz}(i{v.n} {bits}, i1 true)")
        worst = b.let(f"extractelement {v.f} {x}, i{v.n} {lane}")
    for k, number in enumerate(("1", worst, scalar_limit, reported)):
        place = b.let(f"getelementptr i64, ptr %status, i64 {k}")
        b.do(f"store i64 {number}, ptr {place}, align 8")
    b.do(f"br label %{done}")
    b.begin(done)
    return v.iselect(bad, v.ci(0), wrapped)
