"""Hand-written kernels for the tests."""

from __future__ import annotations

from facula.kernel.step import Step
from facula.llvm.target import Target

_SIGNATURE = (
    "(ptr %bufs, ptr %args, ptr %scalars, i64 %t0, i64 %t1, ptr %scratch, ptr %status) nounwind"
)


class Axpy:
    """Task t: y[t*g : (t+1)*g] += s * x[same], args = [slot of x, slot of y, g].

    It goes through the scratch memory, in steps of one, so that scratch is tested too.
    """

    def __init__(self, name: str = "axpy") -> None:
        self.key = f"test:{name}"

    def ir(self, target: Target) -> tuple[str, str]:
        return (
            "kernel",
            f"""
define void @kernel{_SIGNATURE} {{
entry:
  %xs = load i64, ptr %args
  %a1 = getelementptr i64, ptr %args, i64 1
  %ys = load i64, ptr %a1
  %a2 = getelementptr i64, ptr %args, i64 2
  %grain = load i64, ptr %a2
  %xp = getelementptr i64, ptr %bufs, i64 %xs
  %yp = getelementptr i64, ptr %bufs, i64 %ys
  %x = load ptr, ptr %xp
  %y = load ptr, ptr %yp
  %s = load double, ptr %scalars
  %lo = mul i64 %t0, %grain
  %hi = mul i64 %t1, %grain
  %any = icmp slt i64 %lo, %hi
  br i1 %any, label %loop, label %exit
loop:
  %i = phi i64 [ %lo, %entry ], [ %i1, %loop ]
  %px = getelementptr double, ptr %x, i64 %i
  %py = getelementptr double, ptr %y, i64 %i
  %vx = load double, ptr %px
  %vy = load double, ptr %py
  %m = fmul double %vx, %s
  store double %m, ptr %scratch
  %m1 = load volatile double, ptr %scratch
  %r = fadd double %m1, %vy
  store double %r, ptr %py
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, %hi
  br i1 %more, label %loop, label %exit
exit:
  ret void
}}
""",
        )


class Fails:
    """Reports a bad index: 7 of 5, tag 3."""

    key = "test:fails"

    def ir(self, target: Target) -> tuple[str, str]:
        return (
            "kernel",
            f"""
define void @kernel{_SIGNATURE} {{
  store [4 x i64] [i64 1, i64 7, i64 5, i64 3], ptr %status
  ret void
}}
""",
        )


class Exponential:
    """y[0] = expf(x[0]): a symbol of the process, and a constant in memory."""

    key = "test:exponential"

    def ir(self, target: Target) -> tuple[str, str]:
        return (
            "kernel",
            f"""
declare float @expf(float)
@offset = private constant [2 x float] [float 1.0, float 2.0]
define void @kernel{_SIGNATURE} {{
  %x = load ptr, ptr %bufs
  %yp = getelementptr i64, ptr %bufs, i64 1
  %y = load ptr, ptr %yp
  %v = load float, ptr %x
  %e = call float @expf(float %v)
  %cp = getelementptr float, ptr @offset, i64 %t0
  %c = load float, ptr %cp
  %r = fadd float %e, %c
  store float %r, ptr %y
  ret void
}}
""",
        )


def axpy_step(tasks: int, grain: int, cost: float) -> Step:
    """y (slot 1) += scalar 0 * x (slot 0)."""
    return Step(Axpy(), [0, 1, grain], tasks, 64, cost)
