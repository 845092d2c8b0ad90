"""Recurrent layers as one operator: native steps, their NumPy meaning, and the composition."""

import dataclasses

import numpy as np
import pytest

import facula as torch
from facula import config, engine
from facula.kernel.recurrent import StepSizes, Sweep, pack_weights, sweep_of
from facula.llvm.target import Target
from facula.nn import recurrence
from facula.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

KINDS = ["LSTM", "GRU", "RNN"]
RNG = np.random.default_rng(3)


def numbers(*shape):
    return torch.tensor(RNG.standard_normal(shape).astype("float32"))


def everything(layer, x, state, weights, lengths=None):
    """Outputs, states and all gradients, as arrays."""
    x = x.detach().clone().requires_grad_()
    state = [s.detach().clone().requires_grad_() for s in state]
    layer.zero_grad()
    given = x if lengths is None else pack_padded_sequence(x, lengths)
    out, last = layer(given, tuple(state) if len(state) == 2 else state[0])
    if lengths is not None:
        out, _ = pad_packed_sequence(out)
    results = [out, *(last if isinstance(last, tuple) else (last,))]
    sum((r * w).sum() for r, w in zip(results, weights, strict=True)).backward()
    grads = [t.grad for t in (x, *state, *layer.parameters())]
    return [t.detach().numpy().copy() for t in results + grads]


def check(monkeypatch, kind, times, batch, features, hidden, lengths=None, **options):
    layer = getattr(torch.nn, kind)(features, hidden, bidirectional=True, **options)
    x = numbers(times, batch, features)
    n = 2 if kind == "LSTM" else 1
    state = [numbers(2, batch, hidden) for _ in range(n)]
    weights = [numbers(times, batch, 2 * hidden), *[numbers(2, batch, hidden)] * n]
    args = (layer, x, state, weights, lengths)
    native = everything(*args)
    with monkeypatch.context() as m:
        m.setattr(recurrence, "_native", lambda *_: False)
        composed = everything(*args)
    for a, b in zip(native, composed, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
    return args, native


@pytest.mark.parametrize("kind", KINDS)
def test_operator_equals_composition(monkeypatch, kind):
    check(monkeypatch, kind, 3, 7, 5, 19)
    check(monkeypatch, kind, 1, 1, 1, 1, bias=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("batch", "hidden"), [(13, 270), (1, 40), (2, 33), (3, 24)])
def test_tiles_and_stretches(monkeypatch, kind, batch, hidden):
    """Tiles of two heights over several stretches of k; few rows; panels of one register."""
    check(monkeypatch, kind, 3, batch, 5, hidden)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("batch", "hidden"), [(13, 40), (6, 33), (20, 130)])
def test_sweeps_through_all_times(monkeypatch, kind, batch, hidden):
    """Tasks of rows, the last one with fewer; panels that run over; both directions."""
    check(monkeypatch, kind, 4, batch, 5, hidden)


def test_when_one_step_goes_through_all_times():
    """Where the weights stay in the second cache and the batch alone gives tasks."""
    target = dataclasses.replace(Target.host(), vector_bytes=64, n_vector_registers=32)

    def cut(times, rows, hidden):
        return sweep_of("LSTM", False, (times, rows, hidden), "float32", target)

    assert cut(64, 32, 256) == Sweep(8, 2)
    assert cut(64, 13, 256) == Sweep(7, 2)
    assert cut(64, 8, 128) == Sweep(4, 4)
    assert cut(64, 32, 512) is cut(64, 4, 128) is cut(1, 32, 256) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_sweep_is_one_step(monkeypatch, kind):
    monkeypatch.setattr(engine, "_plans", {})
    layer, x = getattr(torch.nn, kind)(4, 24), numbers(9, 20, 4)
    layer(x)[0].sum().backward()
    assert layer.weight_hh_l0.grad.isfinite().all()
    keys = [k.kernel.key for plan in engine._plans.values() for k in plan.kernels]
    expected = 2 if Target.host().n_vector_registers == 32 else 18
    assert sum(key.startswith("recurrent") for key in keys) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_threads_leave_the_bits_alone(kind):
    torch.manual_seed(0)
    layer = getattr(torch.nn, kind)(20, 160, 2)
    x, state = numbers(4, 30, 20), [numbers(2, 30, 160) for _ in range(1 + (kind == "LSTM"))]
    weights = [numbers(4, 30, 160), *[numbers(2, 30, 160)] * len(state)]
    threads, runs = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            runs.append(everything(layer, x, state, weights))
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences(monkeypatch, kind):
    check(monkeypatch, kind, 5, 4, 3, 6, lengths=[5, 3, 3, 1])


def test_relu(monkeypatch):
    check(monkeypatch, "RNN", 3, 2, 3, 4, nonlinearity="relu")


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_meaning(monkeypatch, kind):
    args, native = check(monkeypatch, kind, 4, 3, 2, 17, lengths=[4, 2, 1])
    monkeypatch.setattr(config, "BACKEND", "reference")
    monkeypatch.setattr(engine, "_plans", {})
    for a, b in zip(native, everything(*args), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_derivative_of_the_derivative(monkeypatch, kind):
    layer = getattr(torch.nn, kind)(2, 3).double()
    x = numbers(3, 2, 2).double().requires_grad_()

    def second():
        out = layer(x)[0]
        (first,) = torch.autograd.grad((out * out).sum(), x, create_graph=True)
        wanted = (x, layer.weight_hh_l0, layer.bias_hh_l0)
        return [g.numpy() for g in torch.autograd.grad((first * first).sum(), wanted)]

    native = second()
    monkeypatch.setattr(recurrence, "_native", lambda *_: False)
    for a, b in zip(native, second(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_other_lengths_need_no_new_code():
    target = Target.host()
    keys = set()
    for hidden, rows in ((32, 64), (48, 96)):
        _, packed, _ = pack_weights("LSTM", False, hidden, (0, 0, hidden), "float32", 1, 0, target)
        sizes = StepSizes("LSTM", False, "float32", hidden, packed, target)
        keys.add(sizes.step(rows, (2, 0), hidden, {}).kernel.key)
    assert len(keys) == 1


def packed_gru(sizes, rows=5):
    weights = list(torch.nn.GRU(4, 6).parameters())
    state = torch.zeros(1, sizes[0], 6)
    return torch.gru(
        numbers(rows, 4), torch.tensor(sizes), state, weights, True, 1, 0.0, False, False
    )


@pytest.mark.parametrize("sizes", [[3, 3, 2], [2, 3]])
def test_sizes_that_packed_rows_cannot_have(sizes):
    """PyTorch raises a RuntimeError as well; the kernels would read past the rows."""
    with pytest.raises(RuntimeError, match="do not increase and add up to the 5 rows"):
        packed_gru(sizes)


def test_rows_that_no_size_counts_are_left_out():
    """As in PyTorch: (4, 6) and (3, 6) there."""
    assert packed_gru([2, 2])[0].shape == (4, 6)
    assert packed_gru([3, 0])[0].shape == (3, 6)


def test_other_lengths_do_not_rebuild_the_update():
    """A batch of other lengths takes one new plan, for its gradients."""
    layer = torch.nn.GRU(4, 6)
    optimizer = torch.optim.Adam(layer.parameters())

    def step(lengths):
        x = pack_padded_sequence(numbers(max(lengths), len(lengths), 4), lengths)
        optimizer.zero_grad()
        layer(x)[1].sum().backward()
        before = engine.Counters.plans_built
        optimizer.step()
        return engine.Counters.plans_built - before

    step([5, 3]), step([4, 2])  # the optimizer has its state from the first on
    assert [step([7, 2]), step([4, 4]), step([6, 1])] == [1, 1, 1]
    assert step([7, 2]) == 0


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize(("batch", "hidden"), [(2, 24), (20, 40)])
def test_inference_stores_states_alone(kind, batch, hidden):
    """What only a backward pass reads is not stored, and the numbers are the same."""
    layer = getattr(torch.nn, kind)(5, hidden)
    x = numbers(4, batch, 5)
    engine.forget_plans()
    with torch.no_grad():
        out, last = layer(x)
        alone = [out.tolist(), *(t.tolist() for t in (last if kind == "LSTM" else (last,)))]
    keys = {s.kernel.key for plan in engine._plans.values() for s in plan.kernels}
    assert all(" alone" in k for k in keys if k.startswith("recurrent"))
    assert any(k.startswith("recurrent") for k in keys)
    out, last = layer(x)
    out.sum().backward()
    assert alone == [out.tolist(), *(t.tolist() for t in (last if kind == "LSTM" else (last,)))]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("batch", [1, 2, 14, 25])
def test_weights_beyond_the_second_cache(monkeypatch, kind, batch):
    """They are one stream, for tiles of up to twelve rows; the last panel runs over."""
    monkeypatch.setattr("facula.kernel.recurrent._FAR", 0)
    monkeypatch.setattr("facula.kernel.recurrent._SWEEPS", {16: (), 32: ()})
    check(monkeypatch, kind, 3, batch, 5, 40)
