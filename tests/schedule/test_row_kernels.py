"""Kernels that pass over rows several times: one for forward and backward, columns summed on the way."""

import numpy as np
import pytest
from graphs import compare, lowered

import facula as torch
from facula.kernel.interpret import interpret
from facula.kernel.program import Access, Phase, Program, Stmt
from facula.schedule.native_plan import Builder


def kernels(make, *arrays):
    """Loop programs of a graph's fused kernels, largest first."""
    low = lowered(make, arrays)
    plan = Builder(low, (False,) * len(low.leaves), []).build()
    programs = [s.kernel.program for s in plan.kernels]
    return sorted(programs, key=lambda p: -len(p.stmts))


def normed(g, x, grad, weight):
    """softmax, layer norm without a bias, and the gradients of x and weight."""
    e = (x - g.reduce("max", x, 1)).exp()
    y = e / g.reduce("sum", e, 1)
    centred = y - g.mean(y, 1)
    rstd = (g.mean(centred * centred, 1) + 1e-5).rsqrt()
    xhat = centred * rstd
    gw = grad * weight
    gy = (gw - g.mean(gw, 1) - xhat * g.mean(gw * xhat, 1)) * rstd
    gx = y * (gy - g.reduce("sum", gy * y, 1))
    return gx, g.reduce("sum", grad * xhat, 0), g.reduce("sum", grad, 0)


def arrays(rows, columns):
    rng = np.random.default_rng(rows * 1000 + columns)
    shapes = [(rows, columns), (rows, columns), (1, columns)]
    return [rng.standard_normal(s, dtype=np.float32) for s in shapes]


@pytest.mark.parametrize("rows", [2, 61, 64, 130, 1000])
@pytest.mark.parametrize("columns", [1, 10, 100, 257])
def test_values(rows, columns):
    compare(normed, *arrays(rows, columns), tolerance=2e-4)


def test_one_kernel_passes_over_the_rows():
    big, *rest = kernels(normed, *arrays(4096, 1024))
    stored = {s.args[0].buf for s in big.stmts if s.op == "store"}
    assert len(stored) == 1  # the gradient of x: no row is kept in memory for a later kernel
    assert sum(s.op == "accumulate" for s in big.stmts) == 2
    # exp and the division are done once
    assert [s.op for s in big.stmts].count("exp") == 1
    assert all(p.n_inner == 1 and len(p.stmts) == 3 for p in rest)  # what adds up the partial sums


def test_rows_without_a_run_are_summed_by_themselves():
    big, *rest = kernels(normed, *arrays(61, 256))
    assert all(s.op != "accumulate" for s in big.stmts)
    assert rest


def test_values_of_short_work_are_computed_again():
    def make(g, x):
        return x - g.mean(x, 1)

    (program,) = kernels(make, np.ones((64, 256), np.float32))
    assert all(s.op != "stash" for s in program.stmts)


def test_too_long_rows_keep_nothing():
    def make(g, x):
        e = x.exp()
        return e / g.reduce("sum", e, 1)

    shape = lambda *sizes: np.broadcast_to(np.float32(1), sizes)
    (short,) = kernels(make, shape(256, 512))
    (long,) = kernels(make, shape(256, 1 << 17))
    assert [s.op for s in short.stmts].count("exp") == 1
    assert [s.op for s in long.stmts].count("exp") == 2


@pytest.mark.parametrize("lead", [(64,), (6, 32), (3, 2, 128)])
def test_sums_over_several_leading_dims(lead):
    rng = np.random.default_rng(1)
    x, grad = (rng.standard_normal((*lead, 96), dtype=np.float32) for _ in range(2))
    axes = tuple(range(len(lead)))

    def make(g, x, grad):
        last = len(lead)
        centred = x - g.mean(x, last)
        xhat = centred * (g.mean(centred * centred, last) + 1e-5).rsqrt()
        return xhat * g.mean(grad * xhat, last), g.reduce("sum", grad * xhat, axes)

    compare(make, x, grad, tolerance=2e-4)
    big = kernels(make, x, grad)[0]
    assert any(s.op == "accumulate" for s in big.stmts)


def test_accumulate_begins_anew_with_every_run():
    stmts = (
        Stmt("load", "float32", (Access(0, ("n", "n", "1")),)),
        Stmt("accumulate", "float32", (Access(1, ("n", "0", "1")), 0)),
    )
    program = Program(2, 1, "inner", ("float32", "float32"), 0, (Phase(True, stmts),))
    x = np.arange(24, dtype=np.float32)
    sums = np.full(6, np.nan, np.float32)
    interpret(program, [x, sums], [0, 0], [2, 4], [3], [[12, 3, 1], [3, 0, 1]])
    np.testing.assert_array_equal(sums.reshape(2, 3), x.reshape(2, 4, 3).sum(1))


def test_layer_norm_backward_with_all_gradients():
    # figures by PyTorch 2.13: x = arange(256 * 64).reshape(256, 64).sin(), w = linspace(0.5, 1.5),
    # loss = (layer_norm(x) * x.cos()).sum()
    x = torch.arange(256.0 * 64).reshape(256, 64).sin().requires_grad_()
    w = torch.linspace(0.5, 1.5, 64).requires_grad_()
    b = torch.zeros(64, requires_grad=True)
    y = torch.nn.functional.layer_norm(x, (64,), w, b)
    (y * x.detach().cos()).sum().backward()
    close = lambda t, want, tol=2e-4: np.testing.assert_allclose(t.tolist(), want, atol=tol)
    close(x.grad[3, :3], [-0.4186, -0.6629, -0.5010])
    close(w.grad[:3], [1.5630, 1.1150, -0.2155])
    close(b.grad[:3], [196.0107, 195.9047, 195.7618])
    close(x.grad.abs().sum(), 5339.0405, 0.1)
    close(w.grad.abs().sum(), 64.0767, 0.01)


@pytest.mark.parametrize(("shape", "count"), [((32, 25_088), 1), ((8, 65_536), 3)])
def test_few_rows_are_cut_where_there_are_too_few_to_share_out(shape, count):
    x = torch.tensor(np.ones(shape, np.float32))
    assert len(torch.explain(x.sum(1)).kernels) == count
