"""Convolutions against a NumPy sum over taps in float64."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import llvmlite.binding as llvm
import native
from epilogues import BIAS_M, RELU, SILU

from facula.kernel.conv import (
    Conv,
    Image,
    _cut,
    _forward_job,
    leaves_gaps,
    plan_conv,
    plan_conv_input_gradient,
)
from facula.kernel.conv_weight import plan_conv_weight_gradient
from facula.kernel.matmul import Extra
from facula.llvm.target import Target
from facula.llvm.tile_conv import ConvShape, ConvWriter
from facula.llvm.tile_gemm import UNROLL
from facula.runtime.llvmc import target_machine

CASES = [
    Conv(2, 3, 9, 11, 5, (3, 3), (1, 1), (1, 1)),
    Conv(1, 1, 28, 28, 32, (3, 3)),
    Conv(2, 8, 20, 45, 20, (3, 2), (1, 1), (2, 0)),
    Conv(1, 6, 13, 14, 4, (3, 3), (2, 2), (1, 1), groups=2),
    Conv(1, 4, 16, 15, 3, (5, 3), (3, 3), (2, 1), (2, 1)),
    Conv(3, 5, 4, 4, 40, (3, 3), (1, 1), (1, 1)),
    Conv(1, 3, 30, 30, 16, (7, 7), (2, 2), (3, 3)),
    Conv(1, 130, 7, 7, 15, (3, 3), (1, 1), (1, 1)),
    Conv(1, 2, 1, 40, 3, (1, 5), (1, 2), (0, 2)),
    Conv(2, 8, 12, 12, 30, (1, 1), groups=2),
    Conv(3, 64, 18, 15, 72, (3, 3), (1, 1), (0, 1)),
    Conv(1, 64, 30, 75, 66, (3, 3), (1, 1), (1, 1)),
    Conv(2, 9, 12, 21, 9, (3, 3), (2, 1), (1, 1), groups=9),
    Conv(5, 20, 3, 2, 30, (3, 3), (2, 2), (1, 1), groups=2),
    Conv(17, 20, 1, 1, 150, (3, 3), (1, 1), (1, 1)),
    Conv(2, 16, 70, 70, 8, (3, 3), (1, 1), (1, 1), (2, 2)),
    Conv(9, 40, 4, 4, 33, (3, 3), (1, 1), (1, 1)),
    Conv(3, 100, 6, 5, 70, (3, 3), (1, 1), (2, 1)),
    Conv(8, 32, 60, 60, 32, (3, 3), (1, 1), (1, 1)),
    Conv(4, 256, 4, 8, 40, (3, 3), (1, 1), (1, 0)),
    # windows smaller than the stride, and patches side by side
    Conv(2, 6, 21, 37, 18, (1, 1), (2, 2)),
    Conv(9, 12, 14, 14, 20, (1, 1), (2, 2)),
    Conv(2, 3, 64, 70, 20, (16, 16), (16, 16)),
    Conv(1, 4, 30, 50, 6, (2, 2), (4, 4), (1, 1)),
    Conv(2, 4, 17, 19, 4, (1, 1), (2, 2), groups=4),
    Conv(2, 4, 17, 39, 4, (2, 2), (3, 3), groups=4),
    # channels by themselves: tiles with rows left over, several results, phases, stretches of rows
    Conv(2, 5, 28, 30, 5, (5, 5), (1, 1), (2, 2), groups=5),
    Conv(3, 4, 7, 7, 8, (3, 3), (2, 2), (1, 1), groups=4),
    Conv(2, 3, 20, 67, 9, (3, 4), (1, 3), (2, 3), (2, 2), groups=3),
    Conv(1, 2, 200, 210, 2, (3, 3), (1, 1), (1, 1), groups=2),
    Conv(2, 3, 1, 300, 3, (1, 31), (1, 1), (0, 15), groups=3),
    # parts of one long row of the result, whose last is shorter; results in parts as well
    Conv(1, 64, 1, 3001, 40, (1, 3), (1, 2), (0, 1)),
    Conv(1, 16, 2, 2000, 120, (2, 10), (1, 5), (1, 4), (1, 2)),
    Conv(1, 200, 15, 15, 130, (3, 3), (2, 2), (1, 1)),
]


def cuts(conv):
    """How the forward pass is cut: rows, columns and the result's columns into how many."""
    job = _forward_job(conv)
    return _cut(job, Target.host()).parts(job)


def test_long_rows_are_cut():
    """A task copies what it needs of a long row, and its copy stays small."""
    assert cuts(Conv(1, 512, 1, 8000, 512, (1, 3), (1, 2)))[2] >= 8
    assert cuts(Conv(8, 16, 30, 30, 32, (5, 5), (1, 1), (2, 2)))[2] == 1


def test_few_pixels_of_many_channels_are_cut_by_results():
    """As soon as one image has too few columns for tasks of whole tiles."""
    assert cuts(Conv(1, 256, 28, 28, 512, (3, 3), (2, 2), (1, 1)))[0] > 1


@pytest.mark.skipif(not Target.host().has_mask, reason="constants hold no registers elsewhere")
@pytest.mark.parametrize("stride", [1, 2, 0])
@pytest.mark.parametrize("wide", [True, False])
def test_sums_stay_in_registers(stride, wide):
    """What the copy of the image needs is not kept while there are no registers to spare."""
    shape = ConvShape("float32", 14, 2, 2, stride, 0 if wide else 1, wide, 0, wide, False, ())
    module = llvm.parse_assembly(ConvWriter(shape, Target.host(), "k").write())
    machine = target_machine(Target.host())
    lines = machine.emit_assembly(module).splitlines()
    assert sum("vfmadd" in line for line in lines) >= 14 * 2 * UNROLL
    assert not [line for line in lines if "zmm" in line and "(%rsp)" in line]


def shifted(conv, x, r, s):
    """What tap (r, s) of every output reads."""
    (sh, sw), (dh, dw) = conv.stride, conv.dilation
    oh, ow = conv.out
    return (
        slice(None),
        slice(None),
        slice(r * dh, r * dh + (oh - 1) * sh + 1, sh),
        slice(s * dw, s * dw + (ow - 1) * sw + 1, sw),
    )


def padded(conv, x):
    (ph, pw) = conv.padding
    return np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))


def forward(conv, x, w):
    """y[n, o] = sum over c, r, s."""
    g = conv.groups
    xp = padded(conv, x.astype(np.float64))
    y = np.zeros((conv.n, g, conv.o // g, *conv.out))
    for r in range(conv.kernel[0]):
        for s in range(conv.kernel[1]):
            part = xp[shifted(conv, xp, r, s)].reshape(conv.n, g, conv.c // g, *conv.out)
            taps = w[:, :, r, s].reshape(g, conv.o // g, conv.c // g)
            y += np.einsum("ngchw,goc->ngohw", part, taps)
    return y.reshape(conv.n, conv.o, *conv.out)


def gradients(conv, x, w, dy):
    g = conv.groups
    xp = padded(conv, x.astype(np.float64))
    dxp, dw = np.zeros_like(xp), np.zeros(w.shape)
    dy_ = dy.astype(np.float64).reshape(conv.n, g, conv.o // g, *conv.out)
    for r in range(conv.kernel[0]):
        for s in range(conv.kernel[1]):
            at = shifted(conv, xp, r, s)
            taps = w[:, :, r, s].reshape(g, conv.o // g, conv.c // g)
            part = np.einsum("ngohw,goc->ngchw", dy_, taps)
            dxp[at] += part.reshape(conv.n, conv.c, *conv.out)
            seen = xp[at].reshape(conv.n, g, conv.c // g, *conv.out)
            dw[:, :, r, s] = np.einsum("ngohw,ngchw->goc", dy_, seen).reshape(conv.o, -1)
    (ph, pw) = conv.padding
    return dxp[:, :, ph : ph + conv.h, pw : pw + conv.w], dw


def arrays(conv, rng):
    x = rng.standard_normal((conv.n, conv.c, conv.h, conv.w)).astype(np.float32)
    w = rng.standard_normal((conv.o, conv.c_in, *conv.kernel)).astype(np.float32)
    dy = rng.standard_normal((conv.n, conv.o, *conv.out)).astype(np.float32)
    return x, w, dy


def image(slot, x):
    return Image(slot, tuple(s // x.itemsize for s in x.strides[:3]))


def compare(plan_of, buffers, out, want, fill=np.nan):
    """Run in one piece and task by task, last task first: the same bits."""
    results = []
    for chunk in (None, 1):
        out[...] = fill
        plan = plan_of()
        native.run(plan.steps, [*buffers, native.aligned(plan.workspace_bytes + 64)], chunk=chunk)
        results.append(out.copy())
    np.testing.assert_allclose(results[0], want, atol=2e-5 * np.abs(want).max() + 1e-6)
    assert np.array_equal(*results)


@pytest.mark.parametrize("conv", CASES, ids=range(len(CASES)))
def test_forward(conv, rng):
    x, w, y = arrays(conv, rng)
    bias = rng.standard_normal(conv.o).astype(np.float32)
    want = np.maximum(forward(conv, x, w) + bias[:, None, None], 0)

    def plan():
        return plan_conv(
            *(conv, image(0, x), (1, 0), image(2, y), 4, (BIAS_M, RELU)),
            (Extra(3, 1, (0, conv.c_out)),),
        )

    compare(plan, [x, w, y, bias], y, want)


def test_a_long_epilogue_of_channels_by_themselves(rng):
    """It is written once for all registers of a tile."""
    conv = Conv(2, 4, 19, 27, 4, (3, 3), (1, 1), (1, 1), groups=4)
    x, w, y = arrays(conv, rng)
    sums = forward(conv, x, w)

    def plan():
        return plan_conv(conv, image(0, x), (1, 0), image(2, y), 3, (SILU,), ())

    compare(plan, [x, w, y], y, sums / (1 + np.exp(-sums)))


@pytest.mark.parametrize("conv", CASES, ids=range(len(CASES)))
def test_input_gradient(conv, rng):
    x, w, dy = arrays(conv, rng)
    want, _ = gradients(conv, x, w, dy)
    bias = rng.standard_normal(conv.c).astype(np.float32)  # as of a transposed convolution
    gaps = leaves_gaps(conv)  # which the caller fills
    bias *= not gaps

    def plan():
        return plan_conv_input_gradient(
            *(conv, image(2, dy), (1, 0), image(0, x), 4, (BIAS_M,)),
            (Extra(3, 1, (0, conv.c_in)),),
        )

    compare(plan, [x, w, dy, bias], x, want + bias[:, None, None], 0 if gaps else np.nan)


@pytest.mark.parametrize("conv", CASES, ids=range(len(CASES)))
def test_weight_gradient(conv, rng):
    x, w, dy = arrays(conv, rng)
    _, want = gradients(conv, x, w, dy)
    compare(
        lambda: plan_conv_weight_gradient(conv, image(0, x), image(2, dy), (1, 0), 3),
        *([x, w, dy], w, want),
    )
