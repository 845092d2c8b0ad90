"""Results of templates that are written where they would be copied to."""

import numpy as np
import pytest
from graphs import compare, lowered

from facula.graph import reference_attention  # noqa: F401  (makes the template known)
from facula.schedule.native_plan import Builder

B, H, T, D = 2, 3, 20, 8


def arrays():
    """q, k and v side by side, a weight, the gradient of what follows."""
    rng = np.random.default_rng(0)
    shapes = [(B, T, 3 * H * D), (H * D, 30), (B, H, T, D)]
    return [rng.standard_normal(s, dtype=np.float32) for s in shapes]


def operands(g, x):
    parts = (g.slice(x, (0, 0, i * H * D), (B, T, H * D), (1, 1, 1)) for i in range(3))
    return [g.permute(g.reshape(p, (B, T, H, D)), (0, 2, 1, 3)) for p in parts]


def attended(g, x):
    """(operands, result, logarithms of sums)"""
    qkv = operands(g, x)
    outs = [(x.dtype, (B, H, T, D)), (x.dtype, (B, H, T))]
    return (qkv, *g.template("sdpa", outs, qkv, (True, D**-0.5)))


def side_by_side(g, v):
    return g.reshape(g.permute(v, (0, 2, 1, 3)), (B * T, H * D))


def gradients(g, x, grad):
    qkv, out, lse = attended(g, x)
    outs = [(x.dtype, (B, H, T, D))] * 3
    return g.template("sdpa_backward", outs, [grad, *qkv, out, lse], (True, D**-0.5))


def into_a_product(g, x, w, grad):
    _, out, _ = attended(g, x)
    return g.matmul(side_by_side(g, out), w)


def result_is_wanted_too(g, x, w, grad):
    _, out, _ = attended(g, x)
    return g.matmul(side_by_side(g, out), w), out


def copy_is_wanted(g, x, w, grad):
    _, out, _ = attended(g, x)
    return side_by_side(g, out)


def read_by_a_loop_too(g, x, w, grad):
    _, out, _ = attended(g, x)
    return g.matmul(side_by_side(g, out), w), out * 2.0


def thirds_of_one_array(g, x, w, grad):
    grads = [side_by_side(g, v) for v in gradients(g, x, grad)]
    return g.cat(grads, 1)


def thirds_and_the_forward_pass(g, x, w, grad):
    qkv, out, lse = attended(g, x)
    outs = [(x.dtype, (B, H, T, D))] * 3
    grads = g.template("sdpa_backward", outs, [grad, *qkv, out, lse], (True, D**-0.5))
    cat = g.cat([side_by_side(g, v) for v in grads], 1)
    return g.matmul(side_by_side(g, out), w), cat.relu(), cat


def one_of_them_twice(g, x, w, grad):
    dq, dk, _ = (side_by_side(g, v) for v in gradients(g, x, grad))
    return g.cat([dq, dk, dk], 1)


def one_of_them_elsewhere_too(g, x, w, grad):
    dq, dk, dv = (side_by_side(g, v) for v in gradients(g, x, grad))
    return g.cat([dq, dk, dv], 0), g.matmul(dk, w)


def another_value_among_them(g, x, w, grad):
    dq, dk, _ = (side_by_side(g, v) for v in gradients(g, x, grad))
    return g.cat([dq, dk + 1.0, side_by_side(g, grad)], 1)


CASES = {  # how many loop kernels are left
    into_a_product: 0,
    result_is_wanted_too: 1,
    copy_is_wanted: 0,
    read_by_a_loop_too: 2,
    thirds_of_one_array: 0,
    thirds_and_the_forward_pass: 1,
    one_of_them_twice: 2,
    one_of_them_elsewhere_too: 1,
    another_value_among_them: 2,
}


@pytest.mark.parametrize("make", CASES, ids=lambda f: f.__name__)
def test_values(make):
    compare(make, *arrays(), tolerance=2e-5)
    compare(make, *arrays(), tolerance=2e-5, free=True)


@pytest.mark.parametrize("make", CASES, ids=lambda f: f.__name__)
def test_copies(make):
    low = lowered(make, arrays())
    plan = Builder(low, (False,) * len(low.leaves), []).build()
    kinds = [step.kernel.key.split()[0] for step in plan.kernels]
    assert sum(k in ("loop", "transpose") for k in kinds) == CASES[make], kinds
