"""Scaled dot-product attention and its gradients, as steps.

q is (B, H, T, D), k and v are (B, H / repeat, S, D), with any strides but contiguous rows. The
forward pass leaves the logarithm of each row's sum of exponentials, (B, H, T), for the backward
pass. A row whose keys are all masked gives zeros.
"""

from __future__ import annotations

import dataclasses
import struct
from dataclasses import dataclass

from facula.kernel.matmul import MatmulPlan
from facula.kernel.step import Step
from facula.kernel.written import WrittenKernel, written_kernel
from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS
from facula.llvm.tile_attention import AttentionShape, writer_of
from facula.llvm.tile_decode import KEYS, FewWriter


@dataclass(frozen=True)
class Attention:
    """The numbers of an attention."""

    batch: int
    heads: int
    t: int
    s: int
    d: int
    scale: float
    causal: bool = False
    repeat: int = 1  # query heads to a key-value head
    dtype: str = "float32"


@dataclass(frozen=True)
class Rows:
    """(B, H, T, D) in a buffer with contiguous rows: strides of B, H, T. For lse, T's is 1."""

    slot: int
    strides: tuple[int, int, int]
    offset: int = 0


@dataclass(frozen=True)
class Mask:
    """An additive mask: strides of B, H, T, S, zero where it is broadcast."""

    slot: int
    strides: tuple[int, int, int, int]
    offset: int = 0


def _kernel(shape: AttentionShape) -> WrittenKernel:
    writer: type = FewWriter if shape.kind == "few" else writer_of(shape.kind)
    return written_kernel(shape, writer)


def _shape(
    kind: str, a: Attention, mask: Mask | None, target: Target
) -> tuple[AttentionShape, int]:
    if not NUMBERS[a.dtype].is_plain:
        raise NotImplementedError(f"attention in {a.dtype}: convert to float32")
    n = target.vector_bytes // NUMBERS[a.dtype].compute_bytes
    most = 4 if target.n_vector_registers == 32 else 2
    vectors = min(most, 1 << (-(-a.t // n) - 1).bit_length())
    d_vectors = min(most, -(-a.d // n))
    rows = 6 if 8 * max(vectors, d_vectors) > target.n_vector_registers - 4 else 8
    order = "" if mask is None else "k" if mask.strides[3] == 1 else "g"
    whole = kind != "delta" and a.d % (d_vectors * n) == 0
    shape = AttentionShape(kind, a.dtype, vectors, d_vectors, a.causal, order, rows, whole)
    return shape, vectors * n


def _arguments(a: Attention, blocks: int, q, k, v, out, lse, mask) -> list[int]:
    args: list[int] = []
    for x in (q, k, v, out, lse):
        args += [x.slot, x.offset, *x.strides]
    args += [mask.slot, mask.offset, *mask.strides] if mask else [0] * 6
    (bits,) = struct.unpack("<q", struct.pack("<d", a.scale))
    return [*args, a.heads, a.repeat, a.t, a.s, a.d, bits, blocks]


def _scratch(shape: AttentionShape, a: Attention, width: int) -> int:
    rows = shape.keys + shape.rows
    d_row = a.d + shape.d_vectors * width
    count = 3 * width + 2 * a.d * width + shape.rows * width + 3 * rows * width
    return 4 * (count + (2 * rows + 1) * d_row + 4 * width) * NUMBERS[a.dtype].compute_bytes // 4


def plan_attention(
    a: Attention,
    q: Rows,
    k: Rows,
    v: Rows,
    out: Rows,
    lse: Rows,
    mask: Mask | None = None,
    target: Target | None = None,
) -> list[Step]:
    """The forward pass: a task is a block of queries of one head, or a key-value head with its
    queries where they are few."""
    target = target or Target.host()
    n = target.vector_bytes // NUMBERS[a.dtype].compute_bytes
    if a.t * (2 * -(-a.d // n) + 4) < 2 * a.d:
        return [_few(a, (q, k, v, out, lse), mask, target)]
    shape, width = _shape("forward", a, mask, target)
    blocks = -(-a.t // width)
    args = _arguments(a, blocks, q, k, v, out, lse, mask)
    cost = 4.0 * a.batch * a.heads * a.t * a.s * a.d / (160 if a.causal else 80) + 200
    count = a.batch * a.heads * blocks
    return [Step(_kernel(shape), args, count, _scratch(shape, a, width), cost)]


def _few(
    a: Attention, rows: tuple[Rows, Rows, Rows, Rows, Rows], mask: Mask | None, target: Target
) -> Step:
    """Queries so few that lanes are better used for the numbers of a row than for queries."""
    shape, _ = _shape("few", a, mask, target)
    shape = dataclasses.replace(shape, vectors=1, d_vectors=1)
    n = target.vector_bytes // NUMBERS[a.dtype].compute_bytes
    queries = a.repeat * a.t
    scratch = (queries * (a.d + n + 2) + KEYS + 4 * n) * NUMBERS[a.dtype].compute_bytes
    count = a.batch * a.heads // a.repeat
    cost = count * a.s * a.d * (0.4 + 0.1 * queries) + 200
    q, k, v, out, lse = rows
    args = _arguments(a, 1, q, k, v, out, lse, mask)
    return Step(_kernel(shape), args, count, scratch, cost)


def plan_attention_gradient(
    a: Attention,
    q: Rows,
    k: Rows,
    v: Rows,
    out: Rows,
    lse: Rows,
    dout: Rows,
    dq: Rows,
    dk: Rows,
    dv: Rows,
    workspace_slot: int,
    mask: Mask | None = None,
    target: Target | None = None,
) -> MatmulPlan:
    """dq, dk and dv: a task is a key-value head. The workspace holds one number a query."""
    target = target or Target.host()
    delta = Rows(workspace_slot, (a.heads * a.t, a.t, 1))
    steps = []
    for kind in ("delta", "backward"):
        shape, width = _shape(kind, a, mask, target)
        blocks = -(-a.t // width)
        args = _arguments(a, blocks, q, k, v, out, lse, mask)
        for x in (dout, dq, dk, dv, delta):
            args += [x.slot, x.offset, *x.strides]
        work = a.batch * a.heads * a.t * a.d
        if kind == "delta":
            steps.append(Step(_kernel(shape), args, a.batch * a.heads * blocks, 0, 0.1 * work))
            continue
        cost = 10.0 * work * a.s / (160 if a.causal else 80) + 500
        count = a.batch * a.heads // a.repeat
        steps.append(Step(_kernel(shape), args, count, _scratch(shape, a, width), cost))
    size = a.batch * a.heads * a.t * NUMBERS[a.dtype].compute_bytes
    return MatmulPlan(steps, size)
