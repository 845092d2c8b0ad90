"""Recurrent layers: shapes, equivalences between layers, cells and packed sequences."""

import pytest

import facula as torch
from facula import nn
from facula.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CELLS = {nn.RNN: nn.RNNCell, nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell}


def first(state):
    return state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize("kind", CELLS)
def test_layer_equals_cell_in_a_loop(kind):
    torch.manual_seed(1)
    layer, x = kind(3, 4), torch.randn(5, 2, 3)
    cell = CELLS[kind](3, 4)
    cell.load_state_dict({k[:-3]: v for k, v in layer.state_dict().items()})
    output, last = layer(x)
    state = None
    for t in range(5):
        state = cell(x[t], state)
        assert torch.allclose(output[t], first(state), atol=1e-6)
    assert torch.allclose(first(last)[0], first(state), atol=1e-6)


@pytest.mark.parametrize("kind", CELLS)
def test_packed_equals_each_sequence_alone(kind):
    torch.manual_seed(1)
    layer = kind(3, 4, num_layers=2, bidirectional=True)
    lengths = [5, 3, 3, 1]
    x = torch.randn(5, 4, 3)
    packed, last = layer(pack_padded_sequence(x, lengths))
    output, _ = pad_packed_sequence(packed)
    for i, length in enumerate(lengths):
        alone, end = layer(x[:length, i])
        assert torch.allclose(output[:length, i], alone, atol=1e-6)
        assert torch.allclose(first(last)[:, i], first(end), atol=1e-6)


def test_batch_first_and_unbatched():
    layer = nn.GRU(3, 4, batch_first=True)
    x = torch.randn(2, 5, 3)
    output, h = layer(x)
    assert output.shape == (2, 5, 4) and h.shape == (1, 2, 4)
    alone, h_alone = layer(x[1])
    assert torch.allclose(alone, output[1], atol=1e-6) and h_alone.shape == (1, 4)


def test_projection():
    layer = nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2)
    output, (h, c) = layer(torch.randn(4, 1, 3))
    assert output.shape == (4, 1, 4) and h.shape == (4, 1, 2) and c.shape == (4, 1, 5)
    assert layer._all_weights[1][-1] == "weight_hr_l0_reverse"
    assert layer.weight_ih_l1.shape == (20, 4)


def test_gradients_reach_weights_and_state():
    layer = nn.LSTM(3, 4)
    h, c = torch.zeros(1, 2, 4, requires_grad=True), torch.zeros(1, 2, 4, requires_grad=True)
    layer(torch.randn(5, 2, 3), (h, c))[0].sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    assert h.grad.shape == c.grad.shape == (1, 2, 4)


def test_errors():
    with pytest.warns(UserWarning, match="num_layers greater than 1"):
        nn.LSTM(2, 3, dropout=0.5)
    with pytest.raises(ValueError, match="number in range"):
        nn.LSTM(2, 3, dropout=2)
    with pytest.raises(ValueError, match="smaller than hidden_size"):
        nn.LSTM(2, 3, proj_size=3)
    with pytest.raises(ValueError, match="Unknown nonlinearity"):
        nn.RNN(2, 3, nonlinearity="sine")
    layer = nn.GRU(2, 3)
    with pytest.raises(RuntimeError, match="Expected 2, got 5"):
        layer(torch.ones(4, 1, 5))
    with pytest.raises(RuntimeError, match="Expected hidden size"):
        layer(torch.ones(4, 1, 2), torch.ones(2, 1, 3))
    with pytest.raises(ValueError, match="2D or 3D"):
        layer(torch.ones(2))
