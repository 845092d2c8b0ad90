"""What would run: `facula.explain(x)` shows the plan of a pending tensor.

>>> import facula as torch
>>> x = torch.rand(64, 10)
>>> print(torch.explain(x.softmax(1)))  # doctest: +ELLIPSIS
1 kernel, ...
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from facula.graph.ir import Val
from facula.graph.tape import LOCAL, Storage
from facula.schedule.candidates import LEAVES, VIEWS
from facula.schedule.codegen import Call
from facula.schedule.fuse import Fusion
from facula.schedule.group import Group
from facula.schedule.native_plan import Builder, HostStep
from facula.tensor import Tensor


@dataclass
class Kernel:
    """One step of a plan: what it computes, what it moves, how much arithmetic it is."""

    name: str
    shape: tuple[int, ...]
    operators: list[str]
    bytes: int = 0
    flops: int = 0
    program: str = ""
    kernels: list[Any] = field(default_factory=list)

    def llvm_ir(self) -> str:
        """LLVM IR of the step's native kernels."""
        from facula.llvm.target import Target

        return "\n".join(k.ir(Target.host())[1] for k in self.kernels)

    def assembly(self) -> str:
        """Assembly of the step's native kernels."""
        import llvmlite.binding as llvm

        from facula.llvm.target import Target
        from facula.runtime.llvmc import target_machine

        machine: Any = target_machine(Target.host())
        return "\n".join(
            machine.emit_assembly(llvm.parse_assembly(k.ir(Target.host())[1])) for k in self.kernels
        )


@dataclass
class Explanation:
    """The plan of a tensor; printing it gives a table."""

    kernels: list[Kernel]
    temporaries: int
    reads: int

    def __str__(self) -> str:
        n = len(self.kernels)
        total = sum(k.bytes for k in self.kernels)
        flops = sum(k.flops for k in self.kernels)
        lines = [
            f"{n} kernel{'' if n == 1 else 's'}, {_human(total)}B moved, {_human(flops)}flop, "
            f"{_human(self.temporaries)}B of temporaries"
        ]
        for i, k in enumerate(self.kernels, 1):
            shape = "x".join(map(str, k.shape)) or "scalar"
            lines.append(f"  {i:3d}. {k.name:<10} {shape:<18} {_human(k.bytes):>8}B {_human(k.flops):>8}flop  "
                         f"{' '.join(k.operators)}")  # fmt: skip
        return "\n".join(lines)

    __repr__ = __str__

    def programs(self) -> str:
        """The loop programs of the fused kernels."""
        return "\n\n".join(
            f"kernel {i}\n{k.program}" for i, k in enumerate(self.kernels, 1) if k.program
        )

    def llvm_ir(self) -> str:
        """LLVM IR of all kernels."""
        return "\n".join(k.llvm_ir() for k in self.kernels)

    def assembly(self) -> str:
        """Assembly of all kernels, for this machine."""
        return "\n".join(k.assembly() for k in self.kernels)


def _human(n: float) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if n < 1000 or unit == "T":
            return f"{n:.3g} {unit}"
        n /= 1000
    return ""


def explain(*tensors: Tensor) -> Explanation:
    """What would run to give tensors their values; nothing is run.

    The kernels in order, what fused into each, bytes moved and floating-point operations; the loop
    program, LLVM IR and assembly on request (`.programs()`, `.llvm_ir()`, `.assembly()`). Tensors that
    are evaluated already take no kernels.
    """
    from facula.schedule.lower import lower

    tape = LOCAL.tape
    wanted = {_entry(t._s, tape) for t in tensors} - {None}
    live = tuple(i in wanted for i in range(tape.n))
    if not wanted:
        return Explanation([], 0, 0)
    low = lower(tape.key, live, tape.scalars)
    builder = Builder(low, tuple(False for _ in tape.leaves), tape.scalars)
    plan = builder.build()
    kernels = [_describe(builder.fusion, step, made) for step, made in builder.descriptions]
    return Explanation(kernels, plan.arena_bytes, len(low.leaves))


def _entry(s: Storage, tape: Any) -> int | None:
    return s.i if s.tape is tape and s.buf is None else None


def _describe(fusion: Fusion, step: Group | Val, made: list[Any]) -> Kernel:
    native = [_kernel_of(m) for m in made if not isinstance(m, HostStep)]
    if isinstance(step, Group):
        names: list[str] = []
        for m in step.members:
            names += _operators(fusion, m)
        product = None if step.product is None else step.computed[0]
        name = "fused" if product is None else product.op.removeprefix("template:")
        kernel = Kernel(name, step.shape, _counted(names))
        per_element = sum(1 for n in names if n not in ("cast", "copy"))
        kernel.flops = per_element * math.prod(step.shape)
        if product is not None:
            kernel.flops += _heavy_flops(product)
    else:
        kernel = Kernel(step.op.removeprefix("template:"), step.shape, [])
        kernel.flops = _heavy_flops(step)
        if any(isinstance(m, HostStep) for m in made):
            kernel.operators = ["(NumPy)"]
    kernel.kernels = native
    kernel.bytes = _bytes(step)
    kernel.program = "\n".join(str(m.program) for m in made if isinstance(m, Call))
    return kernel


def _kernel_of(made: Any) -> Any:
    if isinstance(made, Call):
        from facula.llvm.loops import LoopKernel

        return LoopKernel(made.program)
    return made.kernel


def _operators(fusion: Fusion, m: Val) -> list[str]:
    """Primitives computed for m itself: what is inlined into it."""
    out, seen, stack = [m.op if m.op != "reduce" else m.arg[0]], set(), list(m.srcs)
    while stack:
        v = stack.pop()
        if (
            v.id in seen
            or v.id in fusion.candidates
            or v.id in fusion.heavy
            or v.op in LEAVES
            or v.op == "out"
        ):
            continue
        seen.add(v.id)
        if v.op not in VIEWS:
            out.append(v.op)
        stack += v.srcs
    return out[::-1]


def _counted(names: list[str]) -> list[str]:
    counts: dict[str, int] = {}
    for n in names:
        counts[n] = counts.get(n, 0) + 1
    return [n if c == 1 else f"{n}*{c}" for n, c in counts.items()]


def _heavy_flops(v: Val) -> int:
    if v.op == "matmul":
        return 2 * v.numel * v.srcs[0].shape[-1]
    if v.op in _CONVOLUTIONS:  # for each element of y as many products as a filter has numbers
        y, w = _CONVOLUTIONS[v.op](v)
        return 2 * y.numel * math.prod(w.shape[1:])
    return v.numel


_CONVOLUTIONS: dict[str, Callable[[Val], tuple[Val, Val]]] = {
    "template:conv": lambda v: (v, v.srcs[1]),
    "template:conv_input_grad": lambda v: (v.srcs[0], v.srcs[1]),
    "template:conv_weight_grad": lambda v: (v.srcs[0], v),
}


def _bytes(step: Group | Val) -> int:
    members = step.computed if isinstance(step, Group) else [step]
    # of a product with an epilogue only what comes out of that is written
    stored = step.members if isinstance(step, Group) else [step]
    written = sum(m.numel * m.dtype.itemsize for m in stored)
    seen: dict[int, int] = {}
    stack = [s for m in members for s in m.srcs]
    own = {m.id for m in members}
    if isinstance(step, Group) and step.product is not None:
        own.add(step.product.id)
    while stack:
        v = stack.pop()
        if v.id in seen or v.id in own:
            continue
        seen[v.id] = (
            v.numel * v.dtype.itemsize
            if v.op in ("buffer", "buffer_at", "reduce", "matmul", "out")
            else 0
        )
        if v.op in VIEWS or v.op not in ("buffer", "buffer_at", "reduce", "matmul", "out"):
            stack += v.srcs
    return written + sum(seen.values())
