"""Rare names of `torch`: what the real ones compute, and what the absent ones say.

Expected figures were got from PyTorch 2.13 on the CPU.
"""

from __future__ import annotations

import copy
import pickle

import pytest

import facula as torch
from facula.rare import absent


def test_absent_names_exist_and_say_what_to_use():
    for name in absent.names():
        value = getattr(torch, name)
        with pytest.raises(NotImplementedError, match=f"torch.{name} "):
            value()


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'torch' has no attribute 'nosuch'"):
        _ = torch.nosuch
    assert not hasattr(torch, "nosuch")


def test_opaque_types_have_names_and_no_arithmetic():
    assert str(torch.int4) == "torch.int4" and torch.bit is torch.uint1
    assert pickle.loads(pickle.dumps(torch.qint8)) is torch.qint8
    assert copy.deepcopy(torch.bits16).itemsize == 2
    with pytest.raises(RuntimeError, match="no arithmetic"):
        torch.empty(2, dtype=torch.int4) + 1
    with pytest.raises(TypeError, match="cannot create"):
        torch.dtype()


def test_hash_is_the_exclusive_or_of_the_bits():
    assert torch.hash_tensor(torch.tensor([1.0, 2.0, 3.0])).item() == 4609434218613702656
    got = torch.tensor([[1, 2], [5, 3]]).hash_tensor(1, keepdim=True)
    assert got.dtype is torch.uint64 and got.tolist() == [[3], [6]]
    assert torch.hash_tensor(torch.tensor([-1, 7], dtype=torch.int8)).item() == 2**64 - 8


def test_fake_quantization_rounds_and_passes_the_gradient_through():
    x = torch.tensor([0.26, -1.0, 9.0, 0.05], requires_grad=True)
    y = torch.fake_quantize_per_tensor_affine(x, 0.1, 3, 0, 10)
    torch.testing.assert_close(y.detach(), torch.tensor([0.3, -0.3, 0.7, 0.0]))
    y.sum().backward()
    assert x.grad.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("symmetric, scale, zero", [(False, 0.0182, -3), (True, 0.0187, 0)])
def test_moving_average_observer(symmetric, scale, zero):
    x = torch.linspace(-2.2485, 2.3558, 9)
    low, high = torch.full((1,), float("inf")), torch.full((1,), float("-inf"))
    s, z, on = torch.ones(1), torch.zeros(1, dtype=torch.int32), torch.ones(1)
    for y in (x, 2 * x):
        torch.fused_moving_avg_obs_fake_quant(
            y, on, on, low, high, s, z, 0.01, -128, 127, 0, False, symmetric
        )
    torch.testing.assert_close(
        torch.cat([low, high]), torch.tensor([-2.2710, 2.3794]), atol=1e-4, rtol=0
    )
    assert z.item() == zero and abs(s.item() - scale) < 1e-4


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_sequence_functions_are_what_the_modules_compute(kind):
    torch.manual_seed(0)
    cls = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(kind, torch.nn.RNN)
    more = {"nonlinearity": "relu"} if kind == "rnn_relu" else {}
    net = cls(3, 4, num_layers=2, bidirectional=True, batch_first=True, **more)
    x, h = torch.randn(2, 5, 3), torch.randn(4, 2, 4)
    hx = (h, h) if kind == "lstm" else h
    out, last = net(x, hx)
    got = getattr(torch, kind)(x, hx, net._flat_weights, True, 2, 0.0, False, True, True)
    assert torch.equal(got[0], out)
    assert torch.equal(got[1], last[0] if kind == "lstm" else last)


def test_cells():
    x, h, c = torch.randn(2, 3), torch.randn(2, 4), torch.randn(2, 4)
    cell = torch.nn.LSTMCell(3, 4)
    weights = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    for a, b in zip(torch.lstm_cell(x, (h, c), *weights), cell(x, (h, c))):
        assert torch.equal(a, b)
    gru = torch.nn.GRUCell(3, 4)
    weights = (gru.weight_ih, gru.weight_hh, gru.bias_ih, gru.bias_hh)
    assert torch.equal(torch.gru_cell(x, h, *weights), gru(x, h))


def test_lobpcg_gives_the_outer_eigenvalues():
    torch.manual_seed(1)
    root = torch.randn(9, 9, dtype=torch.float64)
    a, b = root @ root.mT, torch.eye(9, dtype=torch.float64) * 2
    values, vectors = torch.lobpcg(a, 2, B=b, largest=False)
    torch.testing.assert_close(values, torch.linalg.eigvalsh(a)[:2] / 2)
    torch.testing.assert_close(a @ vectors, b @ vectors * values)
    with pytest.raises(ValueError, match="smaller than 3 x"):
        torch.lobpcg(a, 4)


def test_small_functions(tmp_path):
    assert torch.cond(True, lambda x: x + 1, lambda x: x, (torch.tensor(1),)).item() == 2
    assert torch.sym_max(1, 2.0) == 2.0 and torch.sym_sum([1, 2]) == 3
    with pytest.raises(RuntimeError, match="Invalid value range"):
        torch.sym_constrain_range(3, max=2)
    w = torch.tensor([[3.0, 4.0], [0.1, 0.1], [6.0, 8.0]])
    torch.embedding_renorm_(w, torch.tensor([0, 1]), 1.0, 2.0)
    torch.testing.assert_close(w, torch.tensor([[0.6, 0.8], [0.1, 0.1], [6.0, 8.0]]))
    mean, var = torch.zeros(2), torch.ones(2)
    got = torch.batch_norm_update_stats(torch.arange(12.0).view(3, 2, 2), mean, var, 0.1)
    torch.testing.assert_close(got[0], torch.tensor([4.5, 6.5]))
    torch.testing.assert_close(mean, torch.tensor([0.45, 0.65]))
    path = tmp_path / "numbers"
    path.write_bytes(b"\x01\x02\x03\x04")
    assert torch.from_file(str(path), size=2, dtype=torch.uint8).tolist() == [1, 2]
    shared = torch.from_file(str(path), shared=True, size=4, dtype=torch.uint8)
    shared[0] = 9
    assert path.read_bytes()[0] == 9
    assert torch.get_device_module("cpu") is torch.cpu


def test_methods_take_the_names_of_their_arguments():
    x = torch.arange(6.0)
    assert [len(p) for p in x.split(split_size=4)] == [4, 2]
    assert x.unflatten(dim=0, sizes=(2, 3)).shape == (2, 3)
    assert x.view(2, 3).norm(p=1, dim=0).tolist() == [3, 5, 7]
    with pytest.raises(RuntimeError, match=r"torch\.linalg\.solve"):
        x.solve(x)


def test_windows_take_their_settings_by_name_only():
    with pytest.raises(TypeError):
        torch.signal.windows.kaiser(4, 12.0)
    with pytest.raises(TypeError, match="missing 1 required"):
        torch.signal.windows.general_cosine(4)
