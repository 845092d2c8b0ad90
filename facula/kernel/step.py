"""What a plan runs: a kernel with its arguments.

Every native kernel has the signature

    void k(ptr bufs, ptr args, ptr scalars, i64 t0, i64 t1, ptr scratch, ptr status)

`bufs` is the plan's table of addresses, `args` the step's own integers (buffer slots, sizes,
strides in elements, scalar slots; the kernel's generator decides the order), `scalars` the plan's
run-time numbers in 8-byte slots, `t0..t1` the tasks to do, `scratch` this thread's private memory,
`status` four integers in which a kernel reports a bad index.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from facula.llvm.target import Target


class Kernel(Protocol):
    """A piece of native code, known by its structure."""

    @property
    def key(self) -> str:
        """Canonical structure; two kernels with one key have the same code."""
        ...

    def ir(self, target: Target) -> tuple[str, str]:
        """(function name, textual LLVM IR module); asked for only when no object is cached."""
        ...


@dataclass
class Step:
    """One call of a kernel: `ntasks` independent tasks, split by shape and never by threads."""

    kernel: Kernel
    args: list[int]
    ntasks: int
    scratch: int = 0
    cost: float = field(default=0.0)  # estimated nanoseconds on one thread
