"""Random programs: the native backend computes what the NumPy meaning of every primitive says."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import facula as torch
from facula import config, engine

UNARY = ["exp", "tanh", "neg", "relu", "sigmoid", "abs", "square"]
BINARY = ["add", "mul", "maximum", "sub"]


def _step(draw, values):
    """One more value made of those there are."""
    kind = draw(st.integers(0, 11))
    pick = lambda: values[draw(st.integers(0, len(values) - 1))]
    x = pick()
    if kind <= 1:
        return getattr(x.clamp_range(), draw(st.sampled_from(UNARY)))()
    if kind <= 3:
        y = pick()
        try:
            return getattr(torch, draw(st.sampled_from(BINARY)))(x, y)
        except RuntimeError:
            return x + 1.5
    if x.ndim == 0:
        return x * 0.5
    dim = draw(st.integers(0, x.ndim - 1))
    if kind <= 5:
        name = draw(st.sampled_from(["sum", "mean", "amax"]))
        return getattr(x, name)(dim, keepdim=draw(st.booleans()))
    if kind == 6:
        return x.transpose(dim, draw(st.integers(0, x.ndim - 1)))
    if kind == 7:
        return x.softmax(dim)
    if kind == 8:
        start = draw(st.integers(0, x.shape[dim] - 1))
        return x.narrow(dim, start, draw(st.integers(1, x.shape[dim] - start)))
    if kind == 9:
        return x.reshape(-1) if draw(st.booleans()) else x.reshape(1, *x.shape)
    if kind == 10:
        return torch.cat([x, x.flip(dim)], dim)
    index = draw(st.lists(st.integers(0, x.shape[dim] - 1), min_size=1, max_size=4))
    return x.index_select(dim, torch.tensor(index))


torch.Tensor.clamp_range = lambda self: torch.tanh(self * 0.1) * 4


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_random_programs(data):
    """Programs of views, reductions, gathers and elementwise operators."""
    shapes = data.draw(
        st.lists(
            st.sampled_from([(4, 6), (3, 4, 5), (7,), (2, 1, 6), (1,), (33, 17)]),
            min_size=1,
            max_size=3,
        )
    )
    rng = np.random.default_rng(1)
    values = [torch.from_numpy(rng.standard_normal(s).astype(np.float32)).clone() for s in shapes]
    for _ in range(data.draw(st.integers(1, 9))):
        values.append(_step(data.draw, values))
        if values[-1].numel() > 4000:
            values.pop()
    keep = [v for i, v in enumerate(values) if i >= len(values) - 3]
    plan_key = engine.pending_key()
    reference = engine.evaluate_reference(keep)
    native = [v.numpy() for v in keep]
    for want, got in zip(reference, native, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5, err_msg=str(plan_key))


def test_backend_is_native():
    """What is tested here runs natively."""
    assert config.BACKEND == "native"
