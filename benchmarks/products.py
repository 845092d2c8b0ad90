"""Matrix products by shape: GFLOP/s, PyTorch's beside them, and the share of what the machine can do.

    python -m benchmarks.products
    python -m benchmarks.products --shapes 1024x384x1536:nt,64x128x784:nt --turns 5

A shape is MxNxK:XY: M rows, N columns, a sum over K; X and Y say for each operand whether it is stored as
it is read (n) or transposed (t). A layer's product is nt, the gradient of its input nn, of its weight tn.
The peak is measured as well: fused multiply-adds on registers, on every thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.table import Table

SHAPES = (
    *("1024x1024x1024:nn", "1024x1152x384:nt", "1024x384x384:nt", "1024x1536x384:nt"),
    *("1024x384x1536:nt", "1024x384x1152:nn", "1024x384x1536:nn", "1024x1536x384:nn"),
    *("1152x384x1024:tn", "384x384x1024:tn", "1536x384x1024:tn", "384x1536x1024:tn"),
    *("64x128x784:nt", "128x784x64:tn", "32x32x32:nn", "4x10x10:nn"),
    *("1x4096x4096:nt", "1x4096x4096:nn", "4096x1x4096:nn", "8192x64x64:nn", "64x64x8192:nn"),
    *("96*128x128x64:nt", "96*128x64x128:nn"),
)


def product(torch: Any, shape: str) -> Callable[[], float]:
    """A workload: one product, looked at."""
    sizes, order = shape.split(":")
    batch, star, sizes = sizes.rpartition("*")
    m, n, k = map(int, sizes.split("x"))
    lead = (int(batch),) if star else ()
    a = torch.randn(*lead, *((m, k) if order[0] == "n" else (k, m)))
    b = torch.randn(*lead, *((k, n) if order[1] == "n" else (n, k)))
    a, b = (x if o == "n" else x.mT for x, o in zip((a, b), order, strict=True))

    def step() -> float:
        with torch.no_grad():
            return (a @ b).flatten()[0].item()

    return step


def work(shape: str) -> float:
    """Floating point operations."""
    out = 2.0
    for n in shape.split(":")[0].replace("*", "x").split("x"):
        out *= int(n)
    return out


def peak(seconds: float = 0.5) -> float:
    """GFLOP/s of fused multiply-adds in float32 that touch no memory, on every thread."""
    from facula import get_num_threads
    from facula.kernel.step import Step
    from facula.llvm.target import Target
    from facula.llvm.tile import Emit, vec
    from facula.runtime.jit import compile_kernels
    from facula.runtime.plan import NativePlan

    target = Target.host()
    lanes, chains = target.vector_bytes // 4, 3 * target.n_vector_registers // 4
    repeats, tasks = 20_000, 8 * get_num_threads()

    class Peak:
        key = f"peak {lanes} {chains}"

        def ir(self, target: Target) -> tuple[str, str]:
            b = Emit(target, "peak")
            v = vec(lanes, "float")
            out = b.buffer(0)
            with b.loop("%t0", "%t1") as t:
                x = b.splat(lanes, "float", b.load("float", out))
                start = [(v, x)] * chains
                with b.loop(0, b.arg(0), 1, start) as i:
                    i.next = [b.fma(lanes, "float", x, x, acc) for acc in i.vars]
                total = i.vars[0]
                for acc in i.vars[1:]:
                    total = b.plus(lanes, "float", total, acc)
                b.store(v, total, b.at(out, b.mul(b.add(t.i, 1), lanes), "float"), "float")
            return "peak", b.module()

    from facula.runtime.buffers import alloc

    step = Step(Peak(), [repeats], tasks, 0, 1e6 * tasks)  # type: ignore[arg-type]
    plan = NativePlan([step], compile_kernels([step.kernel]), 1)
    room = alloc(4 * lanes * (tasks + 1))
    best = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        plan.run([room.addr])
        spent = time.perf_counter() - start
        best = max(best, 2.0 * lanes * chains * repeats * tasks / spent / 1e9)
    return best


def table(shapes: Sequence[str], libraries: list[str], turns: int, seconds: float) -> Table:
    """GFLOP/s of each shape and the share of the peak."""
    from benchmarks.turns import measure
    from benchmarks.worker import Worker

    top = peak()
    workers = [Worker(library) for library in libraries]
    heads = [f"{w.library} {what}" for w in workers for what in ("GFLOP/s", "of peak")]
    heads += ["ratio"] if len(workers) == 2 else []
    title = (
        f"Products: share of the peak of {top:.0f} GFLOP/s (float32 multiply-adds, every thread)"
    )
    out = Table("products", title, ["shape", *heads], "facula of peak", "").begin()
    for shape in shapes:
        timing = measure(workers, f"product:{shape}", turns, seconds)
        speeds = [work(shape) / timing.ms[w.library] / 1e6 for w in workers]
        cells = [cell for s in speeds for cell in (s, s / top)]
        out.add(shape, *cells, *([timing.ratio] if len(workers) == 2 else []))
    for w in workers:
        w.close()
    return out


def main() -> None:
    """Prints the table."""
    from benchmarks.worker import installed

    parser = argparse.ArgumentParser(prog="python -m benchmarks.products", description=__doc__)
    parser.add_argument("--shapes", help="with commas between them")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.05, help="length of a turn")
    parser.add_argument("--without-torch", action="store_true")
    options = parser.parse_args()
    libraries = ["facula"] if options.without_torch else installed()
    shapes = options.shapes.split(",") if options.shapes else SHAPES
    table(shapes, libraries, options.turns, options.seconds)


if __name__ == "__main__":
    main()
